"""What the Modbus Application Protocol (v1.1b3) and a point list make of a request: the judge between two servers.

Written from the state diagrams alone, over a table of the registers' rules, without a line of what it judges.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

FUNCTION, ADDRESS, VALUE = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the list: where it begins, how many registers it has, and what may be written to it."""

    address: int
    layout: str = ""
    """As `struct` has it; "": it may not be written."""
    low: float = -math.inf
    high: float = math.inf
    swapped: bool = False
    registers: int = 1

    def takes(self, data: bytes) -> bool:
        """Whether these bytes are a value within its bounds (raw, as on the wire)."""
        if self.swapped:
            data = data[2:] + data[:2]
        (found,) = struct.unpack(self.layout, data)
        return math.isfinite(found) and self.low <= found <= self.high


@dataclass(frozen=True, slots=True)
class Map:
    """Mapped addresses: how many bits from 0 on, and the values of the register tables, in order and without holes."""

    coils: int
    inputs: int
    holding: tuple[Value, ...]
    input_registers: int

    @property
    def holdings(self) -> int:
        """Holding registers from 0 on."""
        return max(value.address + value.registers for value in self.holding)


Verdict = tuple[str, int]
"""("exception", code), or ("answer", bytes of the PDU)."""


def judge(pdu: bytes, mapped: Map) -> Verdict:
    """What a request has to get."""
    judges = {1: _read, 2: _read, 3: _read, 4: _read, 5: _coil, 6: _register, 15: _coils, 16: _registers, 22: _mask,
              23: _exchange}
    if pdu[0] not in judges:
        return "exception", FUNCTION
    code, size = judges[pdu[0]](pdu, mapped)
    return ("exception", code) if code else ("answer", size)


def _read(pdu: bytes, mapped: Map) -> tuple[int, int]:
    most = 2000 if pdu[0] <= 2 else 125
    there = {1: mapped.coils, 2: mapped.inputs, 3: mapped.holdings, 4: mapped.input_registers}[pdu[0]]
    if len(pdu) != 5:
        return VALUE, 0
    address, count = struct.unpack(">HH", pdu[1:])
    if not 1 <= count <= most:
        return VALUE, 0
    if address + count > there:
        return ADDRESS, 0
    return 0, 2 + ((count + 7) // 8 if pdu[0] <= 2 else 2 * count)


def _coil(pdu: bytes, mapped: Map) -> tuple[int, int]:
    address, value = struct.unpack(">HH", pdu[1:])
    if value not in (0, 0xFF00):
        return VALUE, 0
    return (0 if address < mapped.coils else ADDRESS), 5


def _register(pdu: bytes, mapped: Map) -> tuple[int, int]:
    return _written(int.from_bytes(pdu[1:3], "big"), pdu[3:5], mapped), 5


def _coils(pdu: bytes, mapped: Map) -> tuple[int, int]:
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= 1968 or size != (count + 7) // 8 or len(pdu) != 6 + size:
        return VALUE, 0
    return (0 if address + count <= mapped.coils else ADDRESS), 5


def _registers(pdu: bytes, mapped: Map) -> tuple[int, int]:
    address, count, size = struct.unpack(">HHB", pdu[1:6])
    if not 1 <= count <= 123 or size != 2 * count or len(pdu) != 6 + size:
        return VALUE, 0
    return _written(address, pdu[6:], mapped), 5


def _mask(pdu: bytes, mapped: Map) -> tuple[int, int]:
    """Only bits are masked here: what a mask makes of a number depends on the number."""
    address, clear, to_set = struct.unpack(">HHH", pdu[1:])
    if address != mapped.holdings - 1:
        return ADDRESS, 0
    # Two bits are mapped; of the others none may be set.
    return (VALUE if to_set & ~clear & 0xFFFC else 0), 7


def _exchange(pdu: bytes, mapped: Map) -> tuple[int, int]:
    source, wanted, target, count, size = struct.unpack(">HHHHB", pdu[1:10])
    if not 1 <= wanted <= 125 or not 1 <= count <= 121 or size != 2 * count or len(pdu) != 10 + size:
        return VALUE, 0
    if source + wanted > mapped.holdings:
        return ADDRESS, 0
    return _written(target, pdu[10:], mapped), 2 + 2 * wanted


def _written(address: int, data: bytes, mapped: Map) -> int:
    """The lowest code of what is wrong with writing these registers, or 0: whole values, writable ones, in range."""
    end, codes = address + len(data) // 2, []
    if end > mapped.holdings:
        codes.append(ADDRESS)
    for value in mapped.holding:
        first, stop = value.address, value.address + value.registers
        if stop <= address or end <= first:
            continue
        if not value.layout or first < address or end < stop:
            codes.append(ADDRESS)
        elif not value.takes(data[2 * (first - address):2 * (stop - address)]):
            codes.append(VALUE)
    return min(codes, default=0)
