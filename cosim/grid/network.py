"""`Network`: the frozen description of a grid, whatever it was read from.

It holds names, ratings, set points and the per-unit pi-model of every branch, so the solver needs nothing else.
Loads, static generators and device injections are given as injections: what is fed in is positive, a load's
`load_p_kw` is negative. All quantities outside the pi-models are kW, kvar, kV and per unit; base is `base_mva`.
Positions in every array follow the names tuple of the same element.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.state import BoolArray, ComplexArray, FloatArray, Topology

IntArray = NDArray[np.int64]

ASSUMED_TAP_STEP = 0.00625
"""Ratio change a step where a network gives none: +-10 % in 32 steps of 5/8 % (IEEE C57.15, step regulators)."""
ASSUMED_TAP_LIMIT = 16


@dataclass(frozen=True, slots=True, eq=False)
class PiBranches:
    """Pi-models in per unit, MATPOWER's form: an ideal transformer `ratio`:1 at the from end, then the pi.

    `y_from_pu` and `y_to_pu` are the shunt admittances at each end of the series impedance `r_pu + j x_pu`.
    All arrays are (n,).
    """

    r_pu: FloatArray
    x_pu: FloatArray
    y_from_pu: ComplexArray
    y_to_pu: ComplexArray
    ratio: ComplexArray

    def joined(self, other: PiBranches) -> PiBranches:
        """These branches followed by `other`."""
        return PiBranches(
            np.concatenate([self.r_pu, other.r_pu]),
            np.concatenate([self.x_pu, other.x_pu]),
            np.concatenate([self.y_from_pu, other.y_from_pu]),
            np.concatenate([self.y_to_pu, other.y_to_pu]),
            np.concatenate([self.ratio, other.ratio]),
        )


class TapModel(Protocol):
    """How the transformers' pi-models depend on their tap positions."""

    def at(self, tap: FloatArray) -> PiBranches:
        """The pi-models (n_trafo,) at these tap positions."""


@dataclass(frozen=True, slots=True, eq=False)
class RatioTaps:
    """Taps that only change the ratio: `ratio * (1 + step * tap)`, zero being the ratio as read."""

    base: PiBranches
    step: FloatArray

    def at(self, tap: FloatArray) -> PiBranches:
        """The pi-models at these tap positions."""
        b = self.base
        return PiBranches(b.r_pu, b.x_pu, b.y_from_pu, b.y_to_pu, b.ratio * (1.0 + self.step * tap))


@dataclass(frozen=True, slots=True, eq=False)
class Buses:
    """Buses: names, rated voltage, zone label ("" if none), service status, published voltage limits (NaN if none)."""

    names: tuple[str, ...]
    vn_kv: FloatArray
    zone: tuple[str, ...]
    in_service: BoolArray
    v_min_pu: FloatArray
    v_max_pu: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Lines, then transformers: ends, rating at each end (kVA at rated voltage; NaN: none), pi-models of the lines.

    Three-winding transformers follow with `pi` models absent: only the pandapower solver carries them.
    """

    line_names: tuple[str, ...]
    trafo_names: tuple[str, ...]
    trafo3w_names: tuple[str, ...]
    from_bus: IntArray
    to_bus: IntArray
    rating_from_kva: FloatArray
    rating_to_kva: FloatArray
    lines: PiBranches
    taps: TapModel
    tap_min: FloatArray
    tap_max: FloatArray
    tap_assumed: BoolArray

    @property
    def names(self) -> tuple[str, ...]:
        """All branch names in branch order."""
        return self.line_names + self.trafo_names + self.trafo3w_names


@dataclass(frozen=True, slots=True, eq=False)
class Injections:
    """Loads or static generators of the network: bus and base injection (positive into the grid)."""

    names: tuple[str, ...]
    bus: IntArray
    p_kw: FloatArray
    q_kvar: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Generators:
    """Synchronous generators: set points and limits (infinite where none is given).

    `regulates` is whether it holds its bus voltage; one that does not feeds in `q_kvar`. `slack` marks reference
    generators and `angle_deg` their angle.
    """

    names: tuple[str, ...]
    bus: IntArray
    p_kw: FloatArray
    q_kvar: FloatArray
    v_pu: FloatArray
    angle_deg: FloatArray
    p_min_kw: FloatArray
    p_max_kw: FloatArray
    q_min_kvar: FloatArray
    q_max_kvar: FloatArray
    regulates: BoolArray
    slack: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class ExternalGrids:
    """Infinite buses: names, bus, voltage and angle held."""

    names: tuple[str, ...]
    bus: IntArray
    v_pu: FloatArray
    angle_deg: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Shunts:
    """Shunts: `p_kw`, `q_kvar` injected per step at 1 pu (a capacitor has positive q), and steps there are."""

    names: tuple[str, ...]
    bus: IntArray
    p_kw: FloatArray
    q_kvar: FloatArray
    max_step: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Switches:
    """Switches at `bus` towards `element`: another bus (kind "bus"), a line's or a transformer's end.

    `element` is a position in that kind's order; -1 and kind "trafo3w" where only pandapower can carry it.
    """

    names: tuple[str, ...]
    kind: tuple[str, ...]
    bus: IntArray
    element: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A grid as read, before anything happens in it. `needs_pandapower` says why, if our own model cannot carry it."""

    name: str
    source: str
    base_mva: float
    buses: Buses
    branches: Branches
    loads: Injections
    sgens: Injections
    fixed: Injections
    gens: Generators
    ext_grids: ExternalGrids
    shunts: Shunts
    switches: Switches
    topology: Topology
    rating_is_current: bool = True
    needs_pandapower: str = ""
    pandapower_net: Any = field(default=None, repr=False)

    @property
    def bus_names(self) -> tuple[str, ...]:
        """Bus names in bus order."""
        return self.buses.names

    @property
    def line_names(self) -> tuple[str, ...]:
        """Line names; a line's position is also its branch position."""
        return self.branches.line_names

    @property
    def trafo_names(self) -> tuple[str, ...]:
        """Two-winding transformer names; branch position is n_line + position."""
        return self.branches.trafo_names

    @property
    def branch_names(self) -> tuple[str, ...]:
        """Lines, then transformers, then three-winding transformers."""
        return self.branches.names

    @property
    def gen_names(self) -> tuple[str, ...]:
        """Generator names."""
        return self.gens.names

    @property
    def load_names(self) -> tuple[str, ...]:
        """Load names."""
        return self.loads.names

    @property
    def sgen_names(self) -> tuple[str, ...]:
        """Static generator names."""
        return self.sgens.names

    @property
    def shunt_names(self) -> tuple[str, ...]:
        """Shunt names."""
        return self.shunts.names

    @property
    def switch_names(self) -> tuple[str, ...]:
        """Switch names."""
        return self.switches.names

    @property
    def ext_grid_names(self) -> tuple[str, ...]:
        """External grid names."""
        return self.ext_grids.names

    @property
    def bus_vn_kv(self) -> FloatArray:
        """Rated voltage of each bus."""
        return self.buses.vn_kv

    @property
    def bus_zone(self) -> tuple[str, ...]:
        """Zone label of each bus."""
        return self.buses.zone

    @property
    def from_bus(self) -> IntArray:
        """From (high-voltage) bus position of each branch."""
        return self.branches.from_bus

    @property
    def to_bus(self) -> IntArray:
        """To (low-voltage) bus position of each branch."""
        return self.branches.to_bus

    @property
    def rating_kva(self) -> FloatArray:
        """Rating of each branch at its from end, NaN where there is none."""
        return self.branches.rating_from_kva
