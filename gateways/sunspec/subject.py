"""What a station stands for: a device's ratings and points, or a meter's points, as SunSpec needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import numpy as np

from cosim.errors import Problem, ScenarioError
from cosim.plugins.stations import StationSite
from cosim.points import Ids, PointDatabase, Quality, Snapshot
from gateways.sunspec.config import MeterConfig, SunSpecConfig

#: A curve's points: x, y.
CurvePoints = tuple[tuple[float, float], ...]
#: Points that each curve has at the device (`<device>.<function>_x1` …).
CURVE_SIZE: Mapping[str, int] = {"volt_var": 4, "volt_watt": 2, "watt_var": 3}
#: IEEE 1547-2018 category B, tables 8, 10 and 9: what a device shows that says nothing itself.
DEFAULT_CURVES: Mapping[str, CurvePoints] = {
    "volt_var": ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44)),
    "volt_watt": ((1.06, 1.0), (1.10, 0.2)),
    "watt_var": ((0.2, 0.0), (0.5, 0.0), (1.0, -0.44)),
}
HOUR_US = 3_600_000_000
_BAD = int(Quality.INVALID | Quality.RESTART)
_MEASURED = ("p_kw", "q_kvar", "v_pu", "p_available_kw", "e_kwh", "soc", "e_kwh_charged", "e_kwh_discharged")


@dataclass(frozen=True, slots=True)
class Function:
    """An autonomous function as the scenario configures it."""

    on: bool
    points: CurvePoints
    olrt_s: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """The nameplate: kW, kvar, kVA and kWh at the grid side; `p_charge_kw` 0 and `e_kwh` NaN without a store."""

    kind: str
    p_max_kw: float
    p_charge_kw: float
    s_kva: float
    q_max_kvar: float
    e_kwh: float
    soc_min: float
    priority: str
    v_nom_v: float
    hz: float
    functions: Mapping[str, Function]
    factor: float
    """Fixed power factor of the device's own mode, positive injecting; NaN without one."""

    @property
    def stores(self) -> bool:
        """Whether it is a battery."""
        return self.kind == "battery"

    @property
    def a_max(self) -> float:
        """Rated current, sum of three phases, A."""
        return self.s_kva * 1000.0 * 3**0.5 / self.v_nom_v

    @property
    def pf_min(self) -> float:
        """Least power factor that the reactive rating allows at full apparent power."""
        return float(max(1.0 - (self.q_max_kvar / self.s_kva) ** 2, 0.0) ** 0.5)


class Tap:
    """The run's points that a station shows, read as one: `read` gives value by short name, NaN where there is none."""

    def __init__(self, points: PointDatabase, names: Mapping[str, str]) -> None:
        self.ids = {short: points.index[name] for short, name in names.items() if name in points.index}
        self.low = {short: points.points[i].low for short, i in self.ids.items()}
        self.high = {short: points.points[i].high for short, i in self.ids.items()}
        self.controls = tuple(short for short, i in self.ids.items()
                              if points.points[i].kind.writable and self.low[short] < self.high[short])
        """What can be asked for: an output whose range is a single value is there for the sake of its group only."""
        self._names = tuple(self.ids)
        self._energy: EnergyMeter | None = None
        self._where = np.array(tuple(self.ids.values()), np.int64)

    def read(self, snapshot: Snapshot) -> dict[str, float]:
        """Values of one instant; what is not to be trusted is NaN."""
        quality = snapshot.quality[self._where]
        values = snapshot.values[self._where]
        if quality.any():
            values = np.where(quality & _BAD, nan, values)
        reading = dict(zip(self._names, values.tolist(), strict=True))
        return reading if self._energy is None else reading | self._energy.read(snapshot.t_us)

    def count_energy(self, points: PointDatabase) -> None:
        """From now on `read` also gives the energy of `p_kw` (`EnergyMeter`), if there is such a point."""
        if "p_kw" in self.ids:
            self._energy = EnergyMeter(points, self.ids["p_kw"])


class EnergyMeter:
    """Energy of one power point since the station began, by direction; exact, since power is held between publishes.

    It is told of every change, so what it holds between two is what flowed.
    """

    def __init__(self, points: PointDatabase, point: int) -> None:
        self._points, self._point = points, point
        self._p_kw, self._since_us = nan, max(points.t_us, 0)
        self._kwh = [0.0, 0.0]
        points.subscribe(np.array([point], np.int64), self._changed, 0.0)
        self._changed(np.array([point], np.int64), self._since_us)

    def read(self, t_us: int) -> dict[str, float]:
        """kWh up to `t_us` of positive (`e_kwh_in`) and of negative power (`e_kwh_out`)."""
        self._until(t_us)
        return {"e_kwh_in": self._kwh[0], "e_kwh_out": self._kwh[1]}

    def _changed(self, ids: Ids, t_us: int) -> None:
        self._until(t_us)
        self._p_kw = float(self._points.take(ids)[0])

    def _until(self, t_us: int) -> None:
        if t_us <= self._since_us:
            return
        if self._p_kw == self._p_kw:
            self._kwh[self._p_kw < 0] += abs(self._p_kw) * (t_us - self._since_us) / HOUR_US
        self._since_us = t_us


def device_tap(site: StationSite, device: str) -> Tap:
    """Measurements and outputs of a device; everything it can be asked is among them."""
    return Tap(site.points, {short: f"{device}.{short}" for short in (*_MEASURED, *control_points())})


def control_points() -> tuple[str, ...]:
    """Short names of all run points that a SunSpec control can act on; which exist is the device's matter."""
    curves = tuple(f"{name}_{axis}{i + 1}" for name, size in CURVE_SIZE.items() for axis in "xy" for i in range(size))
    return ("p_set_kw", "q_set_kvar", "connect", "pf_set", *(f"{name}_on" for name in CURVE_SIZE), *curves,
            "volt_var_olrt_s", "volt_watt_olrt_s")


def meter_tap(site: StationSite, meter: MeterConfig) -> Tap:
    """Power and voltage of a meter; raises ScenarioError naming what is not in the run."""
    names = {}
    if meter.grid:
        names = {"p_kw": "grid.slack_p_kw", "q_kvar": "grid.slack_q_kvar"}
    for table, element in (("line", meter.line), ("trafo", meter.trafo)):
        if element is not None:
            names = {"p_kw": f"{table}.{element}.p_kw", "q_kvar": f"{table}.{element}.q_kvar"}
    if meter.bus is not None:
        names["v_pu"] = f"bus.{meter.bus}.v_pu"
    unknown = [name for name in names.values() if name not in site.points.index]
    if unknown:
        raise ScenarioError((Problem(f"meter: the run has no point {' and no '.join(unknown)}; expected a `line`, "
                                     f"`trafo` or `bus` of the network, by name", "meter"),))
    tap = Tap(site.points, names)
    tap.count_energy(site.points)
    return tap


def meter_ratings(config: SunSpecConfig, meter: MeterConfig) -> Ratings:
    """Full scale of a meter."""
    full = meter.s_full_kva
    return Ratings("meter", full, full, full, full, nan, 0.0, "", config.v_nom_v, config.hz, {}, nan)


def device_ratings(config: SunSpecConfig, site: StationSite, tap: Tap) -> Ratings:
    """The nameplate of a device, from its options and the range of its setpoints."""
    kind, options = site.device_kinds[str(config.device)], site.device_configs[str(config.device)]
    p_max, q_max = tap.high.get("p_set_kw", nan), tap.high.get("q_set_kvar", nan)
    s_kva = getattr(options, "s_rated_kva", None) or (q_max if kind == "battery" else p_max)
    if not all(isfinite(value) and value > 0 for value in (p_max, s_kva)) or not isfinite(q_max):
        raise ScenarioError((Problem(
            f"device '{config.device}' ({kind}) has no finite rating (p_set_kw up to {p_max:g}, q_set_kvar up to "
            f"{q_max:g}); expected a pv, wind or battery device", "device"),))
    stores = kind == "battery"
    mode = getattr(options, "mode", "none")
    return Ratings(kind, p_max, -tap.low["p_set_kw"] if stores else 0.0, s_kva, q_max,
                   getattr(options, "e_rated_kwh", nan) if stores else nan, getattr(options, "soc_min", 0.0),
                   getattr(options, "priority", "q"), config.v_nom_v, config.hz,
                   {name: _function(name, mode, options) for name in CURVE_SIZE}, _factor(mode, options))


def _function(name: str, mode: str, options: Any) -> Function:
    on = mode.endswith("volt_watt") if name == "volt_watt" else (
        "volt_var" in mode if name == "volt_var" else mode == name)
    olrt_s = getattr(options, "volt_watt_olrt_s" if name == "volt_watt" else "olrt_s", nan)
    return Function(on, getattr(options, name, DEFAULT_CURVES[name]), olrt_s)


def _factor(mode: str, options: Any) -> float:
    if mode != "fixed_power_factor":
        return nan
    return float(options.power_factor) * (1 if options.power_factor_sign == "inject" else -1)


def clipped(value: float, low: float, high: float) -> float:
    """`value` within low…high; NaN stays."""
    return value if value != value else min(max(value, low), high)


def least(values: Sequence[float]) -> float:
    """The least of what is not NaN; inf of nothing."""
    return min((value for value in values if value == value), default=inf)
