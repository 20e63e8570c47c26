"""The AC-optimal projection: the nearest injections that keep every limit, by an interior-point method, offline.

The reference that the shield is measured against, and the check that a state it calls infeasible has no safe
setpoint. `pypower.pips` (Wang et al. 2007, a primal-dual interior-point method) solves the whole programme, voltages
and injections, with the exact derivatives of `projection_model`; each result is then judged by a Newton power flow of
its injections from a flat start, never by the voltages the optimiser had. The problem is not convex: several starts
are tried and the best local optimum is given, which is no proof that it is the nearest point there is.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from pypower.pips import pips
from scipy.sparse import bmat, csr_matrix, diags, hstack, vstack

from benchmarks.projection_model import Model, Problem
from cosim.state import ComplexArray, FloatArray

__all__ = ["FEASIBILITY_TOLERANCE_PU", "Optimum", "Problem", "least_violation", "project"]

FEASIBILITY_TOLERANCE_PU = 1e-6
"""A result may pass a limit by this much (per unit of voltage, of loading, of the largest rating of a device)."""
ELASTIC_START_PU = 0.1
MAX_ITERATIONS = 150
FINE_PU = 0.03
"""Optima nearer than this to the request are sought again with the objective scaled up, to resolve the distance."""
MAX_SCALE = 1e10

Setpoints = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """Injections (n,), the root of the weighted sum of squares they are off the request, and their power flow.

    `v_pu` (n_bus,) and `loading` (n_branch,) are NaN where dead or without rating. `violation_pu` is the sum of what
    every limit of the network is passed by, `worst_pu` the largest of those and of the devices' own limits per unit
    of the largest rating; `feasible` is whether `worst_pu` is at most `FEASIBILITY_TOLERANCE_PU`. `status` says how it
    was found and from how many starts.
    """

    p_kw: FloatArray
    q_kvar: FloatArray
    distance_kva: float
    v_pu: FloatArray
    loading: FloatArray
    feasible: bool
    status: str
    violation_pu: float
    worst_pu: float


def project(problem: Problem, start: Setpoints | None = None) -> Optimum:
    """The nearest feasible injections found from `start` (kW, kvar), the request, zero and the middle of the box.

    A feasible request is itself the answer. Where no start leads to a feasible point, the one that passes limits
    least among those seen, with `feasible=False`. GridError where the network or the numbers cannot be carried.
    """
    model = Model(problem)
    asked = judged(model, problem.p_request_kw, problem.q_request_kvar, "the request")
    if asked.feasible:
        return asked
    starts = _starts(problem, start)
    found = [_solved(model, _unknowns(model, at), False) for at in starts]
    feasible = [one for one in found if one.feasible]
    if not feasible:
        return _named(min([asked, *found], key=lambda one: one.worst_pu), 0, len(starts))
    best = _finer(model, min(feasible, key=lambda one: one.distance_kva))
    return _named(best, len(feasible), len(starts))


def least_violation(problem: Problem, start: Setpoints | None = None) -> Optimum:
    """Injections within the devices' limits of least `violation_pu`, from the same starts as `project`.

    The first feasible point ends the search: it is proof. That violation stays above the tolerance from every start
    is strong evidence, not proof, that no safe setpoint exists.
    """
    model, found = Model(problem), []
    starts = _starts(problem, start)
    for at in starts:
        found.append(_solved(model, _unknowns(model, at), True))
        if found[-1].feasible:
            return _named(found[-1], 1, len(found))
    agreed = [one for one in found if one.status.startswith("converged")]
    return _named(min(agreed or found, key=lambda one: one.violation_pu), len(agreed), len(starts))


def _starts(problem: Problem, start: Setpoints | None) -> list[Setpoints]:
    zero = np.zeros(problem.device_bus.size)
    ends = np.clip(np.array([problem.p_min_kw, problem.p_max_kw]), -problem.s_max_kva, problem.s_max_kva)
    given = [] if start is None else [start]
    return [*given, (problem.p_request_kw, problem.q_request_kvar), (zero, zero), (ends.mean(axis=0), zero)]


def _named(best: Optimum, good: int, starts: int) -> Optimum:
    return replace(best, status=f"{best.status}; {good} of {starts} starts led to a result")


def _finer(model: Model, rough: Optimum) -> Optimum:
    """The same optimum with a short distance resolved; the rough one where that fails."""
    near = rough.distance_kva / model.base_kva
    if near > FINE_PU:
        return rough
    at = _unknowns(model, (rough.p_kw, rough.q_kvar))
    fine = _solved(model, at, False, min(near**-2, MAX_SCALE) if near else MAX_SCALE)
    return fine if fine.feasible and fine.distance_kva < rough.distance_kva else rough


def judged(model: Model, p_kw: FloatArray, q_kvar: FloatArray, status: str) -> Optimum:
    """These injections, with the voltages and loadings of their own power flow."""
    problem, node = model.problem, model.grid.node
    wp, wq = model.weights
    off = float(np.sqrt(wp @ (p_kw - problem.p_request_kw) ** 2 + wq @ (q_kvar - problem.q_request_kvar) ** 2))
    v = model.power_flow(p_kw, q_kvar)
    if v is None:
        no_v, no_loading = np.full(node.size, np.nan), np.full(problem.loading_max.size, np.nan)
        return Optimum(p_kw, q_kvar, off, no_v, no_loading, False, f"{status}; no power flow", np.inf, np.inf)
    v_pu = np.where(node < model.n_node, np.abs(model.spread @ v), np.nan)
    loading = model.loading(v)
    at_node = np.zeros(model.n_node + 1)  # fused buses count once
    np.maximum.at(at_node, node, np.nan_to_num(np.fmax(v_pu - problem.v_max_pu, problem.v_min_pu - v_pu)))
    passed = np.concatenate([at_node[:-1], np.maximum(np.nan_to_num(loading - problem.loading_max), 0.0)])
    worst = max(float(passed.max(initial=0.0)), model.own_excess(p_kw, q_kvar))
    return Optimum(p_kw, q_kvar, off, v_pu, loading, worst <= FEASIBILITY_TOLERANCE_PU, status,
                   float(passed.sum()), worst)


def _unknowns(model: Model, at: Setpoints) -> FloatArray:
    """Voltages and injections at these set points brought within the devices' limits; flat without a power flow."""
    low, high = model.box
    p, q = np.split(np.clip(np.concatenate(at) / model.base_kva, low, high), 2)
    room = np.sqrt(np.maximum((model.problem.s_max_kva / model.base_kva) ** 2 - p**2, 0.0))
    q = np.clip(q, -room, room)
    v = model.power_flow(p * model.base_kva, q * model.base_kva)
    v = model.flat if v is None else v
    return np.concatenate([v.real, v.imag, p, q])


def _solved(model: Model, start: FloatArray, elastic: bool, scale: float = 1.0) -> Optimum:
    """The local optimum reached from `start`, the objective times `scale`."""
    nlp = _Nlp(model, elastic)
    x = np.concatenate([start, np.full(nlp.n_elastic, ELASTIC_START_PU)])
    options = {"feastol": 1e-9, "gradtol": 1e-8, "comptol": 1e-9 if elastic else 1e-11, "costtol": 1e-9,
               "max_it": MAX_ITERATIONS, "cost_mult": scale}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a singular step ends the attempt, which its status says
        found = pips(nlp.cost, x, xmin=nlp.x_min, xmax=nlp.x_max, gh_fcn=nlp.constraints, hess_fcn=nlp.hessian,
                     opt=options)
    x, ended = found["x"], "converged" if found["eflag"] else "stopped"
    status = f"{ended} after {found['output']['iterations']} iterations"
    if not np.isfinite(x).all():
        x, status = start, "failed numerically"
    p, q = np.split(np.clip(x[nlp.devices], *model.box) * model.base_kva, 2)
    return judged(model, p, q, status)


class _Nlp:
    """The nonlinear programme in `pips`'s terms: x as in `Model`, g(x) = 0, h(x) <= 0 and bounds."""

    def __init__(self, model: Model, elastic: bool) -> None:
        self.model, self.elastic = model, elastic
        problem = model.problem
        self.n_v, self.n_device = 2 * model.n_node, problem.device_bus.size
        ids = np.concatenate([one.elastic for one in model.limits]) if elastic and model.limits else np.zeros(0, int)
        names, self.column = np.unique(ids, return_inverse=True)
        self.n_elastic = names.size
        self.size = self.n_v + 2 * self.n_device + self.n_elastic
        self.request = np.concatenate([problem.p_request_kw, problem.q_request_kvar]) / model.base_kva
        weights = np.concatenate(model.weights)
        self.weight = weights / max(float(weights.max(initial=0.0)), 1e-300)
        self.rating = problem.s_max_kva / model.base_kva
        self.round = np.flatnonzero(np.isfinite(self.rating) & (self.rating > 0))
        self.sign = np.concatenate([one.sign for one in model.limits]) if model.limits else np.zeros(0)
        self.bound = np.concatenate([one.bound for one in model.limits]) if model.limits else np.zeros(0)
        self._set_bounds()

    def _set_bounds(self) -> None:
        """Bounds on x: the reference's voltage is fixed, the devices have their box, no elastic is negative."""
        model, low, high = self.model, np.full(self.size, -np.inf), np.full(self.size, np.inf)
        for part, value in ((0, model.reference_v.real), (model.n_node, model.reference_v.imag)):
            low[part] = high[part] = value
        devices = slice(self.n_v, self.n_v + 2 * self.n_device)
        low[devices], high[devices] = model.box
        low[devices.stop:] = 0.0
        if self.elastic:  # a lower limit is not loosened below nothing
            np.minimum.at(high, devices.stop + self.column[self.sign < 0], self.bound[self.sign < 0])
        self.x_min, self.x_max, self.devices = low, high, devices

    def _voltage(self, x: FloatArray) -> ComplexArray:
        n = self.model.n_node
        return cast("ComplexArray", x[:n] + 1j * x[n: 2 * n])

    def cost(self, x: FloatArray) -> tuple[float, FloatArray]:
        """The weighted squared distance or the sum of elastics, and its gradient."""
        slope = np.zeros(self.size)
        if self.elastic:
            slope[self.devices.stop:] = 1.0
            return float(x[self.devices.stop:].sum()), slope
        off = x[self.devices] - self.request
        slope[self.devices] = 2.0 * self.weight * off
        return float(self.weight @ off**2), slope

    def constraints(self, x: FloatArray) -> tuple[FloatArray, FloatArray, csr_matrix, csr_matrix]:
        """h, g and their gradients by columns."""
        model, v = self.model, self._voltage(x)
        p, q = np.split(x[self.devices], 2)
        g = model.mismatch(v, model.constant + model.place @ (p + 1j * q))
        slope, place, none = model.drawn.jacobian(v), model.place, csr_matrix(model.place.shape)
        dg = bmat([[slope.real[model.p_rows], -place[model.p_rows], none[model.p_rows]],
                   [slope.imag[model.q_rows], none[model.q_rows], -place[model.q_rows]],
                   [model.held.jacobian(v).real, None, None]], format="csr")
        loose = self._loosened(x)
        squares = np.concatenate([one.squares(v) for one in model.limits]) if model.limits else np.zeros(0)
        h = np.concatenate([self.sign * (squares - loose**2), self._circles(p, q)])
        return h, g, self._limit_gradient(x, v, loose), self._wide(dg).T.tocsr()

    def _loosened(self, x: FloatArray) -> FloatArray:
        """The limits as they are in force at x (n_limit,)."""
        return self.bound + self.sign * x[self.devices.stop:][self.column] if self.elastic else self.bound

    def _circles(self, p: FloatArray, q: FloatArray) -> FloatArray:
        at = self.round
        return (p[at] ** 2 + q[at] ** 2) / self.rating[at] ** 2 - 1.0

    def _wide(self, rows: csr_matrix) -> csr_matrix:
        """Rows with columns of zeros for the unknowns that follow."""
        missing = self.size - rows.shape[1]
        return rows if not missing else hstack([rows, csr_matrix((rows.shape[0], missing))], format="csr")

    def _limit_gradient(self, x: FloatArray, v: ComplexArray, loose: FloatArray) -> csr_matrix:
        at, every = self.round, np.arange(self.round.size)
        p, q = np.split(x[self.devices], 2)
        over = 2.0 / self.rating[at] ** 2
        columns = self.n_v + np.concatenate([at, self.n_device + at])
        circles = csr_matrix((np.concatenate([over * p[at], over * q[at]]), (np.tile(every, 2), columns)),
                             shape=(at.size, self.size))
        limits = [self._wide(one.gradient(v)) for one in self.model.limits]
        if not limits:
            return circles.T.tocsr()
        rows = diags(self.sign) @ vstack(limits, format="csr")
        if self.elastic:
            rows = rows + csr_matrix((-2.0 * loose, (np.arange(loose.size), self.devices.stop + self.column)),
                                     shape=rows.shape)
        return vstack([rows, circles], format="csr").T.tocsr()

    def hessian(self, x: FloatArray, multipliers: dict[str, FloatArray], cost_mult: float = 1.0) -> csr_matrix:
        """Of the Lagrangian, with multipliers `eqnonlin` of g and `ineqnonlin` of h."""
        model, v = self.model, self._voltage(x)
        lam, mu = multipliers["eqnonlin"], multipliers["ineqnonlin"]
        n_p, n_q = model.p_rows.size, model.q_rows.size
        weight = np.zeros(model.n_node, dtype=np.complex128)
        weight[model.p_rows] += lam[:n_p]
        weight[model.q_rows] -= 1j * lam[n_p: n_p + n_q]
        total = model.drawn.hessian(weight) + model.held.hessian(lam[n_p + n_q:].astype(np.complex128))
        begin = 0
        for one in model.limits:
            part = slice(begin, begin + one.bound.size)
            total = total + one.hessian(v, self.sign[part] * mu[part])
            begin = part.stop
        diagonal = np.zeros(self.size - self.n_v)
        if not self.elastic:
            diagonal[: 2 * self.n_device] = 2.0 * cost_mult * self.weight
        circle = np.zeros(self.n_device)
        circle[self.round] = 2.0 * mu[begin:] / self.rating[self.round] ** 2
        diagonal[: 2 * self.n_device] += np.tile(circle, 2)
        if self.elastic:
            np.add.at(diagonal, 2 * self.n_device + self.column, -2.0 * self.sign * mu[:begin])
        return bmat([[total, None], [None, diags(diagonal)]], format="csr")
