"""Loads with a profile and voltage dependence.

ZIP: P = P0 (z V² + i V + p) with z + i + p = 1, V per unit of rated voltage; the same for Q with its own coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isclose
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from cosim.devices.base import (
    HOUR_US,
    Group,
    PlacedConfig,
    column,
    elements,
    filled,
    own_values,
    sampler,
    setpoint,
)
from cosim.plugins import DeviceConfig, Envelope, Injection, Measurement, Role, Site
from cosim.points import PointKind, Vector
from cosim.profile_ref import ProfileRef

SCALE_MAX = 5.0


def _sums_to_one(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    if not isclose(sum(shares), 1.0, abs_tol=1e-9):
        raise ValueError(f"expected [z, i, p] that add up to 1, found {list(shares)} (sum {sum(shares):g})")
    return shares


Zip = Annotated[tuple[float, float, float], AfterValidator(_sums_to_one)]
CONSTANT_POWER = (0.0, 0.0, 1.0)


class LoadConfig(PlacedConfig):
    """A load; consumption is positive here, and negative as an injection into the grid."""

    kind: Literal["load"] = "load"
    p_kw: float | None = Field(None, description="Rated consumption (default for `element`: the network's own).")
    q_kvar: float | None = Field(None, description="Rated reactive consumption (default: by power_factor, else the "
                                                   "network's own, else 0).")
    power_factor: float | None = Field(None, gt=0, le=1, description="Inductive power factor, instead of q_kvar.")
    profile: ProfileRef | None = Field(None, description="Consumption over time (default: constant at rated).")
    q_profile: ProfileRef | None = Field(None, description="Reactive consumption over time (default: as `profile`, at "
                                                           "the rated ratio of q to p).")
    profile_unit: Literal["pu", "kw"] = Field("pu", description="What the profiles give: multiples of the rated values "
                                                                "(`pu`), or kW and kvar (`kw`).")
    zip_p: Zip = Field(CONSTANT_POWER, description="[z, i, p]: shares of active power at constant impedance, current "
                                                   "and power; they add up to 1.")
    zip_q: Zip = Field(CONSTANT_POWER, description="[z, i, p] of reactive power.")

    @model_validator(mode="after")
    def _q_once(self) -> Self:
        if self.power_factor is not None and self.q_kvar is not None:
            raise ValueError("give either `q_kvar` or `power_factor`")
        if self.bus is not None and self.p_kw is None and not (self.profile and self.profile_unit == "kw"):
            raise ValueError("p_kw is required for a device at a `bus`, unless a profile in kW is given")
        if self.profile_unit == "kw" and self.profile is None:
            raise ValueError("profile_unit: kw needs a `profile`")
        if self.profile_unit == "kw" and self.q_kvar is not None and self.bus is not None and self.p_kw is None:
            raise ValueError("q_kvar with a profile in kW needs p_kw (their ratio is kept); or give `power_factor`")
        return self


class Load(Group):
    """All loads of a run."""

    kind: ClassVar[str] = "load"
    summary: ClassVar[str] = "Load with profile, power factor and ZIP voltage dependence"
    Config: ClassVar[type[DeviceConfig]] = LoadConfig
    table = "load"
    measurements = (
        Measurement("p_kw", "kW", "Active power into the grid (negative: consumption)"),
        Measurement("q_kvar", "kvar", "Reactive power into the grid (negative: consumption)"),
        Measurement("e_kwh", "kWh", "Energy consumed since the start", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._read_rated(configs, site)
        self._profile = sampler(configs, "profile", site)
        self._q_profile = sampler(configs, "q_profile", site)
        self._has_q = np.array([config.q_profile is not None for config in configs], bool)
        self._zip_p = np.array([config.zip_p for config in configs], np.float64).reshape(self.n, 3).T
        self._zip_q = np.array([config.zip_q for config in configs], np.float64).reshape(self.n, 3).T
        self.restricts = False
        self.voltage_dependent = any({config.zip_p, config.zip_q} != {CONSTANT_POWER} for config in configs)
        self.p_demand_kw: Vector = np.zeros(self.n)
        self.q_demand_kvar: Vector = np.zeros(self.n)
        self.e_kwh: Vector = np.zeros(self.n)
        self._declare(setpoint("scale", "", Role.SCALE, (np.zeros(self.n), np.full(self.n, SCALE_MAX)),
                               "Multiplies the consumption (1 without a command)"))

    def envelope(self) -> Envelope:
        """Between no consumption and `SCALE_MAX` times the demand at rated voltage."""
        p, q = -SCALE_MAX * self.p_demand_kw, -SCALE_MAX * self.q_demand_kvar
        return Envelope(np.minimum(p, 0.0), np.maximum(p, 0.0), np.minimum(q, 0.0), np.maximum(q, 0.0),
                        np.full(self.n, np.inf))

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """The demand at `scale` and voltage, as a negative injection; without voltage the demand at rated voltage."""
        scale = setpoints[0]
        factor = np.where(np.isnan(scale), -1.0, -scale)
        p, q = self.p_demand_kw * factor, self.q_demand_kvar * factor
        if self.voltage_dependent:
            v = np.where(np.isnan(v_pu), 1.0, v_pu)
            (z_p, i_p, c_p), (z_q, i_q, c_q) = self._zip_p, self._zip_q
            p *= (z_p * v + i_p) * v + c_p
            q *= (z_q * v + i_q) * v + c_q
        return Injection(p, q)

    def measure(self, out: Vector) -> None:
        """p, q, energy."""
        out[0], out[1], out[2] = self.p_kw, self.q_kvar, self.e_kwh

    def _elapse(self, dt_us: int, t_us: int) -> None:
        self.e_kwh -= self.p_kw * (dt_us / HOUR_US)
        along = 1.0 if self._profile is None else self._profile(t_us)
        self.p_demand_kw = self._p_factor * along
        self.q_demand_kvar = self._q_factor * along
        if self._q_profile is not None:
            own = self._q_own_factor * self._q_profile(t_us)
            self.q_demand_kvar = np.where(self._has_q, own, self.q_demand_kvar)

    def _read_rated(self, configs: Sequence[Any], site: Site) -> None:
        """Factors from profile value to kW and kvar; 1 kW where a profile in kW comes without a rating."""
        index, loads = elements(configs, site, self.table), site.network.loads
        given_p, given_q, pf = column(configs, "p_kw"), column(configs, "q_kvar"), column(configs, "power_factor")
        p = filled(given_p, -own_values(index, loads.p_kw))
        kw = np.array([config.profile_unit == "kw" for config in configs], bool)
        p = np.where(np.isnan(p), 1.0, p)
        q = filled(given_q, filled(p * np.sqrt(1 / pf**2 - 1), filled(-own_values(index, loads.q_kvar), 0.0)))
        ratio = np.divide(q, p, out=np.zeros(self.n), where=p != 0)
        self._p_factor, self._q_factor = np.where(kw, 1.0, p), np.where(kw, ratio, q)
        self._q_own_factor = np.where(kw, 1.0, q)
