"""Checkpoints on disk: which is the newest, how large one may be, and what a damaged one is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from safetensors.numpy import load, save

from cosim.scenario.loader import load_text
from policies.durable import locked
from policies.training import assembly
from policies.training import checkpoint as checkpoints
from policies.training.algorithm import TrainingError
from policies.training.checkpoint import Checkpoint, Progressed
from policies.training.loop import at_most
from tests.policies.training.test_loop import OFF, config, run, stop_after


def one(iteration: int) -> Checkpoint:
    """A little one."""
    return Checkpoint(Progressed(iteration=iteration), {}, {"g": {"a": np.zeros(9)}}, {0: {"b": np.zeros(1)}})


def test_the_newest_stay_whatever_their_digits(tmp_path: Path) -> None:
    """After a million iterations, too, the last two are kept, oldest first."""
    for iteration in (999_998, 999_999, 1_000_000, 1_000_001):
        checkpoints.write(tmp_path, one(iteration), 2)
    assert [path.name for path in checkpoints.written(tmp_path)] == ["iteration-1000000", "iteration-1000001"]


def test_what_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that says what would do, and nothing is left."""
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 100)
    with pytest.raises(TrainingError, match=r"algorithms.safetensors would hold \d+ bytes; .*smaller options.capacity"):
        checkpoints.write(tmp_path, one(1), 2)
    assert list((tmp_path / checkpoints.FOLDER).iterdir()) == []


def test_a_memory_that_no_checkpoint_holds_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is collected; rows that the training never collects do not count."""
    sac = config(algo="sac", options={**OFF["options"], "capacity": 10_000_000})
    assert run(tmp_path / "a", sac, should_stop=stop_after(1)).iterations == 1
    monkeypatch.setattr(assembly, "MAX_BYTES", 10_000)
    with pytest.raises(TrainingError, match=r"options.capacity: the memory would come to [\d,]+ bytes; .*10,000"):
        run(tmp_path / "b", sac)
    assert not (tmp_path / "b").exists()


def test_limits_below_zero() -> None:
    """A twentieth beyond a limit still keeps it, on whichever side of 0 it is."""
    assert at_most(0.2) == pytest.approx(0.21)
    assert -1.0 < at_most(-1.0) < -0.95


def state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A change of ``state.json``."""
    def go(folder: Path) -> None:
        about = json.loads((folder / "state.json").read_text())
        change(about)
        (folder / "state.json").write_text(json.dumps(about))
    return go


def arrays(file: str, change: Callable[[dict[str, Any]], dict[str, Any]], *,
           counted: bool = True) -> Callable[[Path], None]:
    """A change of a file of arrays; not `counted`: as in checkpoints that do not say how many there are."""
    def go(folder: Path) -> None:
        (folder / file).write_bytes(save(change(load((folder / file).read_bytes()))))
        if not counted:
            state(lambda about: about.pop("arrays"))(folder)
    return go


SLOTS, ALGORITHMS, AHEAD = checkpoints.SLOTS, checkpoints.ALGORITHMS, checkpoints.AHEAD
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no slot": (arrays(SLOTS, lambda a: {"7|x": np.zeros(1)}), "holds 1 arrays; expected"),
    "another slot": (arrays(SLOTS, lambda a: {"7|x": np.zeros(1)}, counted=False), "has slots 7; expected"),
    "an empty slot": (arrays(SLOTS, lambda a: {"0|x": np.zeros(1), "1|x": np.zeros(1)}, counted=False), "is damaged"),
    "narrow actions": (arrays(SLOTS, lambda a: {k: np.zeros((3, 9), np.float32) if k.endswith("journal") else v
                                                for k, v in a.items()}), "does not run as it did"),
    "a generator": (arrays(ALGORITHMS, lambda a: {k: np.zeros(2, np.uint64) if k.endswith("rng") else v
                                                  for k, v in a.items()}), "is damaged"),
    "no moments": (arrays(ALGORITHMS, lambda a: {k: v for k, v in a.items() if "optimiser" not in k}),
                   "arrays; expected"),
    "a moment": (arrays(ALGORITHMS, lambda a: {k: v for k, v in a.items() if "optimiser/all/1/" not in k},
                        counted=False), "KeyError"),
    "a wide moment": (arrays(ALGORITHMS, lambda a: {k: np.zeros(99, np.float32) if k.endswith("all/1/exp_avg") else v
                                                    for k, v in a.items()}), "has shape"),
    "rows ahead": (arrays(AHEAD, lambda a: {k: v for k, v in a.items() if "reward" not in k}, counted=False),
                   "rows ahead of group all"),
    "iteration": (state(lambda s: s["progressed"].update(iteration="x")), "iteration: Input should be a valid integer"),
    "before": (state(lambda s: s["progressed"].update(iteration=-3)), "expected counts"),
    "config": (state(lambda s: s.update(config=[1])), "expected a mapping"),
    "scenario": (state(lambda s: s.update(scenario={"digest": 3})), "expected a mapping with a digest"),
    "collection": (state(lambda s: s["config"].update(collection="x")), "Input should be a valid dictionary")}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was stopped after its second iteration, its next fragment collected ahead."""
    folder = tmp_path_factory.mktemp("stopped") / "t"
    run(folder, config(collection={"pipeline": True}), should_stop=stop_after(2))
    return folder


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_one_message(stopped: Path, tmp_path: Path, what: str) -> None:
    """A TrainingError that says what was found, whatever was damaged."""
    change, says = DAMAGE[what]
    shutil.copytree(stopped, tmp_path / "t")
    change(checkpoints.written(tmp_path / "t")[-1])
    with pytest.raises(TrainingError, match=says):
        run(tmp_path / "t", config(collection={"pipeline": True}), resume=True)


def test_what_to_do_where_one_is_damaged(tmp_path: Path) -> None:
    """The one before is named where there is one; where there is none, nothing is to be removed."""
    for iteration in (7, 9):
        (checkpoints.write(tmp_path, one(iteration), 2) / "state.json").write_text("{")
    last, first = (tmp_path / checkpoints.FOLDER / f"iteration-00000{k}" for k in (9, 7))
    with pytest.raises(TrainingError, match=r"remove it to go on from the one before, iteration-000007$"):
        checkpoints.read(last)
    with pytest.raises(TrainingError, match=r"there is no other one before it: begin a new training$"):
        checkpoints.read(first)


def test_the_digest_is_of_what_a_scenario_says() -> None:
    """Overrides are part of it; layout, comments, a default that is written out and what is recorded are not."""
    def digest(text: str, *overrides: str) -> str:
        env = SimpleNamespace(loaded=load_text(text, path=Path("s.yaml"), overrides=overrides))
        return str(assembly.scenario_of(env)["digest"])

    text = "name: s\nduration_s: 10\ngrid: {network: case14}\n"
    assert digest(text) == digest("# mine\n" + text + "shield: {mode: 'off'}\n")
    assert digest(text, "duration_s=20") == digest(text.replace("10", "20")) != digest(text)
    device = "devices: [{kind: load, name: l, bus: '4', p_kw: 100}]\n"
    assert digest(text + device) == digest(text + device.replace("100", "100.0")) != digest(text)
    assert digest(text + device) == digest(text + device + "record: {period_s: 60}\n")
    assert digest(text + device) != digest(text + device.replace("100", "101"))
    assert assembly.scenario_of(SimpleNamespace()) == {}


def test_nobody_goes_on_while_another_trains(stopped: Path, tmp_path: Path) -> None:
    """The folder is locked while somebody trains into it."""
    shutil.copytree(stopped, tmp_path / "t")
    with locked(tmp_path / "t"), pytest.raises(Exception, match="another process is training into this folder"):
        run(tmp_path / "t", config(collection={"pipeline": True}), resume=True)
    assert run(tmp_path / "t", config(collection={"pipeline": True}), resume=True).reason == "done"


def test_killed_before_the_first_checkpoint(tmp_path: Path) -> None:
    """Both beginning and going on say that it begins anew."""
    class KilledError(Exception):
        pass

    def die(_: Any) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path, on_progress=die)
    with pytest.raises(TrainingError, match=r"before its first checkpoint: there is nothing to go on from; remove it"):
        run(tmp_path)
    with pytest.raises(TrainingError, match=r"begins anew: remove the folder"):
        run(tmp_path, resume=True)


def test_a_best_policy_left_aside_comes_back(stopped: Path, tmp_path: Path) -> None:
    """A kill between the two renames of its saving loses nothing: going on puts it back."""
    shutil.copytree(stopped, tmp_path / "t")
    shutil.copytree(tmp_path / "t" / "bundle", tmp_path / "t" / ".best.old")
    shutil.rmtree(tmp_path / "t" / "best", ignore_errors=True)
    run(tmp_path / "t", config(collection={"pipeline": True}), resume=True, should_stop=stop_after(1))
    assert (tmp_path / "t" / "best" / "bundle.json").is_file()
