"""Simulation time: integer microseconds, phases of an instant, processes and random streams.

Theory of operation
-------------------
Time is an ``int`` of microseconds.  Everything that happens at one time is an *instant*, and an instant runs its
phases in a fixed order: DRIVE (profiles, disturbances, deliveries, agents), DECIDE (outside requests enter here;
a learner or a lock-step bench may stop the run here), SOLVE, PUBLISH, REPORT (telemetry leaves the field with what was
just published), END.  Phases are SimPy event priorities, so
the heap's key (time, phase, insertion number) is a total order: there is no "who steps first".

Within one phase, calls run in the order in which they were scheduled.  A call may schedule into its own phase or a
later one of the same instant; scheduling into a phase that has begun to pass is an error, never a silent reorder.

Decision: our calls stand on SimPy's own heap, between its events, as (time, phase, number, function, argument): no
Event, no callback list.  SimPy's entries have four fields, and the number decides every comparison before the fourth,
so both kinds share one total order; SimPy's are handed to ``Environment.step``.  This costs half of a Timeout, and a
million messages cost a million of them; it reads three private names of SimPy 4 (``_queue``, ``_eid``, ``_now``),
unchanged since 2013, hence the upper bound on its version.  ``simpy.rt`` is not used (it sleeps and cannot be woken by
outside events).  This is the only module that imports SimPy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from heapq import heappop, heappush
from operator import index
from typing import Any
from zlib import crc32

import numpy as np
import simpy
from simpy.core import StopSimulation

from cosim.errors import KernelError, ProcessError, RecordError

MICROSECONDS = 1_000_000
#: Latest time accepted, about 292 years: keeps t_us inside int64 for the recorder.
T_MAX_US = 2**63 - 1

Process = Generator[Any, Any, Any]

#: Fields of a call on the heap; SimPy's own entries have four.
_CALL = 5

#: What passes through a process unwrapped: it already says where, or is not a failure of the process.
_PASSING = (ProcessError, RecordError, StopSimulation)


class Phase(IntEnum):
    """Phases of an instant, in order.  SimPy's own events run at 0 (URGENT) and 1 (NORMAL, our DRIVE)."""

    DRIVE = 1
    DECIDE = 2
    SOLVE = 3
    PUBLISH = 4
    REPORT = 5
    END = 6


#: Spelt out for the loop: looking a member up costs more than the comparison.
_DRIVE = int(Phase.DRIVE)


def whole_us(seconds: float) -> int:
    """`seconds` as whole microseconds; raises KernelError when it is none (1e-7, NaN, infinite, negative)."""
    if not 0 <= seconds <= T_MAX_US / MICROSECONDS:
        raise KernelError(f"time {seconds!r} s: expected a finite number of seconds, zero or more")
    t_us = round(seconds * MICROSECONDS)
    # A decimal such as 0.1 is not exact in binary: what counts is that it *means* whole microseconds.  The error of
    # the product is within two units in the last place, so half a microsecond is still found in a year.
    tolerance_us = max(1e-9, 1e-15 * t_us) if t_us else 0.0
    if abs(seconds * MICROSECONDS - t_us) > tolerance_us or t_us > T_MAX_US:
        raise KernelError(f"time {seconds!r} s is not a whole number of microseconds (nearest: {t_us / 1e6!r})")
    return t_us


class Timer:
    """A cancellable call; `cancel` is idempotent and may come after it fired."""

    __slots__ = ("_arg", "_fn", "live", "t_us")

    def __init__(self, t_us: int, fn: Callable[[Any], Any], arg: Any) -> None:
        self.t_us = t_us
        self.live = True
        """Whether it will still fire."""
        self._fn = fn
        self._arg = arg

    @property
    def name(self) -> str:
        """The name of what it calls."""
        return _name_of(self._fn, self._arg)

    def cancel(self) -> None:
        """Never fire (again).  Its entry stays on the heap until `t_us`, and holds nothing."""
        if self.live:
            self.live, self._fn, self._arg = False, _nothing, None

    def fire(self, _: Any = None) -> None:
        """Call once; the kernel does this at `t_us`."""
        if self.live:
            self.live = False
            self._fn(self._arg)


class Ticker:
    """A call repeated every `period_us` (plus a fresh draw of `jitter` each time) until cancelled."""

    __slots__ = ("_fn", "_jitter", "_kernel", "_next_us", "live", "period_us")

    def __init__(self, kernel: Kernel, period_us: int, first_us: int, fn: Callable[[int], Any],
                 jitter: Callable[[], int] | None) -> None:
        self.period_us = period_us
        self.live = True
        self._kernel, self._fn, self._jitter, self._next_us = kernel, fn, jitter, first_us
        self._arm()

    @property
    def name(self) -> str:
        """The name of what it calls."""
        return _name_of(self._fn, None)

    def cancel(self) -> None:
        """Stop repeating."""
        self.live = False

    def _arm(self) -> None:
        # Jitter displaces one tick and never accumulates: ticks stay on the period's raster.
        late_us = self._jitter() if self._jitter else 0
        self._kernel.at(max(self._next_us + late_us, self._kernel.now_us), self._tick)

    def _tick(self, _: Any) -> None:
        if self.live:
            self._fn(self._kernel.now_us)
        if self.live:
            self._next_us += self.period_us
            self._arm()


class Wheel:
    """Calls that share one period and offset: one heap entry a period, however many members.

    Members run in the order in which they joined.  A member that leaves during a turn is not called again, not even
    in that turn.  A wheel that everybody has left turns once more and is gone (`next_us` is then None).
    """

    __slots__ = ("_joined", "_kernel", "_members", "next_us", "period_us")

    def __init__(self, kernel: Kernel, period_us: int, first_us: int) -> None:
        self.period_us = period_us
        self.next_us: int | None = first_us
        self._kernel = kernel
        self._joined = 0
        self._members: dict[int, Callable[[int], Any]] = {}
        kernel.at(first_us, self.turn)

    def join(self, fn: Callable[[int], Any]) -> Callable[[], None]:
        """Add a member; returns the function that removes it (this one membership; harmless when repeated)."""
        self._joined = ticket = self._joined + 1
        self._members[ticket] = fn

        def leave() -> None:
            self._members.pop(ticket, None)

        return leave

    def turn(self, _: Any) -> None:
        """Call every member with the time, then arm the next turn."""
        members, now_us = self._members, self._kernel.now_us
        # Moved on before the calls: a member that joins now for now gets a wheel of its own.
        next_us = self.next_us = now_us + self.period_us
        for ticket, fn in tuple(members.items()):
            if ticket not in members:
                continue
            try:
                fn(now_us)
            except _PASSING:
                raise
            except Exception as error:
                raise ProcessError(_name_of(fn, None), now_us, f"{type(error).__name__}: {error}") from error
        if members:
            self._kernel.at(next_us, self.turn)
        else:
            self.next_us = None


class Kernel:
    """Simulation time and the order of everything in it.

    `now_us` is the time of the instant being run (or the last one finished).  Nothing here reads a clock.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.now_us = 0
        """Current simulation time; written here alone."""
        self._env = simpy.Environment(initial_time=0)
        self._heap: list[Any] = self._env._queue
        self._count = self._env._eid
        self._wheels: dict[tuple[int, int], Wheel] = {}
        self._phase, self._phase_us = 0, -1
        self._running = False

    @property
    def phase(self) -> Phase:
        """Latest phase of this instant that has begun; earlier ones are closed to `at`."""
        return Phase(self._phase) if self._phase_us == self.now_us else Phase.DRIVE

    # -- scheduling ------------------------------------------------------------------------------------------------

    def at(self, t_us: int, fn: Callable[[Any], Any], arg: Any = None, phase: int = Phase.DRIVE) -> None:
        """Call ``fn(arg)`` at `t_us` in `phase`; the cheapest way to schedule (not cancellable).

        Raises KernelError for a time in the past or a phase of this instant that has passed.
        """
        if t_us <= self.now_us and (t_us < self.now_us or (phase < self._phase and t_us == self._phase_us)):
            raise KernelError(f"cannot schedule {_name_of(fn, arg)} at t = {t_us} us, phase {Phase(phase).name}: "
                              f"it is already {self.now_us} us, phase {self.phase.name}")
        heappush(self._heap, (t_us, phase, next(self._count), fn, arg))

    def timer(self, t_us: int, fn: Callable[[Any], Any], arg: Any = None, phase: int = Phase.DRIVE) -> Timer:
        """Like `at`, but cancellable."""
        timer = Timer(t_us, fn, arg)
        self.at(t_us, timer.fire, None, phase)
        return timer

    def every(self, period_us: int, fn: Callable[[int], Any], *, offset_us: int = 0,
              jitter: Callable[[], int] | None = None) -> Callable[[], None]:
        """Call ``fn(t_us)`` at `offset_us`, offset + period, …; returns a function that stops it.

        It begins at the first such time whose DRIVE has not passed.  Calls of equal period and next time share a
        wheel.  With `jitter` (a draw of microseconds, ≥ 0) each call is displaced on its own.
        """
        if period_us <= 0:
            raise KernelError(f"period {period_us} us: expected at least 1 us")
        first_us, open_us = offset_us, self.now_us + (self.phase > Phase.DRIVE)
        if first_us < open_us:
            first_us += -(-(open_us - first_us) // period_us) * period_us
        if jitter is not None:
            return Ticker(self, period_us, first_us, fn, jitter).cancel
        key = (period_us, first_us % period_us)
        wheel = self._wheels.get(key)
        if wheel is None or wheel.next_us != first_us:
            wheel = self._wheels[key] = Wheel(self, period_us, first_us)
        return wheel.join(fn)

    def spawn(self, generator: Process, name: str) -> simpy.Process:
        """Run a SimPy generator (``yield kernel.delay(us)``) in DRIVE; an error in it names `name` and the time.

        Raises KernelError when DRIVE of this instant has passed: begin from `at` of a later one.
        """
        if self.phase > Phase.DRIVE:
            raise KernelError(f"cannot spawn {name} at t = {self.now_us} us: it is already phase {self.phase.name}")
        return self._env.process(self._named(generator, name))

    def delay(self, delay_us: int) -> simpy.Timeout:
        """An event for a spawned generator to yield: `delay_us` (a whole number) from now."""
        return self._env.timeout(index(delay_us))

    def event(self) -> simpy.Event:
        """An event for spawned generators to wait for; ``succeed()``, called in DRIVE, wakes them."""
        return self._env.event()

    def _named(self, generator: Process, name: str) -> Process:
        try:
            return (yield from generator)
        except _PASSING:
            raise
        except Exception as error:
            raise ProcessError(name, self.now_us, f"{type(error).__name__}: {error}") from error

    # -- running ---------------------------------------------------------------------------------------------------

    def next_us(self) -> int | None:
        """Time of the next entry of the calendar (a cancelled one included), or None when it is empty."""
        return int(self._heap[0][0]) if self._heap else None

    def advance_to(self, t_us: int) -> bool:
        """Process every instant up to and including `t_us`; afterwards ``now_us == t_us``.

        True when it got there; False when a decision (`stop_for_decision`) stopped it: go on with another call.
        """
        if t_us < self.now_us:
            raise KernelError(f"cannot advance to {t_us} us: it is already {self.now_us} us")
        if self._running:
            raise KernelError(f"cannot advance to {t_us} us from inside the run, at {self.now_us} us")
        self._running = True
        try:
            self._run_until(t_us)
        except StopSimulation:
            return False
        finally:
            self._running = False
        self._set_now(t_us)
        self.enter_phase(Phase.END)
        return True

    def advance_instant(self) -> int | None:
        """Process the next instant whole and return its time; None when nothing is scheduled."""
        t_us = self.next_us()
        if t_us is not None:
            self.advance_to(t_us)
        return t_us

    def advance_to_decision(self, limit_us: int) -> int | None:
        """Run until a decision point (between DRIVE and SOLVE) or through `limit_us`.

        Returns the decision's time, or None when the limit came first.  The instant is resumed by the next call.
        """
        return None if self.advance_to(limit_us) else self.now_us

    def stop_for_decision(self) -> None:
        """Called in DRIVE: stop this instant at DECIDE and give control back to whoever advances."""
        self.at(self.now_us, self._stop_decision, None, Phase.DECIDE)

    def _stop_decision(self, _: Any) -> None:
        raise StopSimulation(None)

    def _run_until(self, t_us: int) -> None:
        heap, env, now_us = self._heap, self._env, self.now_us
        while heap:
            entry = heappop(heap)
            if entry[0] != now_us:
                if entry[0] > t_us:
                    heappush(heap, entry)
                    return
                self.now_us = env._now = now_us = entry[0]
            if len(entry) != _CALL:
                heappush(heap, entry)
                if self._phase_us == now_us and self._phase > _DRIVE:
                    raise KernelError(f"a process was woken at t = {now_us} us in phase {self.phase.name}: processes "
                                      f"run in DRIVE, which has passed; wake it from a call `at` a later instant")
                env.step()
                continue
            if entry[1] > _DRIVE:
                self._phase, self._phase_us = entry[1], now_us
            try:
                entry[3](entry[4])
            except _PASSING:
                raise
            except Exception as error:
                raise ProcessError(_name_of(entry[3], entry[4]), now_us, f"{type(error).__name__}: {error}") from error

    def _set_now(self, t_us: int) -> None:
        self.now_us = self._env._now = t_us

    def enter_phase(self, phase: int) -> None:
        """Declare that `phase` of this instant has begun: earlier ones are closed to `at`.

        Every call does this for its own phase; declare it only to close phases ahead of that.
        """
        self._phase, self._phase_us = phase, self.now_us

    # -- randomness ------------------------------------------------------------------------------------------------

    def rng(self, name: str) -> np.random.Generator:
        """The random stream called `name`: the same for the same seed and name, whatever else exists."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, crc32(name.encode())])))


def _nothing(_: Any) -> None:
    """What a cancelled timer calls."""


def _name_of(fn: Callable[[Any], Any], arg: Any) -> str:
    """The name a person would give a scheduled call: its owner's `name`, else its own."""
    for owner in (getattr(fn, "__self__", None), arg):
        name = getattr(owner, "name", None)
        if isinstance(name, str):
            return name
    return getattr(fn, "__qualname__", repr(fn))
