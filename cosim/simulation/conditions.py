"""Comparisons of points with bounds, many at a time: what ends an episode, what closes a choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, PointDatabase, Vector
from cosim.scenario.learning import Condition


class Conditions:
    """Several conditions, whose points are published from now on; raises GridloopError for one that does not exist."""

    def __init__(self, conditions: Sequence[Condition], points: PointDatabase) -> None:
        self.ids: Ids = np.array([points.id_of(condition.point) for condition in conditions], np.int64)
        points.require(self.ids)
        # NaN where there is no bound: never true.
        self._below = np.array([np.nan if c.below is None else c.below for c in conditions])
        self._above = np.array([np.nan if c.above is None else c.above for c in conditions])

    def hold(self, values: Vector) -> NDArray[np.bool_]:
        """Which of them hold (n,) for the values (n,) of their points."""
        found: NDArray[np.bool_] = (values < self._below) | (values > self._above)
        return found
