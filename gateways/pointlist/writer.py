"""A point list back to the canonical CSV, so that reading it gives the same list."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable

from gateways.peer import Role
from gateways.pointlist.address import SHORT, Base, written
from gateways.pointlist.columns import COLUMNS
from gateways.pointlist.model import BadQuality, CommLoss, DataType, Entry, Overflow, PointList, Quality, WordOrder

#: Columns that every list shows; the others only where an entry differs from the default.
_ALWAYS = ("tag", "unit", "table", "address", "type", "access")


def to_csv(points: PointList, base: Base = Base.ZERO) -> str:
    """The canonical CSV with addresses in `base`; modicon is written with six digits throughout."""
    rows = [{name: cell(entry, base) for name, cell in CELLS.items()} for entry in points.entries]
    names = [name for name in COLUMNS if name in CELLS and (name in _ALWAYS or any(row[name] for row in rows))]
    text = io.StringIO()
    text.write(f"# base: {base.value}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return text.getvalue()


def number(value: float) -> str:
    """The shortest text that reads back as the same number; "" for NaN."""
    if math.isnan(value):
        return ""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _unless(value: str, default: str) -> str:
    return "" if value == default else value


def _comm_loss(entry: Entry) -> str:
    if entry.on_comm_loss is CommLoss.VALUE:
        return number(entry.comm_loss_value)
    return _unless(entry.on_comm_loss.value, CommLoss.HOLD.value)


def _registers(entry: Entry) -> str:
    return str(entry.registers) if entry.type in (DataType.STRING, DataType.BITFIELD) else ""


#: The text of every column but `base`; "" is the default.
CELLS: dict[str, Callable[[Entry, Base], str]] = {
    "tag": lambda e, _: e.tag,
    "point": lambda e, _: _unless(e.point, e.tag),
    "feedback": lambda e, _: e.feedback,
    "unit": lambda e, _: str(e.unit),
    "table": lambda e, _: SHORT[e.table],
    "address": written,
    "type": lambda e, _: e.type.value,
    "registers": lambda e, _: _registers(e),
    "order": lambda e, _: _unless(e.order.value, WordOrder.ABCD.value),
    "bit": lambda e, _: "" if e.bit is None else str(e.bit),
    "bits": lambda e, _: " ".join(e.bits),
    "text": lambda e, _: e.text,
    "scale": lambda e, _: _unless(number(e.scale), "1"),
    "offset": lambda e, _: _unless(number(e.offset), "0"),
    "units": lambda e, _: e.units,
    "min": lambda e, _: number(e.low),
    "max": lambda e, _: number(e.high),
    "on_overflow": lambda e, _: _unless(e.overflow.value, Overflow.EXCEPTION.value),
    "access": lambda e, _: e.access.value,
    "bad_quality": lambda e, _: _unless(e.bad_quality.value, BadQuality.SENTINEL.value),
    "shows": lambda e, _: _unless(e.shows.value, Quality.VALUE.value),
    "interlock": lambda e, _: e.interlock,
    "role_read": lambda e, _: _unless(e.role_read.name.lower(), Role.OBSERVER.name.lower()),
    "role_write": lambda e, _: _unless(e.role_write.name.lower(), Role.OPERATOR.name.lower()),
    "on_comm_loss": lambda e, _: _comm_loss(e),
    "deadband": lambda e, _: _unless(number(e.deadband), "0"),
    "class": lambda e, _: "" if e.event_class is None else str(e.event_class),
    "variation": lambda e, _: e.variation,
    "description": lambda e, _: e.description,
}
