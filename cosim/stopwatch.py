"""Elapsed wall time, for budgets and for deciding when to flush.  Nothing it says may reach the digest.

This is the only module of `cosim` that reads a clock; whoever needs one is given a `Stopwatch`, so tests use a fake.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum
from time import perf_counter
from typing import Protocol


class Stopwatch(Protocol):
    """Something that says how much time has gone by."""

    def now_s(self) -> float:
        """Seconds since an arbitrary start; never decreases."""


class WallStopwatch:
    """The machine's monotonic clock."""

    __slots__ = ()

    def now_s(self) -> float:
        """Seconds of wall time since an arbitrary start."""
        return perf_counter()


def wall_stamp() -> str:
    """The wall-clock time, for records that are evidence (ISO 8601, UTC): never digested."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Section(IntEnum):
    """What a run spends its time on."""

    OTHER = 0
    SOLVER = 1
    AGENTS = 2
    CHANNELS = 3
    RECORDER = 4


class StillStopwatch:
    """Stands still: for runs whose time nobody looks at."""

    __slots__ = ()

    def now_s(self) -> float:
        """Always 0."""
        return 0.0


class TimeBudget:
    """Wall seconds by section; the sections add up to the time since it was made.

    One section is current at a time, so nested work is counted once, where it is done::

        before = budget.switch(Section.SOLVER)
        ...
        budget.switch(before)
    """

    __slots__ = ("_current", "_now_s", "_seconds", "_since_s")

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._now_s = stopwatch.now_s
        self._seconds = [0.0] * len(Section)
        self._current: int = Section.OTHER
        self._since_s = self._now_s()

    def switch(self, section: int) -> int:
        """Charge the time so far to the current section, make `section` current and return the one before."""
        now_s, before = self._now_s(), self._current
        self._seconds[before] += now_s - self._since_s
        self._since_s, self._current = now_s, section
        return before

    def seconds(self) -> dict[str, float]:
        """Seconds spent up to now by section name in lower case, in the order of `Section`."""
        self.switch(self._current)
        return {section.name.lower(): self._seconds[section] for section in Section}
