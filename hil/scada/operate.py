"""What an operator types, and what a setpoint looks like on the wire."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cosim.errors import GatewayError
from gateways.modbus.bank import Table
from gateways.pointlist.codec import encode
from gateways.pointlist.model import Access, DataType, Entry
from hil.scada.blocks import is_bits
from hil.scada.link import Link, Reply

WORDS = "commands: set TAG VALUE · ack [PATTERN] · list [PATTERN] · alarms · status · quit"


@dataclass(frozen=True, slots=True)
class Command:
    """One line of an operator."""

    word: str
    argument: str = ""
    value: float = math.nan


def parse_command(line: str) -> Command | None:
    """The command of a line; None for an empty one; raises GatewayError that says what is understood."""
    parts = line.split()
    if not parts:
        return None
    word, rest = parts[0].lower(), parts[1:]
    if word == "set":
        if len(rest) != 2:
            raise GatewayError(f"'{line.strip()}': expected set TAG VALUE")
        return Command("set", rest[0], number(rest[1]))
    most = {"ack": 1, "list": 1, "alarms": 0, "status": 0, "quit": 0}
    if word not in most:
        raise GatewayError(f"'{parts[0][:40]}' is no command; {WORDS}")
    if len(rest) > most[word]:
        raise GatewayError(f"'{line.strip()[:80]}': too many words; {WORDS}")
    return Command(word, rest[0] if rest else "*")


def number(text: str) -> float:
    """A value as people write it: a number, on/off, true/false, open/closed; raises GatewayError."""
    words = {"on": 1.0, "true": 1.0, "closed": 1.0, "off": 0.0, "false": 0.0, "open": 0.0}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return float(text)
    except ValueError:
        raise GatewayError(f"'{text[:40]}' is no value; expected a number, or on/off, true/false, open/closed"
                           ) from None


def why_not(entry: Entry, value: float) -> str:
    """Why the point list does not allow a write of `value`, or "" when it does."""
    if entry.access is Access.READ or entry.table not in (Table.COILS, Table.HOLDING_REGISTERS):
        return "the point list gives it for reading only"
    if math.isnan(value):
        return "not a number cannot be sent"
    if value < entry.low or value > entry.high:
        return f"{value:g} is outside {entry.low:g} … {entry.high:g} {entry.units}".rstrip()
    if entry.type is DataType.STRING:
        return "a string is constant"
    return "" if encode(value, entry) is not None else f"{value:g} does not fit its type {entry.type.value}"


async def send(link: Link, entry: Entry, value: float) -> Reply:
    """Write one value: functions 5, 6, 16, or 22 for a bit within a register.  `value` fits (see `why_not`)."""
    data = encode(value, entry)
    assert data is not None, "the caller asked why_not"
    if is_bits(entry.table):
        return await link.write_coils(entry.unit, entry.address, [any(data)])
    if entry.type is DataType.BOOL and entry.bit is not None:
        mask = 1 << entry.bit
        return await link.mask_register(entry.unit, entry.address, 0xFFFF ^ mask, mask if any(data) else 0)
    return await link.write_registers(entry.unit, entry.address, data)
