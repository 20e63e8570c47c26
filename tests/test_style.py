"""House style that a machine can check (DESIGN section 4): sizes, names, docstrings, reasons for exceptions."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cosim", "gateways", "hil", "policies")
FILES = tuple(file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 50, 5
BANNED_MODULES = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}
BANNED_NAMES = re.compile(r"(Manager|Helper|Handler|Utils?)$")
#: A comment that switches a check off names it and says why, behind a dash or in a comment of its own.
SWITCH = re.compile(r"#\s*(type:\s*ignore|noqa)\b")
REASONED = re.compile(r"#\s*(type:\s*ignore\[[\w,\- ]+\]|noqa:\s*[A-Z]+\d+(, ?[A-Z]+\d+)*)\s+(#|-)\s*\S+")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(file: Path) -> str:
    """Path below the root."""
    return file.relative_to(ROOT).as_posix()


@cache
def trees() -> tuple[tuple[str, ast.Module], ...]:
    """Every module of ours."""
    return tuple((name_of(file), ast.parse(file.read_text(encoding="utf-8"))) for file in FILES)


def functions() -> Iterator[tuple[str, Function]]:
    """Every function of ours, as ``path:name``."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{path}:{node.name}", node


def test_there_is_something_to_check() -> None:
    """The tests below look at real files."""
    assert len(FILES) > 80


def test_files_are_short() -> None:
    """At most 400 lines."""
    sizes = {name_of(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {path: n for path, n in sizes.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    """At most 50 lines, docstring included."""
    sizes = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {name: n for name, n in sizes.items() if n > FUNCTION_LINES} == {}


def test_functions_take_few_parameters() -> None:
    """At most five besides self; what can only be given by name does not count."""
    def count(node: Function) -> int:
        arguments = [argument.arg for argument in node.args.posonlyargs + node.args.args]
        return len(arguments) - (arguments[:1] in (["self"], ["cls"]))

    assert {name: count(node) for name, node in functions() if count(node) > PARAMETERS} == {}


def test_modules_are_named_after_what_they_hold() -> None:
    """No drawer for everything."""
    assert [name_of(file) for file in FILES if BANNED_MODULES & set(file.with_suffix("").parts[-2:])] == []


def test_classes_and_functions_are_named_after_what_they_are() -> None:
    """No Manager, Helper or Handler."""
    found = [f"{path}:{node.name}" for path, tree in trees() for node in ast.walk(tree)
             if isinstance(node, ast.ClassDef | Function) and BANNED_NAMES.search(node.name.title().replace("_", ""))]
    assert found == []


def test_only_the_command_line_prints() -> None:
    """Everything else answers with values, logs for operators, or records."""
    found = [f"{path}:{node.lineno}" for path, tree in trees() if not path.startswith("cosim/cli/")
             for node in ast.walk(tree)
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert found == []


def undocumented(path: str, tree: ast.Module) -> Iterator[str]:
    """Public modules, classes and functions without a docstring; bodies of functions are private."""
    if ast.get_docstring(tree) is None and not (path.endswith("__init__.py") and not tree.body):
        yield path
    pending: list[tuple[str, ast.AST]] = [(path, tree)]
    while pending:
        owner, parent = pending.pop()
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
                continue
            name = f"{owner}:{node.name}"
            if ast.get_docstring(node) is None and not is_stub(node):
                yield name
            if isinstance(node, ast.ClassDef):
                pending.append((name, node))


def is_stub(node: ast.AST) -> bool:
    """A field of a Protocol (``def state(self) -> GridState: ...``) or an overload: its class says what it means."""
    return (isinstance(node, Function) and len(node.body) == 1 and isinstance(node.body[0], ast.Expr)
            and isinstance(node.body[0].value, ast.Constant) and node.body[0].value.value is ...)


def test_what_is_public_says_what_it_is() -> None:
    """Every public module, class and function has a docstring."""
    assert [name for path, tree in trees() for name in undocumented(path, tree)] == []


def comments(text: str) -> Iterator[tuple[int, str]]:
    """(line, comment) of a source text; strings that look like comments are none."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_switching_a_check_off_has_a_reason() -> None:
    """An ignored type error or lint rule is named, and the reason stands behind it."""
    found = [f"{name_of(file)}:{line}: {comment}" for file in FILES
             for line, comment in comments(file.read_text(encoding="utf-8"))
             if SWITCH.search(comment) and not REASONED.search(comment)]
    assert found == []


@pytest.mark.parametrize(("comment", "fine"), [
    ("# type: ignore", False), ("# type: ignore[arg-type]", False), ("# noqa", False), ("# noqa: S101", False),
    ("# type: ignore[arg-type]  # SimPy's stub is too narrow", True), ("# noqa: S101, B008  # ours", True),
    ("# noqa: S101 - ours", True)])
def test_what_counts_as_a_reason(comment: str, fine: bool) -> None:
    """The pattern itself can fail."""
    assert SWITCH.search(comment)
    assert bool(REASONED.search(comment)) is fine


# -- the checkers -----------------------------------------------------------------------------------------------------


def checked(module: str, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a checker, run as a module from the root."""
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed (pip install .[dev])")
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_types_are_strict() -> None:
    """mypy --strict finds nothing."""
    status, output = checked("mypy", "--strict", "cosim")
    assert status == 0, output


@pytest.mark.slow
def test_ruff_is_content() -> None:
    """The rules of pyproject.toml, over everything in the repository."""
    status, output = checked("ruff", "check", "--output-format=concise", ".")
    assert status == 0, output
