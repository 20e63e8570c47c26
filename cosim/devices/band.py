"""When a device that moves in steps acts on a voltage outside its band: deadband, first delay, later delays.

Theory of operation, per device (a time-delay relay as in tap-changer and capacitor controls, ANSI 90):

| state   | voltage at a SOLVE          | then                                           |
|---------|-----------------------------|------------------------------------------------|
| idle    | outside the band            | waiting: act after the first delay             |
| waiting | inside, or not controlling  | idle                                           |
| waiting | outside on the other side   | waiting anew: first delay                      |
| waiting | delay over (`take_due`)     | acted: one step is asked for                   |
| acted   | still outside, same side    | waiting: act after the next delay              |
| acted   | inside or other side        | idle, or waiting with the first delay          |

A voltage is known at SOLVEs only; a delay that ends asks for a SOLVE of its own (`next_us`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.devices.base import NEVER_US, Ids, Mask
from cosim.points import Vector

Ways = NDArray[np.int64]


class BandTimer:
    """Timers of n devices; a way is +1 (raise the voltage), -1 (lower it) or 0."""

    def __init__(self, half_band_pu: Vector, first_us: Ids, next_us: Ids) -> None:
        self._half_band_pu, self._first_us, self._later_us = half_band_pu, first_us, next_us
        self._way: Ways = np.zeros(half_band_pu.size, np.int64)
        self._due_us: Ids = np.full(half_band_pu.size, NEVER_US, np.int64)

    def observe(self, error_pu: Vector, can: tuple[Mask, Mask], t_us: int) -> None:
        """Start, keep or stop timers: `error_pu` = measured - target (n,), NaN where there is nothing to control.

        `can` says which devices could raise and which could lower the voltage by a step.
        """
        low = (error_pu < -self._half_band_pu) & can[0]
        high = (error_pu > self._half_band_pu) & can[1]
        way = low.astype(np.int64) - high
        acted = (way == self._way) & (self._due_us == NEVER_US)
        fresh = way != self._way
        due = np.where(fresh, t_us + self._first_us, np.where(acted, t_us + self._later_us, self._due_us))
        self._due_us = np.where(way == 0, NEVER_US, due)
        self._way = way

    def take_due(self, t_us: int) -> Ways | None:
        """Ways of the devices whose delay is over by `t_us`, 0 for the others; each is given once. None: none is."""
        due = self._due_us <= t_us
        if not due.any():
            return None
        self._due_us = np.where(due, NEVER_US, self._due_us)
        return np.where(due, self._way, 0)

    def next_us(self) -> int | None:
        """When the next delay ends."""
        first = int(self._due_us.min(initial=NEVER_US))
        return None if first == NEVER_US else first
