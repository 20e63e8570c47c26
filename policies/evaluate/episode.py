"""One episode under one controller: rewards, costs, key figures, what the shield did, and how long deciding took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan

import numpy as np
from numpy.typing import NDArray

from cosim.env.event import Decision, EventEnv
from cosim.points import Vector
from cosim.scenario.learning import Discount
from cosim.simulation import Simulation
from cosim.stopwatch import Stopwatch
from policies.evaluate.controllers import Deciding
from policies.training.gae import worth

#: Key figures of a run that are taken over as they are, and those that are summed over elements.
_KPIS = ("violation_bus_minutes", "losses_kwh", "cost", "import_kwh", "export_kwh", "unserved_kwh", "dead_minutes",
         "v_min_pu", "v_max_pu")
_SHIELD = {"interventions": "interventions", "active_minutes": "shield_minutes",
           "infeasible_minutes": "infeasible_minutes"}


@dataclass(frozen=True, slots=True)
class Episode:
    """What came of one episode; `figures` by name, see `policies.evaluate.evaluation.FIGURES`.

    `agents` are undiscounted returns by learner, `terms` weighted terms of reward and costs (means over learners),
    `costs` constraint signals (means over learners).  `latency_ms` (n_decision,) is wall time: it differs from run to
    run, everything else does not.
    """

    controller: str
    quality: str
    seed: int
    figures: Mapping[str, float]
    agents: Mapping[str, float]
    terms: Mapping[str, float]
    costs: Mapping[str, float]
    latency_ms: tuple[float, ...] = field(default=(), compare=False)


@dataclass(slots=True)
class _Tally:
    """Sums over an episode; arrays are (n_agent,), (n_agent, n_cost)."""

    rewards: Vector
    discounted: Vector
    costs: Vector
    terms: dict[str, float]
    decisions: int = 0


def play(env: EventEnv, deciding: Deciding, seed: int, discount: Discount | None, stopwatch: Stopwatch) -> Episode:
    """Play the episode of this seed to its end.  The discounted return counts from the first decision.

    The names of controller and quality are filled in by who knows them.
    """
    decision = env.reset(seed=seed)
    before_s = env.simulation.outside_s()
    n, first_us = len(env.names), decision.t_us
    tally = _Tally(np.zeros(n), np.zeros(n), np.zeros((n, len(env.cost_names))), {})
    acted = np.zeros(n, bool)
    latency: list[float] = []
    deciding.begin(seed)
    while not decision.ended:
        begun_s = stopwatch.now_s()
        setpoints = deciding.decide()
        taken_s = stopwatch.now_s() - begun_s
        n_due = int(decision.due.sum())
        if n_due:
            latency.append(1e3 * taken_s / n_due)
        tally.decisions += n_due
        acted |= decision.due
        over = decision.terminated
        env.commit_setpoints(setpoints)
        decision = env.advance()
        since_s = (decision.t_us - first_us) / 1e6 - decision.dt_s
        _count(env, decision, tally, acted & ~over, worth(discount, since_s))
    length_s = (decision.t_us - first_us) / 1e6
    figures = {**_returns(tally, discount), **_shares(env.simulation, before_s, length_s), **_of_run(env.simulation),
               "length_s": length_s, "decisions": float(tally.decisions)}
    env.close()
    return Episode("", "", seed, figures, dict(zip(env.names, tally.rewards.tolist(), strict=True)), tally.terms,
                   dict(zip(env.cost_names, tally.costs.mean(0).tolist(), strict=True)), tuple(latency))


def _count(env: EventEnv, decision: Decision, tally: _Tally, told: NDArray[np.bool_], weight: Vector) -> None:
    """Add what this decision brought; `told` (n_agent,) bool: who has decided before and was still alive."""
    tally.rewards += decision.reward
    tally.discounted += weight * decision.reward
    tally.costs += decision.cost
    now = told & (decision.due | decision.terminated | decision.ended)
    for i in np.flatnonzero(now).tolist():
        for name, value in env.breakdown(i).items():
            tally.terms[name] = tally.terms.get(name, 0.0) + value / len(env.names)


def _returns(tally: _Tally, discount: Discount | None) -> dict[str, float]:
    found = {"return": float(tally.rewards.mean())}
    if discount is not None:
        found["discounted_return"] = float(tally.discounted.mean())
    return found


def _shares(simulation: Simulation, before_s: tuple[float, float], length_s: float) -> dict[str, float]:
    """Shares of the time since `before_s` was read; NaN where none has passed."""
    if not length_s:
        return {"in_band": nan, "violating": nan}
    out_of_band, violating = (now - before for now, before in zip(simulation.outside_s(), before_s, strict=True))
    return {"in_band": 1.0 - out_of_band / length_s, "violating": violating / length_s}


def _of_run(simulation: Simulation) -> dict[str, float]:
    kpis, shield = simulation.kpis(), simulation.shield_figures()
    found = {name: float(getattr(kpis, name)) for name in _KPIS}
    found["overload_minutes"] = float(sum(kpis.overload_minutes.values()))
    return found | {ours: float(shield.get(theirs, 0.0)) for theirs, ours in _SHIELD.items()}
