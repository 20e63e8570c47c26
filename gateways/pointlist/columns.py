"""The columns of a point list, and a row that turns its cells into values and notes what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import TypeVar

from cosim.errors import Problem

Value = TypeVar("Value")

#: Columns in canonical order and what they hold.
COLUMNS: dict[str, str] = {
    "tag": "name of the entry, unique in the list",
    "point": "name of the run's point (empty: the tag)",
    "feedback": "point that reads show instead, e.g. where a breaker stands (an output is nothing while nobody asks)",
    "unit": "unit identifier of the station, 1 to 247 (empty: 1)",
    "table": "co, di, hr, ir, or coil, discrete_input, holding_register, input_register",
    "address": "where it begins; what the number means is said by `base`",
    "base": "0, 1 or modicon (empty: the line `# base: ...` above the header)",
    "type": "bool, int16 to uint64, float32, float64, string, bitfield (empty in co and di: bool)",
    "registers": "length of a string (1 to 125) or a bitfield (1, 2, 4)",
    "order": "ABCD (empty), CDAB, BADC, DCBA",
    "bit": "of a bool in a register: 0 (least significant) to 15",
    "bits": "of a bitfield: its points from bit 0 up, separated by spaces",
    "text": "of a string: what it says",
    "scale": "engineering value = raw x scale + offset (empty: 1)",
    "offset": "see scale (empty: 0)",
    "units": "engineering units, e.g. kW",
    "min": "least value that may be asked for, engineering units",
    "max": "greatest value that may be asked for",
    "on_overflow": "clamp, exception (empty) or flag: what is done with a value that does not fit",
    "access": "R (empty), RW or W: nothing can be written unless it says so",
    "bad_quality": "sentinel (empty), exception or last: what a read shows of a value that is not good",
    "shows": "value (empty) or quality",
    "interlock": "tag that must read 1 for a write to be taken; !tag: must read 0",
    "role_read": "observer (empty), operator, engineer or admin",
    "role_write": "observer, operator (empty), engineer or admin",
    "on_comm_loss": "hold (empty), release, or the value to ask for",
    "deadband": "change below which nothing is reported, engineering units (empty: 0)",
    "class": "DNP3 event class: 0, 1, 2, 3 or none (empty)",
    "variation": "DNP3 variation, e.g. g30v5",
    "description": "for people",
}
#: Other names by which a column may go.
ALIASES = {"word_order": "order", "byte_order": "order", "quality_source": "bad_quality", "unit_id": "unit"}
#: What people mean by names that are no column's.
_MEANT = {"name": "tag", "tag_name": "tag", "register": "address", "index": "address", "kind": "table",
          "data_type": "type", "datatype": "type", "format": "type", "gain": "scale", "factor": "scale",
          "multiplier": "scale", "eu": "units", "uom": "units", "engineering_units": "units", "slave": "unit",
          "device_id": "unit", "rw": "access", "low": "min", "high": "max", "comment": "description",
          "length": "registers", "notation": "base", "quality_from": "bad_quality", "source": "point"}

MAX_CELL = 1_000
#: Names that a wrong one is compared with, at most: looking through many takes long.
MAX_COMPARED = 20_000
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, without blanks at its ends, and the column of the line where it begins (from 1)."""

    text: str
    column: int = 0


@dataclass(slots=True)
class Row:
    """One row: cells by canonical column name.  What cannot be read is noted in `problems` and comes back as None.

    An empty cell is no problem here: it comes back as the default.
    """

    file: str
    line: int
    cells: Mapping[str, Cell]
    problems: list[Problem] = field(default_factory=list)
    where: str = ""
    """Tag and place in all notations, as soon as they are known: every message says it."""

    def fault(self, column: str, message: str) -> None:
        """Note that something is wrong in a column."""
        cell = self.cells.get(column)
        text = f"{message} [{self.where}]" if self.where else message
        self.problems.append(Problem(text, column, self.file, self.line, cell.column if cell else 0, "point-list"))

    def text(self, column: str) -> str:
        """The cell as it is; "" where it is empty or the list has no such column."""
        cell = self.cells.get(column)
        return cell.text if cell else ""

    def number(self, column: str) -> float | None:
        """A finite decimal number."""
        text = self.text(column)
        if not text:
            return None
        if _NUMBER.fullmatch(text) and abs(float(text)) < 1e300:
            return float(text)
        comma = " with a decimal point, not a comma" if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text) else ", e.g. 0.1"
        self.fault(column, f"found '{text}'; expected a finite number{comma}")
        return None

    def integer(self, column: str, low: int, high: int) -> int | None:
        """A whole number within bounds."""
        text = self.text(column)
        if not text:
            return None
        if re.fullmatch(r"[0-9]{1,9}", text) and low <= int(text) <= high:
            return int(text)
        hint = ""
        if column == "unit" and not text.isdigit():
            hint = " (it identifies the station; engineering units such as kW belong into `units`)"
        self.fault(column, f"found '{text}'; expected a whole number from {low} to {high}{hint}")
        return None

    def word(self, column: str, words: Mapping[str, Value]) -> Value | None:
        """One of a few words, in any case."""
        text = self.text(column)
        if not text:
            return None
        if text in words:
            return words[text]
        by_lower = {word.lower(): value for word, value in words.items()}
        if text.lower() in by_lower:
            return by_lower[text.lower()]
        self.fault(column, f"found '{text}'{did_you_mean(text, words)}; expected one of {', '.join(words)}")
        return None


def canonical(name: str) -> str:
    """A header's name as columns are spelled: lower case, underscores for blanks and hyphens, aliases replaced."""
    plain = re.sub(r"[\s\-]+", "_", name.strip().lower())
    return ALIASES.get(plain, plain)


def did_you_mean(found: str, options: Iterable[str]) -> str:
    """`` (did you mean …?)`` where something is close; nothing where there is too much to compare with."""
    names = tuple(options)
    return "" if len(names) > MAX_COMPARED else _nearest(found[:MAX_CELL], names)


@lru_cache(1000)
def _nearest(found: str, options: tuple[str, ...]) -> str:
    """The same mistake tends to stand in every row: it is looked for once."""
    by_lower = {option.lower(): option for option in options}
    close = get_close_matches(found.lower(), by_lower, 1, 0.6)
    return f" (did you mean '{by_lower[close[0]]}'?)" if close else ""


def unknown_column(name: str) -> str:
    """What to say of a header's name that is no column's."""
    meant = _MEANT.get(canonical(name))
    hint = f" (did you mean '{meant}'?)" if meant else did_you_mean(canonical(name), COLUMNS)
    return f"unknown column '{name}'{hint}; known: {', '.join(COLUMNS)}"
