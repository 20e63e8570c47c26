"""Integrals of rewards: exact between publishes, discounted from each agent's own decision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.objective.meter import Meter, Shares, Terms
from cosim.plugins import TermView
from cosim.points import Vector


class Value:
    """A term that is point 0."""

    def rates(self, view: TermView) -> Vector:
        """The point's value."""
        return view.values[:1]


class Happened:
    """An impulse of as much as point 1 says."""

    def rates(self, view: TermView) -> Vector:
        """The point's value."""
        return view.values[1:2]


def view(t_s: float, rate: float, event: float = 0.0) -> TermView:
    """A publish."""
    return TermView(round(t_s * 1e6), np.array([rate, event]), np.zeros(0))


def meter(weight: float = 1.0, beta: float = 0.0, n_agent: int = 1) -> Meter:
    """A meter of one rate for `n_agent` agents."""
    agents = np.arange(n_agent)
    return Meter(Terms((Value(),), (1,), (False,)), Shares(agents, np.zeros(n_agent, np.int64),
                                                           np.full(n_agent, weight)), n_agent, beta)


def test_a_rate_is_integrated_over_the_time_it_holds() -> None:
    """It changes at publishes and at no other time."""
    m = meter(weight=-2.0)
    m.watch(view(0, 3.0))
    m.watch(view(10, 5.0))
    assert m.take([0], 14_000_000).tolist() == [-2.0 * (3 * 10 + 5 * 4)]
    assert m.take([0], 15_000_000).tolist() == [-10.0]


def test_each_agent_has_an_account_of_its_own() -> None:
    """Taking one leaves the other running."""
    m = meter(n_agent=2)
    m.watch(view(0, 1.0))
    assert m.take([0], 5_000_000).tolist() == [5.0, 5.0]
    assert m.take([1], 7_000_000).tolist() == [2.0, 7.0]


def test_an_impulse_counts_once() -> None:
    """However long until the next publish."""
    m = Meter(Terms((Value(), Happened()), (1, 1), (False, True)),
              Shares(np.array([0, 0]), np.array([0, 1]), np.ones(2)), 1)
    m.watch(view(0, 0.0, 4.0))
    m.watch(view(60, 0.0, 0.0))
    assert m.take([0], 100_000_000).tolist() == [0.0, 4.0]


@given(st.lists(st.floats(0.01, 50.0), min_size=1, max_size=30), st.floats(0.5, 0.999))
def test_a_constant_rate_is_worth_its_discounted_integral(steps_s: list[float], gamma: float) -> None:
    """Σ γ^(t_k) R_k = r (1 - γ^T) / β at irregular decisions: r / β in the limit."""
    beta, rate, t_s, worth = -np.log(gamma), 3.0, 0.0, 0.0
    m = meter(beta=float(beta))
    m.watch(view(0, rate))
    for step_s in steps_s:
        start_s, t_s = t_s, round((t_s + step_s) * 1e6) / 1e6
        m.watch(view((start_s + t_s) / 2, rate))  # a publish in between changes nothing
        worth += gamma ** start_s * float(m.take([0], round(t_s * 1e6))[0])
    assert worth == pytest.approx(rate * (1 - gamma ** t_s) / beta, rel=1e-6)


def test_discounting_begins_at_each_agents_own_decision() -> None:
    """An agent that decided later sees the same event nearer."""
    m = Meter(Terms((Happened(),), (1,), (True,)), Shares(np.array([0, 1]), np.array([0, 0]), np.ones(2)), 2, 0.1)
    m.watch(view(0, 0.0))
    m.take([1], 8_000_000)
    m.watch(view(10, 0.0, 1.0))
    np.testing.assert_allclose(m.take([0, 1], 10_000_000), [np.exp(-1.0), np.exp(-0.2)])

def test_a_plain_share_is_not_discounted() -> None:
    """Costs are limited per second of time: beside a discounted reward they count every second, and events, whole."""
    shares = Shares(np.zeros(4, np.int64), np.array([0, 1, 0, 1]), np.ones(4), np.array([False, False, True, True]))
    m = Meter(Terms((Value(), Happened()), (1, 1), (False, True)), shares, 1, beta_per_s=0.1)
    m.watch(view(0, 3.0))
    m.watch(view(10, 3.0, 4.0))
    worth = [30 * (1 - np.exp(-2)), 4 * np.exp(-1), 60.0, 4.0]
    assert m.take([0], 20_000_000).tolist() == pytest.approx(worth, rel=1e-12)
