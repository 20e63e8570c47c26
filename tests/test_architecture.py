"""The house's walls: import direction, homes of heavy dependencies, and the one way into the grid."""

from __future__ import annotations

import ast
import shutil
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "cosim"
PACKAGES = ("cosim", "gateways", "hil", "policies")


Nodes = tuple[tuple[str, ast.AST], ...]


@cache
def nodes(text: str) -> Nodes:
    """(qualified name of the enclosing function or class, node) of every node of a source text."""
    found: list[tuple[str, ast.AST]] = []

    def visit(parent: ast.AST, owner: str) -> None:
        for child in ast.iter_child_nodes(parent):
            found.append((owner, child))
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            visit(child, f"{owner}.{child.name}".lstrip(".") if named else owner)

    visit(ast.parse(text), "")
    return tuple(found)


def sources(root: Path = ROOT) -> Iterator[tuple[str, Nodes]]:
    """(path below `root`, nodes) of every module of ours, sorted."""
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            yield file.relative_to(root).as_posix(), nodes(file.read_text(encoding="utf-8"))


# -- import direction -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_import_contracts_are_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Layers and homes of dependencies, as written in pyproject.toml."""
    linter = pytest.importorskip("importlinter.cli", reason="import-linter is not installed (pip install .[dev])")
    monkeypatch.chdir(ROOT)
    status = linter.lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def layer_names() -> set[str]:
    """Every module named in the layers."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {name.strip() for layer in layers for name in layer.split("|")}


def test_every_part_of_the_core_has_its_layer() -> None:
    """A new module or package is not outside the law."""
    parts = {f"cosim.{path.stem}" for path in CORE.iterdir()
             if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()}
    assert parts | {"gateways", "hil", "policies"} == layer_names()


def test_every_folder_of_code_is_a_package() -> None:
    """A folder without __init__.py would be invisible to the import linter."""
    assert [str(file) for file in CORE.rglob("*.py") if not (file.parent / "__init__.py").exists()] == []


# -- time, chance and code from data ----------------------------------------------------------------------------------

CLOCKS = {"now", "utcnow", "today", "monotonic", "perf_counter", "time_ns"}
CODE = {"eval", "exec", "__import__"}


def test_no_clock_is_read_in_the_core() -> None:
    """Neither of datetime nor of time, except where the stopwatch injects it."""
    found = [(path, owner, ast.unparse(node)) for path, inside in sources() if path.startswith("cosim/")
             for owner, node in inside if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
             and node.func.attr in CLOCKS and path != "cosim/stopwatch.py"]
    assert found == []


def test_random_numbers_come_from_the_kernels_streams() -> None:
    """Nobody else makes a generator or uses NumPy's global one (the kit for plugin authors draws its own inputs)."""
    found = {(path, ast.unparse(node)) for path, inside in sources() if path.startswith("cosim/")
             for _, node in inside if isinstance(node, ast.Call)
             and ast.unparse(node.func).startswith(("np.random.", "numpy.random."))
             and path not in ("cosim/kernel.py", "cosim/devices/conformance.py")}
    assert found == set()


def test_nothing_evaluates_code_from_data() -> None:
    """No eval, exec or __import__ anywhere; modules of plugins are loaded in one place."""
    found = [(path, ast.unparse(node)) for path, inside in sources() for _, node in inside
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CODE]
    loading = {path for path, inside in sources() for _, node in inside
               if isinstance(node, ast.Attribute) and node.attr == "exec_module"}
    assert found == []
    assert loading == {"cosim/plugins/registry.py"}


# -- one way into the grid --------------------------------------------------------------------------------------------

ENGINE = "cosim/simulation/engine.py"
#: What is guarded, and where alone it may be named.
DOORS: dict[str, set[str]] = {
    # A shield in the control centre has its inner one decide on what it believes; nothing is applied by that.
    "Shield.filter": {f"{ENGINE}:Simulation._filtered", "cosim/simulation/remote.py:RemoteShield._decide"},
    "Grid.commit": {f"{ENGINE}:Simulation._settle"},
    "DeviceGroup.apply": {"cosim/simulation/fleet.py:Fleet.apply", f"{ENGINE}:Simulation._attempt",
                          f"{ENGINE}:Simulation._respond"},
    "DeviceGroup.settle": {"cosim/simulation/fleet.py:Fleet.settle", f"{ENGINE}:Simulation._settle"},
    "_filtered": {f"{ENGINE}:Simulation._start", f"{ENGINE}:Simulation._solve"},
    "_attempt": {f"{ENGINE}:Simulation._filtered"},
    "_respond": {f"{ENGINE}:Simulation._filtered"},
    "_settle": {f"{ENGINE}:Simulation._start", f"{ENGINE}:Simulation._solve"},
    "_solve": {f"{ENGINE}:Simulation.request_solve"},
    "_start": {f"{ENGINE}:Simulation.__init__"},
}
#: Inside a group its devices are asked, and the conformance kit tries groups without a grid.
DEVICES = "cosim/devices/"


def door(path: str, node: ast.AST, arguments: dict[int, int]) -> str | None:
    """Which door an expression names, if any.  Names decide, never types: a second use has to be looked at."""
    if isinstance(node, ast.Constant) and node.value in ("commit", "apply", "filter", "settle"):
        # A literal of that name may be getattr's; messages and tables are longer.
        return {"commit": "Grid.commit", "filter": "Shield.filter"}.get(str(node.value), f"DeviceGroup.{node.value}")
    if not isinstance(node, ast.Attribute):
        return None
    receiver, n_argument = ast.unparse(node.value).lower(), arguments.get(id(node), 2)
    match node.attr:
        case "filter" if n_argument != 1 or "shield" in receiver:  # Arrow's takes one argument
            return "Shield.filter"
        case "commit" if n_argument == 2 or "grid" in receiver:  # a learner's takes one, the recorder's four
            return "Grid.commit"
        case "apply" if not path.startswith(DEVICES):
            return "DeviceGroup.apply"
        case "settle" if n_argument != 1 and not path.startswith(DEVICES):  # the arbiter's takes one
            return "DeviceGroup.settle"
        case "_filtered" | "_attempt" | "_respond" | "_settle" | "_solve" | "_start" if (
                path == ENGINE or "sim" in receiver):
            return node.attr
    return None


def uses(root: Path) -> dict[str, set[str]]:
    """Where each door is named: ``path:function``."""
    found: dict[str, set[str]] = {name: set() for name in DOORS}
    for path, inside in sources(root):
        arguments = {id(node.func): len(node.args) + len(node.keywords)
                     for _, node in inside if isinstance(node, ast.Call)}
        for owner, node in inside:
            name = None if path.startswith(DEVICES) and isinstance(node, ast.Constant) else door(path, node, arguments)
            if name is not None:
                found[name].add(f"{path}:{owner}")
    return found


def test_solve_is_the_only_way_into_the_grid() -> None:
    """Shield, devices' laws and commit are reached from `Simulation._solve` (and its first run, `_start`) alone."""
    assert uses(ROOT) == DOORS


SECOND_USES = {
    "commit": "def meddle(grid, state, dispatch):\n    grid.commit(state, dispatch)\n",
    "commit by another name": "def meddle(g, state, dispatch):\n    g.commit(state, dispatch)\n",
    "commit handed on": "def meddle(simulation, later):\n    later(simulation.grid.commit)\n",
    "commit by getattr": "def meddle(thing, a, b):\n    getattr(thing, 'commit')(a, b)\n",
    "filter": "def meddle(shield, asked, attempt):\n    return shield.filter(asked, attempt)\n",
    "filter by another name": "def meddle(layer, asked, attempt):\n    return layer.filter(asked, attempt)\n",
    "apply": "def meddle(group, setpoints, v_pu):\n    return group.apply(setpoints, v_pu)\n",
    "apply handed on": "def meddle(fleet, trials):\n    trials.use(fleet.apply)\n",
    "settle": "def meddle(fleet, x):\n    fleet.settle(x, (), x, 0)\n",
    "solve from outside": "def meddle(simulation):\n    simulation._solve(None)\n",
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the core."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(CORE, root / "cosim", ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.mark.parametrize("way", SECOND_USES)
def test_a_second_use_is_found(copy: Path, way: str) -> None:
    """The proof can fail: each way around the shield, added to an agent's module, is seen."""
    file = copy / "cosim" / "agents" / "field.py"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(f"{before}\n\n{SECOND_USES[way]}", encoding="utf-8")
        found = uses(copy)
    finally:
        file.write_text(before, encoding="utf-8")
    assert {place for name in found for place in found[name] - DOORS[name]} == {"cosim/agents/field.py:meddle"}


def test_a_door_that_is_moved_is_found(copy: Path) -> None:
    """Also when the engine itself commits from another function."""
    file = copy / ENGINE
    before = file.read_text(encoding="utf-8")
    try:
        hurry = "    def hurry(self, s, d):\n        self.grid.commit(s, d)\n\n"
        file.write_text(before.replace("    def request_solve(", f"{hurry}    def request_solve(", 1), encoding="utf-8")
        found = uses(copy)
    finally:
        file.write_text(before, encoding="utf-8")
    assert found["Grid.commit"] - DOORS["Grid.commit"] == {f"{ENGINE}:Simulation.hurry"}


def test_only_the_publisher_publishes() -> None:
    """The database has one writer."""
    places = {f"{path}:{owner}" for path, inside in sources() for owner, node in inside
              if isinstance(node, ast.Attribute) and node.attr == "publish"}
    assert {place.partition(":")[0] for place in places} <= {"cosim/simulation/publisher.py", ENGINE}
    assert any(place.startswith("cosim/simulation/publisher.py:Publisher.") for place in places)
