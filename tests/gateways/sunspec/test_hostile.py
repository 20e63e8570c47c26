"""Any client, any bytes: never an exception, never a run point asked for beyond its range."""

from __future__ import annotations

import struct
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from gateways.modbus.bank import ExceptionCode, Table
from tests.gateways.sunspec.rig import BATTERY, PV, Rig


@cache
def _rig(devices: str) -> Rig:
    return Rig(devices, heartbeat_s=3, models=[1, 103, 120, 121, 122, 123, 124, *range(701, 716)])


VALUES = st.one_of(st.sampled_from([0, 1, 2, 3, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF]), st.integers(0, 0xFFFF))
WRITES = st.lists(st.tuples(st.integers(0, 1000), st.lists(VALUES, min_size=1, max_size=12), st.integers(0, 4_000_000)),
                  min_size=1, max_size=20)


@settings(max_examples=120, deadline=None)
@given(st.sampled_from([PV, BATTERY]), WRITES)
def test_no_sequence_of_writes_raises(devices: str, writes: list[tuple[int, list[int], int]]) -> None:
    """Writes of any registers anywhere, with time passing in between; the whole map can be read after each."""
    rig = _rig(devices)
    writable = sorted(rig.unit.map.address_of(image.model, path) for image in rig.unit.map.images
                      for path, place in image.places.items() if place.point.writable)
    points = rig.simulation.points.points
    for where, registers, later_us in writes:
        address = writable[where % len(writable)] if where % 5 else 39_990 + where
        answer = rig.unit.write_registers(address, struct.pack(f">{len(registers)}H", *registers), rig.peer,
                                          rig.simulation.now_us, b"")
        assert answer is None or isinstance(answer, ExceptionCode)
        request = rig.gate.requests.pop()
        assert request.refusal == "" or request.ids == ()
        for point, value in zip(request.ids, request.values, strict=True):
            if answer is None and value == value:
                assert points[point].low <= value <= points[point].high
        rig.gate.requests.clear()
        rig.advance_s(later_us / 1e6)
        own_us = rig.unit.next_us()
        assert own_us is None or own_us > rig.simulation.now_us
        whole = rig.unit.map.read(rig.unit.map.start, rig.unit.map.end - rig.unit.map.start, rig.unit._refresh)
        assert isinstance(whole, bytes)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 65_535), st.integers(1, 125))
def test_any_read_is_whole_or_refused(address: int, count: int) -> None:
    """Inside the map 2 × count bytes, and the same as the map's; else 02."""
    rig = _rig(PV)
    answer = rig.unit.read_registers(Table.HOLDING_REGISTERS, address, count, rig.peer)
    start, end = rig.unit.map.start, rig.unit.map.end
    if start <= address and address + count <= end:
        whole = rig.unit.map.read(start, end - start, rig.unit._refresh)
        assert isinstance(whole, bytes)
        assert answer == whole[2 * (address - start):2 * (address - start + count)]
    else:
        assert answer is ExceptionCode.ILLEGAL_DATA_ADDRESS


@settings(max_examples=100, deadline=None)
@given(st.integers(39_990, 41_200), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_no_mask_raises(address: int, and_mask: int, or_mask: int) -> None:
    """Function 22 anywhere."""
    rig = _rig(PV)
    answer = rig.unit.mask_register(address, (and_mask, or_mask), rig.peer, rig.simulation.now_us, b"")
    assert answer is None or isinstance(answer, ExceptionCode)
    rig.gate.requests.clear()
