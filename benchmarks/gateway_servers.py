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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.exchange import PeerMissingError
from benchmarks.gateway_peers import LIBMODBUS_SERVER
from benchmarks.harness import ROOT

PATIENCE_S = 60.0
UNITS_A_PORT = 50

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
    """A server that has said where it listens.  `folder` is where ours will leave its result."""

    process: subprocess.Popen[str]
    ports: list[int]
    folder: Path | None = None
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The first one."""
        return self.ports[0]

    def end(self) -> dict[str, Any]:
        """Ask ours to end as Ctrl-C does; its timing record.  Raises RuntimeError when it does not end well."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=PATIENCE_S)
        if self.process.returncode or self.folder is None:
            raise RuntimeError(f"the server ended with {self.process.returncode}: {''.join(self.said)}{err}")
        record: dict[str, Any] = json.loads((self.folder / "realtime.json").read_text(encoding="utf-8"))
        return record


def write_scenario(folder: Path, ports: int = 1, units: int = 1, recorded: str = "[]") -> Path:
    """`ports` doors with `units` stations of the same list behind each; `recorded`: which points are kept."""
    doors = [f"  - {{name: door{i}, kind: modbus_tcp, port: 0, max_sessions: 4000}}" for i in range(ports)]
    stations = [f"  - {{name: rtu{i}-{unit}, kind: modbus, listener: door{i}, unit: {unit}, points: rtu.csv}}"
                for i in range(ports) for unit in range(1, units + 1)]
    (folder / "rtu.csv").write_text(POINTS, encoding="utf-8")
    path = folder / "feeder.yaml"
    path.write_text(FEEDER.format(listeners="\n".join(doors), stations="\n".join(stations), recorded=recorded),
                    encoding="utf-8")
    return path


@contextmanager
def ours(*arguments: str, ports: int = 1, units: int = 1, recorded: str = "[]") -> Iterator[Running]:
    """``gridloop serve`` in a folder of its own, which goes when the context ends; killed if it still runs then."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as name:
        folder = Path(name)
        scenario = write_scenario(folder, ports, units, recorded)
        command = [sys.executable, "-m", "cosim.cli", "serve", str(scenario), "--out", str(folder / "run"), *arguments]
        with _process(command) as process:
            running = Running(process, [], folder / "run")
            for line in process.stderr or ():
                running.said.append(line)
                found = re.search(r"modbus_tcp \S+:(\d+)", line)
                if found:
                    running.ports.append(int(found[1]))
                if len(running.ports) == ports:
                    break
            else:
                raise RuntimeError(f"gridloop serve did not begin: {''.join(running.said)}")
            yield running


@contextmanager
def peer(kind: str) -> Iterator[Running]:
    """`echo`, `pymodbus`, `pymodbustcp` or `libmodbus`; raises PeerMissingError when it is not installed."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as name:
        command = _compiled(Path(name)) if kind == "libmodbus" else [
            sys.executable, "-m", "benchmarks.gateway_peers", kind]
        with _process(command) as process:
            line = process.stdout.readline() if process.stdout else ""
            if not line.strip().isdigit():
                _, err = process.communicate(timeout=PATIENCE_S)
                raise PeerMissingError(f"{kind}: {(err.strip().splitlines() or ['ended at once'])[-1]}")
            yield Running(process, [int(line)])


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
def _process(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # noqa: S603 - ours
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
