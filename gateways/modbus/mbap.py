"""The server session of Modbus TCP and of Modbus/TCP Security: MBAP framing (Messaging on TCP/IP v1.0b, 3.1.3).

A head that cannot be one (protocol not 0, length not 2 to 254) closes: nothing says where the next frame begins.  Any
number of requests may be on their way at once; they are answered in order.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from gateways.modbus.bank import Bank, ExceptionCode
from gateways.modbus.diagnostics import Diagnostics
from gateways.modbus.pdu import MAX_READ_REGISTERS, READ_TABLE, SPACE, Request, checked
from gateways.modbus.session import ModbusSession, SessionOptions
from gateways.peer import Peer

_PROTOCOL_AND_LENGTH = struct.Struct(">HH")
_HEAD = struct.Struct(">HHHB")
_READ = struct.Struct(">HHHBBHH")
_READ_ANSWER = struct.Struct(">HHHBBB")
_READ_REGISTERS = {function: READ_TABLE[function] for function in (3, 4)}
_READ_SIZE = b"\x00\x00\x00\x06"
"""Protocol and length of every read request."""


class TcpSession(ModbusSession):
    """One TCP connection."""

    __slots__ = ("_diagnostics",)

    def __init__(self, units: Mapping[int, Bank], peer: Peer, options: SessionOptions,
                 now_us: int | None = None) -> None:
        super().__init__(units, peer, options, now_us)
        self._diagnostics = Diagnostics(self.totals, self.totals, serial=False)

    def receive(self, data: bytes, now_us: int) -> bytes:
        """The answers, in order, to all requests that `data` completes; keeps at most one incomplete frame."""
        # Nearly every segment is one read request and nothing else: 12 bytes with this in them.
        if len(data) == 12 and data[2:6] == _READ_SIZE and not self._buffer and not self.closing:
            self._last_us = now_us
            return self._frame(data, now_us)
        return self._frames(data, now_us) if data and not self.closing else b""

    def _frames(self, data: bytes, now_us: int) -> bytes:
        """Any bytes at all."""
        self._last_us = now_us
        data = self._buffer + data if self._buffer else data
        answers: list[bytes] = []
        offset, end = 0, len(data)
        while end - offset >= 6:
            protocol, length = _PROTOCOL_AND_LENGTH.unpack_from(data, offset + 2)
            if protocol:
                self._fail("bad protocol id")
                break
            if not 2 <= length <= 254:
                self._fail("bad length")
                break
            stop = offset + 6 + length
            if stop > end:
                break
            answers.append(self._frame(data[offset:stop], now_us))
            offset = stop
        if end - offset >= 4 and not self.closing and data[offset + 2:offset + 4] != b"\x00\x00":
            self._fail("bad protocol id")
        if not self.closing:
            self._keep(data[offset:], offset > 0, now_us)
        return b"".join(answers)

    def _frame(self, frame: bytes, now_us: int) -> bytes:
        """Answer a frame whose head is in order; b"": it gets none."""
        if len(frame) == 12:
            transaction, _, _, unit, function, address, count = _READ.unpack(frame)
            table, bank = _READ_REGISTERS.get(function), self._units.get(unit, self._only)
            if table and bank is not None and 0 < count <= MAX_READ_REGISTERS and address + count <= SPACE:
                self.totals.requests += 1
                size = 2 * count
                try:
                    registers = bank.read_registers(table, address, count, self._peer)
                    if type(registers) is bytes and len(registers) == size:
                        return _READ_ANSWER.pack(transaction, 0, 3 + size, unit, function, size) + registers
                    checked(registers, size)  # an exception's code, or a bank that errs
                except Exception:
                    registers = self._broken(function)
                assert isinstance(registers, ExceptionCode)
                return _HEAD.pack(transaction, 0, 3, unit) + self._exception(function, registers)
        return self._any(frame, now_us)

    def _any(self, frame: bytes, now_us: int) -> bytes:
        """Answer any frame."""
        transaction, _, _, unit = _HEAD.unpack_from(frame)
        function = frame[7]
        bank = self._units.get(unit, self._only)
        if bank is not None:
            self.totals.requests += 1
            answer = self._serve(Request(frame[7:], frame, now_us, bank, self._peer, self._diagnostics))
        else:
            self.totals.others += 1
            answer = (self._exception(function, ExceptionCode.GATEWAY_TARGET_FAILED)
                      if self._options.unknown_unit == "exception" else None)
        return _HEAD.pack(transaction, 0, 1 + len(answer), unit) + answer if answer is not None else b""
