"""What one entry must keep by itself, whatever file or program it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterator

from gateways.modbus.bank import BIT_TABLES
from gateways.modbus.pdu import MAX_READ_REGISTERS, MAX_WRITE_REGISTERS
from gateways.pointlist.address import ADDRESSES, SHORT, WRITABLE_TABLES, Place
from gateways.pointlist.codec import BITFIELD_REGISTERS, REGISTERS, encode, raw_limits
from gateways.pointlist.model import Access, CommLoss, DataType, Entry, Quality

FLOATS = (DataType.FLOAT32, DataType.FLOAT64)
#: Types that are no number: nothing to scale, no range.
_PLAIN = (DataType.BOOL, DataType.STRING, DataType.BITFIELD)

Fault = tuple[str, str]


def faults(entry: Entry) -> Iterator[Fault]:
    """(column, what is wrong and what would be accepted) of everything that an entry breaks."""
    yield from _shape(entry)
    yield from _parts(entry)
    if entry.scale == 0 or not (math.isfinite(entry.scale) and math.isfinite(entry.offset)):
        yield "scale", (f"found scale {entry.scale:g}, offset {entry.offset:g}; expected a scale other than 0: "
                        "engineering value = raw x scale + offset")
        return  # nothing below can be worked out
    yield from _scaling(entry)
    yield from _access(entry)
    yield from _comm_loss(entry)


def writable(entry: Entry) -> bool:
    """Whether masters may write it."""
    return entry.access is not Access.READ


def _shape(entry: Entry) -> Iterator[Fault]:
    if entry.table in BIT_TABLES:
        if entry.type is not DataType.BOOL:
            yield "type", f"found {entry.type.value} in {SHORT[entry.table]}, whose places are bits; expected bool"
        if entry.bit is not None:
            yield "bit", f"found {entry.bit} in {SHORT[entry.table]}, whose places are bits already; expected nothing"
    elif entry.type is DataType.BOOL and entry.bit is None:
        yield "bit", "found nothing; a bool in a register needs its bit, 0 (least significant) to 15"
    elif entry.type is not DataType.BOOL and entry.bit is not None:
        yield "bit", f"found {entry.bit} with type {entry.type.value}; only a bool has a bit"
    yield from _size(entry)


def _size(entry: Entry) -> Iterator[Fault]:
    limit = MAX_READ_REGISTERS if entry.access is Access.READ else MAX_WRITE_REGISTERS
    if entry.type is DataType.STRING:
        if not 1 <= entry.registers <= limit:
            yield "registers", f"found {entry.registers}; one request holds at most {limit} registers"
    elif entry.type is DataType.BITFIELD:
        if entry.registers not in BITFIELD_REGISTERS:
            yield "registers", f"found {entry.registers}; a bitfield has 1, 2 or 4 registers"
    elif entry.registers != REGISTERS[entry.type]:
        yield "registers", f"found {entry.registers}; {entry.type.value} has {REGISTERS[entry.type]}"
    last = entry.address + entry.registers - 1
    if last >= ADDRESSES:
        yield "address", (f"{entry.type.value} of {entry.registers} registers would end at {last}, past the last "
                          f"address {Place(entry.table, ADDRESSES - 1)}; expected "
                          f"{Place(entry.table, ADDRESSES - entry.registers)} or less")


def _parts(entry: Entry) -> Iterator[Fault]:
    """Bits and text."""
    if entry.bits and entry.type is not DataType.BITFIELD:
        yield "bits", f"found points for the bits of a {entry.type.value}; only a bitfield has them"
    elif len(entry.bits) > 16 * entry.registers:
        yield "bits", (f"found {len(entry.bits)} points; {entry.registers} register(s) hold {16 * entry.registers}, "
                       f"a bitfield at most {16 * BITFIELD_REGISTERS[-1]}")
    size = len(entry.text.encode())
    if entry.text and entry.type is not DataType.STRING:
        yield "text", f"found text with type {entry.type.value}; only a string has it"
    elif size > 2 * entry.registers and entry.type is DataType.STRING:
        yield "text", f"found {size} bytes; {entry.registers} registers hold {2 * entry.registers}"


def _scaling(entry: Entry) -> Iterator[Fault]:
    if entry.low > entry.high:
        yield "min", f"found min {entry.low:g} above max {entry.high:g}; expected min <= max"
    if entry.type in _PLAIN and (entry.scale != 1 or entry.offset != 0):
        yield "scale", f"found a scale or offset with type {entry.type.value}, which is no scaled number"
    if entry.type in (DataType.STRING, DataType.BITFIELD):
        if not (math.isnan(entry.low) and math.isnan(entry.high)):
            yield "min", f"found min or max with type {entry.type.value}, which has no range"
        return
    for column, value in (("min", entry.low), ("max", entry.high)):
        if not math.isnan(value) and encode(value, entry) is None:
            yield column, f"found {value:g}{_beyond(entry)}"


def _beyond(entry: Entry) -> str:
    if entry.type in FLOATS:
        return f"; {entry.type.value} cannot hold it"
    low, high = held(entry)
    return (f"; {entry.type.value} at scale {entry.scale:g}, offset {entry.offset:g} holds {low:.10g} to {high:.10g}: "
            "expected a larger type, a larger scale or a smaller range")


def held(entry: Entry) -> tuple[float, float]:
    """Least and greatest engineering value of an integer entry, its not-a-value left out."""
    ends = sorted(raw * entry.scale + entry.offset for raw in raw_limits(entry))
    return ends[0], ends[1]


def _access(entry: Entry) -> Iterator[Fault]:
    if not writable(entry):
        if entry.interlock:
            yield "interlock", "found one on an entry of access R; an interlock guards writes: expected access RW or W"
        return
    if entry.table not in WRITABLE_TABLES:
        yield "access", (f"found {entry.access.value} in {SHORT[entry.table]}, which masters cannot write; expected R, "
                         "or table co or hr")
    if entry.type is DataType.STRING or entry.bits:
        yield "access", (f"found {entry.access.value} on a {entry.type.value}; expected R" + (
            " (for bits that can be written, one row of type bool each)" if entry.bits else ""))
    if entry.shows is Quality.QUALITY:
        yield "access", f"found {entry.access.value} on an entry that shows quality; expected R"
    if entry.interlock.removeprefix("!") == entry.tag:
        yield "interlock", "found the entry's own tag; expected another entry's"


def _comm_loss(entry: Entry) -> Iterator[Fault]:
    if entry.on_comm_loss is CommLoss.HOLD:
        return
    if not writable(entry):
        yield "on_comm_loss", f"found {entry.on_comm_loss.value} on an entry of access R; nothing is asked through it"
    elif entry.on_comm_loss is CommLoss.VALUE:
        value = entry.comm_loss_value
        if math.isnan(value) or value < entry.low or value > entry.high:
            yield "on_comm_loss", f"found {value:g}; expected a value within min {entry.low:g} and max {entry.high:g}"
