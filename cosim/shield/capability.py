"""Layer one of the shield: no device is asked for what it cannot do (rating, ramp, energy, minimum times).

Network limits are the next layer: it will project onto them and try candidates on the same `Try`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.plugins import DeviceGroup, Role
from cosim.points import Vector
from cosim.shield.decision import Reasons, ShieldDecision, Try

_POWER = (Role.P_KW, Role.Q_KVAR, Role.P_CAP_KW)


class CapabilityShield:
    """Limits every request to what its device can follow, then has the result solved once.

    `slices` gives each group's part of the output vector, row-major (n_setpoint, n) within the group.
    """

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], n_output: int) -> None:
        parts = [(group, part, (len(group.setpoints), len(group.names)))
                 for group, part in zip(groups, slices, strict=True) if group.setpoints]
        power = np.zeros(n_output, bool)
        for group, part, (_, n) in parts:
            power[part] = np.repeat([setpoint.role in _POWER for setpoint in group.setpoints], n)
        self._power = power
        self._parts = tuple(entry for entry in parts if entry[0].restricts)
        self._no_reason: Reasons = np.zeros(n_output, np.uint8)

    def filter(self, requested: Vector, attempt: Try) -> ShieldDecision:
        """Nearest setpoints the devices can follow, and the power flow at them.  Total: never raises on values.

        A request that can be followed comes back bit for bit (minimal), and filtering twice changes nothing
        (idempotent).
        """
        applied, reason = requested, self._no_reason
        for group, part, shape in self._parts:
            wanted = requested[part].reshape(shape)
            possible, why = group.limit(wanted)
            if why.any():
                if applied is requested:
                    applied, reason = requested.copy(), self._no_reason.copy()
                applied[part], reason[part] = possible.ravel(), why.ravel()
        return ShieldDecision(requested, applied, reason, self._distance(requested, applied), attempt(applied))

    def _distance(self, requested: Vector, applied: Vector) -> float:
        if applied is requested:
            return 0.0
        moved = np.nan_to_num((applied - requested)[self._power], posinf=0.0, neginf=0.0)
        return float(np.sqrt(moved @ moved))
