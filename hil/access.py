"""The access log: every write that masters asked for, taken or not, and what came of it, in a chain of hashes.

Theory of operation
-------------------
It is a log of its own (``access.jsonl``), of the same form as the run's audit log (`cosim.audit`), because the run's
own must come out the same when the run is executed again, and peers, bytes and refusals at the door do not.

========  ============================================================================================================
kind      what
========  ============================================================================================================
write     a master's write as it was answered: peer, role, bytes, decoded, before, answer, reason.  t_us: its arrival
own       a station's own doing: a reversion timer, lost communication
effect    after the first SOLVE since a write or own entered: what is in force, what stands, what the shield did and why
wire      the hash of the wire log, at the end
switch    read-only was switched on or off
flood     how many writes of a peer were refused unread, beyond its rate, since the last one written in full
lost      writes that were refused while the log could not be written
========  ============================================================================================================

`append` and `flush` never raise: a log that cannot be written makes `usable` false, and the gate then takes no write
(what cannot be written down is not done) until a flush succeeds.  Lines are forced to disk at most every `flush_us`.
At a proper end the seal lies beside the log (``access.seal``); a seal kept elsewhere protects against more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from pathlib import Path

from cosim.audit import AuditLog, Record, Seal
from cosim.audit.log import no_stamp
from cosim.errors import RecordError
from gateways.gate import WriteAnswer, WriteRequest
from gateways.peer import Peer

FILE = "access.jsonl"
SEAL = "access.seal"
#: Kind of the record that holds the hash of the wire log.
WIRE = "wire"

#: Bytes of a request that are written down (a Modbus request has at most 260), points named, characters of their words.
_MAX_FRAME, _MAX_NAMED, _MAX_WORDS = 260, 24, 900
#: Lines that may wait for a disk that refuses them.
_MAX_WAITING = 4096

_WRITE = re.compile(r"(?P<address>.*?) as (?P<role>\w+), (?P<listener>\S+) #(?P<session>\d+): (?P<words>.*); "
                    r"bytes (?P<frame>(?:[0-9a-f]{2})*)(?P<cut>…\[\d+ bytes\])?", re.DOTALL)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """One point of a write: its name, what it was and what is asked for (NaN: released), in `unit`."""

    name: str
    before: float
    value: float
    unit: str = ""

    def __str__(self) -> str:
        asked = "release" if isnan(self.value) else f"= {_figure(self.value, self.unit)}"
        return f"{self.name} {asked} (was {_figure(self.before, self.unit)})"


class AccessLog:
    """Appends to ``access.jsonl`` in `folder` (None: only counts and chains).

    `header` says which run it is; `stamp` gives wall time.  RecordError: there is such a log already.
    """

    def __init__(self, folder: Path | None, header: Mapping[str, str | int],
                 stamp: Callable[[], str | None] = no_stamp, flush_us: int = 250_000,
                 audit: AuditLog | None = None) -> None:
        path = None if folder is None else folder / FILE
        self._audit = audit or AuditLog(path, {**header, "log": "access"}, stamp)
        self._folder, self._flush_us, self._flushed_us = folder, flush_us, 0
        self._dirty = 0
        self._failing = ""
        self.lost = 0
        """Records that could not be kept while the log could not be written."""

    @property
    def usable(self) -> bool:
        """Whether what is appended will be kept; the gate takes nothing where not."""
        return not self._failing

    @property
    def failing(self) -> str:
        """Why it cannot be written; "" where it can."""
        return self._failing

    @property
    def seal(self) -> Seal:
        """Of everything appended so far."""
        return self._audit.seal

    def append(self, t_us: int, kind: str, subject: str, detail: str = "", /, **numbers: float) -> int:
        """Append one record; its number in the log, or -1 where it could not be kept."""
        if self._failing and self._dirty >= _MAX_WAITING:
            self.lost += 1
            return -1
        number = self._audit.seal.count
        self._dirty += 1
        try:
            self._audit.append(t_us, kind, subject, detail, **numbers)
        except RecordError as error:  # a flush became due and failed; the line is kept in memory
            self._fail(error)
        return number

    def tick(self, now_us: int, t_us: int) -> None:
        """Force to disk what was appended, at most every `flush_us` of the caller's clock; `t_us` is the run's."""
        if now_us - self._flushed_us >= self._flush_us:
            self._flushed_us = now_us
            self.flush(t_us)

    def flush(self, t_us: int) -> None:
        """Force to disk what was appended; logs a failure, and a recovery."""
        if not self._dirty:
            return
        try:
            self._audit.flush()
        except RecordError as error:
            self._fail(error)
            return
        self._dirty = 0
        if self._failing:
            _log.warning("the access log can be written again; writes are taken again")
            self._failing, lost, self.lost = "", self.lost, 0
            if lost:
                self.append(t_us, "lost", "gate", f"{lost} records could not be kept while the log could not be "
                                                  f"written; no write was taken then", records=lost)

    def close(self, t_us: int) -> Seal:
        """Flush, write the seal beside the log and let go; raises RecordError when the last lines cannot be kept."""
        self.flush(t_us)
        seal = self._audit.close()
        if self._folder is not None:
            beside = self._folder / f".{SEAL}.tmp"
            try:
                beside.write_text(f"{seal}\n", encoding="ascii")
                beside.replace(self._folder / SEAL)
            except OSError as error:
                raise RecordError(f"{self._folder / SEAL}: cannot be written: {error.strerror or error}") from error
        return seal

    def _fail(self, error: RecordError) -> None:
        if not self._failing:
            _log.error("%s; no write is taken until it can be written", error)
        self._failing = str(error)


# -- words ------------------------------------------------------------------------------------------------------------


def write_words(request: WriteRequest, changes: Sequence[Change], answer: WriteAnswer, reason: str) -> str:
    """A write's detail: peer, decoded, answer, reason, bytes; `read_write` takes it apart again."""
    peer = request.peer
    why = f" ({reason})" if reason else ""
    asked = _named(list(map(str, changes))) or _named(list(request.tags)) or "no point"
    return (f"{peer.address:.80} as {peer.role.name.lower()}, {_word(peer.listener)} #{peer.session}: {asked}; "
            f"{answer.value}{why:.400}; bytes {_frame_words(request.frame)}")


@dataclass(frozen=True, slots=True)
class WriteNote:
    """A ``write`` record, taken apart.  `entry_us` is -1 where nothing was submitted, `rows` are those of the journal.
    """

    number: int
    arrival_us: int
    entry_us: int
    rows: int
    station: str
    role: str
    session: int
    words: str
    frame: bytes
    whole: bool
    """Whether `frame` is all of the request."""


def read_write(record: Record) -> WriteNote | None:
    """What a ``write`` record says; None for any other."""
    found = _WRITE.fullmatch(record.detail) if record.kind == "write" else None
    if found is None:
        return None
    return WriteNote(record.seq, record.t_us, _whole(record, "entry_us", -1), _whole(record, "rows", 0), record.subject,
                     found["role"], int(found["session"]), found["words"], bytes.fromhex(found["frame"]),
                     found["cut"] is None)


def _whole(record: Record, name: str, otherwise: int) -> int:
    value = record.fields.get(name, float("nan"))
    return int(value) if isfinite(value) else otherwise


def source_of(station: str, peer: Peer) -> str:
    """As what a master's write enters the journal: the same whoever connects from wherever, so that it replays."""
    return f"{station}/{peer.role.name.lower()}"


def _frame_words(frame: bytes) -> str:
    return frame.hex() if len(frame) <= _MAX_FRAME else f"{frame[:_MAX_FRAME].hex()}…[{len(frame)} bytes]"


def _named(words: Sequence[str]) -> str:
    """As many as there is room for, the rest counted."""
    shown: list[str] = []
    room = _MAX_WORDS
    for word in words[:_MAX_NAMED]:
        room -= len(word) + 2
        if room < 0:
            break
        shown.append(word)
    more = len(words) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def effect_words(parts: Sequence[str]) -> str:
    """What stands after a write, point by point."""
    return _named(parts)


def _figure(value: float, unit: str) -> str:
    return "nothing" if isnan(value) else f"{value:.9g} {unit}".rstrip()


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", text)[:64] or "-"
