"""`hil.histogram`: percentiles that keep their tails."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hil.histogram import Histogram

DURATIONS = st.lists(st.integers(0, 10**12), min_size=1, max_size=300)


def filled(durations: list[int]) -> Histogram:
    """A histogram of these."""
    histogram = Histogram()
    for ns in durations:
        histogram.record(ns)
    return histogram


@given(DURATIONS, st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_that_of_the_sorted_list_to_a_sixtieth(durations: list[int], percent: float) -> None:
    """Never below the exact one, above it by less than 1.6 %, and never above the maximum."""
    rank = max(-(-len(durations) * percent // 100), 1)
    exact = sorted(durations)[int(rank) - 1]
    found = filled(durations).percentile_ns(percent)
    assert exact <= found <= max(durations)
    assert found <= exact * 1.0157 + 1


@given(DURATIONS, DURATIONS)
def test_two_add_up(one: list[int], other: list[int]) -> None:
    """The sum of two is the histogram of all."""
    both = filled(one)
    both.add(filled(other))
    assert both.to_dict() == filled(one + other).to_dict()


@given(DURATIONS)
def test_json_brings_it_back(durations: list[int]) -> None:
    """What is written into realtime.json can be read and added up again."""
    data = json.loads(json.dumps(filled(durations).to_dict()))
    again = Histogram.of(data)
    before = filled(durations)
    assert [again.percentile_ns(p) for p in (50, 99, 100)] == [before.percentile_ns(p) for p in (50, 99, 100)]


def test_nothing_recorded_says_so() -> None:
    """No percentile of nothing."""
    assert Histogram().to_dict() == {"count": 0}


def test_before_time_is_on_time() -> None:
    """A clock's last bit below zero is no duration of 2**64."""
    assert filled([-5]).max_ns == 0
