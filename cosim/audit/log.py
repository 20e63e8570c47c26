"""The audit log of one run, as it is written.

Theory of operation
-------------------
`append` chains a record and keeps its line in memory; `flush` writes the lines and forces them to disk.  A flush that
fails takes back what it wrote, keeps the lines and may be called again.  The recorder is to flush the audit log
*before* it makes the tables of the same instants count: then whatever is in the result is in the log too, and a kill
between the two leaves the log ahead, never behind.

Why a resumed run does not write its log anew
---------------------------------------------
A resume executes the run again from its beginning.  Replacing the log by the one of the second execution would give
old decisions new wall times, and would make "resume" a tool for rewriting the log.  So nothing is ever replaced.  The
log is checked, half a line at its end is cut off, and while the run catches up each `append` is compared with the
record that is there (all but its stamp) and not written again.

The file may be ahead of the result: the last batch before a kill, whose instants no flush of the tables made count.
Where commands come from outside, those instants may go otherwise the second time.  Therefore the caller says how far
the result reaches, by the `Seal` that it kept with its last flush; behind that one `resumed` record is written, which
says which records were left without a result.  They stay in the chain, and later resumes skip them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path

from cosim.audit.chain import (
    MAX_DETAIL,
    MAX_INTEGER,
    MAX_KIND,
    MAX_STAMP,
    MAX_SUBJECT,
    Record,
    Seal,
    header_line,
    record_line,
    shortened,
)
from cosim.audit.reading import Condition, Walk
from cosim.errors import RecordError

#: The kind of the record that a resume writes; `append` refuses it.
RESUMED = "resumed"

#: Bytes held in memory before a flush is made without being asked for.
MAX_BUFFER_BYTES = 4 * 1024 * 1024

#: Resumes of one run.
MAX_RESUMES = 1000

#: Opens a path in mode "x" (new) or "a" (go on), unbuffered; tests put a full disk in its place.
Opener = Callable[[Path, str], FileIO]

#: Wall time as ISO text, or None.
Stamp = Callable[[], str | None]


def no_stamp() -> None:
    """The stamp of logs that keep no wall time."""


class AuditLog:
    """Appends to a log at `path`, or (None) only counts and chains.

    `header` says which run it is (name, seed, …).  RecordError: the file exists already, or a flush failed.
    """

    def __init__(self, path: Path | None, header: Mapping[str, str | int], stamp: Stamp = no_stamp,
                 opener: Opener = FileIO) -> None:
        line, digest = header_line(header)
        self.path, self._stamp = path, stamp
        self._count, self._head = 0, digest
        self._pending: list[bytes] = [line]
        self._pending_bytes = len(line)
        self._file: FileIO | None = None
        self._is_made, self._closed = path is not None, False
        self._known: _Earlier | None = None
        self._earlier: Iterator[Record] | None = None
        self._expected: Record | None = None
        if path is not None:
            self._file = _opened(path, "x", opener)

    @classmethod
    def resume(cls, path: Path, header: Mapping[str, str | int], committed: Seal | None = None,
               stamp: Stamp = no_stamp, opener: Opener = FileIO) -> AuditLog:
        """Go on with the log of a killed, stopped or failed run; feed it the whole run again from its beginning.

        `committed` is the seal kept with the last flush that counts (None: none did).  RecordError when the file is
        not the log of this run, was edited, or lacks records that count; it is left as it is.
        """
        if path.is_symlink():
            raise RecordError(f"{path}: is a link; expected what a run wrote there itself; cannot go on with it")
        self = cls(None, header, stamp)
        kept = committed or Seal(0, self._head)
        known = _Earlier(path, header, kept)
        self.path, self._file = path, _opened(path, "a", opener)
        try:
            self._file.truncate(known.end)
        except OSError as error:
            self.abandon()
            raise RecordError(f"{path}: cannot be written: {error.strerror}") from error
        if known.end:
            self._pending, self._pending_bytes = [], 0
            self._count, self._head = known.count, known.head
            self._known = known
            self._earlier = known.records()
            self._next(t_us=0)
        return self

    # -- while the run goes ------------------------------------------------------------------------------------------

    @property
    def seal(self) -> Seal:
        """Of everything appended so far, flushed or not; while catching up, of what the file has."""
        return Seal(self._count, self._head)

    @property
    def catching_up(self) -> bool:
        """Whether a resumed log is still short of what counts of the earlier one."""
        return self._expected is not None

    def append(self, t_us: int, kind: str, subject: str, detail: str = "", /, **numbers: float) -> None:
        """Record that something was asked, decided or done at `t_us`.

        Texts beyond the limits are cut with a mark.  Nothing of a record but its stamp may depend on wall time or on
        the machine, else the run cannot be resumed.  RecordError: more numbers than the limits, a reserved kind, a
        record that is not the one of the earlier execution, or a flush that became due and failed.
        """
        assert not self._closed, "append after close"
        if kind == RESUMED:
            raise RecordError(f"audit: the kind {RESUMED!r} is written by the log itself; expected another word")
        if abs(t_us) > MAX_INTEGER:
            raise RecordError(f"audit: t_us is {t_us}; expected an integer of 64 bits")
        fields = {name: float(value) for name, value in numbers.items()}
        record = Record(self._count, int(t_us), None, shortened(kind, MAX_KIND), shortened(subject, MAX_SUBJECT),
                        shortened(detail, MAX_DETAIL), fields, self._head)
        if self._expected is not None:
            self._compare(record, self._expected)
            self._next(record.t_us)
        else:
            self._write(record)

    def flush(self) -> None:
        """Write what was appended and force it to disk, or raise RecordError and keep it in memory."""
        if self._file is None or not self._pending:
            return
        file, data = self._file, b"".join(self._pending)
        try:
            before = os.fstat(file.fileno()).st_size
            try:
                if (written := file.write(data)) != len(data):
                    raise OSError(errno.ENOSPC, f"{written} of {len(data)} bytes written")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                file.seek(before)
                raise
        except OSError as error:
            why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
            raise RecordError(f"{self.path}: {why}; {len(self._pending)} lines of the audit log are still in memory, "
                              f"what was flushed before is readable") from error
        self._pending, self._pending_bytes = [], 0

    def close(self) -> Seal:
        """Flush, let go of the file and return the seal; twice is once.  After a RecordError it may be tried again."""
        if not self._closed:
            self.flush()
            self.abandon()
        return self.seal

    def abandon(self) -> None:
        """Let go of the file without a flush."""
        self._closed = True
        self._earlier = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Take back the file of a run that could not be built; a resumed log stays."""
        if self._is_made and self.path is not None and not self._closed:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        self.abandon()

    def _write(self, record: Record) -> None:
        stamp = self._stamp()
        line, self._head = record_line(replace(record, stamp=stamp and shortened(stamp, MAX_STAMP)))
        self._count += 1
        if self._file is None:
            return
        self._pending.append(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= MAX_BUFFER_BYTES:
            self.flush()

    # -- while a resumed run catches up ------------------------------------------------------------------------------

    def _compare(self, now: Record, earlier: Record) -> None:
        """Raises RecordError unless both say the same; equal hashes are equal records, NaN included."""
        same = replace(now, seq=earlier.seq, stamp=earlier.stamp, previous=earlier.previous)
        if record_line(same)[1] != earlier.hash:
            raise RecordError(f"{self.path}: this execution is not the recorded run: record {earlier.seq} is "
                              f"{_summary(earlier)}, this execution has {_summary(now)}; the log was left as it is")

    def _next(self, t_us: int) -> None:
        assert self._earlier is not None
        self._expected = next(self._earlier, None)
        if self._expected is None:
            self._earlier = None
            self._write_resumed(t_us)

    def _write_resumed(self, t_us: int) -> None:
        known = self._known
        assert known is not None
        first, count = known.kept.count, self._count
        lost = (f"records {first} to {count - 1} are of instants that were not kept" if first < count else
                "nothing on record was lost")
        cut = f"; {known.cut_bytes} bytes of a record cut short were removed" if known.cut_bytes else ""
        self._write(Record(count, t_us, None, RESUMED, "run", f"the run was resumed; {lost}{cut}",
                           {"void_from": float(first), "void_to": float(count)}, self._head))


class _Earlier:
    """The log of an earlier execution: checked as a whole, then read again record by record."""

    def __init__(self, path: Path, header: Mapping[str, str | int], kept: Seal) -> None:
        self._path, self.kept = path, kept
        self.count, self.end, self.cut_bytes, self.head = 0, 0, 0, ""
        self._void: list[tuple[int, int]] = []
        size = 0
        try:
            if path.exists():
                size = path.stat().st_size
                self._check(header)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
        if not self.end and kept.count:
            raise RecordError(f"{path}: holds no record; expected the {kept.count} of what the result holds; cannot "
                              f"go on with this run")
        self.cut_bytes = size - self.end

    def records(self) -> Iterator[Record]:
        """What counts of it, in order: no marks of resumes, nothing that was left without a result."""
        with self._path.open("rb") as file:
            for record in Walk(file):
                if record.seq >= self.kept.count:
                    return
                if record.kind != RESUMED and not any(first <= record.seq < end for first, end in self._void):
                    yield record

    def _check(self, header: Mapping[str, str | int]) -> None:
        with self._path.open("rb") as file:
            walk, at_kept = Walk(file), ""
            for record in walk:
                if walk.count == self.kept.count:
                    at_kept = record.hash
                if record.kind == RESUMED:
                    self._void.append((int(min(max(record.fields.get("void_from", record.seq), 0), record.seq)),
                                       record.seq))
        fault = walk.fault
        if fault is not None and fault.condition is not Condition.CUT_SHORT and self._path.stat().st_size:
            raise RecordError(f"{self._path}:{fault.line}: found {fault.found}, expected {fault.expected}; cannot go "
                              f"on with this log")
        if len(self._void) >= MAX_RESUMES:
            raise RecordError(f"{self._path}: resumed {len(self._void)} times; expected at most {MAX_RESUMES}")
        if walk.end and dict(walk.header) != dict(header):
            raise RecordError(f"{self._path}: the log of another run: {dict(walk.header)!r:.200}; expected "
                              f"{dict(header)!r:.200}")
        if self.kept.count == 0:
            at_kept = walk.genesis or self.kept.head
        if at_kept != self.kept.head:
            raise RecordError(f"{self._path}: {walk.count} records, and they do not lead to the {self.kept.count} that "
                              f"end with {self.kept.head[:12]}…, which the result holds; cannot go on with this log")
        self.count, self.head, self.end = walk.count, walk.head, walk.end


def _opened(path: Path, mode: str, opener: Opener) -> FileIO:
    try:
        return opener(path, mode)
    except FileExistsError:
        raise RecordError(f"{path}: exists already; expected no audit log there") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from error


def _summary(record: Record) -> str:
    return f"{record.kind} {record.subject!r:.60} at t = {record.t_us / 1e6:.6f} s ({record.detail:.60})"
