"""A battery against a price: what is earned by the engine's accounts, by ours, and with perfect foresight."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from benchmarks.yardsticks import arbitrage
from benchmarks.yardsticks.played import begun, watched

DAYS = (date(2016, 6, 15), date(2016, 12, 12))
#: EUR, from `python -m benchmarks.yardsticks` of the day these were committed: (rule, planned 24 h ahead, best).
KNOWN = {DAYS[0]: (113.987, 246.883, 246.883), DAYS[1]: (290.105, 488.662, 488.662)}


@pytest.fixture(scope="module", params=DAYS, ids=str)
def episode(request: pytest.FixtureRequest) -> arbitrage.Episode:
    """All yardsticks of three held-out days."""
    return arbitrage.measured(request.param)


def test_figures_are_the_known_ones(episode: arbitrage.Episode) -> None:
    """Earnings of three held-out days have not moved, to the cent."""
    assert (episode.rule, episode.ahead, episode.best) == pytest.approx(KNOWN[episode.day], abs=0.005)


def test_nobody_earns_more_than_foresight(episode: arbitrage.Episode) -> None:
    """nothing = 0 < rule < what the agent's own prices allow <= perfect foresight."""
    assert episode.nothing == 0.0
    assert 0.0 < episode.rule < episode.ahead <= episode.best + 1e-6


def test_the_optimum_earns_the_same_in_the_engine(episode: arbitrage.Episode) -> None:
    """The program's schedule, played in the engine, earns what the program says."""
    assert episode.played == pytest.approx(episode.best, abs=1e-6)


def test_accounts_equal_an_independent_sum() -> None:
    """The meter's cost and the stored energy equal sums over the scans' own powers and prices."""
    simulation = begun(arbitrage.SCENARIO, DAYS[0])
    _, seen = watched(simulation, ["battery.p_kw", "trade.price_buy"])
    p_kw, price = seen.T
    stored = 0.5 * (0.95 * np.maximum(-p_kw, 0) - np.maximum(p_kw, 0) / 0.95).sum()
    assert np.abs(p_kw).max() == 500.0
    assert arbitrage.earned(simulation) == pytest.approx(0.5 * p_kw @ price + 0.06 * stored, abs=1e-9)


def test_the_agent_sees_the_hour_that_it_decides_about() -> None:
    """At each decision `price_00h` is the price that holds until the next one, `price_01h` that of the hour after."""
    simulation = begun(arbitrage.SCENARIO, DAYS[0], external=["trader"])
    ids = simulation.points.ids_of(["price_00h.value", "price_01h.value", "trade.price_buy"])
    simulation.points.require(ids)
    told: list[tuple[float, float]] = []
    paid: list[float] = []
    while simulation.advance_to_decision():
        now, after, last = simulation.points.take(ids)
        told.append((now, after))
        paid.append(last)
        simulation.commit({})
    assert len(told) == 73  # one at the very end, too
    assert [now for now, _ in told[:-1]] == paid[1:]
    assert [after for _, after in told[:-2]] == paid[2:]
    assert len(dict.fromkeys(paid)) > 30
