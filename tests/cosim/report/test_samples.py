"""Reduction of samples: no spike is lost, gaps stay gaps, memory is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.report import samples as module
from cosim.report.samples import MAX_BUCKETS, Samples, edges
from tests.cosim.report.runs import Story, recorded


def reading(**values: object) -> Samples:
    """Samples of the points given, one a second."""
    return Samples(recorded(Story(values, 1.0)))


def test_a_spike_of_one_sample_in_a_day_is_drawn() -> None:
    """Of 86,400 samples the single highest and lowest are among the values drawn."""
    values = np.ones(86_400)
    values[43_210], values[70_001] = 7.0, -3.0
    reduced = reading(p=values).reduce(["p"])
    times, drawn = reduced.line(0)
    assert len(reduced.begin_s) == MAX_BUCKETS
    assert len(times) == len(drawn) <= 2 * MAX_BUCKETS
    assert drawn.max() == 7.0
    assert drawn.min() == -3.0
    assert abs(times[int(drawn.argmax())] - 43_210) <= 96


def test_few_samples_are_drawn_as_they_are() -> None:
    """Below the number of buckets nothing is changed."""
    reduced = reading(p=[3.0, np.nan, 5.0]).reduce(["p"])
    times, drawn = reduced.line(0)
    assert reduced.exact
    assert times.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(drawn, [3.0, np.nan, 5.0])


def test_one_missing_value_breaks_the_line_and_empties_the_cell() -> None:
    """A stretch without a value is visible even where it is shorter than a bucket."""
    values = np.ones(9_000)
    values[4_444] = np.nan
    reduced = reading(p=values).reduce(["p"])
    _, drawn = reduced.line(0)
    assert np.isnan(drawn).sum() == 1
    coarse, _ = reduced.coarser(10, 1)
    assert coarse.gap.sum() == 1
    assert np.isfinite(coarse.high).all()


def test_reading_in_pieces_is_reading_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on values in memory changes nothing in the result."""
    rng = np.random.default_rng(3)
    values = {f"bus.{i}.v_pu": rng.normal(size=4_000) for i in range(7)}
    at_once = reading(**values).reduce(list(values))
    monkeypatch.setattr(module, "CHUNK_VALUES", 1_000)
    in_pieces = reading(**values).reduce(list(values))
    for name in ("begin_s", "end_s", "low", "high", "last", "gap"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(in_pieces, name))


def test_groups_keep_their_extremes() -> None:
    """Neighbouring series that share a row show the lowest and highest of all."""
    values = {f"bus.{i}.v_pu": np.full(5, float(i)) for i in range(10)}
    coarse, across = reading(**values).reduce(list(values)).coarser(5, 3)
    assert across.tolist() == [0, 3, 6]
    assert coarse.low[0].tolist() == [0, 3, 6]
    assert coarse.high[0].tolist() == [2, 5, 9]


@given(st.integers(1, 5_000), st.integers(1, 1_000))
@settings(max_examples=60, deadline=None)
def test_buckets_cover_every_row_once(n: int, most: int) -> None:
    """Edges rise from 0 to n, with none empty and no more than asked for."""
    found = edges(n, most)
    assert found[0] == 0
    assert found[-1] == n
    assert (np.diff(found) >= 1).all()
    assert len(found) - 1 == min(n, most)


def test_a_name_that_looks_like_a_pattern_is_a_name() -> None:
    """Points are read by exact name."""
    reduced = reading(**{"bus.*.v_pu": [1.0], "bus.a.v_pu": [2.0]}).reduce(["bus.*.v_pu"])
    assert reduced.high.tolist() == [[1.0]]
