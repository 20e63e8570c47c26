"""A served feeder with every kind of door, and the witness of what its run recorded.

While it stands paused nothing is published, so what a peer reads can be compared twice: at once with a second,
independent read of the same instant, and after the session with the run's own samples of that instant.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cosim.recorder.result import RunResult
from tests.gateways.fakes import Authority, utf8
from tests.hil.served import ROOT, Served, ask, served
from tests.interop import tshark
from tests.interop.peers import HERE, pty_pair, settled

STEP_S = 0.1
#: Longest life of a plant, which is served until its worker's last test: what hangs is killed.
LIFE_S = 1800.0
RTU, INVERTER, LOCKED_INVERTER = 1, 3, 4
"""Unit identifiers; every door has the RTU, the plain one has the inverters too."""

SCENARIO = """
name: interop
duration_s: 7200
step_s: 0.1
grid: {network: case33bw, load_scale: 0.4}
shield: {mode: enforce, switching: {allow_loops: true}}
record: {period_s: 0.1}
devices:
  - {kind: battery, name: store, bus: "18", p_max_kw: 500, e_rated_kwh: 1000}
  - {kind: pv, name: sun, bus: "33", p_rated_kw: 400, s_rated_kva: 500}
  - {kind: pv, name: roof, bus: "25", p_rated_kw: 300, s_rated_kva: 350, olrt_s: 0, remote_functions: true}
  - {kind: capacitor, name: cap, bus: "30", q_step_kvar: 50, steps: 4, lockout_s: 0}
  - {kind: breaker, name: tie_a, line: "18-33"}
  - {kind: breaker, name: tie_b, line: "25-29"}
listeners:
  - {name: lan, kind: modbus_tcp, port: 0}
  - {name: safe, kind: modbus_tls, port: 0, ca: ca.crt, certificate: server.crt, key: server.key}
  - {name: over, kind: modbus_rtu_tcp, port: 0}
"""
LINE = "  - {name: line, kind: modbus_rtu, device: %s, parity: none, stop_bits: 2}\n"
STATIONS = """
stations:
  - {name: rtu_lan, kind: modbus, listener: lan, unit: 1, points: points.csv}
  - {name: rtu_safe, kind: modbus, listener: safe, unit: 1, points: points.csv}
  - {name: rtu_over, kind: modbus, listener: over, unit: 1, points: points.csv}
  - {name: roof, kind: sunspec, listener: lan, unit: 3, device: roof, writable: true}
  - {name: locked, kind: sunspec, listener: lan, unit: 4, device: sun}
"""
LINE_STATION = "  - {name: rtu_line, kind: modbus, listener: line, unit: 1, points: points.csv}\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a peer read of points of the run at one published instant, and how exactly it can have."""

    peer: str
    t_s: float
    values: dict[str, float]
    tolerance: float


@dataclass(slots=True)
class Plant:
    """The server, its doors, and what peers have seen of it."""

    server: Served
    out: Path
    authority: Authority
    ports: dict[str, int] = field(default_factory=dict)
    line: Path | None = None
    """The masters' end of the serial line; None: there is no socat."""
    seen: list[Seen] = field(default_factory=list)

    def serial(self) -> str:
        """The masters' end of the serial line; skips where there is none."""
        if self.line is None:
            pytest.skip("socat is not installed (apt install socat)")
        return str(self.line)

    def master(self, name: str, role: str) -> ssl.SSLContext:
        """What a TLS client needs to come in as `role`."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.check_hostname = False
        context.load_cert_chain(*self.authority.issue(name, utf8(role)))
        return context

    # -- the second, independent read --------------------------------------------------------------------------------

    def ask(self, pdu: bytes, unit: int = RTU) -> bytes:
        """An answer's PDU, over a socket of our own at the plain door."""
        return ask(self.ports["lan"], pdu, unit=unit)[0]

    def registers(self, function: int, address: int, count: int) -> bytes:
        """The bytes of holding (3) or input (4) registers."""
        answer = self.ask(struct.pack(">BHH", function, address, count))
        assert answer[:2] == bytes((function, 2 * count)), answer.hex()
        return answer[2:]

    def setpoint_kw(self) -> float:
        """What stands of the battery's setpoint."""
        return float(struct.unpack(">f", self.registers(3, 0, 2))[0])

    def measured(self) -> dict[str, float]:
        """The points that every peer reads, by its own read: two voltages, the head's power, three states."""
        data = self.registers(4, 0, 10)
        v18, swapped, p_kw, q = struct.unpack(">f4sdi", data)
        (v33,) = struct.unpack(">f", swapped[2:] + swapped[:2])
        bits = self.ask(struct.pack(">BHH", 2, 0, 3))[2]
        return {"bus.18.v_pu": v18, "bus.33.v_pu": v33, "grid.slack_p_kw": p_kw, "grid.slack_q_kvar": q / 100,
                "line.18-33.closed": float(bits & 1), "line.25-29.closed": float(bits >> 1 & 1),
                "grid.converged": float(bits >> 2 & 1)}

    def prepare(self) -> None:
        """Ask for the ties to be open: a coil that nobody has asked for yet has nothing to show, and reads 04."""
        open_ties = b"\x0f\x00\x00\x00\x02\x01\x00"
        assert self.ask(open_ties) == open_ties[:5]
        settled(lambda: self.ask(b"\x01\x00\x00\x00\x02"), b"\x01\x01\x00")

    # -- time --------------------------------------------------------------------------------------------------------

    @contextmanager
    def paused(self) -> Iterator[float]:
        """Simulation time stands still; gives the time of the last published instant."""
        self.server.type("pause")
        t_s = float(self.server.until(r"paused at t = ([\d.]+)")[1])
        try:
            yield int(t_s / STEP_S + 1e-6) * STEP_S
        finally:
            self.server.type("resume")
            self.server.until(r"going on from t = ")

    def witness(self, peer: str, t_s: float, values: dict[str, float], tolerance: float = 1e-6) -> None:
        """Compare with the second read now (while paused), with the samples at the end; `tolerance` is relative."""
        own = self.measured()
        assert values == pytest.approx({name: own[name] for name in values}, rel=tolerance, abs=tolerance), peer
        self.look(peer, t_s, values, tolerance * max(1.0, *map(abs, values.values())) + 0.0051)

    def look(self, peer: str, t_s: float, values: dict[str, float], tolerance: float) -> None:
        """Compare with the samples at the end; `tolerance` is absolute."""
        self.seen.append(Seen(peer, t_s, values, tolerance))

    # -- the end -----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """End the session: a clean exit, the samples are what peers saw, the replay's digest is the run's, and tshark
        (where it is installed) finds nothing malformed and no request without its answer."""
        code, _ = self.server.end()
        assert code == 0, self.server.said
        self._compare_with_samples()
        replayed = gridloop("replay", str(self.out), "--quiet", "--pcap", str(self.out / "wire.pcap"), "--check",
                            "--json")
        assert replayed["same"] is True
        if shutil.which("tshark") and replayed["packets"]:
            hints = re.findall(r"-o \S+", replayed["tshark"])
            tshark.check(tshark.dissect(self.out / "wire.pcap", *(word for hint in hints for word in hint.split())))

    def _compare_with_samples(self) -> None:
        result = RunResult.load(self.out)
        for seen in self.seen:
            row = result.samples(list(seen.values), seen.t_s - 1e-3, seen.t_s + 1e-3)
            assert len(row) == 1, f"{seen.peer}: no sample at {seen.t_s} s"
            recorded = {name: float(row[name].iloc[0]) for name in seen.values}
            assert seen.values == pytest.approx(recorded, rel=0, abs=seen.tolerance), seen.peer


def gridloop(*arguments: str) -> dict[str, object]:
    """What a command with --json says."""
    done = subprocess.run([sys.executable, "-m", "cosim.cli", *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@contextmanager
def open_plant(folder: Path, *arguments: str) -> Iterator[Plant]:
    """Serve it from `folder` and wait for its doors; `finish` is the caller's, killing what is left is done here."""
    authority = Authority.make(folder)
    authority.issue("server")
    (folder / "points.csv").write_text((HERE / "points.csv").read_text())
    with pty_pair(folder) as ends:
        doors, stations = (LINE % ends[0], LINE_STATION) if ends else ("", "")
        (folder / "interop.yaml").write_text(SCENARIO + doors + STATIONS + stations)
        with served(folder / "interop.yaml", "--out", str(folder / "run"), "--no-floor", "--control", "--write-rate",
                    "1000", *arguments) as server:
            plant = Plant(server, folder / "run", authority, line=ends[1] if ends else None)
            guard = threading.Timer(LIFE_S, server.process.kill)
            guard.daemon = True
            guard.start()
            try:
                for name, kind in (("lan", "modbus_tcp"), ("safe", "modbus_tls"), ("over", "modbus_rtu_tcp")):
                    plant.ports[name] = int(server.until(rf"{kind} 127\.0\.0\.1:(\d+)")[1])
                plant.prepare()
                yield plant
            finally:
                guard.cancel()
