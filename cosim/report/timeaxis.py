"""The axis that all drawings over time share: seconds, minutes, hours or days, or wall-clock stamps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.points import Vector
from cosim.report.markup import MINUS, MISSING

#: Longest run (s) for which a unit is used, seconds in it, and its name on the axis.
_UNITS = ((300.0, 1.0, "s"), (7200.0, 60.0, "min"), (259_200.0, 3600.0, "h"), (float("inf"), 86_400.0, "d"))


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """`end_s` is where it ends; with `start_ms` (from 1970, on the scenario's own clock) it shows stamps."""

    end_s: float
    per_unit_s: float
    unit: str
    start_ms: float | None = None
    zone: str = ""

    def at(self, t_s: Vector | float) -> NDArray[np.float64]:
        """Simulation seconds as positions on the axis."""
        times = np.asarray(t_s, np.float64)
        return times / self.per_unit_s if self.start_ms is None else self.start_ms + times * 1e3

    def layout(self) -> dict[str, Any]:
        """The axis for a plot."""
        span = [float(self.at(0.0)), float(self.at(self.end_s))]
        if self.start_ms is None:
            return {"range": span, "title": {"text": f"Simulation time ({self.unit})"}, "ticksuffix": "",
                    "hoverformat": ".6~g"}
        return {"range": span, "type": "date", "title": {"text": f"Time of day{self.zone}"},
                "hoverformat": "%Y-%m-%d %H:%M:%S" if self.end_s >= 300 else "%H:%M:%S.%L"}

    def words(self, t_s: float) -> str:
        """An instant for tables: a stamp, or a duration since the start."""
        if self.start_ms is None:
            return duration_words(t_s)
        stamp = datetime.fromtimestamp(self.start_ms / 1e3 + t_s, UTC)
        return stamp.strftime("%Y-%m-%d %H:%M:%S" if self.end_s >= 86_400 else "%H:%M:%S")


def time_axis(end_s: float, start: str | None) -> TimeAxis:
    """The axis of a run that ends at `end_s`; `start` is the wall-clock time of t = 0, ISO 8601."""
    end_s = end_s if end_s > 0 else 1.0
    per_unit_s, unit = next((scale, name) for longest, scale, name in _UNITS if end_s <= longest)
    try:
        begins = datetime.fromisoformat(start) if start else None
    except ValueError:
        begins = None
    if begins is None:
        return TimeAxis(end_s, per_unit_s, unit)
    # The plot has no time zones: the scenario's own wall clock is drawn as if it were UTC, and the zone is named.
    start_ms = begins.replace(tzinfo=UTC).timestamp() * 1e3
    zone = f" ({begins.tzname()})" if begins.tzinfo is not None else ""
    return TimeAxis(end_s, per_unit_s, unit, start_ms, zone)


def duration_words(seconds: float) -> str:
    """A duration for people: ``1 d 2 h``, ``5 min 30 s``, ``12.5 s``, ``20 ms``; at most two units."""
    if not np.isfinite(seconds):
        return MISSING
    if seconds < 0:
        return f"{MINUS}{duration_words(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for size, name, part, part_name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            count, rest = divmod(whole, size)
            return f"{count} {name} {rest // part} {part_name}" if rest // part else f"{count} {name}"
    return f"{whole} s"
