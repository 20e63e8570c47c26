"""Simulation time as a function of the wall: the only module here that reads a clock.

Theory of operation
-------------------
While it runs, ``sim = sim₀ + rate · (wall - wall₀)``: one anchor, absolute, in integers (nanoseconds and a rate that is
a ratio of whole numbers), so there is nothing to drift.  A change of rate, a pause, a resume and a slip move the anchor
to the present: simulation time stays where it is and goes on from there, never in a jump (a slip jumps, back, on
purpose).  The clock is the machine's monotonic one: a step of NTP or of the calendar is invisible.

Anchors that were are remembered: what is worked off late was due by the rate that held *then*, and its lateness is
told in that time's wall clock, whatever the rate is now.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from time import monotonic_ns
from typing import Protocol

from cosim.errors import GridloopError

RATE_MIN, RATE_MAX = 0.1, 100.0
#: Anchors remembered.
MAX_PAST = 64


class Clock(Protocol):
    """Nanoseconds since an arbitrary start; never decreases."""

    def now_ns(self) -> int:
        """Now."""


class MonotonicClock:
    """The machine's monotonic clock, the one that asyncio's loop uses too."""

    __slots__ = ()

    # The function itself and not a method around it: it is asked several times for every request.
    now_ns = staticmethod(monotonic_ns)
    """Nanoseconds since an arbitrary start."""


def checked_rate(rate: float) -> float:
    """`rate` itself, or GridloopError for one outside 0.1…100."""
    if not RATE_MIN <= rate <= RATE_MAX:
        raise GridloopError(f"rate {rate:g}: expected {RATE_MIN:g} to {RATE_MAX:g} simulated seconds a second")
    return rate


class Pacer:
    """Where simulation time should be now, and when an instant is due.  Made paused at `start_us`; `resume` starts it.
    """

    __slots__ = ("_clock", "_denominator", "_numerator", "_past", "_paused", "_rate", "_shift_us",
                 "_sim_ns", "_wall_ns")

    def __init__(self, clock: Clock, rate: float = 1.0, start_us: int = 0) -> None:
        self._clock = clock
        self._set(rate)
        self._sim_ns, self._wall_ns = start_us * 1000, clock.now_ns()
        self._paused = True
        self._past: deque[tuple[int, int, Fraction]] = deque(maxlen=MAX_PAST)
        """(sim ns, wall ns, rate) from which it ran, before the present anchor; oldest first."""
        self._shift_us: int | None = None
        """Simulation time less wall time, while it runs at rate 1; None otherwise."""

    @property
    def rate(self) -> float:
        """Simulated seconds a wall second while it runs."""
        return float(self._rate)

    @property
    def paused(self) -> bool:
        """Whether simulation time stands still."""
        return self._paused

    def sim_us(self, wall_ns: int) -> int:
        """Simulation time at a wall time (microseconds, rounded down)."""
        return self._sim_at(wall_ns) // 1000

    def sim_of(self, wall_us: int) -> int:
        """As `sim_us`, of a wall time in microseconds: asked for every request, so at rate 1 it is one addition."""
        shift_us = self._shift_us
        return self._sim_at(wall_us * 1000) // 1000 if shift_us is None else wall_us + shift_us

    def now_us(self) -> int:
        """Simulation time now."""
        return self.sim_us(self._clock.now_ns())

    def due_ns(self, t_us: int) -> int | None:
        """Wall time from which `sim_us` is at least `t_us`; None while paused and not there yet."""
        ahead_ns = t_us * 1000 - self._sim_ns
        if ahead_ns < 0:
            return self._was_due_ns(t_us * 1000)
        if self._paused and ahead_ns > 0:
            return None
        return self._wall_ns + _wall_of(ahead_ns, self._rate)

    def set_rate(self, rate: float) -> None:
        """Another rate from now on; raises GridloopError for one outside 0.1…100."""
        checked_rate(rate)
        self._anchor()
        self._set(rate)
        self._moved()

    def pause(self) -> None:
        """Stand still from now on."""
        self._anchor()
        self._paused = True
        self._moved()

    def resume(self) -> None:
        """Go on from where it stands."""
        self._anchor()
        self._paused = False
        self._moved()

    def slip_to(self, t_us: int) -> int:
        """Let it be `t_us` now, not later than it is; returns the simulated microseconds given up (≥ 0)."""
        self._anchor()
        lost_us = max(self._sim_ns // 1000 - t_us, 0)
        self._sim_ns -= lost_us * 1000
        self._past.clear()  # they speak of times that come again
        self._moved()
        return lost_us

    def _set(self, rate: float) -> None:
        self._rate = Fraction(checked_rate(rate)).limit_denominator(1000)
        # As plain integers: `sim_us` is asked twice for every request, and a Fraction's parts are properties.
        self._numerator, self._denominator = self._rate.numerator, self._rate.denominator

    def _moved(self) -> None:
        is_one_to_one = not self._paused and self._numerator == self._denominator
        self._shift_us = (self._sim_ns - self._wall_ns) // 1000 if is_one_to_one else None

    def _sim_at(self, wall_ns: int) -> int:
        if self._paused:
            return self._sim_ns
        return self._sim_ns + (wall_ns - self._wall_ns) * self._numerator // self._denominator

    def _was_due_ns(self, sim_ns: int) -> int:
        """When it was, by the anchor that held; before the first that is remembered, by the rate of that one."""
        anchor = (self._sim_ns, self._wall_ns, self._rate)
        for past in reversed(self._past):
            anchor = past
            if past[0] <= sim_ns:
                break
        return anchor[1] + _wall_of(sim_ns - anchor[0], anchor[2])

    def _anchor(self) -> None:
        now_ns = self._clock.now_ns()
        if not self._paused:
            self._past.append((self._sim_ns, self._wall_ns, self._rate))
        self._sim_ns, self._wall_ns = self._sim_at(now_ns), now_ns


def _wall_of(sim_ns: int, rate: Fraction) -> int:
    """Wall nanoseconds of simulated ones, rounded up: not before its time."""
    return -(-sim_ns * rate.denominator // rate.numerator)
