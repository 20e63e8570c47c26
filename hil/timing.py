"""What a served run's timing was: lateness and utilisation of every rate, overruns, and the way of a write.

An instant's *lateness* is when it began after it was due; a rate's *utilisation* the share of its period (in wall time)
that its instants took.  A scan *overruns* when it is not finished as the next one falls due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from hil.histogram import Histogram

#: A window for drift: so long, and so many scans, that one of them will have been without jitter.
WINDOW_US, WINDOW_SCANS = 59_000_000, 30


class Span(Enum):
    """Ways that are measured of single writes."""

    INGRESS_TO_KERNEL = "ingress_to_kernel"
    """A write's arrival to the instant at which it entered."""
    KERNEL_TO_EGRESS = "kernel_to_egress"
    """The end of the scan that carried it out to the answer of the first read after it, in the same session."""
    CLOSED_LOOP = "closed_loop"
    """A write's arrival to that answer: seen, solved, read back."""


@dataclass(slots=True)
class Rate:
    """One period of the scenario: the scan, or agents."""

    name: str
    period_us: int
    offset_us: int
    lateness: Histogram = field(default_factory=Histogram)
    busy: Histogram = field(default_factory=Histogram)
    utilisation_max: float = 0.0
    utilisation_total: float = 0.0
    """Sum of the shares of all instants; each is of the wall rate that held then."""

    def has(self, t_us: int) -> bool:
        """Whether an instant is on this rate's raster."""
        return (t_us - self.offset_us) % self.period_us == 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        mean = self.utilisation_total / self.busy.count if self.busy.count else 0.0
        return {"name": self.name, "period_s": self.period_us / 1e6, "lateness": self.lateness.to_dict(),
                "busy": self.busy.to_dict(), "utilisation_mean": mean, "utilisation_max": self.utilisation_max}


@dataclass(slots=True)
class Overruns:
    """Scans that were not finished as the next one fell due."""

    count: int = 0
    in_grace: int = 0
    burst: int = 0
    longest_burst: int = 0
    worst_ms: float = 0.0
    worst_t_us: int = -1
    latched: bool = False
    """Set by the first one; stays until somebody resets it."""

    def met(self) -> None:
        """A scan was in time."""
        self.burst = 0

    def missed(self, t_us: int, late_ms: float) -> None:
        """One was not: finished `late_ms` after it was due."""
        self.count += 1
        self.burst += 1
        self.longest_burst = max(self.longest_burst, self.burst)
        self.latched = True
        if late_ms > self.worst_ms:
            self.worst_ms, self.worst_t_us = late_ms, t_us

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"count": self.count, "in_grace": self.in_grace, "longest_burst": self.longest_burst,
                "worst_ms": self.worst_ms, "worst_t_s": None if self.worst_t_us < 0 else self.worst_t_us / 1e6,
                "latched": self.latched}


class Timing:
    """The record of a served run's timing.  `rates`: (name, period_us, offset_us), the scan first."""

    def __init__(self, rates: Sequence[tuple[str, int, int]]) -> None:
        self.rates = [Rate(*rate) for rate in rates]
        self.other = Histogram()
        """Lateness of instants on no raster: messages, timers, arrivals."""
        self.spans = {span: Histogram() for span in Span}
        self.overruns = Overruns()
        self.skipped_scans = 0
        self.slipped_us = 0
        self._windows: list[int] = []
        """Lateness (ns) of the least late scan of the first and the latest whole window: free of jitter."""
        self._window_us = self._window_scans = self._window_ns = 0
        self.windows = 0
        """Windows for drift that are whole."""

    @property
    def scan(self) -> Rate:
        """The grid's own rate."""
        return self.rates[0]

    def instant(self, t_us: int, due_ns: int, begun_ns: int, finished_ns: int, wall_rate: float) -> None:
        """One instant was processed."""
        late_ns, busy_ns, on_raster = begun_ns - due_ns, finished_ns - begun_ns, False
        for rate in self.rates:
            if rate.has(t_us):
                on_raster = True
                rate.lateness.record(late_ns)
                rate.busy.record(busy_ns)
                share = busy_ns / 1e3 / rate.period_us * wall_rate
                rate.utilisation_max = max(rate.utilisation_max, share)
                rate.utilisation_total += share
        if not on_raster:
            self.other.record(late_ns)
        elif self.rates[0].has(t_us):
            self._least_late(t_us, late_ns)

    def _least_late(self, t_us: int, late_ns: int) -> None:
        if not self._window_scans:
            self._window_us, self._window_ns = t_us, late_ns
        self._window_scans += 1
        self._window_ns = min(self._window_ns, late_ns)
        if self._window_scans >= WINDOW_SCANS and t_us - self._window_us >= WINDOW_US:
            self.windows += 1
            self._windows[1:] = [self._window_ns]
            self._window_scans = 0

    def drift_ms(self) -> float:
        """How much later the least late scan of the last whole window was than that of the first; 0.0 before two."""
        return (self._windows[-1] - self._windows[0]) / 1e6 if self._windows else 0.0

    def to_dict(self, wall_rate: float) -> dict[str, Any]:
        """For JSON."""
        return {"rates": [rate.to_dict() for rate in self.rates], "other_lateness": self.other.to_dict(),
                "spans": {span.value: histogram.to_dict() for span, histogram in self.spans.items()},
                "overruns": self.overruns.to_dict(), "skipped_scans": self.skipped_scans,
                "slipped_s": self.slipped_us / 1e6, "drift_ms": self.drift_ms(), "drift_windows": self.windows,
                "wall_rate": wall_rate}
