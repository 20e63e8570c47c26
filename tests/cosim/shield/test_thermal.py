"""Conductors' heating: an overload may last until the heating is what the rating allows, and no longer."""

from __future__ import annotations

from itertools import pairwise
from math import exp, sqrt

import numpy as np
import pytest

from cosim.shield import ShieldReason
from cosim.shield.limits import Bounds, Limits, Watched
from cosim.shield.thermal import MOST, Heating
from tests.cosim.shield.shielded import GRID, PV, at, read, record, shielded, told


def heating(rated: float = 1.0, tau_s: float = 100.0, step_s: float = 10.0) -> tuple[Heating, Limits]:
    """One branch."""
    row = Bounds(("line.a.loading",), ShieldReason.LOADING, "pu", np.array([-np.inf]), np.array([rated]),
                 np.array([1e-3]), np.array([True]), np.array([127], np.int8), 0.1)
    limits = Limits(Watched(np.empty(0, np.int64), np.array([0])), [row])
    return Heating(limits, np.array([0]), np.array([tau_s]), step_s), limits


def cold(one: Heating) -> Heating:
    """After ten time constants without load (it begins at 0 s)."""
    one.settled(None, 0)
    one.settled(None, 3_000_000_000)
    one.theta[:] = 0.0
    one.settled(None, 3_000_000_000)
    return one


def test_of_a_conductor_that_nothing_is_known_of_no_overload_is_allowed() -> None:
    """It may have stood at its limit before the run."""
    _, limits = heating(rated=0.8)
    assert limits.high.tolist() == [pytest.approx(0.8)]


def test_a_cold_conductor_may_carry_more_but_never_more_than_its_ceiling() -> None:
    """Twice the rating, although the heating would allow three times for one short scan."""
    one, limits = heating(rated=0.8)
    cold(one)
    assert limits.high.tolist() == [pytest.approx(0.8 * MOST)]


def test_a_conductor_at_its_limit_may_carry_its_rating() -> None:
    """At steady state theta is loading², and what is left is the rating."""
    one, limits = heating()
    one.settled(np.array([1.0]), 0)
    one.settled(np.array([1.0]), 10_000_000_000)
    assert one.theta == pytest.approx([1.0])
    assert limits.high == pytest.approx([1.0])


def test_heating_follows_the_square_of_the_loading_with_a_lag() -> None:
    """After one time constant 63 % of the way; an instant without a solution cools."""
    one = cold(heating()[0])
    one.settled(np.array([1.2]), 3_000_000_000)
    one.settled(None, 3_100_000_000)
    assert one.theta == pytest.approx([1.44 * (1 - exp(-1))])
    one.settled(None, 3_200_000_000)
    assert one.theta == pytest.approx([1.44 * (1 - exp(-1)) * exp(-1)])


def test_what_is_allowed_brings_the_heating_to_its_limit_in_one_scan_and_not_beyond() -> None:
    """Whoever takes all that is allowed, scan after scan, ends at the rating from above."""
    one, limits = heating(tau_s=300.0, step_s=10.0)
    cold(one)
    allowed = []
    for k in range(200):
        allowed.append(float(limits.high[0]))
        one.settled(limits.high.copy(), 3_000_000_000 + 10_000_000 * k)
        assert one.theta[0] <= 1.0 + 1e-9
    assert allowed[0] == MOST
    assert allowed[-1] == pytest.approx(1.0, abs=1e-3)
    assert all(later <= sooner + 1e-12 for sooner, later in pairwise(allowed))


def test_whenever_the_next_scan_begins_the_heating_stays_within_its_limit() -> None:
    """The load drops and, at once or later, all that was allowed is taken for a whole scan."""
    for later_us in (1, 1_000_000, 5_000_000, 10_000_000):
        one, limits = heating(tau_s=20.0, step_s=10.0)
        one.settled(None, 0)  # at its limit, and cooling from now on
        one.settled(limits.high.copy(), later_us)
        one.settled(None, later_us + 10_000_000)
        assert one.theta[0] <= 1.0 + 1e-9


def test_an_overload_is_let_through_while_the_conductor_is_cold_and_then_reduced() -> None:
    """1.25 times the rating through a line with a time constant of 60 s; theta is worked out here from the loadings."""
    grid = {**GRID, "ratings_ka": {"17-18": 0.06}}
    spec = {"voltage": [], "loading": [{"branches": ["line.17-18"], "thermal_tau_s": 60}]}
    simulation = told(shielded([PV], spec, grid=grid, duration_s=400), 1, pv__p_set_kw=0.0)
    at(simulation, 200)
    told(simulation, 201, pv__p_set_kw=1800.0)
    wanted = read(simulation, "line.17-18.loading")
    assert wanted > 1.2
    assert read(simulation, "shield.active") == 0.0  # as asked
    at(simulation, 400)
    frame = record(simulation).samples(["line.17-18.loading", "pv.p_kw"])
    loading = frame["line.17-18.loading"].to_numpy()
    share, theta, hottest = exp(-1 / 60), 1.0, 0.0
    for value in loading[:-1]:
        theta = value**2 + (theta - value**2) * share
        hottest = max(hottest, theta)
    assert hottest <= 1.0 + 1e-6
    assert hottest > 0.97  # what the conductor can take is used
    over = [k for k, value in enumerate(loading) if value > 1.1]
    assert 10 < len(over) < 80  # a while, and not for good
    assert loading[-1] <= sqrt(1.0) + 1e-6
    assert loading[-1] > 0.99
