"""What the grid may do while orders are under way: every device does any of what it may have been told.

Theory of operation
-------------------
With S the rows' sensitivities, a device adds max over its possible orders of max(S Δ) to a row; devices add up, so the
worst over all mixtures is a sum of maxima, and no mixture has to be listed.  An order more can only raise it.  So a
new order is let through by the share of its way (0..1, device by device) for which the worst stays within the bounds:
what a device adds grows at most in proportion to that share (a maximum of linear functions is convex), and a share of
zero adds nothing.  To the linear worst comes a share for what it leaves out; where that decides, the worst mixture of
the worst row is solved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.points import Vector
from cosim.shield.staleness import Powers, Reach

LINEARISATION = 0.1
"""Share of a change added for what the linearisation leaves out."""
#: What a device adds to a row counts as nothing below this, per unit of the row's scale.
NOTHING = 1e-7

#: Upward and downward contributions of each device to each row, both (n_row, n_injection).
Terms = tuple[Vector, Vector]


class Worst:
    """Rows around one believed state: `slope` (n_row, n_power), `value` (n_row,) at the powers `at` (n_power,)."""

    def __init__(self, powers: Powers, slope: Vector, value: Vector, at: Vector) -> None:
        self._powers, self._at, self.value = powers, at, value
        self._up, self._down = np.maximum(slope, 0.0), np.minimum(slope, 0.0)

    def terms(self, reach: Reach) -> Terms:
        """What each device may add under one order; nothing at all (-inf, inf) where it cannot be doing it."""
        low, high = reach.low - self._at, reach.high - self._at
        up = self._powers.by_device(self._up * high + self._down * low)
        down = self._powers.by_device(self._up * low + self._down * high)
        if not reach.possible.all():
            up[:, ~reach.possible], down[:, ~reach.possible] = -np.inf, np.inf
        return up, down

    def rows(self, terms: Terms) -> Terms:
        """Lowest and highest values (n_row,) over all mixtures."""
        up, down = terms
        share = 1.0 + LINEARISATION
        return self.value + share * down.sum(axis=1), self.value + share * up.sum(axis=1)

    def corner(self, row: int, high: bool, reaches: Sequence[Reach]) -> Vector:
        """The powers (n_power,) of the mixture that drives `row` highest (or lowest)."""
        slope = self._up[row] + self._down[row]
        rises = slope > 0.0 if high else slope < 0.0
        ends = np.array([np.where(rises, reach.high, reach.low) for reach in reaches])
        added = np.array([self._powers.by_device((slope * (end - self._at))[None])[0] for end in ends])
        possible = np.array([reach.possible for reach in reaches])
        added = np.where(possible, added if high else -added, -np.inf)
        chosen = self._powers.of_devices(np.argmax(added, axis=0))
        return np.asarray(ends[chosen, np.arange(ends.shape[1])])


def mixed(terms: Sequence[Terms]) -> Terms:
    """What each device may add under any of several orders."""
    return np.maximum.reduce([up for up, _ in terms]), np.minimum.reduce([down for _, down in terms])


def shares(before: Terms, order: Terms, room: Terms, scale: Vector) -> Vector:
    """The share of its way (n_injection,) by which each device may follow a new order, so that no row's worst rises by
    more than its `room` (below, above), both (n_row,)."""
    below, above = room
    share = np.ones(before[0].shape[1])
    for more, left in ((order[0] - before[0], above), (before[1] - order[1], below)):
        more = np.maximum(more, 0.0) * (1.0 + LINEARISATION)
        more[more <= NOTHING * scale[:, None]] = 0.0
        total = more.sum(axis=1)
        tight = total > np.maximum(left, 0.0)
        if tight.any():
            part = np.clip(left[tight], 0.0, None) / total[tight]
            share = np.minimum(share, np.where(more[tight] > 0.0, part[:, None], 1.0).min(axis=0))
    return share
