"""The Jacobian's elements are derivatives, its two solvers agree, and its singularity is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.grid import Grid, Network, jacobian, load_network
from cosim.grid.jacobian import JacobianPattern
from cosim.grid.plan import make_plan
from cosim.state import ComplexArray, Directions, GridState


def pattern_of(network: Network) -> JacobianPattern:
    """The pattern of the network as it was read."""
    plan = make_plan(network, network.topology, network.gens.v_pu, np.zeros(len(network.gen_names), bool))
    assert plan is not None
    return plan.pattern


def voltages(pattern: JacobianPattern) -> ComplexArray:
    """Some voltages (n_node + 1,), the reference first."""
    rng = np.random.default_rng(3)
    count = pattern.n_node + 1
    return rng.uniform(0.95, 1.05, count) * np.exp(1j * rng.uniform(-0.2, 0.2, count))


@pytest.mark.parametrize("name", ["case14", "cigre_mv"])
def test_elements_are_derivatives_of_the_power_drawn(name: str) -> None:
    """By angle and by magnitude of every node, against central differences."""
    pattern = pattern_of(load_network(name))
    voltage = voltages(pattern)
    by_angle, by_v = pattern.elements(pattern.powers(voltage))
    for node in range(pattern.n_node):
        for found, change in ((by_angle, 1j * voltage[node + 1]), (by_v, voltage[node + 1] / abs(voltage[node + 1]))):
            up, down = voltage.copy(), voltage.copy()
            up[node + 1] += 1e-6 * change
            down[node + 1] -= 1e-6 * change
            want = (pattern.powers(up).node - pattern.powers(down).node) / 2e-6
            have = np.zeros(pattern.n_node, np.complex128)
            at = pattern.column == node
            have[pattern.row[at]] = found[at]
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-6 * np.abs(by_v).max())


@pytest.mark.parametrize("name", ["case14", "case33bw", "cigre_mv", "case118"])
def test_dense_and_sparse_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPACK and SuperLU give one answer, and it solves the equations."""
    pattern = pattern_of(load_network(name))
    elements = pattern.elements(pattern.powers(voltages(pattern)))
    right = np.random.default_rng(4).normal(size=(pattern.size, 3))
    answers = []
    for most in (10_000, 0):
        monkeypatch.setattr(jacobian, "DENSE_MOST", most)
        solve = pattern.factored(*elements)
        assert solve is not None
        answers.append(solve(right))
    dense, sparse = answers
    np.testing.assert_allclose(dense, sparse, rtol=0, atol=1e-9 * np.abs(dense).max())


@pytest.mark.parametrize("most", [10_000, 0])
def test_a_singular_matrix_has_no_answer(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither solver makes up numbers."""
    monkeypatch.setattr(jacobian, "DENSE_MOST", most)
    pattern = pattern_of(load_network("case14"))
    by_angle, by_v = pattern.elements(pattern.powers(voltages(pattern)))
    nothing = pattern.row == 5
    by_angle[nothing] = 0.0
    by_v[nothing] = 0.0
    assert pattern.factored(by_angle, by_v) is None


def test_near_the_nose_numbers_grow_and_stay_true_or_there_are_none() -> None:
    """Towards the largest load that has a solution, dV/dP grows; never is a number given that is no number."""
    grid = Grid(load_network("case33bw"), [17])
    along = Directions(np.array([0]), np.ones(1), np.zeros(1), np.array([-1]), np.zeros(1), np.zeros(1))
    low, high = 0.0, 1e5
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if loaded(grid, middle).converged else (low, middle)
    slopes = []
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        found = loaded(grid, share * low).sensitivity(along)
        slopes.append(np.inf if found is None else float(found.v_pu(np.array([17]))[0, 0]))
    assert slopes[:-1] == sorted(slopes[:-1])
    assert slopes[-2] > 3 * slopes[0] > 0
    assert abs(slopes[-1]) > 100 * slopes[0]  # at the nose itself either side of it may have been found; NaN fails


def loaded(grid: Grid, p_kw: float) -> GridState:
    """Demand at the feeder's end."""
    return grid.trial(replace(grid.dispatch0(), p_kw=np.array([-p_kw])))
