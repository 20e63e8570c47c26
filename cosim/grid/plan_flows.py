"""What follows from the voltages of a solved plan: branch flows, generation, slack, losses, for one state or many.

Worked out when asked for (`GridState.flows`), or for many states of one topology at once (`totals`), where NumPy's cost
a call is shared by all of them.
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
    Flows,
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

    def flows(self, state: GridState) -> Flows:
        """Of one state."""
        voltage, plan = _voltage(state), self.plan
        i_from, v_from = _current_from(self.ends, plan, voltage)
        s_from = v_from * i_from.conj()
        drawn = plan.drawn_kva(voltage)
        gen_p, gen_q, slack_p, slack_q = self._generation(drawn)
        angle = np.arctan2(voltage.imag, voltage.real) * DEGREES
        if plan.dead_bus.size:
            angle[plan.dead_bus] = np.nan
        loading = _loading(self.ends, plan, voltage) if self.ends.rated else self.ends.unrated
        return Flows(angle, s_from.real, s_from.imag, loading, gen_p, gen_q, slack_p, slack_q,
                     float(np.add.reduce(drawn.real)))

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

    def loading(self, state: GridState) -> FloatArray:
        """Of one state."""
        if not self.ends.rated:
            return self.ends.unrated
        return _loading(self.ends, self.plan, _voltage(state))

    def sensitivity(self, state: GridState, directions: Directions, response: Response | None) -> Sensitivity | None:
        """By the Jacobian at the solved voltages."""
        return sensitivity(Point(self.plan, self.ends, self.feed.injection_bus, _voltage(state)), directions, response)

    def _generation(self, drawn: ComplexArray) -> tuple[FloatArray, FloatArray, float, float]:
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
