"""Events as lines: for people, and as JSON in a file that a kill leaves whole but for its last line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from cosim.errors import RecordError
from hil.scada.board import Event

#: Lines in one run's log; an alarm that chatters for weeks must not fill the disk.
MAX_LINES = 2_000_000


class EventLog:
    """``events.jsonl``, added to; every line is handed to the system at once."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from None
        self.lines = self.lost = 0

    def write(self, event: Event) -> None:
        """One event; what the disk or the limit does not take is counted."""
        line = {"t_wall": stamp(event.wall_ms), "t_s": round(event.t_s, 3), "kind": event.kind,
                "subject": event.subject, "text": event.text, "priority": event.priority}
        if self.lines >= MAX_LINES:
            self.lost += 1
            return
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.lines += 1
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """No more lines."""
        try:
            self._file.close()
        except OSError:
            self.lost += 1


def stamp(wall_ms: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_line(event: Event) -> str:
    """One event for a person."""
    priority = f" [{event.priority}]" if event.priority else ""
    return f"{stamp(event.wall_ms)[11:23]} {event.kind}{priority} {event.subject}: {event.text}"
