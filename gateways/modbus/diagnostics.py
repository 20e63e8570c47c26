"""What a session counts, and function 8, diagnostics (Modbus Application Protocol v1.1b3, 6.8).

The standard gives function 8 to serial lines only.  Over TCP masters use it all the same, to test a connection (sub-
function 0) and to look at counters, so those are answered there as well; what acts on the line itself (1 restart, 4
listen only) is not.  On a line, the messages seen and the bad checksums are the line's, the rest is each unit's own;
over TCP all of them are the session's.  Counters are 16 bits wide and wrap.
"""

from __future__ import annotations

import struct

from gateways.modbus.bank import ExceptionCode

FUNCTION = 8
_QUERY, _RESTART, _REGISTER, _LISTEN_ONLY, _CLEAR, _FIRST_COUNTER, _CLEAR_OVERRUN = 0, 1, 2, 4, 10, 11, 20
_WORDS = struct.Struct(">BHH")
_ZERO, _CLEAR_LOG = 0x0000, 0xFF00


class Counters:
    """Counts since the beginning; they only ever grow."""

    __slots__ = ("bad_frames", "broadcasts", "busy", "exceptions", "others", "requests")

    def __init__(self) -> None:
        self.requests = 0
        """Whole requests to a unit that is here, broadcasts included."""
        self.exceptions = 0
        """Exception answers, `busy` (code 06) among them."""
        self.busy = 0
        self.broadcasts = 0
        """Requests that by their nature get no answer."""
        self.others = 0
        """Whole frames to, or from, units that are not here."""
        self.bad_frames = 0
        """Wrong checksums, wrong heads, frames that were begun and not completed."""

    def exception(self, code: int) -> None:
        """One exception answer more."""
        self.exceptions += 1
        if code == ExceptionCode.SERVER_DEVICE_BUSY:
            self.busy += 1

    def as_dict(self) -> dict[str, int]:
        """Counts by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Diagnostics:
    """What function 8 reads and changes of one unit on a serial line, or of one TCP session.

    `line` counts for the whole line, `own` for the unit (over TCP both are the same).  `listening`: in listen-only
    mode, in which the unit heeds nothing but a restart and answers nothing at all.
    """

    __slots__ = ("_base", "_line", "_own", "_serial", "listening")

    def __init__(self, line: Counters, own: Counters, serial: bool) -> None:
        self._line, self._own, self._serial = line, own, serial
        self.listening = False
        self._base = (0,) * len(self._counts())

    def _counts(self) -> tuple[int, ...]:
        """Sub-functions 11 to 18.  Nothing here says NAK (16, code 07); overruns (18) the UART keeps to itself."""
        line, own = self._line, self._own
        return (line.requests + line.others, line.bad_frames, own.exceptions, own.requests,
                own.broadcasts, 0, own.busy, 0)

    def answer(self, pdu: bytes) -> bytes | ExceptionCode | None:
        """Carry out; None: there is no answer (listen only).

        The diagnostic register (2) has no contents that anyone defines: it is 0.  Unknown sub-functions are 01, as in
        the state diagram of 6.8; the data must be what the sub-function prescribes, else 03.
        """
        if len(pdu) < 3:
            return ExceptionCode.ILLEGAL_DATA_VALUE
        subfunction = int.from_bytes(pdu[1:3], "big")
        if not self._knows(subfunction):
            return ExceptionCode.ILLEGAL_FUNCTION
        if subfunction == _QUERY:
            # "N x 2 bytes" of any data come back as they went.
            return pdu if len(pdu) > 3 and len(pdu) % 2 else ExceptionCode.ILLEGAL_DATA_VALUE
        if len(pdu) != _WORDS.size:
            return ExceptionCode.ILLEGAL_DATA_VALUE
        data = _WORDS.unpack(pdu)[2]
        if data != _ZERO and not (subfunction == _RESTART and data == _CLEAR_LOG):
            return ExceptionCode.ILLEGAL_DATA_VALUE
        return self._carry_out(subfunction, pdu)

    def _knows(self, subfunction: int) -> bool:
        if subfunction in (_RESTART, _LISTEN_ONLY):
            return self._serial
        return (subfunction in (_QUERY, _REGISTER, _CLEAR, _CLEAR_OVERRUN)
                or 0 <= subfunction - _FIRST_COUNTER < len(self._base))

    def _carry_out(self, subfunction: int, pdu: bytes) -> bytes | None:
        if subfunction == _LISTEN_ONLY:
            self.listening = True
            return None
        if subfunction in (_RESTART, _CLEAR):
            self._base = self._counts()
        if subfunction in (_RESTART, _CLEAR, _CLEAR_OVERRUN):
            return pdu
        index = subfunction - _FIRST_COUNTER
        value = 0 if subfunction == _REGISTER else self._counts()[index] - self._base[index]
        return _WORDS.pack(FUNCTION, subfunction, value & 0xFFFF)

    def heed(self, pdu: bytes) -> None:
        """A request in listen-only mode: only a restart (1) ends it, and is not answered either."""
        if pdu in (b"\x08\x00\x01\x00\x00", b"\x08\x00\x01\xff\x00"):
            self.listening = False
            self._base = self._counts()
