"""What disturbances may touch, while the run is built and while it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cosim.channel import Channel
from cosim.commands import Authority, CommandInbox
from cosim.errors import GridloopError, PluginError
from cosim.kernel import Kernel
from cosim.points import Ids, PointDatabase, Vector
from cosim.simulation.outages import Branch, Outages
from cosim.simulation.sensors import Sensors
from cosim.simulation.site import RunSite


@dataclass(slots=True)
class RunStage:
    """`cosim.disturbances.base.Stage` of one run.

    `extra_bus` collects the injections asked for while building; `set_extra` and `solve` are connected once the fleet
    and the simulation exist.
    """

    kernel: Kernel
    duration_us: int
    site: RunSite
    database: PointDatabase
    inbox: CommandInbox
    channels: Mapping[str, Channel]
    outages: Outages
    sensors: Sensors
    device_buses: Mapping[str, str]
    record: Callable[[str, str, str], None]
    extra_bus: list[int] = field(default_factory=list)
    held: dict[int, dict[int, float]] = field(default_factory=dict)
    """By commanded point: what each disturbance in force asks of it, in the order in which they began."""
    holders: int = 0
    cuts: dict[str, int] = field(default_factory=dict)
    """By link: how many partitions are in force."""
    set_extra: Callable[[int, float, float], None] | None = None
    solve: Callable[[int], None] | None = None

    def outage(self, table: str, name: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """(begin, end) of an outage of a network element."""
        branch, index = Branch[table.upper()], self.site.element(table, name)
        return lambda: self.outages.begin(branch, index), lambda: self.outages.end(branch, index)

    def injection(self, bus: str) -> Callable[[float, float], None]:
        """A new injection at a bus: the function that sets its p_kw and q_kvar."""
        self.extra_bus.append(self.site.bus(bus))
        place = len(self.extra_bus) - 1

        def inject(p_kw: float, q_kvar: float) -> None:
            assert self.set_extra is not None
            self.set_extra(place, p_kw, q_kvar)

        return inject

    def setpoint(self, name: str) -> Callable[[float | None], None]:
        """Commands an output point with interlock authority; None releases it.

        Where several hold one point, the last begun counts; when it lets go, the one before is in force again.
        """
        point_id = self._id(name)
        if not self.database.points[point_id].kind.writable:
            raise PluginError(f"point '{name}' cannot be commanded; it is an input")
        holders = self.held.setdefault(point_id, {})
        me = self.holders
        self.holders += 1

        def command(value: float | None) -> None:
            holders.pop(me, None)
            if value is not None:
                holders[me] = value
            if holders:
                latest = next(reversed(holders.values()))
                self.inbox.post((point_id,), (latest,), "disturbance", Authority.INTERLOCK)
            else:
                self.inbox.post_release((point_id,), "disturbance", Authority.INTERLOCK)

        return command

    def resting(self, name: str) -> Callable[[float], None]:
        """Commands an output point with schedule authority: what holds while nobody else asks."""
        point_id = self._id(name)

        def command(value: float) -> None:
            self.inbox.post((point_id,), (value,), "disturbance", Authority.SCHEDULE)

        return command

    def points(self, patterns: Sequence[str]) -> Ids:
        """Ids of points."""
        try:
            return self.database.ids_of(patterns)
        except GridloopError as error:
            raise PluginError(str(error)) from None

    def values(self) -> Vector:
        """All published values."""
        return self.database.values

    def sensor_fault(self, ids: Ids, fault: Callable[[Vector, int], Any]) -> Callable[[], None]:
        """Let a sensor fault begin; returns the function that ends it."""
        return self.sensors.begin(ids, fault)

    def channel(self, name: str) -> Channel:
        """A channel of the scenario."""
        if name not in self.channels:
            raise PluginError(f"unknown channel '{name}'; known: {', '.join(self.channels) or 'none'}")
        return self.channels[name]

    def device_bus(self, name: str) -> str:
        """Name of the bus at which a device stands."""
        if name not in self.device_buses:
            raise PluginError(f"unknown device '{name}'; known: {', '.join(self.device_buses) or 'none'}")
        return self.device_buses[name]

    def rng(self, name: str) -> np.random.Generator:
        """A named random stream."""
        return self.kernel.rng(name)

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Write an event row."""
        self.record(kind, subject, detail)

    def request_solve(self) -> None:
        """Ask for a SOLVE at this instant."""
        assert self.solve is not None
        self.solve(self.kernel.now_us)

    def _id(self, name: str) -> int:
        return int(self.points([name])[0])
