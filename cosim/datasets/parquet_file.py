"""Parquet to an unchecked `Profile`.  Parquet has types, so most of what can be wrong is wrong in the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosim.datasets.columns import choose_columns
from cosim.datasets.findings import Findings, Limits
from cosim.datasets.model import Profile
from cosim.datasets.stamps import Floats, Ints, Mask, iso_to_us, seconds_to_us


def read_parquet(path: Path, wanted: Sequence[str] | None, findings: Findings, limits: Limits) -> Profile | None:
    """The file as a `Profile` whose order is unchecked and whose stamps count from 1970; None where unreadable.

    Rows with a refused time are left out (and noted); refused cells stay infinite (and are noted).
    """
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            chosen = choose_columns(schema.names, wanted, findings, 0)
            if not findings.problems():
                _check_types(schema, chosen, findings)
                _check_size(file.metadata.num_rows, len(chosen) + 1, findings, limits)
            if findings.problems():
                return None
            table = file.read(columns=[schema.names[0], *chosen])
    except (pa.ArrowException, OSError) as error:
        findings.add("profile-unreadable", f"is not a Parquet file that can be read: {_first_line(error)}")
        return None
    return _profile(table, chosen, findings)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:200]


def _check_size(rows: int, columns: int, findings: Findings, limits: Limits) -> None:
    if rows * columns > limits.max_cells:
        findings.add(
            "profile-size",
            f"has {rows * columns:,} cells; at most {limits.max_cells:,} are read. Read fewer "
            "columns or split the file",
        )


def _check_types(schema: pa.Schema, chosen: list[str], findings: Findings) -> None:
    name = schema.names[0]
    kind = schema.field(0).type
    stamped = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or _is_text(kind)
    if name == "time" and not stamped:
        findings.add("profile-time", f"column 'time' holds {kind}, expected timestamps or ISO 8601 strings")
    if name == "t_s" and not _is_number(kind):
        findings.add("profile-time", f"column 't_s' holds {kind}, expected numbers (seconds from the start)")
    for column in chosen:
        held = schema.field(column).type
        if not _is_number(held):
            findings.add("profile-number", f"column {column!r} holds {held}, expected numbers")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _profile(table: pa.Table, chosen: list[str], findings: Findings) -> Profile:
    first = table.column_names[0]
    t_us, bad_time = _times(table.column(0).combine_chunks(), first)
    for row in np.flatnonzero(bad_time):
        if findings.full:
            break
        text = f"column {first!r}: found {table.column(0)[int(row)]}, expected a time in whole microseconds"
        findings.add("profile-time", f"row {row + 1}: {text}")
    values = np.empty((table.num_rows, len(chosen)))
    for index, name in enumerate(chosen):
        values[:, index] = _floats(table.column(name))
        for row in np.flatnonzero(np.isinf(values[:, index])):
            if findings.full:
                break
            text = f"column {name!r}: found {values[row, index]}, expected a finite number"
            findings.add("profile-number", f"row {row + 1}: {text}")
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    good = ~bad_time
    epoch_us = None if first == "t_s" else 0
    return Profile(tuple(chosen), t_us[good], values[good], rows[good], findings.source, epoch_us, is_text=False)


def _times(column: pa.Array, name: str) -> tuple[Ints, Mask]:
    """Microseconds (n,) and the mask of refused rows, nulls among them."""
    missing = np.array(pc.is_null(column).to_numpy(zero_copy_only=False), dtype=bool)
    if name == "t_s":
        t_us, refused = seconds_to_us(_floats(column))
        return t_us, refused | missing
    if _is_text(column.type):
        t_us, refused = iso_to_us(pc.fill_null(pc.cast(column, pa.string()), "1970-01-01"))
        return t_us, refused | missing
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    exact = pc.cast(column, pa.timestamp("us", zone), safe=False)
    too_fine = pc.not_equal(pc.cast(exact, column.type, safe=False), column)
    refused = np.array(pc.fill_null(too_fine, True).to_numpy(zero_copy_only=False), dtype=bool)
    filled = pc.fill_null(pc.cast(exact, pa.int64()), 0)
    return np.array(filled.to_numpy(zero_copy_only=False), dtype=np.int64), refused | missing


def _floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """float64 (n,); null is NaN."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.array(pc.cast(whole, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
