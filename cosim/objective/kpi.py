"""Key figures of a run.

Between SOLVEs nothing moves, so every figure is an exact sum of value x time over the held intervals: no sampling
error, whatever the recording period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from cosim.points import Vector
from cosim.state import GridState, totals


@dataclass(frozen=True, slots=True)
class KpiSummary:
    """Figures over a whole run.  Minutes are simulation time; energies are kWh, into the grid positive."""

    duration_s: float
    violation_bus_minutes: float
    undervoltage_minutes: dict[str, float]
    overvoltage_minutes: dict[str, float]
    overload_minutes: dict[str, float]
    v_min_pu: float
    v_min_bus: str
    v_max_pu: float
    v_max_bus: str
    losses_kwh: float
    import_kwh: float
    export_kwh: float
    unserved_kwh: float
    dead_minutes: float
    """Time without a converged power flow."""
    cost: float
    device_kwh: dict[str, float]

    def to_dict(self) -> dict[str, object]:
        """Plain data for JSON: None for what there is none of (a lowest voltage, if no power flow ever converged)."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: None if isinstance(value, float) and not isfinite(value) else value
                for name, value in values.items()}


#: States gathered before they are worked through: many at a time cost a tenth of one by one.
_AT_ONCE = 256


class KpiAccumulator:
    """Accumulates the figures; `hold` is called with the state that held for `dt_s`."""

    def __init__(self, bus_names: Sequence[str], branch_names: Sequence[str], device_names: Sequence[str],
                 limits: tuple[float, float, float], cost_per_kwh: float) -> None:
        self._bus_names, self._branch_names, self._device_names = bus_names, branch_names, device_names
        self._v_min, self._v_max, self._loading_max = limits
        self._cost_per_kwh = cost_per_kwh
        n_bus, n_branch = len(bus_names), len(branch_names)
        self._under_s, self._over_s, self._overload_s = np.zeros(n_bus), np.zeros(n_bus), np.zeros(n_branch)
        self._lowest, self._highest = np.full(n_bus, np.inf), np.full(n_bus, -np.inf)
        self._device_kws = np.zeros(len(device_names))
        self._losses_kws = self._import_kws = self._export_kws = self._unserved_kws = 0.0
        self._dead_s = self._total_s = 0.0
        self._out_of_band_s = self._violating_s = 0.0
        self._held: list[tuple[GridState, Vector, float]] = []

    def hold(self, state: GridState, p_kw: Vector, dt_s: float) -> None:
        """`state` and the devices' `p_kw` (n_device,) held for `dt_s` seconds; both must not change afterwards."""
        self._held.append((state, p_kw, dt_s))
        if len(self._held) >= _AT_ONCE:
            self._work_through()

    def _work_through(self) -> None:
        if not self._held:
            return
        dt_s = np.array([entry[2] for entry in self._held])
        self._total_s += float(dt_s.sum())
        self._device_kws += dt_s @ np.array([entry[1] for entry in self._held])
        live = [(state, dt) for state, _, dt in self._held if state.converged]
        self._held = []
        live_s = np.array([dt for _, dt in live])
        self._dead_s += float(dt_s.sum() - live_s.sum())
        if live:
            self._add([state for state, _ in live], live_s)

    def _add(self, states: Sequence[GridState], dt_s: Vector) -> None:
        """Converged states (k) that held for dt_s (k,)."""
        v = np.array([state.v_pu for state in states])
        # NaN (de-energised) compares false: it is counted as unserved, not as undervoltage.
        under, over = v < self._v_min, v > self._v_max
        self._under_s += dt_s @ under
        self._over_s += dt_s @ over
        violating = np.asarray((under | over).any(axis=1))
        self._out_of_band_s += float(dt_s @ violating)
        np.fmin(self._lowest, np.fmin.reduce(v, axis=0), out=self._lowest)
        np.fmax(self._highest, np.fmax.reduce(v, axis=0), out=self._highest)
        for part, figures in totals(states):
            part_s = dt_s[part]
            if figures.loading is not None:
                overloaded = figures.loading > self._loading_max
                self._overload_s += part_s @ overloaded
                violating[part] |= overloaded.any(axis=1)
            self._losses_kws += float(part_s @ figures.losses_kw)
            self._import_kws += float(part_s @ np.maximum(figures.slack_p_kw, 0.0))
            self._export_kws -= float(part_s @ np.minimum(figures.slack_p_kw, 0.0))
        self._violating_s += float(dt_s @ violating)
        self._unserved_kws += float(dt_s @ np.array([state.unserved_kw for state in states]))

    def outside_s(self) -> tuple[float, float]:
        """How long some voltage, and how long some voltage or loading, has been outside its limits, s.

        Time without a converged power flow counts; a de-energised bus is outside of nothing.
        """
        self._work_through()
        return self._out_of_band_s + self._dead_s, self._violating_s + self._dead_s

    def summary(self) -> KpiSummary:
        """The figures so far."""
        self._work_through()
        low, high = int(np.argmin(self._lowest)), int(np.argmax(self._highest))
        return KpiSummary(
            duration_s=self._total_s,
            violation_bus_minutes=float((self._under_s + self._over_s).sum() / 60),
            undervoltage_minutes=_minutes(self._bus_names, self._under_s),
            overvoltage_minutes=_minutes(self._bus_names, self._over_s),
            overload_minutes=_minutes(self._branch_names, self._overload_s),
            v_min_pu=float(self._lowest[low]), v_min_bus=self._bus_names[low],
            v_max_pu=float(self._highest[high]), v_max_bus=self._bus_names[high],
            losses_kwh=self._losses_kws / 3600, import_kwh=self._import_kws / 3600,
            export_kwh=self._export_kws / 3600, unserved_kwh=self._unserved_kws / 3600,
            dead_minutes=self._dead_s / 60,
            cost=self._cost_per_kwh * (self._import_kws - self._export_kws) / 3600,
            device_kwh=dict(zip(self._device_names, (self._device_kws / 3600).tolist(), strict=True)))


def _minutes(names: Sequence[str], seconds: Vector) -> dict[str, float]:
    return {names[i]: float(seconds[i] / 60) for i in np.flatnonzero(seconds).tolist()}
