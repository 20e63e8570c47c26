"""Wind turbines: a power curve over the wind speed at hub height, corrected for air density.

P = curve(v (rho/rho0)^(1/3)), rho0 = 1.225 kg/m³ (IEC 61400-12-1:2005, 8.1.1: normalisation for
pitch-controlled turbines).  Without points the curve is the usual cubic one between cut-in and rated speed,
P/P_rated = (v³ - v_in³)/(v_r³ - v_in³) (e.g. Manwell, McGowan and Rogers, Wind Energy Explained, 2nd ed.), flat to
cut-out, zero beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import column, elements, filled, own_values, require, sampler
from cosim.devices.curves import Curve, Curves, flat
from cosim.devices.inverter import InverterConfig, InverterGroup
from cosim.plugins import DeviceConfig, Site
from cosim.points import Vector
from cosim.profile_ref import ProfileRef

RHO_0 = 1.225


class WindConfig(InverterConfig):
    """A wind turbine or farm."""

    kind: Literal["wind"] = "wind"
    p_rated_kw: float | None = Field(None, gt=0, description="Rated power (default for `element`: the network's own).")
    profile: ProfileRef | None = Field(None, description="Wind speed or power over time (default: rated power).")
    profile_unit: Literal["pu", "kw", "m_s"] = Field(
        "m_s", description="What the profile gives: wind speed at hub height (`m_s`), power per p_rated_kw (`pu`) or "
                           "power (`kw`).")
    power_curve: Curve | None = Field(None, description="[m/s, power per p_rated_kw] points; zero before the first and "
                                                        "beyond the last (cut-out).")
    cut_in_m_s: float = Field(3.0, ge=0, description="Wind speed at which feeding in begins (without power_curve).")
    rated_m_s: float = Field(12.0, gt=0, description="Wind speed at which rated power is reached.")
    cut_out_m_s: float = Field(25.0, gt=0, description="Wind speed beyond which the turbine stops.")
    air_density_kg_m3: float = Field(RHO_0, gt=0.5, lt=2, description="Air density at the site.")

    @model_validator(mode="after")
    def _speeds_rise(self) -> Self:
        if self.bus is not None and self.p_rated_kw is None:
            raise ValueError("p_rated_kw is required for a device at a `bus`")
        if not self.cut_in_m_s < self.rated_m_s < self.cut_out_m_s:
            raise ValueError(f"expected cut_in_m_s < rated_m_s < cut_out_m_s, found {self.cut_in_m_s}, "
                             f"{self.rated_m_s}, {self.cut_out_m_s}")
        if self.power_curve is not None and any(not 0 <= p <= 1 for _, p in self.power_curve):
            raise ValueError("power_curve: power per p_rated_kw must lie within 0..1")
        if self.profile_unit == "kw" and self.profile is None:
            raise ValueError("profile_unit: kw needs a `profile`")
        return self


class Wind(InverterGroup):
    """All wind turbines of a run."""

    kind: ClassVar[str] = "wind"
    summary: ClassVar[str] = "Wind turbine with a power curve"
    Config: ClassVar[type[DeviceConfig]] = WindConfig

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        units = [config.profile_unit if config.profile is not None else "pu" for config in configs]
        self._speed = np.array([unit == "m_s" for unit in units], bool)
        self._factor = np.where(np.array([unit == "kw" for unit in units], bool), 1.0, self.p_rated_kw)
        self._profile = sampler(configs, "profile", site)
        self._density = np.cbrt(column(configs, "air_density_kg_m3") / RHO_0)
        self._power = PowerCurves(configs)

    def _rated(self, configs: Sequence[Any], site: Site) -> Vector:
        own = own_values(elements(configs, site, self.table), site.network.sgens.p_kw)
        return require(configs, filled(column(configs, "p_rated_kw"), own), "p_rated_kw", above=0.0)

    def _available(self, t_us: int) -> Vector:
        if self._profile is None:
            return self._factor
        values = self._profile(t_us)
        if self._speed.any():
            values = np.where(self._speed, self._power.at(values * self._density), values)
        return values * self._factor


class PowerCurves:
    """Power per rated power over wind speed, for all turbines: their points, or the cubic curve."""

    def __init__(self, configs: Sequence[WindConfig]) -> None:
        given = [config.power_curve for config in configs]
        self._curves = Curves([points if points is not None else flat(0.0) for points in given])
        self._cubic = np.array([points is None for points in given], bool)
        self._in = np.array([c.cut_in_m_s if points is None else points[0][0]
                             for c, points in zip(configs, given, strict=True)], np.float64)
        self._out = np.array([c.cut_out_m_s if points is None else points[-1][0]
                              for c, points in zip(configs, given, strict=True)], np.float64)
        self._in3 = column(configs, "cut_in_m_s") ** 3
        self._span3 = column(configs, "rated_m_s") ** 3 - self._in3

    def at(self, v_m_s: Vector) -> Vector:
        """Power (n,) per rated power."""
        p = np.minimum((v_m_s**3 - self._in3) / self._span3, 1.0)
        if not self._cubic.all():
            p = np.where(self._cubic, p, self._curves.at(v_m_s))
        return np.where((v_m_s < self._in) | (v_m_s > self._out), 0.0, p)
