"""``gridloop serve`` as a function: a scenario against the wall clock, its stations open to masters, all of it kept.

The result folder is that of any run (so `report` and `replay` read it), with three files more: ``access.jsonl`` (every
write and what came of it), ``wire.log`` (the bytes), ``realtime.json`` (the timing record).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from cosim.errors import GridloopError, RecordError
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.schema import Trigger
from cosim.simulation.engine import Simulation
from cosim.simulation.session import Ending, RunOptions, RunSummary, close_run, open_run
from cosim.stopwatch import wall_stamp
from gateways.assembly import Changes, Plant, assemble
from hil import access
from hil.access import AccessLog
from hil.console import HELP, Console, Typing
from hil.decided import WatchedRecorder
from hil.driver import Driver, DriverOptions, OverrunPolicy
from hil.floor import NoiseFloor
from hil.gate import CommandGate, GateOptions
from hil.pacer import Clock, MonotonicClock, Pacer
from hil.realtime import RealTime, ask_for, let_go
from hil.server import Parts, Server
from hil.spans import Spans
from hil.timing import Timing
from hil.wire import layout as wire
from hil.wire.log import WireLog

FILE = "realtime.json"
#: Wall seconds between two flushes of the record: each costs some milliseconds, in which nobody is answered.
FLUSH_S = 5.0
#: Pieces of a file that are obeyed as commands.
MAX_READS = 16
#: Signals that are taken as one wish to stop; the next one interrupts.
MOST_SIGNALS = 2


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a scenario is served.  `say` gets lines for the person at the terminal, `look` the server now and then."""

    until_s: float | None = None
    rate: float = 1.0
    policy: OverrunPolicy = OverrunPolicy.CATCH_UP
    grace_scans: int = 3
    spin_us: int = 0
    real_time: RealTime = field(default_factory=RealTime)
    changes: Changes = field(default_factory=Changes)
    gate: GateOptions = field(default_factory=GateOptions)
    wire: str = "all"
    floor: bool = True
    control: bool = False
    say: Callable[[str], None] = lambda _: None
    look: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class ServeSummary:
    """What came of a served run: the run's own summary, and what the wall clock and the masters did."""

    run: RunSummary
    realtime: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**self.run.to_dict(), "realtime": dict(self.realtime)}


def serve(loaded: LoadedScenario, out: Path | None, options: ServeOptions | None = None) -> ServeSummary:
    """Serve until the scenario's end, `until_s`, a signal or a failure; raises as `run_scenario` before it begins."""
    options = options or ServeOptions()
    return _Session(loaded, out, options).run()


def rates_of(loaded: LoadedScenario) -> list[tuple[str, int, int]]:
    """(name, period_us, offset_us): the scan, then every period of agents that is kept without jitter."""
    scenario = loaded.scenario
    found = [("scan", round(scenario.step_s * 1e6), 0)]
    for agent in scenario.agents:
        if agent.trigger is Trigger.PERIOD and agent.period_s is not None and not agent.jitter_s:
            rate = (round(agent.period_s * 1e6), round(agent.offset_s * 1e6))
            if rate not in [known[1:] for known in found]:
                found.append((f"agents every {agent.period_s:g} s", *rate))
    return found


@contextmanager
def stopping(server: Server) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the run cleanly; they do not interrupt that, unless somebody sends a third.

    A terminal that is closed hangs up; what was started with `nohup` does not hear of it.
    """
    if threading.current_thread() is not threading.main_thread():  # only there may signals be heard
        yield
        return
    sent = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal sent
        sent += 1
        if sent > MOST_SIGNALS:
            raise KeyboardInterrupt
        server.end_soon("stopped")

    wishes = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wishes.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in wishes}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Session:
    """One served run from building to summary."""

    def __init__(self, loaded: LoadedScenario, out: Path | None, options: ServeOptions) -> None:
        self._loaded, self._out, self._options = loaded, out, options
        self._clock: Clock = MonotonicClock()
        self._recorders: list[WatchedRecorder] = []

    def run(self) -> ServeSummary:
        """All of it."""
        options = self._options
        run_options = RunOptions(until_s=options.until_s, flush_s=FLUSH_S)
        simulation = open_run(self._loaded, self._out, run_options, self._recorder)
        try:
            server = self._server(simulation)
        except BaseException:
            self._take_back(simulation)
            raise
        with stopping(server):
            return self._served(simulation, server)

    def _served(self, simulation: Simulation, server: Server) -> ServeSummary:
        options, cores = self._options, os.sched_getaffinity(0)
        verdicts = ask_for(options.real_time)  # locking the memory of a whole process takes seconds
        begun_ns = self._clock.now_ns()
        period_us = round(self._loaded.scenario.step_s * 1e6 / options.rate)
        floor = NoiseFloor(period_us, cores) if options.floor else None
        status, error = "failed", "the server could not be opened"
        is_open = False
        try:
            status, error = asyncio.run(server.run())
            is_open = True
        finally:
            let_go()
            measured = floor.stop() if floor is not None else {}
            if not is_open:
                self._abandon(simulation)
        status, error, behind_us = self._brought_to_the_present(status, error)
        realtime = {**self._realtime(server, measured), "behind_s": behind_us / 1e6, "profile": verdicts}
        if lost := self._kept(realtime):  # evidence that could not be kept is no success; the first cause comes first
            status, error = "failed", "; ".join(filter(None, (error, lost)))
        wall_s = (self._clock.now_ns() - begun_ns) / 1e9
        ending = Ending(status, error, wall_s, {"served": True})
        return ServeSummary(close_run(self._loaded, simulation, self._out, ending), realtime)

    # -- building ----------------------------------------------------------------------------------------------------

    def _recorder(self, *args: Any, **keywords: Any) -> WatchedRecorder:
        self._recorders.append(WatchedRecorder(*args, **keywords))
        return self._recorders[-1]

    def _server(self, simulation: Simulation) -> Server:
        options, scenario = self._options, self._loaded.scenario
        self._pacer = Pacer(self._clock, options.rate)
        self._timing = Timing(rates_of(self._loaded))
        header: dict[str, str | int] = {"name": scenario.name, "seed": scenario.seed}
        self._gate = CommandGate(simulation, AccessLog(self._out, header, wall_stamp),
                                 lambda now_us: self._pacer.sim_us(now_us * 1000), options.gate,
                                 decided=self._recorders[-1].last if self._recorders else lambda _: None)
        plant = self._plant = assemble(self._loaded, simulation, self._gate, options.changes)
        self._wire = None if self._out is None or options.wire == "none" else WireLog(
            self._out, self._pacer.sim_of, options.wire,
            now_us=lambda: self._clock.now_ns() // 1000, run=scenario.name)
        end_us = simulation.end_us if options.until_s is None else min(round(options.until_s * 1e6), simulation.end_us)
        self._driver = Driver(simulation, plant.stations, self._pacer, self._clock, timing=self._timing,
                              options=DriverOptions(end_us, options.policy, options.grace_scans,
                                                    options.spin_us * 1000))
        server = Server(Parts(self._driver, plant, self._gate, self._clock, Spans(self._timing), self._wire,
                              look=lambda _: options.look(self.status()), ready=lambda: self._ready(server)))
        return server

    def _ready(self, server: Server) -> None:
        """The doors are open: say where."""
        options = self._options
        for line in doors(self._loaded, self._plant, server.shut):
            self._say(line)
        if options.control and sys.stdin is not None:
            self._say(HELP)
            self._listen(Console(self._pacer, self._gate, self._timing, self.status, server.pump_soon,
                                 lambda: server.end("stopped")))

    def _say(self, line: str) -> None:
        with suppress(OSError):  # a terminal that is gone, a pipe that nobody reads: no reason to end
            self._options.say(line)

    def _listen(self, console: Console) -> None:
        """Obey what comes on standard input until it ends."""
        loop, stdin, typing = asyncio.get_running_loop(), sys.stdin.fileno(), Typing()

        def typed() -> bool:
            try:
                data = os.read(stdin, 4096)
            except BlockingIOError:
                return True
            except OSError:  # the terminal has hung up
                data = b""
            if not data:
                loop.remove_reader(stdin)
            for line in typing.lines(data):
                if answer := console.obey(line):
                    self._say(answer)
            return bool(data)

        try:
            loop.add_reader(stdin, typed)
        except PermissionError:  # a file, /dev/null: always readable, so the event loop does not watch it
            for _ in range(MAX_READS):
                if not typed():
                    break

    def status(self) -> str:
        """One line on how it goes."""
        pacer, timing = self._pacer, self._timing
        overruns = timing.overruns
        state = "paused" if pacer.paused else f"rate {pacer.rate:g}"
        lateness = timing.scan.lateness
        late = f"p99 {lateness.percentile_ns(99) / 1e6:.2f} ms late" if lateness.count else "no scan yet"
        writes = self._gate.counts
        return (f"t = {pacer.now_us() / 1e6:,.1f} s ({state}), {late}, {overruns.count} overruns"
                f"{' (latched)' if overruns.latched else ''}, {writes['writes']} writes ({writes['taken']} taken)")

    # -- ending ------------------------------------------------------------------------------------------------------

    def _abandon(self, simulation: Simulation) -> None:
        """No door could be opened, or a bug: leave nothing half-made where nothing ran."""
        if self._wire is not None:
            self._wire.close()
        if simulation.now_us == 0:
            self._take_back(simulation)
        else:
            simulation.recorder.abandon()

    def _take_back(self, simulation: Simulation) -> None:
        """Nothing ran: no folder is left that looks like a result."""
        if self._out is not None:
            for name in (access.FILE, access.SEAL, wire.FILE):
                (self._out / name).unlink(missing_ok=True)
        simulation.recorder.discard()

    def _brought_to_the_present(self, status: str, error: str) -> tuple[str, str, int]:
        """Status, error, and how far behind the present it had to be left (simulated microseconds)."""
        if status == "failed":
            return status, error, 0
        try:
            behind_us = self._driver.finish()
        except GridloopError as failure:
            return "failed", str(failure), 0
        if behind_us:
            self._say(f"stopped {behind_us / 1e6:,.1f} s of simulation time behind the wall clock; what masters asked "
                      f"for since then has not entered")
        return status, error, behind_us

    def _realtime(self, server: Server, floor: Mapping[str, Any]) -> dict[str, Any]:
        options = self._options
        return {**self._timing.to_dict(self._pacer.rate), "floor": dict(floor), "policy": options.policy.value,
                "doors": server.figures(), "writes": dict(self._gate.counts),
                "wire": {} if self._wire is None else self._wire.figures()}

    def _kept(self, realtime: dict[str, Any]) -> str:
        """Close the logs, write the timing record; what went wrong, or ""."""
        wrong = []
        try:
            # The wire log first: its hash goes into the access log, whose seal speaks for both.
            seal = self._gate.close("" if self._wire is None else self._wire.close())
            realtime["access"] = {"records": seal.count, "head": seal.head}
        except RecordError as error:
            wrong.append(str(error))
        if self._out is not None:
            try:
                (self._out / FILE).write_text(json.dumps(realtime, indent=1), encoding="utf-8")
            except OSError as error:
                wrong.append(f"{self._out / FILE}: cannot be written: {error.strerror or error}")
        return "; ".join(wrong)


def doors(loaded: LoadedScenario, plant: Plant, shut: Mapping[str, str]) -> list[str]:
    """What stands where, for people: one line a listener, one a station behind it; `shut` are not open."""
    lines = []
    default = next((listener.name for listener in plant.listeners), "")
    for listener in plant.listeners:
        lines.append(f"{listener.kind} {listener.where()}{' (not open)' if listener.name in shut else ''}")
        behind = [f"  unit {station.unit:>3}  {station.name}: {station.summary()}" for station in plant.stations
                  if (station.listener or default) == listener.name]
        lines += behind or ["  no station stands behind it"]
    return [f"serving {loaded.scenario.name}", *lines]
