"""What masters have asked of a station: control points as staged, curves as adopted, timers that run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from gateways.sunspec.subject import CurvePoints

#: Values by point path of one model (engineering units); NaN: never written, shown as the device has it.
Staged = dict[str, float]


class Adoption(IntEnum):
    """AdptCrvRslt of models 705, 706 and 712."""

    IN_PROGRESS = 0
    COMPLETED = 1
    FAILED = 2


@dataclass(frozen=True, slots=True)
class Adopted:
    """A curve in force by a master's wish: points in the run's per-unit, response time, and how it was written."""

    points: CurvePoints
    olrt_s: float
    reference: float


@dataclass(slots=True)
class State:
    """All of it.  A write works on a copy, which replaces the state once the gate has taken what it asks for.

    `expiry_us` are the running reversion timers by name; `result` is (AdptCrvRslt, time of the request) by model;
    `heard_us` is when ControllerHb last changed (None: never written, or its loss has been dealt with).
    """

    staged: dict[int, Staged]
    adopted: dict[int, Adopted] = field(default_factory=dict)
    result: dict[int, tuple[Adoption, int]] = field(default_factory=dict)
    expiry_us: dict[str, int] = field(default_factory=dict)
    heard_us: int | None = None

    def copy(self) -> State:
        """One that can be changed without changing this one."""
        return State({model: dict(fields) for model, fields in self.staged.items()}, dict(self.adopted),
                     dict(self.result), dict(self.expiry_us), self.heard_us)

    def of(self, model: int) -> Mapping[str, float]:
        """Control points of a model; nothing where it is not served."""
        return self.staged.get(model, {})
