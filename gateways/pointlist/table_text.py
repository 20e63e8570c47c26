"""Text of a CSV table to rows of cells: delimiter, comments and header found, every row with its line and columns.

A cell may be quoted ("a, b", with "" for a quote in it) but may not span lines, so a line that begins with ``#`` is a
comment wherever it stands, and a message's line is the line that an editor shows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cosim.errors import PointListError, Problem
from gateways.pointlist.columns import MAX_CELL, Cell

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 65_536
MAX_COLUMNS = 256
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: its number in the file and its cells."""

    number: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is written: its delimiter (None: found out), and the lines above the header to leave out."""

    delimiter: str | None = None
    skip_lines: int = 0
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True)
class TableText:
    """A table as read: comment lines above the header, the header, and the rows; problems met on the way."""

    comments: tuple[str, ...]
    header: Line
    rows: tuple[Line, ...]
    problems: tuple[Problem, ...]


def read_file(path: Path, encoding: str = "utf-8") -> str:
    """The text of a list; raises PointListError when it cannot be read, is too large or is in another encoding."""
    file = str(path)
    try:
        if not path.is_file():
            raise PointListError((Problem("no such file; expected a point list (CSV)" if not path.exists() else
                                          "is not a regular file; expected a point list (CSV)", file=file),))
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise PointListError((Problem(f"cannot be read: {why}", file=file.replace("\0", "\\0")),)) from None
    if len(raw) > MAX_BYTES:
        raise PointListError((Problem(f"more than {MAX_BYTES >> 20} MiB; a point list is at most that", file=file),))
    try:
        return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        message = (f"not {encoding} text: found byte 0x{raw[error.start]:02x}; expected a CSV saved as \"CSV UTF-8\" "
                   "(in Excel: Save as)")
        raise PointListError((Problem(message, "", file, line, column, "csv"),)) from None
    except LookupError:
        raise PointListError((Problem(f"unknown encoding '{encoding}'; expected utf-8, cp1252, latin-1 ...",
                                      file=file),)) from None


def read_table(text: str, source: str, layout: Layout | None = None) -> TableText:
    """The table in a text; raises PointListError when there is no header or too much of anything."""
    layout = layout or Layout()
    lines = text.removeprefix("\ufeff").split("\n")
    comments: list[str] = []
    first = layout.skip_lines
    while first < len(lines) and _is_idle(lines[first]):
        comments.append(lines[first].strip())
        first += 1
    if first >= len(lines):
        raise PointListError((Problem("no header; expected a first row with the columns' names", file=source),))
    delimiter = layout.delimiter or _delimiter(lines[first])
    problems: list[Problem] = []
    top = _cells(lines[first], delimiter, (source, first + 1), problems)
    if top is None:
        raise PointListError(tuple(problems))
    header = Line(first + 1, top)
    rows = [Line(number, cells) for number, line in enumerate(lines[first + 1:], first + 2)
            if not _is_idle(line) and (cells := _cells(line, delimiter, (source, number), problems)) is not None]
    if len(rows) > MAX_ROWS or len(header.cells) > MAX_COLUMNS:
        raise PointListError((Problem(f"{len(rows)} rows of {len(header.cells)} columns; expected at most {MAX_ROWS} "
                                      f"of {MAX_COLUMNS}", file=source),))
    return TableText(tuple(comments), header, tuple(rows), tuple(problems))


def _is_idle(line: str) -> bool:
    """Whether a line is empty or a comment; a spreadsheet may have put quotes or delimiters around it."""
    return line.strip().startswith(("#", '"#')) or not line.strip(' \r",;\t')


def _delimiter(header: str) -> str:
    """The one that parts the header best."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(DELIMITERS, key=bare.count)


def _cells(line: str, delimiter: str, place: tuple[str, int], problems: list[Problem]) -> tuple[Cell, ...] | None:
    """A line's cells; None, and a problem noted, where it is no line of a table."""
    text = line.removesuffix("\r")
    fault = _fault(text)
    if fault is None:
        try:
            parts = next(csv.reader([text], delimiter=delimiter, strict=True))
        except csv.Error:
            fault = (1, 'a quote is not closed, or stands inside a cell; expected "a ""quoted"" cell" on one line')
        else:
            long = [part for part in parts if len(part) > MAX_CELL]
            if not long:
                return tuple(Cell(part.strip(), column) for part, column in
                             zip(parts, _starts(text, delimiter, len(parts)), strict=True))
            fault = (1, f"a cell of {len(long[0])} characters; expected at most {MAX_CELL}")
    problems.append(Problem(fault[1], "", place[0], place[1], fault[0], "csv"))
    return None


def _fault(text: str) -> tuple[int, str] | None:
    """(column, what is wrong) with a line's characters."""
    if len(text) > MAX_CELL * MAX_COLUMNS:
        return 1, f"{len(text)} characters; expected at most {MAX_CELL * MAX_COLUMNS}"
    if text.isprintable():
        return None
    for i, letter in enumerate(text):
        if letter != "\t" and not letter.isprintable() and not letter.isspace():
            return i + 1, f"found the control character {letter!a}; expected text"
        if letter in "\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029":
            return i + 1, f"found a line break {letter!a} inside a line; expected one row a line"
    return None


def _starts(line: str, delimiter: str, count: int) -> Sequence[int]:
    """The column at which each cell begins, from 1."""
    if '"' not in line:
        ends = [i for i, letter in enumerate(line) if letter == delimiter]
    else:
        ends, quoted = [], False
        for i, letter in enumerate(line):
            quoted ^= letter == '"'
            if letter == delimiter and not quoted:
                ends.append(i)
    starts = [1, *(end + 2 for end in ends)]
    return starts if len(starts) == count else [1] * count
