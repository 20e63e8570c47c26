"""When to scan: absolute deadlines, misses counted and never made up for; how long to wait before trying again."""

from __future__ import annotations

import math


class ScanClock:
    """One scan class of one station: scans at ``first_s + n × period_s``, whatever each took.

    A deadline that has gone by entirely when the next scan begins is a missed scan; it is counted and skipped.
    """

    __slots__ = ("missed", "next_s", "period_s", "scans")

    def __init__(self, period_s: float, first_s: float) -> None:
        self.period_s, self.next_s = period_s, first_s
        self.scans = self.missed = 0

    def begin(self, now_s: float) -> float:
        """A scan begins at `now_s`; returns the seconds that it is late against its own deadline."""
        late = self.overdue(now_s)
        deadline_s = self.next_s + late * self.period_s
        self.missed += late
        self.scans += 1
        self.next_s = deadline_s + self.period_s
        return max(now_s - deadline_s, 0.0)

    def overdue(self, now_s: float) -> int:
        """Whole periods that have gone by since the deadline that is next."""
        return math.floor((now_s - self.next_s) / self.period_s) if now_s > self.next_s else 0


class Backoff:
    """Waits that double from `first_s` to `most_s`, and begin anew after a success."""

    __slots__ = ("_first_s", "_most_s", "_next_s")

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s, self._next_s = first_s, most_s, first_s

    def wait_s(self) -> float:
        """How long to wait now."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, self._most_s)
        return wait_s

    def reset(self) -> None:
        """It worked."""
        self._next_s = self._first_s
