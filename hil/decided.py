"""What the shield last decided on each output, for whoever has to say so: a recorder that remembers its last rows."""

from __future__ import annotations

from typing import Any

from cosim.recorder import DecisionRow, Recorder
from cosim.recorder.explain import figure, why


class WatchedRecorder(Recorder):
    """Records as its base does (the same digest), and keeps the last decision row of every output point.

    A row is written where an intervention begins, changes or ends, so the last one is what holds now.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._last: dict[int, DecisionRow] = {}
        super().__init__(*args, **options)

    def decision(self, row: DecisionRow) -> None:
        """Record what the shield made of one request."""
        self._last[row.point_id] = row
        super().decision(row)

    def last(self, point_id: int) -> DecisionRow | None:
        """The last row of an output; None: it was never moved."""
        return self._last.get(point_id)


def moved_words(row: DecisionRow | None, unit: str = "") -> str:
    """Why an output stands elsewhere than asked: ``moved by the shield: a voltage limit …``; "" where it was not."""
    if row is None or row.reason == "none":
        return ""
    words = why(row._asdict())
    if row.enforced:
        return f"moved by the shield: {words}"
    return f"let through by a shield that only observes, which would apply {figure(row.applied, unit)}: {words}"
