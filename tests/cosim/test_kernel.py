"""The kernel: time, phases, total order, decisions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import KernelError, ProcessError
from cosim.kernel import Kernel, Phase
from tests.cosim.traces import Trace, timeline

# -- order ------------------------------------------------------------------------------------------------------------


def test_phases_run_in_order_whatever_the_order_of_scheduling() -> None:
    """An instant runs DRIVE, DECIDE, SOLVE, PUBLISH, REPORT, END."""
    trace = Trace()
    for phase in reversed(Phase):
        trace.at(5, "x", phase)
    trace.kernel.advance_to(5)
    assert trace.lines == timeline("""
        5 DRIVE x
        5 DECIDE x
        5 SOLVE x
        5 PUBLISH x
        5 REPORT x
        5 END x""")


def test_calls_of_one_phase_run_in_the_order_of_scheduling() -> None:
    """Insertion breaks ties within a phase."""
    trace = Trace()
    for name in "cab":
        trace.at(3, name, Phase.SOLVE)
    trace.kernel.advance_to(3)
    assert trace.lines == ["3 SOLVE c", "3 SOLVE a", "3 SOLVE b"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Phase))), max_size=30))
def test_order_is_total(entries: list[tuple[int, Phase]]) -> None:
    """Calls run sorted by (time, phase, insertion), each once."""
    kernel, ran = Kernel(), []
    for i, (t_us, phase) in enumerate(entries):
        kernel.at(t_us, ran.append, (t_us, phase, i), phase)
    kernel.advance_to(10)
    assert ran == sorted(ran)
    assert len(ran) == len(entries)


def test_a_call_may_schedule_into_its_own_and_later_phases_of_its_instant() -> None:
    """What is added to an instant while it runs, runs in it, behind what stood there."""
    trace = Trace()

    def solve(_: Any) -> None:
        trace.note("solve")
        trace.at(7, "own phase", Phase.SOLVE)
        trace.at(7, "later", Phase.PUBLISH)

    trace.kernel.at(7, solve, None, Phase.SOLVE)
    trace.at(7, "stood there", Phase.SOLVE)
    trace.kernel.advance_to(7)
    assert trace.lines == timeline("""
        7 SOLVE solve
        7 SOLVE stood there
        7 SOLVE own phase
        7 PUBLISH later""")


@pytest.mark.parametrize("phase", [Phase.DECIDE, Phase.SOLVE, Phase.PUBLISH, Phase.REPORT, Phase.END])
def test_a_phase_that_has_passed_is_closed(phase: Phase) -> None:
    """Scheduling into an earlier phase of the running instant is an error that names the call, never a reorder."""
    kernel, seen = Kernel(), []

    def late(_: Any) -> None:
        try:
            kernel.at(4, seen.append, "never", Phase(phase - 1))
        except KernelError as error:
            seen.append(str(error))

    kernel.at(4, late, None, phase)
    kernel.advance_to(9)
    assert len(seen) == 1
    assert f"phase {Phase(phase - 1).name}: it is already 4 us, phase {phase.name}" in seen[0]


def test_the_past_is_closed() -> None:
    """Scheduling before now is an error, and so is anything but END of an instant that is finished."""
    kernel = Kernel()
    kernel.advance_to(10)
    with pytest.raises(KernelError, match="t = 9 us"):
        kernel.at(9, print)
    with pytest.raises(KernelError, match="it is already 10 us, phase END"):
        kernel.at(10, print, phase=Phase.PUBLISH)
    with pytest.raises(KernelError, match="cannot advance to 9 us"):
        kernel.advance_to(9)


def test_entering_a_phase_early_closes_the_ones_before() -> None:
    """`enter_phase` declares a phase begun from within an earlier one."""
    kernel = Kernel()
    kernel.enter_phase(Phase.SOLVE)
    with pytest.raises(KernelError):
        kernel.at(0, print, phase=Phase.DECIDE)
    kernel.at(0, lambda _: None, phase=Phase.SOLVE)


# -- advancing --------------------------------------------------------------------------------------------------------


def test_advance_to_is_inclusive_and_ends_at_its_time() -> None:
    """Events at the limit run, later ones do not, and now is the limit."""
    trace = Trace()
    for t_us in (9, 10, 11):
        trace.at(t_us, "x", Phase.END)
    trace.kernel.advance_to(10)
    assert trace.lines == ["9 END x", "10 END x"]
    assert trace.kernel.now_us == 10
    trace.kernel.advance_to(10)
    assert trace.lines == ["9 END x", "10 END x"]


def test_advance_to_on_an_empty_calendar_moves_time() -> None:
    """Nothing scheduled: time still passes, and nothing is left behind."""
    kernel = Kernel()
    assert kernel.advance_to(123)
    assert (kernel.now_us, kernel.next_us()) == (123, None)


def test_advance_instant_runs_one_instant_whole() -> None:
    """All phases of the next time run, and that time comes back; None when there is nothing."""
    trace = Trace()
    trace.at(3, "a")
    trace.at(3, "b", Phase.PUBLISH)
    trace.at(8, "c")
    assert [trace.kernel.advance_instant() for _ in range(3)] == [3, 8, None]
    assert trace.lines == ["3 DRIVE a", "3 PUBLISH b", "8 DRIVE c"]


def test_advancing_from_inside_the_run_is_an_error() -> None:
    """A call may not advance the kernel that runs it; the error names it."""
    kernel = Kernel()

    def meddle(_: Any) -> None:
        kernel.advance_to(20)

    kernel.at(5, meddle)
    with pytest.raises(ProcessError, match=r"meddle failed at t = 0\.000005 s: KernelError: .*from inside the run"):
        kernel.advance_to(10)
    assert kernel.advance_to(10)


def test_a_decision_stops_between_drive_and_solve_and_resumes() -> None:
    """DRIVE has run, SOLVE has not; what is submitted in DECIDE then meets SOLVE of that very instant."""
    trace = Trace()
    kernel = trace.kernel

    def due(_: Any) -> None:
        trace.note("due")
        kernel.stop_for_decision()

    trace.at(6, "solve", Phase.SOLVE)
    kernel.at(6, due)
    trace.at(6, "after due")
    assert kernel.advance_to_decision(100) == 6
    assert trace.lines == ["6 DRIVE due", "6 DRIVE after due"]
    with pytest.raises(KernelError, match="phase DECIDE"):
        kernel.at(6, print)
    trace.at(6, "action", Phase.DECIDE)
    assert kernel.advance_to_decision(100) is None
    assert trace.lines[2:] == ["6 DECIDE action", "6 SOLVE solve"]
    assert kernel.now_us == 100


def test_advance_to_says_when_a_decision_stopped_it() -> None:
    """False at a decision, True at the limit."""
    kernel = Kernel()
    kernel.at(2, lambda _: kernel.stop_for_decision())
    assert kernel.advance_to(5) is False
    assert kernel.now_us == 2
    assert kernel.advance_to(5) is True


@pytest.mark.slow
def test_a_million_decisions_leave_nothing_on_the_heap() -> None:
    """Stopping and resuming toward a limit, near or far, adds no entry that stays."""
    kernel = Kernel()
    n = 1_000_000

    def due(t_us: int) -> None:
        kernel.stop_for_decision()

    kernel.every(10, due)
    most = 0
    for i in range(n):
        assert kernel.advance_to_decision(10 * n + i % 7) is not None
        most = max(most, len(kernel._heap))
    assert most <= 2
