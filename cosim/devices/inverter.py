"""Inverter behaviour that PV and wind share: the kVA circle, caps, and the autonomous functions of IEEE 1547-2018.

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
    SECOND_US,
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
from cosim.devices.curves import Curves, FallingCurve, Points, flat
from cosim.plugins import Envelope, Injection, Measurement, Role, Site
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


class InverterGroup(Group):
    """A group that injects what is available, within caps and the kVA circle.  Subclasses give `_available`."""

    table = "sgen"
    measurements = (
        Measurement("p_kw", "kW", "Active power into the grid"),
        Measurement("q_kvar", "kvar", "Reactive power into the grid"),
        Measurement("p_available_kw", "kW", "Active power that could be fed in"),
        Measurement("e_kwh", "kWh", "Energy fed in since the start", PointKind.COUNTER),
    )

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
        self._functions = Functions(configs, self, site.step_us)
        self.voltage_dependent = self._functions.voltage_dependent
        self.restricts = bool(self._p_first.any())
        self._offered: Vector | None = None
        zero = np.zeros(self.n)
        self._declare(
            setpoint("p_set_kw", "kW", Role.P_CAP_KW, (zero, self.p_top_kw), "Most active power fed in"),
            setpoint("q_set_kvar", "kvar", Role.Q_KVAR, (-self.q_max_kvar, self.q_max_kvar),
                     "Reactive power into the grid; overrides the autonomous function"))

    def envelope(self) -> Envelope:
        """Zero to what is available, and the rectangle and circle of reactive power."""
        return Envelope(np.zeros(self.n), self.available_kw, -self.q_max_kvar, self.q_max_kvar, self.s_kva)

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """Available power within cap and circle; reactive power as commanded or by the autonomous function."""
        functions, q_set = self._functions, setpoints[1]
        p = np.fmin(self.available_kw, np.maximum(setpoints[0], 0.0))
        p = functions.capped(p, v_pu)
        q = np.where(np.isnan(q_set), functions.q_kvar(p, v_pu), q_set)
        p, q = self._on_circle(p, q)
        if any_dead(v_pu):
            p, q = energised(p, v_pu), energised(q, v_pu)
        return Injection(p, q)

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
        if self._p_first.any():
            p = np.fmin(self.available_kw, possible[0])
            span = np.where(self._p_first, room(self.s_kva, p), self.q_max_kvar)
            hold_below(possible[1], reason[1], span)
            hold_above(possible[1], reason[1], -span)

    def _on_circle(self, p: Vector, q: Vector) -> tuple[Vector, Vector]:
        q = np.minimum(np.maximum(q, -self.q_max_kvar), self.q_max_kvar)
        if not self.restricts:  # reactive power first, everywhere
            return np.minimum(p, room(self.s_kva, q)), q
        p_first = self._p_first
        q_at_p = within(q, room(self.s_kva, p))
        if not p_first.all():
            p = np.where(p_first, p, np.minimum(p, room(self.s_kva, q)))
        return p, np.where(p_first, q_at_p, q)


class Functions:
    """The autonomous functions of a group.

    Each is a curve for every device, flat where a device does not have it, so that they add up without a mask: the
    reactive ones to zero, the volt-watt cap to the rating.
    """

    def __init__(self, configs: Sequence[Any], group: InverterGroup, step_us: int) -> None:
        step_s = step_us / SECOND_US
        self._s_kva, self._p_top_kw = group.s_kva, group.p_top_kw
        lagged = [config.olrt_s > step_s for config in configs]
        self._direct = _Reactive(configs, [not lag for lag in lagged])
        self._lagged = _Reactive(configs, lagged)
        cap_lagged = [config.volt_watt_olrt_s > step_s for config in configs]
        self._cap_direct = _volt_watt(configs, [not lag for lag in cap_lagged])
        self._cap_lagged = _volt_watt(configs, cap_lagged)
        self._tan = _tangents(configs)
        self._p_at_pf = np.where(self._tan == 0, np.inf, group.s_kva / np.hypot(1.0, self._tan))
        self._any_pf = bool((self._tan != 0).any())
        self._rate_q, self._rate_cap = _rates(configs, "olrt_s"), _rates(configs, "volt_watt_olrt_s")
        self._q_now: Vector = np.zeros(group.n)
        self._cap_now: Vector = np.ones(group.n)
        self._moving = np.array(lagged, bool) & self._lagged.has

    @property
    def voltage_dependent(self) -> bool:
        """Whether any answer follows the voltage of the same SOLVE."""
        return self._direct.volt_var is not None or self._cap_direct is not None

    def capped(self, p_kw: Vector, v_pu: Vector) -> Vector:
        """Active power (n,) within the volt-watt cap."""
        if self._any_pf:
            p_kw = np.minimum(p_kw, self._p_at_pf)
        if self._cap_lagged is not None:
            p_kw = np.minimum(p_kw, self._cap_now * self._p_top_kw)
        if self._cap_direct is not None:
            p_kw = np.minimum(p_kw, self._cap_direct.at(v_pu) * self._p_top_kw)
        return p_kw

    def q_kvar(self, p_kw: Vector, v_pu: Vector) -> Vector:
        """Reactive power (n,) of the autonomous functions."""
        q = self._q_now
        if self._any_pf:
            q = q + p_kw * self._tan
        if self._direct.any:
            q = q + self._direct.pu(p_kw / self._p_top_kw, v_pu) * self._s_kva
        return q

    def elapse(self, dt_us: int, group: InverterGroup) -> None:
        """Let the lagged answers run for `dt_us` towards their targets at the last settled voltage."""
        if dt_us == 0:
            # The start, or a second SOLVE of one instant: what flows has had no time to change.
            self._q_now = np.where(self._moving, group.q_kvar, 0.0)
            return
        v = np.where(np.isnan(group.v_pu), 1.0, group.v_pu)
        if self._lagged.any:
            target = self._lagged.pu(group.p_kw / self._p_top_kw, v) * self._s_kva
            decay = np.exp(-dt_us * self._rate_q)
            # From the settled value, not the lag's own: after a command is released there is no jump.
            self._q_now = np.where(self._moving, target + (group.q_kvar - target) * decay, 0.0)
        if self._cap_lagged is not None:
            cap = self._cap_lagged.at(v)
            self._cap_now = cap + (self._cap_now - cap) * np.exp(-dt_us * self._rate_cap)


class _Reactive:
    """Volt-var and watt-var of the devices where `mine`; zero elsewhere."""

    def __init__(self, configs: Sequence[Any], mine: Sequence[bool]) -> None:
        volt = [own and "volt_var" in config.mode for config, own in zip(configs, mine, strict=True)]
        watt = [own and config.mode == "watt_var" for config, own in zip(configs, mine, strict=True)]
        self.volt_var = _curves([c.volt_var for c in configs], volt, 0.0)
        self.watt_var = _curves([c.watt_var for c in configs], watt, 0.0)
        self.any = self.volt_var is not None or self.watt_var is not None
        self.has = np.array(volt, bool) | np.array(watt, bool)

    def pu(self, p_pu: Vector, v_pu: Vector) -> Vector:
        """Reactive power per s_rated_kva, (n,)."""
        q: Vector | None = None if self.volt_var is None else self.volt_var.at(v_pu)
        if self.watt_var is not None:
            of_p = self.watt_var.at(p_pu)
            q = of_p if q is None else q + of_p
        assert q is not None, "asked only where `any`"
        return q


def _volt_watt(configs: Sequence[Any], mine: Sequence[bool]) -> Curves | None:
    use = [own and config.mode.endswith("volt_watt") for config, own in zip(configs, mine, strict=True)]
    return _curves([config.volt_watt for config in configs], use, 1.0)


def _curves(points: Sequence[Points], use: Sequence[bool], otherwise: float) -> Curves | None:
    if not any(use):
        return None
    return Curves([own if used else flat(otherwise) for own, used in zip(points, use, strict=True)])


def _rates(configs: Sequence[Any], field: str) -> Vector:
    """Decay per microsecond of a first-order lag that reaches 90 % in `field` seconds; 0 for no lag (unused)."""
    olrt_us = column(configs, field) * SECOND_US
    return np.divide(np.log(10.0), olrt_us, out=np.zeros_like(olrt_us), where=olrt_us > 0)


def _tangents(configs: Sequence[Any]) -> Vector:
    """q per p of the devices with a fixed power factor, 0 elsewhere."""
    values = [(1 / c.power_factor**2 - 1) ** 0.5 * (1 if c.power_factor_sign == "inject" else -1)
              if c.mode == "fixed_power_factor" else 0.0 for c in configs]
    return np.array(values, np.float64)
