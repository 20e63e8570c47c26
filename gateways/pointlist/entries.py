"""A row of cells to an entry."""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from gateways.modbus.bank import BIT_TABLES
from gateways.modbus.pdu import MAX_READ_REGISTERS
from gateways.peer import Role
from gateways.pointlist.address import TABLE_WORDS, Base, Place, read_address
from gateways.pointlist.codec import BITFIELD_REGISTERS, REGISTERS
from gateways.pointlist.columns import Row
from gateways.pointlist.model import (
    Access,
    BadQuality,
    CommLoss,
    DataType,
    Entry,
    Overflow,
    Quality,
    WordOrder,
)
from gateways.pointlist.rules import faults

Choice = TypeVar("Choice", bound=Enum)

MAX_TAG = 128
MAX_UNIT = 247
BASES = {base.value: base for base in Base}
_ROLES = {role.name.lower(): role for role in Role}
_CLASSES: dict[str, int | None] = {"none": -1, "0": 0, "1": 1, "2": 2, "3": 3}


def entry_of(row: Row, base: Base | None) -> Entry | None:
    """The entry that a row describes, `base` where the row itself says none; `row.problems` says what is wrong.

    None: it cannot be read.  One that can but breaks a rule comes back too, so that what is wrong between entries is
    found at the same time.
    """
    before = len(row.problems)
    tag = _tag(row)
    place = _place(row, base)
    row.where = ", ".join(part for part in (tag, "" if place is None else str(place)) if part)
    fields = _shape(row, place) | _value(row) | _behaviour(row) | _events(row)
    if len(row.problems) > before or place is None:
        return None
    entry = Entry(tag=tag, point=row.text("point") or tag, table=place.table, address=place.address, line=row.line,
                  feedback=row.text("feedback"), **fields)
    for column, message in faults(entry):
        row.fault(column, message)
    return entry


def _tag(row: Row) -> str:
    tag = row.text("tag")
    if not tag:
        row.fault("tag", "found nothing; expected a name, unique in the list")
    elif len(tag) > MAX_TAG:
        row.fault("tag", f"found {len(tag)} characters; expected at most {MAX_TAG}")
    elif tag[0] in "#!":
        row.fault("tag", f"found '{tag}'; expected a name that does not begin with '{tag[0]}' (# begins a comment, "
                         "! an interlock's negation)")
    return tag


def _place(row: Row, base: Base | None) -> Place | None:
    """Where the entry lies; without a base the address is left alone (a list without any is refused as a whole)."""
    table = row.word("table", TABLE_WORDS)
    own = row.word("base", BASES)
    is_clear = (table is not None or not row.text("table")) and (own is not None or not row.text("base"))
    text = row.text("address")
    if not text:
        row.fault("address", "found nothing; expected the address of the entry's first register or bit")
        return None
    meaning = own or base
    if meaning is None:
        row.fault("base", "found nothing; expected 0, 1 or modicon here, or a line `# base: ...` above the header")
    if meaning is None or not is_clear:
        return None
    place = read_address(text, meaning, table)
    if isinstance(place, Place):
        return place
    row.fault("address", place)
    return None


def _shape(row: Row, place: Place | None) -> dict[str, Any]:
    """Unit, type, size and order."""
    kind = _choice(row, "type", DataType)
    if kind is None and not row.text("type"):
        if place is not None and place.table in BIT_TABLES:
            kind = DataType.BOOL
        elif place is not None:
            row.fault("type", f"found nothing; expected one of {', '.join(t.value for t in DataType)}")
    bits = tuple(row.text("bits").split())
    fields: dict[str, Any] = {"type": kind, "bits": bits, "text": row.text("text"),
                              "registers": row.integer("registers", 1, MAX_READ_REGISTERS)}
    if fields["registers"] is None and kind is not None:
        fields["registers"] = _size(kind, bits, fields["text"])
    unit = row.integer("unit", 1, MAX_UNIT)
    fields["unit"] = 1 if unit is None else unit
    return fields | _given(order=_choice(row, "order", WordOrder), bit=row.integer("bit", 0, 15))


def _size(kind: DataType, bits: tuple[str, ...], text: str) -> int:
    """Registers of an entry that does not say: the fewest that hold it."""
    if kind is DataType.STRING:
        return max(1, -(-len(text.encode()) // 2))
    if kind is DataType.BITFIELD:
        return next((size for size in BITFIELD_REGISTERS if len(bits) <= 16 * size), BITFIELD_REGISTERS[-1])
    return REGISTERS[kind]


def _value(row: Row) -> dict[str, Any]:
    """Scaling, range and access."""
    return {"units": row.text("units")} | _given(
        scale=row.number("scale"), offset=row.number("offset"), low=row.number("min"), high=row.number("max"),
        overflow=_choice(row, "on_overflow", Overflow), access=_choice(row, "access", Access),
        bad_quality=_choice(row, "bad_quality", BadQuality), shows=_choice(row, "shows", Quality))


def _behaviour(row: Row) -> dict[str, Any]:
    """Interlock, roles and what happens on communication loss."""
    fields = _given(role_read=row.word("role_read", _ROLES), role_write=row.word("role_write", _ROLES))
    fields["interlock"] = row.text("interlock")
    lost = row.text("on_comm_loss").lower()
    if lost in (CommLoss.HOLD.value, CommLoss.RELEASE.value):
        fields["on_comm_loss"] = CommLoss(lost)
    elif lost:
        value = row.number("on_comm_loss") if lost[0] in "+-.0123456789" else None
        if lost[0] not in "+-.0123456789":
            row.fault("on_comm_loss", f"found '{lost}'; expected hold, release or a number")
        fields |= {"on_comm_loss": CommLoss.VALUE} | _given(comm_loss_value=value)
    return fields


def _events(row: Row) -> dict[str, Any]:
    """What DNP3 reports of it."""
    deadband = row.number("deadband")
    if deadband is not None and deadband < 0:
        row.fault("deadband", f"found {deadband:g}; expected 0 or more")
    variation = row.text("variation").lower()
    if variation and not re.fullmatch(r"g[0-9]{1,3}v[0-9]{1,3}", variation):
        row.fault("variation", f"found '{variation}'; expected a DNP3 group and variation such as g30v5")
    event_class = row.word("class", _CLASSES)
    fields = _given(deadband=deadband, event_class=None if event_class == -1 else event_class)
    return fields | {"variation": variation, "description": row.text("description")}


def _choice(row: Row, column: str, words: type[Choice]) -> Choice | None:
    return row.word(column, _words(words))


@cache
def _words(words: type[Choice]) -> dict[str, Choice]:
    return {str(member.value): member for member in words}


def _given(**fields: Any) -> dict[str, Any]:
    """Those that were said; the others keep the defaults of `Entry` (so that its own NaN stays the same object)."""
    return {name: value for name, value in fields.items() if value is not None}
