"""Generators with a region of active and reactive power: what is available, curtailed and cut to the region.

The setpoints (p, q) are brought to the nearest point of the region with p at most what the source offers, in the
Euclidean norm: near its top, active power gives way to reactive power as much as the other way round.  That is how
gym-anm maps set points (Henry and Ernst, "Gym-ANM", Energy and AI 5, 2021, section 3.2); a kind with priorities on a
kVA circle is `pv`.  Without a command a source feeds in all it is offered, at `q_default_kvar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import (
    CAPABILITY,
    HOUR_US,
    Group,
    PlacedConfig,
    Reasons,
    any_dead,
    column,
    energised,
    sampler,
    setpoint,
)
from cosim.devices.inverter import SOURCE_MEASUREMENTS
from cosim.devices.region import Region, Regions
from cosim.plugins import DeviceConfig, Envelope, Injection, Role, Site
from cosim.points import Vector
from cosim.profile_ref import ProfileRef


class PQSourceConfig(PlacedConfig):
    """A generator with a region, and what its source offers over time."""

    kind: Literal["pq_source"] = "pq_source"
    region: Region = Field(description="Corners [p_kw, q_kvar] of the region it can work in, in order around it: "
                                       "convex, with p_kw >= 0, and [0, 0] in it.")
    profile: ProfileRef | None = Field(None, description="What the source offers over time (default: the region's "
                                                         "largest p_kw).")
    profile_unit: Literal["pu", "kw"] = Field("pu", description="What the profile gives: power per the region's "
                                                                "largest p_kw (`pu`), or kW.")
    q_default_kvar: float = Field(0.0, description="Reactive power without a command.")

    @model_validator(mode="after")
    def _generates(self) -> Self:
        if min(p for p, _ in self.region) < 0:
            raise ValueError("region: a source does not take active power; expected every p_kw >= 0 (or pq_store)")
        if self.profile_unit == "kw" and self.profile is None:
            raise ValueError("profile_unit: kw needs a `profile`")
        return self


class PQSource(Group):
    """All sources with a region of a run."""

    kind: ClassVar[str] = "pq_source"
    summary: ClassVar[str] = "Generator with a P-Q region: curtailed and cut to the nearest point of it"
    Config: ClassVar[type[DeviceConfig]] = PQSourceConfig
    table = "sgen"
    measurements = SOURCE_MEASUREMENTS

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._regions = regions = Regions([config.region for config in configs])
        self._q_default = column(configs, "q_default_kvar")
        self._profile = sampler(configs, "profile", site)
        kw = np.array([config.profile_unit == "kw" for config in configs], bool)
        self._factor = np.where(kw, 1.0, regions.p_max_kw)
        self._zero = np.zeros(self.n)
        self.offered_kw: Vector = np.zeros(self.n)
        self.available_kw: Vector = np.zeros(self.n)
        self.e_kwh: Vector = np.zeros(self.n)
        self._declare(
            setpoint("p_set_kw", "kW", Role.P_CAP_KW, (self._zero, regions.p_max_kw), "Most active power fed in"),
            setpoint("q_set_kvar", "kvar", Role.Q_KVAR, (regions.q_min_kvar, regions.q_max_kvar),
                     "Reactive power into the grid; `q_default_kvar` without a command"))

    def envelope(self) -> Envelope:
        """Zero to what is available, and the region's reach in reactive power."""
        regions = self._regions
        return Envelope(self._zero, self.available_kw, regions.q_min_kvar, regions.q_max_kvar, regions.s_max_kva)

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """The nearest possible point to the setpoints."""
        p = np.where(np.isnan(setpoints[0]), self.offered_kw, setpoints[0])
        q = np.where(np.isnan(setpoints[1]), self._q_default, setpoints[1])
        p, q = self._nearest(p, q)
        if any_dead(v_pu):
            p, q = energised(p, v_pu), energised(q, v_pu)
        return Injection(p, q)

    def measure(self, out: Vector) -> None:
        """p, q, available, energy."""
        out[0], out[1], out[2], out[3] = self.p_kw, self.q_kvar, self.available_kw, self.e_kwh

    def _nearest(self, p: Vector, q: Vector) -> tuple[Vector, Vector]:
        """The nearest point with p at most what is available, and at most what was asked."""
        return self._regions.nearest(p, q, self._zero, np.minimum(np.maximum(p, 0.0), self.available_kw))

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        p, q = possible
        # A cap above what is available does no harm, and half a request is seen to when it is applied.
        asked = ~np.isnan(p + q)
        moved = self._regions.holds(np.minimum(p, self.available_kw), q) < asked
        if not moved.any():
            return
        nearest = np.array(self._nearest(np.where(moved, p, 0.0), np.where(moved, q, 0.0)))
        moved = moved & (nearest != possible)
        np.copyto(possible, nearest, where=moved)
        np.copyto(reason, CAPABILITY, where=moved)

    def _elapse(self, dt_us: int, t_us: int) -> None:
        self.e_kwh = self.e_kwh + self.p_kw * (dt_us / HOUR_US)
        self.offered_kw = self._factor if self._profile is None else self._factor * self._profile(t_us)
        self.available_kw = np.minimum(np.maximum(self.offered_kw, 0.0), self._regions.p_max_kw)
