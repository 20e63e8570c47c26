"""The station kind ``sunspec``: an inverter, a battery or a meter as a SunSpec device.

    stations:
      - {name: inverter1, kind: sunspec, unit: 1, device: pv1, writable: true}
      - {name: feeder, kind: sunspec, unit: 203, meter: {grid: true, bus: "0"}}
"""

from __future__ import annotations

from typing import ClassVar

from cosim.errors import GatewayError, Problem, ScenarioError
from cosim.plugins.stations import StationConfig, StationSite
from gateways.sunspec.config import SunSpecConfig
from gateways.sunspec.subject import Tap, device_ratings, device_tap, meter_ratings, meter_tap
from gateways.sunspec.unit import SunSpecUnit

KINDS = ("pv", "wind", "battery")


class SunSpecStation:
    """`cosim.plugins.StationKind`."""

    family: ClassVar[str] = "station"
    kind: ClassVar[str] = "sunspec"
    summary: ClassVar[str] = "SunSpec inverter, battery or meter: models, scale factors, controls with reversion timers"
    Config: ClassVar[type[StationConfig]] = SunSpecConfig

    @classmethod
    def build(cls, config: SunSpecConfig, site: StationSite) -> SunSpecUnit:
        """Of a device or a meter of the run; raises ScenarioError naming what is not there."""
        if config.meter is not None:
            tap, ratings = meter_tap(site, config.meter), meter_ratings(config, config.meter)
        else:
            tap = _device(config, site)
            ratings = device_ratings(config, site, tap)
        try:
            return SunSpecUnit(config, site.gate, site.points, tap, ratings)
        except GatewayError as error:
            raise ScenarioError((Problem(str(error), "models"),)) from None


def _device(config: SunSpecConfig, site: StationSite) -> Tap:
    kind = site.device_kinds.get(str(config.device))
    if kind not in KINDS:
        known = ", ".join(name for name, other in site.device_kinds.items() if other in KINDS)
        found = "is no device of the scenario" if kind is None else f"is a {kind}"
        raise ScenarioError((Problem(f"device '{config.device}' {found}; expected a pv, wind or battery device: "
                                     f"{known or 'there is none'}", "device"),))
    return device_tap(site, str(config.device))


