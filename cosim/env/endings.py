"""When an episode ends before its time, for one learner or for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError, PluginError
from cosim.plugins import TermView
from cosim.scenario.learning import Condition, Learning
from cosim.scenario.schema import Agent as AgentSpec
from cosim.simulation import Simulation
from cosim.simulation.conditions import Conditions

EVERYONE = -1


class Endings:
    """Watches the conditions of a run's end; the simulation stops as soon as one holds."""

    def __init__(self, simulation: Simulation, learning: Learning, learners: Sequence[AgentSpec]) -> None:
        conditions = [(EVERYONE, condition, f"learning.ends_when.{k}")
                      for k, condition in enumerate(learning.ends_when)]
        if learning.ends_if_diverged:
            conditions.append((EVERYONE, Condition(point="grid.converged", below=0.5), "learning.ends_if_diverged"))
        conditions += [(i, condition, f"agent '{agent.name}': learn.dies_when.{k}") for i, agent in enumerate(learners)
                       for k, condition in enumerate(agent.learn.dies_when)]
        self._simulation = simulation
        self._owner = np.array([owner for owner, _, _ in conditions], np.int64)
        for _, condition, where in conditions:
            _require(condition, where, simulation)
        self._conditions = Conditions([condition for _, condition, _ in conditions], simulation.points)
        self._held = np.zeros(len(conditions), bool)
        self.early = False
        """Whether anything has ended."""
        self._nobody = np.zeros(len(learners), bool)
        if len(conditions):
            simulation.watchers.append(self._watch)
            self._watch(simulation.view())

    def _watch(self, view: TermView) -> None:
        holds = self._conditions.hold(view.values[self._conditions.ids])
        if np.count_nonzero(holds) and (holds & ~self._held).any():
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


def _require(condition: Condition, where: str, simulation: Simulation) -> None:
    """A point that exists; raises PluginError that says where it is asked for."""
    try:
        simulation.points.id_of(condition.point)
    except GridloopError as error:
        raise PluginError(f"{where}.point: {error}") from None
