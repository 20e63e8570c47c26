"""`hil.server`: the event loop's side of a served run, with a driver and a listener that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cosim.errors import GatewayError
from gateways.assembly import Plant
from hil.driver import Driver
from hil.gate import CommandGate
from hil.pacer import MonotonicClock, Pacer
from hil.server import Parts, Server
from hil.spans import Spans
from hil.timing import Timing


class Door:
    """A listener; `opening` is called when it opens."""

    kind = "fake"

    def __init__(self, name: str, opening: Callable[[Server], None] = lambda _: None, closing_s: float = 0.0) -> None:
        self.name, self.opening, self.closing_s, self._where = name, opening, closing_s, "port 0"

    async def open(self, _: Mapping[int, Any], hooks: Any) -> None:
        """Open; `where` changes."""
        self.opening(hooks)
        self._where = "port 4711"

    async def close(self) -> None:
        """Close, in its own time."""
        self._where = "port 0"
        await asyncio.sleep(self.closing_s)

    def where(self) -> str:
        """Where it is."""
        return self._where

    def counts(self) -> dict[str, int]:
        """Nothing."""
        return {}


class Bench:
    """A server on a run that never has anything due."""

    def __init__(self, *doors: Door, **more: Any) -> None:
        self.pumps = 0
        self.paused_pumps = 0
        clock, timing = MonotonicClock(), Timing([("scan", 100_000, 0)])
        self.pacer = Pacer(clock)
        driver = SimpleNamespace(pacer=self.pacer, done=False, pump=self.pump, on_instant=None)
        gate = SimpleNamespace(on_submitted=None, tick=lambda _: None)
        self.problems: list[str] = []
        plant = Plant(cast("Any", doors), (), {door.name: {} for door in doors})
        self.server = Server(Parts(cast("Driver", driver), plant, cast("CommandGate", gate), clock, Spans(timing),
                                   problem=self.problems.append, **more))

    def pump(self) -> None:
        """Nothing is due."""
        self.pumps += 1
        self.paused_pumps += self.pacer.paused


def refuse(_: Server) -> None:
    """A port in use."""
    raise GatewayError("b: the port is in use")


@pytest.mark.asyncio
async def test_a_write_while_doors_open_waits_until_time_runs() -> None:
    """The first door's masters may come before the second is open: nothing is processed before time begins."""
    bench: Bench = Bench(Door("a", lambda server: server.pump_soon()), Door("b", lambda server: server.pump_soon()),
                  ready=lambda: bench.server.end("stopped"))
    assert await bench.server.run() == ("stopped", "")
    assert bench.paused_pumps == 0


@pytest.mark.asyncio
async def test_a_bug_in_housekeeping_ends_the_run() -> None:
    """A server whose logs are not flushed any more must not look alive."""
    def bug(_: Server) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(Bench(Door("a"), look=bug).server.run(), 5.0)


@pytest.mark.asyncio
async def test_a_status_line_that_nobody_reads_does_not() -> None:
    """The terminal is gone: the run goes on, and so does its housekeeping."""
    looks = 0

    def look(server: Server) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            server.end("done")
        raise BrokenPipeError

    assert await asyncio.wait_for(Bench(Door("a"), look=look).server.run(), 5.0) == ("done", "")


@pytest.mark.asyncio
async def test_figures_tell_where_doors_were_and_which_stayed_shut() -> None:
    """After the run, when no listener has a port any more."""
    bench: Bench = Bench(Door("a"), Door("b", refuse), ready=lambda: bench.server.end("done"))
    await bench.server.run()
    assert bench.server.figures()["listeners"] == {
        "a": {"where": "port 4711"}, "b": {"where": "port 0", "shut": "b: the port is in use"}}
    assert bench.problems == ["b: the port is in use"]


@pytest.mark.asyncio
async def test_a_door_that_does_not_close_does_not_cost_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left behind after its time; the run ends as it ended."""
    monkeypatch.setattr("hil.server.GOODBYE_S", 0.05)
    bench: Bench = Bench(Door("a", closing_s=60.0), ready=lambda: bench.server.end("done"))
    assert await asyncio.wait_for(bench.server.run(), 5.0) == ("done", "")
