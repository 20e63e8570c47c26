"""A SunSpec station in a real run, without sockets: a fake gate, and pysunspec2's client on the session's bytes."""

from __future__ import annotations

import struct
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from sunspec2.modbus.client import SunSpecModbusClientDevice
from sunspec2.modbus.modbus import ModbusClientException

from cosim.commands import Authority, CommandStatus
from cosim.plugins import Registry
from cosim.scenario.loader import load_text
from cosim.scenario.plugin_options import configure
from cosim.simulation.build import build
from cosim.simulation.engine import Simulation
from gateways.gate import WriteAnswer, WriteRequest
from gateways.modbus.mbap import TcpSession
from gateways.modbus.session import SessionOptions
from gateways.peer import Peer, Role
from gateways.sunspec.config import SunSpecConfig
from gateways.sunspec.station import SunSpecStation
from gateways.sunspec.unit import SunSpecUnit

PV = """
    - {kind: pv, name: pv, bus: "18", p_rated_kw: 1500, s_rated_kva: 1800, olrt_s: 0, volt_watt_olrt_s: 0,
       remote_functions: true}
"""
PLAIN_PV = "    - {kind: pv, name: pv, bus: '18', p_rated_kw: 250, mode: volt_var}\n"
BATTERY = """
    - {kind: battery, name: battery, bus: "18", e_rated_kwh: 2000, p_max_kw: 500, p_charge_max_kw: 400,
       s_rated_kva: 600}
"""
SCENARIO = """
name: rig
duration_s: 100000
step_s: 1
grid: {{network: case33bw, load_scale: 0.4}}
devices:
{devices}
"""
OPERATOR = Peer("test", "127.0.0.1:1", "127.0.0.1", Role.OPERATOR, 1)
_ANSWERS = {CommandStatus.ACCEPTED: WriteAnswer.TAKEN, CommandStatus.OUT_OF_RANGE: WriteAnswer.OUT_OF_RANGE,
            CommandStatus.NOT_A_NUMBER: WriteAnswer.NOT_A_NUMBER, CommandStatus.NOT_WRITABLE: WriteAnswer.NOT_WRITABLE,
            CommandStatus.BLOCKED: WriteAnswer.BLOCKED}


@dataclass
class FakeGate:
    """Submits to the run's inbox at once; keeps every request; the sessions' clock is simulation time."""

    simulation: Simulation
    requests: list[WriteRequest] = field(default_factory=list)
    owned: list[tuple[int, tuple[int, ...], tuple[float, ...], str]] = field(default_factory=list)
    forced: WriteAnswer | None = None
    """What is answered instead, without submitting anything."""

    def sim_us(self, now_us: int) -> int:
        """The same time."""
        return now_us

    def write(self, request: WriteRequest) -> WriteAnswer:
        """Submitted unless refused."""
        self.requests.append(request)
        if self.forced is not None:
            return self.forced
        if request.refusal:
            return WriteAnswer.REFUSED
        return self._submit(request.ids, request.values, request.arrival_us)

    def own(self, station: str, ids: tuple[int, ...], values: tuple[float, ...], why: str, t_us: int) -> WriteAnswer:
        """Submitted, and kept."""
        if self.forced is not None:
            return self.forced
        self.owned.append((t_us, ids, values, why))
        return self._submit(ids, values, t_us)

    def _submit(self, ids: tuple[int, ...], values: tuple[float, ...], at_us: int) -> WriteAnswer:
        inbox = self.simulation.inbox
        sets = [(i, v) for i, v in zip(ids, values, strict=True) if not isnan(v)]
        status = CommandStatus.ACCEPTED
        if sets:
            status = inbox.submit_many([i for i, _ in sets], [v for _, v in sets], "sunspec", Authority.OPERATOR,
                                       at_us=at_us)
        if status is CommandStatus.ACCEPTED and len(sets) < len(ids):
            inbox.release([i for i, v in zip(ids, values, strict=True) if isnan(v)], "sunspec", at_us=at_us)
        return _ANSWERS[status]


@dataclass
class FakeSite:
    """`cosim.plugins.StationSite` of a built run."""

    points: Any
    gate: Any
    device_kinds: dict[str, str]
    device_configs: dict[str, Any]

    def file(self, name: str) -> Path:
        """No files."""
        raise AssertionError(name)


class Wire(SunSpecModbusClientDevice):
    """pysunspec2's client, its reads and writes as Modbus TCP frames into our session."""

    def __init__(self, rig: Rig, unit: int = 1) -> None:
        super().__init__()
        self.rig, self.number = rig, unit
        self.session = TcpSession({unit: rig.unit.bank}, rig.peer, SessionOptions(), 0)

    def ask(self, pdu: bytes) -> bytes:
        """The answer's PDU; raises the client's own exception for an exception response."""
        frame = struct.pack(">HHHB", 1, 0, len(pdu) + 1, self.number) + pdu
        answer = self.session.receive(frame, self.rig.simulation.now_us)[7:]
        if answer[0] & 0x80:
            raise ModbusClientException(f"Modbus exception {answer[1]}")
        return answer

    def read(self, addr: int, count: int) -> bytes:
        """Function 3, in pieces of 125 (the client works addresses out in floating point)."""
        addr, count = int(addr), int(count)
        if count > 125:
            return self.read(addr, 125) + self.read(addr + 125, count - 125)
        return self.ask(struct.pack(">BHH", 3, addr, count))[2:]

    def write(self, addr: int, data: bytes) -> None:
        """Function 16."""
        self.ask(struct.pack(">BHHB", 16, addr, len(data) // 2, len(data)) + data)


class Rig:
    """A run, a station in it, and clients."""

    def __init__(self, devices: str = PV, peer: Peer = OPERATOR, **options: Any) -> None:
        registry = Registry()
        self.loaded = load_text(SCENARIO.format(devices=textwrap.dedent(devices)), path=Path("rig.yaml"))
        self.simulation = build(self.loaded)
        self.gate, self.peer = FakeGate(self.simulation), peer
        mappings = {str(item["name"]): item for item in self.loaded.scenario.devices}
        self.site = FakeSite(self.simulation.points, self.gate, {name: item["kind"] for name, item in mappings.items()},
                             {name: configure(registry, "device", item) for name, item in mappings.items()})
        options = {"name": "station", "writable": True} | options
        if "meter" not in options:
            options.setdefault("device", next(iter(mappings)))
        self.config = SunSpecConfig.model_validate(options)
        self.unit: SunSpecUnit = SunSpecStation.build(self.config, self.site)

    def client(self) -> Wire:
        """A client that has scanned the station."""
        wire = Wire(self)
        wire.scan()
        return wire

    def advance_s(self, seconds: float) -> None:
        """Run on, letting the station's timers act at their times, before what happens at them."""
        end_us = self.simulation.now_us + round(seconds * 1e6)
        while (own_us := self.unit.next_us()) is not None and own_us <= end_us:
            if own_us > self.simulation.now_us:
                self.simulation.advance_to(own_us - 1)
            self.unit.on_time(own_us)
            self.simulation.advance_to(max(own_us, self.simulation.now_us))
        self.simulation.advance_to(end_us)

    def read(self, point: str) -> float:
        """A value of the run."""
        return self.simulation.points.read(point)


def model(client: Wire, number: int) -> Any:
    """A model of a scanned client, read anew."""
    found = client.models[number][0]
    found.read()
    return found


def put(client: Wire, number: int, values: Mapping[str, float]) -> Any:
    """Write points by path (engineering units) as a client does: staged, then the contiguous ones in one request."""
    found = client.models[number][0]
    for path, value in values.items():
        place = found
        for part in path.split("."):
            name, _, index = part.partition("[")
            place = getattr(place, name)
            if index:
                place = place[int(index.rstrip("]")) - 1]
        place.cvalue = value
    found.write()
    return found
