"""Trials: the same episodes whatever the training, without exploration, and the best policy is the best of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from policies.bundle import Bundle
from policies.training.algorithm import TrainingError
from policies.training.assembly import assemble
from policies.training.config import TrainConfig, load_config
from policies.training.loop import TrainResult, train
from policies.training.progress import Progress
from policies.training.trials import Trials
from tests.policies.training.fakes import recipe


def config(**changes: Any) -> TrainConfig:
    """Six iterations of 2 × 32 instants, a trial of three episodes after every second one."""
    return load_config({
        "scenario": "none", "algo": "ppo", "steps": 384, "collection": {"workers": 0, "slots": 2, "fragment": 32},
        "options": {"hidden": [8], "epochs": 2, "minibatch": 32}, "trials": {"every": 2, "episodes": 3}, **changes})


def run(out: Path, settings: TrainConfig, **more: Any) -> TrainResult:
    """A training of the little environment."""
    return train(settings, out, recipe=recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5), **more)


def constant(weights: dict[str, Any], value: float) -> dict[str, Any]:
    """Weights of an actor that always does `value`."""
    changed = {name: np.zeros_like(array) for name, array in weights.items()}
    changed["norm/std"] = np.ones_like(weights["norm/std"])
    changed["head/bias"] = np.full_like(weights["head/bias"], value)
    return {"all": changed}


def test_a_trial_is_a_function_of_the_weights() -> None:
    """Twice the same, another training's seed the same, other weights another; exploration does not show."""
    first, second = (assemble(config(seed=seed), recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5))
                     for seed in (1, 2))
    weights = dict(first.algorithms["all"].actor_weights())
    trials = Trials(first, 3)
    reached = trials.play(constant(weights, 0.0))
    assert trials.play(constant(weights, 0.9)) != reached
    assert trials.play(constant(weights, 0.0)) == reached
    assert Trials(second, 3).play(constant(weights, 0.0)) == reached
    louder = constant(weights, 0.0)
    louder["all"]["log_std"] = louder["all"]["log_std"] + 1.0
    assert trials.play(louder) == reached
    # The cost's rate is |x| = 0; the return of x = 0 is the integral of 1 - target^2, targets within ±1.
    assert reached.cost_rates == {"effort": 0.0}
    assert 0.0 < reached.plain < 9.5 + 2.3
    trials.close()


def test_the_best_policy_is_the_best_of_the_trials(tmp_path: Path) -> None:
    """Scores come only with trials, `best` is the highest, and `best`'s weights reach it when they are tried again."""
    seen: list[Progress] = []
    result = run(tmp_path, config(stop={"score": "sum"}), on_progress=seen.append)
    assert [p.trial is not None for p in seen] == [False, True, False, True, False, True]
    scores = [p.trial for p in seen if p.trial is not None]
    assert result.best == max(scores)
    with (tmp_path / "metrics.csv").open() as stream:
        assert [float(row["trial"]) for row in csv.DictReader(stream) if row["trial"]] == scores
    kept = dict(Bundle.load(tmp_path / "best").group("all").weights)
    again = Trials(assemble(config(), recipe(periods=[1.0, 2.3], jitter=0.2, duration_s=9.5)), 3)
    assert again.play({"all": kept}).plain == result.best


def test_the_last_policy_is_tried_too(tmp_path: Path) -> None:
    """Whatever `every` is."""
    seen: list[Progress] = []
    run(tmp_path, config(trials={"every": 4, "episodes": 1}), on_progress=seen.append)
    assert [p.iteration for p in seen if p.trial is not None] == [4, 6]


def test_going_on_is_not_having_stopped(tmp_path: Path) -> None:
    """Interrupted between trials: the same best policy and scores."""
    asked = iter(range(10))
    whole = run(tmp_path / "whole", config())
    run(tmp_path / "parts", config(), should_stop=lambda: next(asked) >= 2)
    parts = run(tmp_path / "parts", config(), resume=True)
    assert parts.best == whole.best
    mine, theirs = (Bundle.load(tmp_path / name / "best").group("all").weights for name in ("whole", "parts"))
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_a_training_ends_by_its_trials(tmp_path: Path) -> None:
    """A target is reached by a trial, not by an episode of training; patience counts trials."""
    good = run(tmp_path / "a", config(stop={"target_return": -1000.0, "window": 1}))
    assert (good.reason, good.iterations) == ("target_return", 2)
    stuck = train(config(stop={"patience": 3}, steps=6400), tmp_path / "b",
                  recipe=recipe(periods=[1.0, 2.3], rate=1.0, duration_s=9.5))
    assert (stuck.reason, stuck.iterations) == ("patience", 8)


@pytest.mark.parametrize("trials", [{"every": -1}, {"episodes": 0}, {"often": 3}])
def test_wrong_settings_are_named(trials: dict[str, Any]) -> None:
    """By their path."""
    (name,) = trials
    with pytest.raises(TrainingError, match=rf"trials\.{name}"):
        config(trials=trials)


def test_a_trial_may_be_of_the_task_itself() -> None:
    """Other overrides in trials: judged by the task's reward, and refused where learners would see something else."""
    def trials(*overrides: str) -> Trials:
        changes = ["learning.reward=[{kind: sum, points: [grid.losses_kw]}]", "duration_s=3600"]
        settings = load_config({"scenario": "volt_var_33", "algo": "ippo", "options": {"hidden": [4]},
                                "overrides": changes})
        return Trials(assemble(settings), 1, ["duration_s=3600", *overrides])

    def weights(trials: Trials) -> dict[str, Any]:
        return {group: {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
                for group, shapes in trials._plan.weights.items()}

    same = trials("learning.reward=[{kind: sum, points: [grid.losses_kw]}]")
    assert same.play(weights(same)).plain > 0.0
    judged = trials()
    assert judged.play(weights(judged)).plain < 0.0
    with pytest.raises(TrainingError, match=r"trials\.overrides: learners differ from those that are trained"):
        trials("agents.volt_var_13.learn.observe.due=true")
