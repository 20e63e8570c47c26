"""The quadratic programmes of the projection, against answers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.shield.qp import least_bad, nearest

INF = np.inf


def box(n: int, size: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """±size in n directions."""
    return np.full(n, -size), np.full(n, size)


def hard(m: int) -> np.ndarray:
    """Prices of hard rows."""
    return np.full(m, INF)


def test_without_rows_the_nearest_point_is_zero_or_the_edge_of_the_box() -> None:
    """The fast path, without a solver."""
    found = nearest(np.empty((0, 3)), np.empty(0), np.array([-1.0, 2.0, -5.0]), np.array([1.0, 3.0, -4.0]), hard(0))
    assert found is not None
    assert found.tolist() == [0.0, 2.0, -4.0]


def test_one_row_is_met_along_its_normal() -> None:
    """a y <= -1 with a = (1, 2): y = -a / |a|²."""
    found = nearest(np.array([[1.0, 2.0]]), np.array([-1.0]), *box(2), hard(1))
    assert found == pytest.approx([-0.2, -0.4], abs=1e-7)


def test_a_bound_that_binds_leaves_the_rest_to_the_others() -> None:
    """y0 may only go to -0.1: y1 makes up for it."""
    found = nearest(np.array([[1.0, 2.0]]), np.array([-1.0]), np.array([-0.1, -10.0]), np.array([10.0, 10.0]), hard(1))
    assert found == pytest.approx([-0.1, -0.45], abs=1e-6)


def test_rows_that_no_point_of_the_box_meets_are_told() -> None:
    """None, not a point that breaks them."""
    assert nearest(np.array([[1.0, 2.0]]), np.array([-100.0]), *box(2, 1.0), hard(1)) is None
    assert nearest(np.array([[1.0], [-1.0]]), np.array([-1.0, -1.0]), *box(1), hard(2)) is None


def test_the_size_of_a_rows_numbers_does_not_matter() -> None:
    """Voltages per kW and loadings per kW differ by orders of magnitude."""
    plain = nearest(np.array([[1.0, 2.0]]), np.array([-1.0]), *box(2), hard(1))
    small = nearest(1e-6 * np.array([[1.0, 2.0]]), np.array([-1e-6]), *box(2), hard(1))
    assert plain == pytest.approx(small, abs=1e-6)


def test_a_soft_row_costs_its_price_and_no_more() -> None:
    """min ½y² + c s with y <= -1 + s: y = -min(c, 1)."""
    for price, expected in ((0.3, -0.3), (5.0, -1.0)):
        found = nearest(np.array([[1.0]]), np.array([-1.0]), *box(1), np.array([price]))
        assert found == pytest.approx([expected], abs=1e-5)


def test_the_least_bad_point_breaks_what_weighs_least() -> None:
    """y <= -1 and y >= 1 cannot both be met: the dearer one is."""
    rows, bound = np.array([[1.0], [-1.0]]), np.array([-1.0, -1.0])
    assert least_bad(rows, bound, *box(1), np.array([10.0, 1.0])) == pytest.approx([-1.0], abs=1e-3)
    assert least_bad(rows, bound, *box(1), np.array([1.0, 10.0])) == pytest.approx([1.0], abs=1e-3)


def test_the_least_bad_point_goes_as_far_as_the_box_lets_it() -> None:
    """What cannot be met is met as far as possible."""
    found = least_bad(np.array([[1.0, 1.0]]), np.array([-100.0]), *box(2, 3.0), np.ones(1))
    assert found == pytest.approx([-3.0, -3.0], abs=1e-4)


def test_a_row_of_zeros_is_no_division_by_zero() -> None:
    """A limit that nobody can move."""
    found = nearest(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([1.0, -1.0]), *box(2), hard(2))
    assert found == pytest.approx([-1.0, 0.0], abs=1e-7)
