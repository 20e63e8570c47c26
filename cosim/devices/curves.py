"""Piecewise-linear characteristics of many devices at once, and the checks on curve points that users write."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, Field

from cosim.points import Vector

Points = tuple[tuple[float, float], ...]


class Curves:
    """n curves, flat outside their points; monotone in floating point too where the points are.

    Evaluated as y0 + Σ slope · clip(x - x_k, 0, width): adding monotone terms keeps the sum monotone under rounding,
    which interpolation by weights does not promise.
    """

    def __init__(self, curves: Sequence[Points]) -> None:
        longest = max((len(points) for points in curves), default=1)
        # A repeated last point adds segments of no width, so all curves have one length.
        padded = np.array([[*points, *[points[-1]] * (longest - len(points))] for points in curves], np.float64)
        padded = padded.reshape(len(curves), longest, 2)
        self._take(padded[:, :, 0].T, padded[:, :, 1].T)

    @classmethod
    def of(cls, x: Vector, y: Vector) -> Self:
        """Curves through the points of arrays (n_point, n), x not falling; points at one x count as the first."""
        curves = cls.__new__(cls)
        curves._take(x, y)
        return curves

    def _take(self, x: Vector, y: Vector) -> None:
        self._x, self._width, self._y0 = x[:-1].copy(), np.diff(x, axis=0), y[0].copy()
        rise = np.diff(y, axis=0)
        self._slope = np.divide(rise, self._width, out=np.zeros_like(rise), where=self._width > 0)

    def at(self, x: Vector) -> Vector:
        """Value (n,) of each curve at its own x (n,); NaN where x is NaN."""
        inside = np.minimum(np.maximum(x - self._x, 0.0), self._width)
        inside *= self._slope
        return np.asarray(self._y0 + inside.sum(axis=0))


def flat(value: float) -> Points:
    """A curve that is `value` everywhere."""
    return ((0.0, value),)


def _rising(points: Points) -> Points:
    if any(b[0] <= a[0] for a, b in pairwise(points)):
        raise ValueError(f"expected [x, y] pairs with x strictly rising, found x = {[x for x, _ in points]}")
    return points


def _falling(points: Points) -> Points:
    if any(b[1] > a[1] for a, b in pairwise(points)):
        raise ValueError(f"expected [x, y] pairs with y never rising, found y = {[y for _, y in points]}")
    return points


#: Two to sixteen [x, y] pairs, x strictly rising.
Curve = Annotated[Points, Field(min_length=2, max_length=16), AfterValidator(_rising)]
#: The same with y never rising (volt-var, volt-watt, watt-var).
FallingCurve = Annotated[Curve, AfterValidator(_falling)]
