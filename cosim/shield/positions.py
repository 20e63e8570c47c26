"""The discrete neighbourhood: taps and capacitor steps one position away from where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.plugins import DeviceGroup, PositionedGroup, Role
from cosim.points import Vector
from cosim.shield.capability import Capability

#: Most neighbours looked at.
MOST = 48


@dataclass(frozen=True, slots=True, eq=False)
class _Stepped:
    group: PositionedGroup
    row: int
    slots: slice


class Positions:
    """Which outputs step, and where they stand."""

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], capability: Capability) -> None:
        self._capability = capability
        self._stepped: list[_Stepped] = []
        for group, part in zip(groups, slices, strict=True):
            if not isinstance(group, PositionedGroup):
                continue
            n = len(group.names)
            self._stepped += [_Stepped(group, row, slice(part.start + row * n, part.start + (row + 1) * n))
                              for row, setpoint in enumerate(group.setpoints)
                              if setpoint.role is Role.POSITION and not setpoint.binary]

    def neighbours(self, setpoints: Vector) -> Iterator[Vector]:
        """`setpoints` with one device one step up or down, as far as the devices can follow."""
        count = 0
        for stepped in self._stepped:
            asked = setpoints[stepped.slots]
            now = np.where(np.isnan(asked), stepped.group.standing()[stepped.row], asked)
            for i, position in enumerate(now.tolist()):
                for step in (1.0, -1.0):
                    if position != position or count >= MOST:
                        continue
                    out = setpoints.copy()
                    out[stepped.slots.start + i] = position + step
                    limited = self._capability.limit(out)
                    if not limited.reason[stepped.slots.start + i]:
                        count += 1
                        yield limited.setpoints
