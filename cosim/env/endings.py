"""When an episode ends before its time, for one learner or for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError, PluginError
from cosim.plugins import TermView
from cosim.points import Ids, PointDatabase
from cosim.scenario.learning import Condition, Learning
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
        self.early = False
        """Whether anything has ended."""
        self._nobody = np.zeros(len(learners), bool)
        if len(conditions):
            simulation.points.require(self._ids)
            simulation.watchers.append(self._watch)
            self._watch(simulation.view())

    def _watch(self, view: TermView) -> None:
        values = view.values[self._ids]
        holds = (values < self._below) | (values > self._above)
        if holds.any() and (holds & ~self._held).any():
            self._held |= holds
            self.early = True
            self._simulation.stop_soon()

    def over(self) -> NDArray[np.bool_]:
        """Learners (n,) that are over; not to be written to."""
        if not self.early:
            return self._nobody
        owners = self._owner[self._held]
        if (owners == EVERYONE).any():
            return np.ones_like(self._nobody)
        over = self._nobody.copy()
        over[owners] = True
        return over


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
