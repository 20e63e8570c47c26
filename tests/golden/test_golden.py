"""The shipped scenarios: clean, equal to the figures kept, and the same twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from cosim.cli import main
from tests.golden import figures
from tests.golden.figures import Ran, differences, same

NAMES = figures.names()


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A function that runs a shipped scenario, once."""
    @cache
    def once(name: str) -> Ran:
        return figures.run(name, tmp_path_factory.mktemp(name) / "result")

    return once


def test_at_least_five_scenarios_ship() -> None:
    """What the tests below look at is there, and each has its figures kept and no figures are left over."""
    assert len(NAMES) >= 5
    assert sorted(path.stem for path in figures.FOLDER.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`gridloop check` has neither an error nor a warning for a shipped scenario."""
    assert main(["check", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "errors": [], "warnings": []}


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_the_kept_ones(name: str, ran: object) -> None:
    """Key figures and row counts equal the kept ones to nine significant digits."""
    found = ran(name)  # type: ignore[operator]  # a fixture that is a function
    assert found.status == "done"
    assert differences(figures.read(name), found.figures) == []


@pytest.mark.parametrize("name", NAMES)
def test_another_process_gives_the_same_digest(name: str, ran: object, tmp_path: Path) -> None:
    """A second run in a process of its own, with another hash seed, ends with the same digest."""
    command = [sys.executable, "-m", "cosim.cli", "run", name, "--json", "--out", str(tmp_path / "again"),
               "--until", f"{figures.until_s(name):g}"]
    again = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "12345"}, capture_output=True, text=True,
                           check=True)
    assert json.loads(again.stdout)["digest"] == ran(name).digest  # type: ignore[operator]  # see above


@pytest.mark.parametrize("name", NAMES)
def test_says_where_its_data_come_from(name: str) -> None:
    """A shipped scenario names its network's and its profiles' source and licence, and has a summary."""
    text = (figures.FOLDER.parents[1] / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "# Network: " in text
    assert "\nsummary: " in text
    if "simbench_" in text:
        assert "ODbL 1.0" in text


def test_nine_digits_are_compared() -> None:
    """A change in the ninth digit is seen, one in the eleventh is not, and only energies have a floor."""
    assert not same(1.23456789, 1.23456788)
    assert same(1.23456789, 1.23456789001)
    assert differences({"v_min_pu": 0.0, "import_kwh": 0.0}, {"v_min_pu": 1e-9, "import_kwh": 1e-9}) == [
        "v_min_pu: 0.0 -> 1e-09"]
    assert not same("Bus_1", "Bus_2")
    assert not same(None, 0.0)
    assert differences({"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 3.0}) == ["b: 2.0 -> None", "c: None -> 3.0"]
