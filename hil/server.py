"""Serves one run in an event loop: pumps the driver, opens the doors, keeps the evidence, ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cosim.errors import GatewayError, GridloopError
from gateways.assembly import Plant
from gateways.listener import Listener
from gateways.peer import Peer
from hil.driver import Driver
from hil.gate import CommandGate
from hil.pacer import Clock
from hil.spans import Spans
from hil.wire.log import WireLog

log = logging.getLogger(__name__)

#: Wall seconds between two looks at what is not urgent: evidence to disk, the status line.
HOUSEKEEPING_S = 0.2
#: Microseconds in which one kind of refusal is told once; kinds remembered.
QUIET_US, MAX_TOLD = 10_000_000, 200
#: Wall seconds that listeners get to say goodbye.
GOODBYE_S = 3.0


@dataclass(slots=True)
class Counts:
    """What happened at the doors."""

    sessions: int = 0
    open: int = 0
    most_open: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server is made of; `wire` None: no evidence is kept.  `look` is called now and then with the server."""

    driver: Driver
    plant: Plant
    gate: CommandGate
    clock: Clock
    spans: Spans
    wire: WireLog | None = None
    look: Callable[[Server], None] = lambda _: None
    ready: Callable[[], None] = lambda: None
    problem: Callable[[str], None] = field(default=lambda line: log.warning("%s", line))


def _keep_nothing(_peer: Peer, _now_us: int, _data: bytes, _answer: bytes) -> None:
    """No evidence is kept."""


class Server:
    """Implements `gateways.listener.Hooks` and owns the event loop's timers of one run."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._driver, self._clock = parts, parts.driver, parts.clock
        self._wire, self._spans, self._now_ns = parts.wire, parts.spans, parts.clock.now_ns
        self._keep = self._wire.exchanged if self._wire is not None else _keep_nothing
        self.counts = Counts()
        self._listeners = {listener.name: listener for listener in parts.plant.listeners}
        self._announced: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_coming = False
        self._keeps_time = False
        self.shut: dict[str, str] = {}
        """Listeners that could not be opened, and why."""
        self._where: dict[str, str] = {}
        """Where listeners were when open: afterwards they have no port."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early = ""
        self._told: dict[str, tuple[int, int]] = {}
        """Refusals that were told: when, and how many were not since."""
        self._ended: asyncio.Future[tuple[str, str]] | None = None
        parts.gate.on_submitted, parts.driver.on_instant = self._submitted, self.on_instant

    # -- the run -----------------------------------------------------------------------------------------------------

    async def run(self) -> tuple[str, str]:
        """Open the doors, keep time until the end, close; returns (status, error).

        Raises GatewayError when no door at all could be opened; one of several that cannot be is told and left shut.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._loop = loop
        housekeeping = asyncio.ensure_future(self._keep_house())
        try:
            await self._open()
            self._driver.pacer.resume()
            self._keeps_time = True
            self._parts.ready()
            if self._early:
                self.end(self._early)
            self._pump()
            status, error = await self._ended
        finally:
            housekeeping.cancel()
            if self._timer is not None:
                self._timer.cancel()
            await self._close()
        return status, error

    def end_soon(self, status: str) -> None:
        """As `end`, from a signal's handler or another thread; a run that has not begun then ends as it begins."""
        if self._loop is None:
            self._early = status
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(self.end, status)

    def end(self, status: str, error: str = "") -> None:
        """Come to an end; the first word counts."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result((status, error))

    def _break(self, error: Exception) -> None:
        """A bug of ours must end the run, and not only the callback that met it."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    def pump_soon(self) -> None:
        """Look again what is due (the rate or a pause changed, or something was submitted)."""
        if not self._is_coming and self._keeps_time and self._ended is not None and not self._ended.done():
            self._is_coming = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._is_coming = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended is None or self._ended.done():
            return
        try:
            next_ns = self._driver.pump()
        except GridloopError as error:
            self.end("failed", str(error))
            return
        except Exception as error:
            self._break(error)
            return
        if self._driver.done:
            self.end("done")
        elif next_ns is not None:
            wait_ns = next_ns - self._clock.now_ns()
            if wait_ns <= 0:
                self.pump_soon()
            else:
                self._timer = asyncio.get_running_loop().call_later(wait_ns / 1e9, self._pump)

    async def _open(self) -> None:
        plant = self._parts.plant
        for listener in plant.listeners:
            try:
                await listener.open(plant.behind[listener.name], self)
            except GatewayError as error:
                self.shut[listener.name] = str(error)
                continue
            self._where[listener.name] = listener.where()
            self._announce(listener)
        if len(self.shut) == len(plant.listeners):
            raise GatewayError("; ".join(self.shut.values()))
        for refusal in self.shut.values():
            self._parts.problem(refusal)

    def _announce(self, listener: Listener) -> None:
        """Into the wire log, before its first session: a serial line's begins while its door opens."""
        if self._wire is not None and listener.name not in self._announced:
            self._announced.add(listener.name)
            self._wire.listening(listener.name, listener.kind, listener.where())

    async def _close(self) -> None:
        closing = [listener.close() for listener in self._parts.plant.listeners]
        try:
            results = await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), GOODBYE_S * 2)
        except TimeoutError:  # the run is over all the same, and its record is to be closed
            log.warning("not every listener closed within %g s", GOODBYE_S * 2)
            return
        for result in results:
            if isinstance(result, BaseException):
                log.warning("a listener did not close cleanly: %s", result)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            try:
                self._parts.gate.tick(self.now_us())
                if self._wire is not None:
                    self._wire.flush()
                with contextlib.suppress(OSError):  # nobody reads the status line any more: no reason to end
                    self._parts.look(self)
            except GridloopError as error:  # a full disk: what cannot be kept must not go on
                self.end("failed", str(error))
            except Exception as error:
                self._break(error)

    # -- what the driver and the gate tell ----------------------------------------------------------------------------

    def on_instant(self, t_us: int, now_ns: int) -> None:
        """An instant was processed."""
        published_us = self._driver.simulation.points.t_us
        self._spans.processed(t_us, published_us, now_ns)
        if published_us == t_us:
            self._parts.gate.published(t_us)

    def _submitted(self, session: int) -> None:
        driver = self._driver
        if session:
            arrival_ns = self._parts.gate.heard_us * 1000
            entry_us = max(driver.simulation.now_us + 1, driver.pacer.sim_us(arrival_ns))
            self._spans.taken(session, arrival_ns, entry_us)
        self.pump_soon()

    # -- what listeners tell (`gateways.listener.Hooks`) ---------------------------------------------------------------

    def now_us(self) -> int:
        """The sessions' clock."""
        return self._now_ns() // 1000

    def next_session(self) -> int:
        """Number of the next session."""
        self.counts.sessions += 1
        return self.counts.sessions

    def opened(self, peer: Peer) -> None:
        """A session has begun."""
        self.counts.open += 1
        self.counts.most_open = max(self.counts.most_open, self.counts.open)
        log.info("session %d: %s at %s as %s", peer.session, peer.address, peer.listener, peer.role.name.lower())
        if self._wire is not None:
            self._announce(self._listeners[peer.listener])
            self._wire.opened(peer)

    def closed(self, peer: Peer, reason: str) -> None:
        """A session has ended."""
        self.counts.open -= 1
        self._spans.left(peer.session)
        log.info("session %d: %s closed: %s", peer.session, peer.address, reason)
        if self._wire is not None:
            self._wire.closed(peer, reason)

    def exchanged(self, peer: Peer, now_us: int, data: bytes, answer: bytes) -> None:
        """Bytes came in, and others went out for them (the path of every request)."""
        self._keep(peer, now_us, data, answer)
        if self._spans.waiting and answer:
            self._spans.answered(peer.session, self._now_ns())

    def refused(self, listener: str, address: str, reason: str) -> None:
        """A connection was turned away."""
        self.counts.refused += 1
        self._tell_refusal(f"{listener}: {address} refused: {reason}", f"{listener} {reason}")
        if self._wire is not None:
            self._wire.refused(listener, address, reason)

    def _tell_refusal(self, line: str, key: str) -> None:
        """For operators; somebody who tries again and again gets a line now and then, with how often."""
        now_us = self.now_us()
        told_us, unsaid = self._told.pop(key, (-QUIET_US, 0))
        if now_us - told_us < QUIET_US:
            self._told[key] = (told_us, unsaid + 1)
            return
        if len(self._told) >= MAX_TOLD:
            self._told.pop(next(iter(self._told)))
        self._told[key] = (now_us, 0)
        log.warning("%s%s", line, f" (and {unsaid} like it before)" if unsaid else "")

    # -- figures ------------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """Counters of the doors."""
        counts = self.counts
        return {"sessions": counts.sessions, "most_open": counts.most_open, "refused": counts.refused,
                "listeners": {listener.name: {**self._state(listener), **listener.counts()}
                              for listener in self._parts.plant.listeners}}

    def _state(self, listener: Listener) -> dict[str, str]:
        name = listener.name
        where = {"where": self._where.get(name, listener.where())}
        return {**where, "shut": self.shut[name]} if name in self.shut else where
