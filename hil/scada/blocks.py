"""Which requests read a set of entries: few, whole, and never touching what the list does not map.

Entries of one unit and table are merged in address order into requests of at most 125 registers or 2,000 bits (Modbus
Application Protocol v1.1b3, 6.1 to 6.4).  A gap is bridged only if it is short and the list maps all of it: many
devices answer exception 02 for a read across an unmapped register.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateways.modbus.bank import BIT_TABLES, Table
from gateways.modbus.pdu import MAX_READ_BITS, MAX_READ_REGISTERS
from gateways.pointlist.model import Access, Entry

#: Registers or bits that are read without being wanted, to save a request.
MAX_GAP = 16

Place = tuple[int, Table, int]


@dataclass(frozen=True, slots=True)
class Block:
    """One read request and the entries it answers; `count` registers or bits from `address`."""

    unit: int
    table: Table
    address: int
    count: int
    entries: tuple[Entry, ...]

    def halves(self) -> tuple[Block, Block] | None:
        """Two blocks of half the entries each, or None when there is but one entry."""
        if len(self.entries) < 2:
            return None
        middle = len(self.entries) // 2
        return _block(self.entries[:middle]), _block(self.entries[middle:])

    def part(self, data: bytes, entry: Entry) -> bytes:
        """The bytes of one entry in the block's data: 2 × registers, or one byte 0 or 1 of a bit table."""
        at = entry.address - self.address
        if is_bits(self.table):
            return bytes([data[at >> 3] >> (at & 7) & 1])
        return data[2 * at:2 * (at + entry.registers)]


def is_bits(table: Table) -> bool:
    """Whether a table holds bits."""
    return table in BIT_TABLES


def readable(entries: Iterable[Entry]) -> list[Entry]:
    """Those that may be read."""
    return [entry for entry in entries if entry.access is not Access.WRITE]


def places(entries: Iterable[Entry]) -> frozenset[Place]:
    """Every register and bit that readable entries map."""
    return frozenset((entry.unit, entry.table, entry.address + i)
                     for entry in readable(entries) for i in range(entry.registers))


def plan(entries: Iterable[Entry], mapped: frozenset[Place], max_gap: int = MAX_GAP) -> tuple[Block, ...]:
    """Requests, in order, that read every readable one of `entries`."""
    ordered = sorted(readable(entries), key=lambda e: (e.unit, e.table, e.address, e.bit or 0))
    groups: list[list[Entry]] = []
    for entry in ordered:
        if groups and _joins(groups[-1], entry, mapped, max_gap):
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return tuple(_block(tuple(group)) for group in groups)


def _joins(group: list[Entry], entry: Entry, mapped: frozenset[Place], max_gap: int) -> bool:
    first, end = group[0], max(e.address + e.registers for e in group[-8:])
    if (first.unit, first.table) != (entry.unit, entry.table):
        return False
    limit = MAX_READ_BITS if is_bits(entry.table) else MAX_READ_REGISTERS
    if entry.address + entry.registers - first.address > limit or entry.address - end > max_gap:
        return False
    return all((entry.unit, entry.table, at) in mapped for at in range(end, entry.address))


def _block(entries: tuple[Entry, ...]) -> Block:
    first = entries[0]
    end = max(entry.address + entry.registers for entry in entries)
    return Block(first.unit, first.table, first.address, end - first.address, entries)
