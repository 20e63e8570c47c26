"""The AC power flow of a `Dispatch`: our per-unit model solved by lightsim2grid's Newton.

`PowerFlow` is what a solver of whole networks looks like to `Grid`; `NewtonFlow` is the one for everything our model
carries (`cosim.grid.pandapower_flow` is the other). kW in and out, per unit inside. Starts are tried in order: the
given voltages, the linear (DC) solution, flat. A solution below `LOW_VOLTAGE_PU` from given voltages is only
believed if the linear or flat start leads there too, since Newton from a bad start finds the low-voltage root.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cosim.grid.branch_ends import branch_ends
from cosim.grid.electrical import references
from cosim.grid.network import IntArray, Network
from cosim.grid.plan import Plan, make_plan, summed
from cosim.grid.plan_flows import Feed, PlanSolution, bus_injections
from cosim.state import BoolArray, ComplexArray, Dispatch, FloatArray, Flows, GridState, KnownFlows, Topology

LOW_VOLTAGE_PU = 0.9
"""A warm-started solution below this has to be confirmed from a start that knows nothing (a low root was seen at
0.87)."""
MAX_PLANS = 32
Q_LIMIT_MARGIN_KVAR = 1e-3
"""A reactive limit counts as passed beyond this."""
_GROUND = np.zeros(1, dtype=np.complex128)


@dataclass(frozen=True, slots=True, eq=False)
class _NodeBase:
    """What is injected at the nodes (2, size), p and q, of one plan besides devices and generators, and where devices
    inject: `at_node` (2 n_injection,), of their p, then of their q."""

    plan: Plan
    size: int
    at_node: IntArray
    given: FloatArray
    """Without generators."""
    fixed_q_kvar: FloatArray


class PowerFlow(Protocol):
    """A solver of whole networks."""

    name: str

    def solve(self, dispatch: Dispatch, start: ComplexArray | None) -> GridState:
        """The state of this dispatch; not converged is a state with a diagnosis."""


def failed(network: Network, n_branch: int, diagnosis: str, solver: str) -> GridState:
    """The state of a power flow without a solution: NaN everywhere and the reason."""
    bus, branch, gen = (np.full(n, np.nan) for n in (len(network.bus_names), n_branch, len(network.gen_names)))
    known = KnownFlows(Flows(bus, branch, branch, branch, gen, gen, np.nan, np.nan, np.nan))
    return GridState(False, bus, 0, diagnosis, solver, known, np.nan, np.nan)


class NewtonFlow:
    """Power flow by `NewtonSolver`, with the plans of the last topologies kept."""

    name = "lightsim2grid"

    def __init__(self, network: Network, feed: Feed, enforce_q_limits: bool = False) -> None:
        self._network = network
        self._feed = feed
        self._enforce = enforce_q_limits
        self._plans: OrderedDict[tuple[bytes, ...], Plan | None] = OrderedDict()
        self._latest: Plan | None = None
        self._latest_topology: Topology | None = None
        self._regulating = np.zeros(len(network.gen_names), dtype=bool)
        self._branch_ends = branch_ends(network)
        self._fixed_q_kvar = network.gens.q_kvar
        self._warm_plan: Plan | None = None
        """The plan of the last solve, where a warm start led to it: its result has every voltage to start from."""
        #: By the plan's identity, which each entry keeps alive.
        self._base_of: dict[int, _NodeBase] = {}
        self._given: tuple[_NodeBase | None, FloatArray | None, FloatArray] = (None, None, np.empty(0))
        """What loads and generators give at the nodes (2, size), and what of."""
        self._held_for: tuple[Plan | None, FloatArray | None, FloatArray] = (None, None, np.empty(0))

    def solve(self, dispatch: Dispatch, start: ComplexArray | None) -> GridState:
        """The state of this dispatch, started from bus voltages `start` (n_bus,) if given."""
        state = self._solve(dispatch, start, self._regulating)
        return self._within_q_limits(dispatch, state) if self._enforce and state.converged else state

    def _solve(self, dispatch: Dispatch, start: ComplexArray | None, pq_gen: BoolArray) -> GridState:
        plan = self._plan(dispatch, pq_gen)
        if plan is None:
            return self._blackout(dispatch)
        self._load(plan, dispatch)
        node_v = self._voltages(plan, dispatch, start)
        if node_v is None:
            return failed(self._network, self._branch_ends.from_bus.size, self._stuck(plan, dispatch), self.name)
        return self._state(plan, dispatch, node_v)

    def _plan(self, dispatch: Dispatch, pq_gen: BoolArray) -> Plan | None:
        """The plan for this dispatch's topology, from the kept ones where possible."""
        latest, topology = self._latest, dispatch.topology
        usual = pq_gen is self._regulating
        if usual and latest is not None and self._latest_topology is topology and not latest.several_references:
            return latest
        key = (*_key(topology), pq_gen.tobytes(), self._reference_key(dispatch))
        if key in self._plans:
            self._plans.move_to_end(key)
        else:
            self._plans[key] = make_plan(self._network, topology, dispatch.gen_v_pu, pq_gen)
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        plan = self._plans[key]
        if usual:
            self._latest, self._latest_topology = plan, topology
        return plan

    def _reference_key(self, dispatch: Dispatch) -> bytes:
        """What of the set points a plan depends on: with several references, how their voltages compare."""
        gens, ext = self._network.gens, self._network.ext_grids
        slack = gens.slack & dispatch.topology.gen_closed
        if np.unique(np.concatenate([ext.bus, gens.bus[slack]])).size < 2:
            return b""
        return dispatch.gen_v_pu[slack].tobytes()

    def _bus_injections(self, dispatch: Dispatch) -> tuple[FloatArray, FloatArray]:
        """Base and device injections of each bus (n_bus,), without generators."""
        return bus_injections(self._feed, dispatch)

    def _load(self, plan: Plan, dispatch: Dispatch) -> None:
        """Write what is injected into the plan's solver."""
        held = self._base_of.get(id(plan))
        if held is None or held.fixed_q_kvar is not self._fixed_q_kvar:
            held = self._base_of[id(plan)] = self._node_base(plan)
        given = self._given
        if given[0] is not held or given[1] is not dispatch.gen_p_kw:
            with_gens = held.given.copy()
            with_gens[0] += summed(plan.gen_node, dispatch.gen_p_kw * plan.gen_runs, held.size)
            given = self._given = held, dispatch.gen_p_kw, with_gens
        injected = summed(held.at_node, np.concatenate((dispatch.p_kw, dispatch.q_kvar)), 2 * held.size)
        plan.solver.set_injections(injected.reshape(2, held.size) + given[2])

    def _node_base(self, plan: Plan) -> _NodeBase:
        """What goes into the plan's nodes whatever the devices do."""
        size, node, feed = plan.model.n_node + 1, plan.model.node, self._feed
        p = summed(node, feed.base_p_kw, size)
        q = summed(node, feed.base_q_kvar, size)
        if plan.any_fixed_q:
            q += summed(plan.gen_node, self._fixed_q_kvar * plan.fixed_q, size)
        if len(self._base_of) > MAX_PLANS:
            self._base_of.clear()
        at_node = node[feed.injection_bus]
        return _NodeBase(plan, size, np.concatenate((at_node, at_node + size)), np.array((p, q)), self._fixed_q_kvar)

    def _held_v(self, plan: Plan, dispatch: Dispatch) -> FloatArray:
        """Voltage magnitudes held: the reference's, then the regulating generators'."""
        held = np.empty(plan.model.pv_gen.size + 1)
        held[0] = abs(plan.reference_v) if plan.reference_gen < 0 else dispatch.gen_v_pu[plan.reference_gen]
        held[1:] = dispatch.gen_v_pu[plan.model.pv_gen]
        return held

    def _voltages(self, plan: Plan, dispatch: Dispatch, start: ComplexArray | None) -> ComplexArray | None:
        """Node voltages (n_node,), or None where no start leads to a solution."""
        if self._held_for[0] is not plan or self._held_for[1] is not dispatch.gen_v_pu:
            self._held_for = (plan, dispatch.gen_v_pu, self._held_v(plan, dispatch))
            plan.solver.set_voltages(self._held_for[2])
        held = self._held_for[2]
        angle = plan.reference_v / abs(plan.reference_v)
        if start is not None:
            warm = start[plan.node_bus]
            # A bus that was de-energised carries 0 and gives no start; under one plan the same buses always are.
            if plan is self._warm_plan or np.count_nonzero(warm) == warm.size:
                warm[0] = held[0] * angle
                found = plan.solver.solve(warm)
                # NaN compares false: a solve that left all bounds is not believed either.
                if found is not None and np.count_nonzero(np.abs(found) >= LOW_VOLTAGE_PU) == found.size:
                    self._warm_plan = plan
                    return found
        self._warm_plan = None
        flat = np.full(plan.model.n_node, angle)
        flat[0] *= held[0]
        flat[plan.model.pv_node] *= held[1:]
        linear = plan.solver.dc_start(flat)
        found = None if linear is None else _finite(plan.solver.solve(linear))
        return _finite(plan.solver.solve(flat)) if found is None else found

    def _state(self, plan: Plan, dispatch: Dispatch, node_v: ComplexArray) -> GridState:
        """The state of a solved plan; flows are left to `PlanSolution`."""
        voltage = (np.concatenate((node_v, _GROUND)) if plan.dead_bus.size else node_v)[plan.model.node]
        if plan.several_references:
            voltage = voltage * plan.model.scale
        v_pu = np.abs(voltage)
        unserved = (0.0, 0.0)
        if plan.dead_bus.size:
            v_pu[plan.dead_bus] = np.nan
            unserved = self._unserved(plan.dead_bus, dispatch)
        solution = PlanSolution(self._branch_ends, plan, self._feed, dispatch, self._fixed_q_kvar)
        return GridState(True, v_pu, plan.solver.iterations, "", self.name, solution, *unserved, voltage)

    def _unserved(self, dead: IntArray, dispatch: Dispatch) -> tuple[float, float]:
        """Demand and reactive demand at de-energised buses."""
        feed = self._feed
        at_dead = np.isin(feed.injection_bus, dead)
        p, q = dispatch.p_kw[at_dead], dispatch.q_kvar[at_dead]
        return (float(feed.demand_kw[dead].sum() - p[p < 0].sum()),
                float(feed.demand_kvar[dead].sum() - q[q < 0].sum()))

    def _blackout(self, dispatch: Dispatch) -> GridState:
        """No reference is left: everything is de-energised, which is a solution."""
        n_bus, n_gen = len(self._network.bus_names), len(self._network.gen_names)
        nothing, none = np.full(n_bus, np.nan), np.zeros(self._branch_ends.from_bus.size)
        unserved = self._unserved(np.arange(n_bus), dispatch)
        no_gen = np.zeros(n_gen)
        loading = np.where(np.isnan(self._branch_ends.per_rating_from), np.nan, 0.0)
        known = KnownFlows(Flows(nothing, none, none, loading, no_gen, no_gen, 0.0, 0.0, 0.0))
        return GridState(True, nothing, 0, "", self.name, known, *unserved, np.zeros(n_bus, dtype=np.complex128))

    def _within_q_limits(self, dispatch: Dispatch, state: GridState) -> GridState:
        """The state with generators at a reactive limit fixed there (PV to PQ), as MATPOWER's runpf does it."""
        gens = self._network.gens
        pq_gen = np.zeros(gens.bus.size, dtype=bool)
        for _ in range(gens.bus.size):
            slack = references(self._network, dispatch.topology, dispatch.gen_v_pu).slack_gen
            free = dispatch.topology.gen_closed & gens.regulates & ~slack & ~pq_gen
            over = free & ((state.gen_q_kvar > gens.q_max_kvar + Q_LIMIT_MARGIN_KVAR)
                           | (state.gen_q_kvar < gens.q_min_kvar - Q_LIMIT_MARGIN_KVAR))
            if not over.any():
                break
            pq_gen = pq_gen | over
            limit = np.clip(state.gen_q_kvar, gens.q_min_kvar, gens.q_max_kvar)
            self._fixed_q_kvar = np.where(gens.regulates, limit, gens.q_kvar)
            state = self._solve(dispatch, state.warm_start, pq_gen)
            if not state.converged:
                break
        self._fixed_q_kvar = gens.q_kvar
        return state

    def _stuck(self, plan: Plan, dispatch: Dispatch) -> str:
        """Where the last iterate of a failed solve misses its injections most."""
        p_kw, q_kvar = self._bus_injections(dispatch)
        last = plan.solver.last_iterate()
        if last is None or not np.isfinite(last.view(np.float64)).all():
            return "power flow does not converge from the last accepted, the linear or a flat start; it left all bounds"
        voltage = np.append(last, 0.0)[plan.model.node] * plan.model.scale
        drawn = voltage * (plan.admittance @ voltage).conj()
        size = plan.model.n_node + 1
        short_p = summed(plan.model.node, drawn.real - p_kw, size)
        short_p -= summed(plan.gen_node, dispatch.gen_p_kw * plan.gen_runs, size)
        short_q = summed(plan.model.node, drawn.imag - q_kvar, size)
        short_p[[0, -1]] = 0.0
        short_q[plan.model.pv_node] = short_q[0] = short_q[-1] = 0.0
        worst = np.argsort(-np.hypot(short_p, short_q)[:-1], kind="stable")[:3]
        names = self._network.bus_names
        parts = (f"{names[plan.node_bus[n]]} ({short_p[n]:+.4g} kW, {short_q[n]:+.4g} kvar, "
                 f"{abs(last[n]):.3f} pu)" for n in worst)
        return "power flow does not converge from any start; largest mismatch at bus " + ", ".join(parts)


def _key(topology: Topology) -> tuple[bytes, ...]:
    """The positions of a topology as bytes, to find equal ones."""
    return (topology.line_closed.tobytes(), topology.trafo_closed.tobytes(), topology.gen_closed.tobytes(),
            topology.switch_closed.tobytes(), topology.tap.tobytes(), topology.shunt_step.tobytes())


def _finite(voltage: ComplexArray | None) -> ComplexArray | None:
    """`voltage` if it is a solution in numbers."""
    return voltage if voltage is not None and np.isfinite(voltage.view(np.float64)).all() else None
