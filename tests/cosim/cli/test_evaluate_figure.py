"""``gridloop evaluate --figure``: what there is no such of is said before an hour of episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.cli import main
from cosim.cli.engine import Engine
from tests.cosim.env.worlds import loaded


@pytest.mark.parametrize("figure", ["bogus", "discounted_return", "cost.volts"])
def test_a_figure_that_there_is_none_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """Exit 2 with those that there are; nothing is played, nothing is written."""
    def evaluate(*_: Any) -> Any:
        raise AssertionError("nothing may be played")

    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)
    code = main(["evaluate", "three.yaml", "--against", "none", "--csv", "a.csv", "--picture", "a.svg", "--figure",
                 figure], engine=Engine(evaluate=evaluate))
    assert code == 2
    assert f"--figure: found '{figure}'; expected one of return, in_band" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["three.yaml"]
