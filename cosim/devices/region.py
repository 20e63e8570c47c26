"""Regions of active and reactive power that a device can work in: convex polygons, and the nearest point in them.

A capability curve is drawn as a polygon in the P-Q plane (a generator's D-curve, an inverter's chamfered rectangle).
What is available or stored cuts it by two vertical lines, ``p_low <= p <= p_high``.  A request outside is brought to
the nearest point of what is left, in the Euclidean norm of (kW, kvar): both powers give way, not one before the other.

Inside is decided for all devices at once; the few that are outside are projected one by one, exactly: the polygon is
cut (Sutherland and Hodgman 1974) and the nearest point is on one of its edges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import hypot
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from cosim.devices.base import Mask
from cosim.points import Vector

Point = tuple[float, float]

MOST_CORNERS = 64
#: Outside by less than this, per unit of the region's size, is inside: what rounding leaves of a projected point.
SLACK = 1e-12
#: A turn the wrong way is rounding below this, per unit of the region's size squared.
STRAIGHT = 1e-9


def _convex(corners: tuple[Point, ...]) -> tuple[Point, ...]:
    """The corners, counter-clockwise, of a convex polygon that contains (0, 0); ValueError where they are not."""
    if not 3 <= len(corners) <= MOST_CORNERS:
        raise ValueError(f"expected 3 to {MOST_CORNERS} corners [p_kw, q_kvar], found {len(corners)}")
    if len(set(corners)) < len(corners):
        raise ValueError("a corner appears twice; give each once, in order around the region (it closes by itself)")
    around = corners if _area(corners) > 0 else corners[::-1]
    rounding = STRAIGHT * max(hypot(p, q) for p, q in corners) ** 2
    if _area(around) <= rounding:
        raise ValueError("expected a region with an area; the corners, in order, do not go around one")
    edges = [(around[i - 1], around[i]) for i in range(len(around))]
    bent = next((c for a, b in edges for c in around if _turn(a, b, c) < -rounding), None)
    if bent is not None:
        raise ValueError(f"the corners, in order, must go once around a convex region; {list(bent)} does not fit")
    if any(_turn(a, b, (0.0, 0.0)) < -rounding for a, b in edges):
        raise ValueError("the region must contain [0, 0]: a device can always stand still")
    return around


def _area(corners: Sequence[Point]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, (*corners[1:], corners[0]), strict=True)) / 2.0


def _turn(a: Point, b: Point, c: Point) -> float:
    """Positive where a, b, c turn left."""
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])


Region = Annotated[tuple[Point, ...], AfterValidator(_convex)]
"""Corners [p_kw, q_kvar] in order around a convex region that contains [0, 0]."""


class Regions:
    """The regions of the n devices of a group.  Bounds are each (n,): kW and kvar into the grid."""

    def __init__(self, corners: Sequence[Sequence[Point]]) -> None:
        self._corners = [tuple(each) for each in corners]
        table = [np.array(each, np.float64) for each in self._corners]
        self.p_min_kw, self.q_min_kvar = _each(table, 0, np.min), _each(table, 1, np.min)
        self.p_max_kw, self.q_max_kvar = _each(table, 0, np.max), _each(table, 1, np.max)
        self.s_max_kva = np.array([float(np.hypot(*each.T).max()) for each in table])
        n_edge = max(map(len, self._corners), default=0)
        self._out_p, self._out_q = np.zeros((2, n_edge, len(table)))
        self._reach = np.zeros((n_edge, len(table)))
        for i, each in enumerate(table):
            along = np.roll(each, -1, axis=0) - each
            normal = np.stack((along[:, 1], -along[:, 0])) / np.hypot(*along.T)
            self._out_p[:len(each), i], self._out_q[:len(each), i] = normal
            self._reach[:len(each), i] = (normal.T * each).sum(axis=1)
        self._reach += SLACK * np.maximum(self.s_max_kva, 1.0)

    def holds(self, p_kw: Vector, q_kvar: Vector) -> Mask:
        """Whether each point lies in its region, cuts apart (NaN does not)."""
        return np.asarray(np.logical_and.reduce(self._out_p * p_kw + self._out_q * q_kvar <= self._reach))

    def nearest(self, p_kw: Vector, q_kvar: Vector, p_low: Vector, p_high: Vector) -> tuple[Vector, Vector]:
        """The nearest points with ``p_low <= p <= p_high`` (whose strip must meet the region, as one around 0 does).

        A point that is inside comes back bit for bit; one that is nowhere (NaN) becomes (0, 0).
        """
        # The strip's own nearest point, level with the asked one, is the answer wherever the region holds it.
        p = np.minimum(np.maximum(p_kw, p_low), p_high)
        inside = self.holds(p, q_kvar)
        if inside.all():
            return p, q_kvar
        q = q_kvar.copy()
        for i in np.flatnonzero(~inside).tolist():
            low, high = float(p_low[i]), float(p_high[i])
            at, q[i] = _nearest(_cut(self._corners[i], low, high), float(p_kw[i]), float(q_kvar[i]))
            p[i] = min(max(at, low), high)
        return p, q


def _each(table: Sequence[Vector], axis: int, of: Callable[[Vector], float]) -> Vector:
    return np.array([float(of(corners[:, axis])) for corners in table])


def _cut(corners: Sequence[Point], low: float, high: float) -> Sequence[Point]:
    """The corners of the part of a convex polygon with low <= p <= high."""
    if max(p for p, _ in corners) > high:
        corners = _kept(corners, high, 1.0)
    if min(p for p, _ in corners) < low:
        corners = _kept(corners, low, -1.0)
    return corners


def _kept(corners: Sequence[Point], edge: float, side: float) -> list[Point]:
    """The part with side (p - edge) <= 0; what lies on the edge stays."""
    kept: list[Point] = []
    last = corners[-1]
    for here in corners:
        beyond, was_beyond = side * (here[0] - edge), side * (last[0] - edge)
        if beyond * was_beyond < 0:
            share = (edge - last[0]) / (here[0] - last[0])
            kept.append((edge, last[1] + share * (here[1] - last[1])))
        if beyond <= 0:
            kept.append(here)
        last = here
    return kept


def _nearest(corners: Sequence[Point], p: float, q: float) -> Point:
    """The nearest point on the edges of a polygon, to a point outside of it; (0, 0) to a point that is nowhere."""
    best, found = float("inf"), (0.0, 0.0)
    p1, q1 = corners[-1]
    for p2, q2 in corners:
        along_p, along_q = p2 - p1, q2 - q1
        length = along_p * along_p + along_q * along_q
        share = ((p - p1) * along_p + (q - q1) * along_q) / length if length > 0 else 0.0
        if share >= 1:
            here = (p2, q2)
        elif share <= 0:
            here = (p1, q1)
        else:
            here = (p1 + share * along_p, q1 + share * along_q)
        distance = (here[0] - p) ** 2 + (here[1] - q) ** 2
        if distance < best:
            best, found = distance, here
        p1, q1 = p2, q2
    return found
