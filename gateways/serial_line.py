"""A serial line: opened by pyserial, driven by the event loop, and opened again when it vanishes and comes back.

One line is one session at a time.  When the device goes (unplugged, the other end of a pty closed) the session ends
with one line in the log, and the line is tried again after 0.5 s, then twice that, up to 10 s: that, too, says nothing
until it works.  Timers of the session (RTU's 3.5 characters of silence) are armed one by one; the loop fires them
within about a millisecond.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import serial

from cosim.errors import GatewayError
from gateways.listener import Hooks
from gateways.peer import Peer, Role
from gateways.session import ServerSession, SessionFactory

log = logging.getLogger(__name__)

READ_BYTES = 512
WRITE_LIMIT = 4096
"""Bytes that may wait for a slow line; an answer that does not fit is dropped and counted."""
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 10.0
CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class SerialOptions:
    """The device and its settings.

    `parity` is N, E or O; `turnaround_s` is silence kept before an answer (RS-485 drivers that release the line late);
    `wait`: a device that is missing at the start is waited for instead of being an error.
    """

    device: str
    baud: int = 19200
    parity: str = "E"
    data_bits: int = 8
    stop_bits: int = 1
    role: Role = Role.OPERATOR
    turnaround_s: float = 0.0
    wait: bool = False

    def line(self) -> str:
        """``/dev/ttyUSB0 19200 8E1``."""
        return f"{self.device} {self.baud} {self.data_bits}{self.parity}{self.stop_bits}"


class SerialDoor:
    """One device and the session on it; the listener kinds on serial lines are made of it."""

    def __init__(self, name: str, options: SerialOptions) -> None:
        self.name, self.options = name, options
        self._counts: Counter[str] = Counter(sessions=0, lost=0, dropped=0)
        self._port: serial.Serial | None = None
        self._peer: Peer | None = None
        self._session: ServerSession | None = None
        self._out = bytearray()
        self._retry_s = FIRST_RETRY_S
        self._retry: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._turning: asyncio.TimerHandle | None = None
        self._writing = False

    async def open(self, make_session: SessionFactory, hooks: Hooks) -> None:
        """Open the device; raises GatewayError in one line, unless it may be waited for."""
        self._make_session, self._hooks = make_session, hooks
        self._loop = asyncio.get_running_loop()
        try:
            self._begin(open_port(self.name, self.options))
        except GatewayError as error:
            if not self.options.wait:
                raise
            log.warning("%s; waiting for it", error)
            self._try_later()

    async def close(self) -> None:
        """Hand over what is still to be sent (at most a second), then let go."""
        self._cancel("_retry")
        if self._port is not None and self._out:
            self._flush()
            for _ in range(20):
                if not self._out or self._port is None:
                    break
                await asyncio.sleep(CLOSE_S / 20)
        self._end("the listener closed")

    def where(self) -> str:
        """``/dev/ttyUSB0 19200 8E1``."""
        return self.options.line()

    def counts(self) -> Mapping[str, int]:
        """sessions, open, lost (times the device vanished), dropped (answers), and whatever the sessions count."""
        total = self._counts.copy()
        if self._session is not None:
            total.update(self._session.counts())
        total["open"] = int(self._session is not None)
        return dict(total)

    # -- the line -------------------------------------------------------------------------------------------------

    def _begin(self, port: serial.Serial) -> None:
        self._port, self._retry_s = port, FIRST_RETRY_S
        device = self.options.device
        self._peer = Peer(self.name, device, device, self.options.role, self._hooks.next_session())
        self._session = self._make_session(self._peer, self._hooks.now_us())
        self._counts["sessions"] += 1
        self._loop.add_reader(port.fileno(), self._read)
        self._hooks.opened(self._peer)

    def _end(self, reason: str) -> None:
        for name in ("_timer", "_turning"):
            self._cancel(name)
        if self._port is None or self._peer is None or self._session is None:
            return
        self._loop.remove_reader(self._port.fileno())
        self._loop.remove_writer(self._port.fileno())
        self._port.close()
        self._counts.update(self._session.counts())
        peer, self._port, self._peer, self._session = self._peer, None, None, None
        self._out.clear()
        self._writing = False
        self._hooks.closed(peer, reason)

    def _lost(self, why: str) -> None:
        log.warning("listener %s: %s is gone (%s); trying to open it again", self.name, self.options.device, why)
        self._counts["lost"] += 1
        self._end(f"the device is gone ({why})")
        self._try_later()

    def _try_later(self) -> None:
        self._retry = self._loop.call_later(self._retry_s, self._try)
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)

    def _try(self) -> None:
        self._retry = None
        try:
            port = open_port(self.name, self.options)
        except GatewayError:
            self._try_later()
            return
        log.info("listener %s: %s is back", self.name, self.options.device)
        self._begin(port)

    # -- bytes ----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._port is None or self._session is None or self._peer is None:
            return
        try:
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if not data:
            self._lost("end of file")
            return
        now_us = self._hooks.now_us()
        answer = self._session.receive(data, now_us)
        self._hooks.exchanged(self._peer, now_us, data, b"")
        self._put(answer, now_us)

    def _on_timer(self) -> None:
        self._timer = None
        if self._session is not None:
            now_us = self._hooks.now_us()
            self._put(self._session.on_timer(now_us), now_us)

    def _put(self, answer: bytes, now_us: int) -> None:
        """Send what the session gave, and arm its next timer.  There is nothing to close on a line."""
        if self._session is None or self._peer is None:
            return
        if answer and len(self._out) + len(answer) > WRITE_LIMIT:
            self._counts["dropped"] += 1
        elif answer:
            self._out += answer
            self._hooks.exchanged(self._peer, now_us, b"", answer)
            if self.options.turnaround_s and self._turning is None:
                self._turning = self._loop.call_later(self.options.turnaround_s, self._flush)
            elif not self.options.turnaround_s:
                self._flush()
        self._arm(now_us)

    def _arm(self, now_us: int) -> None:
        self._cancel("_timer")
        if self._session is None:  # the line was lost in the writing
            return
        due_us = self._session.next_us()
        if due_us is not None:
            self._timer = self._loop.call_later(max(due_us - now_us, 0) / 1e6, self._on_timer)

    def _flush(self) -> None:
        self._cancel("_turning")
        if self._port is None:
            return
        try:
            written = os.write(self._port.fileno(), self._out)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        del self._out[:written]
        if self._out and not self._writing:
            self._writing = True
            self._loop.add_writer(self._port.fileno(), self._flush)
        elif not self._out and self._writing:
            self._writing = False
            self._loop.remove_writer(self._port.fileno())

    def _cancel(self, name: str) -> None:
        handle: asyncio.TimerHandle | None = getattr(self, name)
        if handle is not None:
            handle.cancel()
            setattr(self, name, None)


def open_port(listener: str, options: SerialOptions) -> serial.Serial:
    """The device, raw, non-blocking and ours alone; raises GatewayError in one line."""
    device = options.device
    try:
        return serial.Serial(device, options.baud, options.data_bits, options.parity, options.stop_bits, timeout=0,
                             write_timeout=0, exclusive=True)
    except (OSError, ValueError) as error:
        raise GatewayError(f"listener {listener}: {_why_not(device, error)}") from None


def _why_not(device: str, error: OSError | ValueError) -> str:
    """pyserial's errors are OSErrors that say the errno only sometimes."""
    if not os.path.exists(device):
        return f"no such serial device {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"no permission for {device} (on Debian: add yourself to the group dialout)"
    if "lock" in str(error):
        return f"{device} is in use by another program"
    return f"{device} cannot be opened as a serial line: {error}"
