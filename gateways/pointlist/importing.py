"""A vendor's CSV to a point list, by a mapping that says which of their columns is which of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cosim.errors import PointListError, Problem
from gateways.pointlist.columns import COLUMNS, Cell, Row, canonical, did_you_mean, unknown_column
from gateways.pointlist.entries import BASES
from gateways.pointlist.model import PointList
from gateways.pointlist.reader import list_of
from gateways.pointlist.table_text import Layout, Line, TableText, read_file, read_table

#: Words that vendors use and that can mean only one thing; a mapping's own `values` come first.
_SYNONYMS: dict[str, dict[str, str]] = {
    "type": {"bit": "bool", "boolean": "bool", "short": "int16", "s16": "int16", "i16": "int16", "sint16": "int16",
             "u16": "uint16", "word": "uint16", "s32": "int32", "i32": "int32", "sint32": "int32", "u32": "uint32",
             "dword": "uint32", "s64": "int64", "u64": "uint64", "float": "float32", "real": "float32",
             "f32": "float32", "single": "float32",
             "double": "float64", "lreal": "float64", "f64": "float64", "ascii": "string"},
    "access": {"ro": "R", "read": "R", "read only": "R", "r/o": "R", "r/w": "RW", "read/write": "RW", "rd/wr": "RW",
               "wo": "W", "w/o": "W", "write only": "W"},
}
_NUMBERS = ("scale", "offset", "min", "max", "deadband", "on_comm_loss")
_MAX_NAME = 200


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class ColumnMap(_Strict):
    """Where one of our columns comes from: `column` (theirs) or `value` (the same for every row).

    `values` translates what stands there; `default` stands for an empty cell.
    """

    column: str | None = Field(None, max_length=_MAX_NAME)
    value: str | None = Field(None, max_length=_MAX_NAME)
    values: dict[str, str] = Field(default_factory=dict, max_length=1000)
    default: str = ""


class VendorMap(_Strict):
    """A mapping file: how their table is written, and `columns`, ours by name.

    `skip_lines` stand above the header; `skip_rows` leaves out rows by what stands in one of their columns.
    """

    columns: dict[str, ColumnMap] = Field(min_length=1, max_length=100)
    base: str | None = None
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    encoding: str = Field("utf-8", max_length=40)
    decimal: str = Field(".", pattern=r"^[.,]$")
    skip_lines: int = Field(0, ge=0, le=10_000)
    skip_rows: dict[str, list[str]] = Field(default_factory=dict, max_length=100)

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        """``tag: Name`` is short for ``tag: {column: Name}``."""
        if not isinstance(value, dict):
            return value
        return {canonical(str(key)): {"column": inner} if isinstance(inner, str) else inner
                for key, inner in value.items()}


def read_mapping(data: Any, source: str) -> VendorMap:
    """A mapping file's data (of YAML or TOML), validated; raises PointListError with everything wrong with it."""
    if not isinstance(data, dict):
        raise PointListError((Problem("expected a mapping with `base` and `columns`", file=source),))
    try:
        found = VendorMap.model_validate(data)
    except ValidationError as error:
        found_wrong = [(item["msg"], f"{item['input']!s:.80}", ".".join(map(str, item["loc"])))
                       for item in error.errors()]
        raise PointListError(tuple(Problem(f"{message}; found {value}", path, source)
                                   for message, value, path in found_wrong)) from None
    problems = list(_mapping_faults(found, source))
    if problems:
        raise PointListError(tuple(problems))
    return found


def import_vendor(path: Path, mapping: VendorMap) -> PointList:
    """The list of a vendor's file; raises PointListError with every problem, at lines and columns of their file."""
    source = str(path)
    layout = Layout(mapping.delimiter, mapping.skip_lines, mapping.encoding)
    table = read_table(read_file(path, layout.encoding), source, layout)
    places = _places(table, mapping, source)
    skipped = {places[name.strip().lower()]: {value.strip().lower() for value in values}
               for name, values in mapping.skip_rows.items()}
    kept = [line for line in table.rows
            if not any(_cell(line, i).text.lower() in values for i, values in skipped.items())]
    rows = [Row(source, line.number, {name: _translated(name, part, line, (mapping, places))
                                      for name, part in mapping.columns.items()}) for line in kept]
    base = None if mapping.base is None else BASES[mapping.base.lower()]
    return list_of(rows, base, source, table.problems)


def _mapping_faults(mapping: VendorMap, source: str) -> Iterator[Problem]:
    for name, part in mapping.columns.items():
        if name not in COLUMNS:
            yield Problem(unknown_column(name), f"columns.{name}", source)
        if (part.column is None) == (part.value is None):
            yield Problem("expected either `column` (the name of theirs) or `value` (the same for every row)",
                          f"columns.{name}", source)
    for name in ("tag", "address"):
        if name not in mapping.columns:
            yield Problem(f"no `{name}`; expected the vendor's column that holds it", "columns", source)
    if mapping.base is None and "base" not in mapping.columns:
        yield Problem("found nothing; expected 0, 1 or modicon: what the vendor's addresses mean (hr 20 is written 20, "
                      "21 or 40021)", "base", source)
    elif mapping.base is not None and mapping.base.lower() not in BASES:
        yield Problem(f"found '{mapping.base}'; expected 0, 1 or modicon", "base", source)


def _places(table: TableText, mapping: VendorMap, source: str) -> dict[str, int]:
    """Number of each of their columns by its name in lower case; PointListError names those that are missing."""
    places: dict[str, int] = {}
    for i, cell in enumerate(table.header.cells):
        places.setdefault(cell.text.lower(), i)
    theirs = [cell.text for cell in table.header.cells if cell.text]
    wanted = [(f"columns.{name}", part.column) for name, part in mapping.columns.items() if part.column is not None]
    wanted += [("skip_rows", name) for name in mapping.skip_rows]
    known = ", ".join(theirs)[:500]
    missing = [Problem(f"their file has no column '{name}'{did_you_mean(name, theirs)}; it has {known}", path, source,
                       table.header.number)
               for path, name in wanted if name.strip().lower() not in places]
    if missing:
        raise PointListError(tuple(missing))
    return places


def _cell(line: Line, i: int) -> Cell:
    return line.cells[i] if i < len(line.cells) else Cell("")


def _translated(name: str, part: ColumnMap, line: Line, of: tuple[VendorMap, Mapping[str, int]]) -> Cell:
    """What stands in one of our columns for one of their rows."""
    mapping, places = of
    if part.column is None:
        return Cell(part.value or "")
    cell = _cell(line, places[part.column.strip().lower()])
    text = cell.text or part.default
    by_lower = {key.strip().lower(): value for key, value in part.values.items()}
    text = part.values.get(text, by_lower.get(text.lower(), _SYNONYMS.get(name, {}).get(text.lower(), text)))
    if mapping.decimal == "," and name in _NUMBERS:
        text = text.replace(",", ".")
    return Cell(text, cell.column)
