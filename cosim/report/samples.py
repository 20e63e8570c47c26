"""Samples of a result, reduced for drawing while they are read, so that neither memory nor page grows with the run.

Rows are gathered into at most `MAX_BUCKETS` buckets of consecutive rows.  Of each bucket the smallest and the largest
value are kept (no spike is lost), the last one (for counters and percentiles), and whether any value was missing.
A result is read in spans of at most `CHUNK_VALUES` values, however many rows and points it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.kernel import T_MAX_US
from cosim.points import Vector
from cosim.recorder import RunResult

Mask = NDArray[np.bool_]
#: From values (rows, n) of the points asked for to values (rows, m) of what is drawn.
Transform = Callable[[Vector], Vector]

#: More than a screen has pixels for: a bucket is narrower than a line is wide.
MAX_BUCKETS = 900
#: Values in memory at a time (64 MB).
CHUNK_VALUES = 8_000_000
#: Every row of a table, microseconds.
ALL_TIME = (-T_MAX_US, T_MAX_US)


@dataclass(frozen=True, slots=True)
class Reduced:
    """Buckets (b,) of n series: `begin_s` and `end_s` (b,) are the times of the first and last row of each.

    `low`, `high` and `last` are (b, n), NaN where a bucket has no value; `gap` (b, n) says where any was missing.
    """

    begin_s: Vector
    end_s: Vector
    low: Vector
    high: Vector
    last: Vector
    gap: Mask

    @property
    def exact(self) -> bool:
        """Whether every bucket is one row."""
        return bool((self.begin_s == self.end_s).all())

    def line(self, column: int) -> tuple[Vector, Vector]:
        """Times and values that draw one series through both extremes of every bucket, broken where values miss."""
        low, high, gap = self.low[:, column], self.high[:, column], self.gap[:, column]
        if self.exact:
            return self.begin_s, high
        rising = self.last[:, column] - low >= high - self.last[:, column]
        nothing = np.full(len(low), np.nan)
        values = np.stack([np.where(rising, low, high), np.where(rising, high, low), nothing], axis=1)
        times = np.stack([self.begin_s, self.end_s, self.end_s], axis=1)
        drawn = np.stack([np.ones_like(gap), np.ones_like(gap), gap], axis=1)
        return times[drawn], values[drawn]

    def columns(self, chosen: Sequence[int]) -> Reduced:
        """Some of the series."""
        pick = np.asarray(chosen, np.int64)
        return Reduced(self.begin_s, self.end_s, self.low[:, pick], self.high[:, pick], self.last[:, pick],
                       self.gap[:, pick])

    def scaled(self, factor: float) -> Reduced:
        """In another unit."""
        return replace(self, low=self.low * factor, high=self.high * factor, last=self.last * factor)

    def coarser(self, rows: int, columns: int) -> tuple[Reduced, NDArray[np.int64]]:
        """At most `rows` buckets and `columns` groups of neighbouring series, and where each group begins.

        Extremes stay extremes; a group in which any value is missing has a gap; `last` is that of its first series.
        """
        at, across = edges(len(self.begin_s), rows)[:-1], edges(self.low.shape[1], columns)[:-1]
        ends = np.append(at[1:], len(self.begin_s)) - 1
        low = np.fmin.reduceat(np.fmin.reduceat(self.low, at, axis=0), across, axis=1)
        high = np.fmax.reduceat(np.fmax.reduceat(self.high, at, axis=0), across, axis=1)
        gap = np.logical_or.reduceat(np.logical_or.reduceat(self.gap, at, axis=0), across, axis=1)
        return Reduced(self.begin_s[at], self.end_s[ends], low, high, self.last[ends][:, across], gap), across


def edges(n: int, most: int) -> NDArray[np.int64]:
    """Edges of at most `most` buckets of nearly equal size over n rows: (buckets + 1,), from 0 to n."""
    return np.linspace(0, n, min(n, most) + 1).astype(np.int64)


class Samples:
    """The sample table of a result, read as it is needed."""

    def __init__(self, result: RunResult) -> None:
        self._source = result.source
        self.units = result.points
        self._t_us = self._source.read("samples", ["t_us"], ALL_TIME)["t_us"].to_numpy()
        self.t_s: Vector = self._t_us / 1e6
        self._edges = edges(len(self.t_s), MAX_BUCKETS)

    @property
    def downsampled(self) -> bool:
        """Whether the drawings show buckets of rows."""
        return len(self.t_s) > MAX_BUCKETS

    def named(self, begins: str, ends: str) -> list[str]:
        """Sampled points with these first and last letters, in column order; none where nothing was sampled."""
        if not len(self.t_s):
            return []
        return [name for name in self.units if name.startswith(begins) and name.endswith(ends)
                and len(name) >= len(begins) + len(ends)]

    def present(self, names: Sequence[str]) -> list[str]:
        """Those of the points that were sampled; none where nothing was."""
        return [name for name in names if name in self.units] if len(self.t_s) else []

    def reduce(self, names: Sequence[str], transform: Transform = lambda values: values) -> Reduced:
        """Values of some points, reduced; `transform` may combine columns row by row first."""
        parts = [self._reduced(names, transform, first, last) for first, last in self._spans(len(names))]
        low, high, last, gap = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Reduced(self.t_s[self._edges[:-1]], self.t_s[self._edges[1:] - 1], low, high, last, gap)

    def _read(self, names: Sequence[str], span_us: tuple[int, int]) -> Vector:
        """Values (rows, n).  By exact name, which `RunResult.samples` would take for patterns."""
        found = self._source.read("samples", list(names), span_us)
        return np.array([column.to_numpy() for column in found.columns], np.float64).reshape(len(names), -1).T

    def _spans(self, n: int) -> list[tuple[int, int]]:
        """Ranges of buckets whose rows fit into memory together."""
        spans, first = [], 0
        while first < len(self._edges) - 1:
            limit = self._edges[first] + max(1, CHUNK_VALUES // max(1, n))
            last = max(first + 1, int(np.searchsorted(self._edges, limit, side="right")) - 1)
            spans.append((first, last))
            first = last
        return spans

    def _reduced(self, names: Sequence[str], transform: Transform, first: int,
                 last: int) -> tuple[Vector, Vector, Vector, Mask]:
        begin, end = self._edges[first], self._edges[last]
        whole = begin == 0 and end == len(self.t_s)
        span_us = ALL_TIME if whole else (int(self._t_us[begin]), int(self._t_us[end - 1]))
        values = transform(self._read(names, span_us))
        at = self._edges[first:last] - begin
        return (np.fmin.reduceat(values, at, axis=0), np.fmax.reduceat(values, at, axis=0),
                values[self._edges[first + 1:last + 1] - begin - 1],
                np.logical_or.reduceat(np.isnan(values), at, axis=0))
