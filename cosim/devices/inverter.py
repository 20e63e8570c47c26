"""Inverter behaviour that PV and wind share: the kVA circle, caps, and the autonomous functions of IEEE 1547-2018.

Laws without state are in `inverter_laws`, their lags in `inverter_functions`, and what can be set while the run goes in
`inverter_remote`.

Theory of operation
-------------------
Active power is the least of what is available, the commanded cap and the volt-watt cap.  Reactive power is the command
where there is one, else the autonomous function; then both are brought onto the kVA circle by the stated priority.

IEEE 1547-2018 category B defaults: volt-var table 8, watt-var table 9, volt-watt table 10.  The open-loop response time
is the time to 90 % of the answer to a step, so the first-order time constant is olrt / ln 10.  Between SOLVEs the
voltage is held, so the lag has an exact solution; a lagged answer looks at the voltage of the *last* SOLVE and needs no
iteration.  Where the response time is not longer than the scan, the answer is complete within the scan and the
equilibrium with the voltage of *this* SOLVE is what is wanted: such devices are voltage dependent instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import (
    HOUR_US,
    Group,
    Mask,
    PlacedConfig,
    Reasons,
    any_dead,
    column,
    energised,
    filled,
    hold_above,
    hold_below,
    room,
    setpoint,
    within,
)
from cosim.devices.curves import FallingCurve, Points
from cosim.devices.inverter_functions import Functions
from cosim.devices.inverter_laws import configured
from cosim.devices.inverter_remote import RemoteFunctions
from cosim.plugins import Envelope, Injection, Measurement, Role, Setpoint, Site
from cosim.points import PointKind, Vector

Mode = Literal["none", "fixed_power_factor", "volt_var", "watt_var", "volt_watt", "volt_var_volt_watt"]

VOLT_VAR: Points = ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))
VOLT_WATT: Points = ((1.06, 1.0), (1.10, 0.2))
WATT_VAR: Points = ((0.2, 0.0), (0.5, 0.0), (1.0, -0.44))


class InverterConfig(PlacedConfig):
    """Options of a generator behind an inverter."""

    s_rated_kva: float | None = Field(None, gt=0, description="Apparent power rating (default: the rated power).")
    q_max_pu: float = Field(0.44, ge=0, le=1, description="Most reactive power, either way, per s_rated_kva "
                                                          "(IEEE 1547-2018 category B: 0.44).")
    priority: Literal["q", "p"] = Field("q", description="Which of active (`p`) and reactive power (`q`) is kept on "
                                                         "the kVA circle.")
    mode: Mode = Field("none", description="Autonomous function: none (unity power factor), "
                                           "fixed_power_factor, volt_var, watt_var, volt_watt or "
                                           "volt_var_volt_watt. A q_set_kvar command overrides its reactive part.")
    power_factor: float = Field(1.0, gt=0, le=1, description="Displacement factor held (mode: fixed_power_factor).")
    power_factor_sign: Literal["absorb", "inject"] = Field(
        "absorb", description="Whether reactive power is absorbed or injected (mode: fixed_power_factor).")
    volt_var: FallingCurve = Field(VOLT_VAR, description="[v_pu, q per s_rated_kva] points of volt-var.")
    watt_var: FallingCurve = Field(WATT_VAR, description="[p per rated power, q per s_rated_kva] points of watt-var.")
    volt_watt: FallingCurve = Field(VOLT_WATT, description="[v_pu, p cap per rated power] points of volt-watt.")
    olrt_s: float = Field(5.0, ge=0, le=3600, description="Open-loop response time (to 90 %) of volt-var and watt-var; "
                                                          "up to one scan counts as instantaneous.")
    volt_watt_olrt_s: float = Field(10.0, ge=0, le=3600, description="Open-loop response time of volt-watt.")
    remote_functions: bool = Field(False, description="Whether its functions can be set from outside while the run "
                                                      "goes (SunSpec): connection, power factor, curves, response "
                                                      "times.")

    @model_validator(mode="after")
    def _curves_fit(self) -> Self:
        for name in ("volt_var", "watt_var"):
            if any(abs(q) > self.q_max_pu for _, q in getattr(self, name)) and name in self.mode:
                raise ValueError(f"{name}: every q must lie within ±q_max_pu = {self.q_max_pu}")
        if any(not 0 <= p <= 1 for _, p in self.volt_watt):
            raise ValueError("volt_watt: every p must lie within 0..1")
        if self.mode == "fixed_power_factor" and (1 - self.power_factor**2) ** 0.5 > self.q_max_pu + 1e-9:
            least = (1 - self.q_max_pu**2) ** 0.5
            raise ValueError(f"power_factor {self.power_factor}: with q_max_pu {self.q_max_pu} expected {least:.4g}..1")
        return self


#: What a source that may be held below what it has measures.
SOURCE_MEASUREMENTS = (
    Measurement("p_kw", "kW", "Active power into the grid"),
    Measurement("q_kvar", "kvar", "Reactive power into the grid"),
    Measurement("p_available_kw", "kW", "Active power that could be fed in"),
    Measurement("e_kwh", "kWh", "Energy fed in since the start", PointKind.COUNTER),
)


class InverterGroup(Group):
    """A group that injects what is available, within caps and the kVA circle.  Subclasses give `_available`."""

    table = "sgen"
    measurements = SOURCE_MEASUREMENTS

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self.p_rated_kw = self._rated(configs, site)
        self.s_kva = filled(column(configs, "s_rated_kva"), self.p_rated_kw)
        #: Active power at which per-unit curves are 1: the rating, as far as the inverter passes it.
        self.p_top_kw = np.minimum(self.p_rated_kw, self.s_kva)
        self.q_max_kvar = column(configs, "q_max_pu") * self.s_kva
        self.available_kw: Vector = np.zeros(self.n)
        self.e_kwh: Vector = np.zeros(self.n)
        self._p_first: Mask = np.array([config.priority == "p" for config in configs], bool)
        self._any_p_first = bool(self._p_first.any())
        self._functions, remote = self._made(configs, site.step_us)
        self.voltage_dependent = self._functions.voltage_dependent
        self.restricts = self._any_p_first or bool(remote)
        self._offered: Vector | None = None
        zero = np.zeros(self.n)
        self._declare(
            setpoint("p_set_kw", "kW", Role.P_CAP_KW, (zero, self.p_top_kw), "Most active power fed in"),
            setpoint("q_set_kvar", "kvar", Role.Q_KVAR, (-self.q_max_kvar, self.q_max_kvar),
                     "Reactive power into the grid; overrides the autonomous function"),
            *remote)

    def _made(self, configs: Sequence[Any], step_us: int) -> tuple[Functions, tuple[Setpoint, ...]]:
        """The functions, and the setpoints by which they can be set."""
        if any(config.remote_functions for config in configs):
            functions = RemoteFunctions(configs, self.s_kva, self.p_top_kw, step_us)
            return functions, functions.setpoints
        return Functions(configured(configs, self.s_kva, step_us), self.s_kva, self.p_top_kw), ()

    def envelope(self) -> Envelope:
        """Zero to what is available, and the rectangle and circle of reactive power."""
        return Envelope(np.zeros(self.n), self.available_kw, -self.q_max_kvar, self.q_max_kvar, self.s_kva)

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """Available power within cap and circle; reactive power as commanded or by the autonomous function."""
        functions, q_set = self._functions, setpoints[1]
        laws = functions.at(setpoints)
        p = np.fmin(self.available_kw, np.maximum(setpoints[0], 0.0))
        p = functions.capped(laws, p, v_pu, q_set)
        q = np.where(np.isnan(q_set), functions.q_kvar(laws, p, v_pu), q_set)
        p, q = self._on_circle(p, q)
        if laws.off is not None:
            p, q = np.where(laws.off, 0.0, p), np.where(laws.off, 0.0, q)
        if any_dead(v_pu):
            p, q = energised(p, v_pu), energised(q, v_pu)
        return Injection(p, q)

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Keep what flows, and which laws it flows by."""
        super().settle(setpoints, injection, v_pu, t_us)
        self._functions.settled(setpoints, v_pu)

    def measure(self, out: Vector) -> None:
        """p, q, available, energy."""
        out[0], out[1], out[2], out[3] = self.p_kw, self.q_kvar, self.available_kw, self.e_kwh

    def _rated(self, configs: Sequence[Any], site: Site) -> Vector:
        raise NotImplementedError

    def _available(self, t_us: int) -> Vector:
        """Active power (n,) the source offers at the AC side, kW."""
        raise NotImplementedError

    def _elapse(self, dt_us: int, t_us: int) -> None:
        self.e_kwh += self.p_kw * (dt_us / HOUR_US)
        self._functions.elapse(dt_us, self)
        offered = self._available(t_us)
        if offered is not self._offered:  # a profile that holds gives the same object again
            self._offered = offered
            self.available_kw = np.minimum(np.maximum(offered, 0.0), self.s_kva)

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        if self._any_p_first:
            p = np.fmin(self.available_kw, possible[0])
            span = np.where(self._p_first, room(self.s_kva, p), self.q_max_kvar)
            hold_below(possible[1], reason[1], span)
            hold_above(possible[1], reason[1], -span)
        self._functions.restrict(possible, reason)

    def _on_circle(self, p: Vector, q: Vector) -> tuple[Vector, Vector]:
        q = np.minimum(np.maximum(q, -self.q_max_kvar), self.q_max_kvar)
        if not self._any_p_first:  # reactive power first, everywhere
            return np.minimum(p, room(self.s_kva, q)), q
        p_first = self._p_first
        q_at_p = within(q, room(self.s_kva, p))
        if not p_first.all():
            p = np.where(p_first, p, np.minimum(p, room(self.s_kva, q)))
        return p, np.where(p_first, q_at_p, q)
