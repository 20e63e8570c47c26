"""A gate, a run of five points and a bank before them, for tests of stations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosim.points import Point, PointDatabase, PointKind
from gateways.gate import WriteAnswer, WriteRequest
from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.station import BankOptions, ListBank
from gateways.peer import Peer, Role
from gateways.pointlist.codec import REGISTERS
from gateways.pointlist.model import Access, DataType, Entry

HOLDING, COILS = Table.HOLDING_REGISTERS, Table.COILS
ROLE, ADDRESS, VALUE, FAILURE, BUSY = (
    ExceptionCode.ILLEGAL_FUNCTION, ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE,
    ExceptionCode.SERVER_DEVICE_FAILURE, ExceptionCode.SERVER_DEVICE_BUSY)
OPERATOR = Peer("l", "127.0.0.1:1000", "127.0.0.1", Role.OPERATOR, 1)
OBSERVER, ENGINEER = replace(OPERATOR, role=Role.OBSERVER), replace(OPERATOR, role=Role.ENGINEER)
NAMES = ("p", "q", "on", "armed", "v")
P, Q, ON, ARMED, V = range(5)


@dataclass
class FakeGate:
    """Takes everything, unless told what to answer; simulation time is the sessions' plus 1 s."""

    answer: WriteAnswer = WriteAnswer.TAKEN
    writes: list[WriteRequest] = field(default_factory=list)
    owns: list[tuple[tuple[int, ...], tuple[float, ...], str, int]] = field(default_factory=list)

    def sim_us(self, now_us: int) -> int:
        """One second later."""
        return now_us + 1_000_000

    def write(self, request: WriteRequest) -> WriteAnswer:
        """Note it."""
        self.writes.append(request)
        return WriteAnswer.REFUSED if request.refusal and self.answer is WriteAnswer.TAKEN else self.answer

    def own(self, station: str, ids: tuple[int, ...], values: tuple[float, ...], why: str, t_us: int) -> WriteAnswer:
        """Note it."""
        self.owns.append((ids, values, why, t_us))
        return self.answer


@dataclass
class FakeSite:
    """A run of five points and a folder."""

    points: PointDatabase
    gate: Any
    folder: Path = Path()
    device_kinds: dict[str, str] = field(default_factory=dict)
    device_configs: dict[str, Any] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """A file of the folder."""
        return self.folder / name


def database() -> PointDatabase:
    """p -100…100 kW, q, two switches, a measurement; published at t = 1 s."""
    points = PointDatabase([Point("p", PointKind.ANALOG_OUTPUT, "kW", -100.0, 100.0),
                            Point("q", PointKind.ANALOG_OUTPUT, "kvar"), Point("on", PointKind.BINARY_OUTPUT),
                            Point("armed", PointKind.BINARY_OUTPUT), Point("v", PointKind.ANALOG_INPUT, "pu")])
    publish(points, [10.0, 20.0, 1.0, 0.0, 1.02], 1_000_000)
    return points


def publish(points: PointDatabase, values: list[float], t_us: int) -> None:
    """All values, of good quality."""
    points.publish(np.array(values), np.zeros(len(values), np.uint8), t_us)


def entry(point: int, address: int, kind: DataType = DataType.INT16, table: Table = HOLDING, **more: Any) -> Entry:
    """A writable entry (of v: readable), tagged by point and address."""
    name = NAMES[point]
    access = Access.READ if point == V else Access.READ_WRITE
    one = Entry(f"{name}@{address}", name, 1, table, address, kind, REGISTERS[kind], access=access)
    return replace(one, **more)


def bank(*entries: Entry, **options: Any) -> tuple[ListBank, FakeGate]:
    """A bank of some entries before a gate."""
    gate = FakeGate()
    return ListBank("rtu", entries, database(), gate, BankOptions(**options)), gate


def write(one: ListBank, address: int, data: str, peer: Peer = OPERATOR) -> ExceptionCode | None:
    """Write registers given in hex."""
    return one.write_registers(address, bytes.fromhex(data), peer, 5_000_000, b"frame")
