"""What one unit's tables hold at one instant, as the bytes that go on the wire.

An `Image` is immutable and made of one publish of the point database, so every answer is from one instant: no value is
ever half old and half new.  It is made when it is first asked for after a publish, by an `ImageMaker`, which has
compiled the point list into a few NumPy operations; reading it is a slice.

What is shown, by the entry's rules:

* A value is *bad* when it is NaN or its quality says INVALID or RESTART.  A bad value shows the type's not-a-value,
  gives exception 04 to any read that touches it, or stays at the last good value (`bad_quality`); where that cannot be
  (a bool has no not-a-value, nothing was good yet) the next sterner: last, not-a-value, exception.  Never zero.  STALE
  and SUBSTITUTED values are shown: they are what the station has, and the quality register beside them says so.
* An entry that shows quality gives the point's flags; INVALID among them when the value is NaN.  It is never bad.
* A value that the type cannot hold is clamped, gives exception 04, or shows the not-a-value (`overflow`).  `min` and
  `max` bound what may be asked, not what is shown: a voltage above its band is what masters must see.
* A bitfield of points is bad as a whole when one of its bits is.  Unused bits are 0.
* Reading a part of a value is allowed, as masters that read in blocks do; its other part, asked for later, may be of
  another instant.
* Addresses that nothing maps give exception 02.  With gaps ``zero``, those between the lowest and the highest mapped
  address of a table read 0, for masters that read over holes; so do write-only entries.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, PointDatabase, Quality, Vector
from gateways.modbus.bank import BIT_TABLES, ExceptionCode, Table
from gateways.peer import Role
from gateways.pointlist.codec import encode, ordered, raw_limits, sentinel
from gateways.pointlist.model import Access, BadQuality, DataType, Entry, Overflow
from gateways.pointlist.model import Quality as Shows

Mask = NDArray[np.bool_]
Octets = NDArray[np.uint8]

ILLEGAL_ADDRESS: Final = ExceptionCode.ILLEGAL_DATA_ADDRESS
FAILURE: Final = ExceptionCode.SERVER_DEVICE_FAILURE
UNTRUSTED: Final = int(Quality.INVALID | Quality.RESTART)

_DTYPES: Final = {DataType.INT16: ">i2", DataType.UINT16: ">u2", DataType.INT32: ">i4", DataType.UINT32: ">u4",
                  DataType.INT64: ">i8", DataType.UINT64: ">u8", DataType.FLOAT32: ">f4", DataType.FLOAT64: ">f8"}
_BITFIELDS: Final = {1: ">u2", 2: ">u4", 4: ">u8"}

#: One table as read: lowest address, registers or bits mapped on end from each address on, the bytes, which addresses
#: give exception 04 (a byte each; None: none).
_Content = tuple[int, "array[int]", bytes, bytes | None]


class Image:
    """All tables of one unit at `t_us`."""

    __slots__ = ("_tables", "t_us")

    def __init__(self, t_us: int, tables: Sequence[_Content]) -> None:
        self.t_us = t_us
        self._tables = tuple(tables)

    def registers(self, table: Table, address: int, count: int) -> bytes | ExceptionCode:
        """2 x `count` bytes of a register table; 02 over a hole, 04 where something in it cannot be shown."""
        low, reach, data, bad = self._tables[table]
        at = address - low
        # An index beyond the end raises, a negative one would not.
        if at < 0 or at >= len(reach) or reach[at] < count:
            return ILLEGAL_ADDRESS
        if bad is not None and bad.find(1, at, at + count) >= 0:
            return FAILURE
        return data[2 * at:2 * (at + count)]

    def bits(self, table: Table, address: int, count: int) -> bytes | ExceptionCode:
        """`count` bits of a bit table, least significant first, padded with zeros; 02 and 04 as for registers."""
        low, reach, data, bad = self._tables[table]
        at = address - low
        if at < 0 or at >= len(reach) or reach[at] < count:
            return ILLEGAL_ADDRESS
        if bad is not None and bad.find(1, at, at + count) >= 0:
            return FAILURE
        whole = int.from_bytes(data[at >> 3:(at + count + 7) >> 3], "little")
        return (whole >> (at & 7) & (1 << count) - 1).to_bytes((count + 7) >> 3, "little")


class Span:
    """One table's addresses that are mapped, which does not change: from the lowest to the highest."""

    __slots__ = ("low", "reach", "roles", "start", "stop", "table")

    def __init__(self, table: Table, entries: Sequence[Entry], start: int, *, zero: bool) -> None:
        """`start` is the first byte of the table in the maker's buffer."""
        self.table, self.start = table, start
        self.low = min((entry.address for entry in entries), default=0)
        size = max((_end(entry) for entry in entries), default=0) - self.low
        mapped, roles = bytearray(size), bytearray(size)
        for entry in entries:
            first, length = entry.address - self.low, _end(entry) - entry.address
            mapped[first:first + length] = b"\x01" * length
            for at in range(first, first + length):
                roles[at] = max(roles[at], entry.role_read)
        self.reach = _reach(b"\x01" * size if zero else bytes(mapped))
        self.roles: bytes | None = bytes(roles) if any(roles) else None
        self.stop = start + ((size + 7) // 8 if table in BIT_TABLES else 2 * size)

    def may(self, address: int, count: int, role: Role) -> bool:
        """Whether a role may read these addresses (those that nothing maps, anybody)."""
        at = max(address - self.low, 0)
        return self.roles is None or max(self.roles[at:max(address - self.low + count, 0)], default=0) <= role

    def byte(self, entry: Entry) -> int:
        """First byte of a register entry in the maker's buffer."""
        return self.start + 2 * (entry.address - self.low)


@dataclass(frozen=True, slots=True)
class _Group:
    """Numbers of one type: their rows among the sources, and their bytes (n, size) in the buffer."""

    rows: slice
    dtype: str
    octets: NDArray[np.int64]


class ImageMaker:
    """A unit's readable entries compiled for one database.

    Sources are what is read: first the numbers (integers, then floats; a type at a time), then single bits.  Columns
    are (n_source,).
    """

    def __init__(self, entries: Sequence[Entry], points: PointDatabase, *, gaps_zero: bool = False) -> None:
        """`entries` name points that exist (the station has checked) and do not overlap (the list has)."""
        shown = [entry for entry in entries if entry.access is not Access.WRITE]
        self._points = points
        self.spans = _spans(shown, gaps_zero)
        self._numbers = sorted((entry for entry in shown if _is_number(entry)),
                               key=lambda entry: (_dtype(entry)[1] == "f", _dtype(entry)))
        self._bits = _bit_sources(shown, self.spans)
        self._base = self._template(shown)
        self._compile_columns()
        self._compile_bits()
        points.require(self._ids)

    # -- compiling -------------------------------------------------------------------------------------------------

    def _template(self, shown: Sequence[Entry]) -> Octets:
        """The buffer with what never changes: texts, zeros, and not-a-values where no good number is put."""
        base = np.zeros(self.spans[-1].stop, np.uint8)
        for entry in shown:
            data = encode(0.0, entry) if entry.type is DataType.STRING else sentinel(entry)
            if data is not None and not entry.bits:
                first = self.spans[entry.table].byte(entry)
                base[first:first + len(data)] = np.frombuffer(data, np.uint8)
        return base

    def _compile_columns(self) -> None:
        sources = [(entry, entry.shown) for entry in self._numbers]
        sources += [(source.entry, source.point) for source in self._bits]
        entries = [entry for entry, _ in sources]
        self._entries = entries
        self._ids: Ids = np.array([self._points.id_of(point) for _, point in sources], np.int64)
        self._offset, self._scale = _column(entries, "offset"), _column(entries, "scale")
        self._quality_rows = _rows([entry.shows is Shows.QUALITY for entry in entries])
        self._last_rows = _rows([entry.bad_quality is BadQuality.LAST and entry.shows is Shows.VALUE
                                 for entry in entries])
        self._last: Vector = np.full(len(self._last_rows), np.nan)
        self._fails = np.array([entry.bad_quality is BadQuality.EXCEPTION for entry in entries], bool)
        limits = [raw_limits(entry) for entry in self._numbers]
        self._low: Vector = np.array([low for low, _ in limits])
        self._high: Vector = np.array([high for _, high in limits])
        self._clamps = np.array([entry.overflow is Overflow.CLAMP for entry in self._numbers], bool)
        self._over_fails = np.array([entry.overflow is Overflow.EXCEPTION for entry in self._numbers], bool)
        self._n_number = len(self._numbers)
        self._n_integer = sum(_dtype(entry)[1] != "f" for entry in self._numbers)
        self._groups = self._compile_groups()
        if self._last_rows.size:
            # The last good value is that of the last publish, not of the last time somebody asked.
            self._points.subscribe(np.unique(self._ids[self._last_rows]), lambda _ids, _t_us: self._keep_last(), 0.0)

    def _compile_groups(self) -> tuple[_Group, ...]:
        dtypes = [_dtype(entry) for entry in self._numbers]
        groups = []
        for dtype in dict.fromkeys(dtypes):
            first, count = dtypes.index(dtype), dtypes.count(dtype)
            rows = slice(first, first + count)
            octets = [self.spans[entry.table].byte(entry) + _places(entry) for entry in self._numbers[rows]]
            groups.append(_Group(rows, dtype, np.array(octets, np.int64)))
        return tuple(groups)

    def _compile_bits(self) -> None:
        """Every byte that holds source bits is built whole: bits (n_byte x 8), packed, put in place."""
        self._bit_bytes: Ids = np.array(sorted({source.byte for source in self._bits}), np.int64)
        place = {int(byte): i for i, byte in enumerate(self._bit_bytes)}
        self._bit_places: Ids = np.array([8 * place[source.byte] + source.bit for source in self._bits], np.int64)

    # -- making ----------------------------------------------------------------------------------------------------

    def make(self) -> Image:
        """The image of the last publish."""
        buffer = self._base.copy()
        values, bad = self._take()
        with np.errstate(all="ignore"):
            raw = (values - self._offset) / self._scale
            np.rint(raw[:self._n_integer], out=raw[:self._n_integer])
            numbers, hidden = raw[:self._n_number], bad[:self._n_number]
            over = ((numbers < self._low) | (numbers > self._high)) & ~hidden
            failed: Mask | None = None
            if over.any():
                np.clip(numbers, self._low, self._high, out=numbers, where=self._clamps)
                hidden = hidden | (over & ~self._clamps)
                failed = over & self._over_fails
            self._put_numbers(buffer, numbers, hidden)
        self._put_bits(buffer, raw[self._n_number:])
        failures = self._failures(buffer, bad, failed) if failed is not None or bad.any() else {}
        data = buffer.tobytes()
        return Image(self._points.t_us, [(span.low, span.reach, data[span.start:span.stop], failures.get(span.table))
                                         for span in self.spans])

    def _take(self) -> tuple[Vector, Mask]:
        """Values of the sources, and which of them are bad, after quality entries and last good values."""
        values, quality = self._points.take(self._ids), self._points.quality[self._ids]
        bad: Mask = ((quality & UNTRUSTED) != 0) | np.isnan(values)
        rows = self._quality_rows
        if rows.size:
            values[rows] = np.where(np.isnan(values[rows]), quality[rows] | Quality.INVALID, quality[rows])
            bad[rows] = False
        rows = self._last_rows
        if rows.size:
            self._last = np.where(bad[rows], self._last, values[rows])
            values[rows], bad[rows] = self._last, np.isnan(self._last)
        return values, bad

    def _keep_last(self) -> None:
        self._take()

    def _put_numbers(self, buffer: Octets, raw: Vector, hidden: Mask) -> None:
        """What is not hidden over the not-a-values of the template."""
        any_hidden = bool(hidden.any())
        if any_hidden:
            raw[hidden] = 0.0
        for group in self._groups:
            octets = raw[group.rows].astype(group.dtype).view(np.uint8).reshape(group.octets.shape)
            if any_hidden:
                keep = ~hidden[group.rows]
                buffer[group.octets[keep]] = octets[keep]
            else:
                buffer[group.octets] = octets

    def _put_bits(self, buffer: Octets, raw: Vector) -> None:
        if raw.size:
            flat = np.zeros(8 * len(self._bit_bytes), np.uint8)
            flat[self._bit_places] = raw != 0
            buffer[self._bit_bytes] = np.packbits(flat, bitorder="little")

    def _failures(self, buffer: Octets, bad: Mask, failed: Mask | None) -> dict[Table, bytes]:
        """The addresses of each table that give exception 04; bad bitfields are made not-a-values here."""
        flags: dict[Table, bytearray] = {}
        rows = bad & self._fails
        if failed is not None:
            rows[:self._n_number] |= failed
        rows[self._n_number:] |= bad[self._n_number:]
        for row in np.flatnonzero(rows):
            entry = self._entries[row]
            span = self.spans[entry.table]
            if entry.bits and entry.bad_quality is not BadQuality.EXCEPTION:
                data, first = sentinel(entry), span.byte(entry)
                assert data is not None, "every bitfield has a not-a-value"
                buffer[first:first + len(data)] = np.frombuffer(data, np.uint8)
                continue
            table = flags.setdefault(entry.table, bytearray(len(span.reach)))
            for at in range(entry.address - span.low, _end(entry) - span.low):
                table[at] = 1
        return {table: bytes(found) for table, found in flags.items()}


@dataclass(frozen=True, slots=True)
class _Bit:
    """One bit to show: of `entry`, the value of `point`, in bit `bit` of byte `byte` of the buffer."""

    entry: Entry
    point: str
    byte: int
    bit: int


def bit_place(entry: Entry, bit: int) -> tuple[int, int]:
    """Where a bit of a register value lies: byte from the first of the value's 2 x registers, and bit in it."""
    places = _places(entry) if entry.type is DataType.BITFIELD else np.arange(2)
    # `places` says where each byte of ABCD goes; bit 0 is in the last of them.
    return int(places[len(places) - 1 - bit // 8]), bit % 8


def _bit_sources(shown: Sequence[Entry], spans: Sequence[Span]) -> list[_Bit]:
    bits = []
    for entry in shown:
        span = spans[entry.table]
        if entry.table in BIT_TABLES:
            at = entry.address - span.low
            bits.append(_Bit(entry, entry.shown, span.start + at // 8, at % 8))
        elif entry.type is DataType.BOOL:
            byte, bit = bit_place(entry, entry.bit or 0)
            bits.append(_Bit(entry, entry.shown, span.byte(entry) + byte, bit))
        for i, point in enumerate(entry.bits):
            if point:
                byte, bit = bit_place(entry, i)
                bits.append(_Bit(entry, point, span.byte(entry) + byte, bit))
    return bits


def _spans(shown: Sequence[Entry], zero: bool) -> tuple[Span, ...]:
    """The four tables' spans, one behind the other in the buffer."""
    spans: list[Span] = []
    for table in Table:
        start = spans[-1].stop if spans else 0
        spans.append(Span(table, [entry for entry in shown if entry.table is table], start, zero=zero))
    return tuple(spans)


def _reach(mapped: bytes) -> array[int]:
    """From each address, how many are mapped on end (at most 65535)."""
    reach = array("H", bytes(2 * len(mapped)))
    run = 0
    for at in range(len(mapped) - 1, -1, -1):
        run = min(run + 1, 0xFFFF) if mapped[at] else 0
        reach[at] = run
    return reach


def _is_number(entry: Entry) -> bool:
    return entry.type in _DTYPES or (entry.type is DataType.BITFIELD and not entry.bits)


def _dtype(entry: Entry) -> str:
    return _DTYPES.get(entry.type) or _BITFIELDS[entry.registers]


def _places(entry: Entry) -> NDArray[np.int64]:
    """Where each byte of a number ABCD… goes among its 2 x registers."""
    # An order is its own inverse, so the places are the order of the bytes.
    return np.frombuffer(ordered(bytes(range(2 * entry.registers)), entry.order), np.uint8).astype(np.int64)


def _end(entry: Entry) -> int:
    return entry.address + (1 if entry.table in BIT_TABLES else entry.registers)


def _column(entries: Sequence[Entry], name: str) -> Vector:
    return np.array([getattr(entry, name) for entry in entries], float)


def _rows(chosen: Sequence[bool]) -> Ids:
    return np.flatnonzero(np.array(chosen, bool))
