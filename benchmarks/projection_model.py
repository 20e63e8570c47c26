"""A projection's problem and its network as quadratic forms of rectangular node voltages: exact, and independent.

With V = e + jf the power balance, |V|^2 and |I|^2 are quadratic in (e, f), so that gradients are linear and Hessians
constant (Torres and Quintana 1998, "An interior-point method for nonlinear optimal power flow using voltage
rectangular coordinates"). Every power is a product (A V) * conj(B V) of linear maps of the voltages: `Products`.
Nothing is shared with the shield but the network's admittances; the power flow is this file's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.sparse import bmat, csr_matrix, diags, eye, hstack, vstack
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

from cosim.errors import GridError
from cosim.grid import Network
from cosim.grid.electrical import bus_admittance, electrical, references
from cosim.grid.network import IntArray
from cosim.state import ComplexArray, FloatArray, Topology

NEWTON_STEP_PU = 1e-9
"""A Newton step this small is the last: convergence is quadratic."""
MAX_NEWTON = 40
DAMPINGS = (1.0, 0.5, 0.25, 0.125, 1.0)
"""Fractions of a Newton step that are tried until one lessens the mismatch; the last is taken in any case."""


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One projection. Injections are positive into the grid; kW, kvar, kVA; voltages and loadings per unit.

    `base_p_kw`, `base_q_kvar` (n_bus,) is all that is injected but the devices and the network's generators, whose
    set points are `gen_p_kw`, `gen_v_pu` (n_gen,; None: the network's). Devices: `device_bus`, `p_min_kw`, `p_max_kw`,
    `s_max_kva` (inf: none), the request, the weights (None: 1) and `q_min_kvar`, `q_max_kvar` (None: none), all (n,).
    Limits: `v_min_pu`, `v_max_pu` (n_bus,) and `loading_max` (n_branch,) hold where they are finite and the bus is
    live or the branch has a rating. Generators keep their voltage whatever reactive power that takes.
    """

    network: Network
    topology: Topology
    base_p_kw: FloatArray
    base_q_kvar: FloatArray
    device_bus: IntArray
    p_min_kw: FloatArray
    p_max_kw: FloatArray
    s_max_kva: FloatArray
    p_request_kw: FloatArray
    q_request_kvar: FloatArray
    v_min_pu: FloatArray
    v_max_pu: FloatArray
    loading_max: FloatArray
    weight_p: FloatArray | None = None
    weight_q: FloatArray | None = None
    q_min_kvar: FloatArray | None = None
    q_max_kvar: FloatArray | None = None
    gen_p_kw: FloatArray | None = None
    gen_v_pu: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Products:
    """The products z = (A V) * conj(B V) of node voltages V (n_node,), `a` and `b` being (m, n_node)."""

    a: csr_matrix
    b: csr_matrix

    def values(self, v: ComplexArray) -> ComplexArray:
        """z (m,)."""
        return cast("ComplexArray", (self.a @ v) * (self.b @ v).conj())

    def jacobian(self, v: ComplexArray) -> csr_matrix:
        """dz/d(Re V, Im V) (m, 2 n_node), complex."""
        left = diags((self.b @ v).conj()) @ self.a
        right = diags(self.a @ v) @ self.b.conj()
        return hstack([left + right, 1j * (left - right)], format="csr")

    def hessian(self, weight: ComplexArray) -> csr_matrix:
        """The second derivative of Re(weight . z), (2 n_node, 2 n_node): it is constant."""
        half = (self.a.T @ diags(weight) @ self.b.conj()).T
        both = half + half.conj().T
        return bmat([[both.real, -both.imag], [both.imag, both.real]], format="csr")


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Upper bounds in the form sign * sqrt(u * w) <= bound: of |V|, and of every rated branch end.

    `u` (the squared voltage or current) and `w` (the squared voltage where the rating is a power, else 1) are
    quadratic. `sign` is -1 for a lower bound, `bound` positive in either case. Limits of equal number in `elastic` are
    loosened together: the two of a node's band, the two ends of a branch.
    """

    u: Products
    w: Products | None
    sign: FloatArray
    bound: FloatArray
    elastic: IntArray

    def squares(self, v: ComplexArray) -> FloatArray:
        """u * w (m,)."""
        u = self.u.values(v).real
        return u if self.w is None else u * self.w.values(v).real

    def gradient(self, v: ComplexArray) -> csr_matrix:
        """Of the squares (m, 2 n_node)."""
        du = self.u.jacobian(v).real
        if self.w is None:
            return du
        return diags(self.w.values(v).real) @ du + diags(self.u.values(v).real) @ self.w.jacobian(v).real

    def hessian(self, v: ComplexArray, weight: FloatArray) -> csr_matrix:
        """Of weight . squares (2 n_node, 2 n_node)."""
        if self.w is None:
            return self.u.hessian(weight.astype(np.complex128))
        u, w = self.u.values(v).real, self.w.values(v).real
        cross = self.u.jacobian(v).real.T @ diags(weight) @ self.w.jacobian(v).real
        return (self.u.hessian((weight * w).astype(np.complex128))
                + self.w.hessian((weight * u).astype(np.complex128)) + cross + cross.T)


class Model:
    """A problem in per unit of the devices' largest rating, on solver nodes: balance, limits, power flow."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        _check(problem)
        network = problem.network
        gen_v = network.gens.v_pu if problem.gen_v_pu is None else problem.gen_v_pu
        if network.needs_pandapower:
            raise GridError(f"optimal projection: {network.name} needs pandapower, because {network.needs_pandapower};"
                            " expected a network that our own model carries")
        held = references(network, problem.topology, gen_v)
        if not held.bus.size:
            raise GridError(f"optimal projection: {network.name} has no reference left in this topology; expected one")
        grid = electrical(network, problem.topology, held, np.zeros(len(network.gen_names), dtype=bool))
        self.grid, self.n_node = grid, grid.n_node
        finite = problem.s_max_kva[np.isfinite(problem.s_max_kva)]
        self.base_kva = float(finite.max()) if finite.size and finite.max() > 0 else 1e3
        live = np.flatnonzero(grid.node < self.n_node)
        self.spread = csr_matrix((grid.scale[live], (live, grid.node[live])), shape=(grid.node.size, self.n_node))
        self.reference_v = complex(held.voltage[0])
        self.pv = grid.pv_node
        self.pv_v = gen_v[grid.pv_gen]
        self.weights = _weights(problem)
        self._set_ends()
        self._set_balance(gen_p=network.gens.p_kw if problem.gen_p_kw is None else problem.gen_p_kw)
        rows = eye(self.n_node, format="csr")[self.pv]
        self.held = Products(rows, rows)
        self.flat = self._flat()
        self.limits = [one for one in (*self._voltage_limits(), *self._loading_limits()) if one.bound.size]
        self.n_limit = sum(one.bound.size for one in self.limits)

    def _set_balance(self, gen_p: FloatArray) -> None:
        """Power drawn at each node, what is injected there at all times, and where devices inject."""
        problem, grid, node = self.problem, self.grid, self.grid.node
        gens = problem.network.gens
        runs = grid.gen_live & ~grid.references.slack_gen
        at_bus = (problem.base_p_kw + 1j * problem.base_q_kvar) / self.base_kva
        fed = (gen_p * runs + 1j * gens.q_kvar * (runs & ~gens.regulates)) / self.base_kva
        constant = np.zeros(self.n_node + 1, dtype=np.complex128)
        np.add.at(constant, node, at_bus)
        np.add.at(constant, node[gens.bus], fed)
        base = 1e3 * problem.network.base_mva / self.base_kva
        admittance = base * self.spread.conj().T @ bus_admittance(problem.network, grid) @ self.spread
        self.constant = constant[:-1]
        self.drawn = Products(eye(self.n_node, format="csr"), csr_matrix(admittance))
        count = problem.device_bus.size
        at = node[problem.device_bus]
        reach = at < self.n_node
        self.place = csr_matrix((np.ones(int(reach.sum())), (at[reach], np.flatnonzero(reach))),
                                shape=(self.n_node, count))
        self.p_rows = np.arange(1, self.n_node)
        self.q_rows = np.setdiff1d(self.p_rows, self.pv)

    def _voltage_limits(self) -> list[Limits]:
        """The tightest of the fused buses' at every node whose voltage is not held anyway."""
        problem, model = self.problem, self.grid
        held = np.zeros(self.n_node + 1, dtype=bool)
        held[[0, self.n_node, *self.pv]] = True
        made = []
        for sign, bus_limit in ((1.0, problem.v_max_pu), (-1.0, problem.v_min_pu)):
            tightest = np.full(self.n_node + 1, np.inf)
            given = ~np.isnan(bus_limit)
            np.minimum.at(tightest, model.node[given], sign * bus_limit[given])
            which = np.flatnonzero(np.isfinite(tightest) & ~held)
            rows = eye(self.n_node, format="csr")[which]
            made.append(Limits(Products(rows, rows), None, np.full(which.size, sign), np.abs(tightest[which]), which))
        return made

    def _set_ends(self) -> None:
        """Current or power at the from and to ends of every branch, per unit of its rating (None, zero: not rated)."""
        network, y, spread = self.problem.network, self.grid.y, self.spread
        count = y.shape[1]
        every, ends = np.arange(count), (network.branches.from_bus[:count], network.branches.to_bus[:count])
        at = [csr_matrix((np.ones(count), (every, bus)), shape=(count, self.grid.node.size)) @ spread for bus in ends]
        self.ends = []
        for own, y_f, y_t, rating in ((at[0], y[0], y[1], network.branches.rating_from_kva),
                                      (at[1], y[2], y[3], network.branches.rating_to_kva)):
            per_rating = np.nan_to_num(1e3 * network.base_mva / rating[:count])
            self.ends.append((csr_matrix(diags(y_f * per_rating) @ at[0] + diags(y_t * per_rating) @ at[1]), own))
        self.rated = ~np.isnan(network.branches.rating_from_kva[:count])

    def _loading_limits(self) -> list[Limits]:
        """Both ends of every rated branch that carries current; one where both carry the same."""
        limit = self.problem.loading_max[: self.rated.size]
        is_current = self.problem.network.rating_is_current
        made: list[Limits] = []
        (i_from, _), (i_to, _) = self.ends
        doubled = np.asarray(abs(i_from + i_to).max(axis=1).todense()).ravel() <= 1e-12 * abs(i_from).max()
        for current, own in self.ends:
            carries = np.diff(current.indptr) > 0
            which = np.flatnonzero(self.rated & np.isfinite(limit) & carries & ~(doubled & bool(made) & is_current))
            u, w = current[which], own[which]
            made.append(Limits(Products(u, u), None if is_current else Products(w, w), np.ones(which.size),
                                limit[which], self.n_node + which))
        return made

    def power_flow(self, p_kw: FloatArray, q_kvar: FloatArray) -> ComplexArray | None:
        """Node voltages at these injections by Newton, from a linear start, else the flat one; None without result."""
        injected = self.constant + self.place @ (p_kw + 1j * q_kvar) / self.base_kva
        found = self._newton(self._linear_start(injected), injected)
        return self._newton(self.flat, injected) if found is None else found

    def _flat(self) -> ComplexArray:
        """Voltages at rest: unit or held magnitudes; phase shifters turn angles along a tree from the reference."""
        grid, n = self.grid, self.n_node
        v = np.ones(n, dtype=np.complex128)
        v[0] = self.reference_v / abs(self.reference_v)
        turn = np.exp(-1j * np.angle(grid.ratio))
        link = {(int(a), int(b)): t for a, b, t in zip(grid.from_node, grid.to_node, turn, strict=True)}
        joined = csr_matrix((np.ones(turn.size), (grid.from_node, grid.to_node)), shape=(n, n))
        order, before = breadth_first_order(joined, 0, directed=False)
        for node in order[1:]:
            a = int(before[node])
            v[node] = v[a] * (link[a, int(node)] if (a, int(node)) in link else np.conj(link[int(node), a]))
        v[self.pv] *= self.pv_v
        v[0] = self.reference_v
        return v

    def _linear_start(self, injected: ComplexArray) -> ComplexArray:
        """The flat voltages with angles of one Newton step on active power (a DC power flow)."""
        v = self.flat.copy()
        slope, n = self.drawn.jacobian(v), self.n_node
        turn = (slope[:, n:] @ diags(v.real) - slope[:, :n] @ diags(v.imag)).real
        short = (self.drawn.values(v) - injected).real
        if n > 1:
            v[1:] *= np.exp(-1j * splu(turn[1:, 1:].tocsc()).solve(short[1:]))
        return v

    def _newton(self, start: ComplexArray, injected: ComplexArray) -> ComplexArray | None:
        """Damped: a step that makes the mismatch larger is halved, a few times."""
        v, n = start.copy(), self.n_node
        free = np.concatenate([np.arange(1, n), n + np.arange(1, n)])
        short = self.mismatch(v, injected)
        for _ in range(MAX_NEWTON if short.size else 0):
            slope = self.drawn.jacobian(v)
            rows = vstack([slope.real[self.p_rows], slope.imag[self.q_rows], self.held.jacobian(v).real], format="csc")
            try:
                step = splu(rows[:, free]).solve(short)
            except RuntimeError:  # SuperLU's word for a singular Jacobian: the nose of the curve, or past it
                return None
            if not np.isfinite(step).all():
                return None
            move = step[: n - 1] + 1j * step[n - 1:]
            before = float(short @ short)
            for damping in DAMPINGS:
                moved = np.concatenate([v[:1], v[1:] - damping * move])
                short = self.mismatch(moved, injected)
                if short @ short < before:
                    break
            v = moved
            if np.abs(step).max() < NEWTON_STEP_PU:
                return v
        return None if short.size else v

    def mismatch(self, v: ComplexArray, injected: ComplexArray) -> FloatArray:
        """What is missing to a power flow: active and reactive power, then held squares."""
        short = self.drawn.values(v) - injected
        return np.concatenate([short.real[self.p_rows], short.imag[self.q_rows],
                               self.held.values(v).real - self.pv_v**2])

    def loading(self, v: ComplexArray) -> FloatArray:
        """The larger end's loading of each branch (n_branch,), NaN without rating."""
        power = not self.problem.network.rating_is_current
        at = [np.abs(current @ v) * (np.abs(own @ v) if power else 1.0) for current, own in self.ends]
        loading = np.full(self.problem.loading_max.size, np.nan)
        loading[: self.rated.size] = np.where(self.rated, np.maximum(*at), np.nan)
        return loading

    def own_excess(self, p_kw: FloatArray, q_kvar: FloatArray) -> float:
        """By how much the devices' own limits are passed at most, per unit."""
        (low, high), problem = self.box, self.problem
        at = np.concatenate([p_kw, q_kvar]) / self.base_kva
        circle = (np.hypot(p_kw, q_kvar) - problem.s_max_kva) / self.base_kva
        return float(max((at - high).max(initial=0.0), (low - at).max(initial=0.0), circle.max(initial=0.0)))

    @property
    def box(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of device p and q (2 n,), per unit; nothing where the rating is nil."""
        problem = self.problem
        limit = np.full(problem.device_bus.size, np.inf)
        q_min = -limit if problem.q_min_kvar is None else problem.q_min_kvar
        q_max = limit if problem.q_max_kvar is None else problem.q_max_kvar
        low, high = np.concatenate([problem.p_min_kw, q_min]), np.concatenate([problem.p_max_kw, q_max])
        rating = np.tile(problem.s_max_kva, 2)
        return np.where(rating > 0, low, 0.0) / self.base_kva, np.where(rating > 0, high, 0.0) / self.base_kva


def _weights(problem: Problem) -> tuple[FloatArray, FloatArray]:
    one = np.ones(problem.device_bus.size)
    weight_p, weight_q = problem.weight_p, problem.weight_q
    return one if weight_p is None else weight_p, one if weight_q is None else weight_q


def _check(problem: Problem) -> None:
    """GridError where something that must be a number is not."""
    for name in ("base_p_kw", "base_q_kvar", "p_min_kw", "p_max_kw", "p_request_kw", "q_request_kvar"):
        if not np.isfinite(getattr(problem, name)).all():
            raise GridError(f"optimal projection: {name} is {getattr(problem, name)}; expected finite numbers")
