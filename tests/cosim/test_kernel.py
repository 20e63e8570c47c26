"""The kernel: time, phases, total order, processes, decisions, random streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import KernelError, ProcessError
from cosim.kernel import T_MAX_US, Kernel, Phase, whole_us


class Trace:
    """A kernel and what happened in it, as a text timeline: ``"<t_us> <PHASE> <what>"``."""

    def __init__(self, seed: int = 0) -> None:
        self.kernel = Kernel(seed)
        self.lines: list[str] = []

    def note(self, what: Any) -> None:
        """Write a line."""
        self.lines.append(f"{self.kernel.now_us} {self.kernel.phase.name} {what}")

    def at(self, t_us: int, what: str, phase: Phase = Phase.DRIVE) -> None:
        """Schedule a line."""
        self.kernel.at(t_us, self.note, what, phase)


def timeline(text: str) -> list[str]:
    """Lines of an indented timeline."""
    return [line.strip() for line in text.strip().splitlines()]


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


# -- processes and errors ---------------------------------------------------------------------------------------------


def test_a_spawned_generator_waits_in_drive() -> None:
    """Delays are whole microseconds from now, and an event passes its value on."""
    trace = Trace()
    kernel = trace.kernel
    door = kernel.event()

    def visitor() -> Any:
        trace.note("waits")
        what = yield door
        trace.note(what)

    def opener() -> Any:
        yield kernel.delay(5)
        trace.note("opens")
        door.succeed("in")

    kernel.spawn(visitor(), "visitor")
    kernel.spawn(opener(), "opener")
    trace.at(5, "solve", Phase.SOLVE)
    kernel.advance_to(10)
    assert trace.lines == ["0 DRIVE waits", "5 DRIVE opens", "5 DRIVE in", "5 SOLVE solve"]


def failing(_: Any = None) -> None:
    """Fail."""
    raise ValueError("boom")


def spawned(kernel: Kernel) -> None:
    """A generator that fails at 3 us."""

    def run() -> Any:
        yield kernel.delay(3)
        failing()

    kernel.spawn(run(), "pump-7")


class Named:
    """An owner with a name."""

    name = "pump-7"

    def fail(self, _: Any) -> None:
        """Fail."""
        raise ValueError("boom")


WAYS: dict[str, Callable[[Kernel], Any]] = {
    "spawn": spawned,
    "at": lambda kernel: kernel.at(3, Named().fail),
    "argument": lambda kernel: kernel.at(3, failing, Named()),
    "late phase": lambda kernel: kernel.at(3, Named().fail, phase=Phase.PUBLISH),
    "timer": lambda kernel: kernel.timer(3, Named().fail),
    "wheel": lambda kernel: kernel.every(10, Named().fail, offset_us=3),
    "jitter": lambda kernel: kernel.every(10, Named().fail, offset_us=2, jitter=lambda: 1),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_error_names_the_process_and_its_time(way: str) -> None:
    """However it was scheduled: name, simulation time, and the cause chained."""
    kernel = Kernel()
    WAYS[way](kernel)
    with pytest.raises(ProcessError) as caught:
        kernel.advance_to(10)
    assert str(caught.value) == "pump-7 failed at t = 0.000003 s: ValueError: boom"
    chain, error = [], caught.value
    while error is not None:
        chain.append(type(error))
        error = error.__cause__
    assert ValueError in chain


def test_an_error_without_an_owner_names_the_function() -> None:
    """A plain function is named by itself."""
    kernel = Kernel()
    kernel.at(1, failing)
    with pytest.raises(ProcessError, match=r"^failing failed at"):
        kernel.advance_to(10)


def test_a_process_error_passes_through_unwrapped() -> None:
    """The innermost process is the one named."""
    kernel = Kernel()

    def outer(_: Any) -> None:
        raise ProcessError("inner", 1, "x")

    kernel.at(1, outer)
    with pytest.raises(ProcessError, match=r"^inner failed"):
        kernel.advance_to(10)


def test_processes_cannot_begin_or_wake_after_drive() -> None:
    """A spawn or wake-up outside DRIVE is an error, not a DRIVE after SOLVE."""
    kernel = Kernel()
    kernel.advance_to(1)
    with pytest.raises(KernelError, match="it is already phase END"):
        kernel.spawn(iter(()), "pump")
    door = kernel.event()
    kernel.at(5, lambda _: door.succeed(), phase=Phase.PUBLISH)
    with pytest.raises(KernelError, match="woken at t = 5 us in phase PUBLISH"):
        kernel.advance_to(9)


def test_a_delay_of_half_a_microsecond_is_refused() -> None:
    """Time stays an integer."""
    with pytest.raises(TypeError):
        Kernel().delay(0.5)


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
