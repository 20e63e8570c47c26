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


class Trial(Protocol):
    """What a trial of setpoints came to: a solved candidate without effect on the committed state."""

    @property
    def dispatch(self) -> Dispatch: ...
    @property
    def state(self) -> GridState: ...


@dataclass(frozen=True, slots=True)
class ShieldDecision:
    """The shield's answer for every output point, each array (n_output,), NaN where nothing is asked.

    `trial` is the power flow that verified `applied`; the simulation commits it, so a safe request costs one solve.
    `applied` is `requested`, the very object, where nothing was moved.  `distance_kva` is the Euclidean distance
    between asked and applied over active and reactive setpoints.
    """

    requested: Vector
    applied: Vector
    reason: Reasons
    distance_kva: float
    trial: Trial

    @property
    def active(self) -> bool:
        """Whether anything was moved."""
        return self.applied is not self.requested


#: Tries setpoints (n_output,) on a copy of the grid.
Try = Callable[[Vector], Trial]
