"""Emergency actions and the emergency stop: what stays in force until all has been well for a while, or until reset.

========== ==================================== =======================================================
state      event                                what happens
========== ==================================== =======================================================
normal     nothing else is safe                 blocks are shed one after the other, then units tripped
shed       safe without it for `recovery_us`    the last action is taken back, and the clock starts anew
shed       not safe without it                  the clock starts anew
any        stop                                 latched: every power to zero
stopped    reset, and stop no longer asked      normal
========== ==================================== =======================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosim.points import Ids, Vector


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """One thing that may be done to customers: `slots` of the output vector are set to zero."""

    name: str
    slots: Ids


@dataclass(frozen=True, slots=True)
class Standing:
    """How many actions are in force, since when all would be well without the last one (-1: it would not), and whether
    the emergency stop is latched."""

    taken: int = 0
    well_since_us: int = -1
    stopped: bool = False
    reset: bool = False
    """Whether reset was asked for then: it counts when it begins."""


class Emergency:
    """The scenario's emergency actions in their order, and the stop."""

    def __init__(self, actions: tuple[Action, ...], recovery_us: int, powers: Ids) -> None:
        self.actions, self._recovery_us, self._powers = actions, recovery_us, powers
        self.standing = Standing()

    def stops(self, *, stop: bool, reset: bool) -> bool:
        """Whether the stop is in force, given what is asked now."""
        return stop or (self.standing.stopped and not (reset and not self.standing.reset))

    def halted(self, last: Vector) -> Vector:
        """`last` (n_output,), what was applied last, with every power setpoint at zero and what runs stopped: nothing
        else moves any more."""
        out = last.copy()
        out[self._powers] = 0.0
        return out

    def acted(self, values: Vector, count: int) -> Vector:
        """`values` with the first `count` actions in force."""
        if not count:
            return values
        out = values.copy()
        for action in self.actions[:count]:
            out[action.slots] = 0.0
        return out

    def further(self, values: Vector, taken: int) -> Iterator[tuple[int, Vector]]:
        """(number of actions, setpoints) of taking one more at a time."""
        for count in range(taken + 1, len(self.actions) + 1):
            yield count, self.acted(values, count)

    def slots(self, count: int) -> Ids:
        """Outputs that the first `count` actions hold."""
        held = [action.slots for action in self.actions[:count]]
        return np.concatenate(held) if held else np.empty(0, np.int64)

    def after(self, now: Standing, *, well: bool, t_us: int) -> Standing:
        """How things stand after a SOLVE that left them as `now`; `well`: safe with one action fewer."""
        before = self.standing
        if now.taken == 0 or now.taken != before.taken or not well:
            return now
        since = before.well_since_us if before.well_since_us >= 0 else t_us
        if t_us - since >= self._recovery_us:
            return replace(now, taken=now.taken - 1)
        return replace(now, well_since_us=since)
