"""Golden bytes of every type and order, and round trips."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.modbus.bank import Table
from gateways.pointlist.codec import REGISTERS, decode, encode, encode_clamped, ordered, raw_limits, sentinel
from gateways.pointlist.model import DataType, Entry, WordOrder

NUMBERS = [kind for kind in DataType if kind not in (DataType.BOOL, DataType.STRING)]


def entry(kind: DataType, order: str = "ABCD", registers: int | None = None, **more: object) -> Entry:
    """A holding register entry of a type."""
    return Entry("t", "p", 1, Table.HOLDING_REGISTERS, 0, kind, registers or REGISTERS[kind],  # type: ignore[arg-type]
                 WordOrder(order), **more)


#: Raw value by type, and its bytes in the four orders.
GOLDEN = {
    (DataType.INT16, -2): ("fffe", "fffe", "feff", "feff"),
    (DataType.UINT16, 0x1234): ("1234", "1234", "3412", "3412"),
    (DataType.INT32, -2): ("fffffffe", "fffeffff", "fffffeff", "feffffff"),
    (DataType.UINT32, 0x12345678): ("12345678", "56781234", "34127856", "78563412"),
    (DataType.INT64, -2): ("fffffffffffffffe", "fffeffffffffffff", "fffffffffffffeff", "feffffffffffffff"),
    (DataType.UINT64, 0x0012345678ABCDE0): ("0012345678abcde0", "cde078ab34560012", "12005634ab78e0cd",
                                            "e0cdab7856341200"),
    (DataType.FLOAT32, 123.456): ("42f6e979", "e97942f6", "f64279e9", "79e9f642"),
    (DataType.FLOAT64, 123.456): ("405edd2f1a9fbe77", "be771a9fdd2f405e", "5e402fdd9f1a77be", "77be9f1a2fdd5e40"),
    (DataType.BITFIELD, 0x8001): ("8001", "8001", "0180", "0180"),
}


@pytest.mark.parametrize(("kind", "raw"), GOLDEN)
def test_golden_bytes(kind: DataType, raw: float) -> None:
    """Every type lies in every order as the table says, and is read back."""
    for order, expected in zip(WordOrder, GOLDEN[kind, raw], strict=True):
        found = encode(raw, entry(kind, order.value))
        assert found is not None
        assert found.hex() == expected, order
        assert decode(found, entry(kind, order.value)) == pytest.approx(raw, rel=1e-7)


def test_every_type_has_golden_bytes() -> None:
    """No number type is missing in the table above."""
    assert {kind for kind, _ in GOLDEN} == set(NUMBERS)


@pytest.mark.parametrize(("order", "expected"), [("ABCD", "47726964"), ("CDAB", "47726964"), ("BADC", "72476469"),
                                                 ("DCBA", "72476469")])
def test_a_string_keeps_its_registers_in_sequence(order: str, expected: str) -> None:
    """Orders swap a string's characters but never its registers; it is padded with NUL and has no value."""
    assert encode(7.0, entry(DataType.STRING, order, 2, text="Grid")) == bytes.fromhex(expected)
    assert encode(0.0, entry(DataType.STRING, "ABCD", 3, text="Grid")) == b"Grid\0\0"
    assert math.isnan(decode(b"Grid", entry(DataType.STRING, order, 2)))


@pytest.mark.parametrize("order", ["ABCD", "CDAB", "BADC", "DCBA"])
def test_a_bool_is_its_bit_whatever_the_order(order: str) -> None:
    """Bit 9 of the register on the wire."""
    flag = entry(DataType.BOOL, order, bit=9)
    assert encode(1.0, flag) == b"\x02\x00"
    assert decode(b"\x02\x00", flag) == 1.0
    assert decode(b"\xfd\xff", flag) == 0.0


def test_a_bool_has_no_not_a_value() -> None:
    """NaN cannot be shown by a bool, nor by one of a bit table."""
    coil = Entry("t", "p", 1, Table.COILS, 0, DataType.BOOL, 1)
    assert encode(2.5, coil) == b"\x01"
    assert (decode(b"\x01", coil), decode(b"\x00", coil)) == (1.0, 0.0)
    assert encode(math.nan, coil) is None
    assert sentinel(coil) is None


@pytest.mark.parametrize(("kind", "expected"), [
    (DataType.INT16, "8000"), (DataType.UINT16, "ffff"), (DataType.INT32, "80000000"), (DataType.UINT32, "ffffffff"),
    (DataType.INT64, "8000000000000000"), (DataType.UINT64, "ffffffffffffffff"), (DataType.FLOAT32, "7fc00000"),
    (DataType.FLOAT64, "7ff8000000000000"), (DataType.BITFIELD, "ffff")])
def test_not_a_value_of_every_number(kind: DataType, expected: str) -> None:
    """SunSpec's sentinels, which read as NaN (but for a bitfield of all ones)."""
    found = sentinel(entry(kind))
    assert found == bytes.fromhex(expected)
    assert math.isnan(decode(found, entry(kind))) == (kind is not DataType.BITFIELD)
    swapped = sentinel(entry(kind, "DCBA"))
    assert swapped is not None
    assert math.isnan(decode(swapped, entry(kind, "DCBA"))) == (kind is not DataType.BITFIELD)


@pytest.mark.parametrize(("value", "raw"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (2.4999999, 2)])
def test_integers_are_rounded_half_to_even(value: float, raw: int) -> None:
    """As IEEE 754 does by default."""
    assert encode(value, entry(DataType.INT16)) == raw.to_bytes(2, "big", signed=True)


def test_scale_and_offset() -> None:
    """Engineering = raw x scale + offset, both ways, with a negative scale too."""
    assert encode(230.4, entry(DataType.UINT16, scale=0.1)) == (2304).to_bytes(2, "big")
    assert decode((2304).to_bytes(2, "big"), entry(DataType.UINT16, scale=0.1)) == pytest.approx(230.4)
    assert encode(-10.0, entry(DataType.INT16, scale=-0.5, offset=20.0)) == (60).to_bytes(2, "big")


@pytest.mark.parametrize(("kind", "value"), [
    (DataType.INT16, 32768.0), (DataType.INT16, -32768.0), (DataType.UINT16, 65535.0), (DataType.UINT16, -1.0),
    (DataType.INT32, 2.0 ** 31), (DataType.UINT32, 2.0 ** 32 - 1), (DataType.INT64, 2.0 ** 63),
    (DataType.UINT64, 2.0 ** 64), (DataType.FLOAT32, 3.5e38), (DataType.FLOAT32, math.inf), (DataType.INT32, math.nan),
    (DataType.INT16, -math.inf), (DataType.BITFIELD, 65536.0)])
def test_what_a_type_cannot_hold(kind: DataType, value: float) -> None:
    """Too large, infinite, NaN in an integer, and the raw value that means not-a-value."""
    assert encode(value, entry(kind)) is None


@pytest.mark.parametrize(("kind", "low", "high"), [
    (DataType.INT16, "8001", "7fff"), (DataType.UINT16, "0000", "fffe"), (DataType.UINT32, "00000000", "fffffffe"),
    (DataType.INT64, "8000000000000400", "7ffffffffffffc00"), (DataType.FLOAT32, "ff7fffff", "7f7fffff")])
def test_clamping_avoids_not_a_value(kind: DataType, low: str, high: str) -> None:
    """The nearest raw value that means a number; of 64 bits the nearest that is a float64."""
    assert encode_clamped(-1e300, entry(kind)) == bytes.fromhex(low)
    assert encode_clamped(math.inf, entry(kind)) == bytes.fromhex(high)
    assert encode_clamped(1.0, entry(kind)) == encode(1.0, entry(kind))


def test_nan_is_not_clamped() -> None:
    """There is no nearest number to NaN."""
    assert encode_clamped(math.nan, entry(DataType.INT16)) is None
    assert encode_clamped(math.nan, entry(DataType.FLOAT32)) == bytes.fromhex("7fc00000")


@given(st.sampled_from(NUMBERS), st.sampled_from(list(WordOrder)), st.data())
def test_raw_values_come_back(kind: DataType, order: WordOrder, data: st.DataObject) -> None:
    """Every raw value that a type holds and a float64 can be is read back as it was."""
    one = entry(kind, order.value)
    low, high = raw_limits(one)
    if kind in (DataType.FLOAT32, DataType.FLOAT64):
        value = data.draw(st.floats(low, high, width=32 if kind is DataType.FLOAT32 else 64))
    else:
        value = float(data.draw(st.integers(int(low), int(high))))
        value = min(max(value, low), high)
    found = encode(value, one)
    assert found is not None
    assert len(found) == 2 * one.registers
    assert decode(found, one) == value


@given(st.floats(-3000, 3000), st.sampled_from([0.1, 0.01, -0.5, 3.0]), st.floats(-100, 100))
def test_scaled_values_come_back_within_half_a_step(value: float, scale: float, offset: float) -> None:
    """The price of an integer is half its scale."""
    one = entry(DataType.INT32, "CDAB", scale=scale, offset=offset)
    found = encode(value, one)
    assert found is not None
    assert abs(decode(found, one) - value) <= abs(scale) / 2 * (1 + 1e-9)


@given(st.binary(min_size=2, max_size=8).filter(lambda data: len(data) % 2 == 0), st.sampled_from(list(WordOrder)))
def test_an_order_undoes_itself(data: bytes, order: WordOrder) -> None:
    """Putting bytes in order twice leaves them as they were."""
    assert ordered(ordered(data, order), order) == data
