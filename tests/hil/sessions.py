"""A small served session without sockets: a real simulation, the gate, the access log and the wire log, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosim.audit import Record
from cosim.audit.reading import Walk
from cosim.scenario.loader import load_text
from cosim.simulation.engine import Simulation
from cosim.simulation.session import Ending, RunOptions, close_run, open_run
from gateways.gate import WriteAnswer, WriteRequest
from gateways.peer import Peer, Role
from hil.access import AccessLog
from hil.decided import WatchedRecorder
from hil.gate import CommandGate, GateOptions
from hil.rates import RateLimit
from hil.wire.log import WireLog

SCENARIO = """name: served
duration_s: 10
seed: 1
grid: {network: case33bw, load_scale: 0.2}
devices:
  - {kind: battery, name: store, bus: "18", p_max_kw: 3000, e_rated_kwh: 5000, soc_start: 0.5}
shield: {mode: enforce}
limits: {v_min_pu: 0.95, v_max_pu: 1.05}
"""
STAMP = "2026-01-01T00:00:00.000+00:00"
MASTER = Peer("modbus", "127.0.0.1:50000", "127.0.0.1", Role.OPERATOR, 1)
UNLIMITED = GateOptions(RateLimit(), RateLimit())


class Served:
    """One session: the sessions' clock is simulation time, nothing waits."""

    def __init__(self, folder: Path, options: GateOptions = UNLIMITED) -> None:
        self.out = folder / "out"
        self.loaded = load_text(SCENARIO, path=folder / "served.yaml")
        self.recorders: list[WatchedRecorder] = []
        self.simulation: Simulation = open_run(self.loaded, self.out, RunOptions(), self._recorder)
        self.access = AccessLog(self.out, {"name": "served", "seed": 1}, lambda: STAMP)
        self.submitted = 0
        self.gate = CommandGate(self.simulation, self.access, lambda now_us: now_us, options, self._submitted,
                                decided=self.recorders[0].last)
        self.now_us = 0
        self.wire = WireLog(self.out, self.gate.sim_us, now_us=lambda: self.now_us, run="served", stamp=lambda: STAMP)

    def _recorder(self, *args: Any, **options: Any) -> WatchedRecorder:
        self.recorders.append(WatchedRecorder(*args, **options))
        return self.recorders[-1]

    def _submitted(self, _session: int) -> None:
        self.submitted += 1

    def to(self, t_us: int) -> None:
        """Process every instant up to `t_us`, as a driver does."""
        while (coming_us := self.simulation.kernel.next_us()) is not None and coming_us <= t_us:
            self.simulation.advance_to(coming_us)
            self.gate.published(coming_us)
        self.now_us = t_us

    def ask(self, values: dict[str, float], **changes: Any) -> WriteAnswer:
        """One write, now."""
        names = tuple(values)
        request = {"station": "rtu", "peer": MASTER, "frame": b"\0\1\0\0\0\6\1\6\0\0\0\1",
                   "arrival_us": self.gate.sim_us(self.now_us), "tags": names,
                   "ids": tuple(self.simulation.points.index.get(name, 10**6) for name in names),
                   "values": tuple(values.values())} | changes
        return self.gate.write(WriteRequest(**request))

    def end(self) -> str:
        """Close everything; the digest."""
        self.gate.close(self.wire.close())
        return close_run(self.loaded, self.simulation, self.out, Ending("done", "", 0.0)).digest

    def records(self) -> list[Record]:
        """What the access log holds."""
        self.access.flush(0)
        with (self.out / "access.jsonl").open("rb") as file:
            return list(Walk(file))
