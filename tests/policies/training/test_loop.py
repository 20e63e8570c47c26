"""The training loop: the same to the bit however often it was interrupted, and stopping well."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from cosim.encoding.spec import ActionSpec
from policies.bundle import Bundle
from policies.training import checkpoint as checkpoints
from policies.training.algorithm import TrainingError
from policies.training.config import TrainConfig, load_config
from policies.training.loop import TrainResult, train
from policies.training.ppo import Ppo
from policies.training.progress import Progress, Table
from policies.training.worker import EnvRecipe
from tests.policies.training.fakes import Targets, recipe


def config(**changes: Any) -> TrainConfig:
    """Six iterations of 2 × 32 instants."""
    collection = {"workers": 0, "slots": 2, "fragment": 32} | changes.pop("collection", {})
    return load_config({
        "scenario": "none", "algo": "ppo", "steps": 384, "collection": collection, "checkpoints": {"every": 2},
        "options": {"hidden": [8], "epochs": 2, "minibatch": 32}, **changes})


#: Options of off-policy algorithms that learn from the second fragment on.
OFF: dict[str, Any] = {"options": {"hidden": [8], "batch": 16, "warmup": 70, "updates_per_row": 0.2}}


def stop_after(n: int) -> Any:
    """Says so after n iterations."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= n


def run(out: Path, settings: TrainConfig | None = None, made: Any = None, **more: Any) -> TrainResult:
    """A training of the little environment, episodes of 9 to 10 s: fragments end in their middle."""
    made = made or recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5)
    return train(settings or config(), out, recipe=made, **more)


def weights(out: Path) -> dict[str, Any]:
    """Of the last policy, all its groups'."""
    groups = Bundle.load(out / "bundle").groups
    return {name if len(groups) == 1 else f"{group}/{name}": array for group, found in groups.items()
            for name, array in found.weights.items()}


class Levels(Targets):
    """The same with three levels to choose from and no number: what DQN takes."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, counts=(3,))
        self.specs = tuple(replace(spec, action=ActionSpec(spec.action.setpoints[1:])) for spec in self.specs)


def levels(**arguments: Any) -> Levels:
    """The environment, for a recipe."""
    return Levels(**arguments)


#: Environments of other learners than the usual two alike.
WORLDS = {"dqn": EnvRecipe("tests.policies.training.test_loop:levels",
                           {"periods": [1.0, 2.3], "jitter": 0.2, "duration_s": 9.5}),
          "groups": recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5, shared=False)}


def assert_same(a: Path, b: Path) -> None:
    """Weights bit for bit, and metrics but for times."""
    mine, theirs = weights(a), weights(b)
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def rows(out: Path) -> list[dict[str, str]]:
        timed = ("collect_s", "update_s", "steps_per_s")
        with (out / "metrics.csv").open() as stream:
            return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(stream)]

    assert rows(a) == rows(b)


@pytest.mark.parametrize(("name", "changes"), [
    ("plain", {}), ("ahead", {"collection": {"pipeline": True}}),
    ("memory", {"options": {"hidden": [8], "epochs": 2, "memory": True, "sequence": 4}}),
    ("priced", {"cost_limits": {"effort": 0.1}}), ("mappo", {"algo": "mappo"}), ("sac", {"algo": "sac", **OFF}),
    ("td3", {"algo": "td3", **OFF}), ("maddpg", {"algo": "maddpg", **OFF}),
    ("ippo", {"algo": "ippo"}), ("ddpg", {"algo": "ddpg", **OFF}), ("dqn", {"algo": "dqn", **OFF}),
    ("groups", {"algo": "mappo"}), ("groups", {"algo": "maddpg", **OFF}),
    ("slowing", {"algo": "td3", "options": {**OFF["options"], "lr_schedule": "linear", "critic_activation": "silu"}})])
def test_going_on_is_not_having_stopped(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    """Six iterations, or three and three from the checkpoint: the same weights and figures, bit for bit."""
    settings, world = config(**changes), WORLDS.get(name)
    assert run(tmp_path / "whole", settings, world).reason == "done"
    stopped = run(tmp_path / "parts", settings, world, should_stop=stop_after(3))
    assert (stopped.reason, stopped.iterations) == ("stopped", 3)
    assert run(tmp_path / "parts", settings, world, resume=True).iterations == 6
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_workers_and_a_kill_do_not_show(tmp_path: Path) -> None:
    """Killed in the fourth iteration with its checkpoint of the second: gone on from with two workers, the same."""
    run(tmp_path / "whole")
    seen: list[Progress] = []

    class KilledError(Exception):
        pass

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.iteration == 4:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "parts", on_progress=watch)
    assert [path.name for path in checkpoints.written(tmp_path / "parts")] == ["iteration-000002"]
    with_workers = config(collection={"workers": 2})
    run(tmp_path / "parts", with_workers, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_a_lost_worker_leaves_the_checkpoint(tmp_path: Path) -> None:
    """A worker that dies ends the training with its name and the checkpoint to go on from."""
    settings = config(collection={"workers": 1, "slots": 1, "fragment": 8}, steps=400, checkpoints={"every": 1})
    with pytest.raises(TrainingError, match=r"(?s)worker 0.*killed by signal 9.*checkpoint is .*iteration-00000\d: go "
                                           r"on from it with: gridloop train --resume /"):
        run(tmp_path, settings, recipe(periods=[1.0], duration_s=15.0, kill_at=10))
    assert checkpoints.read(checkpoints.written(tmp_path)[-1]).progressed.iteration >= 1


def test_running_ahead_is_one_behind(tmp_path: Path) -> None:
    """With `pipeline` the first two fragments are those of the first weights, and the result differs from none."""
    run(tmp_path / "plain")
    run(tmp_path / "ahead", config(collection={"pipeline": True}))
    assert not np.array_equal(weights(tmp_path / "plain")["head/weight"], weights(tmp_path / "ahead")["head/weight"])


def test_ctrl_c_ends_with_a_checkpoint(tmp_path: Path) -> None:
    """After the iteration, not in its middle; the handler of before is back."""
    before = signal.getsignal(signal.SIGINT)

    def interrupt(progress: Progress) -> None:
        if progress.iteration == 1:
            os.kill(os.getpid(), signal.SIGINT)

    result = run(tmp_path, on_progress=interrupt)
    assert (result.reason, result.iterations) == ("stopped", 1)
    assert [path.name for path in checkpoints.written(tmp_path)] == ["iteration-000001"]
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_kept(tmp_path: Path) -> None:
    """The newest two checkpoints, the best and the last policy, and a row an iteration."""
    seen: list[Progress] = []
    result = run(tmp_path, config(checkpoints={"every": 1, "keep": 2}), on_progress=seen.append)
    assert [path.name[-1] for path in checkpoints.written(tmp_path)] == ["5", "6"]
    assert [p.iteration for p in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1].steps == 384
    best = Bundle.load(tmp_path / "best")
    last = Bundle.load(result.bundle)
    assert best.training["algo"] == last.training["algo"] == "ppo"
    assert last.training["steps"] == 384
    assert result.best == max(p.best for p in seen if p.best is not None)
    assert last.discount is not None
    assert (last.discount["gamma"], last.discount["per_s"]) == (0.99, 1.0)
    assert any((tmp_path / "tensorboard").iterdir())


def test_it_ends_when_it_is_good_enough(tmp_path: Path) -> None:
    """At the target return, or when nothing gets better."""
    good = run(tmp_path / "a", config(stop={"target_return": -1000.0, "window": 1}))
    assert (good.reason, good.iterations) == ("target_return", 1)
    stuck = run(tmp_path / "b", config(stop={"patience": 2, "window": 1}, steps=6400),
                recipe(periods=[1.0, 2.3], rate=1.0, duration_s=9.5))
    assert stuck.reason == "patience"
    assert stuck.iterations < 10


def test_a_training_is_not_overwritten_nor_changed(tmp_path: Path) -> None:
    """A folder in use is refused; so is going on with settings that decide the result, by name; more steps are not."""
    run(tmp_path)
    with pytest.raises(TrainingError, match="holds a training already"):
        run(tmp_path)
    with pytest.raises(TrainingError, match=r"seed was 1, is 2; collection.slots was 2, is 3"):
        run(tmp_path, config(seed=2, collection={"slots": 3}), resume=True)
    assert run(tmp_path, config(steps=512), resume=True).iterations == 8
    with pytest.raises(TrainingError, match="no checkpoint to go on from"):
        run(tmp_path / "empty", resume=True)


@pytest.mark.parametrize("part", ["algorithms.safetensors", "slots.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, part: str) -> None:
    """One cut off in its middle."""
    run(tmp_path, should_stop=stop_after(1))
    file = checkpoints.written(tmp_path)[-1] / part
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TrainingError, match=r"iteration-000001: not a checkpoint, or damaged"):
        run(tmp_path, resume=True)


def test_a_training_of_other_networks_is_not_gone_on_with(tmp_path: Path) -> None:
    """A scenario that has changed since: one message, not torch's trace."""
    run(tmp_path, should_stop=stop_after(1))
    with pytest.raises(TrainingError, match=r"of other networks than these learners have .*the scenario has changed"):
        run(tmp_path, made=recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5, counts=[2]), resume=True)


def test_settings_that_came_later_are_no_difference(tmp_path: Path) -> None:
    """A checkpoint that does not know a setting was trained with its default."""
    run(tmp_path, should_stop=stop_after(1))
    file = checkpoints.written(tmp_path)[-1] / "state.json"
    about = json.loads(file.read_text())
    del about["config"]["threads"]
    file.write_text(json.dumps(about))
    assert run(tmp_path, resume=True).reason == "done"


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_reward_that_is_no_number_ends_it(tmp_path: Path, name: str) -> None:
    """Before it is learned from or remembered: whose, and when; the checkpoint before it stays good."""
    settings = config(algo=name, checkpoints={"every": 1}, **(OFF if name == "sac" else {}))
    with pytest.raises(TrainingError, match=r"(?s)reward of learner 1 in slot 0 is not a finite .*go on from it"):
        run(tmp_path, settings, recipe(periods=[1.0, 2.3], duration_s=9.5, nan_at=40))
    kept = checkpoints.read(checkpoints.written(tmp_path)[-1])
    assert all(np.isfinite(array).all() for state in kept.algorithms.values() for array in state.values())


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that blew up does not take the place of the last good checkpoint."""
    whole = Ppo.state_dict

    def blown(self: Any) -> Any:
        state = whole(self)
        if self._updates == 4:
            state["module/actor/head.bias"][0] = np.inf
        return state

    monkeypatch.setattr(Ppo, "state_dict", blown)
    with pytest.raises(TrainingError, match=r"head.bias is not finite after iteration 4.*iteration-000002"):
        run(tmp_path)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a checkpoint is cleared away, the one before is named; so it is for the table of figures."""
    whole = checkpoints.write_through

    def full(file: Path, data: bytes) -> None:
        if file.name == "slots.safetensors" and ".iteration-000004" in str(file):
            file.write_bytes(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, data)

    monkeypatch.setattr(checkpoints, "write_through", full)
    with pytest.raises(TrainingError, match=r"iteration-000004: .*No space left.*last checkpoint is .*000002"):
        run(tmp_path)
    assert [path.name for path in (tmp_path / checkpoints.FOLDER).iterdir()] == ["iteration-000002"]
    table = Table(tmp_path / "gone" / "metrics.csv")
    with pytest.raises(TrainingError, match=r"metrics.csv: cannot be written"):
        table.add({"iteration": 1})


def test_another_format_is_refused(tmp_path: Path) -> None:
    """With its number."""
    run(tmp_path, should_stop=stop_after(1))
    file = checkpoints.written(tmp_path)[-1] / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(TrainingError, match="format 9; this version reads format 2"):
        run(tmp_path, resume=True)


def test_going_on_from_a_bundle(tmp_path: Path) -> None:
    """A new training begins with the actor of an old one."""
    run(tmp_path / "old")
    kept = weights(tmp_path / "old")
    frozen = config(bundle=str(tmp_path / "old" / "bundle"), steps=64,
                    options={"hidden": [8], "epochs": 1, "lr": 1e-12})
    run(tmp_path / "new", frozen)
    np.testing.assert_allclose(weights(tmp_path / "new")["head/weight"], kept["head/weight"], atol=1e-6)


def test_a_new_figure_gets_a_column(tmp_path: Path) -> None:
    """Rows of before have it empty; going on drops rows behind the checkpoint."""
    file = tmp_path / "metrics.csv"
    table = Table(file)
    table.add({"iteration": 1, "a": 2})
    table.add({"iteration": 2, "a": 3, "b": 4})
    assert file.read_text().split() == ["iteration,a,b", "1,2,", "2,3,4"]
    Table(file, 1).add({"iteration": 2, "a": 9})
    assert file.read_text().split() == ["iteration,a,b", "1,2,", "2,9,"]
    with file.open("a") as stream:
        stream.write("1")  # a row 12 that a crash cut off
    Table(file, 2).add({"iteration": 3, "a": 1, "b": 1})
    assert file.read_text().split() == ["iteration,a,b", "1,2,", "2,9,", "3,1,1"]


def test_checkpoints_are_whole_or_not_there(tmp_path: Path) -> None:
    """What a crash left of an unfinished one is no checkpoint, and is cleared away."""
    run(tmp_path, should_stop=stop_after(1))
    home = tmp_path / checkpoints.FOLDER
    shutil.copytree(home / "iteration-000001", home / ".iteration-000002.new")
    assert [path.name for path in checkpoints.written(tmp_path)] == ["iteration-000001"]
    run(tmp_path, resume=True)
    assert not (home / ".iteration-000002.new").exists()
