"""Terms of rewards and costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from cosim.errors import PluginError
from cosim.objective import terms
from cosim.plugins import Registry, TermView
from cosim.points import Ids, Vector

NAMES = ("bus.1.v_pu", "bus.2.v_pu", "line.a.loading", "grid.slack_p_kw", "x.p_set_kw", "x.steps")
VALUES = np.array([0.93, 1.07, 1.2, -40.0, 30.0, 2.0])


class Site:
    """Six points; a profile column is its number times the time in seconds."""

    v_min_pu, v_max_pu, loading_max = 0.95, 1.05, 1.0

    def ids(self, patterns: Sequence[str]) -> Ids:
        """By exact name or prefix*."""
        found = [i for p in patterns for i, name in enumerate(NAMES)
                 if name == p or (p.endswith("*") and name.startswith(p[:-1]))
                 or (p[0] == "*" and name.endswith(p[1:]))]
        if not found and patterns != ("bus.*.v_pu",):
            raise PluginError(f"unknown {patterns}")
        return np.array(found or [0, 1], np.int64)

    def slots(self, ids: Ids) -> Ids:
        """Outputs begin at point 4."""
        return ids - 4

    def range_of(self, ids: Ids) -> Vector:
        """x.p_set_kw spans 100, x.steps nothing known."""
        return np.array([{4: 100.0, 5: np.inf}[int(i)] for i in ids])

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """1 where there is no column."""
        return lambda t_us: np.array([1.0 if spec is None else t_us / 1e6 for spec in specs])


def rates(kind: str, *options: dict[str, Any], values: Vector = VALUES, asked: Vector | None = None,
          t_us: int = 0) -> list[float]:
    """Values of terms of one kind."""
    plugin = Registry().get("term", kind)
    group = plugin.build([plugin.Config(**each) for each in options], Site())
    found: Vector = group.rates(TermView(t_us, values, np.full(2, np.nan) if asked is None else asked))
    return found.tolist()


def test_terms_of_a_kind_are_summed_each_over_its_own_points() -> None:
    """Side by side in one vector, and not mixed up."""
    assert rates("sum", {"points": ["bus.*"]}, {"points": ["grid.slack_p_kw"]}, {"points": ["bus.1.v_pu"]}) == [
        pytest.approx(2.0), -40.0, 0.93]


@pytest.mark.parametrize(("of", "expected"), [("value", -10.0), ("absolute", 70.0), ("square", 2500.0),
                                              ("positive", 30.0), ("negative", 40.0)])
def test_what_a_sum_adds_up(of: str, expected: float) -> None:
    """Import and export apart, for instance."""
    assert rates("sum", {"points": ["grid.slack_p_kw", "x.p_set_kw"], "of": of}) == [expected]


def test_voltage_and_overload_take_the_scenarios_limits() -> None:
    """0.02 pu below at one bus and above at the other; a loading of 1.2."""
    assert rates("voltage", {}) == [pytest.approx(0.04)]
    assert rates("voltage", {"shape": "count"}) == [2.0]
    assert rates("voltage", {"shape": "square", "mean": True}) == [pytest.approx(0.0004)]
    assert rates("overload", {"points": ["line.a.loading"]}) == [pytest.approx(0.2)]
    assert rates("overload", {"points": ["line.a.loading"], "limit": 1.5}) == [0.0]


def test_a_point_without_a_value_adds_nothing() -> None:
    """A de-energised bus is not a voltage of zero."""
    values = VALUES.copy()
    values[0] = np.nan
    assert rates("voltage", {}, values=values) == [pytest.approx(0.02)]


def test_a_band_may_be_open() -> None:
    """And must not be empty."""
    assert rates("band", {"points": ["x.steps"], "low": 3.0}) == [1.0]
    with pytest.raises(ValueError, match="needs `low`, `high` or both"):
        terms.Band.Config(points=("x.steps",))


def test_a_deviation_is_from_a_value_or_a_point() -> None:
    """Absolute or squared."""
    assert rates("deviation", {"points": ["x.steps"], "target": 5.0},
                 {"points": ["x.steps"], "target": "x.p_set_kw", "of": "square"}) == [3.0, 784.0]


def test_energy_is_bought_and_sold_at_two_prices() -> None:
    """Import is positive; a price may follow a profile."""
    assert rates("energy_cost", {"buy": 0.3, "sell": 0.1}) == [pytest.approx(-4.0)]
    assert rates("energy_cost", {"buy": 0.3, "sell": 0.1, "negate": True}) == [pytest.approx(12.0)]
    assert rates("energy_cost", {"buy": {"file": "f", "column": "c"}}, {"buy": 0.5}, t_us=2_000_000) == [-80.0, -20.0]


def test_change_is_counted_at_the_publish_at_which_it_happens() -> None:
    """The first publish moves nothing."""
    plugin = Registry().get("term", "change")
    group = plugin.build([plugin.Config(points=("x.steps",)), plugin.Config(points=("x.*",), of="count")], Site())
    moved = VALUES + np.array([0, 0, 0, 0, 1.0, -2.0])
    first, second, third = (group.rates(TermView(0, v, np.zeros(2))).tolist() for v in (VALUES, moved, moved))
    assert (first, second, third) == ([0.0, 0.0], [2.0, 2.0], [0.0, 0.0])


def test_an_intervention_is_a_share_of_the_range() -> None:
    """The distance between what is asked and what stands; nothing where nobody asks."""
    assert rates("intervention", {"points": ["x.p_set_kw"]}, asked=np.array([80.0, np.nan])) == [0.5]
    assert rates("intervention", {"points": ["x.*"]}, asked=np.array([np.nan, np.nan])) == [0.0]
