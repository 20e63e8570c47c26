"""One pass over a wire log, whether its writer ended properly, was killed or still writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from cosim.errors import RecordError
from hil.wire.layout import (
    EXCHANGE,
    HEAD,
    MAGIC,
    MAX_BYTES,
    MAX_HEAD,
    RECORD,
    VERSION,
    Kind,
    WireRecord,
    texts_of,
)

_KINDS = {int(kind): kind for kind in Kind}


class WireFile:
    """Iterate once to get the records of `file`; memory is one record, whatever the file.

    `head` says which run it is.  Afterwards `count` is the number of records, `cut_bytes` what is left of one that was
    not written whole (0 at a proper end) and `ended` whether the writer closed the log.  RecordError: not a wire log,
    another version, or bytes within that are no record.
    """

    def __init__(self, file: IO[bytes], name: str = "wire.log") -> None:
        self._file, self._name = file, name
        self.count, self.cut_bytes, self.ended = 0, 0, False
        self._at = 0
        self.head: Mapping[str, str] = self._read_head()

    def __iter__(self) -> Iterator[WireRecord]:
        while (begin := self._file.read(RECORD.size)):
            if len(begin) < RECORD.size:
                self.cut_bytes = len(begin)
                return
            number, session, t_us, clock_us, length = RECORD.unpack(begin)
            kind = _KINDS.get(number)
            if kind is None or length > MAX_BYTES:
                raise RecordError(f"{self._name}: byte {self._at}: found kind {number} and length {length}; expected a "
                                  f"kind of 1 to {max(_KINDS)} and at most {MAX_BYTES} bytes (the file is damaged)")
            data = self._file.read(length)
            if len(data) < length:
                self.cut_bytes = RECORD.size + len(data)
                return
            self._at += RECORD.size + length
            self.count += 1
            self.ended = kind is Kind.END
            if kind is Kind.EXCHANGED:
                yield from self._exchange(session, t_us, clock_us, data)
            else:
                yield WireRecord(kind, session, t_us, clock_us, data)

    def _exchange(self, session: int, t_us: int, clock_us: int, data: bytes) -> Iterator[WireRecord]:
        elapsed_us, length = EXCHANGE.unpack_from(data) if len(data) >= EXCHANGE.size else (0, -1)
        middle = EXCHANGE.size + length
        if not EXCHANGE.size <= middle <= len(data):
            raise RecordError(f"{self._name}: byte {self._at}: an exchange of {len(data)} bytes whose request has "
                              f"{length}; expected at most the rest (the file is damaged)")
        yield WireRecord(Kind.RECEIVED, session, t_us, clock_us, data[EXCHANGE.size:middle])
        yield WireRecord(Kind.SENT, session, t_us, clock_us + elapsed_us, data[middle:])

    def _read_head(self) -> Mapping[str, str]:
        begin = self._file.read(HEAD.size)
        if len(begin) < HEAD.size or not begin.startswith(MAGIC):
            raise RecordError(f"{self._name}: begins with {begin[:8]!r}; expected a wire log, {MAGIC!r}")
        _, version, length = HEAD.unpack(begin)
        if version != VERSION or length > MAX_HEAD:
            raise RecordError(f"{self._name}: a wire log of version {version}; this reader knows version {VERSION}")
        body = self._file.read(length)
        if len(body) < length:
            raise RecordError(f"{self._name}: ends within its head; expected {length} bytes of it, found {len(body)}")
        self._at = HEAD.size + length
        return texts_of(body)


def open_wire(path: Path) -> IO[bytes]:
    """The file for `WireFile`; RecordError where there is none."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise RecordError(f"{path}: no wire log here; `gridloop serve` keeps one unless told `wire: none`") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from None
