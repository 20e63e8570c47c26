"""The quadratic programmes of the projection, solved by PIQP's dense backend.

    nearest:   min ½|y|² + Σ price s  s.t. A y <= b + s, s >= 0 (0 for hard rows), low <= y <= high
    least bad: min Σ w s + ½ε|y|²     s.t. A y <= b + s, s >= 0, low <= y <= high

PIQP (Schwan et al., CDC 2023) is a proximal interior-point method: it says whether a problem is infeasible, which the
alternatives measured for us did not do reliably.  Whatever it says, the AC power flow has the last word.
"""

from __future__ import annotations

import numpy as np
import piqp

from cosim.points import Vector

ACCURACY = 1e-9
ITERATIONS = 100
REGULAR = 1e-6
"""Weight ε of the distance where feasibility comes first."""


def nearest(rows: Vector, bound: Vector, low: Vector, high: Vector, price: Vector) -> Vector | None:
    """The y (n,) nearest to zero with `rows` (m, n) y <= `bound` (m,) within `low`..`high` (n,); None where none is.

    A row with a finite `price` (m,) is soft: passing it by one costs that much, in units of ½|y|².
    """
    n, m = low.size, rows.shape[0]
    if not m:
        return np.minimum(np.maximum(np.zeros(n), low), high)
    unit = _unit(low, high)
    size = _row_sizes(rows)
    scaled, limit = rows / size, bound / (size[:, 0] * unit)
    box, low, high = (low, high), low / unit, high / unit
    found = _nearest(scaled, limit, low, high, price * size[:, 0] / unit)
    return None if found is None else np.minimum(np.maximum(found * unit, box[0]), box[1])


def _nearest(scaled: Vector, limit: Vector, low: Vector, high: Vector, price: Vector) -> Vector | None:
    """As `nearest`, with all of about one: what an absolute accuracy means something for."""
    n, m = low.size, limit.size
    soft = np.flatnonzero(np.isfinite(price))
    if not soft.size:
        return _solve(np.eye(n, order="F"), np.zeros(n), scaled, limit, (low, high))
    k = soft.size
    quadratic = np.zeros((n + k, n + k), order="F")
    quadratic[np.arange(n), np.arange(n)] = 1.0
    linear = np.concatenate([np.zeros(n), price[soft]])
    slack = np.zeros((m, k))
    slack[soft, np.arange(k)] = -1.0
    found = _solve(quadratic, linear, np.hstack([scaled, slack]), limit,
                   (np.concatenate([low, np.zeros(k)]), np.concatenate([high, np.full(k, np.inf)])))
    return None if found is None else found[:n]


def least_bad(rows: Vector, bound: Vector, low: Vector, high: Vector, dear: Vector) -> Vector | None:
    """The y (n,) that passes bounds the least in sum, passing row i weighing `dear` (m,) per unit of `bound`."""
    m, n = rows.shape
    unit = _unit(low, high)
    size = _row_sizes(rows)
    low, high = low / unit, high / unit
    weight = np.zeros(n + m)
    weight[n:] = dear * size[:, 0]
    weight[n:] /= max(weight[n:].max(initial=0.0), 1e-300)
    quadratic = np.zeros((n + m, n + m), order="F")
    quadratic[np.arange(n), np.arange(n)] = REGULAR
    quadratic[np.arange(n, n + m), np.arange(n, n + m)] = 1e-9
    slack = np.hstack([rows / size, -np.eye(m)])
    found = _solve(quadratic, weight, slack, bound / (size[:, 0] * unit),
                   (np.concatenate([low, np.zeros(m)]), np.concatenate([high, np.full(m, np.inf)])))
    return None if found is None else found[:n] * unit


def _unit(low: Vector, high: Vector) -> float:
    """The largest step there is: lengths in this unit are about one."""
    return max(float(np.abs(low).max(initial=0.0)), float(np.abs(high).max(initial=0.0)), 1e-12)


def _row_sizes(rows: Vector) -> Vector:
    """Largest coefficient of each row (m, 1), 1 for an empty one."""
    size = np.abs(rows).max(axis=1, initial=0.0)
    return np.where(size > 0, size, 1.0)[:, None]


def _solve(quadratic: Vector, linear: Vector, rows: Vector, bound: Vector, box: tuple[Vector, Vector]) -> Vector | None:
    solver = piqp.DenseSolver()
    solver.settings.verbose = False
    solver.settings.eps_abs, solver.settings.eps_rel = ACCURACY, ACCURACY
    solver.settings.max_iter = ITERATIONS
    low, high = box
    solver.setup(quadratic, linear, None, None, np.asfortranarray(rows), None, bound, low, high)
    if solver.solve() != piqp.PIQP_SOLVED:
        return None
    found = np.array(solver.result.x)
    if not np.isfinite(found).all():
        return None
    return np.asarray(np.minimum(np.maximum(found, low), high))
