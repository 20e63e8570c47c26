"""What is installed: every data file ships, the lock is complete and clean, the licences are there."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")]


def normal(requirement: str) -> str:
    """The normalised name of a requirement."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def needs(name: str) -> list[str]:
    """What a distribution requires on every platform; nothing where it is not installed."""
    try:
        return [normal(line) for line in requires(name) or () if ";" not in line]
    except PackageNotFoundError:
        return []


@pytest.mark.parametrize("package", ["cosim", "scenarios"])
def test_every_data_file_is_shipped(package: str) -> None:
    """Each file that is no Python matches a pattern of package-data: page, style, starter, grids, profiles."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"][package]
    shipped = {file for pattern in patterns for file in (ROOT / package).glob(pattern)}
    found = {file for file in (ROOT / package).rglob("*")
             if file.is_file() and file.suffix not in (".py", ".pyc") and "__pycache__" not in file.parts}
    assert found
    assert found - shipped == set()


def test_the_lock_pins_versions_and_nothing_else() -> None:
    """``name==version`` lines: no registry, no path, no build of a local tag (torch's `+cpu`); no CUDA."""
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert [line for line in PINS if re.match(r"nvidia|triton|cuda", line)] == []


def test_the_lock_covers_what_is_declared_and_what_that_needs() -> None:
    """Every dependency of the core, of `report` and of `dev`, and theirs in turn as far as they are installed here."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    pinned = {normal(line) for line in PINS}
    pending = [normal(line) for line in (*project["dependencies"], *extras["report"], *extras["dev"])]
    seen = {"gridloop"}
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            assert name in pinned, f"{name} is not in constraints.txt"
            pending += needs(name)


def test_licences_are_declared_and_there() -> None:
    """The code's and the profiles'; each pattern of license-files matches a file."""
    project = PROJECT["project"]
    assert project["license"] == "Apache-2.0 AND ODbL-1.0"
    assert [pattern for pattern in project["license-files"] if not list(ROOT.glob(pattern))] == []
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
