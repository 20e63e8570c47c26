"""PUBLISH: the state of everything into the point vector, through the sensors, into the database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.agents import AgentBoard
from cosim.channel import Channel
from cosim.commands import CommandInbox
from cosim.plugins import DeviceGroup
from cosim.points import PointDatabase, Quality
from cosim.shield import ShieldDecision
from cosim.simulation.layout import Layout, at_bus, measured_shape
from cosim.simulation.sensors import Sensors
from cosim.simulation.trial import SolvedTrial
from cosim.state import GridState, Topology


class Publisher:
    """Writes blocks of one point vector; the only one who calls `PointDatabase.publish`."""

    def __init__(self, points: PointDatabase, layout: Layout, groups: Sequence[DeviceGroup], board: AgentBoard,
                 channels: Sequence[Channel], sensors: Sensors, inbox: CommandInbox) -> None:
        self._points, self._blocks = points, layout.blocks
        self._values = np.full(len(points), np.nan)
        self._quality = np.zeros(len(points), np.uint8)
        self._grid_values = self._values[:layout.blocks["tap"].start]
        self._measured = [(group, self._values[layout.blocks[f"measured.{i}"]].reshape(measured_shape(group)))
                          for i, group in enumerate(groups)]
        self._device_bus = np.array([bus for _, bus in at_bus(groups)], np.int64)
        self._board, self._sensors, self._inbox = board, sensors, inbox
        self._channels = [(channel, self._values[layout.blocks[f"channel.{channel.name}"]]) for channel in channels]
        self._age, self._late = self._values[layout.blocks["age_s"]], self._values[layout.blocks["late"]]
        self._targets = self._values[layout.blocks["targets"]]
        self._topology: Topology | None = None
        self._was_whole = True

    def settled(self, decision: ShieldDecision, trial: SolvedTrial) -> None:
        """What a SOLVE has committed."""
        state, blocks, values = trial.state, self._blocks, self._values
        values[blocks["scalars"]] = (state.slack_p_kw, state.slack_q_kvar, state.losses_kw, state.unserved_kw,
                                     state.iterations)
        values[blocks["converged"]] = float(state.converged)
        for name in ("v_pu", "angle_deg", "loading", "p_from_kw", "q_from_kvar", "gen_p_kw", "gen_q_kvar"):
            values[blocks[name]] = getattr(state, name)
        values[blocks["device_v_pu"]] = state.v_pu[self._device_bus]
        if trial.dispatch.topology is not self._topology:
            self._topology = trial.dispatch.topology
            for name in ("line_closed", "trafo_closed", "gen_closed", "switch_closed", "tap", "shunt_step"):
                values[blocks[name]] = getattr(self._topology, name)
        values[blocks["outputs"]] = decision.applied
        reasons = decision.reason[decision.reason != 0]
        values[blocks["shield_active"]] = float(decision.active)
        values[blocks["shield"]] = (float(reasons[0]) if reasons.size else 0.0, decision.distance_kva, 0.0)
        self._mark(state)

    def publish(self, t_us: int) -> None:
        """Measure what changes by itself, let the sensors do their worst, and publish."""
        for group, block in self._measured:
            group.measure(block)
        for channel, block in self._channels:
            channel.measure(block)
        if self._age.size:
            self._age[:] = self._board.age_s(t_us)
            self._late[:] = self._board.late
        if self._targets.size:
            self._targets[:] = self._inbox.in_force.values[-self._targets.size:]
        if not self._sensors.active:
            self._points.publish(self._values, self._quality, t_us)
            return
        values, quality = self._values.copy(), self._quality.copy()
        self._sensors.measure(values, quality, t_us)
        self._points.publish(values, quality, t_us)

    def _mark(self, state: GridState) -> None:
        """Quality follows the values: what the grid could not give is INVALID.  Skipped while all is well."""
        whole = state.converged and not np.isnan(state.v_pu).any()
        if whole and self._was_whole:
            return
        self._was_whole = whole
        quality = self._quality
        for name in ("v_pu", "angle_deg"):
            part = self._blocks[name]
            quality[part] = np.where(np.isnan(self._values[part]), Quality.INVALID, Quality.GOOD)
        for name in ("scalars", "loading", "p_from_kw", "q_from_kvar", "gen_p_kw", "gen_q_kvar"):
            quality[self._blocks[name]] = Quality.GOOD if state.converged else Quality.INVALID
