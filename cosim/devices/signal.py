"""Signals: a column of a profile as a point.  Prices, forecasts, tariffs, weather: whatever an agent reads.

A signal stands nowhere in the network and injects nothing.  With `ahead_s` it shows what will be: an agent that decides
at t reads what was published at the scan before, so the value that holds from t on is that of one scan ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cosim.devices.base import SECOND_US, Group
from cosim.errors import PluginError, ProfileError
from cosim.plugins import DeviceConfig, Measurement, Placement, Site
from cosim.points import Vector
from cosim.profile_ref import ProfileRef


class SignalConfig(DeviceConfig):
    """A profile that is published and moves nothing."""

    kind: Literal["signal"] = "signal"
    profile: ProfileRef = Field(description="What it shows.")
    ahead_s: float = Field(0.0, ge=0, le=31_622_400, description="Shows the profile's value of so much later (a "
                                                                 "forecast without error).")


class Signal(Group):
    """All signals of a run."""

    kind: ClassVar[str] = "signal"
    summary: ClassVar[str] = "Profile as a point: a price, a forecast, the weather"
    Config: ClassVar[type[DeviceConfig]] = SignalConfig
    restricts = False
    measurements = (Measurement("value", "", "The profile's value, in the profile's unit"),)

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._at = [site.profile([config.profile]) for config in configs]
        self._ahead_us = [round(config.ahead_s * SECOND_US) for config in configs]
        self.value: Vector = np.full(self.n, np.nan)
        for config, at, ahead_us in zip(configs, self._at, self._ahead_us, strict=True):
            try:
                at(site.duration_us + ahead_us)
            except ProfileError as error:
                raise PluginError(f"device '{config.name}': `ahead_s` {config.ahead_s:g} at the run's end reads beyond "
                                  f"the profile: {error}; shorten it or end the run earlier") from None
        self._declare()

    def measure(self, out: Vector) -> None:
        """The value."""
        out[0] = self.value

    def _elapse(self, dt_us: int, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        self.value = np.array([at(t_us + ahead_us)[0] for at, ahead_us in zip(self._at, self._ahead_us, strict=True)])

    def _place(self, configs: Sequence[Any], site: Site) -> Placement:  # noqa: ARG002 - the interface has it
        nowhere = np.full(self.n, -1, np.int64)
        return Placement(nowhere, nowhere)
