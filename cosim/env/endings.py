"""When an episode ends before its time, for one learner or for all; and which choices are closed now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError, PluginError
from cosim.plugins import TermView
from cosim.points import Ids, PointDatabase, match
from cosim.scenario.learning import Acting, Condition, Learning
from cosim.scenario.schema import Agent as AgentSpec
from cosim.simulation import Simulation

EVERYONE = -1


class Endings:
    """Watches the conditions of a run's end; the simulation stops as soon as one holds."""

    def __init__(self, simulation: Simulation, learning: Learning, learners: Sequence[AgentSpec]) -> None:
        conditions = [(EVERYONE, condition) for condition in learning.ends_when]
        if learning.ends_if_diverged:
            conditions.append((EVERYONE, Condition(point="grid.converged", below=0.5)))
        conditions += [(i, condition) for i, agent in enumerate(learners) for condition in agent.learn.dies_when]
        self._simulation = simulation
        self._owner = np.array([owner for owner, _ in conditions], np.int64)
        self._ids, self._below, self._above = _bounds(simulation.points, [condition for _, condition in conditions])
        self._held = np.zeros(len(conditions), bool)
        if len(conditions):
            simulation.points.require(self._ids)
            simulation.watchers.append(self._watch)
            self._watch(simulation.view())

    def _watch(self, view: TermView) -> None:
        values = view.values[self._ids]
        holds = (values < self._below) | (values > self._above)
        if holds.any() and (holds & ~self._held).any():
            self._held |= holds
            self._simulation.stop_soon()

    @property
    def early(self) -> bool:
        """Whether anything has ended."""
        return bool(self._held.any())

    def over(self, n: int) -> NDArray[np.bool_]:
        """Learners (n,) that are over."""
        owners = self._owner[self._held]
        if (owners == EVERYONE).any():
            return np.ones(n, bool)
        over = np.zeros(n, bool)
        over[owners] = True
        return over


def closed_choices(simulation: Simulation, acting: Acting, names: Sequence[str]) -> NDArray[np.bool_]:
    """Choices (n_choice,) that may not be taken now."""
    closed = np.zeros(len(names), bool)
    for mask in acting.masks:
        ids, below, above = _bounds(simulation.points, [mask.closed_when])
        value = simulation.points.values[ids]
        if (value < below).any() or (value > above).any():
            for pattern in mask.choices:
                closed[match(pattern, names)] = True
    return closed


def _bounds(points: PointDatabase, conditions: Sequence[Condition]) -> tuple[Ids, NDArray[np.float64],
                                                                              NDArray[np.float64]]:
    """Ids, and the bounds below and above which conditions hold (NaN where there is none: never true)."""
    try:
        ids = np.array([points.id_of(condition.point) for condition in conditions], np.int64)
    except GridloopError as error:
        raise PluginError(str(error)) from None
    below = np.array([np.nan if c.below is None else c.below for c in conditions])
    above = np.array([np.nan if c.above is None else c.above for c in conditions])
    return ids, below, above
