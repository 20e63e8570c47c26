"""Streams of bytes cut into Modbus frames again, in either direction; tolerant, because evidence may hold anything.

A stream that makes no sense is given back as frames that say so.  RTU frames are cut by the sizes that the session
itself goes by (`gateways.modbus.rtu`).  Silences, which end frames on a line, are not in a log of chunks: what a CRC
proves to be no frame is noise up to the next frame whose CRC holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateways.modbus import identification
from gateways.modbus.pdu import READ_TABLE
from gateways.modbus.rtu import MAX_FRAME, MIN_FRAME, NOT_YET, crc16, frame_sizes, is_sound, size_by_crc
from hil.wire.layout import Framing

#: A frame of Modbus TCP that is longer than this is none.
_MAX_FRAME = 260
#: Functions of which requests, answers and exceptions only read.
_READS = frozenset((*READ_TABLE, identification.FUNCTION))


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
        while self._framing is Framing.RTU and len(self._rest) >= MIN_FRAME:
            frame = self._left()
            self._rest = self._rest[len(frame.data):]
            yield frame
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
        if len(data) < MIN_FRAME:
            return None
        own = self._own_sizes(0)
        by_crc = NOT_YET if own else size_by_crc(data, 0)
        size = self._sound_size(0) or max(by_crc, 0)
        if size:
            return Frame(data[:size], -1, data[0], data[1:size - 2])
        if any(_is_awaited(size, data) for size in own):
            return None
        waits = (not own and by_crc == NOT_YET) or any(_is_awaited(size, data) for size in self._sizes(0))
        return self._noise(waits=waits)

    def _noise(self, *, waits: bool) -> Frame | None:
        """What stands before the next sound frame, if the bytes here can be none.

        Where they `waits` for a silence that a log does not hold (a frame of another unit, or of an unknown function,
        may be under way), a sound frame that ends with the chunk is taken for what followed that silence.
        """
        there = len(self._rest)
        ends = ((at, at + size) for at in range(1, there - MIN_FRAME + 1) if (size := self._sound_size(at)))
        first = next(ends, None)
        if first is not None and (not waits or first[1] == there or any(end == there for _, end in ends)):
            return self._bad(first[0])
        return self._bad(there - MAX_FRAME) if first is None and there > MAX_FRAME else None

    def _left(self) -> Frame:
        """The next frame of what is left when no more will come."""
        size = self._sound_size(0)
        if size:
            return Frame(self._rest[:size], -1, self._rest[0], self._rest[1:size - 2])
        there = len(self._rest)
        return self._bad(next((at for at in range(1, there) if self._sound_size(at)), there))

    def _own_sizes(self, at: int) -> list[int]:
        """Sizes of this direction's frames."""
        return frame_sizes(self._rest, at, requests=not self._answers, answers=self._answers)

    def _sizes(self, at: int) -> list[int]:
        """Those, and with requests also answers: on a line the other units' can be heard."""
        others = [] if self._answers else frame_sizes(self._rest, at, requests=False, answers=True)
        return self._own_sizes(at) + others

    def _sound_size(self, at: int) -> int:
        """Size of the sound frame of a known function at `at`; 0: there is none."""
        if len(self._rest) - at < MIN_FRAME:
            return 0
        return next((size for size in self._sizes(at) if is_sound(self._rest, at, size)), 0)

    def _bad(self, size: int) -> Frame:
        """The first `size` bytes as no frame."""
        data = self._rest[:size]
        if size >= MIN_FRAME and size in self._own_sizes(0):
            found, expected = int.from_bytes(data[-2:], "little"), crc16(data[:-2])
            return Frame(data, -1, data[0], b"", f"checksum {found:04x}, not {expected:04x}")
        return Frame(data, -1, -1, b"", f"{size} bytes and no frame")

    def _none(self, fault: str) -> Frame:
        return Frame(self._rest, -1, -1, b"", fault)


def _is_awaited(size: int, data: bytes) -> bool:
    """Whether a frame of this size may be under way."""
    return size == NOT_YET or len(data) < size <= MAX_FRAME


def may_write(data: bytes, framing: Framing) -> bool:
    """Whether a chunk must be kept for the sake of writes: whether it is anything but one whole frame that only reads.

    So it is for a read with anything behind it, for parts of frames, and for what cannot be told.  Function 8 is kept,
    as it can silence a unit.
    """
    if framing is Framing.RTU:
        if len(data) < MIN_FRAME or data[1] & 0x7F not in _READS:
            return True
        sizes = frame_sizes(data, 0, answers=True)
        return next((size for size in sizes if is_sound(data, 0, size)), 0) != len(data)
    if len(data) < 8 or data[2:4] != b"\0\0" or int.from_bytes(data[4:6], "big") != len(data) - 6:
        return True
    return data[7] & 0x7F not in _READS
