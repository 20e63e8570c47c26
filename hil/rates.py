"""Token buckets: how often somebody may do something.  Sans-IO: whoever asks brings the time.

A bucket holds at most `burst` tokens, is full at first and gains `per_s` of them a second; what is done takes one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from cosim.errors import GridloopError

#: Buckets kept at once; the one used longest ago goes first (it would mostly be full again anyway).
MAX_BUCKETS = 4096


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`per_s` a second on the long run (0: none at all, infinity: no limit), `burst` at once (≥ 1)."""

    per_s: float = float("inf")
    burst: float = 1.0

    def __post_init__(self) -> None:
        if not self.per_s >= 0:
            raise GridloopError(f"rate limit: {self.per_s:g} a second; expected zero or more")
        if not 1.0 <= self.burst < float("inf"):
            raise GridloopError(f"rate limit: a burst of {self.burst:g}; expected one or more")


class TokenBuckets:
    """One bucket for every key, made as keys turn up; at most `limit` of them."""

    def __init__(self, rate: RateLimit, limit: int = MAX_BUCKETS) -> None:
        self._rate, self._limit = rate, limit
        self._unlimited = rate.per_s == float("inf")
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, keys: Sequence[Hashable], now_us: int) -> Hashable | None:
        """Take one token for each of `keys`, or none at all; None, or the first key whose bucket is empty."""
        if self._unlimited:
            return None
        wanted: dict[Hashable, float] = {}
        for key in keys:
            wanted[key] = wanted.get(key, self._tokens(key, now_us)) - 1.0
            if wanted[key] < 0.0:
                return key
        for key, left in wanted.items():
            self._buckets[key] = (left, now_us)
            self._buckets.move_to_end(key)
        while len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)
        return None

    def _tokens(self, key: Hashable, now_us: int) -> float:
        found = self._buckets.get(key)
        if found is None:
            return self._rate.burst
        tokens, then_us = found
        return min(self._rate.burst, tokens + self._rate.per_s * max(0, now_us - then_us) / 1e6)
