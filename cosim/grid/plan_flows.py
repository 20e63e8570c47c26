"""What follows from the voltages of a solved plan: branch flows, generation, slack, losses, for one state or many.

Worked out part by part when asked for (`GridState.flows`), or for many states of one topology at once (`totals`),
where NumPy's cost a call is shared by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cosim.grid.branch_ends import BranchEnds
from cosim.grid.network import IntArray
from cosim.grid.plan import Plan, summed
from cosim.grid.sensitivity import Point, sensitivity
from cosim.state import (
    ComplexArray,
    Directions,
    Dispatch,
    FloatArray,
    GridState,
    Response,
    Sensitivity,
    Totals,
)

DEGREES = 180.0 / np.pi


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """Where injections go: `injection_bus` (n_injection,), and the constant base per bus (n_bus,) with its demand."""

    injection_bus: IntArray
    base_p_kw: FloatArray
    base_q_kvar: FloatArray
    demand_kw: FloatArray
    demand_kvar: FloatArray
    owned_loads: tuple[int, ...] = ()
    owned_sgens: tuple[int, ...] = ()
    at_bus: IntArray = field(init=False)
    """Of p, then of q of each injection: its place among the buses' (p, q, p, q, …)."""
    base: FloatArray = field(init=False)
    """The base in that order (2 n_bus,)."""

    def __post_init__(self) -> None:
        """Lay out what never changes."""
        place = 2 * np.asarray(self.injection_bus, np.int64)
        object.__setattr__(self, "at_bus", np.concatenate((place, place + 1)))
        object.__setattr__(self, "base", np.column_stack((self.base_p_kw, self.base_q_kvar)).reshape(-1))


def bus_injections(feed: Feed, dispatch: Dispatch) -> tuple[FloatArray, FloatArray]:
    """Base and device injections of each bus (n_bus,), without generators: kW and kvar."""
    pairs = _injected(feed, dispatch)
    return pairs[::2], pairs[1::2]


def _injected(feed: Feed, dispatch: Dispatch) -> FloatArray:
    """As `bus_injections`, in pairs (2 n_bus,): p and q in one go cost little more than one of them."""
    given = np.concatenate((dispatch.p_kw, dispatch.q_kvar))
    return summed(feed.at_bus, given, feed.base.size) + feed.base


class PlanSolution(NamedTuple):
    """Everything but the voltages that the flows of a solved plan depend on."""

    ends: BranchEnds
    plan: Plan
    feed: Feed
    dispatch: Dispatch
    fixed_q_kvar: FloatArray

    @property
    def family(self) -> object:
        """The topology's plan."""
        return self.plan

    def flows(self, state: GridState) -> PlanFlows:
        """Of one state."""
        return PlanFlows(self, _voltage(state))

    def totals(self, states: Sequence[GridState]) -> Totals:
        """Of states of this plan."""
        plan, supply = self.plan, self.plan.supply
        voltage = np.array([_voltage(state) for state in states])
        drawn = (voltage * (plan.admittance @ voltage.T).T.conj()).real
        given = [solution.dispatch for state in states if isinstance(solution := state.solution, PlanSolution)]
        at_slack = np.isin(supply.bus_site, supply.slack_site)
        injected = np.array([dispatch.p_kw for dispatch in given]) @ at_slack[self.feed.injection_bus]
        gen_p = np.array([dispatch.gen_p_kw for dispatch in given]) * plan.gen_runs
        slack = ((drawn - self.feed.base_p_kw) @ at_slack - injected
                 - gen_p @ np.isin(supply.gen_site, supply.slack_site))
        return Totals(drawn.sum(axis=1), slack, _loading(self.ends, plan, voltage) if self.ends.rated else None)

    def sensitivity(self, state: GridState, directions: Directions, response: Response | None) -> Sensitivity | None:
        """By the Jacobian at the solved voltages."""
        return sensitivity(Point(self.plan, self.ends, self.feed.injection_bus, _voltage(state)), directions, response)

    def generation(self, drawn: ComplexArray) -> tuple[FloatArray, FloatArray, float, float]:
        """What generators and references deliver: gen p and q (n_gen,), slack p and q."""
        plan, supply = self.plan, self.plan.supply
        size = supply.n_site + 1
        gen_p = self.dispatch.gen_p_kw * plan.gen_runs
        lacking = summed(supply.at_site, drawn.view(np.float64) - _injected(self.feed, self.dispatch), 2 * size)
        site_p, site_q = lacking[:size], lacking[size:]
        site_p -= summed(supply.gen_site, gen_p, size)
        if plan.any_fixed_q:
            fixed = plan.fixed_q * self.fixed_q_kvar
            site_q -= summed(supply.gen_site, fixed, size)
        gen_q = site_q[supply.gen_site] * supply.q_share + supply.q_offset
        if plan.any_fixed_q:
            gen_q += fixed
        slack_p, slack_q = _total(site_p, supply.slack_site), _total(site_q, supply.slack_site)
        gen_p[supply.slack_gen] = site_p[supply.gen_site[supply.slack_gen]] * supply.slack_parts
        if supply.beside_slack.size:
            slack_q -= float(gen_q[supply.beside_slack].sum())
        return gen_p, gen_q, slack_p, slack_q


class PlanFlows:
    """The flows of one solved state (`cosim.state.AnyFlows`), each part worked out when first asked for.

    The parts are the angles, the branches, their loadings, what buses draw, and who supplies that: whoever looks at
    the losses alone does not pay for a hundred branches.
    """

    __slots__ = ("_angle", "_drawn", "_loading", "_sent", "_solution", "_supplied", "_voltage")

    def __init__(self, solution: PlanSolution, voltage: ComplexArray) -> None:
        self._solution, self._voltage = solution, voltage
        self._angle: FloatArray | None = None
        self._sent: ComplexArray | None = None
        self._loading: FloatArray | None = None
        self._drawn: ComplexArray | None = None
        self._supplied: tuple[FloatArray, FloatArray, float, float] | None = None

    @property
    def angle_deg(self) -> FloatArray:
        """Voltage angles (n_bus,)."""
        if self._angle is None:
            voltage, dead = self._voltage, self._solution.plan.dead_bus
            self._angle = np.arctan2(voltage.imag, voltage.real) * DEGREES
            if dead.size:
                self._angle[dead] = np.nan
        return self._angle

    @property
    def p_from_kw(self) -> FloatArray:
        """Active power into each branch at its from end (n_branch,)."""
        return self._sent_kva().real

    @property
    def q_from_kvar(self) -> FloatArray:
        """Reactive power into each branch at its from end (n_branch,)."""
        return self._sent_kva().imag

    @property
    def loading(self) -> FloatArray:
        """Loading of each branch (n_branch,)."""
        if self._loading is None:
            ends = self._solution.ends
            self._loading = _loading(ends, self._solution.plan, self._voltage) if ends.rated else ends.unrated
        return self._loading

    @property
    def gen_p_kw(self) -> FloatArray:
        """Active power of each generator (n_gen,)."""
        return self._supply()[0]

    @property
    def gen_q_kvar(self) -> FloatArray:
        """Reactive power of each generator (n_gen,)."""
        return self._supply()[1]

    @property
    def slack_p_kw(self) -> float:
        """Active power of the slack elements."""
        return self._supply()[2]

    @property
    def slack_q_kvar(self) -> float:
        """Reactive power of the slack elements."""
        return self._supply()[3]

    @property
    def losses_kw(self) -> float:
        """Active losses."""
        return float(np.add.reduce(self._drawn_kva().real))

    def _sent_kva(self) -> ComplexArray:
        """Into each branch at its from end."""
        if self._sent is None:
            i_from, v_from = _current_from(self._solution.ends, self._solution.plan, self._voltage)
            self._sent = v_from * i_from.conj()
        return self._sent

    def _drawn_kva(self) -> ComplexArray:
        """What each bus takes from its injections."""
        if self._drawn is None:
            self._drawn = self._solution.plan.drawn_kva(self._voltage)
        return self._drawn

    def _supply(self) -> tuple[FloatArray, FloatArray, float, float]:
        """What generators and references deliver."""
        if self._supplied is None:
            self._supplied = self._solution.generation(self._drawn_kva())
        return self._supplied


def _voltage(state: GridState) -> ComplexArray:
    assert state.warm_start is not None
    return state.warm_start


def _total(values: FloatArray, at: IntArray) -> float:
    """The sum of the values at some places: usually there is one."""
    return float(values[at[0]] if at.size == 1 else values[at].sum())


def _current_from(ends: BranchEnds, plan: Plan, voltage: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
    """Current into the from ends and the voltage there, each (…, n_branch) for voltages (…, n_bus)."""
    v_from = voltage[..., ends.from_bus]
    return plan.y_ff * v_from + plan.y_ft * voltage[..., ends.to_bus], v_from


def _loading(ends: BranchEnds, plan: Plan, voltage: ComplexArray) -> FloatArray:
    """The larger end's loading of each branch (…, n_branch)."""
    near = voltage[..., ends.near]
    drawn = np.abs(plan.y_own * near + plan.y_mutual * voltage[..., ends.far])
    if not ends.rating_is_current:
        drawn = drawn * np.abs(near)
    drawn = drawn * ends.per_rating
    count = ends.from_bus.size
    return np.maximum(drawn[..., :count], drawn[..., count:])
