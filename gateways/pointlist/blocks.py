"""What a master needs to read a list: requests that touch no address that the list does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from gateways.modbus.bank import BIT_TABLES, Table
from gateways.modbus.pdu import MAX_READ_BITS, MAX_READ_REGISTERS
from gateways.pointlist.address import Place
from gateways.pointlist.model import Access, Entry, PointList
from gateways.pointlist.rules import writable


@dataclass(frozen=True, slots=True)
class Block:
    """Addresses without a gap that one request can read, no value cut in two."""

    unit: int
    table: Table
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class TableSummary:
    """One table of one unit: entries, how many masters may write, first and last address, requests to read it all."""

    unit: int
    table: Table
    entries: int
    writable: int
    first: int
    last: int
    reads: int

    def __str__(self) -> str:
        points = f"{self.entries} point{'s' if self.entries != 1 else ''}"
        rights = f", {self.writable} writable" if self.writable else ""
        reads = f"{self.reads} read{'s' if self.reads != 1 else ''}"
        where = f"{Place(self.table, self.first)} to {Place(self.table, self.last)}"
        return f"unit {self.unit}: {where}: {points}{rights}, {reads}"


def read_blocks(points: PointList) -> tuple[Block, ...]:
    """The fewest requests that read every readable entry and no gap, in order of unit, table and address."""
    readable = [entry for entry in points.entries if entry.access is not Access.WRITE]
    return tuple(block for _, members in _by_table(readable) for block in _blocks(members))


def summaries(points: PointList) -> tuple[TableSummary, ...]:
    """One for each table of each unit that has entries."""
    reads: dict[tuple[int, Table], int] = {}
    for block in read_blocks(points):
        reads[block.unit, block.table] = reads.get((block.unit, block.table), 0) + 1
    found = []
    for (unit, table), members in _by_table(points.entries):
        entries = list(members)
        last = max(entry.address + entry.registers for entry in entries) - 1
        found.append(TableSummary(unit, table, len(entries), sum(map(writable, entries)), entries[0].address, last,
                                  reads.get((unit, table), 0)))
    return tuple(found)


def _by_table(entries: Iterable[Entry]) -> Iterator[tuple[tuple[int, Table], Iterator[Entry]]]:
    ordered = sorted(entries, key=lambda e: (e.unit, e.table, e.address))
    return groupby(ordered, key=lambda e: (e.unit, e.table))


def _blocks(entries: Iterable[Entry]) -> Iterator[Block]:
    """Greedy is best here: a request is closed only where a gap or the limit forces it."""
    now: Block | None = None
    for entry in entries:
        end = entry.address + entry.registers
        limit = MAX_READ_BITS if entry.table in BIT_TABLES else MAX_READ_REGISTERS
        if now is not None and entry.address <= now.address + now.count and end - now.address <= limit:
            now = Block(now.unit, now.table, now.address, max(now.count, end - now.address))
            continue
        if now is not None:
            yield now
        now = Block(entry.unit, entry.table, entry.address, entry.registers)
    if now is not None:
        yield now
