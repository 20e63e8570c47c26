"""The README is true: its two commands, its scenario, its Python, its links and its pictures."""

from __future__ import annotations

import tomllib
from pathlib import Path

from cosim.cli.app import COMMANDS
from cosim.scenario import shipped_scenarios
from tests.doc_blocks import ROOT, blocks, broken_links, commands, links, try_out

README = ROOT / "README.md"
SHELL = [block for block in blocks(README) if block.language == "sh"]


def test_examples_work(tmp_path: Path) -> None:
    """Every gridloop command, the scenario and the Python of the README work, top to bottom."""
    try_out(README, tmp_path)
    assert (tmp_path / "results" / "day" / "report.html").is_file()


def test_links_and_pictures_resolve() -> None:
    """Links lead somewhere; pictures are there and small enough for a page."""
    assert broken_links(README) == []
    pictures = [README.parent / link for link in links(README) if link.endswith(".png")]
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 300_000] == []


def test_first_command_sets_up_and_runs_the_main_job() -> None:
    """Command 1 makes an environment, installs this project with its constraints, runs a shipped scenario, reports."""
    words = SHELL[0].text.split()
    assert "&&" in words
    assert words[:4] == ["python3", "-m", "venv", ".venv"]
    assert [name for name in words if name in shipped_scenarios()] == ["cigre_mv_day"]
    assert [command[0] for command in commands(SHELL[0])] == ["run", "report"]
    assert_installs(SHELL[0].text)


def test_second_command_runs_the_tests() -> None:
    """Command 2 installs what tests need and runs pytest, as .ci/run does."""
    assert_installs(SHELL[1].text)
    assert SHELL[1].text.rstrip().endswith("python -m pytest")
    assert "-c constraints.txt -e '.[dev]'" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def assert_installs(text: str) -> None:
    """The pip part of a command names the constraints file and an extra that exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = text.split("'.[")[1].split("]")[0]
    assert "-c constraints.txt" in text
    assert (ROOT / "constraints.txt").is_file()
    assert extra in project["optional-dependencies"]


def test_every_command_is_named() -> None:
    """The README names each command of the command line."""
    text = README.read_text(encoding="utf-8")
    assert [module.NAME for module in COMMANDS if f"gridloop {module.NAME}" not in text] == []
