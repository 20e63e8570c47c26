"""``gridloop train`` and its folders: replaced, gone on with, damaged, or at work elsewhere; seeds and limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosim.cli import main
from cosim.cli.engine import Engine
from tests.cosim.cli.conftest import Said
from tests.cosim.cli.trainers import FakeTrainer
from tests.cosim.env.worlds import loaded

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from policies.durable import locked
from policies.training import checkpoint as checkpoints
from policies.training.checkpoint import Checkpoint, Progressed
from policies.training.config import load_config

Call = Callable[..., Said]


@pytest.fixture
def trainer() -> FakeTrainer:
    """A training of fakes."""
    return FakeTrainer()


@pytest.fixture
def train(trainer: FakeTrainer, capsys: pytest.CaptureFixture[str], tmp_path: Path,
          monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs ``gridloop train`` in a folder below the one that holds ``three.yaml``."""
    (tmp_path / "three.yaml").write_text(loaded().text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*argv: str) -> Said:
        code = main(["train", *argv], engine=Engine(train=trainer.train))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


NEW = ("../three.yaml", "--algo", "ippo", "--quiet")


def test_the_folder_that_one_works_in_is_replaced(train: Call, tmp_path: Path) -> None:
    """``--out . --force``: the folder stays the one that it is, what was in it makes room."""
    assert train(*NEW, "--out", ".").code == 0
    Path("mark").touch()
    said = train(*NEW, "--out", ".", "--force")
    assert said.code == 0, said.err
    assert [path.name for path in Path().iterdir()] == ["metrics.csv"]
    assert Path.cwd() == tmp_path / "here"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "three.yaml"]


def test_what_ended_before_its_first_checkpoint(train: Call) -> None:
    """Neither message names what does not work."""
    assert train(*NEW, "--out", "o").code == 0
    said = train(*NEW, "--out", "o")
    assert "--force to replace it (it has no checkpoint to go on from)" in said.err
    assert "--resume" not in said.err
    said = train("--resume", "o")
    assert (said.code, "begin it anew with the command of before and --force" in said.err) == (2, True)


def test_a_folder_at_work_is_not_replaced(train: Call, tmp_path: Path) -> None:
    """Not while another process trains into it, or into one of its seeds."""
    assert train(*NEW, "--out", "o", "--seeds", "1,2").code == 0
    for place in ("o", "o/seed-2"):
        with locked(tmp_path / "here" / place):
            said = train(*NEW, "--out", "o", "--force")
        assert (said.code, f"{place}: another process is training" in said.err) == (2, True)
    assert train(*NEW, "--out", "o", "--force").code == 0


def test_every_seed_is_checked(train: Call, trainer: FakeTrainer) -> None:
    """As --seed is: before anything is trained."""
    said = train(*NEW, "--seeds", "1,5000000000", "--out", "o")
    assert (said.code, "seed: Input should be less than 4294967296; found 5000000000" in said.err) == (2, True)
    assert trainer.asked == []
    assert train(*NEW, "--allow-plugins", "--seeds", "1,2", "--out", "o").code == 0
    assert [(config.seed, config.allow_plugins) for config, _, _ in trainer.asked] == [(1, True), (2, True)]


@pytest.mark.parametrize("config", [[1], {"collection": "x"}, {"steps": "many"}])
def test_a_damaged_configuration_is_one_message(train: Call, trainer: FakeTrainer, config: Any) -> None:
    """Whatever a checkpoint says instead of one."""
    good = load_config(scenario="three.yaml").model_dump(mode="json")
    folder = checkpoints.write(Path("o"), Checkpoint(Progressed(1), good, {}, {}), 2)
    about = json.loads((folder / "state.json").read_text())
    about["config"] = config if isinstance(config, list) else good | config
    (folder / "state.json").write_text(json.dumps(about))
    said = train("--resume", "o", "--workers", "0")
    assert (said.code, "internal error" in said.err, trainer.asked) == (2, False, []), said.err
    (folder / "state.json").write_text(json.dumps(about | {"config": good}))
    assert train("--resume", "o", "--workers", "0", "--steps", "99").code == 0
    ((resumed, _, _),) = trainer.asked
    assert (resumed.steps, resumed.collection.workers) == (99, 0)


@pytest.mark.parametrize("device", ["cuda:99", "banana"])
def test_a_device_for_recorded_episodes_is_checked(train: Call, device: str) -> None:
    """As for a training in a scenario: what there is no such of is bad usage."""
    from tests.policies.test_datasets import lives

    lives(2, ()).save(Path("d"), "tests")
    said = train("--dataset", "d", "--algo", "iql", "--device", device, "--quiet", "--out", "o")
    assert (said.code, "expected cpu, or cuda where there is one" in said.err) == (2, True), said.err
