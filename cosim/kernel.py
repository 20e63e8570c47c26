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

Decision: the calls on the heap are not ``simpy.Event`` but a three-slot object with the two attributes that
``Environment.step`` reads.  It is a third of the size and cost of a Timeout, and a million messages cost a million
of them.  ``simpy.rt`` is not used (it sleeps and cannot be woken by outside events).  This is the only module that
imports SimPy.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
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


def whole_us(seconds: float) -> int:
    """`seconds` as whole microseconds; raises KernelError when it is none (1e-7, NaN, infinite, negative)."""
    if not 0 <= seconds <= T_MAX_US / MICROSECONDS:
        raise KernelError(f"time {seconds!r} s: expected a finite number of seconds, zero or more")
    t_us = round(seconds * MICROSECONDS)
    # A decimal such as 0.1 is not exact in binary: what counts is that it *means* whole microseconds.
    if abs(seconds * MICROSECONDS - t_us) > 1e-9 * max(1.0, t_us):
        raise KernelError(f"time {seconds!r} s is not a whole number of microseconds (nearest: {t_us / 1e6!r})")
    return t_us


class _Call:
    """One call on SimPy's heap.  ``Environment.step`` reads ``callbacks`` and ``_ok`` and nothing else."""

    __slots__ = ("arg", "callbacks", "fn")
    _ok = True

    def __init__(self, fn: Callable[[Any], Any], arg: Any, callbacks: tuple[Callable[[_Call], None]]) -> None:
        self.fn = fn
        self.arg = arg
        self.callbacks = callbacks


class Timer:
    """A cancellable call; `cancel` is idempotent and may come after it fired."""

    __slots__ = ("_arg", "_fn", "t_us")

    def __init__(self, t_us: int, fn: Callable[[Any], Any], arg: Any) -> None:
        self.t_us = t_us
        self._fn: Callable[[Any], Any] | None = fn
        self._arg = arg

    @property
    def live(self) -> bool:
        """Whether it will still fire."""
        return self._fn is not None

    def cancel(self) -> None:
        """Never fire (again)."""
        self._fn = None

    def fire(self, _: Any = None) -> None:
        """Call once; the kernel does this at `t_us`."""
        fn, self._fn = self._fn, None
        if fn is not None:
            fn(self._arg)


class Ticker:
    """A call repeated every `period_us` (plus a fresh draw of `jitter` each time) until cancelled."""

    __slots__ = ("_fn", "_jitter", "_kernel", "_next_us", "live", "period_us")

    def __init__(self, kernel: Kernel, period_us: int, first_us: int, fn: Callable[[int], Any],
                 jitter: Callable[[], int] | None) -> None:
        self.period_us = period_us
        self.live = True
        self._kernel, self._fn, self._jitter, self._next_us = kernel, fn, jitter, first_us
        self._arm()

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
            self._next_us += self.period_us
            self._arm()


class Wheel:
    """Calls that share one period and offset: one heap entry a period, however many members.

    Members run in the order in which they joined.  A member that leaves during a turn is not called again.
    """

    __slots__ = ("_kernel", "_members", "_next_us", "period_us", "turning")

    def __init__(self, kernel: Kernel, period_us: int, first_us: int) -> None:
        self.period_us = period_us
        self._kernel, self._next_us = kernel, first_us
        self._members: list[Callable[[int], Any]] = []
        kernel.at(first_us, self.turn)

    def join(self, fn: Callable[[int], Any]) -> Callable[[], None]:
        """Add a member; returns the function that removes it."""
        self._members.append(fn)
        return lambda: self._members.remove(fn) if fn in self._members else None

    def turn(self, _: Any) -> None:
        """Call every member with the time, then arm the next turn."""
        now_us = self._kernel.now_us
        # Moved on before the calls: a member that joins now for now gets a wheel of its own.
        self._next_us += self.period_us
        for fn in tuple(self._members):
            try:
                fn(now_us)
            except _PASSING:
                raise
            except Exception as error:
                raise ProcessError(_name_of(fn, None), now_us, f"{type(error).__name__}: {error}") from error
        self._kernel.at(self._next_us, self.turn)


class Kernel:
    """Simulation time and the order of everything in it.

    `now_us` is the time of the instant being run (or the last one finished).  Nothing here reads a clock.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._env = simpy.Environment(initial_time=0)
        self._schedule = self._env.schedule
        self._wheels: dict[tuple[int, int], Wheel] = {}
        self._run_call = (self._run,)
        self._phase, self._phase_us = 0, -1
        self._decision = False
        self._stop: tuple[int, _Call] | None = None

    @property
    def now_us(self) -> int:
        """Current simulation time, microseconds."""
        return self._env._now  # type: ignore[return-value]  # `now` is a property on this: one call less, 1e6 times

    # -- scheduling ------------------------------------------------------------------------------------------------

    def at(self, t_us: int, fn: Callable[[Any], Any], arg: Any = None, phase: int = Phase.DRIVE) -> None:
        """Call ``fn(arg)`` at `t_us` in `phase`; the cheapest way to schedule (not cancellable).

        Raises KernelError for a time in the past or a phase of this instant that has passed.
        """
        delay_us = t_us - self._env._now
        if delay_us <= 0 and (delay_us < 0 or (phase < self._phase and t_us == self._phase_us)):
            raise KernelError(f"cannot schedule {_name_of(fn, arg)} at t = {t_us} us, phase {Phase(phase).name}: "
                              f"it is already {self.now_us} us, phase {self._phase}")
        self._schedule(_Call(fn, arg, self._run_call), phase, delay_us)  # type: ignore[arg-type]

    def timer(self, t_us: int, fn: Callable[[Any], Any], arg: Any = None, phase: int = Phase.DRIVE) -> Timer:
        """Like `at`, but cancellable."""
        timer = Timer(t_us, fn, arg)
        self.at(t_us, timer.fire, None, phase)
        return timer

    def every(self, period_us: int, fn: Callable[[int], Any], *, offset_us: int = 0,
              jitter: Callable[[], int] | None = None) -> Callable[[], None]:
        """Call ``fn(t_us)`` at `offset_us`, offset + period, …; returns a function that stops it.

        Calls of equal period and next time share a wheel.  With `jitter` (a draw of microseconds, ≥ 0) each call
        is displaced on its own.
        """
        if period_us <= 0:
            raise KernelError(f"period {period_us} us: expected at least 1 us")
        first_us = offset_us
        if first_us < self.now_us:
            first_us += -(-(self.now_us - first_us) // period_us) * period_us
        if jitter is not None:
            return Ticker(self, period_us, first_us, fn, jitter).cancel
        key = (period_us, first_us % period_us)
        wheel = self._wheels.get(key)
        if wheel is None or wheel._next_us != first_us:
            wheel = self._wheels[key] = Wheel(self, period_us, first_us)
        return wheel.join(fn)

    def spawn(self, generator: Process, name: str) -> simpy.Process:
        """Run a SimPy generator (``yield kernel.delay(us)``) in DRIVE; an error in it names `name` and the time."""
        return self._env.process(self._named(generator, name))

    def delay(self, delay_us: int) -> simpy.Timeout:
        """An event for a spawned generator to yield: `delay_us` from now."""
        return self._env.timeout(delay_us)

    def event(self) -> simpy.Event:
        """An event for spawned generators to wait for; ``succeed()`` wakes them."""
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
        """Time of the next event, or None when nothing is scheduled."""
        peek = self._env.peek()
        return None if peek == simpy.core.Infinity else int(peek)

    def advance_to(self, t_us: int) -> bool:
        """Process every instant up to and including `t_us`; afterwards ``now_us == t_us``.

        True when it got there; False when a decision (`stop_for_decision`) stopped it: go on with another call.
        """
        self._check_ahead(t_us)
        self._decision = False
        self._run_until(t_us)
        return not self._decision

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
        self._decision = True
        self.enter_phase(Phase.DECIDE)
        raise StopSimulation(None)

    def _check_ahead(self, t_us: int) -> None:
        if t_us < self.now_us:
            raise KernelError(f"cannot advance to {t_us} us: it is already {self.now_us} us")

    def _run_until(self, t_us: int) -> None:
        # One stop at END of t_us.  A stop left by a decision is used again: a million decisions toward one limit
        # must not leave a million entries on the heap.
        if self._stop is None or self._stop[0] != t_us:
            if self._stop is not None:
                self._stop[1].fn = _nothing
            call = _Call(self._stop_run, None, self._run_call)
            self._stop = (t_us, call)
            self._schedule(call, Phase.END, t_us - self.now_us)  # type: ignore[arg-type]
        self._env.run()

    def _stop_run(self, _: Any) -> None:
        self._stop = None
        self.enter_phase(Phase.END)
        raise StopSimulation(None)

    def _run(self, call: _Call) -> None:
        try:
            call.fn(call.arg)
        except _PASSING:
            raise
        except Exception as error:
            raise ProcessError(_name_of(call.fn, call.arg), self.now_us, f"{type(error).__name__}: {error}") from error

    def enter_phase(self, phase: int) -> None:
        """Declare that `phase` of this instant has begun: earlier ones are closed to `at`."""
        self._phase, self._phase_us = phase, self.now_us

    # -- randomness ------------------------------------------------------------------------------------------------

    def rng(self, name: str) -> np.random.Generator:
        """The random stream called `name`: the same for the same seed and name, whatever else exists."""
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, crc32(name.encode())])))


def _nothing(_: Any) -> None:
    """What a cancelled stop does."""


def _name_of(fn: Callable[[Any], Any], arg: Any) -> str:
    """The name a person would give a scheduled call: its owner's `name`, else its own."""
    for owner in (getattr(fn, "__self__", None), arg):
        name = getattr(owner, "name", None)
        if isinstance(name, str):
            return name
    return getattr(fn, "__qualname__", repr(fn))
