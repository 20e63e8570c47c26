"""TCP (plain or under TLS): a door that lets masters in, and one link for each that drives its session.

A `Link` hands every piece that comes in to its sans-IO session and writes what it gives out, once.  A `TcpDoor` owns
the listening socket and its links.  It accepts by itself instead of through `loop.create_server`, so that a refused
address costs no handshake, a failed handshake is told, and running out of files neither spins nor floods the log.

Nothing here can grow without limit: a link reads at most 2 KiB at a time (fairness: some hundred requests), stops
reading while its own answers pile up, and is cut when its master does not take them; one sweep over all links a
quarter of a second does the timing, so a request arms no timer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cosim.errors import GatewayError
from gateways import sockets
from gateways.admission import AdmissionRules, Census, is_loopback, plain_host
from gateways.listener import Hooks
from gateways.peer import Peer, Role
from gateways.session import ServerSession, SessionFactory

log = logging.getLogger(__name__)

READ_BYTES = 2048
SWEEP_S = 0.25
REFRESH_EVERY = 8
"""Sweeps between two looks at the certificate files."""
LINGER_US = 1_000_000
"""How long a link that is ending may take to hand over its last bytes."""
ACCEPTS_AT_ONCE = 64
ACCEPT_PAUSE_S = 0.5


class Secure(Protocol):
    """What a door asks of TLS (`gateways.tls.TlsIdentity`)."""

    def context(self) -> ssl.SSLContext:
        """For the next handshake."""

    def admit(self, certificate: bytes) -> Role | str:
        """The role of a verified client certificate (DER), or why it may not come in."""

    def refresh(self) -> None:
        """Look whether the files have changed."""

    def reload(self) -> str:
        """Read the files again; "" or why the old ones stay."""


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """Where to listen and what to bear; sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 5020
    rules: AdmissionRules = field(default_factory=AdmissionRules)
    write_stall_us: int = 10_000_000
    write_high: int = 64 * 1024
    handshake_s: float = 5.0
    backlog: int = 512


class TcpDoor:
    """One listening socket and the links behind it; the listener kinds of every protocol are made of it."""

    def __init__(self, name: str, options: TcpOptions, tls: Secure | None = None) -> None:
        self.name, self.options, self.tls = name, options, tls
        self._census: Census[Link] = Census(options.rules)
        self._links: dict[Link, None] = {}
        self._counts: Counter[str] = Counter()
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._sweeps = 0
        self._said_out_of_files = False
        self.view = memoryview(bytearray(READ_BYTES))
        """Where every link reads into: each takes its bytes out before the loop turns to the next."""

    async def open(self, make_session: SessionFactory, hooks: Hooks) -> None:
        """Bind and listen; raises GatewayError in one line."""
        self.make_session, self.hooks = make_session, hooks
        self._loop = asyncio.get_running_loop()
        self._socket = await self._bind()
        self._warn_if_reachable()
        self._loop.add_reader(self._socket, self._accept)
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)

    async def close(self) -> None:
        """Let nobody in, give every link a second to hand over what it has, then cut."""
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        self._timer = self._retry = None
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        for cut in (False, True):
            for link in tuple(self._links):
                link.end("the listener closed", cut=cut)
            await self._until_empty(LINGER_US / 1e6)

    def where(self) -> str:
        """``127.0.0.1:5020``; the port in use once open."""
        if self._socket is not None:
            return sockets.shown(*self._socket.getsockname()[:2])
        return sockets.shown(self.options.host, self.options.port)

    def counts(self) -> Mapping[str, int]:
        """sessions, open, evicted, refused, never_read, handshakes_failed, and whatever the sessions count."""
        total = Counter({"sessions": 0, "evicted": 0, "refused": 0, "never_read": 0, "handshakes_failed": 0})
        total.update(self._counts)
        for link in self._links:
            total.update(link.counts())
        total["open"] = len(self._census)
        return dict(total)

    # -- what links tell ------------------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """One more of `what`."""
        self._counts[what] += 1

    def refuse(self, address: str, reason: str) -> None:
        """Somebody was sent away before a session began."""
        self.count("refused")
        self.hooks.refused(self.name, address, reason)

    def left(self, link: Link) -> None:
        """A link is gone."""
        self._census.leave(link)
        if link in self._links:
            del self._links[link]
            self._counts.update(link.counts())
        if not self._links:
            self._emptied.set()

    # -- letting in -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if self._socket is None:
                return
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._said_out_of_files = False
            self._seat(connection, plain_host(address[0]), address[1])

    def _pause(self, error: OSError) -> None:
        """Out of files (EMFILE and kin): the socket stays readable, so look away for a while; say it once."""
        self.count("accept_errors")
        if not self._said_out_of_files:
            self._said_out_of_files = True
            log.error("listener %s at %s cannot accept: %s; trying on", self.name, self.where(),
                      sockets.accept_error(error))
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._retry = self._loop.call_later(ACCEPT_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)

    def _seat(self, connection: socket.socket, host: str, port: int) -> None:
        address = sockets.shown(host, port)
        refusal = self.options.rules.refusal(host)
        if refusal:
            connection.close()
            self.refuse(address, refusal)
            return
        leaver = self._census.to_evict(host)
        if leaver is not None:
            self.count("evicted")
            self._census.leave(leaver)
            leaver.end("evicted: the longest idle of a full listener", cut=True)
        sockets.tune(connection)
        link = Link(self, host, address)
        self._census.enter(link)
        self._links[link] = None
        self._emptied.clear()
        link.entering = self._loop.create_task(self._enter(link, connection))
        link.entering.add_done_callback(lambda task: self._entered(link, connection, task))

    async def _enter(self, link: Link, connection: socket.socket) -> None:
        """Make the transport; under TLS the handshake happens here."""
        tls: dict[str, Any] = {} if self.tls is None else {
            "ssl": self.tls.context(), "ssl_handshake_timeout": self.options.handshake_s, "ssl_shutdown_timeout": 1.0}
        await self._loop.connect_accepted_socket(lambda: link, connection, **tls)

    def _entered(self, link: Link, connection: socket.socket, task: asyncio.Task[None]) -> None:
        """A callback and not the coroutine's `finally`: a task cancelled before its first step never runs."""
        link.entering = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            connection.close()
            if link.peer is None and link in self._links:
                self._failed(link, error)

    def _failed(self, link: Link, error: BaseException) -> None:
        self.left(link)
        if self.tls is not None and isinstance(error, OSError):
            self.count("handshakes_failed")
            self.refuse(link.address, f"TLS handshake failed: {sockets.handshake_error(error)}")
        else:
            self.refuse(link.address, link.reason or str(error))

    # -- timing ---------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._timer = self._loop.call_later(SWEEP_S, self._sweep)
        now_us = self.hooks.now_us()
        for link in tuple(self._links):
            link.sweep(now_us)
        self._sweeps += 1
        if self.tls is not None and self._sweeps % REFRESH_EVERY == 0:
            self.tls.refresh()

    async def _until_empty(self, seconds: float) -> None:
        if self._links:
            try:
                await asyncio.wait_for(self._emptied.wait(), seconds)
            except TimeoutError:
                return

    # -- opening --------------------------------------------------------------------------------------------------

    async def _bind(self) -> socket.socket:
        host, port = self.options.host, self.options.port
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError:
            raise GatewayError(f"listener {self.name}: host {host!r} is no address or name that can be found; "
                               "expected an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
        family, _, _, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        try:
            return sockets.listen(family, address, self.options.backlog)
        except OSError as error:
            raise GatewayError(f"listener {self.name}: {sockets.bind_error(host, port, error)}") from None

    def _warn_if_reachable(self) -> None:
        if is_loopback(self.options.host):
            return
        whom = f"{len(self.options.rules.allow)} entries of `allow`" if self.options.rules.allow else "everybody"
        log.warning("listener %s at %s can be reached from other machines: open to %s%s", self.name, self.where(), whom,
                    "" if self.tls else ", without encryption")


class Link(asyncio.BufferedProtocol):
    """One connection: bytes to its session, answers back; from the handshake to the last byte."""

    def __init__(self, door: TcpDoor, host: str, address: str) -> None:
        self.host, self.address = host, address
        self.active_us = door.hooks.now_us()
        self.proven = False
        self.entering: asyncio.Task[None] | None = None
        self.peer: Peer | None = None
        self.reason = ""
        self._door = door
        self._view = door.view
        self._transport: asyncio.Transport | None = None
        self._session: ServerSession | None = None
        self._stalled_us: int | None = None
        self._ending_us: int | None = None

    def counts(self) -> Mapping[str, int]:
        """What the session counted."""
        return self._session.counts() if self._session is not None else {}

    # -- asyncio's calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands (and so does TLS): a session begins, if its certificate lets it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._ending_us is not None:
            transport.abort()
            return
        role = self._role(transport)
        if isinstance(role, str):
            self._door.refuse(self.address, role)
            self.end(role)
            return
        door = self._door
        self.peer = Peer(door.name, self.address, self.host, role, door.hooks.next_session())
        self.active_us = door.hooks.now_us()
        self._now_us, self._exchanged, self._send = door.hooks.now_us, door.hooks.exchanged, transport.write
        self._session = door.make_session(self.peer, self.active_us)
        self._receive = self._session.receive
        transport.set_write_buffer_limits(high=door.options.write_high)
        door.count("sessions")
        door.hooks.opened(self.peer)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where to read into."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came in (the path of every request)."""
        if self._ending_us is not None or self.peer is None or self._session is None:
            return
        data = bytes(self._view[:nbytes])
        now_us = self._now_us()
        try:
            answer = self._receive(data, now_us)
        except BaseException:  # a bug of ours ends the link: what led to it is kept
            self._exchanged(self.peer, now_us, data, b"")
            raise
        if answer:
            self._send(answer)
            self.active_us = now_us
            self.proven = True
        self._exchanged(self.peer, now_us, data, answer)
        if self._session.closing:
            self.end(self._session.closing)

    def pause_writing(self) -> None:
        """The master does not take its answers: read nothing more from it until it does."""
        assert self._transport is not None
        self._stalled_us = self._door.hooks.now_us()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        assert self._transport is not None
        self._stalled_us = None
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever made it."""
        if self.peer is not None:
            self._door.hooks.closed(self.peer, self.reason or sockets.lost(exc))
        self._door.left(self)

    # -- the door's calls -----------------------------------------------------------------------------------------

    def end(self, reason: str, cut: bool = False) -> None:
        """Close after what is still to be sent; `cut`: at once."""
        self.reason = self.reason or reason
        if self._ending_us is None:
            self._ending_us = self._door.hooks.now_us()
        if self._transport is None:
            if self.entering is not None:
                self.entering.cancel()
        elif cut:
            self._transport.abort()
        else:
            self._transport.close()

    def sweep(self, now_us: int) -> None:
        """What time asks: cut who does not read or does not end, let the session's timers act."""
        if self._ending_us is not None:
            if now_us - self._ending_us > LINGER_US:
                self.end(self.reason, cut=True)
            return
        if self._stalled_us is not None and now_us - self._stalled_us > self._door.options.write_stall_us:
            self._door.count("never_read")
            self.end("does not read its answers", cut=True)
            return
        due_us = self._session.next_us() if self._session is not None else None
        if due_us is not None and due_us <= now_us:
            self._on_timer(now_us)

    def _on_timer(self, now_us: int) -> None:
        assert self._session is not None
        assert self.peer is not None
        out = self._session.on_timer(now_us)
        if out:
            self._send(out)
            self._exchanged(self.peer, now_us, b"", out)
        if self._session.closing:
            self.end(self._session.closing)

    def _role(self, transport: asyncio.Transport) -> Role | str:
        door = self._door
        if door.tls is None:
            return door.options.rules.role_of(self.host)
        role = door.tls.admit(transport.get_extra_info("ssl_object").getpeercert(binary_form=True))
        return role if isinstance(role, str) else door.options.rules.capped(role)
