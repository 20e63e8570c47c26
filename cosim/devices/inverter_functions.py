"""The autonomous functions of a group of inverters over time: `Laws`, and the state of those that lag."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from cosim.devices.base import Reasons
from cosim.devices.inverter_laws import Laws
from cosim.points import Vector


class Flowing(Protocol):
    """What the functions read of a group: what flows since the last SOLVE, (n,); v_pu NaN before the first."""

    p_kw: Vector
    q_kvar: Vector
    v_pu: Vector


class Functions:
    """Laws that the devices' options fix.  `s_kva` and `p_top_kw` (n,) are what per-unit curves are of."""

    def __init__(self, laws: Laws, s_kva: Vector, p_top_kw: Vector) -> None:
        self._laws, self._s_kva, self._p_top_kw = laws, s_kva, p_top_kw
        self._q_now: Vector = np.zeros(s_kva.size)
        self._q_lagging: Vector = self._q_now
        """Of it, what laws in force let lag; zero elsewhere."""
        self._cap_now: Vector = np.ones(s_kva.size)

    @property
    def voltage_dependent(self) -> bool:
        """Whether any answer can follow the voltage of the same SOLVE."""
        return self._laws.voltage_dependent

    def at(self, setpoints: Vector) -> Laws:  # noqa: ARG002 - functions that can be set look at them
        """The laws in force at setpoints (n_setpoint, n)."""
        return self._laws

    def capped(self, laws: Laws, p_kw: Vector, v_pu: Vector, q_set_kvar: Vector) -> Vector:
        """Active power (n,) within the volt-watt cap, and what a power factor leaves; q_set_kvar NaN: no command."""
        if laws.pf_yields:
            p_kw = np.where(np.isnan(q_set_kvar), np.minimum(p_kw, laws.p_at_pf_kw), p_kw)
        elif laws.any_pf:
            p_kw = np.minimum(p_kw, laws.p_at_pf_kw)
        if laws.cap_lagged is not None:
            p_kw = np.minimum(p_kw, np.where(laws.cap_moves, self._cap_now, 1.0) * self._p_top_kw)
        if laws.cap_direct is not None:
            p_kw = np.minimum(p_kw, laws.cap_direct.at(v_pu) * self._p_top_kw)
        return p_kw

    def q_kvar(self, laws: Laws, p_kw: Vector, v_pu: Vector) -> Vector:
        """Reactive power (n,) of the autonomous functions."""
        q = self._q_lagging if laws is self._laws else np.where(laws.moves, self._q_now, 0.0)
        if laws.any_pf:
            q = q + p_kw * laws.tan
        if laws.direct.any:
            q = q + laws.direct.pu(p_kw / self._p_top_kw, v_pu) * self._s_kva
        return q

    def elapse(self, dt_us: int, group: Flowing) -> None:
        """Let the lagged answers run for `dt_us` towards their targets at the last settled voltage."""
        laws = self._laws
        # From the settled value, not the lag's own: after a command is released, or where a function is switched on
        # while the run goes, there is no jump.
        self._q_now = group.q_kvar
        if laws.lagged.any:
            # The start, or a second SOLVE of one instant: what flows has had no time to change.
            q = group.q_kvar if dt_us == 0 else self._relaxed(laws, dt_us, group)
            self._q_now = np.where(laws.moves, q, group.q_kvar)
            self._q_lagging = np.where(laws.moves, q, 0.0)
        if laws.cap_lagged is not None and dt_us:
            cap = laws.cap_lagged.at(_voltage(group.v_pu))
            self._cap_now = cap + (self._cap_now - cap) * np.exp(-dt_us * laws.rate_cap)

    def _relaxed(self, laws: Laws, dt_us: int, group: Flowing) -> Vector:
        target = laws.lagged.pu(group.p_kw / self._p_top_kw, _voltage(group.v_pu)) * self._s_kva
        return np.asarray(target + (group.q_kvar - target) * np.exp(-dt_us * laws.rate_q))

    def settled(self, setpoints: Vector, v_pu: Vector) -> None:
        """Take note of what was applied and of the voltage (n,); laws that are fixed need none."""

    def restrict(self, possible: Vector, reason: Reasons) -> None:
        """Change setpoints (n_setpoint, n) in place where the functions cannot follow; fixed ones take none."""


def _voltage(v_pu: Vector) -> Vector:
    """`v_pu` (n,), nominal where there is none."""
    return np.where(np.isnan(v_pu), 1.0, v_pu)
