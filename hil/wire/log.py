"""The wire log as it is written: one append for each chunk of bytes, encoded and written in batches.

Theory of operation
-------------------
`received` and `sent` stand in the path of every request, so they put one tuple on a list.  `flush` (by the server's
tick, or when enough has gathered) turns the list into bytes and writes them at once.  Nothing is forced to disk
before `close`: what was written survives a kill of the process.

The log is evidence beside the run, not the run: when the disk refuses, it says so once, stops, and the run goes on.
At `max_bytes` it goes over to keeping writes alone, at a quarter more it stops; a record says so each time.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from enum import Enum
from hashlib import sha256
from io import FileIO
from pathlib import Path

from cosim.errors import GridloopError, RecordError
from cosim.stopwatch import wall_stamp
from gateways.peer import Peer
from hil.wire.frames import may_write
from hil.wire.layout import (
    EXCHANGE,
    EXCHANGE_RECORD,
    FILE,
    MAX_BYTES,
    RECORD,
    Framing,
    Kind,
    WireRecord,
    head_bytes,
    record_bytes,
    texts,
)

#: Bytes of a file unless told otherwise.
MAX_FILE_BYTES = 1 << 30
#: Bytes that gather before they are written without being asked for: a millisecond's work, in which nobody is answered.
PENDING_BYTES = 256 * 1024

_pack, _pack_exchange = RECORD.pack, EXCHANGE_RECORD.pack
#: Bytes of an exchange that are kept as one record.
_MOST_EXCHANGED = MAX_BYTES - EXCHANGE.size
# Looked up, and turned into a number, for every chunk.
_RECEIVED, _SENT, _EXCHANGED = int(Kind.RECEIVED), int(Kind.SENT), int(Kind.EXCHANGED)

_log = logging.getLogger(__name__)


class WireMode(Enum):
    """What is kept."""

    ALL = "all"
    WRITES = "writes"
    """Sessions, and the chunks that hold a write or its answer (and those of which that cannot be told)."""
    NONE = "none"


_ALL = WireMode.ALL


def _mode(word: WireMode | str) -> WireMode:
    try:
        return WireMode(word)
    except ValueError:
        known = ", ".join(mode.value for mode in WireMode)
        raise GridloopError(f"wire: found {word!r:.40}; expected {known}") from None


def _disk(path: Path) -> FileIO:
    return FileIO(path, "x")


class WireLog:
    """Writes ``wire.log`` in a result folder; has what `gateways.listener.Hooks` wants of whoever serves.

    `sim_us` gives the simulation time of a time on the sessions' clock, and `now_us` that clock's now.  RecordError:
    the file exists already, or cannot be made.
    """

    def __init__(self, folder: Path, sim_us: Callable[[int], int], mode: WireMode | str = WireMode.ALL, *,
                 now_us: Callable[[], int], run: str = "", stamp: Callable[[], str | None] = wall_stamp,
                 max_bytes: int = MAX_FILE_BYTES, opener: Callable[[Path], FileIO] = _disk) -> None:
        self.path = folder / FILE
        self.mode = self._asked = _mode(mode)
        self._sim_us, self._now_us, self._stamp, self._max_bytes = sim_us, now_us, stamp, max_bytes
        self._framings: dict[str, Framing] = {}
        self._pending = bytearray()
        """Whole records: packed at once, as apart they would cost more memory than the requests themselves."""
        self._hash, self.size, self.records = sha256(), 0, 0
        self.failed = ""
        """Why it stopped before its time; "" where it did not."""
        self._file: FileIO | None = None
        if self.mode is not WireMode.NONE:
            try:
                self._file = opener(self.path)
            except FileExistsError:
                raise RecordError(f"{self.path}: exists already; expected no wire log there") from None
            except OSError as error:
                raise RecordError(f"{self.path}: cannot be written: {error.strerror or error}") from error
            self._write(head_bytes({"run": run, "mode": self.mode.value, "stamp": stamp() or "",
                                    "clock_us": str(now_us())}))

    # -- what listeners tell -------------------------------------------------------------------------------------------

    def received(self, peer: Peer, now_us: int, data: bytes) -> None:
        """Bytes came in."""
        if self.mode is _ALL or self._wanted(peer, data):
            if len(data) > MAX_BYTES:
                self._put(_RECEIVED, peer.session, now_us, data)
                return
            self._pending += _pack(_RECEIVED, peer.session, self._sim_us(now_us), now_us, len(data)) + data
            self.records += 1
            if len(self._pending) > PENDING_BYTES:
                self.flush()

    def sent(self, peer: Peer, now_us: int, data: bytes) -> None:
        """Bytes went out."""
        if self.mode is _ALL or self._wanted(peer, data):
            if len(data) > MAX_BYTES:
                self._put(_SENT, peer.session, now_us, data)
                return
            self._pending += _pack(_SENT, peer.session, self._sim_us(now_us), now_us, len(data)) + data
            self.records += 1
            if len(self._pending) > PENDING_BYTES:
                self.flush()

    def exchanged(self, peer: Peer, now_us: int, data: bytes, answer: bytes) -> None:
        """Bytes came in at `now_us`, and others went out for them just now (the path of every request)."""
        if self.mode is _ALL and data and answer and len(data) + len(answer) < _MOST_EXCHANGED:
            n = len(data)
            self._pending += _pack_exchange(_EXCHANGED, peer.session, self._sim_us(now_us), now_us,
                                            8 + n + len(answer), self._now_us() - now_us, n) + data + answer
            self.records += 1
            if len(self._pending) > PENDING_BYTES:
                self.flush()
            return
        if data:
            self.received(peer, now_us, data)
        if answer:
            self.sent(peer, self._now_us(), answer)

    def listening(self, name: str, kind: str, where: str) -> None:
        """A listener is open: its kind tells how its bytes are framed; `where` as it says (``127.0.0.1:5020``)."""
        self._framings[name] = Framing.of_kind(kind)
        self._append(Kind.LISTENER, 0, texts(name=name, kind=kind, where=where))

    def opened(self, peer: Peer) -> None:
        """A session has begun."""
        self._append(Kind.OPENED, peer.session, texts(
            listener=peer.listener, address=peer.address, host=peer.host, role=peer.role.name.lower(),
            stamp=self._stamp() or ""))

    def closed(self, peer: Peer, reason: str) -> None:
        """A session has ended."""
        self._append(Kind.CLOSED, peer.session, texts(reason=reason, stamp=self._stamp() or ""))

    def refused(self, listener: str, address: str, reason: str) -> None:
        """A connection did not become a session."""
        self._append(Kind.REFUSED, 0, texts(listener=listener, address=address, reason=reason,
                                            stamp=self._stamp() or ""))

    # -- what whoever serves uses --------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what has gathered; every 0.2 s or so."""
        if self._file is None:
            self._pending.clear()
            return
        if not self._pending:
            return
        pending, self._pending = bytes(self._pending), bytearray()
        self._write(pending)
        if self.size >= self._max_bytes:
            self._limit(self._now_us())

    def figures(self) -> dict[str, str | int]:
        """For the run's summary: what is kept, how much, and why it stopped before its time, if it did."""
        return {"mode": self._asked.value, "records": self.records, "bytes": self.size, "failed": self.failed}

    def close(self) -> str:
        """Write and force to disk what is left, and let go; the SHA-256 of the file, "" where there is none."""
        if self._file is None:
            return ""
        self._append(Kind.END, 0, texts(stamp=self._stamp() or ""))
        self.flush()
        if self._file is not None:
            try:
                os.fsync(self._file.fileno())
            except OSError as error:
                self._fail(error)
                return ""
            self._stop()
        return "" if self.failed else self._hash.hexdigest()

    # -- within --------------------------------------------------------------------------------------------------------

    def _wanted(self, peer: Peer, data: bytes) -> bool:
        return self.mode is WireMode.WRITES and may_write(data, self._framings.get(peer.listener, Framing.UNKNOWN))

    def _append(self, kind: Kind, session: int, data: bytes) -> None:
        if self._file is not None:
            self._put(int(kind), session, self._now_us(), data)

    def _put(self, kind: int, session: int, now_us: int, data: bytes) -> None:
        t_us = self._sim_us(now_us)
        for piece in (data,) if len(data) <= MAX_BYTES else _split(data):
            self._pending += _pack(kind, session, t_us, now_us, len(piece)) + piece
        self.records += 1
        if len(self._pending) > PENDING_BYTES:
            self.flush()

    def _write(self, data: bytes) -> None:
        """All of it, or nothing and no more from here on."""
        file = self._file
        assert file is not None, "writes come while the file is open"
        try:
            written = file.write(data)
            if written != len(data):
                file.truncate(self.size)
                raise OSError(f"{written} of {len(data)} bytes written")
        except OSError as error:
            self._fail(error)
            return
        self._hash.update(data)
        self.size += len(data)

    def _limit(self, now_us: int) -> None:
        """The file is as long as it may be: keep less, then nothing."""
        is_last = self.mode is WireMode.WRITES and self.size >= self._max_bytes + self._max_bytes // 4
        if self.mode is WireMode.WRITES and not is_last:
            return
        what = "nothing more is kept" if is_last else "only sessions and writes are kept"
        _log.warning("%s: %d bytes; %s from here on", self.path, self.size, what)
        self._write(record_bytes(WireRecord(Kind.LIMITED, 0, self._sim_us(now_us), now_us, texts(
            what=what, why=f"{self.size} bytes; expected at most {self._max_bytes}"))))
        if is_last:
            self.failed = self.failed or f"{self.size} bytes"
            self._stop()
        else:
            self.mode = WireMode.WRITES

    def _fail(self, error: OSError) -> None:
        self.failed = f"{self.path}: {error.strerror or error}"
        _log.error("%s; no more bytes of the wire are kept", self.failed)
        self._stop()

    def _stop(self) -> None:
        self.mode = WireMode.NONE
        self._pending.clear()
        if self._file is not None:
            self._file.close()
            self._file = None


def _split(data: bytes) -> list[bytes]:
    """A chunk too long for one record, as several."""
    return [data[at:at + MAX_BYTES] for at in range(0, len(data), MAX_BYTES)]
