"""What a control centre decides, in virtual time: requests, schedules, alarms, qualities, the board."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import GatewayError, ScenarioError
from gateways.modbus.bank import Table
from gateways.pointlist.model import Access, DataType, Entry, Quality
from hil.scada.alarms import Alarm, Limits, State
from hil.scada.blocks import is_bits, places, plan
from hil.scada.board import Board
from hil.scada.console import LineEditor
from hil.scada.endpoint import Transport, parse_endpoint
from hil.scada.operate import parse_command, why_not
from hil.scada.plans import CentrePlan, load_plan
from hil.scada.readings import TagQuality, companions, from_flags, read_block
from hil.scada.schedule import Backoff, ScanClock


def entry(address: int, registers: int = 1, **more: object) -> Entry:
    """A holding-register entry named after its address."""
    kind = {1: DataType.UINT16, 2: DataType.FLOAT32, 4: DataType.FLOAT64}[registers]
    return replace(Entry(f"t{address}", "", 1, Table.HOLDING_REGISTERS, address, kind, registers), **more)  # type: ignore[arg-type]


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_neighbours_share_one_request() -> None:
    """Entries that touch are read at once."""
    (block,) = plan([entry(10, 2), entry(12), entry(13, 4)], frozenset())
    assert (block.address, block.count) == (10, 7)


def test_a_gap_is_bridged_only_where_the_list_maps_it() -> None:
    """Of two equal gaps the unmapped one splits the request."""
    wanted, between = [entry(0), entry(3)], [entry(1), entry(2)]
    assert len(plan(wanted, places(wanted + between))) == 1
    assert len(plan(wanted, places(wanted))) == 2
    assert len(plan(wanted, places(wanted + between[:1]))) == 2
    assert len(plan(wanted, places(wanted + [replace(e, access=Access.WRITE) for e in between]))) == 2


def test_long_gaps_are_not_read_even_where_mapped() -> None:
    """Seventeen spare registers cost more than a request."""
    every = [entry(a) for a in range(19)]
    assert len(plan([every[0], every[17]], places(every))) == 1
    assert len(plan([every[0], every[18]], places(every))) == 2


def test_a_block_never_passes_125_registers_nor_cuts_a_value() -> None:
    """63 float32 need two requests, 124 and 2 registers."""
    blocks = plan([entry(a, 2) for a in range(0, 126, 2)], frozenset())
    assert [(b.address, b.count) for b in blocks] == [(0, 124), (124, 2)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([1, 2, 4]), st.sampled_from(list(Table)),
                          st.integers(1, 3)), max_size=60))
def test_every_entry_is_read_once_and_whole(rows: list[tuple[int, int, Table, int]]) -> None:
    """Whatever the list: each entry lies in exactly one block, within it, and blocks keep the limits."""
    entries = [replace(entry(a, 1 if is_bits(t) else n), tag=str(i), unit=u, table=t)
               for i, (a, n, t, u) in enumerate(rows)]
    blocks = plan(entries, places(entries))
    assert sorted(e.tag for b in blocks for e in b.entries) == sorted(e.tag for e in entries)
    for block in blocks:
        assert block.count <= (2000 if is_bits(block.table) else 125)
        assert all(block.address <= e.address and e.address + e.registers <= block.address + block.count
                   for e in block.entries)


def test_bits_are_found_in_their_bytes() -> None:
    """Bit 9 of a block is bit 1 of its second byte."""
    coil = replace(entry(29), table=Table.COILS, type=DataType.BOOL)
    (block,) = plan([replace(coil, tag="a", address=20), coil], frozenset((1, Table.COILS, a) for a in range(20, 30)))
    values = {r.entry.tag: r.value for r in read_block(block, bytes([0b0, 0b10]))}
    assert values == {"a": 0.0, "t29": 1.0}


# -- time -------------------------------------------------------------------------------------------------------------


def test_deadlines_are_absolute_and_misses_are_counted_once() -> None:
    """A scan that is 2.5 periods late skips two and keeps the grid."""
    clock = ScanClock(1.0, 10.0)
    assert clock.begin(10.0) == 0.0
    assert clock.next_s == 11.0
    assert clock.begin(13.5) == pytest.approx(0.5)
    assert (clock.scans, clock.missed, clock.next_s) == (2, 2, 14.0)
    assert clock.overdue(16.2) == 2


@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=50))
def test_scans_and_misses_add_up_to_the_deadlines_gone_by(waits: list[float]) -> None:
    """Nothing is lost and nothing piles up, however late scans begin."""
    clock, now_s = ScanClock(1.0, 0.0), 0.0
    for wait in waits:
        now_s = max(now_s + wait, clock.next_s)
        clock.begin(now_s)
    assert clock.scans + clock.missed == round(clock.next_s)


def test_waits_double_up_to_their_limit() -> None:
    """And begin anew after a success."""
    backoff = Backoff(0.5, 3.0)
    assert [backoff.wait_s() for _ in range(4)] == [0.5, 1.0, 2.0, 3.0]
    backoff.reset()
    assert backoff.wait_s() == 0.5


# -- alarms -----------------------------------------------------------------------------------------------------------


def test_an_alarm_goes_through_its_four_states() -> None:
    """Raised, acknowledged, cleared; raised, cleared, acknowledged."""
    alarm = Alarm("a", Limits(high=10))
    states = []
    for value, acknowledge in ((11, False), (11, True), (9, False), (12, False), (8, False), (8, True)):
        alarm.take(value, 0.0)
        if acknowledge:
            alarm.acknowledge(0.0)
        states.append(alarm.state)
    assert states == [State.ACTIVE, State.ACKNOWLEDGED, State.NORMAL, State.ACTIVE, State.RETURNED, State.NORMAL]


def test_the_deadband_holds_an_alarm_until_well_back() -> None:
    """Both limits, each towards the inside."""
    high, low = Alarm("h", Limits(high=1.05, deadband=0.01)), Alarm("l", Limits(low=0.95, deadband=0.01))
    for alarm, values in ((high, (1.06, 1.045, 1.039)), (low, (0.94, 0.955, 0.961))):
        alarm.take(values[0], 0.0)
        assert alarm.take(values[1], 1.0) is None
        change = alarm.take(values[2], 2.0)
        assert change is not None
        assert change.after is State.RETURNED


def test_a_condition_must_hold_through_its_delay() -> None:
    """A break begins the delay anew; time alone raises it, without a new value."""
    alarm = Alarm("a", Limits(high=1, delay_s=5))
    assert alarm.take(2, 0.0) is None
    assert alarm.take(0, 4.0) is None
    assert alarm.take(2, 4.5) is None
    assert alarm.tick(9.4) is None
    change = alarm.tick(9.5)
    assert change is not None
    assert (change.after, change.verdict) == (State.ACTIVE, "high")


def test_only_what_is_unacknowledged_can_be_acknowledged() -> None:
    """A normal or acknowledged alarm does not change."""
    alarm = Alarm("a", Limits(equals=0))
    assert alarm.acknowledge(0.0) is None
    alarm.take(0.0, 1.0)
    assert alarm.acknowledge(2.0) is not None
    assert alarm.acknowledge(3.0) is None


# -- quality ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flags", "quality"), [
    (0, TagQuality.GOOD), (1, TagQuality.BAD), (2, TagQuality.BAD), (4, TagQuality.STALE), (6, TagQuality.BAD),
    (8, TagQuality.SUBSTITUTED), (math.nan, TagQuality.BAD)])
def test_flags_give_a_quality(flags: float, quality: TagQuality) -> None:
    """RESTART and INVALID are bad, STALE is stale, SUBSTITUTED is said."""
    assert from_flags(flags) is quality


def test_a_quality_belongs_to_its_value_by_name_or_by_point() -> None:
    """``x.quality`` goes with x; another tag of the same point's quality too."""
    shown = {"shows": Quality.QUALITY}
    entries = [entry(0, tag="x"), entry(1, tag="x.quality", **shown), entry(2, tag="y", point="p"),
               entry(3, tag="q_of_p", point="p", **shown), entry(4, tag="z", point="r")]
    assert companions(entries) == {"x": "x.quality", "y": "q_of_p"}


# -- the board --------------------------------------------------------------------------------------------------------

CONFIG = """
stations:
  - {name: feeder, address: "127.0.0.1:1", points: feeder.csv}
scan_classes: [{name: fast, period_s: 0.5, tags: ["*.v_pu"]}, {name: slow, period_s: 10}]
alarms: [{tags: ["*.v_pu"], high: 1.05, priority: high}]
"""


@pytest.fixture
def centre(points: Path) -> CentrePlan:
    """CONFIG with the feeder's list."""
    path = points.with_name("room.yaml")
    path.write_text(CONFIG)
    return load_plan(path)


def told(board: Board, plan: CentrePlan, values: dict[str, float], t_s: float) -> None:
    """Readings of some tags."""
    from hil.scada.readings import Reading

    station = plan.stations[0]
    quality = {True: TagQuality.BAD, False: TagQuality.GOOD}
    board.comm("feeder", "", t_s, 0)
    board.take(station, [Reading(station.entries[tag], v, quality[math.isnan(v)]) for tag, v in values.items()], t_s, 0)


def test_a_companion_is_scanned_with_its_value(centre: CentrePlan) -> None:
    """The quality is in the fast class although no pattern names it."""
    fast = centre.stations[0].scans[0]
    assert [e.tag for b in fast.blocks for e in b.entries] == ["bus1.v_pu", "bus1.v_pu.quality"]


def test_bad_quality_keeps_an_alarm_as_it_is(centre: CentrePlan) -> None:
    """A value out of limits that the device distrusts raises nothing, one in limits clears nothing."""
    board = Board(centre)
    told(board, centre, {"bus1.v_pu": 1.2, "bus1.v_pu.quality": 2}, 0.0)
    assert board.shown_alarms() == []
    told(board, centre, {"bus1.v_pu": 1.2, "bus1.v_pu.quality": 0}, 1.0)
    told(board, centre, {"bus1.v_pu": 1.0, "bus1.v_pu.quality": 4}, 2.0)
    assert [a.state for a in board.shown_alarms()] == [State.ACTIVE]
    assert board.tags["feeder/bus1.v_pu"].quality is TagQuality.STALE


def test_tags_of_a_silent_station_are_stale_and_the_alarm_waits_its_delay(centre: CentrePlan) -> None:
    """Values stay, marked; the communication alarm comes after its delay and clears with an answer."""
    board = Board(centre)
    told(board, centre, {"bus1.v_pu": 1.0}, 0.0)
    board.comm("feeder", "no answer", 1.0, 0)
    assert board.tags["feeder/bus1.v_pu"].quality is TagQuality.STALE
    assert board.tags["feeder/bus1.v_pu"].value == 1.0
    board.tick(2.9, 0)
    assert board.shown_alarms() == []
    board.tick(3.0, 0)
    assert [a.name for a in board.shown_alarms()] == ["feeder/communication"]
    board.comm("feeder", "", 4.0, 0)
    assert [e.kind for e in board.take_events()] == ["comm", "alarm", "comm", "alarm"]


def test_a_tag_that_is_not_read_for_three_periods_is_stale(centre: CentrePlan) -> None:
    """1.5 s for a tag of the fast class."""
    board = Board(centre)
    told(board, centre, {"bus1.v_pu": 1.0}, 0.0)
    board.tick(1.5, 0)
    assert board.tags["feeder/bus1.v_pu"].quality is TagQuality.GOOD
    board.tick(1.6, 0)
    assert board.tags["feeder/bus1.v_pu"].quality is TagQuality.STALE


# -- what people write ------------------------------------------------------------------------------------------------


def test_every_mistake_of_a_configuration_is_told_at_once_with_its_line(points: Path) -> None:
    """Schema, addresses, lists, limits and patterns."""
    path = points.with_name("room.yaml")
    path.write_text('stations:\n  - {name: a, address: "no where", points: feeder.csv}\n'
                    '  - {name: a, address: "x:1", points: missing.csv}\nalarms:\n  - {tags: ["*"]}\n')
    with pytest.raises(ScenarioError) as caught:
        load_plan(path)
    said = [(p.line, p.message) for p in caught.value.problems]
    assert any(line == 2 and "no address of a device" in text for line, text in said)
    assert any(line == 3 and "names are unique" in text for line, text in said)
    assert any("missing.csv" in str(p) for p in caught.value.problems)
    assert any(line == 5 and "without a limit" in text for line, text in said)


def test_a_pattern_that_names_nothing_is_a_mistake(points: Path) -> None:
    """With an example of what tags are called."""
    path = points.with_name("room.yaml")
    path.write_text(CONFIG.replace('tags: ["*.v_pu"], high', 'tags: ["*.volt"], high'))
    with pytest.raises(ScenarioError, match=r"names no tag .* bus1\.v_pu"):
        load_plan(path)


def test_unknown_keys_are_refused(points: Path) -> None:
    """With what was probably meant."""
    path = points.with_name("room.yaml")
    path.write_text(CONFIG.replace("alarms:", "alarm:"))
    with pytest.raises(ScenarioError, match="did you mean 'alarms'"):
        load_plan(path)


@pytest.mark.parametrize(("text", "transport", "host", "port"), [
    ("127.0.0.1:5020", Transport.TCP, "127.0.0.1", 5020), ("plc", Transport.TCP, "plc", 502),
    ("[::1]:502", Transport.TCP, "::1", 502), ("tls:plc", Transport.TLS, "plc", 802),
    ("rtu:plc:4001", Transport.RTU_OVER_TCP, "plc", 4001),
    ("serial:/dev/ttyS1@9600,N,2", Transport.SERIAL, "/dev/ttyS1", 0),
    ("tls:802", Transport.TCP, "tls", 802)])
def test_addresses_of_devices(text: str, transport: Transport, host: str, port: int) -> None:
    """All forms that the documentation names."""
    found = parse_endpoint(text)
    assert (found.transport, found.host, found.port) == (transport, host, port)


@pytest.mark.parametrize("text", ["", "a b", "h:0", "h:70000", "serial:", "serial:x@fast", "http://x", "a@b"])
def test_other_addresses_are_refused_in_one_line(text: str) -> None:
    """With what is accepted."""
    with pytest.raises(GatewayError, match="expected") as caught:
        parse_endpoint(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["set x", "set x y", "jump", "quit now", "set a b c"])
def test_a_command_that_is_not_understood_says_what_is(line: str) -> None:
    """In words."""
    with pytest.raises(GatewayError, match=r"expected|commands"):
        parse_command(line)


def test_words_and_numbers_are_values() -> None:
    """`open` is 0, `closed` 1; an empty line is nothing."""
    commands = [parse_command(line) for line in ("set b open", "SET b closed", "set x -1.5e2", "")]
    assert [c.value if c else None for c in commands] == [0.0, 1.0, -150.0, None]


def test_the_centre_does_not_send_what_the_list_forbids(centre: CentrePlan) -> None:
    """Read-only, out of range, not a number; what is allowed passes."""
    entries = centre.stations[0].entries
    assert "reading only" in why_not(entries["bus1.p_kw"], 1.0)
    assert "outside 0 … 100 kW" in why_not(entries["pv1.limit_kw"], 100.5)
    assert "not a number" in why_not(entries["pv1.limit_kw"], math.nan)
    assert why_not(entries["pv1.limit_kw"], 100.0) == ""


def test_keys_become_lines() -> None:
    """Backspace, Ctrl-U and arrow keys included."""
    editor = LineEditor()
    assert editor.feed(b"lisx\x7ft\x1b[A\r") == ["list"]
    assert editor.feed(b"nonsense\x15ack\nse") == ["ack"]
    assert editor.text == "se"
