"""A histogram of durations that costs nothing to fill and keeps its tails: buckets a hundredth wide.

Each power of two is cut into 64 equal buckets (as HdrHistogram does), so a percentile is right to 1.6 % from a
nanosecond to an hour in 3 kB, and two histograms add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS
#: 2**42 ns is 73 minutes; what is longer is counted there.
_TOP_BITS = 42
_SIZE = (_TOP_BITS - _SUB_BITS + 1) * _SUB

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


class Histogram:
    """Counts of durations, nanoseconds; negative ones count as zero."""

    __slots__ = ("_counts", "count", "max_ns", "total_ns")

    def __init__(self) -> None:
        self._counts = [0] * _SIZE
        self.count = 0
        self.max_ns = 0
        self.total_ns = 0

    def record(self, ns: int) -> None:
        """Count one duration."""
        if ns < 0:
            ns = 0
        self.count += 1
        self.total_ns += ns
        if ns > self.max_ns:
            self.max_ns = ns
        self._counts[_bucket(ns)] += 1

    def percentile_ns(self, percent: float) -> int:
        """The least duration that `percent` of all do not exceed (upper edge of its bucket, at most the maximum)."""
        wanted = percent / 100 * self.count
        seen = 0
        for bucket, n in enumerate(self._counts):
            seen += n
            if n and seen >= wanted - 1e-9:
                return min(_upper(bucket), self.max_ns)
        return self.max_ns

    def add(self, other: Histogram) -> None:
        """Take in another one's counts."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.count += other.count
        self.total_ns += other.total_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    def buckets(self) -> list[tuple[int, int]]:
        """(upper edge ns, count) of the buckets that hold something."""
        return [(_upper(bucket), n) for bucket, n in enumerate(self._counts) if n]

    def to_dict(self) -> dict[str, Any]:
        """Count, mean, percentiles and maximum in milliseconds, and the buckets: for JSON."""
        if not self.count:
            return {"count": 0}
        named = {f"p{percent:g}_ms": self.percentile_ns(percent) / 1e6 for percent in PERCENTILES}
        return {"count": self.count, "mean_ms": self.total_ns / self.count / 1e6, **named,
                "max_ms": self.max_ns / 1e6, "buckets_ns": self.buckets()}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Histogram:
        """What `to_dict` told."""
        self = cls()
        rows: Iterable[tuple[int, int]] = data.get("buckets_ns", ())
        for upper, n in rows:
            self._counts[_bucket(upper)] += n
            self.count += n
            self.max_ns = max(self.max_ns, upper)
        self.max_ns = round(data.get("max_ms", 0.0) * 1e6)
        self.total_ns = round(data.get("mean_ms", 0.0) * 1e6 * self.count)
        return self


def _bucket(ns: int) -> int:
    shift = ns.bit_length() - _SUB_BITS - 1
    if shift <= 0:
        return min(ns, 2 * _SUB - 1)
    return min((shift << _SUB_BITS) + (ns >> shift), _SIZE - 1)


def _upper(bucket: int) -> int:
    """Largest duration of a bucket."""
    shift = max((bucket >> _SUB_BITS) - 1, 0)
    return ((bucket - (shift << _SUB_BITS) + 1) << shift) - 1
