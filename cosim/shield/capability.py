"""Layer one of the shield: no device is asked for what it cannot do (rating, ramp, energy, minimum times)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cosim.plugins import DeviceGroup, Limit, Role
from cosim.points import Vector
from cosim.shield.decision import Asked, Reasons, ShieldDecision, Try

_CAPABILITY = np.uint8(Limit.CAPABILITY.value)
_POWER = (Role.P_KW, Role.Q_KVAR, Role.P_CAP_KW)


class Limited(NamedTuple):
    """Setpoints the devices can follow (n_output,), the request itself where nothing was moved, and why."""

    setpoints: Vector
    reason: Reasons


class Capability:
    """Limits every request to what its device can follow.

    `slices` gives each group's part of the output vector, row-major (n_setpoint, n) within the group.
    """

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], n_output: int) -> None:
        parts = [(group, part, (len(group.setpoints), len(group.names)))
                 for group, part in zip(groups, slices, strict=True) if group.setpoints]
        power = np.zeros(n_output, bool)
        self._low, self._high = np.full(n_output, -np.inf), np.full(n_output, np.inf)
        for group, part, (_, n) in parts:
            power[part] = np.repeat([setpoint.role in _POWER for setpoint in group.setpoints], n)
            self._low[part] = np.concatenate([setpoint.low for setpoint in group.setpoints])
            self._high[part] = np.concatenate([setpoint.high for setpoint in group.setpoints])
        self._power = power
        self._parts = tuple(entry for entry in parts if entry[0].restricts)
        self.no_reason: Reasons = np.zeros(n_output, np.uint8)

    def limit(self, requested: Vector) -> Limited:
        """Nearest setpoints the devices can follow.  What can be followed comes back bit for bit."""
        applied, reason = requested, self.no_reason
        beyond = (requested < self._low) | (requested > self._high)
        if np.count_nonzero(beyond):  # the door lets none in; whoever comes another way is brought back to the range
            applied = np.where(beyond, np.minimum(np.maximum(requested, self._low), self._high), requested)
            reason = np.where(beyond, _CAPABILITY, reason)
        for group, part, shape in self._parts:
            possible, why = group.limit(applied[part].reshape(shape))
            if np.count_nonzero(why):
                if reason is self.no_reason:
                    applied, reason = applied.copy(), reason.copy()
                applied[part] = possible.ravel()
                reason[part] = np.where(why.ravel() != 0, why.ravel(), reason[part])
        return Limited(applied, reason)

    def distance(self, requested: Vector, applied: Vector) -> float:
        """Euclidean distance over active and reactive setpoints, kVA."""
        if applied is requested:
            return 0.0
        asked = np.minimum(np.maximum(requested, self._low), self._high)  # a number that is none has no distance
        moved = np.nan_to_num((applied - asked)[self._power], posinf=0.0, neginf=0.0)
        return float(np.sqrt(moved @ moved))


class CapabilityShield:
    """A shield that knows of the devices' own limits only: what a scenario without ``shield:`` has."""

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], n_output: int) -> None:
        self._capability = Capability(groups, slices, n_output)

    def filter(self, asked: Asked, attempt: Try) -> ShieldDecision:
        """Nearest setpoints the devices can follow, and the power flow at them.  Total: never raises on values.

        A request that can be followed comes back bit for bit (minimal), and filtering twice changes nothing
        (idempotent).
        """
        found = self._capability.limit(asked.values)
        distance = self._capability.distance(asked.values, found.setpoints)
        return ShieldDecision(asked.values, found.setpoints, found.reason, distance, attempt(found.setpoints))

    def settled(self, decision: ShieldDecision, t_us: int) -> None:
        """Nothing to remember."""
