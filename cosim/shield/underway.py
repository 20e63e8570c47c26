"""What the grid may do while orders are under way: every device does any of what it may have been told.

Theory of operation
-------------------
With S the rows' sensitivities, a device adds max over its possible orders of max(S Δ) to a row; devices add up, so the
worst over all mixtures is a sum of maxima, and no mixture has to be listed.  An order more can only raise it.  So a
new order is let through by the share of its way (0..1, device by device) for which the worst stays within the bounds:
what a device adds grows at most in proportion to that share (a maximum of linear functions is convex), and a share of
zero adds nothing.

To the linear worst comes a share for what it leaves out, and what changes leave that cancel out in a row's first order
(active power up and reactive power down): all that moves at a row times the most that moves at any, per unit.  Where a
bound is near, the worst mixture of the worst row is solved, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.points import Vector
from cosim.shield.limits import Limits
from cosim.shield.staleness import Powers, Reach

LINEARISATION = 0.1
"""Share of a change added for what the linearisation leaves out."""
CURVE = 1.0
"""Share added of all that moves at a row, per unit of what moves most."""
#: What a device adds to a row counts as nothing below this, per unit.
NOTHING = 1e-9

#: Upward and downward contributions of each device to each row, and all that moves there whatever its sign, each
#: (n_row, n_injection).
Terms = tuple[Vector, Vector, Vector]


class Worst:
    """Rows around one believed state: `slope` (n_row, n_power), `around` their values (n_row,) at powers (n_power,).

    Loadings are sizes: as large with the current turned round.
    """

    def __init__(self, limits: Limits, powers: Powers, slope: Vector, around: tuple[Vector, Vector]) -> None:
        self._powers = powers
        self.value, self._at = around
        loadings = limits.loading_rows
        self._sizes = np.zeros(len(limits), bool)
        self._sizes[loadings] = True
        #: What counts as 1 per unit of each row (n_row,): powers by the base, of which their scale is a hundredth.
        self.unit = np.where(np.arange(len(limits)) < loadings.stop, 1.0, 100.0 * limits.scale)
        self._up, self._down = np.maximum(slope, 0.0), np.minimum(slope, 0.0)

    def terms(self, reach: Reach) -> Terms:
        """What each device may add under one order; nothing at all (-inf, inf) where it cannot be doing it."""
        low, high = reach.low - self._at, reach.high - self._at
        up = self._powers.by_device(self._up * high + self._down * low)
        down = self._powers.by_device(self._up * low + self._down * high)
        moves = self._powers.by_device((self._up - self._down) * np.maximum(np.abs(low), np.abs(high)))
        if not reach.possible.all():
            up[:, ~reach.possible], down[:, ~reach.possible], moves[:, ~reach.possible] = -np.inf, np.inf, 0.0
        return up, down, moves

    def curve(self, moves: Vector) -> Vector:
        """What is left of second order (n_row,): losses where most moves, as far as they are felt at a row."""
        gross = moves.sum(axis=1)
        return np.asarray(CURVE * gross * (gross / self.unit).max(initial=0.0))

    def rows(self, terms: Terms) -> tuple[Vector, Vector]:
        """Lowest and highest values (n_row,) over all mixtures."""
        up, down, moves = terms
        share, curve = 1.0 + LINEARISATION, self.curve(moves)
        low, high = self.value + share * down.sum(axis=1) - curve, self.value + share * up.sum(axis=1) + curve
        return low, np.where(self._sizes, np.fmax(high, -low), high)

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
    up, down, moves = zip(*terms, strict=True)
    return np.maximum.reduce(up), np.minimum.reduce(down), np.maximum.reduce(moves)


def shares(worst: Worst, before: Terms, order: Terms, room: tuple[Vector, Vector]) -> Vector:
    """The share of its way (n_injection,) by which each device may follow a new order, so that no row's worst rises by
    more than its `room` (below, above), both (n_row,).

    Where there is no room, the second order holds nobody back: who makes a broken row better must pass.
    """
    below, above = room
    share = np.ones(before[0].shape[1])
    moved = np.maximum(order[2] - before[2], 0.0)
    curved = worst.curve(before[2] + moved) - worst.curve(before[2])
    each = moved * (curved / np.maximum(moved.sum(axis=1), 1e-12))[:, None]
    for more, left in ((order[0] - before[0], above), (before[1] - order[1], below)):
        more = np.maximum(more, 0.0) * (1.0 + LINEARISATION)
        more = np.where(left[:, None] > 0.0, more + each, more)
        more[more <= NOTHING * worst.unit[:, None]] = 0.0
        total = more.sum(axis=1)
        tight = total > np.maximum(left, 0.0)
        if tight.any():
            part = np.clip(left[tight], 0.0, None) / total[tight]
            share = np.minimum(share, np.where(more[tight] > 0.0, part[:, None], 1.0).min(axis=0))
    return share
