"""Where every point stands in the point vector: blocks, in one fixed order.

grid scalars | buses | branches | generators | positions | devices' measurements | devices' outputs | agents |
channels | shield.  A block is written by one slice assignment, so publishing a thousand points costs microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cosim.plugins import DeviceGroup
from cosim.points import Point, PointKind
from cosim.scenario.schema import Agent
from cosim.simulation.orders import NAMES

SLACK_SCALARS = (
    ("grid.slack_p_kw", "kW", "Active power from the external grid."),
    ("grid.slack_q_kvar", "kvar", "Reactive power from the external grid."),
)
GRID_SCALARS = (
    *SLACK_SCALARS,
    ("grid.losses_kw", "kW", "Active losses of the network."),
    ("grid.unserved_kw", "kW", "Demand at de-energised buses."),
    ("grid.iterations", "1", "Newton iterations of the last power flow."),
)
SHIELD_SCALARS = (
    ("shield.reason", "1", "Code of the first reason for which a setpoint was moved (0: none)."),
    ("shield.distance_kva", "kVA", "Distance between what was asked and what is applied."),
    ("shield.rung", "1", "Rung of the fallback chain in use (0: the request itself)."),
)


@dataclass(slots=True)
class Layout:
    """Points in order and the slice of every block, by name."""

    points: list[Point] = field(default_factory=list)
    blocks: dict[str, slice] = field(default_factory=dict)

    def block(self, name: str, points: Iterable[Point]) -> slice:
        """Append a block of points; returns its slice."""
        start = len(self.points)
        self.points.extend(points)
        self.blocks[name] = part = slice(start, len(self.points))
        return part


def _analog(names: Iterable[str], unit: str, description: str) -> list[Point]:
    return [Point(name, PointKind.ANALOG_INPUT, unit, description=description) for name in names]


def _binary(names: Iterable[str], description: str) -> list[Point]:
    return [Point(name, PointKind.BINARY_INPUT, description=description) for name in names]


def grid_blocks(layout: Layout, network: object) -> None:
    """Blocks of the network: what a power flow gives, and the positions of everything that switches."""
    buses, lines, trafos, gens, switches, shunts = (
        getattr(network, f"{table}_names") for table in ("bus", "line", "trafo", "gen", "switch", "shunt"))
    branches = [f"line.{name}" for name in lines] + [f"trafo.{name}" for name in trafos]
    layout.block("scalars", [Point(n, PointKind.ANALOG_INPUT, u, description=d) for n, u, d in GRID_SCALARS])
    layout.block("converged", _binary(["grid.converged"], "Whether the last power flow converged."))
    layout.block("v_pu", _analog([f"bus.{name}.v_pu" for name in buses], "pu", "Voltage magnitude."))
    layout.block("angle_deg", _analog([f"bus.{name}.angle_deg" for name in buses], "deg", "Voltage angle."))
    layout.block("loading", _analog([f"{name}.loading" for name in branches], "pu", "Loading, 1.0 = rating."))
    layout.block("p_from_kw", _analog([f"{name}.p_kw" for name in branches], "kW", "Active power into the from end."))
    layout.block("q_from_kvar", _analog([f"{name}.q_kvar" for name in branches], "kvar",
                                        "Reactive power into the from end."))
    layout.block("gen_p_kw", _analog([f"gen.{name}.p_kw" for name in gens], "kW", "Generator's active power."))
    layout.block("gen_q_kvar", _analog([f"gen.{name}.q_kvar" for name in gens], "kvar", "Generator's reactive power."))
    layout.block("line_closed", _binary([f"line.{name}.closed" for name in lines], "In service."))
    layout.block("trafo_closed", _binary([f"trafo.{name}.closed" for name in trafos], "In service."))
    layout.block("gen_closed", _binary([f"gen.{name}.closed" for name in gens], "In service."))
    layout.block("switch_closed", _binary([f"switch.{name}.closed" for name in switches], "Closed."))
    layout.block("tap", _analog([f"trafo.{name}.tap" for name in trafos], "1", "Tap position."))
    layout.block("shunt_step", _analog([f"shunt.{name}.step" for name in shunts], "1", "Steps in service."))


def device_blocks(layout: Layout, groups: Sequence[DeviceGroup]) -> None:
    """A block of measurements per group, every device's voltage, and one block ``outputs`` of all setpoints.

    The outputs are contiguous, so that one vector of commands serves all groups.
    """
    for i, group in enumerate(groups):
        layout.block(f"measured.{i}", [
            Point(f"{name}.{m.suffix}", m.kind, m.unit, deadband=m.deadband, description=m.description)
            for m in group.measurements for name in group.names])
    layout.block("device_v_pu", _analog([f"{name}.v_pu" for name, _ in at_bus(groups)], "pu", "Voltage at its bus."))
    layout.block("outputs", [
        Point(f"{name}.{s.suffix}", PointKind.BINARY_OUTPUT if s.binary else PointKind.ANALOG_OUTPUT, s.unit,
              float(low), float(high), description=s.description)
        for group in groups for s in group.setpoints
        for name, low, high in zip(group.names, s.low, s.high, strict=True)])


def at_bus(groups: Sequence[DeviceGroup]) -> list[tuple[str, int]]:
    """Devices that stand at a bus and do not measure its voltage themselves: (name, bus), in group order."""
    return [(name, int(bus)) for group in groups if all(m.suffix != "v_pu" for m in group.measurements)
            for name, bus in zip(group.names, group.placement.bus, strict=True) if bus >= 0]


def agent_blocks(layout: Layout, agents: Sequence[Agent]) -> None:
    """Targets of agents (outputs, right after the devices'), and the age of what each agent sees."""
    layout.block("targets", [
        Point(f"agent.{agent.name}.{target.name}", PointKind.ANALOG_OUTPUT, target.unit, target.low, target.high,
              description="Target given to the agent.")
        for agent in agents for target in agent.commands])
    layout.block("age_s", _analog([f"agent.{agent.name}.age_s" for agent in agents], "s",
                                  "Age of the newest telemetry the agent holds."))
    layout.block("late", [Point(f"agent.{agent.name}.late", PointKind.COUNTER,
                                description="Actions that came late or not at all.") for agent in agents])


def shield_blocks(layout: Layout, *, commanded: bool) -> None:
    """What the shield decided last, and (`commanded`: where there is one) its own two commands."""
    layout.block("shield_orders", [Point(name, PointKind.BINARY_OUTPUT, "", 0.0, 1.0, description=description)
                                   for name, description in NAMES if commanded])
    layout.block("shield_active", [
        *_binary(["shield.active"], "Whether the shield moved any setpoint."),
        *_binary(["shield.infeasible"], "Whether nothing that was tried keeps every hard limit.")])
    layout.block("shield", [Point(n, PointKind.ANALOG_INPUT, u, description=d) for n, u, d in SHIELD_SCALARS])


def measured_shape(group: DeviceGroup) -> tuple[int, int]:
    """Shape of a group's block of measurements."""
    return len(group.measurements), len(group.names)
