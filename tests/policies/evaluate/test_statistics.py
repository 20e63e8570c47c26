"""Means and intervals of few values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.evaluate import difference, summary

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30)


def test_interval_is_students() -> None:
    """Five values: mean ± 2.776 standard errors (t table, 4 degrees of freedom)."""
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * math.sqrt(2.5 / 5)
    assert (found.n, found.mean, found.median, found.worst) == (5, 3.0, 3.0, 1.0)
    assert found.low == pytest.approx(3 - half, rel=1e-7)
    assert found.high == pytest.approx(3 + half, rel=1e-7)
    assert found.half_width == pytest.approx(half, rel=1e-7)


def test_worst_depends_on_what_is_better() -> None:
    """The largest of what should be small."""
    assert summary([1.0, 5.0], higher_is_better=False).worst == 5.0


def test_one_value_has_no_interval() -> None:
    """A single value has a mean and nothing else to say; none has not even that; what is no number does not count."""
    one = summary([2.0, math.nan, math.inf])
    assert (one.n, one.mean, one.worst) == (1, 2.0, 2.0)
    assert math.isnan(one.low)
    assert math.isnan(summary([]).mean)


def test_two_values_have_no_interval() -> None:
    """Student's t would make it 12.7 standard errors wide on either side."""
    two = summary([1.0, 3.0])
    assert (two.mean, two.median, two.worst, two.std) == (2.0, 2.0, 1.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(two.low)
    assert math.isnan(two.half_width)


def test_differences_are_paired() -> None:
    """What varies from seed to seed for both does not widen the interval of their difference."""
    found = difference([11.0, 22.0, 33.0], [10.0, 21.0, 32.0])
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)


@given(NUMBERS)
def test_mean_and_median_lie_inside(values: list[float]) -> None:
    """The mean is within its interval, the median within the extremes."""
    found = summary(values)
    assert found.low <= found.mean <= found.high
    assert min(values) <= found.median <= max(values)
