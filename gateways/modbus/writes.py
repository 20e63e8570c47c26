"""What a write to coils or holding registers asks for, by the rules of the point list, before the gate sees it.

Every rule that is broken is found; the answer is the one that comes first in the application protocol's state diagrams:
01 (the role may not), 02 (address: unmapped, half of a value, not writable), 03 (value: not a number, out of range, not
of the type), 04 (an interlock).  One request is all or nothing.

* A value out of `min` and `max` (those of the list and those of the run's point) is refused, or clamped where
  `on_overflow` says so.  A value that is beyond a bound by no more than the rounding of its type is that bound: 0.3 as
  float32 is 0.30000001.
* Not-a-value (0x8000, NaN …) is never written.
* Bools that share a register are asked for singly: those whose bit differs from what is shown, and those that this
  station has asked for before, where this master may.  So a master may write back a word it has read without
  commanding its other bits, nor needing the role for them.
  Changing a bit that masters may not write is 02, setting one that nothing maps 03.
* Function 22 asks for the bits that its and-mask clears, in the same way; a number is worked out from the present one.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cosim.points import PointDatabase
from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.image import UNTRUSTED, bit_place
from gateways.peer import Role
from gateways.pointlist.codec import decode, encode
from gateways.pointlist.model import Access, DataType, Entry, Overflow, Quality

_FLOAT32_ROUNDING, _FLOAT64_ROUNDING = 2.0 ** -23, 1e-14


@dataclass(slots=True)
class Ask:
    """A write as understood so far; refused when `code` is set, for the reason that `refusal` gives."""

    role: Role
    entries: dict[int, Entry] = field(default_factory=dict)
    """By id of the point, in the order of the request."""
    values: dict[int, float] = field(default_factory=dict)
    code: ExceptionCode | None = None
    refusal: str = ""

    def refuse(self, code: ExceptionCode, why: str) -> None:
        """The lowest code stands, the first of several alike."""
        if self.code is None or code < self.code:
            self.code, self.refusal = code, why

    def put(self, point: int, entry: Entry, value: float) -> None:
        """Ask for a value; of two for one point the later stands."""
        self.entries[point], self.values[point] = entry, value


@dataclass(frozen=True, slots=True)
class _Slot:
    """A bit of a register: what it commands."""

    bit: int
    entry: Entry
    point: int


class WriteMap:
    """The places that masters may write to, compiled for one database."""

    def __init__(self, entries: Sequence[Entry], points: PointDatabase, tags: Mapping[str, Entry]) -> None:
        """`tags` are all entries that an interlock may name."""
        self._points, self._tags = points, tags
        self._coils = {entry.address: entry for entry in entries if entry.table is Table.COILS}
        holding = [entry for entry in entries if entry.table is Table.HOLDING_REGISTERS]
        self._whole = {at: entry for entry in holding for at in range(entry.address, entry.address + entry.registers)}
        self._slots: dict[int, list[_Slot]] = {}
        for entry in holding:
            self._place_bits(entry)
        self.writable = sum(entry.access is not Access.READ for entry in (*self._coils.values(), *holding))
        locks = [tags[entry.interlock.removeprefix("!")] for entry in entries if entry.interlock]
        used = {points.id_of(name) for entry in (*entries, *locks) for name in point_names(entry)}
        points.require(np.array(sorted(used), np.int64))

    def _place_bits(self, entry: Entry) -> None:
        named = {entry.bit or 0: entry.point} if entry.type is DataType.BOOL else dict(enumerate(entry.bits))
        for bit, name in named.items():
            byte, place = bit_place(entry, bit)
            slot = _Slot(place + 8 * (1 - byte % 2), entry, self._points.id_of(name))
            self._slots.setdefault(entry.address + byte // 2, []).append(slot)

    # -- requests --------------------------------------------------------------------------------------------------

    def bits(self, address: int, bits: Sequence[bool], role: Role) -> Ask:
        """Functions 5 and 15."""
        ask = Ask(role)
        for at, bit in enumerate(bits, address):
            entry = self._coils.get(at)
            if entry is None:
                ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"coil {at} is not mapped")
            elif self._touch(ask, entry):
                self._value(ask, entry, self._points.index[entry.point], bit * entry.scale + entry.offset)
        return ask

    def registers(self, address: int, data: bytes, role: Role, own: Container[int]) -> Ask:
        """Functions 6, 16 and 23; `own` are the points that this station has asked for before."""
        ask = Ask(role)
        at, end = address, address + len(data) // 2
        while at < end:
            entry = self._whole.get(at)
            if entry is None:
                ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"holding register {at} is not mapped")
                at += 1
                continue
            stop = entry.address + entry.registers
            piece = data[2 * (at - address):2 * (stop - address)]
            if entry.address < at or stop > end:
                self._touch(ask, entry)
                ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS,
                           f"{entry.tag}: a part of its registers {entry.address} to {stop - 1}")
            elif entry.type is DataType.BOOL or entry.bits:
                for i in range(entry.registers):
                    self._word(ask, at + i, (int.from_bytes(piece[2 * i:2 * i + 2], "big"), 0xFFFF), own)
            elif self._touch(ask, entry):
                self._value(ask, entry, self._points.index[entry.point], decode(piece, entry))
            at = stop
        return ask

    def mask(self, address: int, masks: tuple[int, int], role: Role, own: Container[int]) -> Ask:
        """Function 22: `masks` are its and-mask and its or-mask."""
        ask, (and_mask, or_mask) = Ask(role), masks
        entry = self._whole.get(address)
        if entry is None:
            ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"holding register {address} is not mapped")
        elif entry.type is DataType.BOOL or entry.bits:
            change = ~and_mask & 0xFFFF
            self._word(ask, address, (or_mask & change, change), own)
        elif self._touch(ask, entry):
            if entry.registers > 1:
                ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{entry.tag}: a part of its registers")
                return ask
            point = self._points.index[entry.point]
            present = encode(self._shown(point), entry)
            if present is None:
                ask.refuse(ExceptionCode.SERVER_DEVICE_FAILURE, f"{entry.tag}: its present value is unknown")
                return ask
            word = int.from_bytes(present, "big") & and_mask | or_mask & ~and_mask & 0xFFFF
            self._value(ask, entry, point, decode(word.to_bytes(2, "big"), entry))
        return ask

    # -- rules -----------------------------------------------------------------------------------------------------

    def _word(self, ask: Ask, at: int, word_and_change: tuple[int, int], own: Container[int]) -> None:
        """A register of bits: `change` has ones where the request says something, `word` no others."""
        word, change = word_and_change
        slots = self._slots.get(at, [])
        if slots and all(ask.role < slot.entry.role_write for slot in slots):
            ask.refuse(ExceptionCode.ILLEGAL_FUNCTION, f"holding register {at}: {ask.role.name.lower()} may not write")
        if slots and all(slot.entry.access is Access.READ for slot in slots):
            ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"holding register {at} is not writable")
        if word & ~sum(1 << slot.bit for slot in slots):
            ask.refuse(ExceptionCode.ILLEGAL_DATA_VALUE, f"holding register {at}: sets bits that nothing maps")
        for slot in slots:
            if not change >> slot.bit & 1:
                continue
            entry, bit = slot.entry, word >> slot.bit & 1
            shown = (self._shown(slot.point) - entry.offset) / entry.scale
            same = not math.isnan(shown) and bool(shown) == bool(bit)
            if same and (slot.point not in own or ask.role < entry.role_write):
                continue
            if self._touch(ask, entry):
                self._value(ask, entry, slot.point, bit * entry.scale + entry.offset)

    def _touch(self, ask: Ask, entry: Entry) -> bool:
        """Role and access; False where there is no value to look at."""
        if ask.role < entry.role_write:
            ask.refuse(ExceptionCode.ILLEGAL_FUNCTION,
                       f"{entry.tag}: {ask.role.name.lower()} may not write, {entry.role_write.name.lower()} may")
        if entry.access is Access.READ or entry.type is DataType.STRING or entry.shows is Quality.QUALITY:
            ask.refuse(ExceptionCode.ILLEGAL_DATA_ADDRESS, f"{entry.tag} is not writable")
            return entry.type is not DataType.STRING and entry.shows is Quality.VALUE
        return True

    def _value(self, ask: Ask, entry: Entry, point: int, value: float) -> None:
        """Range and interlock of one value, which is then part of the request, refused or not."""
        if not math.isfinite(value):
            ask.refuse(ExceptionCode.ILLEGAL_DATA_VALUE, f"{entry.tag}: not a value")
        else:
            low, high = self._bounds(entry, point)
            near = min(max(value, low), high)
            if entry.overflow is not Overflow.CLAMP and not _rounding(value, near, entry):
                ask.refuse(ExceptionCode.ILLEGAL_DATA_VALUE,
                           f"{entry.tag}: {value:.10g} is not within {low:.10g} to {high:.10g}")
            else:
                value = near
        lock = self._locked(entry)
        if lock:
            ask.refuse(ExceptionCode.SERVER_DEVICE_FAILURE, f"{entry.tag}: interlock {lock}")
        ask.put(point, entry, value)

    def _bounds(self, entry: Entry, point: int) -> tuple[float, float]:
        """The narrower of the list's and the point's."""
        own = self._points.points[point]
        return (own.low if math.isnan(entry.low) else max(own.low, entry.low),
                own.high if math.isnan(entry.high) else min(own.high, entry.high))

    def _shown(self, point: int) -> float:
        return float(self._points.published[point])

    def _locked(self, entry: Entry) -> str:
        """The interlock, in words, that does not let a write pass; "" when none is in force."""
        if not entry.interlock:
            return ""
        lock = self._tags[entry.interlock.removeprefix("!")]
        point, want = self._points.index[lock.point], 0.0 if entry.interlock.startswith("!") else 1.0
        raw = (self._shown(point) - lock.offset) / lock.scale
        if lock.type is DataType.BOOL and not math.isnan(raw):
            raw = float(raw != 0)
        trusted = not int(self._points.quality[point]) & UNTRUSTED
        return "" if trusted and raw == want else f"{lock.tag} does not read {want:g}"


def point_names(entry: Entry) -> tuple[str, ...]:
    """Names of the run's points that an entry shows or commands."""
    if entry.type is DataType.STRING:
        return ()
    return tuple(name for name in entry.bits if name) if entry.bits else (entry.point,)


def _rounding(value: float, bound: float, entry: Entry) -> bool:
    """Whether a value differs from a bound by no more than the rounding of its type."""
    share = _FLOAT32_ROUNDING if entry.type is DataType.FLOAT32 else _FLOAT64_ROUNDING
    return abs(value - bound) <= share * (abs(bound) + abs(entry.offset))
