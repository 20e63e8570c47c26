"""Batteries: energy balance with losses, kept exactly between SOLVEs.

With power held at p (kW into the grid, positive discharging) the stored energy follows dE/dt = -λE + r, where
r = -p/η_d when discharging, -p η_c when charging, and λ = -ln(1 - self-discharge per hour).  Over Δt:
E(t+Δt) = E e^(-λΔt) + r (1 - e^(-λΔt))/λ.  `limit` bounds the power such that E stays in its window for one scan, the
longest time for which power is held.  Should a SOLVE come later than that, the store stops at the edge of the window
and the energy the grid got (or gave) beyond it is counted as `e_kwh_excess`, so the balance closes either way:
charged - discharged = ΔE + lost - excess.

The window bounds charging and discharging only: self-discharge drains a store below `soc_min`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import (
    COUNTED_AT_ONCE,
    HOUR_US,
    Group,
    PlacedConfig,
    Reasons,
    any_dead,
    beyond,
    column,
    counted,
    energised,
    filled,
    hold_above,
    hold_below,
    room,
    setpoint,
    within,
)
from cosim.plugins import DeviceConfig, Envelope, Injection, Limit, Measurement, Role, Site, StoredEnergy
from cosim.points import PointKind, Vector

ENERGY = np.uint8(Limit.ENERGY.value)
#: What its measurements show, in their order.
_ROWS = ("p_kw", "q_kvar", "soc", "charged_kwh", "discharged_kwh", "lost_kwh", "excess_kwh")
#: Share of the squared rating up to which a point lies on the circle beyond any doubt of rounding.
_INSIDE = 1.0 - 1e-9


class BatteryConfig(PlacedConfig):
    """A battery and its inverter; powers at the grid side, energy in the store."""

    kind: Literal["battery"] = "battery"
    e_rated_kwh: float = Field(gt=0, description="Energy content at state of charge 1.")
    p_max_kw: float = Field(gt=0, description="Most discharging power.")
    p_charge_max_kw: float | None = Field(None, gt=0, description="Most charging power (default: p_max_kw).")
    s_rated_kva: float | None = Field(None, gt=0, description="Apparent power rating (default: the larger power).")
    priority: Literal["p", "q"] = Field("p", description="Which of active (`p`) and reactive power (`q`) is kept on "
                                                         "the kVA circle.")
    eta_charge: float = Field(0.95, gt=0, le=1, description="Energy stored per energy taken from the grid.")
    eta_discharge: float = Field(0.95, gt=0, le=1, description="Energy fed in per energy taken from the store.")
    self_discharge_per_h: float = Field(0.0, ge=0, lt=1, description="Share of the stored energy lost in an hour "
                                                                     "(3 % a month: 4.2e-5).")
    soc_start: float = Field(0.5, ge=0, le=1, description="State of charge at the start.")
    soc_min: float = Field(0.1, ge=0, le=1, description="State of charge below which it does not discharge.")
    soc_max: float = Field(0.9, ge=0, le=1, description="State of charge above which it does not charge.")

    @model_validator(mode="after")
    def _window(self) -> Self:
        if not self.soc_min < self.soc_max:
            raise ValueError(f"expected soc_min < soc_max, found {self.soc_min} and {self.soc_max}")
        if not self.soc_min <= self.soc_start <= self.soc_max:
            raise ValueError(f"soc_start {self.soc_start}: expected soc_min..soc_max = {self.soc_min}..{self.soc_max}")
        return self


class Battery(Group):
    """All batteries of a run."""

    kind: ClassVar[str] = "battery"
    summary: ClassVar[str] = "Battery with state of charge, losses and power limits"
    Config: ClassVar[type[DeviceConfig]] = BatteryConfig
    table = "sgen"
    measurements: tuple[Measurement, ...] = (
        Measurement("p_kw", "kW", "Active power into the grid (negative: charging)"),
        Measurement("q_kvar", "kvar", "Reactive power into the grid"),
        Measurement("soc", "", "State of charge, 0..1"),
        Measurement("e_kwh_charged", "kWh", "Energy taken from the grid since the start", PointKind.COUNTER),
        Measurement("e_kwh_discharged", "kWh", "Energy fed in since the start", PointKind.COUNTER),
        Measurement("e_kwh_lost", "kWh", "Conversion losses and self-discharge since the start", PointKind.COUNTER),
        Measurement("e_kwh_excess", "kWh", "Energy exchanged beyond an edge of the window since the start (positive: "
                                           "the grid got what the store did not have)"),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        p_max, self._e_rated = column(configs, "p_max_kw"), column(configs, "e_rated_kwh")
        p_charge = filled(column(configs, "p_charge_max_kw"), p_max)
        self._s_kva = filled(column(configs, "s_rated_kva"), np.maximum(p_max, p_charge))
        self._p_max, self._p_min = np.minimum(p_max, self._s_kva), -np.minimum(p_charge, self._s_kva)
        self._eta_c, self._eta_d = column(configs, "eta_charge"), column(configs, "eta_discharge")
        self._decay_per_h = -np.log1p(-column(configs, "self_discharge_per_h"))
        self._e_low = column(configs, "soc_min") * self._e_rated
        self._e_high = column(configs, "soc_max") * self._e_rated
        self._q_first = np.array([config.priority == "q" for config in configs], bool)
        self.e_kwh = column(configs, "soc_start") * self._e_rated
        self._charged_kwh, self._discharged_kwh, self._lost_kwh, self._excess_kwh = np.zeros((4, self.n))
        self._passed: list[tuple[Vector, Vector, Vector, Vector, float]] = []
        """Power, energy before, energy after without and with edges, and hours of intervals that the counters lack."""
        self._any_q_first = bool(self._q_first.any())
        self._inside_kva2, self._unasked = self._s_kva**2 * _INSIDE, np.full(self.n, np.nan).tobytes()
        self._kept, self._gain_h = self._over(site.step_us)
        self._step_kept, self._step_gain_h = self._kept, self._gain_h
        self._step_stored_h = self._eta_c * self._step_gain_h
        self._over_us = site.step_us
        self._bound()
        self._declare(
            setpoint("p_set_kw", "kW", Role.P_KW, (self._p_min, self._p_max), "Active power into the grid (negative: "
                                                                              "charging); 0 without a command"),
            setpoint("q_set_kvar", "kvar", Role.Q_KVAR, (-self._s_kva, self._s_kva), "Reactive power into the grid; 0 "
                                                                                     "without a command"))

    def envelope(self) -> Envelope:
        """Powers that keep the state of charge in its window for one scan."""
        return Envelope(self._p_now_min, self._p_now_max, -self._s_kva, self._s_kva, self._s_kva)

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """The commanded powers (0 without a command) within what is possible now."""
        p, q = np.where(np.isnan(setpoints), 0.0, setpoints)
        p = np.minimum(np.maximum(p, self._p_now_min), self._p_now_max)
        if not self._within_circle(p, q):
            q = within(q, self._s_kva)
            if self._any_q_first:
                p = np.where(self._q_first, within(p, room(self._s_kva, q)), p)
            q = np.where(self._q_first, q, within(q, room(self._s_kva, p)))
        if any_dead(v_pu):
            p, q = energised(p, v_pu), energised(q, v_pu)
        return Injection(p, q)

    def _within_circle(self, p: Vector, q: Vector) -> bool:
        """Whether all points lie within their circles, beyond any doubt of rounding."""
        return int(np.count_nonzero(p * p + q * q < self._inside_kva2)) == self.n

    def energy(self) -> StoredEnergy:
        """What each store holds."""
        return StoredEnergy(self.e_kwh, self._e_rated, self._eta_c, self._eta_d)

    def measure(self, out: Vector) -> None:
        """p, q, state of charge, and the energy counters."""
        Battery.measure_rows(self, out, range(len(_ROWS)))  # not what a kind made of it

    def measure_rows(self, out: Vector, rows: Sequence[int]) -> None:
        """As `measure`, of these rows."""
        for row in rows:
            out[row] = getattr(self, _ROWS[row])

    @property
    def soc(self) -> Vector:
        """State of charge (n,)."""
        return self.e_kwh / self._e_rated

    @property
    def charged_kwh(self) -> Vector:
        """Energy taken from the grid since the start (n,)."""
        self._count()
        return self._charged_kwh

    @property
    def discharged_kwh(self) -> Vector:
        """Energy fed in since the start (n,)."""
        self._count()
        return self._discharged_kwh

    @property
    def lost_kwh(self) -> Vector:
        """Conversion losses and self-discharge since the start (n,)."""
        self._count()
        return self._lost_kwh

    @property
    def excess_kwh(self) -> Vector:
        """Energy exchanged beyond an edge of the window since the start (n,)."""
        self._count()
        return self._excess_kwh

    def _over(self, dt_us: int) -> tuple[Vector, Vector]:
        """What is kept of the stored energy over `dt_us`, and how long (h) a constant inflow counts for."""
        hours = dt_us / HOUR_US
        lost = -np.expm1(-self._decay_per_h * hours)
        gain_h = np.divide(lost, self._decay_per_h, out=np.full(self.n, hours), where=self._decay_per_h > 0)
        return 1.0 - lost, gain_h

    def _elapse(self, dt_us: int, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        if dt_us != self._over_us:
            self._kept, self._gain_h = self._over(dt_us)
            self._over_us = dt_us
        e = self.e_kwh
        _, _, inflow = self._inflow()
        free, self.e_kwh = self._stored(inflow, self._kept, self._gain_h)
        self._passed.append((self.p_kw, e, free, self.e_kwh, dt_us / HOUR_US))
        if len(self._passed) >= COUNTED_AT_ONCE:
            self._count()
        self._bound()

    def _count(self) -> None:
        """Bring the counters up to the last `advance`."""
        if not self._passed:
            return
        p, e, free, now, hours = (np.array(column) for column in zip(*self._passed, strict=True))
        hours = hours[:, None]
        self._passed = []
        discharge, charge = np.maximum(p, 0.0), np.maximum(-p, 0.0)
        inflow = charge * self._eta_c - discharge / self._eta_d
        self._excess_kwh = counted(self._excess_kwh, now - free)
        self._charged_kwh = counted(self._charged_kwh, charge * hours)
        self._discharged_kwh = counted(self._discharged_kwh, discharge * hours)
        conversion = (charge * (1.0 - self._eta_c) + discharge * (1.0 / self._eta_d - 1.0)) * hours
        held = e + inflow * hours - free
        # One after the other, as they are added up: what was converted, then what was held back.
        self._lost_kwh = counted(self._lost_kwh, np.stack((conversion, held), axis=1).reshape(2 * len(p), self.n))

    def _inflow(self) -> tuple[Vector, Vector, Vector]:
        """Discharging and charging power at the grid side, and what flows into the store, kW."""
        discharge, charge = np.maximum(self.p_kw, 0.0), np.maximum(-self.p_kw, 0.0)
        return discharge, charge, charge * self._eta_c - discharge / self._eta_d

    def _stored(self, inflow: Vector, kept_share: Vector, gain_h: Vector) -> tuple[Vector, Vector]:
        """Energy later, if the store had no edges, and with them."""
        kept = self.e_kwh * kept_share
        free = kept + inflow * gain_h
        # Only the store's own exchange stops at an edge; what self-discharge leaves is never raised or cut.
        return free, np.where(self.p_kw > 0, np.maximum(free, np.minimum(self._e_low, kept)),
                              np.minimum(free, np.maximum(self._e_high, kept)))

    def _bound(self) -> None:
        """Powers that keep the energy in its window for one scan."""
        kept = self.e_kwh * self._step_kept
        self._p_by_energy_max = np.maximum(kept - self._e_low, 0.0) * self._eta_d / self._step_gain_h
        self._p_by_energy_min = np.minimum(kept - self._e_high, 0.0) / self._step_stored_h
        self._p_now_max = np.minimum(self._p_by_energy_max, self._p_max)
        self._p_now_min = np.maximum(self._p_by_energy_min, self._p_min)

    def _fits(self, wanted: Vector) -> bool:
        p, q = wanted
        if beyond(p, self._p_now_min, self._p_now_max):
            return False
        if q.tobytes() == self._unasked:  # the power alone is within the rating
            return not self._any_q_first
        return self._within_circle(p, q)

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        p, q = possible
        # Asking beyond the rating of a full store is first of all a matter of energy: the tighter bound is named.
        hold_below(p, reason[0], self._p_now_max, ENERGY)
        hold_above(p, reason[0], self._p_now_min, ENERGY)
        q_first, s_kva = self._q_first, self._s_kva
        if self._any_q_first:
            span = np.where(q_first, room(s_kva, np.where(np.isnan(q), 0.0, q)), np.inf)
            hold_below(p, reason[0], span)
            hold_above(p, reason[0], -span)
        span = np.where(q_first, np.inf, room(s_kva, np.where(np.isnan(p), 0.0, p)))
        hold_below(q, reason[1], span)
        hold_above(q, reason[1], -span)
