"""From a profile to the series a sampler walks: missing samples mended, means taken, the end and the lap stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cosim.datasets.checks import gap_rows, place, report_gaps, report_missing
from cosim.datasets.columns import did_you_mean
from cosim.datasets.findings import Findings, Limits
from cosim.datasets.model import Gaps, Profile
from cosim.errors import Problem, ProfileError

DAY_US = 86_400_000_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Interpolation(StrEnum):
    """Between samples: keep the last one, a straight line, or the mean over windows of ``window_us``."""

    HOLD = "hold"
    LINEAR = "linear"
    MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a profile is read.

    ``start_us`` is the profile time at simulation time 0 (`Profile.offset_us` gives it for a date).  ``wrap``
    repeats the profile for ever, with the lap of `lap_us`.  ``window_us`` belongs to `Interpolation.MEAN` alone:
    windows lie end to end from the first sample, and their mean holds throughout: a run with steps coarser than
    the profile keeps the energy.  ``gaps``: see `mend`.
    """

    interpolation: Interpolation = Interpolation.HOLD
    gaps: Gaps = Gaps.ERROR
    start_us: int = 0
    wrap: bool = False
    window_us: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """Samples at ``t_us`` (n,), rising; ``values`` (n, k) without NaN; column ``index`` of a device is ``picks``'s.

    The series answers for ``t_us[0] <= t <= end_us``; with a lap, for all times, lap after lap.
    """

    t_us: Ints
    values: Floats
    picks: NDArray[np.intp]
    end_us: int
    lap_us: int


def lap_us(profile: Profile) -> int:
    """After how long a wrapped profile starts anew.

    A file whose last sample lies whole days after its first (00:00 … 24:00) repeats after that span, and its last
    sample gives way to the first; any other (00:00 … 23:45) gets one median step more.
    """
    span = int(profile.t_us[-1] - profile.t_us[0])
    return span if span % DAY_US == 0 else span + profile.step_us


def end_us(profile: Profile, interpolation: Interpolation) -> int:
    """The last profile time, inclusive, with a value: a held sample or a mean lasts one median step, a line ends."""
    last = int(profile.t_us[-1])
    return last if interpolation == Interpolation.LINEAR else last + profile.step_us


def covers(profile: Profile, t0_us: int, t1_us: int, sampling: Sampling | None = None) -> Problem | None:
    """None where the profile has values for all simulation times t0..t1 (inclusive), otherwise what is missing."""
    how = sampling or Sampling()
    if how.wrap:
        return None
    first, last = int(profile.t_us[0]), end_us(profile, how.interpolation)
    if first <= t0_us + how.start_us and t1_us + how.start_us <= last:
        return None
    asked = f"{profile.time_text(t0_us + how.start_us)} to {profile.time_text(t1_us + how.start_us)}"
    text = (
        f"has values from {profile.time_text(first)} to {profile.time_text(last)}, but the run needs {asked}; "
        "accepted: a longer file, another start, a shorter run, or 'wrap: true' to repeat it"
    )
    return Problem(text, file=profile.source, rule="profile-coverage")


def make_series(profile: Profile, columns: Sequence[str], sampling: Sampling, limits: Limits | None = None) -> Series:
    """The series of these columns (repeats allowed), sharing the profile's matrix wherever nothing has to change.

    Raises `ProfileError` for unknown columns, missing samples with ``gaps: error``, cells that cannot be mended,
    and more cells than ``limits`` allows.
    """
    bounds = limits or Limits()
    picks = _picks(profile, columns)
    t_us, values, picks = mend(profile, picks, sampling, bounds)
    end, lap = end_us(profile, sampling.interpolation), lap_us(profile) if sampling.wrap else 0
    if lap:
        end = int(t_us[0]) + lap
        inside = int(np.searchsorted(t_us, end, side="left"))
        t_us, values = t_us[:inside], values[:inside]
    if sampling.interpolation == Interpolation.MEAN:
        t_us, values = window_means(t_us, values, end, _window(profile, sampling, bounds))
    elif lap and sampling.interpolation == Interpolation.LINEAR:
        # The line from the last sample leads to the first of the next lap.
        t_us, values = np.append(t_us, end), np.vstack([values, values[:1]])
    return Series(t_us, values, picks, end, lap)


def _picks(profile: Profile, columns: Sequence[str]) -> NDArray[np.intp]:
    unknown = [name for name in dict.fromkeys(columns) if name not in profile.columns]
    if unknown or not columns:
        texts = [f"there is no column {name!r}; {did_you_mean(name, profile.columns)}" for name in unknown]
        raise ProfileError(
            tuple(
                Problem(text, file=profile.source, rule="profile-columns")
                for text in texts or ["no column is asked for; expected at least one"]
            )
        )
    return np.array([profile.columns.index(name) for name in columns], dtype=np.intp)


def mend(
    profile: Profile, picks: NDArray[np.intp], sampling: Sampling, limits: Limits
) -> tuple[Ints, Floats, NDArray[np.intp]]:
    """Times, values and picks as if the missing samples had been recorded.

    ``gaps: hold`` repeats the last value, ``gaps: linear`` draws a line to the next, both for empty cells and, at the
    median step, for rows that are not there.  Without anything to mend the profile's own arrays come back.
    """
    used = np.unique(picks)
    gaps = gap_rows(profile.t_us)
    missing = bool(np.isnan(profile.values[:, used]).any())
    if not missing and not len(gaps):
        return profile.t_us, profile.values, picks
    findings = Findings(profile.source, limits.max_problems)
    if sampling.gaps == Gaps.ERROR:
        report_gaps(profile, findings)
        report_missing(profile, [int(index) for index in used], findings)
        findings.raise_if_any()
    values = np.ascontiguousarray(profile.values[:, used])
    for index in range(len(used)) if missing else ():
        values[:, index] = _fill(profile, int(used[index]), sampling.gaps, findings)
    findings.raise_if_any()
    t_us, values = _insert_rows(profile, values, sampling, limits)
    return t_us, values, np.searchsorted(used, picks).astype(np.intp)


def _fill(profile: Profile, index: int, gaps: Gaps, findings: Findings) -> Floats:
    """One column (n,) without NaN; a missing cell without the neighbour it needs goes to ``findings``."""
    column = profile.values[:, index]
    known = np.flatnonzero(~np.isnan(column))
    lost = 0 if not len(known) or known[0] > 0 else None
    if lost is None and gaps == Gaps.LINEAR and known[-1] < len(column) - 1:
        lost = len(column) - 1
    if lost is not None:
        side = "earlier" if lost == 0 else "later"
        text = (
            f"column {profile.columns[index]!r} has no value at {profile.stamp(lost)} and no {side} one from which "
            f"'gaps: {gaps}' could take it; accepted: a number there"
        )
        findings.add("profile-missing", *place(profile, lost, text), index + 2 if profile.is_text else 0)
        return column
    if gaps == Gaps.LINEAR:
        return np.interp(profile.t_us, profile.t_us[known], column[known])
    return column[known[np.searchsorted(known, np.arange(len(column)), side="right") - 1]]


def _insert_rows(profile: Profile, values: Floats, sampling: Sampling, limits: Limits) -> tuple[Ints, Floats]:
    """Rows at the median step inside each gap.  A held gap of a held series needs none: it is the same function."""
    t_us = profile.t_us
    gaps = gap_rows(t_us)
    held = sampling.gaps == Gaps.HOLD
    if not len(gaps) or (held and sampling.interpolation != Interpolation.LINEAR):
        return t_us, values
    step = profile.step_us
    extra = -(-(t_us[gaps + 1] - t_us[gaps]) // step) - 1
    if (len(t_us) + int(extra.sum())) * values.shape[1] > limits.max_cells:
        text = (
            f"mending its gaps at steps of {step / 1e6:g} s would make more than {limits.max_cells:,} cells; "
            "accepted: samples at even steps"
        )
        raise ProfileError((Problem(text, file=profile.source, rule="profile-size"),))
    new = np.concatenate([t_us[row] + step * np.arange(1, count + 1) for row, count in zip(gaps, extra, strict=True)])
    times = np.sort(np.concatenate([t_us, new]))
    if held:
        return times, values[np.searchsorted(t_us, times, side="right") - 1]
    return times, np.column_stack([np.interp(times, t_us, column) for column in values.T])


def _window(profile: Profile, sampling: Sampling, limits: Limits) -> int:
    """The mean's window, checked: at least one step long, few enough of them."""
    window, span = sampling.window_us, int(profile.t_us[-1] - profile.t_us[0])
    if window < profile.step_us:
        text = (
            f"'interpolation: mean' over windows of {window / 1e6:g} s needs at least one step of the profile, "
            f"{profile.step_us / 1e6:g} s; accepted: a longer window, or 'hold' or 'linear'"
        )
        raise ProfileError((Problem(text, file=profile.source, rule="profile-window"),))
    if (span // window + 1) * len(profile.columns) > limits.max_cells:
        text = (
            f"means over {window / 1e6:g} s would make more than {limits.max_cells:,} cells; accepted: longer windows"
        )
        raise ProfileError((Problem(text, file=profile.source, rule="profile-size"),))
    return window


def window_means(t_us: Ints, values: Floats, end: int, window: int) -> tuple[Ints, Floats]:
    """Window starts (w,) and the exact means (w, k) of the held series over each; the last window ends at ``end``.

    The integral of a held series is piecewise linear, so its differences at the window edges are exact.
    """
    edges = np.append(np.arange(int(t_us[0]), end, window, dtype=np.int64), end)
    widths = np.diff(np.append(t_us, end)).astype(np.float64)
    integral = np.vstack([np.zeros((1, values.shape[1])), np.cumsum(values * widths[:, None], axis=0)])
    row = np.minimum(np.searchsorted(t_us, edges, side="right") - 1, len(t_us) - 1)
    at_edges = integral[row] + values[row] * (edges - t_us[row])[:, None]
    return edges[:-1], np.diff(at_edges, axis=0) / np.diff(edges)[:, None]
