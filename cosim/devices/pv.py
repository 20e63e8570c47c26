"""Photovoltaic plants behind smart inverters.

From irradiance: P_dc = P_rated G/1000 (1 + gamma (T_cell - 25)), T_cell = T_air + G/800 (NOCT - 20), and
P_ac = min(η (1 - losses) P_dc, S_rated).  Defaults: gamma -0.47 %/°C (standard module), losses 14 %, η 0.96 (PVWatts
version 5, NREL/TP-6A20-62641).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import column, elements, filled, own_values, require, sampler
from cosim.devices.inverter import InverterConfig, InverterGroup
from cosim.plugins import DeviceConfig, Site
from cosim.points import Vector
from cosim.profile_ref import ProfileRef


class PVConfig(InverterConfig):
    """A PV plant: modules, inverter, and what the sun does."""

    kind: Literal["pv"] = "pv"
    p_rated_kw: float | None = Field(None, gt=0, description="Rated power of the modules at 1000 W/m² and 25 °C "
                                                             "(default for `element`: the network's own).")
    profile: ProfileRef | None = Field(None, description="Power or irradiance over time (default: rated power).")
    profile_unit: Literal["pu", "kw", "w_m2"] = Field(
        "pu", description="What the profile gives: AC power per p_rated_kw (`pu`), AC power (`kw`), or irradiance in "
                          "the module plane (`w_m2`).")
    temperature: ProfileRef | None = Field(None, description="Air temperature over time, °C (profile_unit: w_m2).")
    air_temperature_c: float = Field(25.0, ge=-60, le=60, description="Air temperature without a profile of it.")
    gamma_per_c: float = Field(-0.0047, ge=-0.02, le=0, description="Change of power per °C of cell temperature.")
    noct_c: float = Field(45.0, ge=20, le=80, description="Nominal operating cell temperature.")
    losses: float = Field(0.14, ge=0, lt=1, description="Share lost to soiling, wiring, mismatch (profile_unit: w_m2).")
    inverter_efficiency: float = Field(0.96, gt=0, le=1, description="AC over DC power (profile_unit: w_m2).")

    @model_validator(mode="after")
    def _profiles_fit(self) -> Self:
        if self.bus is not None and self.p_rated_kw is None:
            raise ValueError("p_rated_kw is required for a device at a `bus`")
        if self.profile_unit != "pu" and self.profile is None:
            raise ValueError(f"profile_unit: {self.profile_unit} needs a `profile`")
        if self.temperature is not None and self.profile_unit != "w_m2":
            raise ValueError("`temperature` is used with profile_unit: w_m2 only")
        return self


class PV(InverterGroup):
    """All PV plants of a run."""

    kind: ClassVar[str] = "pv"
    summary: ClassVar[str] = "Photovoltaic plant with a smart inverter (IEEE 1547-2018 functions)"
    Config: ClassVar[type[DeviceConfig]] = PVConfig

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._sun = np.array([config.profile_unit == "w_m2" for config in configs], bool)
        kw = np.array([config.profile_unit == "kw" for config in configs], bool)
        self._factor = np.where(kw, 1.0, self.p_rated_kw)
        self._profile = sampler(configs, "profile", site)
        self._air = sampler(configs, "temperature", site)
        self._has_air = np.array([config.temperature is not None for config in configs], bool)
        self._air_c, self._noct_c = column(configs, "air_temperature_c"), column(configs, "noct_c")
        self._gamma = column(configs, "gamma_per_c")
        self._yield = column(configs, "inverter_efficiency") * (1 - column(configs, "losses")) / 1000.0

    def _rated(self, configs: Sequence[Any], site: Site) -> Vector:
        own = own_values(elements(configs, site, self.table), site.network.sgens.p_kw)
        return require(configs, filled(column(configs, "p_rated_kw"), own), "p_rated_kw", above=0.0)

    def _available(self, t_us: int) -> Vector:
        if self._profile is None:
            return self._factor
        values = self._profile(t_us)
        if self._sun.any():
            values = np.where(self._sun, self._from_sun(values, t_us), values)
        return values * self._factor

    def _from_sun(self, g_w_m2: Vector, t_us: int) -> Vector:
        """AC power per rated power at irradiance (n,)."""
        air_c = self._air_c if self._air is None else np.where(self._has_air, self._air(t_us), self._air_c)
        cell_c = air_c + g_w_m2 / 800.0 * (self._noct_c - 20.0)
        return g_w_m2 * self._yield * np.maximum(1.0 + self._gamma * (cell_c - 25.0), 0.0)
