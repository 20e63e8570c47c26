"""Rewards and costs of a scenario as a meter on its simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from cosim.errors import GridloopError, PluginError
from cosim.objective.meter import Meter, Shares, Terms
from cosim.plugins import Registry, TermConfig, TermGroup
from cosim.points import Ids, Vector
from cosim.scenario.learning import Discount
from cosim.scenario.schema import Agent as AgentSpec
from cosim.scenario.schema import Scenario
from cosim.simulation import Simulation

#: What is good where the scenario does not say: demand served, voltages and loadings within limits, then small losses.
#: The weights put an hour of one bus 0.01 pu outside beside an hour of one branch 10 % overloaded, 1 MW of losses and
#: 10 kW unserved (what has no voltage breaks no limit and loses nothing: switching off must not pay).
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"kind": "voltage", "weight": -100.0, "per": "h"},
    {"kind": "overload", "weight": -10.0, "per": "h"},
    {"kind": "sum", "name": "losses", "points": ["grid.losses_kw"], "weight": -0.001, "per": "h"},
    {"kind": "sum", "name": "unserved", "points": ["grid.unserved_kw"], "weight": -0.1, "per": "h"},
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One term of one agent (None: of all learners)."""

    config: TermConfig
    agent: int | None
    cost: bool


class RunTermSite:
    """`cosim.plugins.TermSite` of one run."""

    def __init__(self, simulation: Simulation) -> None:
        limits = simulation.scenario.limits
        self.v_min_pu, self.v_max_pu, self.loading_max = limits.v_min_pu, limits.v_max_pu, limits.loading_max
        self._simulation = simulation
        self._slots = {int(point): slot for slot, point in enumerate(simulation.inbox.point_ids)}

    def ids(self, patterns: Sequence[str]) -> Ids:
        """Points by names and patterns, required from now on."""
        points = self._simulation.points
        try:
            found = points.ids_of(patterns)
        except GridloopError as error:
            raise PluginError(str(error)) from None
        points.require(found)
        return found

    def slots(self, ids: Ids) -> Ids:
        """Places of output points among the setpoints."""
        points = self._simulation.points.points
        for i in ids:
            if int(i) not in self._slots:
                raise PluginError(f"point '{points[i].name}' is an input: nobody asks for it; expected an output")
        return np.array([self._slots[int(i)] for i in ids], np.int64)

    def range_of(self, ids: Ids) -> Vector:
        """high - low of points."""
        points = self._simulation.points.points
        return np.array([points[i].high - points[i].low for i in ids])

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """A sampler of profile columns."""
        return self._simulation.site.profile(specs)


@dataclass(frozen=True, slots=True)
class _Caps:
    """Bounds on sums of shares: `group` (n_share,) of an agent's rewards, or costs, of one name; `low` and `high`
    (n_group,)."""

    group: Ids
    low: Vector
    high: Vector

    def capped(self, weighted: Vector) -> Vector:
        """Weighted integrals (n_share,) whose sums keep the bounds: what is cut off is taken from a group's first."""
        total = np.bincount(self.group, weighted, len(self.low))
        over = total - np.clip(total, self.low, self.high)
        if not over.any():
            return weighted
        first = np.unique(self.group, return_index=True)[1]
        capped = weighted.copy()
        capped[first] -= over
        return capped

    @classmethod
    def of(cls, keys: Sequence[tuple[int, str, bool]], bounds: Sequence[tuple[float, float] | None]) -> _Caps | None:
        """Caps of shares with keys (agent, name, whether a cost); None where nothing is bounded."""
        if not any(bounds):
            return None
        known = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        low, high = np.full(len(known), -np.inf), np.full(len(known), np.inf)
        for key, bound in zip(keys, bounds, strict=True):
            if bound is not None:
                low[known[key]], high[known[key]] = bound
        return cls(np.array([known[key] for key in keys], np.int64), low, high)


@dataclass(frozen=True, slots=True)
class Metering:
    """The meter of one run, and what its shares are called.

    `names` (n_share,) of terms; `cost_names` the costs' own names, in order, and `cost_of` (n_share,) the place of each
    share among them (-1: a reward).
    """

    meter: Meter
    shares: Shares
    names: tuple[str, ...]
    cost_names: tuple[str, ...]
    cost_of: Ids
    caps: _Caps | None

    def capped(self, weighted: Vector) -> Vector:
        """Weighted integrals (n_share,) within what their terms say (`within`)."""
        return weighted if self.caps is None else self.caps.capped(weighted)

    def split(self, weighted: Vector, n_agent: int) -> tuple[Vector, Vector]:
        """Rewards (n_agent,) and costs (n_agent, n_cost) of weighted integrals (n_share,)."""
        agent = self.shares.agent
        cost = np.zeros((n_agent, len(self.cost_names)))
        if not self.cost_names:
            return _summed(agent, weighted, n_agent), cost
        is_reward = self.cost_of < 0
        reward = _summed(agent[is_reward], weighted[is_reward], n_agent)
        np.add.at(cost, (agent[~is_reward], self.cost_of[~is_reward]), weighted[~is_reward])
        return reward, cost


def _summed(agent: Ids, weighted: Vector, n_agent: int) -> Vector:
    return np.bincount(agent, weighted, n_agent).astype(float, copy=False)


def build_metering(simulation: Simulation, learners: Sequence[AgentSpec], registry: Registry,
                   discount: Discount | None) -> Metering:
    """The meter of a run's learners, watching from now on; raises PluginError for a term that does not fit."""
    entries = _entries(simulation.scenario, learners, registry)
    kinds: dict[str, list[_Entry]] = {}
    for entry in entries:
        kinds.setdefault(str(entry.config.kind), []).append(entry)
    ordered = [entry for members in kinds.values() for entry in members]
    terms = _terms(kinds, registry, RunTermSite(simulation))
    owners = [(a, k) for k, entry in enumerate(ordered)
              for a in (range(len(learners)) if entry.agent is None else (entry.agent,))]
    shares = Shares(np.array([a for a, _ in owners], np.int64), np.array([k for _, k in owners], np.int64),
                    np.array([_weight(ordered[k].config, registry) for _, k in owners]),
                    # What is limited per second of time is counted in plain seconds.
                    np.array([ordered[k].cost for _, k in owners]) if any(entry.cost for entry in ordered) else None)
    beta = 0.0 if discount is None or not discount.inside else -log(discount.gamma) / discount.per_s
    meter = Meter(terms, shares, len(learners), beta)
    names = tuple(ordered[k].config.name or str(ordered[k].config.kind) for _, k in owners)
    costs = tuple(dict.fromkeys(names[i] for i, (_, k) in enumerate(owners) if ordered[k].cost))
    cost_of = np.array([costs.index(names[i]) if ordered[k].cost else -1 for i, (_, k) in enumerate(owners)], np.int64)
    caps = _Caps.of([(a, name, ordered[k].cost) for (a, k), name in zip(owners, names, strict=True)],
                    [ordered[k].config.within for _, k in owners])
    simulation.watchers.append(meter.watch)
    meter.watch(simulation.view())
    return Metering(meter, shares, names, costs, cost_of, caps)


def _entries(scenario: Scenario, learners: Sequence[AgentSpec], registry: Registry) -> list[_Entry]:
    learning = scenario.learning
    own = any(agent.learn.reward for agent in learners)
    shared = learning.reward or (() if own else DEFAULT_REWARD)
    found = [_Entry(_config(term, registry), None, False) for term in shared]
    found += [_Entry(_config(term, registry), None, True) for term in learning.costs]
    for i, agent in enumerate(learners):
        found += [_Entry(_config(term, registry), i, False) for term in agent.learn.reward]
        found += [_Entry(_config(term, registry), i, True) for term in agent.learn.costs]
    return found


def _config(term: Any, registry: Registry) -> TermConfig:
    config: TermConfig = registry.get("term", str(term.get("kind"))).Config.model_validate(dict(term))
    return config


def _terms(kinds: dict[str, list[_Entry]], registry: Registry, site: RunTermSite) -> Terms:
    groups: list[TermGroup] = []
    for kind, members in kinds.items():
        try:
            groups.append(registry.get("term", kind).build([entry.config for entry in members], site))
        except PluginError as error:
            called = ", ".join(dict.fromkeys(f"'{entry.config.name or kind}'" for entry in members))
            raise PluginError(f"rewards and costs, kind '{kind}' (terms {called}): {error}") from None
    return Terms(tuple(groups), tuple(len(members) for members in kinds.values()),
                 tuple(bool(registry.get("term", kind).impulse) for kind in kinds))


def _weight(config: TermConfig, registry: Registry) -> float:
    return config.weight if registry.get("term", config.kind).impulse else config.weight / config.per.seconds
