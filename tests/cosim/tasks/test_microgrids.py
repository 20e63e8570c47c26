"""Three microgrids under one contract: what a day costs by the engine's accounts, by ours, and at best."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from benchmarks.yardsticks import microgrids
from benchmarks.yardsticks.dispatch import Problem, Store, cheapest
from benchmarks.yardsticks.played import begun, held_out, watched

DAYS = (date(2016, 6, 15), date(2016, 9, 13))
#: EUR, from `python -m benchmarks.yardsticks` of the day these were committed: (nothing, rule, best).
KNOWN = {DAYS[0]: (364.748, 324.076, 273.424), DAYS[1]: (505.507, 502.048, 304.167)}


@pytest.fixture(scope="module", params=DAYS, ids=str)
def day(request: pytest.FixtureRequest) -> microgrids.Day:
    """All yardsticks of a held-out day."""
    return microgrids.measured(request.param)


def test_figures_are_the_known_ones(day: microgrids.Day) -> None:
    """Costs of a held-out day have not moved: to the cent what is simulated, to the program's gap what is optimal."""
    nothing, rule, best = KNOWN[day.day]
    assert (day.nothing, day.rule) == pytest.approx((nothing, rule), abs=0.005)
    assert day.best == pytest.approx(best, rel=2e-4)


def test_the_optimum_is_the_least(day: microgrids.Day) -> None:
    """Linear relaxation <= optimum < rule and nothing."""
    assert day.relaxed <= day.best * (1 + 1e-9)
    assert day.best < min(day.rule, day.nothing)


def test_the_optimum_costs_the_same_in_the_engine(day: microgrids.Day) -> None:
    """The program's schedule, played in the engine, costs what the program says."""
    assert day.played == pytest.approx(day.best, abs=1e-6)


def test_the_rule_saves_over_the_year() -> None:
    """Not on every day (it empties the battery in the cheap night), but over four held-out days the rule saves."""
    nothing = rule = 0.0
    for each in held_out(every=90):
        for overrides in (("agents=[]",), ()):
            simulation = begun(microgrids.SCENARIO, each, overrides)
            simulation.advance_to(simulation.end_us)
            cost = microgrids.cost(simulation)
            nothing, rule = (nothing + cost, rule) if overrides else (nothing, rule + cost)
    assert rule < nothing


def test_accounts_equal_an_independent_sum() -> None:
    """Contract, engines and stored energy: the counters equal sums over the scans' own powers and prices."""
    simulation = begun(microgrids.SCENARIO, DAYS[1])
    names = [f"{name}_{what}.p_kw" for name in microgrids.NAMES for what in ("load", "sun", "battery", "engine")]
    running = [f"{name}_engine.running" for name in microgrids.NAMES]
    _, seen = watched(simulation, [*names, *running, "price_00h.value"])
    p_kw, on = seen[:, :12].reshape(-1, 3, 4), seen[:, 12:15]
    # The signal shows the price of the next scan: the first scan's own is that of the same hour.
    price = np.concatenate([seen[:1, -1], seen[:-1, -1]])
    hours = 0.25
    net = p_kw.sum(axis=(1, 2))
    contract = hours * (np.maximum(-net, 0) @ (price + 0.10) - np.maximum(net, 0) @ (0.8 * price))
    starts = (np.diff(on, axis=0, prepend=0) > 0).sum()
    engines = hours * (0.16 * p_kw[:, :, 3].sum() + 3 * on.sum()) + 5 * starts
    battery = p_kw[:, :, 2]
    stored = hours * (0.95 * np.maximum(-battery, 0) - np.maximum(battery, 0) / 0.95).sum()
    assert starts > 0
    assert microgrids.cost(simulation) == pytest.approx(contract + engines - 0.15 * stored, abs=1e-6)


def test_a_program_with_a_known_answer() -> None:
    """Buy 10 kWh at 1, sell what is left of it (0.9 x 0.9) at 3: earns 14.3; nothing is left in the store."""
    store = Store(10.0, 0.0, 9.0, 0.0, 0.9, 0.9)
    price = np.array([1.0, 3.0])
    plan = cheapest(Problem(1.0, np.zeros(2), price, price, (store,)))
    assert plan.cost == pytest.approx(10 - 3 * 8.1)
    np.testing.assert_allclose(plan.store_kw[:, 0], [-10.0, 8.1], atol=1e-6)
