"""``gridloop train --dataset``: the scenario that it is for, and the folder that it writes into."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from cosim.cli import main
from tests.cosim.cli.conftest import Said
from tests.cosim.env.worlds import learner, loaded

Call = Callable[..., Said]
SMALL = ("--algo", "bc", "--steps", "2", "--hyper", "hidden=[4]", "--hyper", "batch=4", "--quiet")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of three learners."""
    home = tmp_path_factory.mktemp("recorded")
    (home / "three.yaml").write_text(loaded().text)
    assert main(["dataset", str(home / "three.yaml"), "--out", str(home / "d"), "--episodes", "1", "--quiet"]) == 0
    return home / "d"


@pytest.fixture
def train(recorded: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs ``gridloop train --dataset`` in a folder with ``three.yaml``, for real."""
    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)

    def call(*argv: str) -> Said:
        code = main(["train", "--dataset", str(recorded), *SMALL, *argv])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_it_is_learned_for_the_scenario_that_is_named(train: Call) -> None:
    """Where agents see and do what was recorded; the command in the bundle says for which one."""
    said = train("three.yaml", "--set", "duration_s=30", "--out", "o")
    assert said.code == 0, said.err
    assert "next: gridloop evaluate three.yaml --set duration_s=30 --bundle o/bundle" in said.out
    training = json.loads(Path("o/bundle/bundle.json").read_text())["training"]
    assert training["command"].startswith("gridloop train three.yaml --dataset ")
    assert "--set duration_s=30" in training["command"]


def test_recordings_of_other_agents_are_refused(train: Call) -> None:
    """Before anything is learned, with every difference named; without a scenario nobody asks."""
    seen = ["bat1.soc", "bat1.v_pu", "ld.v_pu"]
    Path("other.yaml").write_text(loaded(learner(1, observe=seen), learner(2), learner(3)).text)
    said = train("other.yaml", "--out", "o")
    assert said.code == 2
    assert "with another agent than 'agent_1' of other.yaml; in the data set and in the scenario:" in said.err
    assert "feature grid.losses_kw: only here" in said.err
    assert "feature ld.v_pu: only there" in said.err
    assert not Path("o").exists()
    assert train("--out", "o").code == 0
    Path("fewer.yaml").write_text(loaded(learner(1), learner(2)).text)
    assert "has a data set of group 'agent_3'; fewer.yaml has agent_1, agent_2" in train("fewer.yaml", "--out", "p").err
    assert "nowhere.yaml" in train("nowhere.yaml", "--out", "p").err


def test_where_nothing_can_be_written_nothing_is_learned(train: Call) -> None:
    """Said at the beginning, and once."""
    said = train("--out", "three.yaml/x")
    assert (said.code, said.err) == (2, "three.yaml/x: cannot be written: Not a directory\n")


def test_force_puts_the_new_bundle_in_the_place_of_the_old_one(train: Call, recorded: Path) -> None:
    """And not the old one back again."""
    assert train("--out", "o", "--seed", "1").code == 0
    assert train("--out", "o", "--seed", "2", "--force").code == 0
    assert json.loads(Path("o/bundle/bundle.json").read_text())["training"]["seed"] == 2
