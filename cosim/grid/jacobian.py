"""The Jacobian of the power-flow equations at solved voltages: elements in place, filled in one pass.

Unknowns are the angles of all nodes but the reference and the magnitudes of the PQ nodes; equations the active power of
the former and the reactive power of the latter (the Newton-Raphson formulation; derivatives as in MATPOWER's Technical
Note 2, Zimmerman 2010, eq. 27-34).  Powers are kW and kvar, angles radians, magnitudes per unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix
from scipy.sparse.linalg import splu

from cosim.grid.electrical import Electrical
from cosim.grid.network import IntArray
from cosim.state import ComplexArray, FloatArray

#: Right-hand sides (size, k) to solutions.
Solve = Callable[[FloatArray], FloatArray]

DENSE_MOST = 100
"""Unknowns up to which LAPACK's dense LU is faster than SuperLU (measured: half the time at 64, 1.3 times at 181).  A
larger one also goes to several threads, which on a busy machine wait for each other a hundred times as long."""
SINGULAR = 1e-12
"""Reciprocal condition below which the state is taken for the nose of its curve."""


@dataclass(frozen=True, slots=True, eq=False)
class NodePowers:
    """Derivatives' ingredients at one state: `branch` (n_element,) are V_a conj(Y_ab V_b), `node` (n_node - 1,) the
    power drawn at each node but the reference, `v_pu` (n_node - 1,) magnitudes."""

    branch: ComplexArray
    node: ComplexArray
    v_pu: FloatArray


class JacobianPattern:
    """Positions of a topology's Jacobian elements.  Nodes here are numbered without the reference."""

    def __init__(self, admittance: csr_matrix, model: Electrical) -> None:
        self.n_node = model.n_node - 1
        y = _by_node(admittance, model)
        self._y_rows, self._y = y.row, y.data
        self._y_columns = y.col
        inner = np.flatnonzero(y.col > 0)
        self._inner = inner
        self.row, self.column = y.row[inner] - 1, y.col[inner] - 1
        self._own = np.flatnonzero(self.row == self.column)
        self.pv = model.pv_node - 1
        is_pq = np.ones(self.n_node, dtype=bool)
        is_pq[self.pv] = False
        self.pq = np.flatnonzero(is_pq)
        self.size = self.n_node + self.pq.size
        #: The equation of each node's reactive power (n_node,), -1 where its voltage is held.
        self.at_pq = np.full(self.n_node, -1)
        self.at_pq[self.pq] = self.n_node + np.arange(self.pq.size)
        self._place()

    def _place(self) -> None:
        """Flat positions of the four blocks' elements in the matrix, and which elements each block takes."""
        rows_q, columns_v = self.at_pq[self.row], self.at_pq[self.column]
        self._with_q, self._with_v = np.flatnonzero(rows_q >= 0), np.flatnonzero(columns_v >= 0)
        self._with_qv = np.flatnonzero((rows_q >= 0) & (columns_v >= 0))
        self._rows = np.concatenate([self.row, self.row[self._with_v], rows_q[self._with_q], rows_q[self._with_qv]])
        self._columns = np.concatenate([self.column, columns_v[self._with_v], self.column[self._with_q],
                                        columns_v[self._with_qv]])
        self._flat = self._columns * self.size + self._rows  # column by column, as LAPACK has it
        self._order = np.argsort(self._flat, kind="stable")
        starts = np.searchsorted(self._columns[self._order], np.arange(self.size + 1))
        self._csc = self._rows[self._order].astype(np.int32), starts.astype(np.int32)

    def powers(self, voltage: ComplexArray) -> NodePowers:
        """At node voltages (n_node + 1,), the reference first."""
        drawn = voltage[self._y_rows] * np.conj(self._y * voltage[self._y_columns])
        count = self.n_node + 1
        node = (np.bincount(self._y_rows, drawn.real, count) + 1j * np.bincount(self._y_rows, drawn.imag, count))[1:]
        return NodePowers(drawn[self._inner], node, np.abs(voltage[1:]))

    def elements(self, powers: NodePowers) -> tuple[ComplexArray, ComplexArray]:
        """Derivatives of the power drawn at `row` by angle and by magnitude of `column`, each (n_element,)."""
        by_angle = -1j * powers.branch
        by_v = powers.branch / powers.v_pu[self.column]
        own = self._own
        node = powers.node[self.row[own]]
        by_angle[own] += 1j * node
        by_v[own] += node / powers.v_pu[self.row[own]]
        return by_angle, by_v

    def own_element(self) -> IntArray:
        """Positions of the diagonal among the elements, (n_node,) by node."""
        found = np.empty(self.n_node, dtype=np.int64)
        found[self.row[self._own]] = self._own
        return found

    def factored(self, by_angle: ComplexArray, by_v: ComplexArray) -> Solve | None:
        """Solves Jᵀ x = right for right-hand sides (size, k); None where J is singular to working precision."""
        values = np.concatenate([by_angle.real, by_v.real[self._with_v], by_angle.imag[self._with_q],
                                 by_v.imag[self._with_qv]])
        if self.size == 0:
            return lambda right: right
        if self.size <= DENSE_MOST:
            return self._dense(values)
        matrix = csc_matrix((values[self._order], *self._csc), shape=(self.size, self.size))
        try:
            factors = splu(matrix, permc_spec="MMD_AT_PLUS_A")
        except RuntimeError:  # "Factor is exactly singular"
            return None
        # SuperLU hands its pivots out at the price of another factorisation: how long an answer gets says as much.
        answer = np.abs(factors.solve(np.ones(self.size), "T")).max()
        if not answer * np.abs(values).max() < 1.0 / SINGULAR:
            return None
        return lambda right: np.asarray(factors.solve(right, "T"))

    def _dense(self, values: FloatArray) -> Solve | None:
        matrix = np.zeros(self.size * self.size)
        matrix[self._flat] = values
        factors, pivots, info = lapack.dgetrf(matrix.reshape(self.size, self.size, order="F"), overwrite_a=True)
        diagonal = np.abs(np.diagonal(factors))
        if info != 0 or not diagonal.min(initial=1.0) > SINGULAR * diagonal.max(initial=1.0):
            return None
        return lambda right: np.asarray(lapack.dgetrs(factors, pivots, right, trans=1)[0])

    def stacked(self, power: ComplexArray) -> FloatArray:
        """Right-hand sides (size, k) of injections (n_node, k)."""
        return np.concatenate([power.real, power.imag[self.pq]])

    def v_column(self, by_v: ComplexArray, node: int) -> ComplexArray:
        """Derivative of every node's power (n_node,) by the magnitude of one node."""
        found = np.zeros(self.n_node, dtype=np.complex128)
        at = np.flatnonzero(self.column == node)
        found[self.row[at]] = by_v[at]
        return found


def _by_node(admittance: csr_matrix, model: Electrical) -> coo_matrix:
    """Admittances (n_node, n_node) between nodes, rows of the reference left out: what node b's voltage draws at a.

    Fused buses add up; buses of a further reference are at `scale` times the first one's voltage.
    """
    buses = admittance.tocoo()
    row, column = model.node[buses.row], model.node[buses.col]
    live = (row > 0) & (row < model.n_node) & (column < model.n_node)
    values = (buses.data * model.scale[buses.col])[live]
    shape = (model.n_node, model.n_node)
    summed = coo_matrix((values, (row[live], column[live])), shape=shape).tocsr()
    # Every node has its own element, even one that nothing is connected to but fused branches.
    own = csr_matrix((np.zeros(model.n_node - 1), (np.arange(1, model.n_node), np.arange(1, model.n_node))), shape)
    return _union(summed, own)


def _union(one: csr_matrix, other: csr_matrix) -> coo_matrix:
    """The sum with explicit zeros kept where only `other` has elements."""
    a, b = one.tocoo(), other.tocoo()
    keys = np.concatenate([a.row.astype(np.int64) * a.shape[1] + a.col, b.row.astype(np.int64) * a.shape[1] + b.col])
    unique, place = np.unique(keys, return_inverse=True)
    values = np.concatenate([a.data, b.data])
    count = unique.size
    data = np.bincount(place, values.real, count) + 1j * np.bincount(place, values.imag, count)
    return coo_matrix((data, (unique // a.shape[1], unique % a.shape[1])), shape=a.shape)
