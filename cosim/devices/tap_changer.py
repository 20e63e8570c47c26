"""On-load tap changers: keep a bus in a voltage band, one step at a time, after a delay.

The controller looks at the monitored bus at each SOLVE; `cosim.devices.band` has its state table.  Positions are in
the network's own counting; which way raises the voltage is read from the transformer's ratio.  The monitored bus is
taken to lie on the low-voltage side unless it is the high-voltage bus itself or `reverse` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.band import BandTimer
from cosim.devices.base import (
    Group,
    Ids,
    Mask,
    Reasons,
    at_bus,
    column,
    filled,
    find_element,
    hold_above,
    hold_below,
    micros,
    setpoint,
    switch,
    whole,
)
from cosim.errors import PluginError
from cosim.plugins import DeviceConfig, Injection, Measurement, Placement, Role, Site
from cosim.points import PointKind, Vector
from cosim.state import Topology


class TapChangerConfig(DeviceConfig):
    """The tap changer of a transformer of the network, and its voltage controller."""

    kind: Literal["tap_changer"] = "tap_changer"
    trafo: str | int = Field(description="Transformer of the network, by name or index.")
    bus: str | int | None = Field(None, description="Monitored bus (default: the transformer's low-voltage bus).")
    reverse: bool | None = Field(None, description="Whether the monitored bus is on the high-voltage side (default: "
                                                   "only if it is the transformer's high-voltage bus).")
    auto: bool = Field(True, description="Whether it controls the voltage without a command.")
    v_target_pu: float = Field(1.0, ge=0.8, le=1.2, description="Middle of the band.")
    deadband_pu: float = Field(0.0167, gt=0, le=0.2, description="Full width of the band (2 V on 120 V: 0.0167); wider "
                                                                 "than a step.")
    delay_s: float = Field(30.0, ge=0.1, le=3600, description="How long the voltage is outside before the first step.")
    delay_next_s: float = Field(5.0, ge=0.1, le=3600, description="Time to each further step in the same direction.")
    tap_min: int | None = Field(None, description="Lowest position (default: the network's own).")
    tap_max: int | None = Field(None, description="Highest position (default: the network's own).")
    tap_at_start: int | None = Field(None, description="Position at the start (default: as the network has it).")

    @model_validator(mode="after")
    def _positions_fit(self) -> Self:
        if self.tap_min is not None and self.tap_max is not None and self.tap_min >= self.tap_max:
            raise ValueError(f"expected tap_min < tap_max, found {self.tap_min} and {self.tap_max}")
        return self


class TapChanger(Group):
    """All tap changers of a run."""

    kind: ClassVar[str] = "tap_changer"
    summary: ClassVar[str] = "On-load tap changer with deadband and delays"
    Config: ClassVar[type[DeviceConfig]] = TapChangerConfig
    measurements = (
        Measurement("tap_position", "", "Tap position"),
        Measurement("v_pu", "pu", "Voltage of the monitored bus"),
        Measurement("operations", "", "Steps since the start", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        self._trafo = _trafos(configs, site)
        super().__init__(configs, site)
        branches, topology = site.network.branches, site.network.topology
        self._low_tap = filled(column(configs, "tap_min"), branches.tap_min[self._trafo])
        self._high_tap = filled(column(configs, "tap_max"), branches.tap_max[self._trafo])
        self.tap = filled(column(configs, "tap_at_start"), topology.tap[self._trafo])
        self._per_way = self._raising(configs, site)
        self._check(configs)
        self.operations: Vector = np.zeros(self.n)
        self._auto_default: Vector = column(configs, "auto")
        self._target = column(configs, "v_target_pu")
        self._timer = BandTimer(column(configs, "deadband_pu") / 2, micros(configs, "delay_s"),
                                micros(configs, "delay_next_s"))
        ones = np.ones(self.n)
        self._declare(
            setpoint("tap", "", Role.POSITION, (self._low_tap, self._high_tap), "Position, followed while `auto` is 0"),
            switch("auto", self.n, Role.OTHER, "Control the voltage (1) or follow `tap` (0)"),
            setpoint("v_set_pu", "pu", Role.V_PU, (0.8 * ones, 1.2 * ones), "Middle of the band"))

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """The transformers' taps."""
        tap = self._wanted(setpoints)
        if np.array_equal(topology.tap[self._trafo], tap):
            return topology
        taps = topology.tap.copy()
        taps[self._trafo] = tap
        return replace(topology, tap=taps)

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Take over a commanded position, then look at the voltage."""
        super().settle(setpoints, injection, v_pu, t_us)
        self._move_to(self._wanted(setpoints))
        v_set = setpoints[2]
        target = np.where(np.isnan(v_set), self._target, v_set)
        error = np.where(self._auto(setpoints), v_pu - target, np.nan)
        up, down = self.tap < self._high_tap, self.tap > self._low_tap
        rises = self._per_way > 0
        self._timer.observe(error, (np.where(rises, up, down), np.where(rises, down, up)), t_us)

    def standing(self) -> Vector:
        """The positions; nothing of the other setpoints."""
        nothing = np.full(self.n, np.nan)
        return np.array([self.tap, nothing, nothing])

    def measure(self, out: Vector) -> None:
        """Position, voltage, operations."""
        out[0], out[1], out[2] = self.tap, self.v_pu, self.operations

    def next_us(self) -> int | None:
        """When a delay ends."""
        return self._timer.next_us()

    def _auto(self, setpoints: Vector) -> Mask:
        return np.asarray(filled(setpoints[1], self._auto_default) >= 0.5)

    def _wanted(self, setpoints: Vector) -> Vector:
        tap = setpoints[0]
        return np.where(np.isnan(tap) | self._auto(setpoints), self.tap, tap)

    def _elapse(self, dt_us: int, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        way = self._timer.take_due(t_us)
        if way is not None:
            self._move_to(np.minimum(np.maximum(self.tap + way * self._per_way, self._low_tap), self._high_tap))

    def _move_to(self, tap: Vector) -> None:
        if not np.array_equal(tap, self.tap):
            self.operations = self.operations + np.abs(tap - self.tap)
            self.tap = tap

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        whole(possible[0], reason[0])
        whole(possible[1], reason[1])
        # While it controls by itself, the only position it can be asked for is the one it has.
        auto = self._auto(possible)
        hold_below(possible[0], reason[0], np.where(auto, self.tap, np.inf))
        hold_above(possible[0], reason[0], np.where(auto, self.tap, -np.inf))

    def _place(self, configs: Sequence[Any], site: Site) -> Placement:
        low_side = site.network.branches.to_bus[len(site.network.line_names) + self._trafo]
        bus = [own if config.bus is None else at_bus(config.name, config.bus, site)
               for config, own in zip(configs, low_side, strict=True)]
        claims = tuple((i, "tap", trafo) for i, trafo in enumerate(self._trafo.tolist()))
        return Placement(np.array(bus, np.int64), np.full(self.n, -1, np.int64), claims=claims)

    def _raising(self, configs: Sequence[Any], site: Site) -> Vector:
        """+1 (n,) where a higher position raises the monitored voltage, -1 where it lowers it."""
        branches, tap = site.network.branches, site.network.topology.tap
        n_line = len(site.network.line_names)
        more = np.abs(branches.taps.at(tap + 1).ratio) - np.abs(branches.taps.at(tap).ratio)
        slope = np.nan_to_num(more[self._trafo])
        for config, change in zip(configs, slope, strict=True):
            if change == 0:
                raise PluginError(f"device '{config.name}': transformer '{config.trafo}' has no tap changer that "
                                  "changes the ratio")
        at_high = self.placement.bus == branches.from_bus[n_line + self._trafo]
        given = column(configs, "reverse")
        # The ratio is high side over low side: raising it lowers the low side.
        return np.asarray(np.where(filled(given, at_high) > 0.5, 1.0, -1.0) * np.sign(slope))

    def _check(self, configs: Sequence[Any]) -> None:
        for config, low, high, tap in zip(configs, self._low_tap, self._high_tap, self.tap, strict=True):
            if not low <= tap <= high:
                raise PluginError(f"device '{config.name}': position {tap:g} at the start; expected {low:g}..{high:g}")


def _trafos(configs: Sequence[Any], site: Site) -> Ids:
    found: dict[int, str] = {}
    for config in configs:
        trafo = find_element(config.name, "trafo", config.trafo, site)
        if trafo in found:
            raise PluginError(f"device '{config.name}': transformer '{config.trafo}' has the tap changer "
                              f"'{found[trafo]}' already")
        found[trafo] = config.name
    return np.array(list(found), np.int64)
