"""The shield's own commands: the latched emergency stop and its reset."""

from __future__ import annotations

from dataclasses import dataclass

from cosim.points import PointDatabase, Vector

#: Suffixes of the output points, in their order.
NAMES = (("shield.stop", "Emergency stop: every power to zero, latched."),
         ("shield.reset", "Let go of a latched emergency stop that is no longer asked for."))


@dataclass(frozen=True, slots=True)
class ShieldOrders:
    """Where the two commands are among what is in force; None where the shield is off."""

    stop: int | None = None

    @classmethod
    def among(cls, points: PointDatabase) -> ShieldOrders:
        """Where they are among the output points."""
        outputs = [point.name for point in points.points if point.kind.writable]
        first = NAMES[0][0]
        return cls(outputs.index(first) if first in outputs else None)

    def read(self, values: Vector) -> tuple[bool, bool]:
        """(stop, reset) of what is in force (n_output_point,); NaN is neither."""
        if self.stop is None:
            return False, False
        return bool(values[self.stop] >= 0.5), bool(values[self.stop + 1] >= 0.5)
