"""What a Modbus station answers to reads and writes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cosim.points import Point, PointDatabase, PointKind
from cosim.points import Quality as Flags
from gateways.gate import WriteAnswer, WriteRequest
from gateways.modbus.bank import CODES, ExceptionCode
from gateways.modbus.station import ListBank
from gateways.peer import Peer, Role
from gateways.pointlist.model import Access, DataType, Overflow, Quality
from tests.gateways.modbus.station_fakes import (
    ADDRESS,
    ARMED,
    COILS,
    ENGINEER,
    FAILURE,
    HOLDING,
    OBSERVER,
    ON,
    OPERATOR,
    ROLE,
    VALUE,
    FakeGate,
    P,
    Q,
    V,
    bank,
    database,
    entry,
    publish,
    write,
)

# -- reads -------------------------------------------------------------------------------------------------------------


def test_reads_follow_publishes() -> None:
    """Each read is of the last publish; both publishes at t = 0 count."""
    points = database()
    one = ListBank("rtu", [entry(P, 0)], points, FakeGate())
    assert one.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\x0a"
    publish(points, [11.0, 20.0, 1.0, 0.0, 1.02], 2_000_000)
    assert one.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\x0b"
    early = PointDatabase([Point("p", PointKind.ANALOG_INPUT)])
    publish(early, [1.0], 0)
    two = ListBank("rtu", [entry(P, 0, access=Access.READ)], early, FakeGate())
    assert two.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\1"
    publish(early, [2.0], 0)
    assert two.read_registers(HOLDING, 0, 1, OBSERVER) == b"\0\2"


def test_an_image_is_made_once_a_publish() -> None:
    """Reads between two publishes share it."""
    one, _ = bank(entry(P, 0))
    one.read_registers(HOLDING, 0, 1, OBSERVER)
    image = one._image
    one.read_registers(HOLDING, 0, 1, OBSERVER)
    assert one._image is image


def test_a_role_may_be_needed_to_read() -> None:
    """01 for an observer, also where the address would be 02 beside it; bits too."""
    one, _ = bank(entry(P, 0, role_read=Role.ENGINEER), entry(ON, 0, DataType.BOOL, COILS, role_read=Role.OPERATOR))
    assert one.read_registers(HOLDING, 0, 2, OPERATOR) is ROLE
    assert one.read_registers(HOLDING, 0, 1, ENGINEER) == b"\0\x0a"
    assert one.read_bits(COILS, 0, 1, OBSERVER) is ROLE
    assert one.read_bits(COILS, 0, 1, OPERATOR) == b"\1"


# -- writes ------------------------------------------------------------------------------------------------------------


def test_a_request_reaches_the_gate_whole() -> None:
    """Engineering values of every entry, at once, with the frame, the peer and the simulation time of arrival."""
    one, gate = bank(entry(P, 0, scale=0.1), entry(Q, 1, DataType.FLOAT32), ttl_s=60.0)
    assert write(one, 0, "01f4c2480000") is None
    assert gate.writes == [WriteRequest("rtu", OPERATOR, b"frame", 6_000_000, ("p@0", "q@1"), (P, Q), (50.0, -50.0),
                                        "", 60.0)]


@pytest.mark.parametrize(("address", "data", "code", "why"), [
    (1, "0000", ADDRESS, "not mapped"),
    (0, "0000" * 2, ADDRESS, "not mapped"),
    (2, "4000", ADDRESS, "a part of its registers 2 to 3"),
    (3, "4000", ADDRESS, "a part of its registers"),
    (4, "0001", ADDRESS, "v@4 is not writable"),
    (0, "0065", VALUE, "101 is not within -100 to 100"),
    (0, "8000", VALUE, "not a value"),
    (2, "7fc00000", VALUE, "not a value"),
    (2, "7f800000", VALUE, "not a value"),
    (5, "0001", FAILURE, "interlock armed@0 does not read 1"),
])
def test_refusals(address: int, data: str, code: ExceptionCode, why: str) -> None:
    """Each by its code; the gate hears of it with the reason, so that it is audited."""
    one, gate = bank(entry(P, 0), entry(Q, 2, DataType.FLOAT32), entry(V, 4), entry(Q, 5, interlock="armed@0"),
                     entry(ARMED, 0, DataType.BOOL, COILS))
    assert write(one, address, data) is code
    assert len(gate.writes) == 1
    assert why in gate.writes[0].refusal
    assert not one.asked


@pytest.mark.parametrize(("peer", "data", "code"), [
    (OBSERVER, "8000000100010001", ROLE), (OPERATOR, "8000000100010001", ADDRESS),
    (OPERATOR, "80000001", VALUE), (OPERATOR, "00010001", FAILURE)])
def test_which_refusal_comes_first(peer: Peer, data: str, code: ExceptionCode) -> None:
    """01, 02, 03, 04 when a request breaks several rules."""
    one, gate = bank(entry(P, 0), entry(Q, 1, interlock="armed@0"), entry(V, 2), entry(ARMED, 0, DataType.BOOL, COILS))
    assert write(one, 0, data, peer) is code
    assert gate.writes[0].refusal


@pytest.mark.parametrize(("armed", "lock", "code"), [(1.0, "armed@0", None), (0.0, "!armed@0", None),
                                                     (1.0, "!armed@0", FAILURE), (math.nan, "!armed@0", FAILURE)])
def test_interlocks(armed: float, lock: str, code: ExceptionCode | None) -> None:
    """A tag must read 1, with ! must read 0; one that is unknown lets nothing pass."""
    points = database()
    publish(points, [0.0, 0.0, 0.0, armed, 1.0], 2_000_000)
    one = ListBank("rtu", [entry(P, 0, interlock=lock), entry(ARMED, 0, DataType.BOOL, COILS)], points, FakeGate())
    assert write(one, 0, "0001") is code


def test_an_interlock_that_cannot_be_trusted_is_not_satisfied() -> None:
    """Its value reads 1, its quality says INVALID."""
    points = database()
    one = ListBank("rtu", [entry(P, 0, interlock="on@0"), entry(ON, 0, DataType.BOOL, COILS)], points, FakeGate())
    assert write(one, 0, "0001") is None
    points.publish(points.values.copy(), np.array([0, 0, Flags.INVALID, 0, 0], np.uint8), 2_000_000)
    assert write(one, 0, "0001") is FAILURE


def test_clamping_a_write() -> None:
    """To the narrower of the list's bounds and the point's."""
    one, gate = bank(entry(P, 0, overflow=Overflow.CLAMP, low=-50.0, high=500.0))
    assert write(one, 0, "7fff") is None
    assert write(one, 0, "8001") is None
    assert [request.values for request in gate.writes] == [(100.0,), (-50.0,)]


@pytest.mark.parametrize(("data", "value"), [("3e99999a", 0.3), ("3e99999b", None), ("be99999a", -0.3)])
def test_a_bound_as_float32_is_the_bound(data: str, value: float | None) -> None:
    """0.3 as float32 is 0.30000001: it is taken as 0.3; the next float32 is out of range."""
    one, gate = bank(entry(Q, 0, DataType.FLOAT32, low=-0.3, high=0.3))
    assert write(one, 0, data) is (VALUE if value is None else None)
    if value is not None:
        assert gate.writes[0].values == (value,)


def test_a_scaled_bound_is_the_bound() -> None:
    """3 x 0.1 is 0.30000000000000004."""
    one, gate = bank(entry(Q, 0, scale=0.1, high=0.3))
    assert write(one, 0, "0003") is None
    assert gate.writes[0].values == (0.3,)
    assert write(one, 0, "0004") is VALUE


def test_coils() -> None:
    """One coil, several, an unmapped one, a value the scale inverts."""
    one, gate = bank(entry(ON, 0, DataType.BOOL, COILS), entry(ARMED, 1, DataType.BOOL, COILS, scale=-1.0, offset=1.0))
    assert one.write_bits(0, [True], OPERATOR, 0, b"") is None
    assert one.write_bits(0, [False, True], OPERATOR, 0, b"") is None
    assert one.write_bits(1, [True, True], OPERATOR, 0, b"") is ADDRESS
    assert one.write_bits(0, [True], OBSERVER, 0, b"") is ROLE
    assert [(request.ids, request.values) for request in gate.writes[:2]] == [
        ((ON,), (1.0,)), ((ON, ARMED), (0.0, 0.0))]


@pytest.mark.parametrize(("answer", "code"), CODES.items())
def test_the_gates_answers(answer: WriteAnswer, code: ExceptionCode | None) -> None:
    """Every answer has its code; only what is taken counts as asked for."""
    one, gate = bank(entry(P, 0))
    gate.answer = answer
    assert write(one, 0, "0001") is code
    assert bool(one.asked) == (answer is WriteAnswer.TAKEN)


def test_read_only_comes_before_the_stations_own_refusal() -> None:
    """01 before 02; a busy gate changes nothing of a refusal."""
    one, gate = bank(entry(P, 0))
    gate.answer = WriteAnswer.READ_ONLY
    assert write(one, 9, "0001") is ROLE
    gate.answer = WriteAnswer.RATE_LIMITED
    assert write(one, 9, "0001") is ADDRESS


# -- registers of bits -------------------------------------------------------------------------------------------------


def flags(**more: Any) -> tuple[ListBank, FakeGate]:
    """Register 0: `on` (reads 1) at bit 0, `armed` (reads 0) at bit 15, `v` (reads 1) at bit 4, read-only."""
    return bank(entry(ON, 0, DataType.BOOL, bit=0, **more), entry(ARMED, 0, DataType.BOOL, bit=15, **more),
                entry(V, 0, DataType.BOOL, bit=4))


@pytest.mark.parametrize(("data", "ids", "values"), [
    ("0011", (), ()), ("8011", (ARMED,), (1.0,)), ("0010", (ON,), (0.0,)), ("8010", (ON, ARMED), (0.0, 1.0))])
def test_a_register_of_bits_asks_for_what_changes(data: str, ids: tuple[int, ...], values: tuple[float, ...]) -> None:
    """Writing back what was read commands nothing; a changed bit commands itself alone."""
    one, gate = flags()
    assert one.read_registers(HOLDING, 0, 1, OPERATOR) == b"\0\x11"
    assert write(one, 0, data) is None
    assert (gate.writes[0].ids, gate.writes[0].values) == (ids, values)


def test_what_was_asked_before_is_asked_again() -> None:
    """On and at once off again, before the grid has followed, ends off."""
    one, gate = flags()
    assert write(one, 0, "8011") is None
    assert write(one, 0, "0011") is None
    assert (gate.writes[1].ids, gate.writes[1].values) == ((ARMED,), (0.0,))


def test_a_bit_of_a_higher_role_may_be_written_back_unchanged() -> None:
    """Also after somebody of that role has asked for it: the operator's own bits of the word stay writable."""
    one, gate = bank(entry(ON, 0, DataType.BOOL, bit=0, role_write=Role.ENGINEER),
                     entry(ARMED, 0, DataType.BOOL, bit=15))
    assert write(one, 0, "0001", ENGINEER) is None
    assert write(one, 0, "0000", ENGINEER) is None
    assert write(one, 0, "8001") is None
    assert (gate.writes[-1].ids, gate.writes[-1].values) == ((ARMED,), (1.0,))
    assert write(one, 0, "8000") is ROLE


@pytest.mark.parametrize(("data", "peer", "code"), [
    ("0001", OPERATOR, ADDRESS), ("0013", OPERATOR, VALUE), ("0011", OBSERVER, ROLE)])
def test_refusals_of_bits(data: str, peer: Peer, code: ExceptionCode) -> None:
    """Changing a read-only bit, setting one that nothing maps, and writing without the role, even no change."""
    one, gate = flags()
    assert write(one, 0, data, peer) is code
    assert gate.writes[0].refusal


@pytest.mark.parametrize(("and_mask", "or_mask", "ids", "values"), [
    (0xFFFE, 0x0000, (ON,), (0.0,)), (0x7FFF, 0x8000, (ARMED,), (1.0,)), (0xFFFF, 0xFFFF, (), ()),
    (0x7FFE, 0x8011, (ARMED,), (1.0,))])
def test_masks_of_bits(and_mask: int, or_mask: int, ids: tuple[int, ...], values: tuple[float, ...]) -> None:
    """Function 22 says something of the bits that its and-mask clears."""
    one, gate = flags()
    assert one.mask_register(0, (and_mask, or_mask), OPERATOR, 0, b"") is None
    assert (gate.writes[0].ids, gate.writes[0].values) == (ids, values)


def test_masks_of_numbers() -> None:
    """Worked out from the present value; not from half of one, nor where it is unknown."""
    points = database()
    publish(points, [0x12, math.nan, 0.0, 0.0, 1.0], 2_000_000)
    gate = FakeGate()
    one = ListBank("rtu", [entry(P, 0), entry(Q, 1), entry(Q, 2, DataType.INT32)], points, gate)
    assert one.mask_register(0, (0xF2, 0x25), OPERATOR, 0, b"") is None
    assert gate.writes[0].values == (float(0x12 & 0xF2 | 0x25 & ~0xF2 & 0xFFFF),)
    assert one.mask_register(1, (0xFF, 0), OPERATOR, 0, b"") is FAILURE
    assert one.mask_register(2, (0xFF, 0), OPERATOR, 0, b"") is ADDRESS
    assert one.mask_register(8, (0xFF, 0), OPERATOR, 0, b"") is ADDRESS


def test_quality_and_text_are_not_written() -> None:
    """02, whatever the value."""
    one, _ = bank(entry(P, 0, shows=Quality.QUALITY), entry(P, 1, DataType.STRING, text="ab"))
    assert write(one, 0, "0001") is ADDRESS
    assert write(one, 1, "0001") is ADDRESS
