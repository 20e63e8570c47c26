"""The kernel: what repeats, and what is cancelled."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import KernelError
from cosim.kernel import Kernel
from tests.cosim.traces import Trace, timeline

# -- repeating --------------------------------------------------------------------------------------------------------


def test_every_starts_at_its_offset_and_keeps_its_period() -> None:
    """Calls at offset, offset + period, …, with the time."""
    kernel, times = Kernel(), []
    kernel.every(10, times.append, offset_us=3)
    kernel.advance_to(33)
    assert times == [3, 13, 23, 33]


def test_every_added_later_stays_on_its_raster() -> None:
    """Times that have passed, the finished instant included, are skipped."""
    kernel, times = Kernel(), []
    kernel.advance_to(20)
    kernel.every(10, times.append)
    kernel.every(10, times.append, offset_us=1)
    kernel.advance_to(41)
    assert times == [21, 30, 31, 40, 41]


def test_calls_of_one_period_share_a_heap_entry() -> None:
    """A thousand members of one wheel are one entry, and run in the order of joining."""
    kernel, ran = Kernel(), []
    for i in range(1000):
        kernel.every(10, lambda _, i=i: ran.append(i), offset_us=5)
    assert len(kernel._heap) == 1
    kernel.advance_to(5)
    assert ran == list(range(1000))


def test_a_member_that_leaves_during_a_turn_is_not_called_in_it() -> None:
    """Leaving takes effect at once, also for a member whose turn was still to come."""
    kernel, ran, leave = Kernel(), [], []
    kernel.every(10, lambda _: (ran.append("a"), leave[0]()))
    leave.append(kernel.every(10, lambda _: ran.append("b")))
    kernel.every(10, lambda _: ran.append("c"))
    kernel.advance_to(10)
    assert ran == ["a", "c", "a", "c"]


def test_a_member_that_joins_during_a_turn_runs_at_that_instant_and_on() -> None:
    """Joining now for now is not lost and does not run twice."""
    trace = Trace()
    kernel = trace.kernel

    def first(t_us: int) -> None:
        trace.note("first")
        if t_us == 0:
            kernel.every(10, lambda _: trace.note("joined"))

    kernel.every(10, first)
    kernel.advance_to(20)
    assert trace.lines == timeline("""
        0 DRIVE first
        0 DRIVE joined
        10 DRIVE first
        10 DRIVE joined
        20 DRIVE first
        20 DRIVE joined""")


def test_one_function_may_join_twice_and_leave_once() -> None:
    """Each membership is its own; leaving twice harms nobody else."""
    kernel, times = Kernel(), []
    leave = kernel.every(10, times.append)
    kernel.every(10, times.append)
    leave()
    leave()
    kernel.advance_to(10)
    assert times == [0, 10]


def test_a_wheel_that_everybody_left_goes() -> None:
    """Nothing stays on the calendar; a later member starts afresh."""
    kernel, times = Kernel(), []
    kernel.every(10, times.append)()
    kernel.advance_to(5)
    assert kernel.next_us() is None
    kernel.every(10, times.append)
    kernel.advance_to(20)
    assert times == [10, 20]


def test_equal_periods_with_a_later_start_do_not_disturb_a_wheel() -> None:
    """An offset of whole periods begins later and then runs beside."""
    kernel, ran = Kernel(), []
    kernel.every(10, lambda t: ran.append(("now", t)))
    kernel.every(10, lambda t: ran.append(("later", t)), offset_us=20)
    kernel.every(10, lambda t: ran.append(("too", t)))
    kernel.advance_to(20)
    assert ran == [("now", 0), ("too", 0), ("now", 10), ("too", 10), ("later", 20), ("now", 20), ("too", 20)]


def test_jitter_displaces_each_call_and_never_accumulates() -> None:
    """Call k comes at k x period + its own draw."""
    kernel, times = Kernel(seed=3), []
    rng = kernel.rng("jitter")
    kernel.every(1000, times.append, offset_us=500, jitter=lambda: int(rng.integers(0, 200)))
    kernel.advance_to(100_000)
    late_us = np.array(times) - (500 + 1000 * np.arange(len(times)))
    assert len(times) == 100
    assert (late_us >= 0).all()
    assert (late_us < 200).all()
    assert len(np.unique(late_us)) > 20


def test_jitter_beyond_the_period_keeps_time_going_forward() -> None:
    """A draw of several periods delays the calls behind it; none is lost or in the past."""
    kernel, times = Kernel(), []
    draws = iter([35, 0, 0, 0, 0, 0])
    kernel.every(10, times.append, jitter=lambda: next(draws))
    kernel.advance_to(40)
    assert times == [35, 35, 35, 35, 40]


def test_a_ticker_that_cancels_itself_leaves_nothing() -> None:
    """Cancelled in its own call, it draws no more and keeps no entry."""
    kernel, draws = Kernel(), []
    stop = kernel.every(10, lambda _: stop(), jitter=lambda: draws.append(1) or 0)
    kernel.advance_to(15)
    assert kernel.next_us() is None
    assert len(draws) == 1


@pytest.mark.parametrize("period_us", [0, -5])
def test_a_period_is_at_least_a_microsecond(period_us: int) -> None:
    """Zero or less is an error, not an endless loop."""
    with pytest.raises(KernelError, match="at least 1 us"):
        Kernel().every(period_us, print)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_a_timer_fires_once_with_its_argument() -> None:
    """It is live until then."""
    kernel, got = Kernel(), []
    timer = kernel.timer(4, got.append, "x")
    assert timer.live
    kernel.advance_to(9)
    assert got == ["x"]
    assert not timer.live
    timer.fire()
    assert got == ["x"]


def test_a_cancelled_timer_never_fires_and_holds_nothing() -> None:
    """Cancelling twice, or after it fired, is harmless."""
    kernel, got = Kernel(), []
    timer = kernel.timer(4, got.append, "x")
    timer.cancel()
    timer.cancel()
    kernel.advance_to(9)
    timer.cancel()
    assert got == []
    assert timer._arg is None
