"""The shield's first layer: minimal, idempotent, total."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.plugins import Limit, Role, Setpoint
from cosim.shield import Asked, CapabilityShield, ShieldDecision, ShieldReason
from cosim.shield.capability import Capability

NAN = math.nan


@dataclass
class Clipping:
    """A group of n devices that clips every row to ±`most`."""

    roles: tuple[Role, ...]
    n: int
    most: float = 10.0
    restricts: bool = True

    def __post_init__(self) -> None:
        self.names = tuple(f"d{i}" for i in range(self.n))
        edge = np.full(self.n, np.inf)
        self.setpoints = tuple(Setpoint(role.value, "", role, -edge, edge) for role in self.roles)

    def limit(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Clip."""
        over = np.abs(wanted) > self.most
        return (np.where(over, np.copysign(self.most, wanted), wanted),
                np.where(over, Limit.RAMP.value, 0).astype(np.uint8))


class Solver:
    """Remembers what it is asked to try."""

    def __init__(self) -> None:
        self.tried: list[np.ndarray] = []

    def __call__(self, setpoints: np.ndarray) -> Any:
        """A trial without content."""
        self.tried.append(setpoints)
        return f"trial {len(self.tried)}"


def shield() -> CapabilityShield:
    """Two groups, p and q of three devices and a position of two, and one without setpoints between."""
    groups = [Clipping((Role.P_KW, Role.Q_KVAR), 3), Clipping((), 4), Clipping((Role.POSITION,), 2)]
    return CapabilityShield(groups, (slice(0, 6), slice(6, 6), slice(6, 8)), 8)  # type: ignore[arg-type]  # a fake


def asked(values: np.ndarray) -> Asked:
    """A request by an agent."""
    return Asked(values, np.ones(values.size, np.int8), 0)


def filtered(values: np.ndarray, solver: Solver | None = None) -> ShieldDecision:
    """What the shield of two groups answers."""
    return shield().filter(asked(values), Solver() if solver is None else solver)


def test_a_request_that_can_be_followed_comes_back_untouched() -> None:
    """The very array, no reason, no distance, and one solve."""
    solver = Solver()
    requested = np.array([1.0, -0.0, NAN, 10.0, -10.0, 5e-324, 3.0, NAN])
    decision = filtered(requested, solver)
    assert decision.applied is requested
    assert not decision.active
    assert decision.distance_kva == 0.0
    assert decision.trial == "trial 1"
    assert len(solver.tried) == 1
    assert solver.tried[0] is requested


def test_only_what_cannot_be_followed_is_moved() -> None:
    """Everything else bit for bit, the request itself unchanged, and what is applied is what was tried."""
    solver = Solver()
    requested = np.array([13.0, -0.0, NAN, 10.0, -14.0, 0.1, 99.0, NAN])
    before = requested.copy()
    decision = filtered(requested, solver)
    assert requested.tobytes() == before.tobytes()
    assert decision.applied.tolist()[:2] == [10.0, 0.0]
    moved = np.array([0, 4, 6])
    kept = np.delete(np.arange(8), moved)
    assert decision.applied[kept].tobytes() == requested[kept].tobytes()
    assert np.flatnonzero(decision.reason).tolist() == moved.tolist()
    assert solver.tried[0] is decision.applied
    assert decision.active


def test_distance_counts_power_alone() -> None:
    """Euclidean over p and q: 3 and 4 make 5, however far a position was moved."""
    decision = filtered(np.array([13.0, 0, 0, -14.0, 0, 0, 1e6, 0]))
    assert decision.distance_kva == pytest.approx(5.0, rel=1e-15)


def test_reasons_of_devices_are_the_first_of_the_shield() -> None:
    """The codes agree, so that they can be recorded as they come."""
    for limit in Limit:
        assert ShieldReason(limit.value).name == limit.name


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=8, max_size=8))
def test_filtering_is_total_minimal_and_idempotent(values: list[float]) -> None:
    """For any numbers at all: no exception, the nearest possible, and a second time changes nothing."""
    requested = np.array(values)
    with np.errstate(over="ignore"):
        first = filtered(requested)
        second = filtered(first.applied)
    assert second.applied is first.applied
    assert not second.active
    for asked, applied in zip(values, first.applied.tolist(), strict=True):
        assert (applied == min(max(asked, -10.0), 10.0)) if asked == asked else math.isnan(applied)
    assert first.distance_kva >= 0.0


def test_a_group_that_never_restricts_is_not_asked() -> None:
    """Its static range was checked at the door; its setpoints pass as they are."""
    free = Clipping((Role.P_KW,), 2, restricts=False)
    requested = np.array([99.0, 1.0])
    decision = CapabilityShield([free], (slice(0, 2),), 2).filter(asked(requested), Solver())  # type: ignore[list-item]  # a fake
    assert decision.applied is requested


def test_without_outputs_there_is_nothing_to_filter() -> None:
    """A run without devices still solves."""
    decision = CapabilityShield((), (), 0).filter(asked(np.zeros(0)), Solver())
    assert not decision.active
    assert decision.trial == "trial 1"


def test_what_came_round_the_door_is_brought_back_to_the_range() -> None:
    """A group that need not be asked never gets what is no number of its range: infinities, numbers beyond."""
    free = Clipping((Role.P_KW, Role.POSITION), 3, restricts=False)
    edge = np.full(3, 7.0)
    free.setpoints = tuple(Setpoint(role.value, "", role, -edge, edge) for role in free.roles)
    capability = Capability([free], (slice(0, 6),), 6)  # type: ignore[list-item]  # a fake
    requested = np.array([math.inf, NAN, -0.0, -1e308, 7.0, 5e-324])
    found = capability.limit(requested)
    assert found.setpoints.tobytes() == np.array([7.0, NAN, -0.0, -7.0, 7.0, 5e-324]).tobytes()
    assert found.reason.tolist() == [ShieldReason.CAPABILITY, 0, 0, ShieldReason.CAPABILITY, 0, 0]
    assert capability.distance(requested, found.setpoints) == 0.0
    assert capability.limit(found.setpoints).setpoints is found.setpoints


def test_the_devices_own_reason_counts() -> None:
    """Where the range and the device both say no, the device knows better why; the request itself is not written."""
    group = Clipping((Role.P_KW,), 2)
    edge = np.full(2, 50.0)
    group.setpoints = (Setpoint("p_kw", "", Role.P_KW, -edge, edge),)
    capability = Capability([group], (slice(0, 2),), 2)  # type: ignore[list-item]  # a fake
    requested = np.array([99.0, 50.0])
    found = capability.limit(requested)
    assert found.setpoints.tolist() == [10.0, 10.0]
    assert found.reason.tolist() == [ShieldReason.RAMP, ShieldReason.RAMP]
    assert requested.tolist() == [99.0, 50.0]
    assert capability.distance(requested, found.setpoints) == pytest.approx(math.hypot(40.0, 40.0))
