"""Streams of bytes cut into Modbus frames again, in either direction; tolerant, because evidence may hold anything.

A stream that makes no sense is given back as one frame that says so.  Lengths of RTU frames follow from function and
byte counts (Modbus over Serial Line v1.02 knows only silences, which a log of chunks does not hold).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateways.modbus.rtu import crc16
from hil.wire.layout import Framing

#: A frame that is longer than this is none (Modbus TCP: 260, RTU: 256).
_MAX_FRAME = 260
_WRITES = frozenset((5, 6, 15, 16, 22, 23))
_READS = frozenset((1, 2, 3, 4, 8, 43))
#: RTU: size of a frame by its function, or where the number of bytes stands that follow it (the CRC comes on top); a
#: function that is in neither ends where the CRC first holds.
_REQUEST_SIZES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 8: 8, 22: 10, 43: 7}
_REQUEST_COUNTS = {15: 6, 16: 6, 23: 10}
_ANSWER_SIZES = {5: 8, 6: 8, 8: 8, 15: 8, 16: 8, 22: 10}
_ANSWER_COUNTS = {1: 2, 2: 2, 3: 2, 4: 2, 23: 2}


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or answer.  `transaction` is -1 in RTU; `pdu` is b"" and `fault` says why where it is no frame."""

    data: bytes
    transaction: int
    unit: int
    pdu: bytes
    fault: str = ""


class Cutter:
    """One direction of one session: takes chunks, gives frames that are complete."""

    def __init__(self, framing: Framing, *, answers: bool) -> None:
        self._framing, self._answers = framing, answers
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Frames that end in `chunk`."""
        self._rest += chunk
        if self._framing is Framing.UNKNOWN and len(self._rest) >= 4:
            self._framing = Framing.MBAP if self._rest[2:4] == b"\0\0" else Framing.RTU
        cut = self._rtu if self._framing is Framing.RTU else self._mbap
        while self._rest and (frame := cut()) is not None:
            self._rest = self._rest[len(frame.data):]
            yield frame

    def end(self) -> Iterator[Frame]:
        """What is left when the session is over."""
        if self._rest:
            yield self._none(f"{len(self._rest)} bytes of a frame")
            self._rest = b""

    def _mbap(self) -> Frame | None:
        data = self._rest
        if len(data) < 6:
            return self._none("no protocol id of Modbus") if data[2:4].strip(b"\0") else None
        length = int.from_bytes(data[4:6], "big")
        if data[2:4] != b"\0\0":
            return self._none(f"protocol id {int.from_bytes(data[2:4], 'big')}, not 0")
        if not 2 <= length <= _MAX_FRAME - 6:
            return self._none(f"length {length}, not 2 to {_MAX_FRAME - 6}")
        if len(data) < 6 + length:
            return None
        return Frame(data[:6 + length], int.from_bytes(data[:2], "big"), data[6], data[7:6 + length])

    def _rtu(self) -> Frame | None:
        data = self._rest
        if len(data) < 4:
            return None
        length = _rtu_length(data, answers=self._answers)
        if length is None or len(data) < length <= _MAX_FRAME:
            return self._none(f"{len(data)} bytes and no frame") if len(data) > _MAX_FRAME else None
        if length > _MAX_FRAME:
            return self._none(f"a frame of {length} bytes, more than {_MAX_FRAME}")
        found, expected = int.from_bytes(data[length - 2:length], "little"), crc16(data[:length - 2])
        if found != expected:
            return Frame(data[:length], -1, data[0], b"", f"checksum {found:04x}, not {expected:04x}")
        return Frame(data[:length], -1, data[0], data[1:length - 2])

    def _none(self, fault: str) -> Frame:
        return Frame(self._rest, -1, -1, b"", fault)


def _rtu_length(data: bytes, *, answers: bool) -> int | None:
    """Bytes of the frame that begins here; None: not known yet."""
    function = data[1]
    if answers and function >= 0x80:
        return 5
    if answers and function == 43:
        return _identification_length(data)
    fixed, counted = (_ANSWER_SIZES, _ANSWER_COUNTS) if answers else (_REQUEST_SIZES, _REQUEST_COUNTS)
    if function in fixed:
        return fixed[function]
    if function in counted:
        at = counted[function]
        return data[at] + at + 3 if len(data) > at else None
    return next((size for size in range(4, min(len(data), _MAX_FRAME) + 1) if not crc16(data[:size])), None)


def _identification_length(data: bytes) -> int | None:
    """43/14: unit, function, type, code, conformity, more, next, number, then (id, length, text) each, then the CRC."""
    if len(data) < 8:
        return None
    end = 8
    for _ in range(data[7]):
        if len(data) < end + 2:
            return None
        end += 2 + data[end + 1]
    return end + 2


def may_write(data: bytes, framing: Framing) -> bool:
    """Whether a chunk holds a write, its answer, or something that cannot be told: cheap, for what is kept."""
    if framing is Framing.RTU:
        return len(data) < 2 or data[1] & 0x7F not in _READS
    at, end = 0, len(data)
    while at < end:
        if end - at < 8 or data[at + 2:at + 4] != b"\0\0":
            return True
        if data[at + 7] & 0x7F in _WRITES:
            return True
        at += 6 + int.from_bytes(data[at + 4:at + 6], "big")
    return False
