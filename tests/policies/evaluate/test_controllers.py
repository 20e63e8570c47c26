"""Trained policies of the scenario itself, played by ``as_is``: group, draws and memory as in a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.env import EnvOptions, EventEnv
from cosim.scenario.learning import Discount
from cosim.scenario.loader import LoadedScenario
from cosim.simulation.session import run_scenario
from policies.bundle import Bundle, GroupBundle, normalised
from policies.evaluate import Evaluation, Plan, Source, evaluate, figures_of, named
from policies.evaluate.controllers import _Trained
from policies.evaluate.episode import Episode
from policies.numpy_actor import NumpyActor
from policies.training.slot import Slot, SlotSetting
from policies.training.transitions import Shape
from policies.training.trials import _AtBest
from tests.cosim.env.worlds import learner, loaded
from tests.policies.bundles import description, specs_of, weights

pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")


def saying(spec: Any, value: float) -> GroupBundle:
    """A policy that always answers one number."""
    network = description(spec)
    silent = {name: array if name.startswith("norm") else np.zeros_like(array)
              for name, array in weights(network).items()}
    return GroupBundle(spec, network, silent | {"head/bias": np.full_like(silent["head/bias"], value)})


def acting(folder: Path, **policy: Any) -> LoadedScenario:
    """One battery whose policy is the bundle in a folder."""
    return loaded(learner(1, policy={"kind": "numpy", "bundle": str(folder), **policy}))


def spec_of_one() -> Any:
    """What the agent sees and does."""
    ((spec,),) = specs_of(loaded(learner(1))).values()
    return spec


def test_as_is_takes_the_group_that_the_policy_names(tmp_path: Path) -> None:
    """The other group of a bundle, where the policy says so; its own without."""
    spec = spec_of_one()
    Bundle({spec.group: saying(spec, -1.0), "other": saying(spec, 1.0)}).save(tmp_path / "b")
    for policy, kw in (({"group": "other"}, 100.0), ({}, -100.0)):
        env = EventEnv(acting(tmp_path / "b", **policy))
        at_work = named("as_is").at_work(env)
        env.reset(seed=1)
        at_work.begin(1)
        assert at_work.decide()[0].tolist() == [kw]


@pytest.mark.parametrize("deterministic", [True, False])
def test_as_is_draws_as_a_run_does(tmp_path: Path, deterministic: bool) -> None:
    """``deterministic: false`` gives the run's own key figures, to the last digit, and others than at best."""
    spec = spec_of_one()
    network = description(spec)
    drawn = weights(network) | {"log_std": np.zeros(1, np.float32)}
    Bundle({spec.group: GroupBundle(spec, network, drawn)}).save(tmp_path / "b")
    found = acting(tmp_path / "b", deterministic=deterministic)
    (episode,) = evaluate(Plan(Source.of(found), (named("as_is"),), (found.scenario.seed,))).episodes
    run = run_scenario(found, None)
    assert episode.figures["losses_kwh"] == run.kpis["losses_kwh"]
    (other,) = evaluate(Plan(Source.of(acting(tmp_path / "b", deterministic=not deterministic)), (named("as_is"),),
                             (found.scenario.seed,))).episodes
    assert other.figures["losses_kwh"] != episode.figures["losses_kwh"]


def test_memory_begins_anew_after_what_is_no_number(tmp_path: Path) -> None:
    """A NaN observation holds the action; the next decision is that of an empty memory, as in a run."""
    spec = spec_of_one()
    network = description(spec, kind="gru", normalise=False)
    Bundle({spec.group: GroupBundle(spec, network, weights(network))}).save(tmp_path / "b")
    env = EventEnv(loaded(learner(1)))
    at_work = _Trained(env, str(tmp_path / "b"))
    good = env.reset(seed=1)
    at_work.begin(1)
    fresh = at_work.decide()[0]
    env.last = replace(good, observation=np.full_like(good.observation, np.nan))
    assert np.isnan(at_work.decide()[0]).all()
    env.last = good
    assert at_work.decide()[0].tolist() == fresh.tolist()


@pytest.mark.parametrize("inside", [True, False])
def test_the_discounted_return_is_the_trainings(tmp_path: Path, inside: bool) -> None:
    """An episode of training and its evaluation, discounted as the bundle says: the same numbers for the same seed."""
    spec = spec_of_one()
    network, discount = description(spec), Discount(gamma=0.5, per_s=3.0, inside=inside)
    found = loaded(learner(1, offset_s=4))
    Bundle({spec.group: GroupBundle(spec, network, weights(network))}, discount=discount.model_dump()).save(
        tmp_path / "b")
    env = EventEnv(found, options=EnvOptions(discount=discount))
    env.take_rows_of([normalised(spec) for spec in env.specs])
    slot = Slot(env, SlotSetting(0, 7, {spec.group: Shape(spec.size, 1)}))
    trained = slot.play(0, {spec.group: _AtBest(NumpyActor(network, weights(network)))})
    seed = int(np.random.SeedSequence([7, 0, 0]).generate_state(1, np.uint64)[0] >> np.uint64(11))
    (episode,) = evaluate(Plan(Source.of(found), (named(str(tmp_path / "b")),), (seed,))).episodes
    assert episode.figures["discounted_return"] == pytest.approx(trained.discounted[0], rel=1e-9)
    assert episode.figures["return"] == pytest.approx(trained.returns[0], rel=1e-9)


def test_the_worst_difference_is_the_worst() -> None:
    """Losses of 1 kWh less and 5 more: 5 more is the worst."""
    episodes = tuple(Episode(name, "q", seed, {"losses_kwh": value, "return": -value}, {}, {}, {})
                     for name, values in (("a", (10.0, 10.0)), ("b", (9.0, 15.0))) for seed, value in enumerate(values))
    against = Evaluation("x", ("a", "b"), ("q",), (0, 1), episodes).cells()[1].against
    assert (against["losses_kwh"].worst, against["return"].worst) == (5.0, -5.0)


def test_figures_are_known_before_any_is_played() -> None:
    """Those of the episodes, costs among them; a discounted return only where something is discounted."""
    costs = {"learning": {"reward": [], "costs": [{"kind": "voltage", "name": "volts", "weight": 1.0}]}}
    plan = Plan(Source.of(loaded(learner(1), **costs)), (named("none"),), (1,))
    (cell,) = evaluate(plan).cells()
    assert set(figures_of(plan)) == set(cell.figures)
    assert "discounted_return" in figures_of(replace(plan, discount=Discount(gamma=0.9, per_s=1.0)))
