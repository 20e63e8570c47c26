"""The kernel: random streams, and whole microseconds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import KernelError
from cosim.kernel import T_MAX_US, Kernel, whole_us

# -- random streams ---------------------------------------------------------------------------------------------------


def test_a_stream_depends_on_seed_and_name_alone() -> None:
    """Drawing from others, before or between, changes nothing."""
    alone = Kernel(7).rng("pv").random(5)
    kernel = Kernel(7)
    kernel.rng("battery").random(100)
    stream = kernel.rng("pv")
    drawn = [float(stream.random()) for _ in range(5) if kernel.rng("wind").random() >= 0]
    assert drawn == alone.tolist()


def test_streams_differ_by_name_and_by_seed() -> None:
    """No two share their numbers."""
    draws = {(seed, name): tuple(Kernel(seed).rng(name).random(3)) for seed in (0, 1) for name in ("a", "b", "")}
    assert len(set(draws.values())) == len(draws)


def test_streams_are_pinned() -> None:
    """A change of the generator would silently change every recorded run."""
    assert Kernel(1).rng("golden").integers(0, 10**6, 4).tolist() == GOLDEN


GOLDEN = [911884, 88972, 642828, 893584]


# -- whole microseconds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "t_us"), [
    (0, 0), (0.1, 100_000), (0.3, 300_000), (1e-6, 1), (0.1 + 0.2, 300_000), (1 / 3 * 3, 1_000_000),
    (2.000001, 2_000_001), (86_400.000001, 86_400_000_001),
    (31_536_000.000001, 31_536_000_000_001), (9e12, 9 * 10**18)])
def test_decimals_mean_whole_microseconds(seconds: float, t_us: int) -> None:
    """What a person wrote counts, not its binary shadow."""
    assert whole_us(seconds) == t_us
    assert isinstance(whole_us(seconds), int)


@pytest.mark.parametrize("seconds", [
    1e-7, 1e-300, 0.0000015, float("nan"), float("inf"), -float("inf"), -1e-6, -1, 1e18,
    86_400.0000005, 600.0000005, T_MAX_US / 1e6])
def test_anything_else_is_refused(seconds: float) -> None:
    """Fractions of a microsecond (also late in a year), NaN, infinities, negatives and times beyond int64."""
    with pytest.raises(KernelError, match="time "):
        whole_us(seconds)


@given(st.integers(0, 400 * 86_400 * 10**6))
@settings(deadline=None)
def test_every_microsecond_of_a_year_survives_being_written_in_seconds(t_us: int) -> None:
    """Round trip through a float of seconds."""
    assert whole_us(t_us / 1e6) == t_us
