"""A point list in the forms that others read: a Markdown table for people, a tag list for Kepware's OPC server."""

from __future__ import annotations

import csv
import io

from gateways.modbus.bank import BIT_TABLES
from gateways.pointlist.address import modicon, place_of
from gateways.pointlist.model import Access, DataType, Entry, PointList, WordOrder
from gateways.pointlist.writer import number

_MARKDOWN = ("tag", "unit", "address", "type", "scale", "units", "range", "access", "description")

#: Header of a tag list as the server itself exports it (Kepware, "CSV Import and Export" of KEPServerEX).
KEPWARE = ("Tag Name", "Address", "Data Type", "Respect Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low",
           "Raw High", "Scaled Low", "Scaled High", "Scaled Data Type", "Clamp Low", "Clamp High", "Eng Units",
           "Description", "Negate Value")
_KEPWARE_TYPES = {DataType.BOOL: "Boolean", DataType.INT16: "Short", DataType.UINT16: "Word", DataType.INT32: "Long",
                  DataType.UINT32: "DWord", DataType.INT64: "LLong", DataType.UINT64: "QWord",
                  DataType.FLOAT32: "Float", DataType.FLOAT64: "Double", DataType.STRING: "String"}
_KEPWARE_BITFIELDS = {1: "Word", 2: "DWord", 4: "QWord"}
_KEPWARE_ACCESS = {Access.READ: "RO", Access.READ_WRITE: "R/W", Access.WRITE: "WO"}
SCAN_MS = 1_000
#: Longest string of that driver, bytes.
_KEPWARE_STRING = 240


def to_markdown(points: PointList) -> str:
    """A table for a manual or a review, addresses in all three notations."""
    lines = [_row(_MARKDOWN), _row(["---"] * len(_MARKDOWN))]
    lines += [_row(_cells(entry)) for entry in points.entries]
    return "\n".join(lines) + "\n"


def _row(cells: object) -> str:
    assert isinstance(cells, list | tuple)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _cells(entry: Entry) -> list[str]:
    place = str(place_of(entry)) + ("" if entry.bit is None else f" bit {entry.bit}")
    kind = f"{entry.type.value} {entry.order.value}" if entry.registers > 1 else entry.type.value
    scale = number(entry.scale) + (f" {entry.offset:+g}" if entry.offset else "")
    ends = [number(entry.low), number(entry.high)]
    limits = " to ".join(end or "..." for end in ends) if any(ends) else ""
    about = entry.description or " ".join(entry.bits) or entry.text
    return [entry.tag, str(entry.unit), place, kind, scale, entry.units, limits, entry.access.value, about]


def to_kepware(points: PointList) -> str:
    """A tag list that Kepware's server imports under a Modbus device: six-digit addresses, linear scaling.

    It has one device per unit identifier and one word order per device, so the list of a single unit and a single
    order fits as it is; for others `kepware_notes` says what to set by hand.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(KEPWARE)
    writer.writerows(_kepware_row(entry) for entry in points.entries)
    return text.getvalue()


def kepware_notes(points: PointList) -> tuple[str, ...]:
    """What a tag list cannot say and has to be set in the server's device properties."""
    notes = ["set Zero-Based Addressing on (400001 is address 0 on the wire), and Zero-Based Bit Addressing on"]
    units = sorted({entry.unit for entry in points.entries})
    if len(units) > 1:
        notes.append(f"units {', '.join(map(str, units))}: one device each; split the list by unit before importing")
    orders = sorted({entry.order.value for entry in points.entries if entry.registers > 1
                     and entry.type is not DataType.STRING})
    low_first = "ABCD: First Word Low off; CDAB: on; BADC and DCBA: Modbus Byte Order off too"
    if len(orders) > 1 or (orders and orders != [WordOrder.ABCD.value]):
        notes.append(f"word orders {', '.join(orders)}: one device each ({low_first})")
    return tuple(notes)


def _kepware_row(entry: Entry) -> list[str]:
    kind = _KEPWARE_BITFIELDS[entry.registers] if entry.type is DataType.BITFIELD else _KEPWARE_TYPES[entry.type]
    is_scaled = entry.scale != 1 or entry.offset != 0
    scaling = [""] * 7 + ["0"]
    if is_scaled:
        ends = (number(entry.offset), number(1000 * entry.scale + entry.offset))
        scaling = ["Linear", "0", "1000", *ends, "Double", "0", "0"]
    return [_kepware_name(entry.tag), _kepware_address(entry), kind, "1", _KEPWARE_ACCESS[entry.access], str(SCAN_MS),
            *(scaling if is_scaled else [""] * 8), entry.units, entry.description[:255], ""]


def _kepware_address(entry: Entry) -> str:
    address = modicon(entry.table, entry.address)
    if entry.table in BIT_TABLES:
        return address
    if entry.bit is not None:
        return f"{address}.{entry.bit:02d}"
    if entry.type is DataType.STRING:  # length in bytes, high byte of each register first
        size = min(2 * entry.registers, _KEPWARE_STRING)
        return f"{address}.{size}{'L' if entry.order in (WordOrder.BADC, WordOrder.DCBA) else 'H'}"
    return address


def _kepware_name(tag: str) -> str:
    """A dot parts groups and may stay; a name may not begin with an underscore or hold a quote."""
    parts = [part.replace('"', "'") for part in tag.split(".") if part]
    return ".".join(f"x{part}" if part.startswith("_") else part for part in parts)
