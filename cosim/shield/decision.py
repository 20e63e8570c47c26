"""What the shield answers: what was asked, what is applied, and why they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np

from cosim.points import Vector
from cosim.state import Dispatch, GridState

Reasons = np.ndarray[Any, np.dtype[np.uint8]]


class ShieldReason(IntEnum):
    """Why a setpoint was moved.  The first five are `cosim.plugins.Limit`'s codes: the device could not follow."""

    NONE = 0
    CAPABILITY = 1
    RAMP = 2
    ENERGY = 3
    MIN_TIME = 4
    VOLTAGE = 5
    LOADING = 6
    EXCHANGE = 7
    RESERVE = 8
    CONTINGENCY = 9
    """A limit in the state after the loss of a branch."""
    SWITCHING = 10
    """An interlock, too many operations, a loop or an island."""
    ENERGY_RESERVE = 11
    """The barrier on stored energy: the device could follow, and the way out later would be gone."""
    DIVERGENCE = 12
    """The power flow has no solution at the request."""
    STALE = 13
    """What the shield knows of the device is too old."""
    EMERGENCY_STOP = 14
    RECOVERY = 15
    """An emergency action that is not taken back yet."""


class Rung(IntEnum):
    """Rung of the fallback chain that the applied setpoints stand on."""

    REQUEST = 0
    """As asked, but for what the devices cannot follow."""
    PROJECTION = 1
    """The nearest safe setpoints."""
    LAST_SAFE = 2
    """The last setpoints that were verified, or a point on the way to them."""
    BACKUP = 3
    EMERGENCY = 4
    """Load shed, units tripped, or the emergency stop."""
    LEAST_HARM = 5
    """Nothing tried keeps every hard limit: the least violation, flagged infeasible."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that the request would have broken: `found` there, `after` with what is applied, both in `unit`.

    `limit` is the point that is limited (``bus.18.v_pu``, ``line.4.loading``); after the loss of a branch it says so
    (``bus.18.v_pu without line.3``).
    """

    limit: str
    reason: ShieldReason
    bound: float
    found: float
    after: float
    unit: str
    hard: bool
    overridden: bool = False
    """Whether who asked may break it: it was left as it is."""

    @property
    def excess(self) -> float:
        """By how much the request would have broken it; NaN where the power flow has no solution."""
        return abs(self.found - self.bound)


class Trial(Protocol):
    """What a trial of setpoints came to: a solved candidate without effect on the committed state."""

    @property
    def dispatch(self) -> Dispatch: ...
    @property
    def state(self) -> GridState: ...
    @property
    def settled(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ShieldDecision:
    """The shield's answer for every output point, each array (n_output,), NaN where nothing is asked.

    `trial` is the power flow that verified `applied`; the simulation commits it, so a safe request costs one solve.
    `applied` is `requested`, the very object, where nothing was moved.  `distance_kva` is the Euclidean distance
    between what was asked and what is applied, over the devices' active and reactive powers.

    `breaches`: limits that the request would have broken, the worst first.  `infeasible`: a hard limit is broken by
    `applied` too, because nothing that was tried keeps them all.  A shield that only observes applies what is asked
    within the devices' own limits, and says in `advised` what it would have applied.
    """

    requested: Vector
    applied: Vector
    reason: Reasons
    distance_kva: float
    trial: Trial
    rung: Rung = Rung.REQUEST
    breaches: tuple[Breach, ...] = ()
    infeasible: bool = False
    advised: Vector | None = None
    in_field: Vector | None = None
    """What stands in the field now, where `applied` still has to travel there: `trial` is at this."""

    @property
    def standing(self) -> Vector:
        """The setpoints that the devices follow now."""
        return self.applied if self.in_field is None else self.in_field

    @property
    def active(self) -> bool:
        """Whether anything was moved, or would have been."""
        return self.applied is not self.requested or self.advised is not None


#: Tries setpoints (n_output,) on a copy of the grid.
Try = Callable[[Vector], Trial]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is in force at a SOLVE: `values` (n_output,) NaN where nothing is asked, `authority` (n_output,) of who asks
    (-1: nobody); `stop` and `reset` are the shield's own two commands, whether to halt everything and to go on."""

    values: Vector
    authority: np.ndarray[Any, np.dtype[np.int8]]
    t_us: int
    stop: bool = False
    reset: bool = False


class Shield(Protocol):
    """The last function between any request and the grid."""

    def filter(self, asked: Asked, attempt: Any) -> ShieldDecision:
        """What may be applied, and the power flow that verified it.  Total: never raises on values."""

    def settled(self, decision: ShieldDecision, t_us: int) -> None:
        """What was applied: the only place where the shield's memory changes."""
