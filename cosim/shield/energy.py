"""The barrier on stored energy: what is allowed now must not take away the way out later.

A guarantee for one step does not compose: repairs drain the store and build the next trap.  With h the energy left to
the edge of the window, a request may use at most gamma h in one scan (a discrete-time control barrier function,
Agrawal & Sreenath, RSS 2017), and the window is narrowed by what the backup would take over the look-ahead.  The
shield's own projection may use the reserve: that is what it is kept for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.plugins import DeviceGroup, Role, StorageGroup
from cosim.points import Vector
from cosim.shield.capability import Limited
from cosim.shield.decision import ShieldReason

_RESERVE = np.uint8(ShieldReason.ENERGY_RESERVE)


@dataclass(frozen=True, slots=True, eq=False)
class Barrier:
    """Of one group of stores: arrays (n,); NaN `soc_min` where a device has no barrier."""

    group: StorageGroup
    row: slice
    """Of its active power in the output vector."""
    soc_min: Vector
    soc_max: Vector
    gamma: Vector
    charge_reserve_kwh: Vector
    discharge_reserve_kwh: Vector
    step_h: float


def power_row(group: DeviceGroup, part: slice) -> slice | None:
    """Where a group's active power setpoints are in the output vector."""
    n = len(group.names)
    for row, setpoint in enumerate(group.setpoints):
        if setpoint.role is Role.P_KW:
            return slice(part.start + row * n, part.start + (row + 1) * n)
    return None


class EnergyBarrier:
    """Narrows requests of active power of stores."""

    def __init__(self, barriers: Sequence[Barrier]) -> None:
        self._barriers = tuple(barriers)

    def limit(self, limited: Limited, requested: Vector) -> Limited:
        """`limited` with the powers of stores within their barriers."""
        for barrier in self._barriers:
            low, high = _powers(barrier)
            wanted = limited.setpoints[barrier.row]
            moved = (wanted > high) | (wanted < low)
            if moved.any():
                setpoints, reason = limited.setpoints, limited.reason.copy()
                setpoints = setpoints.copy() if setpoints is requested else setpoints
                setpoints[barrier.row] = np.minimum(np.maximum(wanted, low), high)
                reason[barrier.row] = np.where(moved, _RESERVE, reason[barrier.row])
                limited = Limited(setpoints, reason)
        return limited


def _powers(barrier: Barrier) -> tuple[Vector, Vector]:
    """Least and most power (n,), kW into the grid, that a request may ask for."""
    store = barrier.group.energy()
    rated = store.rated_kwh
    # What the reserve takes out of the store, and what it brings in.
    bottom = barrier.soc_min * rated + barrier.discharge_reserve_kwh / store.discharge_efficiency
    top = barrier.soc_max * rated - barrier.charge_reserve_kwh * store.charge_efficiency
    to_bottom, to_top = np.maximum(store.e_kwh - bottom, 0.0), np.maximum(top - store.e_kwh, 0.0)
    most = barrier.gamma * to_bottom * store.discharge_efficiency / barrier.step_h
    least = -barrier.gamma * to_top / (store.charge_efficiency * barrier.step_h)
    none = np.isnan(barrier.soc_min)
    return np.where(none, -np.inf, least), np.where(none, np.inf, most)
