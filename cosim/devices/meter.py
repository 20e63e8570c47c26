"""Revenue meters: what some devices exchange with the grid together, and what that costs at a buy and a sell price.

The devices behind a meter are netted first: what one feeds in, another of them uses, and only the rest is bought or
sold.  Between SOLVEs nothing moves, so energy and cost are exact sums of power × price × time.  A price may follow a
profile; it is read at each SOLVE and holds until the next one, as the powers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from cosim.devices.base import HOUR_US, Group, column, sampler
from cosim.errors import PluginError
from cosim.plugins import DeviceConfig, Measurement, Placement, Site
from cosim.points import PointKind, Vector
from cosim.profile_ref import ProfileRef


class MeterConfig(DeviceConfig):
    """A meter with a tariff; prices are in whatever currency the scenario means."""

    kind: Literal["meter"] = "meter"
    of: tuple[str, ...] = Field(min_length=1, max_length=10_000, description=(
        "Devices that are metered together, by name; patterns with *."))
    buy: ProfileRef | None = Field(None, description="Price per kWh bought over time (default: 0); `buy_add_per_kwh` "
                                                     "comes on top.")
    buy_add_per_kwh: float = Field(0.0, description="Constant part of the price of what is bought.")
    sell: ProfileRef | None = Field(None, description="Price per kWh sold over time (default: 0); "
                                                      "`sell_add_per_kwh` comes on top.")
    sell_add_per_kwh: float = Field(0.0, description="Constant part of the price of what is sold.")


class _Tariff:
    """One of the two prices of all meters."""

    def __init__(self, configs: Sequence[Any], side: str, site: Site) -> None:
        self._add = column(configs, f"{side}_add_per_kwh")
        self._has = np.array([getattr(config, side) is not None for config in configs], np.float64)
        self._at: Callable[[int], Vector] | None = sampler(configs, side, site)

    def at(self, t_us: int) -> Vector:
        """Price per kWh (n,)."""
        return self._add if self._at is None else self._add + self._has * self._at(t_us)


class Meter(Group):
    """All meters of a run."""

    kind: ClassVar[str] = "meter"
    summary: ClassVar[str] = "Revenue meter over some devices, with a buy and a sell price"
    Config: ClassVar[type[DeviceConfig]] = MeterConfig
    restricts = False
    measurements = (
        Measurement("p_kw", "kW", "What its devices feed into the grid together (negative: they buy)"),
        Measurement("price_buy", "1/kWh", "Price of what is bought now"),
        Measurement("price_sell", "1/kWh", "Price of what is sold now"),
        Measurement("cost_per_h", "1/h", "What the exchange costs per hour now (negative: earns)"),
        Measurement("cost", "", "Paid less earned since the start"),
        Measurement("e_kwh_import", "kWh", "Energy bought since the start", PointKind.COUNTER),
        Measurement("e_kwh_export", "kWh", "Energy sold since the start", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._of = tuple(config.of for config in configs)
        self._buys, self._sells = _Tariff(configs, "buy", site), _Tariff(configs, "sell", site)
        self.price_buy, self.price_sell = self._buys.at(0), self._sells.at(0)
        self._behind = np.zeros((self.n, 0))
        self.net_kw, self.cost, self.import_kwh, self.export_kwh = np.zeros((4, self.n))
        self._declare()

    def watch(self, devices: Sequence[str]) -> None:
        """Told once which devices (n_device,) there are; raises PluginError for a pattern that matches none."""
        behind = np.zeros((self.n, len(devices)))
        for i, patterns in enumerate(self._of):
            for pattern in patterns:
                found = [k for k, name in enumerate(devices) if fnmatchcase(name, pattern)]
                if not found:
                    raise PluginError(f"device '{self.names[i]}': `of` has '{pattern}', which matches no device; "
                                      f"known: {', '.join(list(devices)[:20])}")
                behind[i, found] = 1.0
        self._behind = behind

    def read(self, p_kw: Vector) -> None:
        """What every device (n_device,) injects from this SOLVE on."""
        self.net_kw = self._behind @ p_kw

    @property
    def cost_per_h(self) -> Vector:
        """What the exchange costs per hour at the powers and prices of now, (n,)."""
        bought, sold = np.maximum(-self.net_kw, 0.0), np.maximum(self.net_kw, 0.0)
        return bought * self.price_buy - sold * self.price_sell

    def measure(self, out: Vector) -> None:
        """Net power, prices, cost and energies."""
        out[0], out[1], out[2] = self.net_kw, self.price_buy, self.price_sell
        out[3], out[4], out[5], out[6] = self.cost_per_h, self.cost, self.import_kwh, self.export_kwh

    def _elapse(self, dt_us: int, t_us: int) -> None:
        hours = dt_us / HOUR_US
        self.cost = self.cost + self.cost_per_h * hours
        self.import_kwh = self.import_kwh + np.maximum(-self.net_kw, 0.0) * hours
        self.export_kwh = self.export_kwh + np.maximum(self.net_kw, 0.0) * hours
        self.price_buy, self.price_sell = self._buys.at(t_us), self._sells.at(t_us)

    def _place(self, configs: Sequence[Any], site: Site) -> Placement:  # noqa: ARG002 - the interface has it
        nowhere = np.full(self.n, -1, np.int64)
        return Placement(nowhere, nowhere)
