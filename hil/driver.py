"""Keeps a simulation abreast of the wall clock: processes what is due, says when to come again.  Knows no event loop.

Theory of operation
-------------------
The kernel is a passive calendar.  `pump` processes every instant that is due by the pacer, one after the other, and
returns the wall time of the next (None: nothing is coming).  A request from outside enters the kernel at
``max(last finished instant + 1 µs, sim(arrival))``, which is at once due: whoever submitted it pumps again.  A long
backlog is worked off in slices, so that masters are answered in between.

When a scan is not finished as the next one falls due, it has overrun, and the policy says what follows:

=========  ==========================================================================================================
strict     the run ends, and says which scan it was
catch_up   late instants follow back to back until simulation time is abreast again (nothing is left out)
skip       scans that are already over are dropped and counted; the raster is kept; the drop is journalled
slip       simulation time is set back to what has been reached; the wall moves on, the lost time is recorded
=========  ==========================================================================================================

The first `grace_scans` are counted apart and have no consequence: first solves load libraries and fill caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from cosim.errors import GridloopError
from cosim.simulation.engine import Simulation
from gateways.station import Station
from hil.pacer import Clock, Pacer
from hil.timing import Timing

#: Wall time for which instants are processed back to back before masters get their turn.
SLICE_NS = 5_000_000
#: Wall time in which an ending run works off what is due; a backlog longer than that is left.
FINISH_NS = 2_000_000_000


class OverrunPolicy(Enum):
    """What follows when a scan was not finished in time."""

    STRICT = "strict"
    CATCH_UP = "catch_up"
    SKIP = "skip"
    SLIP = "slip"


class OverrunError(GridloopError):
    """A scan was not finished in time, and the policy is strict."""


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """How lateness is met; `end_us`: where the run ends."""

    end_us: int
    policy: OverrunPolicy = OverrunPolicy.CATCH_UP
    grace_scans: int = 3
    spin_ns: int = 0
    """Come this much early and wait busily: for microseconds that an event loop's timers do not give."""


def _nothing(_t_us: int, _now_ns: int) -> None:
    """Nobody listens."""


class Driver:
    """One served simulation.  `on_instant` is told of every instant processed and the wall time at its end."""

    def __init__(self, simulation: Simulation, stations: Sequence[Station], pacer: Pacer, clock: Clock, *,
                 timing: Timing, options: DriverOptions) -> None:
        self.simulation, self.pacer, self.timing = simulation, pacer, timing
        self.on_instant: Callable[[int, int], None] = _nothing
        self._stations, self._clock, self._options = tuple(stations), clock, options
        self._scans = 0
        self._skipped_to_us = -1

    @property
    def done(self) -> bool:
        """Whether the run has reached its end."""
        return self.simulation.now_us >= self._options.end_us

    def pump(self) -> int | None:
        """Process what is due (at most a slice of it); wall ns to come again, or None while nothing will be due."""
        begun_ns = now_ns = self._clock.now_ns()
        while not self.done:
            t_us = self._next_us()
            due_ns = self.pacer.due_ns(t_us)
            if due_ns is None:
                return None
            if due_ns - now_ns > self._options.spin_ns:
                return due_ns - self._options.spin_ns
            if now_ns - begun_ns > SLICE_NS:
                return now_ns
            now_ns = self._process(t_us, due_ns, self._wait(due_ns, now_ns))
        return None

    def finish(self) -> int:
        """Bring the simulation to the present, so that whatever has arrived has entered.

        At most FINISH_NS of wall time: a run that is hours behind must be stoppable too.  Returns the simulated
        microseconds that are still missing: what arrived for these has not entered.
        """
        end_us, give_up_ns = min(self.pacer.now_us(), self._options.end_us), self._clock.now_ns() + FINISH_NS
        while self.simulation.now_us < end_us and self._clock.now_ns() < give_up_ns:
            coming_us = self.simulation.kernel.next_us()
            t_us = end_us if coming_us is None else min(max(coming_us, self.simulation.now_us), end_us)
            self.simulation.advance_to(t_us)
            self.on_instant(t_us, self._clock.now_ns())
        return max(end_us - self.simulation.now_us, 0)

    def _next_us(self) -> int:
        t_us = self._options.end_us
        coming_us = self.simulation.kernel.next_us()
        if coming_us is not None and coming_us < t_us:
            t_us = coming_us
        for station in self._stations:
            own_us = station.next_us()
            if own_us is not None and own_us < t_us:
                t_us = own_us
        return t_us

    def _wait(self, due_ns: int, now_ns: int) -> int:
        while now_ns < due_ns:
            now_ns = self._clock.now_ns()
        return now_ns

    def _process(self, t_us: int, due_ns: int, begun_ns: int) -> int:
        """Stations' timers first: what they ask enters at this very instant where it is not over yet."""
        for station in self._stations:
            own_us = station.next_us()
            if own_us is not None and own_us <= t_us:
                station.on_time(t_us)
        if t_us >= self.simulation.now_us:
            self.simulation.advance_to(t_us)
        finished_ns = self._clock.now_ns()
        self.on_instant(t_us, finished_ns)
        if t_us > self._skipped_to_us:  # a dropped scan did nothing: it says nothing of the timing
            self.timing.instant(t_us, due_ns, begun_ns, finished_ns, self.pacer.rate)
            if self.timing.scan.has(t_us):
                self._judge(t_us, due_ns, finished_ns)
        return finished_ns

    def _judge(self, t_us: int, due_ns: int, finished_ns: int) -> None:
        """Whether a scan has overrun, and what follows."""
        self._scans += 1
        overruns, period_us, late_ns = self.timing.overruns, self.timing.scan.period_us, finished_ns - due_ns
        next_ns = self.pacer.due_ns(t_us + period_us)
        if next_ns is None or finished_ns < next_ns:
            overruns.met()
            return
        if self._scans <= self._options.grace_scans:
            overruns.in_grace += 1
            return
        overruns.missed(t_us, late_ns / 1e6)
        policy = self._options.policy
        if policy is OverrunPolicy.STRICT:
            raise OverrunError(f"overrun at t = {t_us / 1e6:.6g} s: the scan was finished {late_ns / 1e6:.1f} ms after "
                               f"it was due; expected less than its period, {period_us / 1e3 / self.pacer.rate:g} ms "
                               f"(policy strict; others: catch_up, skip, slip)")
        if policy is OverrunPolicy.SKIP:
            self._skip(t_us, period_us)
        elif policy is OverrunPolicy.SLIP:
            timing = self.timing
            timing.slipped_us += self.pacer.slip_to(t_us + period_us)

    def _skip(self, t_us: int, period_us: int) -> None:
        now_us = min(self.pacer.now_us(), self._options.end_us)
        missed = (now_us - t_us) // period_us
        if missed > 0:
            self.timing.skipped_scans += missed
            self._skipped_to_us = t_us + missed * period_us
            self.simulation.inbox.skip_scans(self._skipped_to_us, "pacer")
