"""Sampling against plain NumPy references, mending, laps, ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cosim.datasets import Gaps, Interpolation, Limits, Profile, Sampler, Sampling, covers
from cosim.datasets.series import DAY_US, lap_us
from cosim.errors import ProfileError

NAN = float("nan")


def make(t_us: list[int], values: list[list[float]]) -> Profile:
    """A profile of columns c0_pu, c1_pu, …"""
    matrix = np.array(values, dtype=np.float64)
    names = tuple(f"c{i}_pu" for i in range(matrix.shape[1]))
    return Profile(names, np.array(t_us, dtype=np.int64), matrix, np.arange(2, len(t_us) + 2), "made.csv")


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Two to twelve samples at steps that are uneven but make no gap, one to four columns."""
    count, width = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    steps = draw(st.lists(st.integers(1_000, 1_499), min_size=count - 1, max_size=count - 1))
    start = draw(st.integers(-5_000, 5_000))
    numbers = st.floats(-1e6, 1e6, allow_nan=False)
    rows = st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=count, max_size=count)
    return make(np.cumsum([start, *steps]).tolist(), draw(rows))


def held(profile: Profile, tau: int) -> NDArray[np.float64]:
    """The last sample at or before tau."""
    row: NDArray[np.float64] = profile.values[np.flatnonzero(profile.t_us <= tau)[-1]]
    return row


def lined(t_us: NDArray[np.int64], values: NDArray[np.float64], tau: int) -> NDArray[np.float64]:
    """Straight lines between samples."""
    return np.array([np.interp(tau, t_us, column) for column in values.T])


@settings(max_examples=150, deadline=None)
@given(profiles(), st.data())
def test_hold_and_linear_equal_numpy(profile: Profile, data: st.DataObject) -> None:
    """In any order of questions, with any columns, scale and start, sampling equals the NumPy reference."""
    first, last = int(profile.t_us[0]), int(profile.t_us[-1])
    picks = data.draw(st.lists(st.integers(0, len(profile.columns) - 1), min_size=1, max_size=6))
    scale = np.array(data.draw(st.lists(st.floats(-100, 100), min_size=len(picks), max_size=len(picks))))
    start = data.draw(st.integers(-10_000, 10_000))
    names = [profile.columns[pick] for pick in picks]
    hold = Sampler(profile, names, scale=scale, sampling=Sampling(start_us=start))
    line = Sampler(profile, names, scale=scale, sampling=Sampling(Interpolation.LINEAR, start_us=start))
    asked = data.draw(st.lists(st.integers(first, last), min_size=1, max_size=10))
    for tau in [*asked, *sorted(asked), first, last, *profile.t_us.tolist()]:
        np.testing.assert_array_equal(hold.at(tau - start), held(profile, tau)[picks] * scale)
        expected = lined(profile.t_us, profile.values, tau)[picks] * scale
        np.testing.assert_allclose(line.at(tau - start), expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(profiles(), st.lists(st.integers(-200_000, 200_000), min_size=1, max_size=10), st.booleans())
def test_laps_equal_numpy(profile: Profile, asked: list[int], linear: bool) -> None:
    """A wrapped profile equals itself modulo its lap, before and after; a line leads into the next lap."""
    lap, first = lap_us(profile), int(profile.t_us[0])
    kind = Interpolation.LINEAR if linear else Interpolation.HOLD
    sampler = Sampler(profile, profile.columns, sampling=Sampling(kind, wrap=True))
    closed_t = np.append(profile.t_us, first + lap)
    closed_v = np.vstack([profile.values, profile.values[:1]])
    for t_us in asked:
        tau = first + (t_us - first) % lap
        expected = lined(closed_t, closed_v, tau) if linear else held(profile, tau)
        np.testing.assert_allclose(sampler.at(t_us), expected, rtol=1e-9, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(profiles(), st.integers(1_499, 9_000), st.booleans())
def test_means_keep_the_energy(profile: Profile, window: int, wrap: bool) -> None:
    """The mean over each window equals the mean of the held series, microsecond by microsecond."""
    sampler = Sampler(profile, profile.columns, sampling=Sampling(Interpolation.MEAN, wrap=wrap, window_us=window))
    first, end = int(profile.t_us[0]), int(profile.t_us[-1]) + profile.step_us
    every = profile.values[np.searchsorted(profile.t_us, np.arange(first, end), side="right") - 1]
    for start in range(first, end, window):
        expected = every[start - first : start - first + window].mean(axis=0)
        np.testing.assert_allclose(sampler.at(start), expected, rtol=1e-9, atol=1e-6)
        np.testing.assert_array_equal(sampler.at(start), sampler.at(min(start + window, end) - 1))


@settings(max_examples=100, deadline=None)
@given(profiles(), st.integers(0, 50_000), st.booleans())
def test_next_change_walks_all_samples(profile: Profile, start: int, wrap: bool) -> None:
    """From change to change one meets every sample once, and the held value changes nowhere else."""
    sampling = Sampling(wrap=wrap, start_us=start)
    sampler = Sampler(profile, profile.columns, sampling=sampling)
    t_us: int | None = int(profile.t_us[0]) - start
    seen: list[int] = []
    while t_us is not None and len(seen) < len(profile.t_us):
        seen.append(t_us + start)
        here = sampler.at(t_us)
        t_us = sampler.next_change_us(t_us)
        if t_us is not None:
            np.testing.assert_array_equal(sampler.at(t_us - 1), here)
    assert seen == profile.t_us.tolist()
    assert t_us == (int(profile.t_us[0]) + lap_us(profile) - start if wrap else None)


def test_values_are_shared_until_they_change_and_read_only() -> None:
    """Within a step the same array comes back; nobody can write into it; a later step leaves it alone."""
    sampler = Sampler(make([0, 10, 20], [[1], [2], [3]]), ["c0_pu"])
    first = sampler.at(0)
    assert sampler.at(9) is first
    assert not first.flags.writeable
    sampler.at(10)
    assert first.tolist() == [1]


def test_matrix_is_shared_where_nothing_is_mended() -> None:
    """Many samplers of one file hold one matrix, also with a lap."""
    profile = make([0, 10, 20], [[1, 2], [2, 3], [3, 4]])
    for wrap in (False, True):
        sampler = Sampler(profile, ["c1_pu"], sampling=Sampling(wrap=wrap))
        assert np.shares_memory(sampler._series.values, profile.values)


def test_lap_of_a_closed_and_an_open_day() -> None:
    """00:00 … 24:00 and 00:00 … 23:00 both repeat after a day; the closing sample gives way to the first."""
    hour = DAY_US // 24
    closed = make([i * hour for i in range(25)], [[float(i)] for i in range(25)])
    opened = make([i * hour for i in range(24)], [[float(i)] for i in range(24)])
    assert lap_us(closed) == lap_us(opened) == DAY_US
    for profile in (closed, opened):
        for kind in (Interpolation.HOLD, Interpolation.LINEAR):
            sampler = Sampler(profile, ["c0_pu"], sampling=Sampling(kind, wrap=True))
            assert sampler.at(DAY_US).tolist() == [0.0]
            assert sampler.at(-hour).tolist() == [23.0]


HOLED_T = [0, 10, 20, 60, 70]
HOLED_V: list[list[float]] = [[1.0, 1], [NAN, 2], [3, 3], [7, 7], [8, 8]]


def test_missing_samples_are_refused_by_default() -> None:
    """A sampler refuses holes in its own columns and gaps in time, with the line."""
    with pytest.raises(ProfileError) as caught:
        Sampler(make(HOLED_T, HOLED_V), ["c0_pu", "c1_pu"])
    assert [(p.rule, p.line) for p in caught.value.problems] == [("profile-missing", 3), ("profile-gap", 5)]
    with pytest.raises(ProfileError) as caught:
        Sampler(make(HOLED_T, HOLED_V), ["c1_pu"])
    assert [p.rule for p in caught.value.problems] == ["profile-gap"]


@pytest.mark.parametrize(
    ("gaps", "kind", "at_12", "at_38", "at_55"),
    [
        (Gaps.HOLD, Interpolation.HOLD, 1.0, 3.0, 3.0),
        (Gaps.HOLD, Interpolation.LINEAR, 1.4, 3.0, 5.0),
        (Gaps.LINEAR, Interpolation.HOLD, 2.0, 4.0, 6.0),
        (Gaps.LINEAR, Interpolation.LINEAR, 2.2, 4.8, 6.5),
    ],
)
def test_mending(gaps: Gaps, kind: Interpolation, at_12: float, at_38: float, at_55: float) -> None:
    """Holes and gaps become the samples that would have been recorded at even steps; then interpolation applies."""
    sampler = Sampler(make(HOLED_T, HOLED_V), ["c0_pu"], sampling=Sampling(kind, gaps))
    found = [float(sampler.at(t)[0]) for t in (12, 38, 55)]
    assert found == pytest.approx([at_12, at_38, at_55])


def test_mending_leaves_the_profile_alone_and_keeps_columns() -> None:
    """Mended values are the sampler's own; repeated columns in any order still find theirs."""
    profile = make(HOLED_T, HOLED_V)
    sampler = Sampler(profile, ["c1_pu", "c0_pu", "c1_pu"], sampling=Sampling(gaps=Gaps.LINEAR), scale=[1, 10, 100])
    assert sampler.at(10).tolist() == [2, 20, 200]
    assert np.isnan(profile.values[1, 0])
    assert sampler.units == ("pu", "pu", "pu")


@pytest.mark.parametrize(
    ("column", "gaps", "line", "word"),
    [
        ([NAN, 1, 1], Gaps.HOLD, 2, "earlier"),
        ([NAN, 1, 1], Gaps.LINEAR, 2, "earlier"),
        ([1, 1, NAN], Gaps.LINEAR, 4, "later"),
        ([NAN, NAN, NAN], Gaps.LINEAR, 2, "earlier"),
    ],
)
def test_holes_without_a_neighbour(column: list[float], gaps: Gaps, line: int, word: str) -> None:
    """A hole at the edge cannot be mended from a sample that is not there."""
    with pytest.raises(ProfileError) as caught:
        Sampler(make([0, 1, 2], [[v] for v in column]), ["c0_pu"], sampling=Sampling(gaps=gaps))
    assert [(p.rule, p.line) for p in caught.value.problems] == [("profile-missing", line)]
    assert f"no {word} one" in str(caught.value)


def test_a_hole_at_the_end_is_held() -> None:
    """``gaps: hold`` needs only an earlier sample."""
    sampler = Sampler(make([0, 1, 2], [[1], [5], [NAN]]), ["c0_pu"], sampling=Sampling(gaps=Gaps.HOLD))
    assert sampler.at(2).tolist() == [5]


def test_refused_samplers() -> None:
    """Unknown or no columns, unfit scales, short windows and endless mending are refused in words."""
    profile = make([0, 10, 20, 10_000_000], [[1], [2], [3], [4]])
    linear = Sampling(gaps=Gaps.LINEAR)
    cases = [
        (["c0_pv"], linear, 1.0, "did you mean 'c0_pu'"),
        ([], linear, 1.0, "no column is asked for"),
        (["c0_pu"], linear, [1.0, 2.0], "scale has shape"),
        (["c0_pu"], linear, NAN, "scale has shape"),
        (["c0_pu"], replace(linear, interpolation=Interpolation.MEAN, window_us=9), 1.0, "at least one step"),
    ]
    for columns, sampling, scale, words in cases:
        with pytest.raises(ProfileError, match=words):
            Sampler(profile, columns, sampling=sampling, scale=scale)  # type: ignore[arg-type]
    with pytest.raises(ProfileError, match="would make more than 1,000 cells"):
        Sampler(profile, ["c0_pu"], sampling=linear, limits=Limits(max_cells=1000))
    coarse = Sampling(Interpolation.MEAN, Gaps.HOLD, window_us=10)
    with pytest.raises(ProfileError, match="accepted: longer windows"):
        Sampler(profile, ["c0_pu"], sampling=coarse, limits=Limits(max_cells=1000))


def test_coverage() -> None:
    """A held sample lasts one step, a line ends at its last sample; what is missing is said in the file's times."""
    profile = make([0, 10_000_000, 20_000_000], [[1], [2], [3]])
    linear = Sampling(Interpolation.LINEAR)
    assert covers(profile, 0, 30_000_000) is None
    assert covers(profile, 0, 30_000_001) is not None
    assert covers(profile, -1, 10) is not None
    assert covers(profile, 0, 20_000_000, linear) is None
    assert covers(profile, -5, 10**15, Sampling(wrap=True)) is None
    assert covers(profile, 0, 10_000_000, Sampling(start_us=20_000_000)) is None
    missing = covers(profile, 0, 21_000_000, linear)
    assert missing is not None
    assert missing.rule == "profile-coverage"
    assert missing.message.startswith("has values from t_s = 0 to t_s = 20, but the run needs t_s = 0 to t_s = 21")
    stamped = covers(replace(profile, epoch_us=0), 0, 31_000_000)
    assert stamped is not None
    assert "1970-01-01T00:00:31Z" in stamped.message


def test_outside_raises_and_the_last_instant_does_not() -> None:
    """`at` and `covers` agree on where a profile ends."""
    profile = make([0, 10, 20], [[1], [2], [3]])
    for kind, end in ((Interpolation.HOLD, 30), (Interpolation.LINEAR, 20)):
        sampler = Sampler(profile, ["c0_pu"], sampling=Sampling(kind))
        assert sampler.at(end).tolist() == [3]
        assert sampler.next_change_us(end) is None
        for outside in (-1, end + 1):
            with pytest.raises(ProfileError, match="has values from"):
                sampler.at(outside)
        assert sampler.at(0).tolist() == [1]
