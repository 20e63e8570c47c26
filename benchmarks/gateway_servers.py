"""Servers as processes: ours as a person starts it, and the peers; each with its port, its process and its end.

Ours is ``gridloop serve`` with a feeder of 33 buses, solved ten times a second, and a point list: `WRITABLE` are the
only registers that anybody may write.  Nothing of it is tuned for measuring; what is changed is said by who changes it.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.exchange import PeerMissingError
from benchmarks.gateway_peers import LIBMODBUS_SERVER
from benchmarks.harness import ROOT

PATIENCE_S = 60.0
#: File that a server's standard error goes to.
SAID = "said.txt"

FEEDER = """
name: served
seed: 7
duration_s: 100000
step_s: 0.1
grid: {{network: case33bw, load_scale: 0.4}}
shield: enforce
devices:
  - {{kind: battery, name: store, bus: "18", p_max_kw: 500, e_rated_kwh: 100000}}
  - {{kind: pv, name: sun, bus: "33", p_rated_kw: 400, s_rated_kva: 500}}
record: {{points: {recorded}}}
listeners:
{listeners}
stations:
{stations}
"""
POINTS = """# base: 0
tag,point,table,address,type,access,min,max
store.p,store.p_kw,hr,0,float32,R,,
store.v,store.v_pu,hr,2,float32,R,,
bus2.v,bus.2.v_pu,hr,4,float32,R,,
bus18.v,bus.18.v_pu,hr,6,float32,R,,
sun.p,sun.p_kw,hr,8,float32,R,,
store.set,store.p_set_kw,hr,10,float32,RW,-400,400
store.qset,store.q_set_kvar,hr,12,float32,RW,-100,100
bus33.v,bus.33.v_pu,hr,14,float32,R,,
bus33.vi,bus.33.v_pu,ir,0,float32,R,,
sun.pi,sun.p_kw,ir,2,float32,R,,
ok,grid.converged,di,0,bool,R,,
"""
WRITABLE = {10: ("store.p_set_kw", -400.0, 400.0), 12: ("store.q_set_kvar", -100.0, 100.0)}
"""First holding register of every value that may be written: its point and its bounds."""
SHOWN = 16
"""Holding registers from 0 on that can be read."""


@dataclass(slots=True)
class Running:
    """A server that has said where it listens; `folder` holds what it says and, of ours, its result in ``run``."""

    process: subprocess.Popen[str]
    folder: Path
    ports: list[int] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The first one."""
        return self.ports[0]

    @property
    def run(self) -> Path:
        """Result folder of ours."""
        return self.folder / "run"

    def said(self) -> str:
        """Its standard error so far."""
        return (self.folder / SAID).read_text(encoding="utf-8")

    def end(self) -> dict[str, Any]:
        """Ask ours to end as Ctrl-C does; its timing record.  Raises RuntimeError when it does not end well."""
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)
        if self.process.returncode:
            raise RuntimeError(f"gridloop serve ended with {self.process.returncode}: {self.said()}")
        record: dict[str, Any] = json.loads((self.run / "realtime.json").read_text(encoding="utf-8"))
        return record


@dataclass(frozen=True, slots=True)
class Shape:
    """Of our scenario: doors, stations of the same list behind each, which points are kept, options of the doors."""

    ports: int = 1
    units: int = 1
    recorded: str = "[]"
    door: str = "max_sessions: 4000"


def write_scenario(folder: Path, shape: Shape) -> Path:
    """The scenario and its point list."""
    ports, units, recorded = shape.ports, shape.units, shape.recorded
    doors = [f"  - {{name: door{i}, kind: modbus_tcp, port: 0, {shape.door}}}" for i in range(ports)]
    stations = [f"  - {{name: rtu{i}-{unit}, kind: modbus, listener: door{i}, unit: {unit}, points: rtu.csv}}"
                for i in range(ports) for unit in range(1, units + 1)]
    (folder / "rtu.csv").write_text(POINTS, encoding="utf-8")
    path = folder / "feeder.yaml"
    path.write_text(FEEDER.format(listeners="\n".join(doors), stations="\n".join(stations), recorded=recorded),
                    encoding="utf-8")
    return path


@contextmanager
def ours(*arguments: str, shape: Shape = Shape()) -> Iterator[Running]:
    """``gridloop serve`` in a folder of its own, which goes when the context ends; killed if it still runs then."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as name:
        folder = Path(name)
        scenario = write_scenario(folder, shape)
        command = [sys.executable, "-m", "cosim.cli", "serve", str(scenario), "--out", str(folder / "run"), *arguments]
        with _process(command, folder) as process:
            running = Running(process, folder)
            _wait_for(running, shape.ports)
            yield running


def _wait_for(running: Running, ports: int) -> None:
    """Until ours has said where its doors are; raises RuntimeError when it ends before."""
    last = time.monotonic() + PATIENCE_S
    while len(running.ports) < ports:
        if running.process.poll() is not None or time.monotonic() > last:
            raise RuntimeError(f"gridloop serve did not begin: {running.said()}")
        time.sleep(0.05)
        running.ports = [int(port) for port in re.findall(r"modbus_tcp \S+:(\d+)\n", running.said())]


@contextmanager
def peer(kind: str) -> Iterator[Running]:
    """`echo`, `pymodbus`, `pymodbustcp` or `libmodbus`; raises PeerMissingError when it is not installed."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as name:
        command = _compiled(Path(name)) if kind == "libmodbus" else [
            sys.executable, "-m", "benchmarks.gateway_peers", kind]
        with _process(command, Path(name)) as process:
            running = Running(process, Path(name))
            line = process.stdout.readline() if process.stdout else ""
            if not line.strip().isdigit():
                process.wait(PATIENCE_S)
                raise PeerMissingError(f"{kind}: {(running.said().strip().splitlines() or ['ended at once'])[-1]}")
            running.ports.append(int(line))
            yield running


def _compiled(folder: Path) -> list[str]:
    """libmodbus's server, compiled there."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise PeerMissingError("libmodbus (no C compiler)")
    source, program = folder / "server.c", folder / "server"
    source.write_text(LIBMODBUS_SERVER, encoding="ascii")
    made = subprocess.run([compiler, "-O2", "-o", str(program), str(source), "-lmodbus"],  # noqa: S603 - ours
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if made.returncode:
        raise PeerMissingError("libmodbus (its headers, libmodbus-dev, are missing)")
    return [str(program)]


@contextmanager
def _process(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Its standard error goes to a file: a pipe that nobody reads would hold it up."""
    with (folder / SAID).open("w", encoding="utf-8") as said, subprocess.Popen(  # noqa: S603 - ours
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
