"""Images against the scalar codec; gaps, bad values, overflow, roles, and what a publish changes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.points import Point, PointDatabase, PointKind
from cosim.points import Quality as Flags
from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.image import Image, ImageMaker
from gateways.peer import Role
from gateways.pointlist.codec import REGISTERS, encode, encode_clamped, sentinel
from gateways.pointlist.model import Access, BadQuality, DataType, Entry, Overflow, Quality, WordOrder

HOLDING, INPUT, COILS, DISCRETE = (Table.HOLDING_REGISTERS, Table.INPUT_REGISTERS, Table.COILS, Table.DISCRETE_INPUTS)
NO_ADDRESS, FAILURE = ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.SERVER_DEVICE_FAILURE


def database(n_point: int) -> PointDatabase:
    """Points p0, p1, … ."""
    return PointDatabase(Point(f"p{i}", PointKind.ANALOG_INPUT) for i in range(n_point))


def publish(points: PointDatabase, values: list[float], quality: list[int] | None = None, t_us: int = 1) -> None:
    """Values and quality of all points."""
    points.publish(np.array(values, float), np.array(quality or [0] * len(values), np.uint8), t_us)


def entry(i: int, address: int, kind: DataType = DataType.INT16, table: Table = HOLDING, **more: object) -> Entry:
    """An entry of point ``p<i>``."""
    registers = int(more.pop("registers", REGISTERS[kind]))  # type: ignore[call-overload]
    return replace(Entry(f"t{i}@{table.name}{address}", f"p{i}", 1, table, address, kind, registers), **more)


def shown(entries: list[Entry], values: list[float], quality: list[int] | None = None, **options: bool) -> Image:
    """The image of one publish."""
    points = database(len(values))
    maker = ImageMaker(entries, points, **options)
    publish(points, values, quality)
    return maker.make()


# -- against the scalar codec ------------------------------------------------------------------------------------------


@st.composite
def entries_and_values(draw: st.DrawFn) -> tuple[list[Entry], list[float], list[int]]:
    """A random list of both register tables, with holes, and one value and quality per point."""
    kinds = [kind for kind in DataType if kind is not DataType.BOOL]
    entries, values, free = [], [], {HOLDING: draw(st.integers(0, 60000)), INPUT: 0}
    for i in range(draw(st.integers(1, 12))):
        kind, table = draw(st.sampled_from(kinds)), draw(st.sampled_from([HOLDING, INPUT]))
        registers = draw(st.sampled_from([1, 2, 4])) if kind in (DataType.BITFIELD, DataType.STRING) else (
            REGISTERS[kind])
        entries.append(entry(i, free[table], kind, table, registers=registers, order=draw(st.sampled_from(WordOrder)),
                             text="Feeder", overflow=draw(st.sampled_from(Overflow)),
                             bad_quality=draw(st.sampled_from(BadQuality)),
                             scale=draw(st.sampled_from([1.0, 0.1, -2.0])), offset=draw(st.sampled_from([0.0, 40.0]))))
        free[table] += registers + draw(st.integers(0, 2))
        values.append(draw(st.one_of(st.floats(-1e5, 1e5), st.floats(), st.integers(-70000, 70000).map(float))))
    return entries, values, [draw(st.sampled_from([0, 0, Flags.INVALID, Flags.STALE])) for _ in values]


def expected(one: Entry, value: float, flags: int) -> bytes | ExceptionCode:
    """What one entry shows, by the scalar codec."""
    if one.type is DataType.STRING:
        return encode(0.0, one) or b""
    unknown = sentinel(one) or b""
    if math.isnan(value) or flags & Flags.INVALID:
        return FAILURE if one.bad_quality is BadQuality.EXCEPTION else unknown
    if one.overflow is Overflow.CLAMP:
        return encode_clamped(value, one) or b""
    data = encode(value, one)
    if data is None:
        return FAILURE if one.overflow is Overflow.EXCEPTION else unknown
    return data


@given(entries_and_values())
def test_an_image_is_what_the_codec_says_of_every_entry(case: tuple[list[Entry], list[float], list[int]]) -> None:
    """The vectorised encoders and the scalar codec agree on any list and values."""
    entries, values, quality = case
    image = shown(entries, values, quality)
    for one, value, flags in zip(entries, values, quality, strict=True):
        assert image.registers(one.table, one.address, one.registers) == expected(one, value, flags), one


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40), st.integers(0, 200))
def test_bits_are_packed_from_any_start(steps: list[tuple[int, bool]], low: int) -> None:
    """Least significant first, padded with zeros, from every start within a run of mapped bits."""
    entries, values, at = [], [], low
    for i, (hole, value) in enumerate(steps):
        at += hole
        entries.append(entry(i, at, DataType.BOOL, COILS))
        values.append(float(value))
        at += 1
    image = shown(entries, values)
    bits = {one.address: value for one, value in zip(entries, values, strict=True)}
    for start in range(low, at + 1):
        for count in (1, 3, 8, 11):
            wanted = [bits.get(i) for i in range(start, start + count)]
            if None in wanted:
                assert image.bits(COILS, start, count) == NO_ADDRESS
                continue
            packed = sum(int(bit or 0) << i for i, bit in enumerate(wanted))
            assert image.bits(COILS, start, count) == packed.to_bytes((count + 7) // 8, "little")


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_reading_over_a_hole_is_02() -> None:
    """Outside the list, before it, over a hole, and past the end."""
    image = shown([entry(0, 10), entry(1, 11), entry(2, 14)], [1, 2, 3])
    assert image.registers(HOLDING, 10, 2) == b"\x00\x01\x00\x02"
    for address, count in ((9, 1), (9, 2), (10, 3), (12, 1), (14, 2), (15, 1), (0, 125), (65535, 1)):
        assert image.registers(HOLDING, address, count) == NO_ADDRESS, (address, count)
    assert image.registers(INPUT, 10, 1) == NO_ADDRESS
    assert image.bits(COILS, 0, 1) == NO_ADDRESS


def test_gaps_may_read_zero() -> None:
    """Between the lowest and the highest mapped address, not beyond."""
    image = shown([entry(0, 10), entry(1, 13)], [1, 2], gaps_zero=True)
    assert image.registers(HOLDING, 10, 4) == bytes.fromhex("0001000000000002")
    assert image.registers(HOLDING, 11, 1) == b"\0\0"
    assert image.registers(HOLDING, 9, 2) == NO_ADDRESS
    assert image.registers(HOLDING, 13, 2) == NO_ADDRESS


def test_a_sparse_table_costs_its_span() -> None:
    """Addresses 0 and 65535 of one table are read without the other tables growing."""
    image = shown([entry(0, 0), entry(1, 65535), entry(2, 5, table=INPUT)], [1, 2, 3])
    assert image.registers(HOLDING, 65535, 1) == b"\0\2"
    assert image.registers(INPUT, 5, 1) == b"\0\3"
    assert image.registers(HOLDING, 1, 1) == NO_ADDRESS


def test_what_is_write_only_cannot_be_read() -> None:
    """An entry of access W is a hole to readers."""
    image = shown([entry(0, 0), entry(1, 1, access=Access.WRITE)], [1, 2])
    assert image.registers(HOLDING, 0, 1) == b"\0\1"
    assert image.registers(HOLDING, 0, 2) == NO_ADDRESS


def test_roles_to_read() -> None:
    """Some entries are for engineers; a read that touches one needs the role, what nothing maps needs none."""
    points = database(2)
    maker = ImageMaker([entry(0, 10), entry(1, 12, role_read=Role.ENGINEER)], points)
    span = maker.spans[HOLDING]
    assert span.may(10, 1, Role.OBSERVER)
    assert not span.may(10, 3, Role.OPERATOR)
    assert not span.may(0, 125, Role.OPERATOR)
    assert span.may(10, 3, Role.ENGINEER)
    assert span.may(0, 5, Role.OBSERVER)
    assert span.may(13, 5, Role.OBSERVER)
    assert maker.spans[INPUT].may(0, 5, Role.OBSERVER)


# -- values that cannot be trusted -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "flags"), [(math.nan, 0), (5.0, Flags.INVALID), (5.0, Flags.RESTART)])
def test_a_bad_value_is_never_shown(value: float, flags: int) -> None:
    """NaN, INVALID and RESTART show not-a-value or give 04, to reads that touch it only."""
    image = shown([entry(0, 0), entry(1, 1, bad_quality=BadQuality.EXCEPTION), entry(2, 2, DataType.FLOAT32)],
                  [value, value, value], [flags] * 3)
    assert image.registers(HOLDING, 0, 1) == b"\x80\x00"
    assert image.registers(HOLDING, 1, 1) == FAILURE
    assert image.registers(HOLDING, 0, 4) == FAILURE
    assert image.registers(HOLDING, 2, 2) == bytes.fromhex("7fc00000")


@pytest.mark.parametrize("flags", [Flags.STALE, Flags.SUBSTITUTED])
def test_stale_and_substituted_values_are_shown(flags: int) -> None:
    """They are what the station has; its quality register says what they are."""
    image = shown([entry(0, 0), entry(0, 1, shows=Quality.QUALITY)], [5.0], [flags])
    assert image.registers(HOLDING, 0, 2) == b"\0\5" + int(flags).to_bytes(2, "big")


def test_a_quality_entry_is_never_bad() -> None:
    """It shows the flags of a bad value, INVALID too where only NaN says so."""
    image = shown([entry(0, 0, shows=Quality.QUALITY, bad_quality=BadQuality.EXCEPTION),
                   entry(1, 1, shows=Quality.QUALITY)], [math.nan, 1.0], [Flags.STALE, Flags.RESTART])
    assert image.registers(HOLDING, 0, 2) == b"\0\6\0\1"


def test_the_last_good_value_is_that_of_the_last_publish() -> None:
    """Even when nobody read it then; with none yet, not-a-value."""
    points = database(1)
    maker = ImageMaker([entry(0, 0, bad_quality=BadQuality.LAST)], points)
    publish(points, [math.nan], t_us=1)
    assert maker.make().registers(HOLDING, 0, 1) == b"\x80\x00"
    publish(points, [7.0], t_us=2)
    publish(points, [math.nan], t_us=3)
    assert maker.make().registers(HOLDING, 0, 1) == b"\0\7"
    publish(points, [9.0], [Flags.INVALID], t_us=4)
    assert maker.make().registers(HOLDING, 0, 1) == b"\0\7"


@pytest.mark.parametrize("how", [BadQuality.SENTINEL, BadQuality.EXCEPTION])
def test_a_bad_bit_is_04(how: BadQuality) -> None:
    """A bool has no not-a-value; its neighbours in other bytes and registers are read."""
    image = shown([entry(0, 0, DataType.BOOL, DISCRETE, bad_quality=how), entry(1, 1, DataType.BOOL, DISCRETE),
                   entry(0, 4, DataType.BOOL, bit=3, bad_quality=how), entry(1, 5, DataType.BOOL, bit=3)],
                  [math.nan, 1.0])
    assert image.bits(DISCRETE, 0, 2) == FAILURE
    assert image.bits(DISCRETE, 1, 1) == b"\1"
    assert image.registers(HOLDING, 4, 1) == FAILURE
    assert image.registers(HOLDING, 5, 1) == b"\0\x08"


def test_bools_share_a_register() -> None:
    """Bits 0 and 9 of one register, one of them inverted by its scale; the others are 0."""
    image = shown([entry(0, 3, DataType.BOOL, bit=0), entry(1, 3, DataType.BOOL, bit=9, scale=-1.0, offset=1.0)],
                  [1.0, 0.0])
    assert image.registers(HOLDING, 3, 1) == b"\x02\x01"


@pytest.mark.parametrize(("order", "data"), [("ABCD", "00020001"), ("CDAB", "00010002"), ("BADC", "02000100"),
                                             ("DCBA", "01000200")])
def test_a_bitfield_of_points(order: str, data: str) -> None:
    """Bits 0 and 17 of two registers, in every order."""
    bits = ("p0",) + ("p1",) * 16 + ("p0",)
    one = entry(0, 0, DataType.BITFIELD, registers=2, bits=bits, order=WordOrder(order))
    assert shown([one], [1.0, 0.0]).registers(HOLDING, 0, 2) == bytes.fromhex(data)


@pytest.mark.parametrize(("how", "found"), [(BadQuality.SENTINEL, b"\xff\xff"), (BadQuality.LAST, b"\xff\xff"),
                                            (BadQuality.EXCEPTION, FAILURE)])
def test_a_bitfield_with_a_bad_bit_is_bad(how: BadQuality, found: object) -> None:
    """As a whole: a master must not take the rest for the truth."""
    one = entry(0, 0, DataType.BITFIELD, bits=("p0", "p1"), bad_quality=how)
    assert shown([one, entry(1, 1)], [math.nan, 1.0]).registers(HOLDING, 0, 1) == found


# -- one publish, one image --------------------------------------------------------------------------------------------


def test_an_image_does_not_change() -> None:
    """What is read from it later is of its own publish, whatever was published since: no float is torn."""
    points = database(20)
    maker = ImageMaker([entry(i, 4 * i, DataType.FLOAT64) for i in range(20)], points)
    publish(points, [1.5] * 20, t_us=1)
    first = maker.make()
    publish(points, [-2.25e10] * 20, t_us=2)
    second = maker.make()
    assert first.registers(HOLDING, 0, 80) == bytes.fromhex("3ff8000000000000") * 20
    assert second.registers(HOLDING, 0, 80) == (encode(-2.25e10, entry(0, 0, DataType.FLOAT64)) or b"") * 20
    assert (first.t_us, second.t_us) == (1, 2)


def test_points_are_required() -> None:
    """What the list needs is written at every publish and not left to be worked out later."""
    points = database(3)
    ImageMaker([entry(1, 0)], points)
    assert points.required(slice(1, 2))
    assert not points.required(slice(2, 3))


def test_feedback_is_what_reads_show() -> None:
    """A breaker's coil reads where the contacts stand although nobody has asked for anything; a register likewise."""
    db = PointDatabase([Point("cb.closed", PointKind.BINARY_OUTPUT), Point("cb.is_closed", PointKind.BINARY_INPUT),
                        Point("cap.steps", PointKind.ANALOG_OUTPUT), Point("cap.steps_in", PointKind.ANALOG_INPUT)])
    db.publish(np.array([np.nan, 1.0, np.nan, 3.0]), np.zeros(4, np.uint8), 1)
    coil = Entry("cb", "cb.closed", 1, Table.COILS, 0, DataType.BOOL, 1, access=Access.READ_WRITE,
                 feedback="cb.is_closed")
    steps = Entry("cap", "cap.steps", 1, Table.HOLDING_REGISTERS, 0, DataType.UINT16, 1, access=Access.READ_WRITE,
                  feedback="cap.steps_in")
    image = ImageMaker((coil, steps), db).make()
    assert image.bits(Table.COILS, 0, 1) == b"\x01"
    assert image.registers(Table.HOLDING_REGISTERS, 0, 1) == b"\x00\x03"
