"""Default lists of runs."""

from __future__ import annotations

import math

import pytest

from cosim.errors import PointListError
from cosim.points import Point, PointDatabase, PointKind
from gateways.modbus.bank import Table
from gateways.pointlist.address import SHORT, Base
from gateways.pointlist.blocks import summaries
from gateways.pointlist.check import check_against
from gateways.pointlist.generate import GenerateOptions, generate, is_device_point
from gateways.pointlist.model import Access, DataType
from gateways.pointlist.reader import read_text
from gateways.pointlist.writer import to_csv
from tests.gateways.pointlist.lists import database, unplaced


def many(count: int) -> PointDatabase:
    """A run of many devices with three measurements each."""
    return PointDatabase([Point(f"d{i}.{name}", PointKind.ANALOG_INPUT) for name in ("p_kw", "q_kvar", "v_pu")
                          for i in range(count)])


def test_devices_and_main_points() -> None:
    """Every device and the main grid points; no angles, line flows, agents or channels."""
    found = generate(database())
    names = [entry.tag for entry in found.entries]
    assert names == ["grid.slack_p_kw", "grid.converged", "bus.B1.v_pu", "bus.B2.v_pu", "line.L1.loading",
                     "line.L1.closed", "pv.p_kw", "pv.e_kwh", "pv.p_set_kw", "cb.closed", "cb.close", "cb.free_kw"]
    assert check_against(found, database()) == []


def test_kinds_lie_in_their_tables() -> None:
    """Measurements float32 in ir, counters uint32 in tenths of a kWh, binaries in di, outputs in hr and co."""
    found = {entry.tag: entry for entry in generate(database()).entries}
    shown = {name: (SHORT[found[name].table], found[name].type) for name in
             ("pv.p_kw", "pv.e_kwh", "cb.closed", "pv.p_set_kw", "cb.close")}
    assert shown == {"pv.p_kw": ("ir", DataType.FLOAT32), "pv.e_kwh": ("ir", DataType.UINT32),
                     "cb.closed": ("di", DataType.BOOL), "pv.p_set_kw": ("hr", DataType.FLOAT32),
                     "cb.close": ("co", DataType.BOOL)}
    assert found["pv.e_kwh"].scale == 0.1
    assert (found["pv.p_set_kw"].low, found["pv.p_set_kw"].high) == (0.0, 1200.0)
    assert math.isnan(found["cb.free_kw"].low)
    assert found["pv.p_set_kw"].description == "Most active power fed in"


def test_nothing_can_be_written_unless_allowed() -> None:
    """The default is read-only; patterns open outputs, never measurements."""
    assert {entry.access for entry in generate(database()).entries} == {Access.READ}
    opened = generate(database(), GenerateOptions(writable=("pv.*", "cb.close")))
    assert [entry.tag for entry in opened.entries if entry.access is Access.READ_WRITE] == ["pv.p_set_kw", "cb.close"]


@pytest.mark.parametrize(("options", "says"), [
    (GenerateOptions(writable=("pv.p_kw",)), "matches no setpoint or switch"),
    (GenerateOptions(writable=("nothing.*",)), "matches none of the 16 points"),
    (GenerateOptions(wanted=("pv.p_kv",)), "did you mean pv.p_kw")])
def test_patterns_that_match_nothing(options: GenerateOptions, says: str) -> None:
    """A typing error in a pattern does not pass silently."""
    with pytest.raises(PointListError, match=says):
        generate(database(), options)


def test_only_what_is_wanted() -> None:
    """Patterns replace the default choice."""
    assert [entry.tag for entry in generate(database(), GenerateOptions(("agent.*", "bus.*.angle_deg"))).entries] == [
        "bus.B1.angle_deg", "agent.a.late"]


def test_the_layout_can_be_foretold() -> None:
    """Grid areas at hundreds; a point of every device at the same place of its block, with room behind."""
    run = PointDatabase([Point("bus.B.v_pu", PointKind.ANALOG_INPUT), *many(20).points])
    found = {entry.tag: entry.address for entry in generate(run).entries}
    assert found["bus.B.v_pu"] == 0
    assert [found[f"d{i}.q_kvar"] for i in range(20)] == [102 + 10 * i for i in range(20)]
    assert generate(run) == generate(run)


def test_a_unit_for_each_device() -> None:
    """The grid is unit 1; every device has the same addresses in its own."""
    run = PointDatabase([Point("bus.B.v_pu", PointKind.ANALOG_INPUT), *many(3).points])
    found = generate(run, GenerateOptions(unit_per_device=True))
    assert [(entry.unit, entry.address) for entry in found.entries if entry.tag.endswith("q_kvar")] == [
        (2, 2), (3, 2), (4, 2)]
    assert [(s.unit, s.table, s.entries, s.first, s.last, s.reads) for s in summaries(found)] == [
        (1, Table.INPUT_REGISTERS, 1, 0, 1, 1), *((unit, Table.INPUT_REGISTERS, 3, 0, 5, 1) for unit in (2, 3, 4))]


def test_what_does_not_fit() -> None:
    """Said with numbers, and what would fit."""
    with pytest.raises(PointListError, match=r"30000 points need 99996 addresses in ir .* has 65536"):
        generate(many(10_000))
    with pytest.raises(PointListError, match="there are 247 unit identifiers"):
        generate(many(250), GenerateOptions(unit_per_device=True))


def test_a_generated_list_reads_back() -> None:
    """As a file it is the same list."""
    found = generate(database(), GenerateOptions(writable=("*.p_set_kw",)))
    assert unplaced(read_text(to_csv(found, Base.MODICON), "l.csv")) == found.entries


@pytest.mark.parametrize(("name", "is_device"), [
    ("pv_3.p_kw", True), ("gen.G1.p_kw", False), ("gen.p_kw", True), ("grid.losses_kw", False),
    ("shield.active", False),
    ("agent.a.late", False), ("channel.c.up.sent", False), ("line.L1.loading", False), ("line.loading", True)])
def test_whose_a_point_is(name: str, is_device: bool) -> None:
    """By its name; a device called `gen` is a device."""
    assert is_device_point(name) is is_device


def test_reads_needed() -> None:
    """Requests of at most 125 registers without gaps, no value cut in two."""
    header = "# base: 0\ntag,table,address,type\n"
    rows = [f"T{i},ir,{2 * i},float32" for i in range(63)] + ["U,ir,200,int16", "C,co,0,bool", "D,co,1,bool"]
    found = summaries(read_text(header + "\n".join(rows), "l.csv"))
    assert [(SHORT[s.table], s.reads) for s in found] == [("co", 1), ("ir", 3)]
    assert str(found[1]) == "unit 1: ir 0 = 30001 (300001) to ir 200 = 30201 (300201): 64 points, 3 reads"


def test_switches_and_banks_show_where_they_stand() -> None:
    """An order is nothing while nobody asks: reads of it show the position, and of a setpoint the setpoint."""
    run = PointDatabase([Point("tie.closed", PointKind.BINARY_OUTPUT), Point("tie.is_closed", PointKind.BINARY_INPUT),
                         Point("cap.steps", PointKind.ANALOG_OUTPUT), Point("cap.steps_in", PointKind.ANALOG_INPUT),
                         Point("oltc.tap", PointKind.ANALOG_OUTPUT), Point("oltc.tap_position", PointKind.ANALOG_INPUT),
                         Point("store.p_set_kw", PointKind.ANALOG_OUTPUT)])
    shown = {entry.tag: entry.shown for entry in generate(run).entries}
    assert shown["tie.closed"] == "tie.is_closed"
    assert shown["cap.steps"] == "cap.steps_in"
    assert shown["oltc.tap"] == "oltc.tap_position"
    assert shown["store.p_set_kw"] == "store.p_set_kw"
