"""Profiles: time series of real data that drive loads, plants, weather and prices.

A profile file is CSV or Parquet.  Its first column is ``t_s`` (seconds from the start) or ``time`` (ISO 8601;
stamps without an offset are UTC); every other column is numeric and its name ends in its unit (``pv_p_kw``).
CSV: UTF-8, separated by comma, semicolon or tab (seen from the header), decimal point, leading ``#`` lines are
comments, blank lines are skipped, empty or ``nan`` cells are missing samples.

What is refused, all problems at once with line and column: see the ``profile-*`` rules of `Problem.rule`.
Missing samples (NaN, or a step larger than 1.5 times the median step) are refused unless ``gaps`` says how they are
to be mended; mending itself is the `Sampler`'s, because two devices may want it done differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cosim.datasets.checks import check_series
from cosim.datasets.csv_file import read_csv
from cosim.datasets.findings import Findings, Limits
from cosim.datasets.model import Gaps, Profile
from cosim.datasets.parquet_file import read_parquet
from cosim.errors import ProfileError

_READERS = {".csv": read_csv, ".parquet": read_parquet}


def load_profile(
    path: str | Path,
    *,
    columns: Sequence[str] | None = None,
    gaps: Gaps = Gaps.ERROR,
    limits: Limits | None = None,
) -> Profile:
    """Read a profile file and check it whole.

    ``columns`` restricts what is read and checked (their order is kept).  ``gaps`` other than `Gaps.ERROR` lets
    missing samples pass, unchanged.  Raises `ProfileError` with every problem found (up to ``limits.max_problems``).
    """
    bounds = limits or Limits()
    findings = Findings(str(path), bounds.max_problems)
    raw = _read(Path(path), columns, findings, bounds)
    if raw is not None:
        check_series(raw, gaps, findings)
    findings.raise_if_any()
    if raw is None:
        raise ProfileError(f"{path}: nothing could be read from it")
    return _from_first_stamp(raw)


def _read(path: Path, columns: Sequence[str] | None, findings: Findings, limits: Limits) -> Profile | None:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        findings.add("profile-kind", f"ends in {path.suffix!r}; accepted: '.csv' or '.parquet'")
        return None
    try:
        size = path.stat().st_size
        if size == 0:
            findings.add("profile-empty", "is empty; expected a header and at least two samples")
        elif size > limits.max_bytes:
            findings.add(
                "profile-size",
                f"has {size:,} bytes; at most {limits.max_bytes:,} are read. Store fewer columns, or Parquet",
            )
        else:
            return reader(path, columns, findings, limits)
    except OSError as error:
        findings.add("profile-unreadable", f"cannot be read: {error.strerror or error}")
    return None


def _from_first_stamp(raw: Profile) -> Profile:
    """Readers give stamps since 1970; the finished profile counts from its first one.  Arrays become read-only."""
    epoch_us = None if raw.epoch_us is None else int(raw.t_us[0])
    t_us = raw.t_us if epoch_us is None else raw.t_us - epoch_us
    for array in (t_us, raw.values, raw.rows):
        array.setflags(write=False)
    return replace(raw, t_us=t_us, epoch_us=epoch_us)
