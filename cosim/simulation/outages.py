"""What is out of service whatever the devices want: an overlay of outages on the topology."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import numpy as np

from cosim.state import Topology


class Branch(Enum):
    """The tables an outage can take an element of, by the `Topology` field that holds its position."""

    LINE = "line_closed"
    TRAFO = "trafo_closed"
    GEN = "gen_closed"
    SWITCH = "switch_closed"


class Outages:
    """Counts outages per element, so that two that overlap both have to end before it returns."""

    def __init__(self, topology: Topology) -> None:
        self._out = {table: np.zeros(len(getattr(topology, table.value)), np.int64) for table in Branch}
        self._any = False
        self._seen: tuple[Topology, Topology] | None = None

    def begin(self, table: Branch, index: int) -> None:
        """Take an element out."""
        self._out[table][index] += 1
        self._changed()

    def end(self, table: Branch, index: int) -> None:
        """End one outage of an element."""
        assert self._out[table][index] > 0, f"outage of {table.name} {index} ended without having begun"
        self._out[table][index] -= 1
        self._changed()

    def over(self, topology: Topology) -> Topology:
        """`topology` with everything that is out opened; the same object for the same input while nothing changed."""
        if not self._any:
            return topology
        if self._seen is None or self._seen[0] is not topology:
            masked = {table.value: getattr(topology, table.value) & (out == 0) for table, out in self._out.items()}
            self._seen = (topology, replace(topology, **masked))
        return self._seen[1]

    def _changed(self) -> None:
        self._any = any(out.any() for out in self._out.values())
        self._seen = None
