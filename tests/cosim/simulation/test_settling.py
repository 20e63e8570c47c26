"""The fixed point inside a SOLVE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cosim.simulation.settling import MOST, RESIDUAL_PU, settle

Map = Callable[[np.ndarray], np.ndarray]


class Counted:
    """A map that remembers where it was evaluated."""

    def __init__(self, g: Map) -> None:
        self.g = g
        self.at: list[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Evaluate."""
        self.at.append(x.copy())
        return self.g(x)


def linear(matrix: np.ndarray, seed: int = 0) -> Map:
    """x -> A x + b."""
    b = np.random.default_rng(seed).normal(size=len(matrix)) * 0.1
    return lambda x: matrix @ x + b


def random_linear(n: int, radius: float, seed: int) -> Map:
    """A random linear map of that spectral radius."""
    matrix = np.random.default_rng(seed).normal(size=(n, n))
    return linear(matrix * radius / np.abs(np.linalg.eigvals(matrix)).max(), seed)


def volt_var(n: int, gain: float, seed: int) -> Map:
    """Inverters along a feeder: v = v0 + X q, and q by a curve with deadband and saturation; `gain` is the spectral
    radius of slope times X."""
    rng = np.random.default_rng(seed)
    along = np.cumsum(rng.uniform(0.5, 1.5, n))
    x = np.minimum.outer(along, along)
    x *= gain / np.linalg.eigvalsh(x).max()
    v0 = rng.normal(scale=0.05, size=n)

    def respond(q: np.ndarray) -> np.ndarray:
        v = v0 + x @ q
        return np.asarray(-np.sign(v) * np.clip(np.abs(v) - 0.02, 0, 0.06))

    return respond


def test_a_constant_settles_at_the_second_look() -> None:
    """One evaluation to see it, one to confirm; none wasted when it starts there."""
    target = np.array([1.0, 2.0])
    assert settle(lambda _: target.copy(), np.zeros(2)).iterations == 2
    found = settle(lambda _: target.copy(), target.copy())
    assert (found.iterations, found.residual, found.settled) == (1, 0.0, True)


@pytest.mark.parametrize("slope", [0.5, 0.9, -0.9, 0.99, -3.0, 2.0])
def test_one_dimension_settles_whatever_the_slope(slope: float) -> None:
    """Also a slow contraction, and a slope at which plain iteration diverges: three or four evaluations."""
    g = Counted(lambda x: slope * x + 1.0)
    found = settle(g, np.zeros(1))
    assert found.settled
    assert found.iterations == len(g.at) <= 4
    assert found.x[0] == pytest.approx(1 / (1 - slope), abs=1e-7)


@pytest.mark.parametrize("radius", [0.3, 0.95])
@pytest.mark.parametrize("n", [2, 3])
def test_few_dimensions_settle_exactly(n: int, radius: float) -> None:
    """Random linear maps of up to `DEPTH` - 1 dimensions: n + 2 evaluations."""
    for seed in range(50):
        found = settle(random_linear(n, radius, seed), np.zeros(n))
        assert found.settled
        assert found.iterations <= n + 2


@pytest.mark.parametrize("gain", [0.3, 0.95])
@pytest.mark.parametrize("n", [5, 30, 100])
def test_volt_var_on_a_feeder_settles(n: int, gain: float) -> None:
    """What it is for: many inverters with deadbands that see each other, spectral radius below one."""
    for seed in range(50):
        found = settle(volt_var(n, gain, seed), np.zeros(n))
        assert found.settled, (seed, found.residual)


def test_a_general_map_of_many_dimensions_may_not_settle_and_says_so() -> None:
    """Ten evaluations do not settle ten random dimensions: bounded, and the residual is that of the point given."""
    g = Counted(random_linear(10, 0.95, 1))
    found = settle(g, np.zeros(10))
    assert not found.settled
    assert found.iterations == len(g.at) == MOST
    assert np.abs(g.g(found.x) - found.x).max() == pytest.approx(found.residual)


def test_without_a_fixed_point_the_best_point_is_given() -> None:
    """Bounded, never an exception, and no point seen was better."""
    g = Counted(lambda x: x + 1.0 + np.sin(37.0 * x))
    found = settle(g, np.zeros(1))
    assert found.iterations <= MOST
    assert found.residual == min(float(np.abs(g.g(x) - x).max()) for x in g.at)


def test_the_point_given_is_one_that_was_tried() -> None:
    """Identity, not equality: the caller finds its own result by it."""
    seen: list[np.ndarray] = []

    def g(x: np.ndarray) -> np.ndarray:
        seen.append(x)
        return np.asarray(np.cos(3 * x))

    found = settle(g, np.zeros(1))
    assert any(x is found.x for x in seen)


def test_no_solution_at_the_start_is_the_answer_at_once() -> None:
    """Residual infinite, one evaluation."""
    g = Counted(lambda x: np.full_like(x, np.nan))
    found = settle(g, np.ones(2))
    assert (found.iterations, found.residual, found.settled, len(g.at)) == (1, np.inf, False, 1)


def test_a_step_too_far_is_taken_back() -> None:
    """Where the power flow has a solution near, a trial that has none does not end the search."""
    def g(x: np.ndarray) -> np.ndarray:
        return np.full_like(x, np.nan) if abs(x[0]) > 1.0 else np.asarray(0.3 - 2.0 * np.abs(x) + 1.2 * (x == 0))

    found = settle(g, np.zeros(1))
    assert np.isfinite(found.residual)
    assert found.iterations <= MOST
    assert np.isfinite(g(found.x)).all()


def test_nothing_to_settle_is_settled() -> None:
    """An empty vector."""
    assert settle(lambda x: x, np.zeros(0)).settled


def test_the_residual_is_what_it_says() -> None:
    """At most `RESIDUAL_PU` at the point given, evaluated again."""
    g = volt_var(20, 0.9, 3)
    found = settle(g, np.zeros(20))
    assert np.abs(g(found.x) - found.x).max() <= RESIDUAL_PU
