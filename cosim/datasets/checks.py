"""What is wrong with a series in itself: order, length, gaps, missing cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.datasets.findings import Findings
from cosim.datasets.model import Gaps, Profile

GAP_FACTOR = 1.5
"""A step larger than this times the median step is a gap."""


def check_series(raw: Profile, gaps: Gaps, findings: Findings) -> None:
    """Order, length, and (unless mending is wanted) gaps and missing cells, into ``findings``."""
    count = len(raw.t_us)
    if count < 2 and not findings.any_of("profile-time", "profile-cells"):
        findings.add("profile-empty", f"has {count} samples; expected at least two")
    _report_order(raw, findings)
    if gaps != Gaps.ERROR:
        return
    if count >= 2 and not findings.any_of("profile-order", "profile-time", "profile-cells"):
        report_gaps(raw, findings)
    report_missing(raw, range(len(raw.columns)), findings)


def _report_order(raw: Profile, findings: Findings) -> None:
    for row in np.flatnonzero(np.diff(raw.t_us) <= 0):
        if findings.full:
            return
        before, here = raw.stamp(int(row)), raw.stamp(int(row) + 1)
        kind = "repeats" if raw.t_us[row] == raw.t_us[row + 1] else "goes back from"
        hint = "" if raw.epoch_us is None else " (local time repeats an hour each autumn: add offsets)"
        text = f"time {kind} {before}: found {here}, expected a later one{hint}"
        findings.add("profile-order", *place(raw, int(row) + 1, text), 1 if raw.is_text else 0)


def place(profile: Profile, row: int, text: str) -> tuple[str, int]:
    """Message and line for a problem at a sample: a CSV has lines, a Parquet file rows inside the message."""
    number = int(profile.rows[row])
    return (text, number) if profile.is_text else (f"row {number}: {text}", 0)


def gap_rows(t_us: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows (g,) after which a gap lies; t_us (n,) rises strictly."""
    steps = np.diff(t_us)
    return np.flatnonzero(steps > GAP_FACTOR * np.median(steps)).astype(np.int64) if len(steps) else steps


def report_gaps(profile: Profile, findings: Findings) -> None:
    """Note every gap: where, between which times, and what would be accepted."""
    for row in gap_rows(profile.t_us):
        width = (int(profile.t_us[row + 1]) - int(profile.t_us[row])) / 1e6
        between = f"{profile.stamp(int(row))} and {profile.stamp(int(row) + 1)}"
        text = (
            f"gap of {width:g} s between {between}, expected steps of {profile.step_us / 1e6:g} s; "
            "accepted: the missing samples, or 'gaps: hold' or 'gaps: linear'"
        )
        findings.add("profile-gap", *place(profile, int(row) + 1, text), 1 if profile.is_text else 0)
        if findings.full:
            return


def report_missing(profile: Profile, indices: Sequence[int], findings: Findings) -> None:
    """Note every missing cell in the columns of these indices."""
    for index in indices:
        for row in np.flatnonzero(np.isnan(profile.values[:, index])):
            text = (
                f"column {profile.columns[index]!r} has no value at {profile.stamp(int(row))} (empty or NaN); "
                "accepted: a number, or 'gaps: hold' or 'gaps: linear'"
            )
            findings.add("profile-missing", *place(profile, int(row), text), index + 2 if profile.is_text else 0)
            if findings.full:
                return
