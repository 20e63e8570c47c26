"""Addresses in the three notations that people use, and the one that lies on the wire.

========  =================  ======================================================================
base      hr 20 on the wire  what it is
========  =================  ======================================================================
0         20                 the address in the request (Modbus Application Protocol v1.1b3, 4.4)
1         21                 the data model's number, counted from 1
modicon   40021 or 400021    table digit and number from 1: 5 digits up to 9999, 6 digits up to 65536
========  =================  ======================================================================

Taking one for another is the commonest mistake of all: so a list must say which it uses, and every message shows them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from gateways.modbus.bank import Table
from gateways.pointlist.model import Entry

ADDRESSES = 65_536
WRITABLE_TABLES = (Table.COILS, Table.HOLDING_REGISTERS)

SHORT = {Table.COILS: "co", Table.DISCRETE_INPUTS: "di", Table.HOLDING_REGISTERS: "hr", Table.INPUT_REGISTERS: "ir"}
_LONG = {Table.COILS: "coil", Table.DISCRETE_INPUTS: "discrete_input", Table.HOLDING_REGISTERS: "holding_register",
         Table.INPUT_REGISTERS: "input_register"}
TABLE_WORDS = {word: table for words in (SHORT, _LONG) for table, word in words.items()} | {
    f"{word}s": table for table, word in _LONG.items()}

_DIGITS = {Table.COILS: "0", Table.DISCRETE_INPUTS: "1", Table.HOLDING_REGISTERS: "4", Table.INPUT_REGISTERS: "3"}
_TABLES = {digit: table for table, digit in _DIGITS.items()}
_MODICON = ("expected 5 or 6 digits such as 40021 or 400021, which begin with 0 (coils), 1 (discrete inputs), "
            "3 (input registers) or 4 (holding registers) and count from 1")


class Base(Enum):
    """What the numbers in a list's `address` column mean; the value is the word used in files."""

    ZERO = "0"
    ONE = "1"
    MODICON = "modicon"


@dataclass(frozen=True, slots=True)
class Place:
    """One address on the wire: 0…65535 in a table."""

    table: Table
    address: int

    def __str__(self) -> str:
        """All three notations: ``hr 20 = 40021 (400021)``; beyond number 9999 there are only two."""
        six = modicon(self.table, self.address)
        if self.address >= 9999:
            return f"{SHORT[self.table]} {self.address} = {six}"
        return f"{SHORT[self.table]} {self.address} = {six[0]}{six[2:]} ({six})"


def modicon(table: Table, address: int) -> str:
    """The six-digit notation."""
    return f"{_DIGITS[table]}{address + 1:05d}"


def place_of(entry: Entry) -> Place:
    """Where an entry begins."""
    return Place(entry.table, entry.address)


def written(entry: Entry, base: Base) -> str:
    """The entry's address as a list of that base has it."""
    if base is Base.MODICON:
        return modicon(entry.table, entry.address)
    return str(entry.address + (base is Base.ONE))


def read_address(text: str, base: Base, table: Table | None) -> Place | str:
    """What an address cell means; a `str` says what is wrong with it and what would be accepted.

    In modicon notation the table is in the number; where `table` is given too they must agree.
    """
    if base is Base.MODICON:
        return _read_modicon(text, table)
    if table is None:
        return f"found address '{text}' without a table; expected one of {', '.join(SHORT.values())} in `table`"
    first = 1 if base is Base.ONE else 0
    if not re.fullmatch(r"[0-9]{1,9}|0[xX][0-9a-fA-F]{1,8}", text):
        return f"found '{text}'; expected a whole number from {first} to {ADDRESSES - 1 + first} (base {base.value})"
    number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
    if not first <= number < ADDRESSES + first:
        hint = f" ({text} is modicon notation: base modicon)" if isinstance(_read_modicon(text, table), Place) else ""
        return f"found {text}; expected {first} to {ADDRESSES - 1 + first} (base {base.value}){hint}"
    return Place(table, number - first)


def _read_modicon(text: str, table: Table | None) -> Place | str:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        return f"found '{text}'; {_MODICON}"
    if len(text) < 5:
        if table is Table.COILS and int(text):  # spreadsheets drop the leading zeros of 00021
            return Place(table, int(text) - 1)
        return f"found '{text}'; {_MODICON}" + ("" if table is None else f", e.g. {modicon(table, 0)}")
    found, number = _TABLES.get(text[0]), int(text[1:])
    if found is None or not 1 <= number <= ADDRESSES:
        return f"found '{text}'; {_MODICON}, up to 65536"
    if table is not None and found is not table:
        zero = f"; coil {int(text)} is written {int(text):06d}" if table is Table.COILS else ""
        return f"found '{text}', which is {Place(found, number - 1)}, but `table` says {SHORT[table]}{zero}"
    return Place(found, number - 1)


def read_place(text: str) -> Place | None:
    """A place as people say it: ``40021``, ``400021``, ``hr 20``, ``hr:20``, ``coil 3``; None: it is no place."""
    match = re.fullmatch(r"([a-z_]+)[\s:]\s*([0-9]{1,5})", text.strip().lower())
    if match is not None:
        table = TABLE_WORDS.get(match[1])
        found = None if table is None else read_address(match[2], Base.ZERO, table)
        return found if isinstance(found, Place) else None
    found = _read_modicon(text.strip(), None)
    return found if isinstance(found, Place) else None
