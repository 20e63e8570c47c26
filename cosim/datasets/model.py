"""The series of one profile file, as read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cosim.datasets.columns import unit_of
from cosim.datasets.stamps import format_instant, parse_instant
from cosim.errors import ProfileError


class Gaps(StrEnum):
    """What missing samples mean: refuse, keep the last value, or draw a straight line."""

    ERROR = "error"
    HOLD = "hold"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True)
class Profile:
    """One file's series, unmended and read-only.

    ``t_us`` (n,) int64 rises strictly, n >= 2: microseconds as in ``t_s``, or from the first stamp where the file
    has ``time`` (then ``epoch_us`` is that stamp in microseconds since 1970 UTC, otherwise None).
    ``values`` (n, k) float64 is C-ordered, one row a sample; NaN marks a missing cell.  ``rows`` (n,) int64 is the
    line (CSV, ``is_text``) or row (Parquet) of each sample, from 1.  ``units`` are the suffixes of the names.
    """

    columns: tuple[str, ...]
    t_us: NDArray[np.int64]
    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    source: str
    epoch_us: int | None = None
    is_text: bool = True

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each column, from the end of its name ("" where the name states none)."""
        return tuple(unit_of(name) for name in self.columns)

    @property
    def step_us(self) -> int:
        """The median step between samples."""
        return int(np.median(np.diff(self.t_us)))

    def stamp(self, row: int) -> str:
        """The time of a sample for a message, in the file's own terms."""
        return self.time_text(int(self.t_us[row]))

    def time_text(self, t_us: int) -> str:
        """A time on this profile's axis for a message, in the file's own terms."""
        return f"t_s = {t_us / 1e6:g}" if self.epoch_us is None else format_instant(self.epoch_us + t_us)

    def offset_us(self, instant: str) -> int:
        """Where an ISO 8601 instant lies on this profile's time axis (for `Sampling.start_us`).

        Raises `ProfileError` where the file has seconds instead of stamps or the text is no instant.
        """
        if self.epoch_us is None:
            raise ProfileError(
                f"{self.source}: has seconds ('t_s'), so {instant!r} has no place in it; "
                "give seconds, or a file with a 'time' column"
            )
        found = parse_instant(instant)
        if found is None:
            raise ProfileError(f"{self.source}: {instant!r} is no ISO 8601 instant; accepted: '2016-07-04T06:00:00Z'")
        return found - self.epoch_us

    def fingerprint(self) -> str:
        """SHA-256 of names, times and values: the same data give the same text whatever file holds them."""
        digest = hashlib.sha256("\n".join(self.columns).encode())
        digest.update(np.array([self.epoch_us or 0], dtype="<i8").tobytes())
        digest.update(self.t_us.astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.values, dtype="<f8").tobytes())
        return digest.hexdigest()
