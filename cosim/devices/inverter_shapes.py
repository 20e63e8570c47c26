"""Curves whose points can be commanded: each point its device's own until somebody asks for another.

A commanded curve is used only if its points are in order: x rising by at least `gap`, y never rising and within its
bounds.  What is asked is brought to the nearest such points: the Euclidean projection, by isotonic regression (pool
adjacent violators; Barlow et al., Statistical Inference under Order Restrictions, 1972) of x_i - i gap, clipped to its
bounds.  Points that nobody commands stay, and bound their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cosim.devices.base import Mask
from cosim.devices.curves import Curves, Points
from cosim.errors import PluginError
from cosim.points import Vector

#: Share of a gap that rounding may take.
SLACK = 1e-6
#: Smaller changes of x are rounding, not a change.
SAME_X = 1e-12


@dataclass(frozen=True, slots=True)
class Form:
    """What one function's points may be: how many, between which x, how far apart.  `field` is the option's name."""

    field: str
    n_point: int
    x_low: float
    x_high: float
    gap: float


class Shape:
    """The points of one function of all devices of a group: `x`, `y` (n_row, n) are their own, padded to one length.

    `remote` (n,) says whose points can be commanded; `y_low`, `y_high` (n,) bound those.
    """

    def __init__(self, form: Form, configs: Sequence[Any], y_low: Vector, y_high: Vector) -> None:
        self.form, self.y_low, self.y_high = form, y_low, y_high
        self.remote: Mask = np.array([config.remote_functions for config in configs], bool)
        points = [_exact(form, config) if config.remote_functions else getattr(config, form.field)
                  for config in configs]
        longest = max([form.n_point, *(len(own) for own in points)])
        # A repeated last point adds segments of no width.
        table = np.array([[*own, *[own[-1]] * (longest - len(own))] for own in points], np.float64)
        table = table.reshape(len(points), longest, 2)
        self.x, y = table[:, :, 0].T.copy(), table[:, :, 1].T
        self.y: Vector = np.where(self.remote, np.minimum(np.maximum(y, y_low), y_high), y)

    def range_x(self) -> tuple[Vector, Vector]:
        """What each x (n_point, n) may be, low and high: its own only, where it is not remote."""
        own = self.x[: self.form.n_point]
        return np.where(self.remote, self.form.x_low, own), np.where(self.remote, self.form.x_high, own)

    def range_y(self) -> tuple[Vector, Vector]:
        """The same of y."""
        own = self.y[: self.form.n_point]
        return np.where(self.remote, self.y_low, own), np.where(self.remote, self.y_high, own)

    def curves(self, x: Vector, y: Vector, use: Mask, otherwise: float) -> Curves | None:
        """The curves with the commanded points (n_point, n), NaN the own one, where `use` (n,); flat elsewhere.

        None where nobody uses it.
        """
        if not use.any():
            return None
        all_x, all_y = (self._filled(own, asked) for own, asked in ((self.x, x), (self.y, y)))
        return Curves.of(all_x, np.where(use, all_y, otherwise))

    def hold(self, x: Vector, y: Vector) -> None:
        """Bring commanded points (n_point, n) to the nearest that are in order, in place; NaN stays."""
        n_point, gap = self.form.n_point, self.form.gap
        own_x, own_y = self._filled(self.x, x)[:n_point], self._filled(self.y, y)[:n_point]
        apart = np.diff(own_x, axis=0)
        for i in np.flatnonzero(self.remote & (apart < gap * (1.0 - SLACK)).any(axis=0)).tolist():
            found = _rising(own_x[:, i], ~np.isnan(x[:, i]), gap, (self.form.x_low, self.form.x_high))
            x[:, i] = np.where(np.abs(found - x[:, i]) > SAME_X, found, x[:, i])
        for i in np.flatnonzero(self.remote & (np.diff(own_y, axis=0) > 0.0).any(axis=0)).tolist():
            found = -_rising(-own_y[:, i], ~np.isnan(y[:, i]), 0.0, (-self.y_high[i], -self.y_low[i]))
            y[:, i] = np.where(np.isnan(y[:, i]), np.nan, found)

    def _filled(self, own: Vector, asked: Vector) -> Vector:
        n_point = self.form.n_point
        first = np.where(np.isnan(asked) | ~self.remote, own[:n_point], asked)
        rest = np.where(self.remote, first[-1], own[n_point:])
        return np.concatenate([first, rest])


def _rising(wanted: Vector, given: Mask, gap: float, span: tuple[float, float]) -> Vector:
    """The nearest points (k,) to `wanted`, rising by `gap`, within `span`, in which those not `given` stay."""
    k = wanted.size
    steps = gap * np.arange(k)
    z = (wanted - steps).tolist()
    out = list(z)
    begin = 0
    while begin < k:
        if not given[begin]:
            begin += 1
            continue
        end = begin
        while end < k and given[end]:
            end += 1
        low = z[begin - 1] if begin else span[0]
        high = z[end] if end < k else span[1] - float(steps[-1])
        out[begin:end] = [min(max(value, low), high) for value in _pooled(z[begin:end])]
        begin = end
    found = np.minimum(np.maximum(np.array(out) + steps, span[0]), span[1])
    return np.where(given, found, wanted)


def _pooled(values: Sequence[float]) -> list[float]:
    """Isotonic regression: the nearest values that never fall (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            last, size = pools.pop()
            mean, count = (last * size + mean * count) / (size + count), size + count
        pools.append((mean, count))
    return [mean for mean, count in pools for _ in range(count)]


def _exact(form: Form, config: Any) -> Points:
    """The configured curve as exactly `n_point` points of the same shape; raises PluginError where there is none."""
    points: list[tuple[float, float]] = [(float(x), float(y)) for x, y in getattr(config, form.field)]
    where = f"device '{config.name}' ({config.kind}): `{form.field}`"
    if len(points) > form.n_point:
        raise PluginError(f"{where} has {len(points)} points; with remote_functions expected at most {form.n_point}, "
                          f"which is what can be commanded")
    if not form.x_low <= points[0][0] <= points[-1][0] <= form.x_high:
        raise PluginError(f"{where} reaches from x = {points[0][0]:g} to {points[-1][0]:g}; with remote_functions "
                          f"expected {form.x_low:g}..{form.x_high:g}")
    if any(b[0] - a[0] < form.gap * (1.0 - SLACK) for a, b in pairwise(points)):
        raise PluginError(f"{where} has points nearer than {form.gap:g} in x; with remote_functions expected at least "
                          f"that distance, found x = {[x for x, _ in points]}")
    return padded(points, form)


def padded(points: Sequence[tuple[float, float]], form: Form) -> Points:
    """Points (x rising), up to as many as the form has, as exactly that many of the same shape."""
    assert 0 < len(points) <= form.n_point, f"{form.field}: {len(points)} points for {form.n_point}"
    out = list(points)
    while len(out) < form.n_point:
        out = _with_one_more(out, form)
    return tuple(out)


def _with_one_more(points: list[tuple[float, float]], form: Form) -> list[tuple[float, float]]:
    """The same shape with a further point: beyond the last where there is room, else halfway in the widest segment."""
    x, y = points[-1]
    if x + form.gap <= form.x_high:
        return [*points, (x + form.gap, y)]
    at = max(range(len(points) - 1), key=lambda i: points[i + 1][0] - points[i][0])
    (x0, y0), (x1, y1) = points[at], points[at + 1]
    return [*points[: at + 1], (0.5 * (x0 + x1), 0.5 * (y0 + y1)), *points[at + 1:]]
