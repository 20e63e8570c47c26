"""``gridloop train`` and its folders: replaced, gone on with, damaged, or at work elsewhere; seeds and limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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
    Path("bundle").mkdir()
    Path("bundle/bundle.json").touch()
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


@pytest.mark.parametrize("name", ["notes.txt", "bundle/notes.txt", "checkpoints/iteration-000001/notes.txt", "seed-1",
                                  "seed-1/notes.txt", "seed-x/metrics.csv", "plots/a.png"])
def test_what_is_not_ours_is_not_replaced(train: Call, trainer: FakeTrainer, name: str) -> None:
    """Kept, and named, whatever beside it is a training's own."""
    assert train(*NEW, "--out", "o").code == 0
    file = Path("o", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    said = train(*NEW, "--out", "o", "--force")
    assert (said.code, len(trainer.asked), file.read_text()) == (2, 1, "mine")
    assert "was not written by gridloop, and --force would remove it; move it away" in said.err
    assert any(said.err.startswith(f"{place}: ") for place in (file, *file.parents[:-2]))


def test_all_that_a_training_leaves_is_ours(train: Call) -> None:
    """Also what was exported into its bundles, and what a killed process did not clear away."""
    assert train(*NEW, "--out", "o", "--seeds", "1,2").code == 0
    for name in (".training.lock", "metrics.csv", ".metrics.csv.new", "tensorboard/events.out.tfevents.17.host.1.0",
                 "workers/worker-11.log", "checkpoints/iteration-1000000/state.json", "best/actor.agent_1.onnx",
                 "checkpoints/.iteration-000002.new/slots.safetensors", ".bundle.old/weights.safetensors",
                 "start/bundle.json"):
        for place in ("o", "o/seed-2"):
            Path(place, name).parent.mkdir(parents=True, exist_ok=True)
            Path(place, name).touch()
    said = train(*NEW, "--out", "o", "--force")
    assert (said.code, sorted(path.name for path in Path("o").iterdir())) == (0, ["metrics.csv"]), said.err


@pytest.mark.parametrize("place", ["three.yaml/x", "/proc/x"])
def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str], place: str) -> None:
    """One message with the reason, exit 2, and nothing was learned."""
    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)
    assert main(["train", "three.yaml", "--algo", "ippo", "--workers", "0", "--quiet", "--out", place]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{place}: cannot be written: ")
    assert len(said.splitlines()) == 1


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


def test_fewer_steps_than_are_done_are_refused(train: Call, trainer: FakeTrainer) -> None:
    """With how many they are; as many, rounded up to whole fragments, are not."""
    config = load_config(scenario="three.yaml", collection={"fragment": 100, "slots": 1}).model_dump(mode="json")
    checkpoints.write(Path("o"), Checkpoint(Progressed(3, 300), config, {}, {}), 2)
    said = train("--resume", "o", "--steps", "200")
    assert (said.code, trainer.asked) == (2, [])
    assert "--steps 200: o has done 300 decision instants already; expected more" in said.err
    assert train("--resume", "o", "--steps", "250").code == 0


def test_a_training_goes_on_in_its_own_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    """What the file says decides: a comment is no change, another reward is; so is a file of that name elsewhere."""
    monkeypatch.chdir(tmp_path)
    first = yaml.safe_load(loaded().text)
    Path("three.yaml").write_text(yaml.safe_dump(first))
    config = {"scenario": "three.yaml", "algo": "ippo", "steps": 8, "options": {"hidden": [4], "epochs": 1},
              "collection": {"slots": 1, "fragment": 8, "workers": 0}, "overrides": ["duration_s=30"]}
    Path("c.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "--config", "c.yaml", "--out", "t", "--quiet"]) == 0
    resume = ["train", "--resume", str(tmp_path / "t"), "--quiet", "--steps"]
    Path("three.yaml").write_text("# of mine\n" + yaml.safe_dump(first, default_flow_style=True))
    assert main([*resume, "16"]) == 0, capsys.readouterr().err
    first["learning"]["reward"][0]["weight"] = 1.0
    Path("elsewhere").mkdir()
    Path("elsewhere/three.yaml").write_text(yaml.safe_dump(first))
    Path("three.yaml").write_text(yaml.safe_dump(first))
    capsys.readouterr()
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        assert main([*resume, "24"]) == 2
        said = capsys.readouterr().err
        assert f"{place / 'three.yaml'}: is not the scenario that this training was begun with ('three')" in said
        assert "put it back to go on, or begin a new training with what was learned: gridloop train three.yaml" in said
    state = checkpoints.written(tmp_path / "t")[-1] / "state.json"
    about = json.loads(state.read_text())
    del about["scenario"]  # as checkpoints of before are: they say nothing, and nothing is asked
    state.write_text(json.dumps(about))
    assert main([*resume, "24"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda:99", "banana"])
def test_a_device_for_recorded_episodes_is_checked(train: Call, device: str) -> None:
    """As for a training in a scenario: what there is no such of is bad usage."""
    from tests.policies.test_datasets import lives

    lives(2, ()).save(Path("d"), "tests")
    said = train("--dataset", "d", "--algo", "iql", "--device", device, "--quiet", "--out", "o")
    assert (said.code, "expected cpu, or cuda where there is one" in said.err) == (2, True), said.err
