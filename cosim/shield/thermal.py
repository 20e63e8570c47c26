"""Conductors' heating: how much loading a branch may have for now.

The heating θ of a conductor follows loading² with a first-order lag, dθ/dt = (loading² - θ)/τ, and may reach
loading_max².  A branch may be overloaded for as long as θ stays below after the next scan: a discrete-time barrier on
the one thing about a branch that has a memory.
"""

from __future__ import annotations

import numpy as np

from cosim.points import Ids, Vector
from cosim.shield.limits import Limits

#: Whatever the heating allows, never more than this times the limit (protection trips instantaneously somewhere).
MOST = 2.0


class Heating:
    """Writes the loading rows' upper bounds of `limits`; `rows` (k,) have time constants `tau_s` (k,)."""

    def __init__(self, limits: Limits, rows: Ids, tau_s: Vector, step_s: float) -> None:
        self._limits, self._rows, self._tau_s, self._step_s = limits, rows, tau_s, step_s
        self._rated = limits.high[rows].copy()
        # Nothing is known of what was before: it may stand at its limit.
        self.theta: Vector = self._rated**2
        self._loading: Vector = self._rated.copy()
        self._t_us = 0
        self._write()

    def settled(self, values: Vector | None, t_us: int) -> None:
        """Let the last loading heat until now; `values` (n_row,) hold from now on (None: no solution)."""
        share = np.exp(-(t_us - self._t_us) / 1e6 / self._tau_s)
        goal = self._loading**2
        self.theta = goal + (self.theta - goal) * share
        self._loading = np.zeros(self._rows.size) if values is None else np.nan_to_num(values[self._rows])
        self._t_us = t_us
        self._write()

    def _write(self) -> None:
        """The loading at which the heating reaches its limit within one scan, whenever that scan begins.

        Until the next SOLVE the present loading goes on for any time from nothing to one scan, so the heating then
        is somewhere between what it is and what it would be after a whole scan: the hotter of the two counts.
        """
        share = np.exp(-self._step_s / self._tau_s)
        ahead = self._loading**2 + (self.theta - self._loading**2) * share
        room = (self._rated**2 - np.maximum(self.theta, ahead) * share) / (1.0 - share)
        self._limits.high[self._rows] = np.sqrt(np.clip(room, self._rated**2, (MOST * self._rated) ** 2))
