"""Time columns to integer microseconds: numeric seconds and ISO 8601 stamps, vectorised, refusals as a mask."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_SECONDS = 1e12
"""Beyond 30,000 years a time is a slip of the pen; 1e12 s in microseconds still fits int64."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOO_FINE = re.compile(r"[.,]\d{6}\d*[1-9]")


def seconds_to_us(seconds: Floats) -> tuple[Ints, Mask]:
    """Whole microseconds (n,) and the mask (n,) of refused rows: not finite, too large, finer than 1 µs.

    A hundredth of a microsecond (or the spacing of float64 there, if that is more) is the tolerance, because
    0.1 s has no exact binary form.
    """
    usable = np.isfinite(seconds) & (np.abs(seconds) <= MAX_SECONDS)
    exact = np.where(usable, seconds, 0.0) * 1e6
    t_us = np.rint(exact)
    tolerance = np.maximum(0.01, 2.0 * np.spacing(np.abs(exact)))
    refused = ~usable | (np.abs(exact - t_us) > tolerance)
    return t_us.astype(np.int64), refused


def iso_to_us(stamps: pa.Array) -> tuple[Ints, Mask]:
    """Microseconds since 1970-01-01T00:00Z (n,) and the mask (n,) of refused rows, from strings.

    Stamps without an offset are UTC.  Arrow reads a column that is all with or all without an offset; anything
    else (a mixture, spaces, a bad cell) goes row by row.
    """
    for unit in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            parsed = pc.cast(pc.cast(stamps, unit), pa.int64())
        except pa.ArrowInvalid:
            continue
        return np.asarray(parsed.to_numpy(zero_copy_only=False), dtype=np.int64), np.zeros(len(stamps), dtype=bool)
    rows = [parse_instant(text) for text in stamps.to_pylist()]
    refused = np.array([row is None for row in rows], dtype=bool)
    return np.array([row or 0 for row in rows], dtype=np.int64), refused


def parse_instant(text: str | None) -> int | None:
    """Microseconds since 1970-01-01T00:00Z of one ISO 8601 stamp (naive: UTC), None where it is none."""
    if text is None or _TOO_FINE.search(text):
        return None
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    aware = instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def format_instant(t_us: int) -> str:
    """ISO 8601 in UTC of microseconds since 1970, for messages."""
    try:
        return (_EPOCH + timedelta(microseconds=t_us)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{t_us / 1e6:.6f} s after 1970"
