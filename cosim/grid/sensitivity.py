"""First-order change of a solved state, by the Jacobian of its own power flow (no finite differences).

A direction's right-hand side is what it injects; a voltage set point's is what moving it draws.  Devices that answer to
their voltage add their slope to the Jacobian's diagonal, so that what comes out is the change after they have answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.grid.branch_ends import BranchEnds
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
    pattern, model = plan.pattern, plan.model
    count = directions.p_kw.size
    if not pattern.size:
        return PlanSensitivity(point, directions, np.zeros((model.n_node + 1, count), np.complex128))
    powers = pattern.powers(point.voltage[plan.node_bus])
    by_angle, by_v = pattern.elements(powers)
    power = _injected(point, directions)
    for k in np.flatnonzero(directions.gen_v_pu).tolist():
        place = np.flatnonzero(model.pv_gen == directions.gen[k])
        if place.size:
            power[:, k] -= pattern.v_column(by_v, int(pattern.pv[place[0]])) * directions.gen_v_pu[k]
    if response is not None:
        by_v = by_v.copy()
        np.subtract.at(by_v, pattern.own_element(), _answer(point, response))
    change = pattern.solve(by_angle, by_v, pattern.stacked(power))
    if change is None:
        return None
    return PlanSensitivity(point, directions, _voltage_change(point, directions, change, powers.v_pu))


def _injected(point: Point, directions: Directions) -> ComplexArray:
    """What directions inject at nodes without the reference, (n_node - 1, n_direction)."""
    plan, count = point.plan, directions.p_kw.size
    out = np.zeros((plan.model.n_node + 1, count), np.complex128)
    node_of = plan.model.node[point.injection_bus]
    at = np.flatnonzero(directions.injection >= 0)
    out[node_of[directions.injection[at]], at] = directions.p_kw[at] + 1j * directions.q_kvar[at]
    at = np.flatnonzero(directions.gen >= 0)
    gen = directions.gen[at]
    out[plan.gen_node[gen], at] += directions.gen_p_kw[at] * plan.gen_runs[gen]
    return out[1:-1]


def _answer(point: Point, response: Response) -> ComplexArray:
    """What injections at each node but the reference answer to its voltage, (n_node - 1,)."""
    node = point.plan.model.node[point.injection_bus]
    count = point.plan.model.n_node + 1
    answer = (np.bincount(node, response.p_kw_per_pu, count) + 1j * np.bincount(node, response.q_kvar_per_pu, count))
    return np.asarray(answer[1:-1])


def _voltage_change(point: Point, directions: Directions, change: FloatArray, v_pu: FloatArray) -> ComplexArray:
    """Change of complex node voltages (n_node + 1, n_direction); the reference and the dead do not move."""
    plan = point.plan
    pattern = plan.pattern
    magnitude = np.zeros((pattern.n_node, directions.p_kw.size))
    magnitude[pattern.pq] = change[pattern.n_node:]
    for k in np.flatnonzero(directions.gen_v_pu).tolist():
        place = np.flatnonzero(plan.model.pv_gen == directions.gen[k])
        magnitude[pattern.pv[place], k] = directions.gen_v_pu[k]
    voltage = point.voltage[plan.node_bus[1:]][:, None]
    out = np.zeros((plan.model.n_node + 1, directions.p_kw.size), np.complex128)
    out[1:-1] = voltage * (1j * change[: pattern.n_node] + magnitude / v_pu[:, None])
    return out


class PlanSensitivity:
    """`cosim.state.Sensitivity` of a plan's state; what is asked for is worked out when it is."""

    def __init__(self, point: Point, directions: Directions, change: ComplexArray) -> None:
        self._point, self._directions, self._change = point, directions, change

    def v_pu(self, buses: IntArray) -> FloatArray:
        """Change of voltage magnitudes at `buses` (k,)."""
        voltage = self._point.voltage[buses]
        size = np.abs(voltage)
        unit = np.divide(voltage, size, out=np.zeros_like(voltage), where=size > 0)
        return np.asarray((unit.conj()[:, None] * self._at(buses)).real)

    def loading(self, branches: IntArray) -> FloatArray:
        """Change of the loadings of `branches` (k,)."""
        ends = self._point.ends
        loaded = [self._end(branches, at_from) for at_from in (True, False)]
        at_from, at_to = loaded[0][0], loaded[1][0]
        heavier = at_from * ends.per_rating_from[branches] >= at_to * ends.per_rating_to[branches]
        return np.where(heavier[:, None], loaded[0][1] * ends.per_rating_from[branches][:, None],
                        loaded[1][1] * ends.per_rating_to[branches][:, None])

    def branch_power(self, branches: IntArray) -> tuple[FloatArray, FloatArray]:
        """Change of power into `branches` (k,) at their from end."""
        current, d_current, voltage, d_voltage = self._flow(branches, at_from=True)
        change = d_voltage * current.conj()[:, None] + voltage[:, None] * d_current.conj()
        return change.real, change.imag

    def slack(self) -> tuple[FloatArray, FloatArray]:
        """Change of the slack elements' total power."""
        point, plan, directions = self._point, self._point.plan, self._directions
        buses = np.flatnonzero(np.isin(plan.supply.bus_site, plan.supply.slack_site))
        rows = plan.admittance[buses]
        change = self._at(np.arange(plan.model.node.size))
        drawn = (change[buses] * (rows @ point.voltage).conj()[:, None]
                 + point.voltage[buses][:, None] * (rows @ change).conj()).sum(axis=0)
        at_slack = np.isin(np.arange(plan.model.node.size), buses)
        direct = np.where(directions.injection >= 0, directions.p_kw + 1j * directions.q_kvar, 0.0)
        drawn -= np.where(at_slack[point.injection_bus[directions.injection]], direct, 0.0)
        gen = directions.gen
        runs = (plan.gen_runs * np.isin(plan.supply.gen_site, plan.supply.slack_site)) if plan.gen_runs.size else None
        if runs is not None:
            drawn -= np.where(gen >= 0, directions.gen_p_kw * runs[gen], 0.0)
        return drawn.real, drawn.imag

    def _at(self, buses: IntArray) -> ComplexArray:
        """Change of complex voltages at `buses`, (k, n_direction)."""
        model = self._point.plan.model
        return np.asarray(model.scale[buses][:, None] * self._change[model.node[buses]])

    def _flow(self, branches: IntArray, *, at_from: bool) -> tuple[ComplexArray, ComplexArray, ComplexArray,
                                                                   ComplexArray]:
        """Current into one end, its change, the voltage there and its change."""
        plan, ends = self._point.plan, self._point.ends
        near, far = (ends.from_bus, ends.to_bus) if at_from else (ends.to_bus, ends.from_bus)
        own, mutual = (plan.y_ff, plan.y_ft) if at_from else (plan.y_tt, plan.y_tf)
        near, far, own, mutual = near[branches], far[branches], own[branches], mutual[branches]
        voltage, d_voltage = self._point.voltage[near], self._at(near)
        current = own * voltage + mutual * self._point.voltage[far]
        d_current = own[:, None] * d_voltage + mutual[:, None] * self._at(far)
        return current, d_current, voltage, d_voltage

    def _end(self, branches: IntArray, at_from: bool) -> tuple[FloatArray, FloatArray]:
        """What a rating is held against at one end (current, or apparent power), and its change."""
        current, d_current, voltage, d_voltage = self._flow(branches, at_from=at_from)
        size = np.abs(current)
        unit = np.divide(current, size, out=np.zeros_like(current), where=size > 0)
        change = (unit.conj()[:, None] * d_current).real
        if self._point.ends.rating_is_current:
            return size, change
        v = np.abs(voltage)
        v_unit = np.divide(voltage, v, out=np.zeros_like(voltage), where=v > 0)
        return size * v, change * v[:, None] + size[:, None] * (v_unit.conj()[:, None] * d_voltage).real
