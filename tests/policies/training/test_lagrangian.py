"""Prices that follow violations."""

from __future__ import annotations

import numpy as np
import pytest

from policies.training.algorithm import TrainingError
from policies.training.lagrangian import LagrangianOptions, Multipliers


def test_the_integral_grows_while_a_limit_is_broken() -> None:
    """By ki and the violation, in multiples of the limit; another cost's price does not move."""
    prices = Multipliers({"b": 2.0, "a": 1.0}, ("a", "b"), LagrangianOptions(kp=0, ki=0.5, kd=0))
    assert prices.columns.tolist() == [1, 0]
    for k in range(1, 4):
        prices.update(np.array([4.0, 1.0]))
        np.testing.assert_allclose(prices.prices, [0.5 * k, 0.0])


def test_a_kept_limit_costs_nothing() -> None:
    """The price falls to 0 and not below."""
    prices = Multipliers({"a": 1.0}, ("a",), LagrangianOptions(kp=0.1, ki=0.5, start=1.0))
    for _ in range(10):
        prices.update(np.array([0.0]))
    assert prices.prices.tolist() == [0.0]
    prices.update(np.array([2.0]))
    assert prices.prices.tolist() == [pytest.approx(0.6)]


def test_growth_is_priced_by_kd() -> None:
    """Only growth: a falling violation adds nothing."""
    prices = Multipliers({"a": 0.0}, ("a",), LagrangianOptions(kp=0, ki=0, kd=2))
    prices.update(np.array([0.5]))
    assert prices.prices.tolist() == [1.0]
    prices.update(np.array([0.4]))
    assert prices.prices.tolist() == [0.0]


def test_the_price_has_a_ceiling() -> None:
    """`most`."""
    prices = Multipliers({"a": 0.0}, ("a",), LagrangianOptions(kp=10, ki=10, most=3.0))
    prices.update(np.array([9.0]))
    assert prices.prices.tolist() == [3.0]


def test_an_unknown_cost_is_refused() -> None:
    """With the known ones."""
    with pytest.raises(TrainingError, match=r"no cost 'x' here; expected a, b"):
        Multipliers({"x": 1.0}, ("a", "b"), LagrangianOptions())
