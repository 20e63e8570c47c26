"""What a Modbus station does when its masters fall silent, and how it is built."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cosim.errors import ScenarioError
from gateways.gate import WriteAnswer
from gateways.modbus.station import ListStation, ModbusStation, ModbusStationConfig
from gateways.pointlist.model import CommLoss, DataType, Entry, PointList
from tests.gateways.modbus.station_fakes import (
    COILS,
    HOLDING,
    OBSERVER,
    ON,
    OPERATOR,
    FakeGate,
    FakeSite,
    P,
    Q,
    V,
    database,
    entry,
    publish,
)

# -- communication loss ------------------------------------------------------------------------------------------------


def station(gate: FakeGate, *entries: Entry, **options: Any) -> ListStation:
    """A station of some entries that misses its masters after 10 s."""
    config = ModbusStationConfig(name="rtu", comm_loss_s=10.0, **options)
    return ListStation(config, PointList(entries, "x/rtu.csv"), FakeSite(database(), gate))


LOST = (entry(P, 0, on_comm_loss=CommLoss.VALUE, comm_loss_value=-5.0), entry(Q, 1, on_comm_loss=CommLoss.RELEASE),
        entry(ON, 0, DataType.BOOL, COILS))


def test_communication_loss() -> None:
    """After 10 s of silence what was asked for is set, released or held, once; a new write takes over."""
    gate = FakeGate()
    one = station(gate, *LOST)
    assert one.next_us() is None
    one.bank.write_registers(0, bytes(4), OPERATOR, 4_000_000, b"")
    one.bank.write_bits(0, [False], OPERATOR, 4_000_000, b"")
    assert one.next_us() == 15_000_000
    one.on_time(14_999_999)
    assert not gate.owns
    one.on_time(15_000_000)
    (ids, values, why, t_us), = gate.owns
    assert (ids, t_us) == ((P, Q), 15_000_000)
    assert values[0] == -5.0
    assert math.isnan(values[1])
    assert why.startswith("comm_loss (nothing heard for 10 s)")
    assert one.next_us() is None
    one.bank.write_registers(0, bytes(2), OPERATOR, 20_000_000, b"")
    assert one.next_us() == 31_000_000


def test_requests_of_masters_that_may_write_are_heard() -> None:
    """A read counts from the last publish, a refused write from its arrival; an observer's count for nothing."""
    gate = FakeGate()
    site = FakeSite(database(), gate)
    one = ListStation(ModbusStationConfig(name="rtu", comm_loss_s=10.0), PointList(LOST), site)
    one.bank.write_registers(0, bytes(2), OPERATOR, 4_000_000, b"")
    publish(site.points, [0.0] * 5, 8_000_000)
    for table, read in ((COILS, one.bank.read_bits), (HOLDING, one.bank.read_registers)):
        read(table, 0, 1, OBSERVER)
    one.bank.write_registers(0, bytes(2), OBSERVER, 8_500_000, b"")
    assert one.next_us() == 15_000_000
    one.bank.read_bits(COILS, 0, 1, OPERATOR)
    assert one.next_us() == 18_000_000
    one.bank.write_registers(77, bytes(2), OPERATOR, 9_000_000, b"")
    assert one.next_us() == 20_000_000


def test_reads_between_distant_publishes_are_heard() -> None:
    """Where the grid is published more seldom than `comm_loss_s`, a master that only reads is not taken for lost."""
    gate = FakeGate()
    one = station(gate, *LOST)
    one.bank.write_registers(0, bytes(2), OPERATOR, 4_000_000, b"")
    one.bank.read_registers(HOLDING, 0, 1, OPERATOR)
    one.on_time(15_000_000)
    assert not gate.owns
    assert one.next_us() == 25_000_000
    one.on_time(25_000_000)
    assert len(gate.owns) == 1


def test_a_loss_that_the_inbox_does_not_take_is_tried_again() -> None:
    """A second later, until it does."""
    gate = FakeGate()
    one = station(gate, *LOST)
    one.bank.write_registers(0, bytes(2), OPERATOR, 500_000, b"")
    gate.answer = WriteAnswer.QUEUE_FULL
    one.on_time(11_500_000)
    assert one.next_us() == 12_500_000
    gate.answer = WriteAnswer.TAKEN
    one.on_time(12_500_000)
    assert len(gate.owns) == 2
    assert one.next_us() is None


def test_a_loss_that_one_point_does_not_take_leaves_the_others_done() -> None:
    """An interlock of the run keeps that point's fallback back, and only that, until it lets go."""
    @dataclass
    class Blocking(FakeGate):
        blocked: int = P

        def own(self, station: str, ids: tuple[int, ...], values: tuple[float, ...], why: str,
                t_us: int) -> WriteAnswer:
            super().own(station, ids, values, why, t_us)
            return WriteAnswer.BLOCKED if self.blocked in ids else WriteAnswer.TAKEN

    gate = Blocking()
    one = station(gate, *LOST)
    one.bank.write_registers(0, bytes(4), OPERATOR, 4_000_000, b"")
    one.on_time(15_000_000)
    assert [ids for ids, *_ in gate.owns] == [(P, Q), (P,), (Q,)]
    assert one.next_us() == 16_000_000
    gate.blocked = -1
    one.on_time(16_000_000)
    assert gate.owns[-1][0] == (P,)
    assert one.next_us() is None


def test_without_a_time_nothing_is_lost() -> None:
    """The default."""
    one = ListStation(ModbusStationConfig(name="rtu"), PointList(LOST), FakeSite(database(), FakeGate()))
    one.bank.write_registers(0, bytes(2), OPERATOR, 0, b"")
    assert one.next_us() is None


# -- building ----------------------------------------------------------------------------------------------------------


def test_identification() -> None:
    """Vendor, product and revision always; the application is the station's name."""
    objects = station(FakeGate(), *LOST, vendor="ACME").bank.identification
    assert objects[0] == b"ACME"
    assert objects[1] == b"SIMULATOR"
    assert objects[6] == b"rtu"
    assert 3 not in objects


def test_summary() -> None:
    """One line for the table of `serve`."""
    assert station(FakeGate(), *LOST, entry(V, 9)).summary() == "4 points, 3 writable, rtu.csv"


def build(folder: Path, text: str, **options: Any) -> ListStation:
    """A station of a list in a file."""
    (folder / "rtu.csv").write_text(text, encoding="utf-8")
    config = ModbusStationConfig(name="rtu", points="rtu.csv", **options)
    return ModbusStation.build(config, FakeSite(database(), FakeGate(), folder))


def test_a_list_from_a_file(tmp_path: Path) -> None:
    """Of a list with several units, the rows of its own; of one with a single unit, all, whatever the number."""
    two = "# base: 0\ntag,point,unit,table,address,type\na,p,1,hr,0,int16\nb,q,2,hr,0,int16\n"
    assert build(tmp_path, two, unit=2).bank.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\x14"
    one = "# base: 0\ntag,point,table,address,type\na,p,hr,0,int16\n"
    assert build(tmp_path, one, unit=9).bank.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\x0a"
    with pytest.raises(ScenarioError, match="no row of unit 3; it has units 1, 2"):
        build(tmp_path, two, unit=3)


def test_every_point_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """Unknown points and writes that the run does not take, all at once, by their lines."""
    text = "# base: 0\ntag,point,table,address,type,access\na,pp,hr,0,int16,R\nb,v,hr,1,int16,RW\n"
    with pytest.raises(ScenarioError) as caught:
        build(tmp_path, text)
    assert [problem.line for problem in caught.value.problems] == [3, 4]


def test_a_default_list() -> None:
    """Without `points`, all that the run has, writable where `writable` says; not both."""
    site = FakeSite(database(), FakeGate())
    config = ModbusStationConfig(name="grid", writable=("p",))
    assert ModbusStation.build(config, site).summary() == "5 points, 1 writable, generated"
    with pytest.raises(ScenarioError, match="expected one of the two"):
        ModbusStation.build(ModbusStationConfig(name="grid", writable=("p",), points="x.csv"), site)
