"""Token buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import GridloopError
from hil.rates import RateLimit, TokenBuckets


def test_a_burst_then_the_rate() -> None:
    """Full at first; then one token a tenth of a second at 10 a second."""
    buckets = TokenBuckets(RateLimit(10, 3))
    assert [buckets.take(["a"], 0) for _ in range(4)] == [None, None, None, "a"]
    assert buckets.take(["a"], 99_999) == "a"
    assert buckets.take(["a"], 100_000) is None
    assert buckets.take(["b"], 100_000) is None


def test_several_are_taken_together_or_not_at_all() -> None:
    """What is refused for one key costs the others nothing; one key twice needs two tokens."""
    buckets = TokenBuckets(RateLimit(0, 2))
    assert buckets.take(["a", "a", "a"], 0) == "a"
    assert buckets.take(["a", "b"], 0) is None
    assert buckets.take(["b", "a", "a"], 0) == "a"
    assert buckets.take(["a", "b"], 0) is None
    assert buckets.take(["b"], 10**12) == "b"


def test_without_a_limit_nothing_is_kept() -> None:
    """The default limits nothing and keeps no bucket."""
    buckets = TokenBuckets(RateLimit())
    assert [buckets.take(["a"], 0) for _ in range(1000)] == [None] * 1000
    assert len(buckets) == 0


def test_buckets_are_bounded() -> None:
    """The one used longest ago goes."""
    buckets = TokenBuckets(RateLimit(0, 1), limit=2)
    for key in "abc":
        assert buckets.take([key], 0) is None
    assert len(buckets) == 2
    assert buckets.take(["c"], 0) == "c"
    assert buckets.take(["a"], 0) is None


@given(st.lists(st.integers(0, 50_000), max_size=200), st.floats(0.5, 100), st.integers(1, 10))
def test_never_more_than_burst_and_rate(gaps_us: list[int], per_s: float, burst: int) -> None:
    """Over any time from the start at most burst + rate x time were let through."""
    buckets, now_us, taken = TokenBuckets(RateLimit(per_s, burst)), 0, 0
    for gap_us in gaps_us:
        now_us += gap_us
        taken += buckets.take(["a"], now_us) is None
        assert taken <= burst + per_s * now_us / 1e6 + 1e-6


@pytest.mark.parametrize(("per_s", "burst"), [(-1, 1), (float("nan"), 1), (1, 0.5), (1, float("inf"))])
def test_limits_that_make_no_sense(per_s: float, burst: float) -> None:
    """A clear word."""
    with pytest.raises(GridloopError, match="rate limit: "):
        RateLimit(per_s, burst)
