"""What the two Modbus server sessions share: options, limits in time, and serving one request whatever it came in.

Sans-IO, in the shape of `gateways.session.ServerSession`: bytes and times in, bytes and times out.  `TcpSession`
(`gateways.modbus.mbap`) frames for TCP and TLS, `RtuSession` (`gateways.modbus.rtu`) for serial lines and for their
frames over TCP.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cosim.errors import GatewayError
from gateways.modbus import pdu as functions
from gateways.modbus.bank import Bank, ExceptionCode
from gateways.modbus.diagnostics import Counters
from gateways.modbus.pdu import Answer, Request
from gateways.peer import Peer

logger = logging.getLogger(__name__)

SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a listener wants its sessions.

    `frame_s` bounds the time from a frame's first byte to its last, `idle_s` that between bytes (not on a serial
    line).  `unknown_unit`: what a request to a unit that is not here gets: nothing, or exception 0B, as from a gateway
    whose device does not respond (application protocol, 7); on a line always nothing.  `any_unit`: the only unit
    there is answers to every unit identifier, which over TCP is often 0 or 255.
    `t35_us` is the silence that ends a frame on a serial line (`rtu.t35_us`, more where the adapter is slow); None:
    no line, and no silence to rely on.
    """

    frame_s: float = 5.0
    idle_s: float = 300.0
    unknown_unit: Literal["silent", "exception"] = "silent"
    any_unit: bool = False
    t35_us: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("frame_s", self.frame_s), ("idle_s", self.idle_s), ("t35_us", self.t35_us)):
            if value is not None and not 0 < value < float("inf"):
                raise GatewayError(f"session options: {name} is {value}; expected a positive, finite time")


class ModbusSession(ABC):
    """One conversation with one master.

    `units` are asked by unit identifier for each request, so a bank may come or go.  `now_us` is when the session
    began; without it, `next_us` asks to be called at once and the idle time counts from that call.  What a bank
    raises is our mistake: the master gets 04, the log one entry a session, and the session goes on.
    """

    __slots__ = ("_begun_us", "_buffer", "_frame_us", "_idle_us", "_last_us", "_logged", "_only", "_options", "_peer",
                 "_units", "closing", "totals")

    def __init__(self, units: Mapping[int, Bank], peer: Peer, options: SessionOptions,
                 now_us: int | None = None) -> None:
        self.closing = ""
        """Why the transport is to send what it was given and close; "": all is well."""
        self.totals = Counters()
        self._units, self._peer, self._options = units, peer, options
        self._only = next(iter(units.values())) if options.any_unit and len(units) == 1 else None
        self._frame_us, self._idle_us = round(options.frame_s * SECOND_US), round(options.idle_s * SECOND_US)
        self._last_us = now_us
        self._begun_us = 0
        self._buffer = b""
        """The incomplete frame that `_begun_us` saw the beginning of."""
        self._logged = False

    @abstractmethod
    def receive(self, data: bytes, now_us: int) -> bytes:
        """The answers, in order, to all requests that `data` completes; keeps at most one incomplete frame."""

    def counts(self) -> Mapping[str, int]:
        """`Counters` by name."""
        return self.totals.as_dict()

    def next_us(self) -> int | None:
        """When a frame that has begun, or the session, will have taken too long."""
        if self.closing:
            return None
        if self._last_us is None:
            return 0
        idle_us = self._last_us + self._idle_us
        return min(idle_us, self._begun_us + self._frame_us) if self._buffer else idle_us

    def on_timer(self, now_us: int) -> bytes:
        """Close when a limit has been reached; says nothing."""
        if self.closing:
            return b""
        if self._last_us is None:
            self._last_us = now_us
        elif self._buffer and now_us >= self._begun_us + self._frame_us:
            self._fail(f"frame not completed in {self._options.frame_s:g} s")
        elif now_us >= self._last_us + self._idle_us:
            self.closing = f"idle for {self._options.idle_s:g} s"
        return b""

    def _keep(self, rest: bytes, complete: bool, now_us: int) -> None:
        """Keep an incomplete frame; `complete`: frames before it were completed, so it began just now."""
        if rest and (complete or not self._buffer):
            self._begun_us = now_us
        self._buffer = rest

    def _fail(self, reason: str) -> None:
        """The stream makes no sense any more, and what follows would be misread: end it."""
        self.totals.bad_frames += 1
        self.closing = reason
        self._buffer = b""

    def _serve(self, request: Request) -> bytes | None:
        """The PDU that answers `request`, exceptions included; None: none does."""
        answer = self._ask(request)
        return self._exception(request.pdu[0], answer) if isinstance(answer, ExceptionCode) else answer

    def _ask(self, request: Request) -> Answer:
        """What the unit says to `request`; 04 where it fails."""
        try:
            return functions.answer(request)
        except Exception:
            return self._broken(request.pdu[0])

    def _broken(self, function: int) -> ExceptionCode:
        """To be called where a bank's exception was caught."""
        if not self._logged:
            self._logged = True
            logger.exception("Modbus function %d from %s: the unit failed; answered 04 (further failures of this "
                             "session are not logged)", function, self._peer.address)
        return ExceptionCode.SERVER_DEVICE_FAILURE

    def _exception(self, function: int, code: ExceptionCode) -> bytes:
        """An exception's PDU, counted.  Functions above 127 cannot be told from exceptions: they stay as they are."""
        self.totals.exception(code)
        return bytes((function | 0x80, code))
