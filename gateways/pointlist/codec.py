"""One value to registers and back, by the rules of its point-list entry.

Engineering value = raw x scale + offset.  Integers are rounded half to even.  The bytes of a number ABCDEFGH (A the
most significant) lie as follows, two bytes a register, high byte first on the wire:

========  ============  ===================  ==============================
order     16 bits (AB)  32 bits (ABCD)       64 bits
========  ============  ===================  ==============================
``ABCD``  AB            AB CD                AB CD EF GH (Modbus's own)
``CDAB``  AB            CD AB                GH EF CD AB (words reversed)
``BADC``  BA            BA DC                BA DC FE HG (bytes swapped)
``DCBA``  BA            DC BA                HG FE DC BA (little-endian)
========  ============  ===================  ==============================

A string is not a number: its registers stay in sequence, and BADC and DCBA swap the two characters of each.  A bool
in a register is a bit of the register as it is on the wire, whatever the order.

Every number type but `bitfield` gives up one raw value to say "not a value" (SunSpec Device Information Model
Specification, section 6.4: 0x8000, 0xFFFF, NaN …): such a raw value is never made from a number and reads as NaN.

Values are float64 in the run, so raw values of int64 and uint64 beyond 2**53 keep 53 bits only: a counter of that
size does not lose its order of magnitude, but its last digits.
"""

from __future__ import annotations

import math
import struct
import sys

from gateways.modbus.bank import BIT_TABLES
from gateways.pointlist.model import DataType, Entry, WordOrder

REGISTERS: dict[DataType, int] = {
    DataType.BOOL: 1, DataType.INT16: 1, DataType.UINT16: 1, DataType.INT32: 2, DataType.UINT32: 2,
    DataType.INT64: 4, DataType.UINT64: 4, DataType.FLOAT32: 2, DataType.FLOAT64: 4,
    DataType.STRING: 1, DataType.BITFIELD: 1,
}
"""Registers that a type takes; the fewest for `string` (1 to 125) and `bitfield` (1, 2 or 4)."""

BITFIELD_REGISTERS = (1, 2, 4)

_SIGNED = (DataType.INT16, DataType.INT32, DataType.INT64)
_FLOATS = {DataType.FLOAT32: ">f", DataType.FLOAT64: ">d"}
_NAN = {DataType.FLOAT32: bytes.fromhex("7fc00000"), DataType.FLOAT64: bytes.fromhex("7ff8000000000000")}
FLOAT32_MAX: float = struct.unpack(">f", bytes.fromhex("7f7fffff"))[0]


def raw_limits(entry: Entry) -> tuple[float, float]:
    """Least and greatest raw number (float64) that a number's type holds, its not-a-value left out.

    Of a 64-bit integer, the last float64 before the bound: values come as float64.
    """
    if entry.type in _FLOATS:
        most = FLOAT32_MAX if entry.type is DataType.FLOAT32 else sys.float_info.max
        return -most, most
    bits = 16 * entry.registers
    if entry.type in _SIGNED:
        end = 2.0 ** (bits - 1)
        return (1 - end, end - 1) if bits < 64 else (math.nextafter(-end, 0), math.nextafter(end, 0))
    end = 2.0 ** bits
    if bits == 64:
        return 0.0, math.nextafter(end, 0)
    return 0.0, end - (1 if entry.type is DataType.BITFIELD else 2)


def ordered(data: bytes, order: WordOrder) -> bytes:
    """The bytes of a number put from ABCD into `order`, or back (each order is its own inverse)."""
    if order in (WordOrder.BADC, WordOrder.DCBA):
        data = _swapped(data)
    if order in (WordOrder.CDAB, WordOrder.DCBA):
        data = b"".join(data[i:i + 2] for i in range(len(data) - 2, -2, -2))
    return data


def encode(value: float, entry: Entry) -> bytes | None:
    """The 2 x registers bytes that show an engineering value; None: the type cannot hold it.

    A float holds NaN, an integer does not; none holds an infinity, or a number that would become one.  A bool is true
    for any raw value but 0 and gives its register with no other bit set (one byte, 0 or 1, in a bit table).  A string
    gives its constant text, whatever `value` is.
    """
    if entry.type is DataType.STRING:
        return _text(entry)
    raw = (value - entry.offset) / entry.scale
    if entry.type is DataType.BOOL:
        return None if math.isnan(raw) else _bool(raw != 0, entry)
    if math.isnan(raw):
        return sentinel(entry) if entry.type in _FLOATS else None
    low, high = raw_limits(entry)
    if entry.type not in _FLOATS and math.isfinite(raw):
        raw = round(raw)
    return _number(raw, entry) if low <= raw <= high else None


def encode_clamped(value: float, entry: Entry) -> bytes | None:
    """Like `encode`, with the nearest raw value that the type holds (`raw_limits`); None for NaN in a type without."""
    data = encode(value, entry)
    raw = (value - entry.offset) / entry.scale
    if data is not None or math.isnan(raw):
        return data
    low, high = raw_limits(entry)
    return _number(high if raw > 0 else low, entry)


def decode(data: bytes, entry: Entry) -> float:
    """The engineering value that 2 x registers bytes (or a bit table's one byte) show.

    NaN for the type's not-a-value and for a string.  A bitfield of all ones is all ones.
    """
    if entry.type is DataType.STRING or (entry.type is not DataType.BITFIELD and data == sentinel(entry)):
        return math.nan
    if entry.type is DataType.BOOL:
        raw: float = int.from_bytes(data, "big") >> (entry.bit or 0) & 1 if entry.bit is not None else any(data)
    elif entry.type in _FLOATS:
        raw = struct.unpack(_FLOATS[entry.type], ordered(data, entry.order))[0]
    else:
        raw = int.from_bytes(ordered(data, entry.order), "big", signed=entry.type in _SIGNED)
    return raw * entry.scale + entry.offset


def sentinel(entry: Entry) -> bytes | None:
    """The bytes that say "not a value"; None for a bool, which has none.

    All ones for a bitfield too, although a bitfield may hold them as a value: leave its highest bit unused, or choose
    an exception for bad quality, where the two must be told apart.
    """
    if entry.type is DataType.BOOL:
        return None
    if entry.type is DataType.STRING:
        return bytes(2 * entry.registers)
    if entry.type in _NAN:
        return ordered(_NAN[entry.type], entry.order)
    size = 2 * entry.registers
    return ordered(b"\x80" + bytes(size - 1) if entry.type in _SIGNED else b"\xff" * size, entry.order)


def _swapped(data: bytes) -> bytes:
    swapped = bytearray(len(data))
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return bytes(swapped)


def _number(raw: float, entry: Entry) -> bytes:
    if entry.type in _FLOATS:
        return ordered(struct.pack(_FLOATS[entry.type], raw), entry.order)
    return ordered(int(raw).to_bytes(2 * entry.registers, "big", signed=entry.type in _SIGNED), entry.order)


def _bool(value: bool, entry: Entry) -> bytes:
    if entry.table in BIT_TABLES:
        return bytes([value])
    return (value << (entry.bit or 0)).to_bytes(2, "big")


def _text(entry: Entry) -> bytes:
    data = entry.text.encode("utf-8")[:2 * entry.registers].ljust(2 * entry.registers, b"\x00")
    return _swapped(data) if entry.order in (WordOrder.BADC, WordOrder.DCBA) else data
