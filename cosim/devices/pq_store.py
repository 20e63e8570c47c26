"""Stores with a region of active and reactive power: a battery's energy behind a converter with any convex region.

Energy, losses and the window of the state of charge are those of `battery`.  The setpoints (p, q) are brought to the
nearest point, in the Euclidean norm, of the region with p within what keeps the energy in its window for one scan, as
gym-anm does it (Henry and Ernst, "Gym-ANM", Energy and AI 5, 2021, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import CAPABILITY, PlacedConfig, Reasons, any_dead, column, energised, hold_above, hold_below
from cosim.devices.base import setpoint as ranged
from cosim.devices.battery import ENERGY, Battery
from cosim.devices.region import Region, Regions
from cosim.plugins import DeviceConfig, Envelope, Injection, Measurement, Role, Site
from cosim.points import Vector


class PQStoreConfig(PlacedConfig):
    """A store and its converter; powers at the grid side, energy in the store."""

    kind: Literal["pq_store"] = "pq_store"
    region: Region = Field(description="Corners [p_kw, q_kvar] of the region it can work in, in order around it: "
                                       "convex, with [0, 0] in it; p_kw is negative where it charges.")
    e_rated_kwh: float = Field(gt=0, description="Energy content at state of charge 1.")
    eta_charge: float = Field(0.95, gt=0, le=1, description="Energy stored per energy taken from the grid.")
    eta_discharge: float = Field(0.95, gt=0, le=1, description="Energy fed in per energy taken from the store.")
    self_discharge_per_h: float = Field(0.0, ge=0, lt=1, description="Share of the stored energy lost in an hour.")
    soc_start: float = Field(0.5, ge=0, le=1, description="State of charge at the start.")
    soc_min: float = Field(0.1, ge=0, le=1, description="State of charge below which it does not discharge.")
    soc_max: float = Field(0.9, ge=0, le=1, description="State of charge above which it does not charge.")
    q_default_kvar: float = Field(0.0, description="Reactive power without a command.")

    @model_validator(mode="after")
    def _window(self) -> Self:
        if not self.soc_min < self.soc_max:
            raise ValueError(f"expected soc_min < soc_max, found {self.soc_min} and {self.soc_max}")
        if not self.soc_min <= self.soc_start <= self.soc_max:
            raise ValueError(f"soc_start {self.soc_start}: expected soc_min..soc_max = {self.soc_min}..{self.soc_max}")
        return self

    @property
    def p_max_kw(self) -> float:
        """Most discharging power."""
        return max(p for p, _ in self.region)

    @property
    def p_charge_max_kw(self) -> float:
        """Most charging power."""
        return -min(p for p, _ in self.region)

    @property
    def s_rated_kva(self) -> float:
        """The circle around the region: it never binds before the region does."""
        return max(hypot(p, q) for p, q in self.region)

    @property
    def priority(self) -> str:
        """Of no account where a region binds first."""
        return "p"


#: The row of measurements that a battery does not have: the last.
_AHEAD = len(Battery.measurements)


class PQStore(Battery):
    """All stores with a region of a run."""

    kind: ClassVar[str] = "pq_store"
    summary: ClassVar[str] = "Battery with a P-Q region: setpoints cut to the nearest point of it"
    Config: ClassVar[type[DeviceConfig]] = PQStoreConfig
    measurements: tuple[Measurement, ...] = (
        *Battery.measurements,
        Measurement("e_kwh_ahead", "kWh", "Energy in the store one scan from now, if its power holds"),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._regions = regions = Regions([config.region for config in configs])
        self._q_default = column(configs, "q_default_kvar")
        self._declare(
            ranged("p_set_kw", "kW", Role.P_KW, (regions.p_min_kw, regions.p_max_kw),
                   "Active power into the grid (negative: charging); 0 without a command"),
            ranged("q_set_kvar", "kvar", Role.Q_KVAR, (regions.q_min_kvar, regions.q_max_kvar),
                   "Reactive power into the grid; `q_default_kvar` without a command"))

    def envelope(self) -> Envelope:
        """Active powers that keep the energy in its window for one scan, and the region's reach in reactive power."""
        regions = self._regions
        return Envelope(self._p_now_min, self._p_now_max, regions.q_min_kvar, regions.q_max_kvar, regions.s_max_kva)

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """The nearest possible point to the setpoints."""
        p = np.where(np.isnan(setpoints[0]), 0.0, setpoints[0])
        q = np.where(np.isnan(setpoints[1]), self._q_default, setpoints[1])
        p, q = self._nearest(p, q)
        if any_dead(v_pu):
            p, q = energised(p, v_pu), energised(q, v_pu)
        return Injection(p, q)

    def measure(self, out: Vector) -> None:
        """As a battery, and the energy ahead."""
        super().measure(out)
        out[_AHEAD] = self.e_kwh_ahead

    def measure_rows(self, out: Vector, rows: Sequence[int]) -> None:
        """As `measure`, of these rows."""
        super().measure_rows(out, [row for row in rows if row != _AHEAD])
        if _AHEAD in rows:
            out[_AHEAD] = self.e_kwh_ahead

    @property
    def e_kwh_ahead(self) -> Vector:
        """Energy in the store one scan from now, if its power holds (n,)."""
        _, _, inflow = self._inflow()
        return self._stored(inflow, self._step_kept, self._step_gain_h)[1]

    def _nearest(self, p: Vector, q: Vector) -> tuple[Vector, Vector]:
        """The nearest point whose power the stored energy allows for one scan."""
        return self._regions.nearest(p, q, self._p_now_min, self._p_now_max)

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        p, q = possible
        # Half a request is held to what the energy allows here, and brought into the region when it is applied.
        asked, low, high = ~np.isnan(p + q), self._p_now_min, self._p_now_max
        beyond = (p > high) | (p < low)
        moved = self._regions.holds(np.minimum(np.maximum(p, low), high), q) < asked
        if moved.any():
            nearest = np.array(self._nearest(np.where(moved, p, 0.0), np.where(moved, q, 0.0)))
            change = moved & (nearest != possible)
            np.copyto(possible, nearest, where=change)
            np.copyto(reason, CAPABILITY, where=change)
            np.copyto(reason[0], ENERGY, where=change[0] & beyond)
        hold_below(p, reason[0], high, ENERGY)
        hold_above(p, reason[0], low, ENERGY)
