"""The server session of Modbus RTU: over a serial line, and of the same frames over TCP (Serial Line v1.02, 2.5.1).

Theory of operation.  A frame is a unit, a PDU and a CRC; nothing in it says how long it is.  The standard ends it
with a silence of 3.5 characters; an operating system hands bytes over late and in lumps, so silence is the lesser
witness here and the CRC the better one:

1. By its function a frame has one or two sizes that it may have: a request's and, on a line, where other units can be
   heard, an answer's.  Where the CRC holds at one of them, that is the frame.
2. On a line, what fits none waits for the silence (`t35_us`): then it is a frame if the CRC holds over all of it (an
   unknown function, a longer function 8), else it is dropped and counted.  More than 256 bytes without a frame are
   dropped up to the next silence.  Bytes behind a silence which complete the frame before it were only late.
3. Over TCP silence means nothing.  A function of unknown size ends where the CRC first holds; a frame that fits none
   of its sizes closes the connection.

Requests to unit 0 are carried out by all units, if they are writes, and answered by none (2.1).  A wrong CRC is never
answered.  A line has no idle time and never closes: it has no connection.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateways.modbus.bank import Bank, ExceptionCode
from gateways.modbus.diagnostics import Counters, Diagnostics
from gateways.modbus.pdu import BROADCAST, Request
from gateways.modbus.session import ModbusSession, SessionOptions
from gateways.peer import Peer

BROADCAST_UNIT = 0
MIN_FRAME, MAX_FRAME = 4, 256
NOT_YET, _NEVER = 0, -1

_REQUEST_SIZES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6}
_ANSWER_SIZES = {5: 8, 6: 8, 7: 5, 8: 8, 11: 8, 15: 8, 16: 8, 22: 10}
_REQUEST_COUNTS = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10}
"""Where the number of bytes stands that follow it, the CRC not among them."""
_ANSWER_COUNTS = {1: 2, 2: 2, 3: 2, 4: 2, 12: 2, 17: 2, 20: 2, 21: 2, 23: 2}
_EXCEPTION_SIZE = 5
_IDENTIFICATION, _IDENTIFICATION_SIZE = b"\x2b\x0e", 7
_ECHO = b"\x08\x00\x00"


def _remainder(value: int) -> int:
    """A byte's contribution to the CRC: eight steps of the polynomial 0xA001 (6.2.2)."""
    for _ in range(8):
        value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value


_REMAINDERS = tuple(_remainder(byte) for byte in range(256))


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS; 0 over a frame with its CRC, which is sent low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 0xFF]
    return crc


def t35_us(baud: int) -> int:
    """3.5 characters of 11 bits; fixed at 1750 µs above 19200 baud (2.5.1.1)."""
    return 1750 if baud > 19200 else -(-38_500_000 // baud)


class _Unit:
    """A unit on this line: what function 8 knows of it."""

    __slots__ = ("counters", "diagnostics")

    def __init__(self, line: Counters) -> None:
        self.counters = Counters()
        self.diagnostics = Diagnostics(line, self.counters, serial=True)

    def awake(self, pdu: bytes) -> bool:
        """Whether it serves a request; in listen-only mode it does not, but for the restart that ends the mode."""
        if not self.diagnostics.listening:
            return True
        self.diagnostics.heed(pdu)
        return False


class RtuSession(ModbusSession):
    """One serial line, where `options.t35_us` says how long its silences are, or one TCP connection.

    Listen-only mode and counters of function 8 live as long as the session.
    """

    __slots__ = ("_deaf", "_serial", "_state", "_t35_us")

    def __init__(self, units: Mapping[int, Bank], peer: Peer, options: SessionOptions,
                 now_us: int | None = None) -> None:
        super().__init__(units, peer, options, now_us)
        self._t35_us = options.t35_us or 0
        self._serial = options.t35_us is not None
        self._deaf = False
        """Nothing is heard until the next silence."""
        self._state: dict[int, _Unit] = {}

    # -- time -------------------------------------------------------------------------------------------------------

    def next_us(self) -> int | None:
        """On a line, the end of the silence that ends a frame; over TCP as in every session."""
        if not self._serial:
            return super().next_us()
        return self._last_us + self._t35_us if self._buffer and self._last_us is not None else None

    def on_timer(self, now_us: int) -> bytes:
        """Silence ends a frame on a line."""
        if not self._serial:
            return super().on_timer(now_us)
        return self._end_of_frame(now_us) if self._buffer and self._silent(now_us) else b""

    def _silent(self, now_us: int) -> bool:
        return self._last_us is not None and now_us - self._last_us >= self._t35_us

    def _end_of_frame(self, now_us: int) -> bytes:
        """Silence: what there is is a frame, or it is nothing."""
        frame, self._buffer = self._buffer, b""
        if len(frame) >= MIN_FRAME and not crc16(frame):
            return self._frame(frame, now_us)
        self.totals.bad_frames += 1
        return b""

    # -- bytes ------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_us: int) -> bytes:
        """The answers, in order, to all requests that `data` completes; keeps at most one incomplete frame."""
        if self.closing or not data:
            return b""
        silent, self._last_us = self._serial and self._silent(now_us), now_us
        self._deaf = self._deaf and not silent
        if self._deaf:
            return b""
        answers: list[bytes] = []
        if silent and self._buffer and self._size(self._buffer + data, 0) <= len(self._buffer):
            answers.append(self._end_of_frame(now_us))
        data = self._buffer + data
        offset, size = 0, NOT_YET
        while offset < len(data):
            size = self._size(data, offset)
            if size <= 0:
                break
            answers.append(self._frame(data[offset:offset + size], now_us))
            offset += size
        self._keep(data[offset:], offset > 0, now_us)
        if self._buffer:
            self._judge(size)
        return b"".join(answers)

    def _judge(self, size: int) -> None:
        """What is in the buffer is no frame yet: can it become one?"""
        if not self._serial and size == _NEVER:
            self._fail("bad checksum")
        elif self._serial and len(self._buffer) > MAX_FRAME:
            self.totals.bad_frames += 1
            self._buffer, self._deaf = b"", True

    def _size(self, data: bytes, offset: int) -> int:
        """Size of the frame at `offset`; NOT_YET: too early to say; _NEVER: only silence can tell."""
        there = len(data) - offset
        if there < MIN_FRAME:
            return NOT_YET
        sizes = frame_sizes(data, offset, answers=self._serial)
        if not sizes and not self._serial:
            return size_by_crc(data, offset)
        answer = _NEVER
        for size in sizes:
            if is_sound(data, offset, size):
                return size
            if size == NOT_YET or there < size <= MAX_FRAME:
                answer = NOT_YET
        return answer

    # -- requests ---------------------------------------------------------------------------------------------------

    def _frame(self, frame: bytes, now_us: int) -> bytes:
        """Answer one frame, whose CRC holds; b"": it gets no answer."""
        number, function = frame[0], frame[1]
        if number == BROADCAST_UNIT and function in BROADCAST:
            return self._broadcast(frame, now_us)
        bank = self._units.get(number, None if self._serial else self._only)
        # On a line, what looks like an exception is one: another unit's, or our own from an adapter that echoes.
        if bank is None or number == BROADCAST_UNIT or (self._serial and function & 0x80):
            return self._other(number, function)
        self.totals.requests += 1
        request, unit = self._heard(number, bank, frame, now_us)
        answer = self._serve(request) if unit.awake(request.pdu) else None
        if answer is None:
            unit.counters.broadcasts += 1
            self.totals.broadcasts += 1
            return b""
        if answer[0] & 0x80:
            unit.counters.exception(answer[1])
        return _framed(number, answer)

    def _other(self, number: int, function: int) -> bytes:
        """A frame to or from a unit that is not here."""
        self.totals.others += 1
        if self._serial or number == BROADCAST_UNIT or self._options.unknown_unit == "silent":
            return b""
        return _framed(number, self._exception(function, ExceptionCode.GATEWAY_TARGET_FAILED))

    def _broadcast(self, frame: bytes, now_us: int) -> bytes:
        """All units carry it out, none answers."""
        self.totals.requests += 1
        self.totals.broadcasts += 1
        for number, bank in self._units.items():
            request, unit = self._heard(number, bank, frame, now_us)
            unit.counters.broadcasts += 1
            if unit.awake(request.pdu):
                self._ask(request)
        return b""

    def _heard(self, number: int, bank: Bank, frame: bytes, now_us: int) -> tuple[Request, _Unit]:
        """A request as unit `number` sees it, counted."""
        unit = self._state.get(number)
        if unit is None:
            unit = self._state[number] = _Unit(self.totals)
        unit.counters.requests += 1
        return Request(frame[1:-2], frame, now_us, bank, self._peer, unit.diagnostics), unit


def frame_sizes(data: bytes, offset: int, *, requests: bool = True, answers: bool = False) -> list[int]:
    """Sizes that the frame at `offset` may have by its function, if it is a request or (where asked for) an answer.

    At least MIN_FRAME bytes must stand there.  A request's size comes first; NOT_YET stands for one that a byte yet to
    come tells.  None at all: only the CRC (`size_by_crc`) or a silence can tell.
    """
    function = data[offset + 1]
    # Sub-function 0 returns any number of words; where both directions are heard, one is likeliest.
    if data[offset + 1:offset + 4] == _ECHO and not (requests and answers):
        return []
    sizes: list[int] = []
    if requests:
        sizes += _by_function(data, offset, _REQUEST_SIZES, _REQUEST_COUNTS)
        sizes += [_IDENTIFICATION_SIZE] * (data[offset + 1:offset + 3] == _IDENTIFICATION)
    if answers:
        sizes += _by_function(data, offset, _ANSWER_SIZES, _ANSWER_COUNTS)
        sizes += [_identified(data, offset)] * (data[offset + 1:offset + 3] == _IDENTIFICATION)
        sizes += [_EXCEPTION_SIZE] * (function >> 7)
    return sizes


def _by_function(data: bytes, offset: int, fixed: Mapping[int, int], counted: Mapping[int, int]) -> list[int]:
    """The size of one direction's frames, or none; NOT_YET where the byte that tells it is yet to come."""
    function = data[offset + 1]
    if function in fixed:
        return [fixed[function]]
    if function not in counted:
        return []
    place = offset + counted[function]
    return [counted[function] + data[place] + 3] if place < len(data) else [NOT_YET]


def _identified(data: bytes, offset: int) -> int:
    """43/14: unit, function, type, code, conformity, more, next, number, then (id, length, text) each, then the CRC."""
    end = offset + 8
    if len(data) < end:
        return NOT_YET
    for _ in range(data[offset + 7]):
        if len(data) < end + 2:
            return NOT_YET
        end += 2 + data[end + 1]
    return end + 2 - offset


def is_sound(data: bytes, offset: int, size: int) -> bool:
    """Whether a frame of `size` bytes stands at `offset`, whole, and its CRC holds."""
    return MIN_FRAME <= size <= min(len(data) - offset, MAX_FRAME) and not crc16(data[offset:offset + size])


def size_by_crc(data: bytes, offset: int) -> int:
    """Where the CRC first holds, for a frame whose function does not tell its size; NOT_YET; below 0: nowhere.

    Where the second byte of a CRC is 0, it holds one byte too early already.  Function 8 has an even size; of others a
    0 that follows at once belongs to them, unless it begins a frame itself.
    """
    odd = data[offset + 1] != 8
    crc = 0xFFFF
    for size, byte in enumerate(data[offset:offset + MAX_FRAME], 1):
        crc = crc >> 8 ^ _REMAINDERS[(crc ^ byte) & 0xFF]
        if not crc and size >= MIN_FRAME and (odd or size % 2 == 0):
            stop = offset + size
            stray = odd and size < MAX_FRAME and data[stop:stop + 1] == b"\x00"
            return size + (stray and not _begins(data, stop))
    return NOT_YET if len(data) - offset < MAX_FRAME else _NEVER


def _begins(data: bytes, offset: int) -> bool:
    """Whether a request of a function of known size stands there, whole."""
    return len(data) - offset >= MIN_FRAME and any(is_sound(data, offset, size) for size in frame_sizes(data, offset))


def _framed(number: int, pdu: bytes) -> bytes:
    """Unit, PDU, CRC."""
    frame = bytes((number,)) + pdu
    return frame + crc16(frame).to_bytes(2, "little")
