"""Which choices of an agent are open now: its action mask, the same in an environment and in a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError, PluginError
from cosim.points import PointDatabase, match
from cosim.scenario.learning import Acting
from cosim.scenario.problems import near
from cosim.simulation.conditions import Conditions


class OpenChoices:
    """Watches the conditions that close choices; raises PluginError for a point that does not exist."""

    def __init__(self, agent: str, acting: Acting, points: PointDatabase) -> None:
        names = [choice.name for choice in acting.choices]
        try:
            self._conditions = Conditions([mask.closed_when for mask in acting.masks], points)
        except GridloopError as error:
            raise PluginError(f"agent '{agent}': learn.act.masks: {error}") from None
        self._closes = np.zeros((len(acting.masks), len(names)), bool)
        for i, mask in enumerate(acting.masks):
            for pattern in mask.choices:
                found = match(pattern, names)
                if not found:
                    raise PluginError(f"agent '{agent}': learn.act.masks close '{pattern}', which none of its "
                                      f"{len(names)} choices is called{near(pattern, names)}")
                self._closes[i, found] = True
        self._points = points

    def now(self) -> NDArray[np.bool_]:
        """Choices (n_choice,) that may be taken now."""
        holds = self._conditions.hold(self._points.take(self._conditions.ids))
        closed: NDArray[np.bool_] = np.logical_or.reduce(self._closes[holds], 0)
        return np.logical_not(closed)
