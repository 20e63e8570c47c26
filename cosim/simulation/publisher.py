"""PUBLISH: the state of everything into the point vector, through the sensors, into the database.

Blocks that somebody reads after every publish (an agent, the recorder, a subscriber: `PointDatabase.require`) are
written at once.  The others are written when the database is first asked for them: a run that observes ten voltages
does not work out two hundred branch flows a second.  Either way a reader finds the values of the last publish (the
counters of channels and agents that nobody requires: those of the moment of asking).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np

from cosim.agents import AgentBoard
from cosim.channel import Channel
from cosim.commands import CommandInbox
from cosim.plugins import DeviceGroup, RowGroup
from cosim.points import PointDatabase, Quality, Vector
from cosim.shield import ShieldDecision
from cosim.simulation.layout import SLACK_SCALARS, Layout, at_bus, measured_shape
from cosim.simulation.sensors import Sensors
from cosim.simulation.trial import SolvedTrial
from cosim.state import GridState, Topology

#: Fields of `Flows` and of `Topology` that are a block each, under their own names.
_FLOW_BLOCKS = ("angle_deg", "loading", "p_from_kw", "q_from_kvar", "gen_p_kw", "gen_q_kvar")
_TOPOLOGY_BLOCKS = ("line_closed", "trafo_closed", "gen_closed", "switch_closed", "tap", "shunt_step")

#: Measurements of devices that say what flows.
_FLOWS = (".p_kw", ".q_kvar")

#: Writes one block of a point vector (n_point,).
_Write = Callable[[Vector], None]


class Publisher:
    """Writes blocks of one point vector; the only one who calls `PointDatabase.publish`."""

    def __init__(self, points: PointDatabase, layout: Layout, groups: Sequence[DeviceGroup], *, board: AgentBoard,
                 channels: Sequence[Channel], sensors: Sensors, inbox: CommandInbox) -> None:
        self._points, self._blocks, self._groups = points, layout.blocks, tuple(groups)
        self._values = np.full(len(points), np.nan)
        self._quality = np.zeros(len(points), np.uint8)
        measured = [i for g in range(len(groups)) for i in range(len(points))[layout.blocks[f"measured.{g}"]]]
        self._flow_ids = np.array([i for i in measured if points.names[i].endswith(_FLOWS)], np.int64)
        self._were_flows_known = True
        self._writers = self._all_writers(groups) | {
            f"channel.{channel.name}": self._channel_writer(channel) for channel in channels}
        self._now: tuple[_Write, ...] = ()
        self._later: tuple[_Write, ...] = ()
        self._device_bus = np.array([bus for _, bus in at_bus(groups)], np.int64)
        self._board, self._sensors, self._inbox = board, sensors, inbox
        self._decision: ShieldDecision
        self._trial: SolvedTrial
        self._was_whole = True
        self._t_us = 0

    def settled(self, decision: ShieldDecision, trial: SolvedTrial) -> None:
        """What a SOLVE has committed."""
        self._decision, self._trial = decision, trial

    def publish(self, t_us: int) -> None:
        """Write what is required, let the sensors do their worst, and publish."""
        self._t_us = t_us
        if self._points.requires_changed:
            self._split()
        values = self._values
        for write in self._now:
            write(values)
        self._mark(self._trial.state)
        if not self._sensors.active:
            self._points.publish(values, self._quality, t_us, self._complete if self._later else None)
            return
        self._complete(values)
        seen, quality = values.copy(), self._quality.copy()
        self._sensors.measure(seen, quality, t_us)
        self._points.publish(seen, quality, t_us)

    @property
    def truth(self) -> Vector:
        """Values (n_point,) of the last publish as they are, whatever sensors show: right where points are required."""
        if self._points.requires_changed:  # since that publish: they were left for later then
            self._complete(self._values)
        return self._values

    # -- blocks ----------------------------------------------------------------------------------------------------

    def _split(self) -> None:
        """Into blocks written at every publish, and those written when asked for."""
        self._points.requires_changed = False
        required = {name for name in self._writers if self._points.required(self._blocks[name])}
        partly = self._partly()
        self._now = tuple(partly.get(name, write) for name, write in self._writers.items() if name in required)
        self._later = tuple(write for name, write in self._writers.items() if name not in required or name in partly)

    def _complete(self, out: Vector) -> None:
        for write in self._later:
            write(out)

    def _all_writers(self, groups: Sequence[DeviceGroup]) -> dict[str, _Write]:
        """A writer per block, by its name."""
        writers = {"v_pu": self._write_v} | {name: self._flow_writer(name) for name in _FLOW_BLOCKS}
        writers |= {name: self._topology_writer(name) for name in _TOPOLOGY_BLOCKS}
        writers |= {f"measured.{i}": self._measure_writer(f"measured.{i}", group) for i, group in enumerate(groups)}
        return writers | {"scalars": self._write_scalars, "converged": self._write_converged,
                          "device_v_pu": self._write_device_v, "outputs": self._write_outputs,
                          "targets": self._write_targets, "age_s": self._write_age, "late": self._write_late,
                          "shield_active": self._write_active, "shield": self._write_shield,
                          "shield_orders": self._write_orders}

    def _write_v(self, out: Vector) -> None:
        out[self._blocks["v_pu"]] = self._trial.state.v_pu

    def _flow_writer(self, name: str) -> _Write:
        part = self._blocks[name]

        def write(out: Vector) -> None:
            out[part] = getattr(self._trial.state.flows, name)

        return write

    def _topology_writer(self, name: str) -> _Write:
        part = self._blocks[name]
        last: Topology | None = None

        def write(out: Vector) -> None:
            nonlocal last
            topology = self._trial.dispatch.topology
            # Our own vector keeps what it was given; positions seldom change.
            if topology is not last or out is not self._values:
                out[part] = getattr(topology, name)
            if out is self._values:
                last = topology

        return write

    def _measure_writer(self, name: str, group: DeviceGroup, rows: Sequence[int] | None = None) -> _Write:
        part, shape = self._blocks[name], measured_shape(group)

        def write(out: Vector) -> None:
            group.measure(out[part].reshape(shape))

        def write_rows(out: Vector) -> None:
            group.measure_rows(out[part].reshape(shape), rows)  # type: ignore[attr-defined]  # a `RowGroup`

        return write if rows is None else write_rows

    def _partly(self) -> dict[str, _Write]:
        """Writers of the rows that are required, of blocks that are required in part."""
        writers: dict[str, _Write] = {}
        for i, group in enumerate(self._groups):
            name, (n_row, n) = f"measured.{i}", measured_shape(group)
            first = self._blocks[name].start
            rows = [row for row in range(n_row) if self._points.required(slice(first + row * n, first + row * n + n))]
            if 0 < len(rows) < n_row and isinstance(group, RowGroup):
                writers[name] = self._measure_writer(name, group, rows)
        first = self._blocks["scalars"].start
        if not self._points.required(slice(first, first + len(SLACK_SCALARS))):
            writers["scalars"] = self._write_plain_scalars
        return writers

    def _channel_writer(self, channel: Channel) -> _Write:
        part = self._blocks[f"channel.{channel.name}"]

        def write(out: Vector) -> None:
            channel.measure(out[part])

        return write

    def _write_targets(self, out: Vector) -> None:
        part = self._blocks["targets"]
        if part.stop > part.start:
            first = len(self._decision.applied)
            out[part] = self._inbox.in_force.values[first:first + part.stop - part.start]

    def _write_age(self, out: Vector) -> None:
        out[self._blocks["age_s"]] = self._board.age_s(self._t_us)

    def _write_late(self, out: Vector) -> None:
        out[self._blocks["late"]] = self._board.late

    def _write_scalars(self, out: Vector) -> None:
        first, flows = self._blocks["scalars"].start, self._trial.state.flows
        out[first:first + len(SLACK_SCALARS)] = flows.slack_p_kw, flows.slack_q_kvar
        self._write_plain_scalars(out)

    def _write_plain_scalars(self, out: Vector) -> None:
        """All but what the slack elements deliver: that asks for every generator."""
        part, state = self._blocks["scalars"], self._trial.state
        out[part.start + len(SLACK_SCALARS):part.stop] = state.flows.losses_kw, state.unserved_kw, state.iterations

    def _write_converged(self, out: Vector) -> None:
        out[self._blocks["converged"]] = self._trial.state.converged

    def _write_device_v(self, out: Vector) -> None:
        out[self._blocks["device_v_pu"]] = self._trial.state.v_pu[self._device_bus]

    def _write_outputs(self, out: Vector) -> None:
        out[self._blocks["outputs"]] = self._decision.standing

    def _write_orders(self, out: Vector) -> None:
        part = self._blocks["shield_orders"]
        if part.stop > part.start:
            out[part] = np.nan_to_num(self._inbox.in_force.values[part.start - part.stop:])

    def _write_active(self, out: Vector) -> None:
        out[self._blocks["shield_active"]] = (self._decision.active, self._decision.infeasible)

    def _write_shield(self, out: Vector) -> None:
        decision = self._decision
        reasons = decision.reason[decision.reason != 0] if decision.active else decision.reason[:0]
        first = float(reasons[0]) if reasons.size else 0.0
        out[self._blocks["shield"]] = (first, decision.distance_kva, decision.rung)

    def _mark(self, state: GridState) -> None:
        """Quality follows the values: what the grid could not give is INVALID.  Skipped while all is well."""
        whole = state.converged and isfinite(state.v_pu.dot(state.v_pu))  # a de-energised bus is NaN, and so is the sum
        if whole and self._was_whole:
            return
        self._was_whole = whole
        quality = self._quality
        for name in ("v_pu", "angle_deg"):
            quality[self._blocks[name]] = np.where(np.isnan(state.v_pu), Quality.INVALID, Quality.GOOD)
        quality[self._blocks["device_v_pu"]] = quality[self._blocks["v_pu"]][self._device_bus]
        for name in ("scalars", "loading", "p_from_kw", "q_from_kvar", "gen_p_kw", "gen_q_kvar"):
            quality[self._blocks[name]] = Quality.GOOD if state.converged else Quality.INVALID
        if state.converged is not self._were_flows_known:
            # Without a power flow nobody knows what flows into a device; what it has counted and stores is its own.
            self._were_flows_known = state.converged
            quality[self._flow_ids] = Quality.GOOD if state.converged else Quality.INVALID
