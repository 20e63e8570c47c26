"""What of a record also goes into the audit log: the shield's decisions and events, and every command from outside."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cosim.audit import AuditLog, Seal
from cosim.commands import Command
from cosim.points import PointDatabase
from cosim.recorder.explain import explain
from cosim.recorder.options import RecordOptions, RunAbout
from cosim.recorder.tables import DecisionRow

FILE = "audit.jsonl"
#: Values of one command that are named in its record.
NAMED_MOST = 8


class AuditTrail:
    """The audit log of one run; where the options ask for none, and before `open`, it does nothing."""

    def __init__(self, about: RunAbout, options: RecordOptions, points: PointDatabase) -> None:
        self._header: dict[str, str | int] = {"name": about.name, "seed": about.seed}
        self._options, self._points = options, points
        self._log: AuditLog | None = None

    def open(self, folder: Path) -> None:
        """Begin the log in a new result folder, in the place of one that a kill left before there was a result."""
        if self._options.audit:
            with suppress(OSError):
                if (folder / FILE).stat().st_size == 0:
                    (folder / FILE).unlink()
            self._log = AuditLog(folder / FILE, self._header, self._options.stamp)

    def reopen(self, folder: Path, seal: str) -> None:
        """Go on with the log of a run that is resumed; `seal` is that of its last commit."""
        if self._options.audit:
            count, _, head = seal.partition(":")
            committed = Seal(int(count), head) if head else None
            self._log = AuditLog.resume(folder / FILE, self._header, committed, self._options.stamp)

    @property
    def seal(self) -> str:
        """Of everything appended so far; "" without a log."""
        return "" if self._log is None else str(self._log.seal)

    def decision(self, row: DecisionRow) -> None:
        """What the shield made of one request, in one line."""
        if self._log is None:
            return
        point = self._points.points[row.point_id]
        words = explain({**row._asdict(), "point": point.name}, point.unit)
        self._log.append(row.t_us, "decision", point.name, words, requested=row.requested, applied=row.applied,
                         distance_kva=row.distance_kva)

    def event(self, t_us: int, kind: str, subject: str, detail: str) -> None:
        """Something the shield did."""
        if self._log is not None:
            self._log.append(t_us, kind, subject, detail)

    def command(self, command: Command) -> None:
        """A command from outside, and the answer it got."""
        if self._log is None:
            return
        names = [self._points.names[i] if 0 <= i < len(self._points) else str(i) for i in command.ids[:NAMED_MOST]]
        values = [f"{value:g}" for value in command.values[:NAMED_MOST]]
        more = f" and {len(command.ids) - NAMED_MOST} more" if len(command.ids) > NAMED_MOST else ""
        what = ", ".join(f"{name} = {value}" for name, value in zip(names, values or [""] * len(names), strict=True))
        self._log.append(command.t_us, f"command.{command.kind.name.lower()}", command.source,
                         f"{what}{more}: {command.status.value} ({command.authority.name.lower()})")

    def flush(self) -> None:
        """Force what was appended to disk."""
        if self._log is not None:
            self._log.flush()

    def close(self) -> Mapping[str, Any]:
        """Close the log; what the manifest says of it."""
        if self._log is None:
            return {}
        seal = self._log.close()
        return {"audit": {"records": seal.count, "head": seal.head}}

    def abandon(self) -> None:
        """Let go of the file."""
        if self._log is not None:
            self._log.abandon()

    def discard(self) -> None:
        """Take back the file of a run that could not be built."""
        if self._log is not None:
            self._log.discard()
