"""Which entry an address belongs to, and the bytes that stand there for a value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cosim.errors import GridloopError
from gateways.modbus.bank import BIT_TABLES
from gateways.pointlist.address import SHORT, Place, place_of, read_place
from gateways.pointlist.codec import decode, encode, sentinel
from gateways.pointlist.columns import did_you_mean
from gateways.pointlist.model import Access, BadQuality, DataType, Entry, Overflow, PointList, Quality
from gateways.pointlist.rules import FLOATS, writable

#: Shown where no value is given and the entry's type and range allow it.
EXAMPLE = 1234.5
#: Entries explained of one question: bits of a register, an address in several units.
MAX_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Explanation:
    """One entry, the register that was asked for (from 1), and what a value looks like on the wire.

    `data` is None where the type cannot hold the value; `shown` is the value as a master gets it back.
    """

    entry: Entry
    register: int
    value: float
    raw: str
    data: bytes | None
    shown: float

    def lines(self) -> list[str]:
        """For people."""
        entry = self.entry
        asked = Place(entry.table, entry.address + self.register - 1)
        title = f"{asked}: {entry.tag}"
        if entry.registers > 1:
            title += f", register {self.register} of {entry.registers} (from {place_of(entry)})"
        elif entry.bit is not None:
            title += f", bit {entry.bit}"
        return [title, *(f"  {name:<9}{text}" for name, text in self._facts() if text)]

    def _facts(self) -> list[tuple[str, str]]:
        entry = self.entry
        order = f" {entry.order.value}" if entry.registers > 1 or entry.type is DataType.STRING else ""
        scaled = "" if entry.scale == 1 and entry.offset == 0 else (
            f", value = raw x {entry.scale:g}" + (f" {'+-'[entry.offset < 0]} {abs(entry.offset):g}"
                                                  if entry.offset else ""))
        shown = f"{entry.point}, reads show {entry.feedback}" if entry.feedback else entry.point
        what = shown if entry.shows is Quality.VALUE else f"quality of {entry.point}"
        units = f" [{entry.units}]" if entry.units else ""
        return [("unit", str(entry.unit)),
                ("point", "" if entry.type is DataType.STRING else (", ".join(entry.bits) or what + units)),
                ("access", _rights(entry)), ("type", f"{entry.type.value}{order}{scaled}"), ("value", self._bytes()),
                ("note", self._note()),
                ("bad", _bad(entry)), ("about", entry.description)]

    def _note(self) -> str:
        """Whether the value may be asked for."""
        if not writable(self.entry) or not (self.value < self.entry.low or self.value > self.entry.high):
            return ""
        done = "clamped" if self.entry.overflow is Overflow.CLAMP else "refused with exception 03"
        return f"outside min {self.entry.low:g} to max {self.entry.high:g}: a write of it is {done}"

    def _bytes(self) -> str:
        if self.data is None:
            kind, overflow = self.entry.type.value, self.entry.overflow.value
            return f"{self.value:.10g}: cannot be held by {kind} (on_overflow {overflow})"
        text = f"{self.entry.text!r}" if self.entry.type is DataType.STRING else f"{self.value:.10g}"
        if self.entry.table in BIT_TABLES:
            return f"{text} -> {'1' if any(self.data) else '0'}"
        words = [self.data[i:i + 2] for i in range(0, len(self.data), 2)]
        raw = f" -> raw {self.raw}" if self.raw else ""
        text = f"{text}{raw} -> {self.data.hex(' ').upper()}"
        if not 1 < len(words) <= 4:
            return text
        first, short = self.entry.address, SHORT[self.entry.table]
        places = (f"{short} {first + i} = 0x{word.hex().upper()}" for i, word in enumerate(words))
        return f"{text} ({', '.join(places)})"


def explain(points: PointList, question: str, value: float | None = None) -> tuple[Explanation, ...]:
    """The entries at an address (``40021``, ``400021``, ``hr 20``, ``hr:20``), of a tag or of a point.

    `value` in engineering units; without one, an example that fits.  Raises GridloopError where nothing is found.
    """
    place = read_place(question)
    by_name = [entry for entry in points.entries if entry.tag == question]
    by_name = by_name or [entry for entry in points.entries if question == entry.point or question in entry.bits]
    if by_name:
        return tuple(_explained(entry, entry.address, value) for entry in by_name[:MAX_SHOWN])
    if place is None:
        names = [name for entry in points.entries for name in (entry.tag, entry.point)]
        raise GridloopError(f"{points.source}: no tag, point or address '{question}'{did_you_mean(question, names)}; "
                            "expected a tag, a point, 40021, 400021, or a table and its address on the wire: hr 20")
    found = [entry for entry in points.entries if entry.table is place.table
             and entry.address <= place.address < entry.address + entry.registers]
    if not found:
        raise GridloopError(f"{points.source}: nothing at {place}{_neighbours(points, place)}")
    return tuple(_explained(entry, place.address, value) for entry in found[:MAX_SHOWN])


def _explained(entry: Entry, address: int, value: float | None) -> Explanation:
    shown = _example(entry) if value is None else value
    data = encode(shown, entry)
    raw = ""
    if entry.type not in (DataType.BOOL, DataType.STRING) and data is not None and math.isfinite(shown):
        exact = (shown - entry.offset) / entry.scale
        raw = f"{exact:.10g}" if entry.type in FLOATS else str(round(exact))
    back = math.nan if data is None else decode(data, entry)
    return Explanation(entry, address - entry.address + 1, shown, raw, data, back)


def _example(entry: Entry) -> float:
    """A value that the entry can hold, the same at every call."""
    if entry.type is DataType.BOOL:
        return 1.0
    if entry.type is DataType.STRING:
        return math.nan
    if entry.bits:
        return float(sum(1 << i for i in range(0, len(entry.bits), 2)))
    if entry.shows is Quality.QUALITY:
        return 0.0
    low = -math.inf if math.isnan(entry.low) else entry.low
    high = math.inf if math.isnan(entry.high) else entry.high
    wanted = min(max(EXAMPLE, low), high)
    choices = (wanted, 1.0, 100 * entry.scale + entry.offset, high, low)
    return next((v for v in choices if low <= v <= high and math.isfinite(v) and encode(v, entry) is not None), 0.0)


def _rights(entry: Entry) -> str:
    low = "" if math.isnan(entry.low) else f" from {entry.low:g}"
    high = "" if math.isnan(entry.high) else f" up to {entry.high:g}"
    if not writable(entry):
        return entry.access.value
    tag = entry.interlock.removeprefix("!")
    lock = f", while {tag} reads {int(tag == entry.interlock)}" if tag else ""
    return f"{entry.access.value}{low}{high}, role {entry.role_write.name.lower()} or higher{lock}"


def _bad(entry: Entry) -> str:
    """What a read shows of a value that is not good."""
    if entry.type is DataType.STRING or entry.shows is Quality.QUALITY or entry.access is Access.WRITE:
        return ""
    if entry.bad_quality is BadQuality.LAST:
        return "the last good value is shown"
    mark = sentinel(entry) if entry.bad_quality is BadQuality.SENTINEL else None
    return "shown as exception 04" if mark is None else f"shown as {mark.hex(' ').upper()}"


def _neighbours(points: PointList, place: Place) -> str:
    """The entries around a gap, and whether the same number means something counted otherwise."""
    same = sorted((e for e in points.entries if e.table is place.table), key=lambda e: e.address)
    before = [e for e in same if e.address < place.address][-1:]
    after = [e for e in same if e.address > place.address][:1]
    around = "; ".join([f"before it {e.tag}, {place_of(e)}" for e in before]
                       + [f"after it {e.tag}, {place_of(e)}" for e in after])
    return f" ({around})" if around else f"; the list has nothing in {SHORT[place.table]}"
