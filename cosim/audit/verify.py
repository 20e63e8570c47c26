"""Whether an audit log is what was written, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosim.audit.chain import Seal
from cosim.audit.reading import Condition, Fault, Walk


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a log.

    `records` and `head` are of the part that holds, from the beginning; `line` (from 1; 0: none), `found` and
    `expected` name the first fault.  `seal` is what it was compared with, if anything.
    """

    condition: Condition
    records: int
    head: str
    header: Mapping[str, str | int]
    seal: Seal | None = None
    line: int = 0
    found: str = ""
    expected: str = ""

    @property
    def seal_matches(self) -> bool | None:
        """None without a seal."""
        return None if self.seal is None else self.seal == Seal(self.records, self.head)

    def __str__(self) -> str:
        fault = f"line {self.line}: found {self.found}, expected {self.expected}" if self.line else (
            f"found {self.found}, expected {self.expected}")
        match self.condition:
            case Condition.INTACT:
                return f"intact: {self._records()}"
            case Condition.CUT_SHORT:
                return (f"cut short in its last record (line {self.line}), as a kill leaves it or while it is written; "
                        f"intact before: {self._records()}")
            case Condition.TAMPERED:
                return f"tampered: {fault}; intact before: {self._records()}"
            case Condition.UNUSABLE:
                return f"not an audit log: {fault}"

    def _records(self) -> str:
        head = f", head {self.head[:12]}…" if self.head else ""
        return f"{self.records} record{'' if self.records == 1 else 's'}{head}"


def verify(path: Path, seal: Seal | None = None) -> Verdict:
    """Judge the log at `path`, by itself and against `seal`; never raises for what a file holds.

    Without a seal, records missing at the end and a log rewritten as a whole cannot be seen.  A log that was sealed
    was closed, so with a seal half a line or a file that is no log at all counts as tampered.
    """
    try:
        if not path.is_file():
            return _without_log("no such file" if not path.exists() else "no regular file", seal)
        with path.open("rb") as file:
            return _judged(Walk(file), seal)
    except OSError as error:
        return _without_log(f"a file that cannot be read ({error.strerror})", None)


def _judged(walk: Walk, seal: Seal | None) -> Verdict:
    at_seal = ""
    for record in walk:
        if seal is not None and walk.count == seal.count:
            at_seal = record.hash
    if seal is not None and seal.count == 0:
        at_seal = walk.genesis
    fault = walk.fault
    if seal is not None and (fault is None or fault.condition is not Condition.TAMPERED):
        fault = _against(walk, seal, at_seal)
    if fault is None:
        return Verdict(Condition.INTACT, walk.count, walk.head, walk.header, seal)
    return Verdict(fault.condition, walk.count, walk.head, walk.header, seal, fault.line, fault.found, fault.expected)


def _against(walk: Walk, seal: Seal, at_seal: str) -> Fault | None:
    """What a seal finds in a log whose chain holds as far as it goes."""
    last = walk.count + 1
    if walk.fault is not None and walk.count <= seal.count:
        return Fault(Condition.TAMPERED, walk.fault.line, walk.fault.found,
                     f"{walk.fault.expected}, and {seal.count} records by the seal")
    if walk.count < seal.count:
        return Fault(Condition.TAMPERED, last + 1, "the end of the file", f"record {walk.count} of {seal.count} by the "
                     f"seal (records were removed at the end)")
    if at_seal != seal.head:
        return Fault(Condition.TAMPERED, last, f"a chain that leads to {at_seal[:12]}…",
                     f"{seal.head[:12]}… by the seal (here or before, the log was rewritten)")
    if walk.count > seal.count:
        return Fault(Condition.TAMPERED, seal.count + 2, f"record {seal.count}",
                     f"the end of the file: {seal.count} records by the seal")
    return None


def _without_log(found: str, seal: Seal | None) -> Verdict:
    """No file to read: with a seal, there was one."""
    if seal is None:
        return Verdict(Condition.UNUSABLE, 0, "", {}, None, 0, found, "a file of audit records")
    return Verdict(Condition.TAMPERED, 0, "", {}, seal, 0, found,
                   f"a file with {seal.count} records by the seal (the log was removed)")
