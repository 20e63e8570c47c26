"""A canonical point list from a CSV file, with every error in it at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from cosim.errors import PointListError, Problem
from gateways.pointlist.address import Base
from gateways.pointlist.check import check_list
from gateways.pointlist.columns import COLUMNS, Cell, Row, canonical, unknown_column
from gateways.pointlist.entries import BASES, entry_of
from gateways.pointlist.model import Entry, PointList
from gateways.pointlist.table_text import Line, TableText, read_file, read_table

#: Problems shown of one list; beyond that the rest is counted.
MAX_PROBLEMS = 1_000

_BASE_LINE = re.compile(r"[\"'\s]*#+\s*base\s*[:=]\s*(?P<word>[^\s;,\"']*)[\"'\s;,\t]*", re.IGNORECASE)
_REQUIRED = ("tag", "address")
_NO_BASE = ("the list does not say what its addresses mean; put one of these lines above the header: `# base: 0` "
            "(hr 20 is written 20), `# base: 1` (hr 20 is written 21), `# base: modicon` (hr 20 = 40021 (400021)); "
            "or add a column `base`")


def read_point_list(path: Path | str) -> PointList:
    """The list in a file; raises PointListError with every problem found, in file order."""
    return read_text(read_file(Path(path)), str(path))


def read_text(text: str, source: str) -> PointList:
    """The list in a text; `source` names it in messages."""
    table = read_table(text, source)
    problems = list(table.problems)
    names = _names(table.header, source, problems)
    base = _base(table, names, source, problems)
    missing = [name for name in _REQUIRED if name not in names.values()]
    if missing or (base is None and "base" not in names.values()):
        problems += [Problem(f"no column '{name}'; expected columns tag, address, and table and type as needed", name,
                             source, table.header.number) for name in missing]
        raise PointListError(tuple(problems))
    rows = [Row(source, line.number, _named(line, table.header, names, problems)) for line in table.rows]
    return list_of(rows, base, source, (replace(problem, file=source) for problem in problems))


def list_of(rows: Iterable[Row], base: Base | None, source: str, problems: Iterable[Problem] = ()) -> PointList:
    """The checked list of some rows; raises PointListError with `problems`, theirs, and those between them."""
    found = list(problems)
    entries: list[Entry] = []
    by_line: dict[int, Row] = {}
    tags: dict[str, int] = {}
    for row in rows:
        by_line[row.line] = row
        entry = entry_of(row, base)
        tag = row.text("tag")
        if tag and tags.setdefault(tag, row.line) != row.line:
            row.fault("tag", f"found '{tag}' again; line {tags[tag]} has it already")
        found += row.problems
        if entry is not None:
            entries.append(entry)
    found += (_placed(problem, by_line) for problem in check_list(entries, source, tags))
    if not entries and not found:
        found.append(Problem("no rows; expected at least one below the header", file=source))
    if found:
        raise PointListError(limited(found, source))
    return PointList(tuple(entries), source)


def _placed(problem: Problem, by_line: Mapping[int, Row]) -> Problem:
    """The same problem with the column of the cell that it is about."""
    row = by_line.get(problem.line)
    cell = row.cells.get(problem.path) if row is not None else None
    return replace(problem, column=cell.column if cell is not None else 1)


def limited(problems: list[Problem], source: str) -> tuple[Problem, ...]:
    """In file order, at most MAX_PROBLEMS of them."""
    ordered = sorted(problems, key=lambda problem: (problem.line, problem.column))
    if len(ordered) <= MAX_PROBLEMS:
        return tuple(ordered)
    rest = Problem(f"... and {len(ordered) - MAX_PROBLEMS} problems more", file=source)
    return (*ordered[:MAX_PROBLEMS], rest)


def _names(header: Line, source: str, problems: list[Problem]) -> Mapping[int, str]:
    """Canonical name of each column by its number in the row; unknown ones and repetitions are noted."""
    names: dict[int, str] = {}
    for i, cell in enumerate(header.cells):
        name = canonical(cell.text)
        if not cell.text:
            continue
        if name not in COLUMNS:
            problems.append(Problem(unknown_column(cell.text), "", source, header.number, cell.column, "columns"))
        elif name in names.values():
            problems.append(Problem(f"a second column '{cell.text}'; expected each once", "", source, header.number,
                                    cell.column, "columns"))
        else:
            names[i] = name
    return names


def _named(line: Line, header: Line, names: Mapping[int, str], problems: list[Problem]) -> dict[str, Cell]:
    """A row's cells by column name; what stands under no name is noted (in `problems`, whose file is still unknown)."""
    for i, cell in enumerate(line.cells):
        if cell.text and not (i < len(header.cells) and header.cells[i].text):
            problems.append(Problem(f"found '{cell.text[:40]}' in cell {i + 1}, which has no column name above it; "
                                    "expected nothing (is a comma in a cell without quotes?)", "", "", line.number,
                                    cell.column, "columns"))
            break
    return {names[i]: cell for i, cell in enumerate(line.cells) if i in names}


def _base(table: TableText, names: Mapping[int, str], source: str, problems: list[Problem]) -> Base | None:
    """What the addresses mean, as the line above the header has it."""
    found = [(i, match["word"].lower()) for i, comment in enumerate(table.comments, 1)
             if (match := _BASE_LINE.fullmatch(comment))]
    if not found:
        if "base" not in names.values():
            problems.append(Problem(_NO_BASE, "base", source, table.header.number))
        return None
    line, word = found[0]
    if len(found) > 1:
        problems.append(Problem("a second line `# base:`; expected one", "base", source, found[1][0]))
    if word not in BASES:
        problems.append(Problem(f"found '{word}'; expected `# base: 0`, `# base: 1` or `# base: modicon`", "base",
                                source, line))
    return BASES.get(word)
