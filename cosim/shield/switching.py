"""Rules for what has positions: interlocks, operations an hour, loops and islands.

A command that a rule refuses leaves the device where its last command put it.  Only *changes* are judged: a breaker
that stands as it is asked to stand passes whatever the rules say, and so does one that is let go of (it stays).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.plugins import DeviceGroup, PositionedGroup, Role
from cosim.points import Ids, Vector
from cosim.shield.decision import Trial
from cosim.state import Topology

HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Lock:
    """A guarded output: `value` NaN guards every change; `needs` is a point that must be within low..high."""

    slot: int
    value: float
    needs: int
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """The scenario's switching rules.  `read` and `name` are of points; `loops` counts independent loops of energised
    branches of a topology."""

    locks: tuple[Lock, ...] = ()
    most_an_hour: int | None = None
    allow_loops: bool = True
    allow_islands: bool = True
    read: Callable[[int], float] = lambda _: float("nan")
    loops: Callable[[Topology], int] = lambda _: 0
    name: Callable[[int], str] = str


class Switching:
    """Knows which outputs are positions, and what they were commanded to so far."""

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], rules: Rules) -> None:
        slots = [part.start + row * len(group.names) + i for group, part in zip(groups, slices, strict=True)
                 for row, setpoint in enumerate(group.setpoints) if setpoint.role is Role.POSITION
                 for i in range(len(group.names))]
        self.slots: Ids = np.array(slots, np.int64)
        self._rules = rules
        self._stepped = [(group, part) for group, part in zip(groups, slices, strict=True)
                         if isinstance(group, PositionedGroup)]
        self._stood: Vector = np.full(max((part.stop for part in slices), default=0), np.nan)
        """Where outputs were last commanded to (n_output,): there they stand when nothing is asked any more."""
        self._moved_us: dict[int, deque[int]] = {slot: deque() for slot in slots}
        self._free = not rules.locks and rules.most_an_hour is None
        self._loops_at_start = -1
        self.looks_at_grid = bool(slots) and not (rules.allow_loops and rules.allow_islands)

    def changed(self, wanted: Vector, last: Vector) -> Ids:
        """Positions that are asked to be other than last applied."""
        if not self.slots.size:
            return self.slots
        new, old = wanted[self.slots], last[self.slots]
        open_ = np.isnan(old) & ~np.isnan(new)
        if open_.any():
            old = np.where(open_, self._standing()[self.slots], old)
        return np.asarray(self.slots[(new != old) & ~np.isnan(new)])

    def refused(self, wanted: Vector, changed: Ids, t_us: int) -> list[int]:
        """Of the changed slots, those that an interlock or the count of operations forbids."""
        if self._free or not changed.size:
            return []
        refused, guarded = [], 0
        for slot in changed.tolist():
            against = self.rule_against(slot, float(wanted[slot]), t_us)
            locked = any(lock.slot == slot for lock in self._rules.locks)
            # Interlocks read what was published: of several guarded changes at once only the first is sure of them.
            if against or (locked and guarded):
                refused.append(slot)
            guarded += locked and not against
        return refused

    def rule_against(self, slot: int, value: float, t_us: int) -> str:
        """Which rule refuses a change, in words; "" where none does."""
        if self._too_often(slot, t_us):
            return f"{self._rules.most_an_hour} operations in an hour"
        lock = self._locked(slot, value)
        return "" if lock is None else f"interlock with {self._rules.name(lock.needs)}"

    def spoils(self, before: Trial, after: Trial) -> str:
        """"island" or "loop" where a candidate has one that the state before it did not have and none is allowed."""
        if not self._rules.allow_islands and after.state.converged and before.state.converged and (
                np.isnan(after.state.v_pu) & ~np.isnan(before.state.v_pu)).any():
            return "island"
        old, new = before.dispatch.topology, after.dispatch.topology
        if self._rules.allow_loops or new is old:
            return ""
        return "loop" if self._rules.loops(new) > max(self._rules.loops(old), self._loops_at_start) else ""

    def begin(self, topology: Topology) -> None:
        """The network as it stands at the start: its own loops are no news when a branch comes back."""
        if self._loops_at_start < 0 and self.looks_at_grid:
            self._loops_at_start = self._rules.loops(topology)

    def note(self, applied: Vector, last: Vector, t_us: int) -> None:
        """Count the operations that were let through, and remember where they lead."""
        if not self.slots.size:
            return
        changed = self.changed(applied, last)
        self._stood[changed] = applied[changed]
        if self._rules.most_an_hour is not None:
            for slot in changed.tolist():
                self._moved_us[slot].append(t_us)

    def _standing(self) -> Vector:
        """Where outputs stand that nobody commands: as the device says, else where they were commanded to last."""
        out = self._stood.copy()
        for group, part in self._stepped:
            at = group.standing().ravel()
            out[part] = np.where(np.isnan(at), out[part], at)
        return out

    def _too_often(self, slot: int, t_us: int) -> bool:
        most = self._rules.most_an_hour
        if most is None:
            return False
        times = self._moved_us[slot]
        while times and times[0] <= t_us - HOUR_US:
            times.popleft()
        return len(times) >= most

    def _locked(self, slot: int, value: float) -> Lock | None:
        for lock in self._rules.locks:
            guarded = lock.slot == slot and (lock.value != lock.value or lock.value == value)
            if guarded and not lock.low <= self._rules.read(lock.needs) <= lock.high:
                return lock  # NaN, a point without a value, allows nothing
        return None
