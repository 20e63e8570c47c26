"""Switched capacitor banks: Q = n Q_step V², local voltage control, and a lockout while a step discharges.

A step that was switched off keeps its charge and must not be switched in before it has discharged (IEEE 18: to 50 V
within 5 minutes); the bank as a whole waits, which is what controls of banks with one discharge timer do.
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
    Mask,
    PlacedConfig,
    Reasons,
    column,
    elements,
    energised,
    filled,
    hold_below,
    micros,
    own_values,
    require,
    setpoint,
    whole,
)
from cosim.plugins import DeviceConfig, Envelope, Injection, Limit, Measurement, Role, Site
from cosim.points import PointKind, Vector
from cosim.state import Topology

MIN_TIME = np.uint8(Limit.MIN_TIME.value)
LONG_AGO_US = -(2**62)


class CapacitorConfig(PlacedConfig):
    """A capacitor bank; with `element` it switches a shunt of the network."""

    kind: Literal["capacitor"] = "capacitor"
    q_step_kvar: float | None = Field(None, gt=0, description="Reactive power of a step at 1 pu (default for "
                                                              "`element`: the network's own).")
    steps: int | None = Field(None, ge=1, le=100, description="Steps there are (default: the shunt's own, else 1).")
    steps_at_start: int | None = Field(None, ge=0, le=100, description="Steps switched in at the start (default: "
                                                                       "as the network has it, else 0).")
    control: Literal["none", "voltage"] = Field("none", description="Without a command: stay (`none`), or keep the "
                                                                    "voltage in its band (`voltage`).")
    v_target_pu: float = Field(1.0, ge=0.8, le=1.2, description="Middle of the band (control: voltage).")
    deadband_pu: float = Field(0.04, gt=0, le=0.4, description="Full width of the band; wider than a step's "
                                                               "rise of voltage.")
    delay_s: float = Field(60.0, ge=0.1, le=3600, description="How long the voltage is outside before a step "
                                                              "is switched.")
    lockout_s: float = Field(300.0, ge=0, le=86_400, description="Discharge time: after switching off, no "
                                                                  "switching in.")

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if self.bus is not None and self.q_step_kvar is None:
            raise ValueError("q_step_kvar is required for a device at a `bus`")
        if self.bus is not None and (self.steps_at_start or 0) > (self.steps or 1):
            raise ValueError(f"steps_at_start {self.steps_at_start}: expected 0..{self.steps or 1} (`steps`)")
        return self


class Capacitor(Group):
    """All capacitor banks of a run."""

    kind: ClassVar[str] = "capacitor"
    summary: ClassVar[str] = "Switched capacitor bank with local control and discharge lockout"
    Config: ClassVar[type[DeviceConfig]] = CapacitorConfig
    table = "shunt"
    measurements = (
        Measurement("q_kvar", "kvar", "Reactive power into the grid"),
        Measurement("steps_in", "", "Steps switched in"),
        Measurement("operations", "", "Steps switched since the start", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        self._shunt = elements(configs, site, self.table)
        network = site.network
        q_own, most = own_values(self._shunt, network.shunts.q_kvar), own_values(self._shunt, network.shunts.max_step)
        self._q_step = require(configs, filled(column(configs, "q_step_kvar"), q_own), "q_step_kvar", above=0.0)
        self._most = filled(filled(column(configs, "steps"), most), 1.0)
        own = own_values(self._shunt, network.topology.shunt_step)
        self.steps_in = np.minimum(filled(filled(column(configs, "steps_at_start"), own), 0.0), self._most)
        self.operations: Vector = np.zeros(self.n)
        self._owned = self._shunt >= 0
        self._auto = np.array([config.control == "voltage" for config in configs], bool)
        self._target = column(configs, "v_target_pu")
        delay_us = micros(configs, "delay_s")
        self._timer = BandTimer(column(configs, "deadband_pu") / 2, delay_us, delay_us)
        self._lockout_us = micros(configs, "lockout_s")
        self._off_us = np.full(self.n, LONG_AGO_US, np.int64)
        self.voltage_dependent = not self._owned.all()
        self._declare(setpoint("steps", "", Role.POSITION, (np.zeros(self.n), self._most),
                               "Steps switched in; local control (or no change) without a command"))

    def envelope(self) -> Envelope:
        """Nothing to everything, at rated voltage."""
        zero, q = np.zeros(self.n), np.where(self._owned, 0.0, self._most * self._q_step)
        return Envelope(zero, zero, zero, q, np.full(self.n, np.inf))

    def apply(self, setpoints: Vector, v_pu: Vector) -> Injection:
        """n Q V² of the banks at a bus; shunts of the network are switched by `positions`."""
        q = self._wanted(setpoints) * self._q_step * v_pu * v_pu
        return Injection(np.zeros(self.n), energised(np.where(self._owned, 0.0, q), v_pu))

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """Steps of the network's shunts."""
        shunts, steps = self._shunt[self._owned], self._wanted(setpoints)[self._owned]
        if np.array_equal(topology.shunt_step[shunts], steps):
            return topology
        shunt_step = topology.shunt_step.copy()
        shunt_step[shunts] = steps
        return replace(topology, shunt_step=shunt_step)

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Take over commanded steps, then look at the voltage."""
        super().settle(setpoints, injection, v_pu, t_us)
        self._move_to(self._wanted(setpoints), t_us)
        q = energised(self.steps_in * self._q_step * v_pu * v_pu, v_pu)
        self.q_kvar = np.where(self._owned, q, self.q_kvar)
        controls = self._auto & np.isnan(setpoints[0])
        error = np.where(controls, v_pu - self._target, np.nan)
        # The delay to switch in counts from the end of the lockout.
        can_raise = (self.steps_in < self._most) & ~self._locked(t_us)
        self._timer.observe(error, (can_raise, self.steps_in > 0), t_us)

    def standing(self) -> Vector:
        """The steps switched in."""
        return self.steps_in[None, :]

    def measure(self, out: Vector) -> None:
        """q, steps, operations."""
        out[0], out[1], out[2] = self.q_kvar, self.steps_in, self.operations

    def next_us(self) -> int | None:
        """When a delay ends."""
        return self._timer.next_us()

    def _wanted(self, setpoints: Vector) -> Vector:
        steps = setpoints[0]
        return np.where(np.isnan(steps), self.steps_in, steps)

    def _elapse(self, dt_us: int, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        way = self._timer.take_due(t_us)
        if way is not None:
            self._move_to(self.steps_in + np.where((way > 0) & self._locked(t_us), 0, way), t_us)

    def _locked(self, t_us: int) -> Mask:
        return np.asarray(t_us - self._off_us < self._lockout_us)

    def _move_to(self, steps: Vector, t_us: int) -> None:
        moved = steps != self.steps_in
        if moved.any():
            self.operations = self.operations + np.abs(steps - self.steps_in)
            self._off_us = np.where(steps < self.steps_in, t_us, self._off_us)
            self.steps_in = steps

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        whole(possible[0], reason[0])
        assert self.t_us is not None, "limit comes after advance"
        hold_below(possible[0], reason[0], np.where(self._locked(self.t_us), self.steps_in, np.inf), MIN_TIME)
