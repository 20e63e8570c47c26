"""One pass over an audit log: records while the chain holds, and the first fault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import IO

from cosim.audit.chain import (
    FORMAT,
    MAX_LINE_BYTES,
    Record,
    line_hash,
    read_header,
    read_record,
    written_hash,
)


class Condition(Enum):
    """What a log is found to be."""

    INTACT = "intact"
    CUT_SHORT = "cut short"
    """Intact but for half a line at its end: what a killed writer leaves."""
    TAMPERED = "tampered"
    UNUSABLE = "unusable"
    """Not a log of this format at all."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong: in which line (from 1), what was found and what was expected there."""

    condition: Condition
    line: int
    found: str
    expected: str


class Walk:
    """Iterate once to get the good records of `file`; afterwards the attributes say how far that went.

    `header` is what the first line says of the run and `genesis` its hash; `count`, `head` and `end` are the number of
    good records, the hash of the last good line and the number of good bytes; `fault` is what ended the walk, None at
    a proper end.
    Memory is one line, whatever the file.  OSError passes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.header: Mapping[str, str | int] = {}
        self.genesis = self.head = ""
        self.count, self.end = 0, 0
        self.fault: Fault | None = None

    def __iter__(self) -> Iterator[Record]:
        self._open()
        while self.fault is None and (line := self._file.readline(MAX_LINE_BYTES + 1)):
            found = self._judge(line)
            if isinstance(found, Fault):
                self.fault = found
                return
            self.count, self.head, self.end = self.count + 1, found.hash, self.end + len(line)
            yield found

    def _open(self) -> None:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        expected = f'a header {{"audit":{FORMAT},…}}'
        # What a kill leaves of a first line: nothing, or a beginning without an end.
        if not line.endswith(b"\n") and (b'{"audit":%d,"run":{' % FORMAT).startswith(line[:18]):
            cut = Condition.CUT_SHORT if line and not _behind(line) else Condition.UNUSABLE
            self.fault = Fault(cut, 1, "half a header" if line else "an empty file", expected)
        elif isinstance(header := read_header(line), str):
            self.fault = Fault(Condition.UNUSABLE, 1, _version(line) or header, expected)
        elif line_hash(line) != written_hash(line):
            self.fault = _edited(1, line)
        else:
            self.header, self.end = header, len(line)
            self.genesis = self.head = written_hash(line)

    def _judge(self, line: bytes) -> Record | Fault:
        """The record of the next line, or what is wrong with it; its own content is judged before its place."""
        number = self.count + 2
        if len(line) > MAX_LINE_BYTES:
            return Fault(Condition.TAMPERED, number, f"a line of more than {MAX_LINE_BYTES} bytes", "a record")
        if not line.endswith(b"\n"):
            return self._judge_last(line)
        record = read_record(line)
        if isinstance(record, str):
            return Fault(Condition.TAMPERED, number, record, f"record {self.count}")
        if line_hash(line) != record.hash:
            return _edited(number, line)
        if record.seq != self.count:
            return Fault(Condition.TAMPERED, number, f"record {record.seq}", f"record {self.count} (records were "
                         f"removed, inserted or moved)")
        if record.previous != self.head:
            return Fault(Condition.TAMPERED, number, f"a record that follows {record.previous[:12]}…",
                         f"one that follows {self.head[:12]}… (the line before is another than it was)")
        return record

    def _judge_last(self, line: bytes) -> Fault:
        """A line without an end: the beginning of the next record, as a kill leaves it, or something else."""
        number = self.count + 2
        half = Fault(Condition.CUT_SHORT, number, f"{len(line)} bytes of record {self.count}", "a complete record")
        start = b'{"seq":%d,"t_us":' % self.count
        if not (line.isascii() and line.startswith(start[:len(line)])):
            return Fault(Condition.TAMPERED, number, f"a last line of another form: {line[:40]!r}",
                         f"record {self.count}")
        match _behind(line):
            case None:
                return half
            case 0:  # all there but its line feed, which a kill may take too
                whole = self._judge(line + b"\n")
                return whole if isinstance(whole, Fault) else half
            case surplus:
                return Fault(Condition.TAMPERED, number, f"{surplus} bytes behind record {self.count}", "a line feed")


def _behind(line: bytes) -> int | None:
    """Bytes that follow a complete JSON value at the beginning of a line; None when there is no complete one."""
    try:
        text = line.decode("ascii")
        return len(text) - json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return None


def _edited(number: int, line: bytes) -> Fault:
    return Fault(Condition.TAMPERED, number, f"content with the hash {line_hash(line)[:12]}…",
                 f"{written_hash(line)[:12]}…, as the line says itself (the line was edited)")


def _version(line: bytes) -> str:
    """What to say of a header of another version; "" for anything else."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict) or "audit" not in found or found["audit"] == FORMAT:
        return ""
    return f"an audit log of version {found['audit']!r:.40}"
