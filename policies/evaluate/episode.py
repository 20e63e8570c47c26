"""One episode under one controller: rewards, costs, key figures, what the shield did, and how long deciding took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.env.event import Decision, EventEnv
from cosim.plugins import TermView
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


class _Watch:
    """Shares of time in which every voltage, and everything, was within its limits."""

    def __init__(self, simulation: Simulation) -> None:
        points, limits = simulation.points, simulation.scenario.limits
        self._volts = points.ids_of(["bus.*.v_pu"])
        names = [name for name in points.names if name.endswith(".loading") and name.startswith(("line.", "trafo."))]
        self._loadings = np.array([points.id_of(name) for name in names], np.int64)
        self._converged = points.ids_of(["grid.converged"])
        self._low, self._high, self._most = limits.v_min_pu, limits.v_max_pu, limits.loading_max
        for ids in (self._volts, self._loadings, self._converged):
            points.require(ids)
        self._since_us = simulation.now_us
        self._outside_us = np.zeros(2)
        self._total_us = 0
        self._outside = np.zeros(2, bool)
        simulation.watchers.append(self.look)

    def look(self, view: TermView) -> None:
        """What held until now is charged; what is published now holds from now on."""
        self.charge(view.t_us)
        volts = view.values[self._volts]
        dead = not bool(view.values[self._converged].all())
        off = dead or bool(((volts < self._low) | (volts > self._high)).any())
        over = bool((view.values[self._loadings] > self._most).any()) if len(self._loadings) else False
        self._outside = np.array([off, off or over])

    def charge(self, t_us: int) -> None:
        """Time up to now."""
        held_us = t_us - self._since_us
        self._outside_us += self._outside * held_us
        self._total_us += held_us
        self._since_us = t_us

    def shares(self, t_us: int) -> tuple[float, float]:
        """(voltages within, anything outside) as shares of the time; NaN where none has passed."""
        self.charge(t_us)
        if not self._total_us:
            return float("nan"), float("nan")
        volts, anything = (self._outside_us / self._total_us).tolist()
        return 1.0 - volts, anything


def play(env: EventEnv, deciding: Deciding, seed: int, discount: Discount | None, stopwatch: Stopwatch) -> Episode:
    """Play the episode of this seed to its end.  The discounted return counts from the first decision.

    The names of controller and quality are filled in by who knows them.
    """
    decision = env.reset(seed=seed)
    watch = _Watch(env.simulation)
    watch.look(env.simulation.view())
    n, first_us = len(env.names), decision.t_us
    tally = _Tally(np.zeros(n), np.zeros(n), np.zeros((n, len(env.cost_names))), {})
    acted = np.zeros(n, bool)
    latency: list[float] = []
    deciding.begin(seed)
    while not decision.ended:
        before_s = stopwatch.now_s()
        setpoints = deciding.decide()
        taken_s = stopwatch.now_s() - before_s
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
    figures = {**_returns(tally, discount), **_of_run(env.simulation, watch),
               "length_s": (decision.t_us - first_us) / 1e6, "decisions": float(tally.decisions)}
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


def _of_run(simulation: Simulation, watch: _Watch) -> dict[str, float]:
    kpis, shield = simulation.kpis(), simulation.shield_figures()
    in_band, violating = watch.shares(simulation.now_us)
    found = {"in_band": in_band, "violating": violating}
    found |= {name: float(getattr(kpis, name)) for name in _KPIS}
    found["overload_minutes"] = float(sum(kpis.overload_minutes.values()))
    return found | {ours: float(shield.get(theirs, 0.0)) for theirs, ours in _SHIELD.items()}
