"""What the grid is asked to do (`Dispatch`) and what it then does (`GridState`): plain frozen values.

Everything here is NumPy and float64. Injections into the grid are positive (a load has negative `p_kw`); powers are
kW and kvar, voltages per unit of the bus's rated voltage, angles degrees. Branches are ordered lines first, then
two-winding transformers, then three-winding ones (one entry each, flow measured at the high-voltage side).
The arrays are shared, not copied: whoever gets one of these values does not write into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ComplexArray = NDArray[np.complex128]


def _changed_bool(array: BoolArray, index: int, value: bool) -> BoolArray:
    """A copy of `array` with one element set; IndexError outside it, negative positions included."""
    if not 0 <= index < array.size:
        raise IndexError(f"position {index} is outside 0..{array.size - 1}")
    changed = array.copy()
    changed[index] = value
    return changed


def _changed_float(array: FloatArray, index: int, value: float) -> FloatArray:
    """A copy of `array` with one element set; IndexError outside it, negative positions included."""
    if not 0 <= index < array.size:
        raise IndexError(f"position {index} is outside 0..{array.size - 1}")
    changed = array.copy()
    changed[index] = value
    return changed


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Positions of everything that switches.

    Compared by identity on the hot path, so make a new one only when something moves; `same_as` compares values.
    `line_closed` (n_line,), `trafo_closed` (n_trafo,) and `gen_closed` (n_gen,) say what is in service,
    `switch_closed` (n_switch,) what conducts; `tap` (n_trafo,) is the tap position in the network's own counting
    and `shunt_step` (n_shunt,) the number of steps switched in.
    """

    line_closed: BoolArray
    trafo_closed: BoolArray
    gen_closed: BoolArray
    switch_closed: BoolArray
    tap: FloatArray
    shunt_step: FloatArray

    def with_line(self, index: int, closed: bool) -> Topology:
        """The same positions with one line in (True) or out of service."""
        return replace(self, line_closed=_changed_bool(self.line_closed, index, closed))

    def with_trafo(self, index: int, closed: bool) -> Topology:
        """The same positions with one transformer in (True) or out of service."""
        return replace(self, trafo_closed=_changed_bool(self.trafo_closed, index, closed))

    def with_gen(self, index: int, closed: bool) -> Topology:
        """The same positions with one generator in (True) or out of service."""
        return replace(self, gen_closed=_changed_bool(self.gen_closed, index, closed))

    def with_switch(self, index: int, closed: bool) -> Topology:
        """The same positions with one switch closed (True) or open."""
        return replace(self, switch_closed=_changed_bool(self.switch_closed, index, closed))

    def with_tap(self, index: int, position: float) -> Topology:
        """The same positions with one transformer's tap moved."""
        return replace(self, tap=_changed_float(self.tap, index, position))

    def with_shunt(self, index: int, step: float) -> Topology:
        """The same positions with one shunt at another step (0 is off)."""
        return replace(self, shunt_step=_changed_float(self.shunt_step, index, step))

    def same_as(self, other: Topology) -> bool:
        """Whether every position is equal."""
        return self is other or (
            np.array_equal(self.line_closed, other.line_closed)
            and np.array_equal(self.trafo_closed, other.trafo_closed)
            and np.array_equal(self.gen_closed, other.gen_closed)
            and np.array_equal(self.switch_closed, other.switch_closed)
            and np.array_equal(self.tap, other.tap)
            and np.array_equal(self.shunt_step, other.shunt_step)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Dispatch:
    """Everything a power flow is given: what devices inject, what generators are set to, and how it is switched.

    `p_kw`, `q_kvar` (n_injection,) follow the `injection_bus` order the `Grid` was built with; `gen_p_kw` and
    `gen_v_pu` (n_gen,) are the set points of the network's own generators.
    """

    p_kw: FloatArray
    q_kvar: FloatArray
    gen_p_kw: FloatArray
    gen_v_pu: FloatArray
    topology: Topology


class Flows(NamedTuple):
    """What follows from solved voltages: branch flows, generation, slack and losses (see `GridState`)."""

    angle_deg: FloatArray
    p_from_kw: FloatArray
    q_from_kvar: FloatArray
    loading: FloatArray
    gen_p_kw: FloatArray
    gen_q_kvar: FloatArray
    slack_p_kw: float
    slack_q_kvar: float
    losses_kw: float


class AnyFlows(Protocol):
    """What `Flows` holds, known already or worked out when asked for."""

    @property
    def angle_deg(self) -> FloatArray: ...
    @property
    def p_from_kw(self) -> FloatArray: ...
    @property
    def q_from_kvar(self) -> FloatArray: ...
    @property
    def loading(self) -> FloatArray: ...
    @property
    def gen_p_kw(self) -> FloatArray: ...
    @property
    def gen_q_kvar(self) -> FloatArray: ...
    @property
    def slack_p_kw(self) -> float: ...
    @property
    def slack_q_kvar(self) -> float: ...
    @property
    def losses_kw(self) -> float: ...


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """Figures of k converged states: `losses_kw` and `slack_p_kw` (k,), `loading` (k, n_branch) or None without
    ratings."""

    losses_kw: FloatArray
    slack_p_kw: FloatArray
    loading: FloatArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """Independent ways in which a dispatch may move, each array (n_direction,).

    A direction moves injection `injection` by `p_kw` and `q_kvar` per unit of its own variable, or the set points of
    network generator `gen` by `gen_p_kw` and `gen_v_pu`; an index of -1 stands for none.
    """

    injection: NDArray[np.int64]
    p_kw: FloatArray
    q_kvar: FloatArray
    gen: NDArray[np.int64]
    gen_p_kw: FloatArray
    gen_v_pu: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """How injections answer to the voltage at their bus: `p_kw_per_pu`, `q_kvar_per_pu` (n_injection,)."""

    p_kw_per_pu: FloatArray
    q_kvar_per_pu: FloatArray


class Sensitivity(Protocol):
    """First-order change of a solved state along directions; every answer is (k, n_direction)."""

    def v_pu(self, buses: NDArray[np.int64]) -> FloatArray:
        """Change of voltage magnitudes at `buses` (k,); 0 where de-energised."""

    def loading(self, branches: NDArray[np.int64]) -> FloatArray:
        """Change of the loadings of `branches` (k,), at the end that is loaded more."""

    def branch_power(self, branches: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Change of active (kW) and reactive power (kvar) into `branches` (k,) at their from end."""

    def slack(self) -> tuple[FloatArray, FloatArray]:
        """Change of the slack elements' total active and reactive power, each (n_direction,)."""


class Solution(Protocol):
    """What a solver keeps of a solved state, to work out the rest when somebody asks."""

    @property
    def family(self) -> object:
        """States of one family (a topology) can be worked through together."""

    def flows(self, state: GridState) -> AnyFlows:
        """The flows of a state of this solution."""

    def totals(self, states: Sequence[GridState]) -> Totals:
        """Figures of states of one family."""

    def sensitivity(self, state: GridState, directions: Directions, response: Response | None) -> Sensitivity | None:
        """What changes along `directions`, injections answering to voltage as `response`; None where the solver
        cannot say (pandapower's), or the state is too near to collapse for a linearisation."""


@dataclass(frozen=True, slots=True, eq=False)
class GridState:
    """The solved grid, or (`converged=False`) a diagnosis and NaN: never a stale value.

    De-energised buses have NaN voltage and angle; their branches carry zero and what is injected there does not
    reach anyone: `unserved_kw` is the demand and `unserved_kvar` the reactive demand lost there (base loads and
    injections below zero, as a positive number; power that a device would have fed in is lost too, but is not
    demand, and is left out). `loading` is the larger end's current over the rating (1.0 = rating; apparent power
    for MATPOWER ratings), NaN without a rating. `losses_kw` is what branches and shunts take up. `slack_p_kw` and
    `slack_q_kvar` are the totals of the slack elements (external grids, or the reference generator).

    Voltages are there at once; each part of `flows` is worked out when first asked for, since most solves of most
    runs are only asked for voltages. `warm_start` is the solver's own (complex bus voltages); pass the state on, do
    not read it.
    """

    converged: bool
    v_pu: FloatArray
    iterations: int
    diagnosis: str
    solver: str
    solution: Solution
    unserved_kw: float = 0.0
    unserved_kvar: float = 0.0
    warm_start: ComplexArray | None = None
    _worked_out: list[AnyFlows] = field(default_factory=list, repr=False)

    @property
    def flows(self) -> AnyFlows:
        """What follows from the voltages."""
        if not self._worked_out:
            self._worked_out.append(self.solution.flows(self))
        return self._worked_out[0]

    def sensitivity(self, directions: Directions, response: Response | None = None) -> Sensitivity | None:
        """What changes along `directions` in first order: see `Solution.sensitivity`."""
        return self.solution.sensitivity(self, directions, response) if self.converged else None

    @property
    def angle_deg(self) -> FloatArray:
        """Voltage angles (n_bus,)."""
        return self.flows.angle_deg

    @property
    def p_from_kw(self) -> FloatArray:
        """Active power into each branch at its from end (n_branch,)."""
        return self.flows.p_from_kw

    @property
    def q_from_kvar(self) -> FloatArray:
        """Reactive power into each branch at its from end (n_branch,)."""
        return self.flows.q_from_kvar

    @property
    def loading(self) -> FloatArray:
        """Loading of each branch (n_branch,)."""
        return self.flows.loading

    @property
    def gen_p_kw(self) -> FloatArray:
        """Active power of each generator (n_gen,)."""
        return self.flows.gen_p_kw

    @property
    def gen_q_kvar(self) -> FloatArray:
        """Reactive power of each generator (n_gen,)."""
        return self.flows.gen_q_kvar

    @property
    def slack_p_kw(self) -> float:
        """Active power of the slack elements."""
        return self.flows.slack_p_kw

    @property
    def slack_q_kvar(self) -> float:
        """Reactive power of the slack elements."""
        return self.flows.slack_q_kvar

    @property
    def losses_kw(self) -> float:
        """Active losses."""
        return self.flows.losses_kw


@dataclass(frozen=True, slots=True, eq=False)
class KnownFlows:
    """A solution whose flows are known already."""

    known: Flows
    family: object = None

    def flows(self, state: GridState) -> Flows:  # noqa: ARG002  # the Solution interface
        """They are known."""
        return self.known

    def totals(self, states: Sequence[GridState]) -> Totals:
        """One after the other."""
        loading = np.array([state.loading for state in states])
        return Totals(np.array([state.losses_kw for state in states]),
                      np.array([state.slack_p_kw for state in states]), None if np.isnan(loading).all() else loading)

    def sensitivity(self, state: GridState, directions: Directions,  # noqa: ARG002  # the Solution interface
                    response: Response | None) -> Sensitivity | None:  # noqa: ARG002  # the Solution interface
        """Nothing is known of how it came about."""
        return None


def totals(states: Sequence[GridState]) -> list[tuple[slice, Totals]]:
    """Figures of converged states, family by family in their order: (which states, figures)."""
    found: list[tuple[slice, Totals]] = []
    start = 0
    for end in range(1, len(states) + 1):
        if end == len(states) or states[end].solution.family is not states[start].solution.family:
            found.append((slice(start, end), states[start].solution.totals(states[start:end])))
            start = end
    return found
