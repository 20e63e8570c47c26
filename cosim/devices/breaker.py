"""Circuit breakers: take a line, transformer, switch or generator of the network in and out of service.

An order is carried out after the operating delay (a breaker takes 3 to 5 cycles, IEEE C37.04), in a SOLVE of its own;
an order that is withdrawn before that is forgotten.  Without delay it acts in the SOLVE that brings the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.devices.base import NEVER_US, Group, Ids, Mask, Reasons, find_element, micros, switch, whole
from cosim.errors import PluginError
from cosim.plugins import DeviceConfig, Injection, Measurement, Placement, Role, Site
from cosim.points import PointKind, Vector
from cosim.state import Topology

TABLES = ("line", "trafo", "switch", "gen")


class BreakerConfig(DeviceConfig):
    """A breaker on one element of the network: exactly one of line, trafo, switch and gen."""

    kind: Literal["breaker"] = "breaker"
    line: str | int | None = Field(None, description="Line that it switches, by name or index.")
    trafo: str | int | None = Field(None, description="Transformer that it switches.")
    switch: str | int | None = Field(None, description="Switch of the network that it is.")
    gen: str | int | None = Field(None, description="Generator of the network that it switches.")
    closed_at_start: bool | None = Field(None, description="Position at the start (default: as the network has it).")
    delay_s: float = Field(0.0, ge=0, le=3600, description="Time from the order to the contacts' new position.")

    @property
    def table(self) -> str:
        """The table of the network that its element is in."""
        return next(table for table in TABLES if getattr(self, table) is not None)

    @model_validator(mode="after")
    def _one_element(self) -> Self:
        given = [table for table in TABLES if getattr(self, table) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(TABLES)}; found {', '.join(given) or 'none'}")
        return self


class Breaker(Group):
    """All breakers of a run."""

    kind: ClassVar[str] = "breaker"
    summary: ClassVar[str] = "Breaker of a line, transformer, switch or generator"
    Config: ClassVar[type[DeviceConfig]] = BreakerConfig
    measurements = (
        Measurement("is_closed", "", "Position of the contacts", PointKind.BINARY_INPUT),
        Measurement("operations", "", "Changes of position since the start", PointKind.COUNTER),
    )

    def __init__(self, configs: Sequence[Any], site: Site) -> None:
        super().__init__(configs, site)
        #: Per field of `Topology`: which devices, and which elements.
        self._of: tuple[tuple[str, Ids, Ids], ...] = _by_table(configs, self.placement.claims)
        self.closed: Mask = np.ones(self.n, bool)
        for field, devices, index in self._of:
            self.closed[devices] = getattr(site.network.topology, field)[index]
        given = [config.closed_at_start for config in configs]
        self.closed = np.array([own if at is None else at for own, at in zip(self.closed, given, strict=True)], bool)
        self.operations: Vector = np.zeros(self.n)
        self._delay_us = micros(configs, "delay_s")
        self._due_us: Ids = np.full(self.n, NEVER_US, np.int64)
        self._declare(switch("closed", self.n, Role.POSITION, "Close (1) or open (0); stays without a command"))

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """The elements' service status."""
        return self._switched(self._now(setpoints), topology)

    def _switched(self, closed: Mask, topology: Topology) -> Topology:
        moved: dict[str, Any] = {}
        for field, devices, index in self._of:
            before = getattr(topology, field)
            if not np.array_equal(before[index], closed[devices]):
                moved[field] = before.copy()
                moved[field][index] = closed[devices]
        return replace(topology, **moved) if moved else topology

    def heading(self, setpoints: Vector, topology: Topology) -> Topology:
        """The elements' service status once every order is carried out."""
        return self._switched(self._order(setpoints), topology)

    def settle(self, setpoints: Vector, injection: Injection, v_pu: Vector, t_us: int) -> None:
        """Carry out orders without delay; start or forget the timers of the others."""
        super().settle(setpoints, injection, v_pu, t_us)
        self._move_to(self._now(setpoints))
        pending = self._order(setpoints) != self.closed
        waiting = self._due_us != NEVER_US
        self._due_us = np.where(pending, np.where(waiting, self._due_us, t_us + self._delay_us), NEVER_US)

    def standing(self) -> Vector:
        """Where the contacts are, or where they are on their way to."""
        return np.array([self.closed ^ (self._due_us != NEVER_US)], np.float64)

    def measure(self, out: Vector) -> None:
        """Position, operations."""
        out[0], out[1] = self.closed, self.operations

    def next_us(self) -> int | None:
        """When an operating delay ends."""
        first = int(self._due_us.min(initial=NEVER_US))
        return None if first == NEVER_US else first

    def _order(self, setpoints: Vector) -> Mask:
        return np.where(np.isnan(setpoints[0]), self.closed, setpoints[0] >= 0.5)

    def _now(self, setpoints: Vector) -> Mask:
        """Positions, with the orders that need no time carried out."""
        return np.where(self._delay_us == 0, self._order(setpoints), self.closed)

    def _elapse(self, dt_us: int, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        due = self._due_us <= t_us
        if due.any():
            self._move_to(self.closed ^ due)
            self._due_us = np.where(due, NEVER_US, self._due_us)

    def _move_to(self, closed: Mask) -> None:
        moved = closed != self.closed
        if moved.any():
            self.operations = self.operations + moved
            self.closed = closed

    def _restrict(self, possible: Vector, reason: Reasons) -> None:
        whole(possible[0], reason[0])

    def _place(self, configs: Sequence[Any], site: Site) -> Placement:
        nowhere = np.full(self.n, -1, np.int64)
        claims = tuple((i, config.table, find_element(config.name, config.table, getattr(config, config.table), site))
                       for i, config in enumerate(configs))
        return Placement(nowhere, nowhere, claims=claims)


def _by_table(configs: Sequence[Any], claims: Sequence[tuple[int, str, int]]) -> tuple[tuple[str, Ids, Ids], ...]:
    taken: dict[tuple[str, int], str] = {}
    rows: dict[str, list[tuple[int, int]]] = {}
    for i, table, element in claims:
        config = configs[i]
        if (table, element) in taken:
            raise PluginError(f"device '{config.name}': {table} '{getattr(config, table)}' has the breaker "
                              f"'{taken[table, element]}' already")
        taken[table, element] = config.name
        rows.setdefault(table, []).append((i, element))
    return tuple((f"{table}_closed", *np.array(found, np.int64).T) for table, found in rows.items())
