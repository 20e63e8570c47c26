"""First-order change of a solved state, by the Jacobian of its own power flow (no finite differences).

A direction's right-hand side is what it injects; a voltage set point's is what moving it draws.  Devices that answer to
their voltage add their slope to the Jacobian's diagonal, so that what comes out is the change after they have answered.

What is asked for are a few rows (limits that are near) along many directions (everything that can be moved), so the
transposed system is solved: one right-hand side for each row, and a direction costs two products (the adjoint method).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.grid.branch_ends import BranchEnds
from cosim.grid.jacobian import JacobianPattern
from cosim.grid.network import IntArray
from cosim.grid.plan import Plan
from cosim.state import ComplexArray, Directions, FloatArray, Response


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Where the linearisation is made: a plan and its solved bus voltages (n_bus,)."""

    plan: Plan
    ends: BranchEnds
    injection_bus: IntArray
    voltage: ComplexArray


def sensitivity(point: Point, directions: Directions, response: Response | None) -> PlanSensitivity | None:
    """The change along `directions`, or None where the state has no linearisation (the nose of the curve)."""
    plan = point.plan
    pattern = plan.pattern
    powers = pattern.powers(point.voltage[plan.node_bus])
    by_angle, by_v = pattern.elements(powers)
    pushed = _Pushed(point, directions, by_v)
    if response is not None:
        by_v = by_v.copy()
        np.subtract.at(by_v, pattern.own_element(), _answer(point, response))
    found = PlanSensitivity(point, directions, (by_angle, by_v), pushed)
    return found if found.regular else None


def _answer(point: Point, response: Response) -> ComplexArray:
    """What injections at each node but the reference answer to its voltage, (n_node - 1,)."""
    node = point.plan.model.node[point.injection_bus]
    count = point.plan.model.n_node + 1
    answer = (np.bincount(node, response.p_kw_per_pu, count) + 1j * np.bincount(node, response.q_kvar_per_pu, count))
    return np.asarray(answer[1:-1])


class _Pushed:
    """The right-hand sides of the directions: what each injects (kW and kvar at one node), and dense columns for those
    that move a voltage set point.  Nodes are numbered without the reference."""

    def __init__(self, point: Point, directions: Directions, by_v: ComplexArray) -> None:
        plan, pattern = point.plan, point.plan.pattern
        node_of = plan.model.node[point.injection_bus]
        injects, generates = directions.injection >= 0, directions.gen >= 0
        node = np.where(injects, node_of[directions.injection] if node_of.size else 0, 0)
        if generates.any():
            gen = directions.gen
            node = np.where(generates, plan.gen_node[gen], node)
        self.p_kw, self.q_kvar = directions.p_kw, directions.q_kvar
        if generates.any():
            self.p_kw = self.p_kw + np.where(generates, directions.gen_p_kw * plan.gen_runs[directions.gen], 0.0)
        #: The reference (0) and the dead (n_node) take what is injected there without a change of voltage.
        self.node = np.where((node > 0) & (node < plan.model.n_node), node - 1, -1)
        self.held: list[tuple[int, int, float, FloatArray]] = []
        """Of each voltage set point: direction, node, change of magnitude, right-hand side (size,)."""
        for k in np.flatnonzero(directions.gen_v_pu).tolist():
            place = np.flatnonzero(plan.model.pv_gen == directions.gen[k])
            if place.size:
                at, change = int(pattern.pv[place[0]]), float(directions.gen_v_pu[k])
                self.held.append((k, at, change, pattern.stacked(-pattern.v_column(by_v, at)[:, None] * change)[:, 0]))

    def along(self, adjoint: FloatArray, pattern: JacobianPattern) -> FloatArray:
        """`adjoint` (size, k) times the right-hand sides: (k, n_direction)."""
        padded = np.concatenate([adjoint, np.zeros((1, adjoint.shape[1]))])
        active = padded[np.where(self.node < 0, pattern.size, self.node)]
        q_row = np.append(pattern.at_pq, -1)[self.node]
        reactive = padded[np.where((self.node < 0) | (q_row < 0), pattern.size, q_row)]
        out: FloatArray = (active * self.p_kw[:, None] + reactive * self.q_kvar[:, None]).T
        for k, _, _, right in self.held:
            out[:, k] += right @ adjoint
        return out


class PlanSensitivity:
    """`cosim.state.Sensitivity` of a plan's state; what is asked for is worked out when it is."""

    def __init__(self, point: Point, directions: Directions, elements: tuple[ComplexArray, ComplexArray],
                 pushed: _Pushed) -> None:
        self._point, self._directions, self._pushed = point, directions, pushed
        plan = point.plan
        self._factors = plan.pattern.factored(*elements)
        self._node_v = np.append(point.voltage[plan.node_bus], 0.0)

    @property
    def regular(self) -> bool:
        """Whether there is a linearisation."""
        return self._factors is not None

    def v_pu(self, buses: IntArray) -> FloatArray:
        """Change of voltage magnitudes at `buses` (k,)."""
        every = np.arange(buses.size)
        voltage = self._point.voltage[buses]
        return self._rows([(every, buses, _unit(voltage).conj())], buses.size)

    def loading(self, branches: IntArray) -> FloatArray:
        """Change of the loadings of `branches` (k,)."""
        ends, every = self._point.ends, np.arange(branches.size)
        at_from, at_to = self._end(branches, at_from=True), self._end(branches, at_from=False)
        heavier = at_from[0] * ends.per_rating_from[branches] >= at_to[0] * ends.per_rating_to[branches]
        scale = np.where(heavier, ends.per_rating_from[branches], ends.per_rating_to[branches])
        terms = [(every, np.where(heavier, one_bus, other_bus), scale * np.where(heavier, one, other))
                 for (one_bus, one), (other_bus, other) in zip(at_from[1], at_to[1], strict=True)]
        return self._rows(terms, branches.size)

    def branch_power(self, branches: IntArray) -> tuple[FloatArray, FloatArray]:
        """Change of power into `branches` (k,) at their from end."""
        plan, ends, every = self._point.plan, self._point.ends, np.arange(branches.size)
        near, far = ends.from_bus[branches], ends.to_bus[branches]
        own, mutual, voltage = plan.y_ff[branches], plan.y_ft[branches], self._point.voltage
        current = own * voltage[near] + mutual * voltage[far]
        # S = V I*: Re(dS) = Re(I* dV + V* dI), Im(dS) = Re(-j I* dV + j V* dI) with dI = own dV_near + mutual dV_far.
        found = []
        for turn in (1.0 + 0.0j, -1.0j):
            by_current = np.conj(turn) * voltage[near].conj()
            found.append(self._rows([(every, near, turn * current.conj() + by_current * own),
                                     (every, far, by_current * mutual)], branches.size))
        return found[0], found[1]

    def slack(self) -> tuple[FloatArray, FloatArray]:
        """Change of the slack elements' total power."""
        point, plan, directions = self._point, self._point.plan, self._directions
        at_slack = np.isin(plan.supply.bus_site, plan.supply.slack_site)
        buses, voltage = np.flatnonzero(at_slack), point.voltage
        rows = plan.admittance[buses]
        current = rows @ voltage
        found = []
        for turn in (1.0 + 0.0j, -1.0j):
            factor = np.zeros(voltage.size, np.complex128)
            factor[buses] += turn * current.conj()
            factor += (np.conj(turn) * voltage[buses].conj()) @ rows
            every = np.zeros(voltage.size, np.int64)
            found.append(self._rows([(every, np.arange(voltage.size), factor)], 1)[0])
        here = at_slack[point.injection_bus] if point.injection_bus.size else np.zeros(1, np.bool_)
        direct = (directions.injection >= 0) & here[directions.injection]
        found[0] = found[0] - np.where(direct, directions.p_kw, 0.0)
        found[1] = found[1] - np.where(direct, directions.q_kvar, 0.0)
        if plan.gen_runs.size:
            runs = plan.gen_runs * np.isin(plan.supply.gen_site, plan.supply.slack_site)
            found[0] = found[0] - np.where(directions.gen >= 0, directions.gen_p_kw * runs[directions.gen], 0.0)
        return found[0], found[1]

    def _rows(self, terms: list[tuple[IntArray, IntArray, ComplexArray]], count: int) -> FloatArray:
        """Rows Re(sum of factor x dV): `terms` are (row, bus, factor), (count, n_direction)."""
        plan, pattern = self._point.plan, self._point.plan.pattern
        angle, magnitude = np.zeros((pattern.n_node + 1, count)), np.zeros((pattern.n_node + 1, count))
        for row, bus, factor in terms:
            node = plan.model.node[bus]
            inner = np.where((node > 0) & (node < plan.model.n_node), node - 1, pattern.n_node)  # the last is nobody's
            turned = factor * plan.model.scale[bus] * self._node_v[node]
            size = np.abs(self._node_v[node])
            np.add.at(angle, (inner, row), -turned.imag)  # dV = jV dθ + V/|V| d|V|
            np.add.at(magnitude, (inner, row), np.divide(turned.real, size, out=np.zeros(size.size), where=size > 0))
        assert self._factors is not None, "asked only where regular"
        gradient = np.concatenate([angle[:-1], magnitude[pattern.pq]])
        found = self._pushed.along(self._factors(gradient), pattern)
        for k, node_held, change, _ in self._pushed.held:
            found[:, k] += magnitude[node_held] * change
        return found

    def _end(self, branches: IntArray, *, at_from: bool) -> tuple[FloatArray, list[tuple[IntArray, ComplexArray]]]:
        """What a rating is held against at one end (current, or apparent power), and its gradient: (bus, factor)."""
        plan, ends = self._point.plan, self._point.ends
        near, far = (ends.from_bus, ends.to_bus) if at_from else (ends.to_bus, ends.from_bus)
        own, mutual = (plan.y_ff, plan.y_ft) if at_from else (plan.y_tt, plan.y_tf)
        near, far, own, mutual = near[branches], far[branches], own[branches], mutual[branches]
        voltage = self._point.voltage[near]
        current = own * voltage + mutual * self._point.voltage[far]
        size, unit = np.abs(current), _unit(current).conj()
        if ends.rating_is_current:
            return size, [(near, unit * own), (far, unit * mutual)]
        v = np.abs(voltage)
        return size * v, [(near, unit * own * v + size * _unit(voltage).conj()), (far, unit * mutual * v)]


def _unit(values: ComplexArray) -> ComplexArray:
    """Directions of complex numbers, 0 for 0."""
    size = np.abs(values)
    return np.divide(values, size, out=np.zeros_like(values), where=size > 0)
