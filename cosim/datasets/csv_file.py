"""CSV text to an unchecked `Profile`: streamed in blocks, each refused cell noted with line and column."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from cosim.datasets.columns import choose_columns
from cosim.datasets.findings import Findings, Limits
from cosim.datasets.model import Profile
from cosim.datasets.stamps import Floats, Ints, Mask, iso_to_us, seconds_to_us

_BLOCK_BYTES = 4 * 1024 * 1024
_MAX_HEADER_BYTES = 1024 * 1024
_MAX_COMMENT_LINES = 1000
_MISSING = pa.array(["", "nan", "na", "n/a", "null", "none"])
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True, slots=True)
class _Header:
    """``line`` is the header's own line, from 1; ``names`` are all columns, the time first; ``ends`` where nothing
    follows (Arrow calls that an error, we call it no samples)."""

    names: tuple[str, ...]
    delimiter: str
    line: int
    ends: bool


@dataclass(slots=True)
class _Blocks:
    """What was read so far: one array a block."""

    t_us: list[Ints] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    rows: list[Ints] = field(default_factory=list)


@dataclass(slots=True)
class _Reading:
    """One file being read: ``next_line`` is the line of the next block's first row, ``skipped`` lines have the
    wrong number of cells (Arrow leaves them out of its blocks)."""

    header: _Header
    chosen: list[str]
    findings: Findings
    next_line: int
    skipped: list[int] = field(default_factory=list)

    def on_bad_row(self, row: pacsv.InvalidRow) -> str:
        """Arrow's callback for a row with too few or too many cells."""
        self.skipped.append(row.number)
        text = f"has {row.actual_columns} cells, expected {row.expected_columns} as in the header: {_short(row.text)}"
        if row.text.strip():
            self.findings.add("profile-cells", text, row.number, 1)
        return "skip"

    def lines_of(self, count: int) -> Ints:
        """The line numbers (count,) of the next rows, leaving out those that were skipped."""
        candidates = np.arange(self.next_line, self.next_line + count + len(self.skipped), dtype=np.int64)
        lines = candidates[~np.isin(candidates, self.skipped)][:count]
        if count:
            self.next_line = int(lines[-1]) + 1
        return lines


def read_csv(path: Path, wanted: Sequence[str] | None, findings: Findings, limits: Limits) -> Profile | None:
    """The file as a `Profile` whose order is unchecked and whose stamps count from 1970; None without a header.

    Rows with a refused time are left out (and noted); refused cells are 0 (and noted).
    """
    header = _read_header(path, findings)
    if header is None:
        return None
    chosen = choose_columns(header.names, wanted, findings, header.line)
    if findings.any_of("profile-header", "profile-columns"):
        return None
    blocks = _read_blocks(path, _Reading(header, chosen, findings, header.line + 1), limits)
    return Profile(
        columns=tuple(chosen),
        t_us=np.concatenate([np.empty(0, np.int64), *blocks.t_us]),
        values=np.concatenate([np.empty((0, len(chosen))), *blocks.values]),
        rows=np.concatenate([np.empty(0, np.int64), *blocks.rows]),
        source=findings.source,
        epoch_us=None if header.names[0] == "t_s" else 0,
    )


def _read_header(path: Path, findings: Findings) -> _Header | None:
    with path.open("rb") as stream:
        for line in range(1, _MAX_COMMENT_LINES + 2):
            raw = stream.readline(_MAX_HEADER_BYTES)
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip() and not raw.startswith(b"#"):
                return _parse_header(raw, line, not stream.read(1), findings)
            if not raw:
                findings.add("profile-empty", "has no header; expected a first line such as 't_s,load_p_kw'")
                return None
    findings.add("profile-header", f"starts with more than {_MAX_COMMENT_LINES} comment lines")
    return None


def _parse_header(raw: bytes, line: int, ends: bool, findings: Findings) -> _Header | None:
    try:
        text = raw.decode("utf-8").strip("\r\n")
        delimiter = max(",;\t", key=text.count)
        names = tuple(name.strip() for name in next(csv.reader([text], delimiter=delimiter)))
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
        findings.add("profile-unreadable", f"the header is not CSV in UTF-8: {error}", line, 1)
        return None
    return _Header(names, delimiter, line, ends)


def _read_blocks(path: Path, reading: _Reading, limits: Limits) -> _Blocks:
    blocks, cells = _Blocks(), 0
    if reading.header.ends:
        return blocks
    try:
        for batch in _open(path, reading):
            cells += batch.num_rows * batch.num_columns
            if cells > limits.max_cells:
                reading.findings.add(
                    "profile-size", f"has more than {limits.max_cells:,} cells; read fewer columns or split the file"
                )
                break
            _take_block(batch, reading, blocks)
            if reading.findings.full:
                break
    except pa.ArrowInvalid as error:
        reading.findings.add("profile-unreadable", f"is not CSV text in UTF-8: {error}")
    return blocks


def _open(path: Path, reading: _Reading) -> pacsv.CSVStreamingReader:
    names = list(reading.header.names)
    needed = [names[0], *reading.chosen]
    return pacsv.open_csv(
        str(path),
        # One thread: only then are invalid rows numbered.
        pacsv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows=reading.header.line
        ),
        pacsv.ParseOptions(
            delimiter=reading.header.delimiter, ignore_empty_lines=False, invalid_row_handler=reading.on_bad_row
        ),
        # Text, not numbers: Arrow would stop at the first bad cell, and we want them all.
        pacsv.ConvertOptions(
            column_types=dict.fromkeys(needed, pa.string()), include_columns=needed, strings_can_be_null=False
        ),
    )


def _take_block(batch: pa.RecordBatch, reading: _Reading, blocks: _Blocks) -> None:
    lines = reading.lines_of(batch.num_rows)
    blank = _blank_rows(batch)
    if blank.any():
        batch, lines = batch.filter(pa.array(~blank)), lines[~blank]
    t_us, bad_time = _times(batch.column(0), reading, lines)
    values = np.empty((batch.num_rows, len(reading.chosen)))
    for index, name in enumerate(reading.chosen):
        values[:, index] = _numbers(batch.column(index + 1), name, reading, lines)
    blocks.t_us.append(t_us[~bad_time])
    blocks.values.append(values[~bad_time])
    blocks.rows.append(lines[~bad_time])


def _blank_rows(batch: pa.RecordBatch) -> Mask:
    """Rows with nothing in any cell: blank lines, which carry no sample."""
    blank = _numpy(pc.equal(batch.column(0), ""))
    for column in batch.columns[1:] if blank.any() else ():
        blank = blank & _numpy(pc.equal(column, ""))
    return blank


def _times(column: pa.Array, reading: _Reading, lines: Ints) -> tuple[Ints, Mask]:
    if reading.header.names[0] == "time":
        t_us, refused = iso_to_us(column)
        expected = "an ISO 8601 time stamp such as 2016-07-04T12:00:00+02:00, no finer than a microsecond"
    else:
        seconds, not_a_number = _to_floats(column)
        t_us, refused = seconds_to_us(seconds)
        refused = refused | not_a_number
        expected = "seconds from the start as a number in whole microseconds, such as 900 or 0.25"
    for row in np.flatnonzero(refused):
        text = f"column {reading.header.names[0]!r}: found {_short(column[int(row)].as_py())}, expected {expected}"
        reading.findings.add("profile-time", text, int(lines[row]), 1)
        if reading.findings.full:
            break
    return t_us, refused


def _numbers(column: pa.Array, name: str, reading: _Reading, lines: Ints) -> Floats:
    values, refused = _to_floats(column)
    refused = refused | np.isinf(values)
    for row in np.flatnonzero(refused):
        text = (
            f"column {name!r}: found {_short(column[int(row)].as_py())}, expected a finite number such as 0.25 "
            "(decimal point, no thousands separator)"
        )
        reading.findings.add("profile-number", text, int(lines[row]), reading.header.names.index(name) + 1)
        if reading.findings.full:
            break
    # Not NaN: a refused cell must not be reported once more as a missing one.
    return np.where(refused, 0.0, values)


def _to_floats(column: pa.Array) -> tuple[Floats, Mask]:
    """Numbers (n,), NaN where missing or refused, and the mask (n,) of refused cells."""
    try:
        values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
        return values, np.zeros(len(column), dtype=bool)
    except pa.ArrowInvalid:
        pass
    text = pc.utf8_trim_whitespace(column)
    is_number = pc.match_substring_regex(text, _NUMBER)
    values = pc.cast(pc.if_else(is_number, text, "nan"), pa.float64()).to_numpy(zero_copy_only=False)
    is_missing = pc.is_in(pc.utf8_lower(text), value_set=_MISSING)
    return values, ~(_numpy(is_number) | _numpy(is_missing))


def _numpy(mask: pa.Array) -> NDArray[np.bool_]:
    return np.array(mask.to_numpy(zero_copy_only=False), dtype=bool)


def _short(text: str) -> str:
    """A cell for a message: quoted, at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:37] + "...")
