"""`hil.pacer`: simulation time as a function of the wall."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import GridloopError
from hil.pacer import Pacer
from tests.hil.fakes import FakeClock


def test_it_stands_still_until_it_is_started() -> None:
    """Building may take as long as it wants: time begins with `resume`."""
    clock = FakeClock()
    pacer = Pacer(clock)
    clock.forward(5.0)
    assert (pacer.now_us(), pacer.due_ns(1)) == (0, None)
    pacer.resume()
    clock.forward(0.25)
    assert pacer.now_us() == 250_000


def test_ten_hours_do_not_drift() -> None:
    """Deadlines are absolute: the 360,000th scan of 0.1 s is due after ten hours to the nanosecond."""
    clock = FakeClock(start_ns=987_654_321)
    pacer = Pacer(clock)
    pacer.resume()
    assert pacer.due_ns(36_000_000_000) == 987_654_321 + 36_000 * 10**9


def test_a_change_of_rate_does_not_jump() -> None:
    """At the change simulation time is where it was; from there it goes at the new rate."""
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.resume()
    clock.forward(10.0)
    pacer.set_rate(4.0)
    assert pacer.now_us() == 10_000_000
    clock.forward(1.0)
    assert pacer.now_us() == 14_000_000
    pacer.set_rate(0.1)
    clock.forward(10.0)
    assert pacer.now_us() == 15_000_000


def test_a_pause_is_a_hole_in_the_wall_and_not_in_the_simulation() -> None:
    """What was due in a pause is due after it."""
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.resume()
    clock.forward(1.0)
    pacer.pause()
    assert pacer.due_ns(1_000_001) is None
    clock.forward(60.0)
    assert pacer.now_us() == 1_000_000
    pacer.resume()
    assert pacer.due_ns(2_000_000) == clock.now_ns() + 10**9


def test_a_slip_gives_time_up_and_never_wins_any() -> None:
    """Set back to what was reached; set forward it is not."""
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.resume()
    clock.forward(3.0)
    assert pacer.slip_to(1_200_000) == 1_800_000
    assert pacer.now_us() == 1_200_000
    assert pacer.slip_to(9_000_000) == 0
    assert pacer.now_us() == pacer.sim_of(clock.now_ns() // 1000) == 1_200_000


@pytest.mark.parametrize("rate", [0.0, -1.0, 0.05, 101.0, float("nan"), float("inf")])
def test_a_rate_outside_is_refused(rate: float) -> None:
    """0.1 to 100, and the message says so; the pacer goes on as it was."""
    pacer = Pacer(FakeClock())
    with pytest.raises(GridloopError, match=r"expected 0.1 to 100"):
        pacer.set_rate(rate)
    assert pacer.rate == 1.0


@given(st.lists(st.tuples(st.sampled_from(["forward", "rate", "pause", "resume"]), st.floats(0.1, 100.0)), max_size=40))
def test_time_never_goes_back_and_due_is_when_it_is(steps: list[tuple[str, float]]) -> None:
    """Whatever is done to it: simulation time is monotone, and at `due_ns(t)` it is t, a nanosecond earlier it is not.
    """
    clock = FakeClock()
    pacer = Pacer(clock)
    last_us = 0
    for word, number in steps:
        if word == "forward":
            clock.forward(number)
        elif word == "rate":
            pacer.set_rate(number)
        else:
            getattr(pacer, word)()
        assert pacer.now_us() >= last_us
        wall_us = clock.now_ns() // 1000 + 7
        assert pacer.sim_of(wall_us) == pacer.sim_us(wall_us * 1000)
        last_us = pacer.now_us()
        due_ns = pacer.due_ns(last_us + 12_345)
        assert (due_ns is None) == pacer.paused
        if due_ns is not None:
            assert pacer.sim_us(due_ns) >= last_us + 12_345 > pacer.sim_us(due_ns - 1001)


def test_what_is_late_was_due_by_the_rate_that_held_then() -> None:
    """Ten seconds at a hundred times, then real time: the scan of 900 s is a second late, not a hundred."""
    clock = FakeClock()
    pacer = Pacer(clock, 100.0)
    pacer.resume()
    clock.forward(10.0)
    pacer.set_rate(1.0)
    assert pacer.due_ns(900_000_000) == 9_000_000_000
    assert pacer.due_ns(1_001_000_000) == 11_000_000_000
    pacer.pause()
    clock.forward(60.0)
    pacer.resume()
    assert pacer.due_ns(900_000_000) == 9_000_000_000
    assert pacer.due_ns(1_001_000_000) == 71_000_000_000


def test_anchors_that_were_are_bounded_and_a_slip_forgets_them() -> None:
    """Thousands of changes cost no memory; the present stays exact."""
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.resume()
    for _ in range(5_000):
        clock.forward(0.001)
        pacer.set_rate(1.0)
    assert len(pacer._past) < 100
    assert pacer.due_ns(5_000_000) == 5_000_000_000
    assert pacer.due_ns(1_000_000) == 1_000_000_000
    pacer.slip_to(4_000_000)
    assert pacer.due_ns(4_000_000) == 5_000_000_000
    assert pacer.due_ns(4_500_000) == 5_500_000_000
