"""Batteries: the energy balance, the window, and what a command may ask."""

from __future__ import annotations

from math import exp, expm1, fsum, log1p
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cosim.devices.battery import Battery, BatteryConfig
from cosim.plugins import Limit

from .fake_site import HOUR, NAN, SECOND, FakeSite, limited, measured, setpoints, solve

STEP_S = 900.0


def build(step_s: float = STEP_S, **options: Any) -> Battery:
    given_options = {"bus": "b1", "e_rated_kwh": 100.0, "p_max_kw": 50.0} | options
    return Battery.build([BatteryConfig(name="b", **given_options)], FakeSite(step_s))


commands = st.lists(st.tuples(st.integers(1, 900 * SECOND), st.floats(-80, 80), st.floats(-80, 80)),
                    min_size=100, max_size=100)


@settings(max_examples=25, deadline=None)
@given(commands, st.floats(0.8, 1.0), st.floats(0.8, 1.0), st.sampled_from([0.0, 4.2e-5, 0.05]))
def test_energy_balance_closes_over_a_day(
    moves: list[tuple[int, float, float]], eta_c: float, eta_d: float, sigma: float
) -> None:
    """Stored energy and counters agree to 1e-9 with the closed form, summed independently; the window holds."""
    group = build(eta_charge=eta_c, eta_discharge=eta_d, self_discharge_per_h=sigma)
    energy, t_us, decay = 50.0, 0, -log1p(-sigma)
    charged: list[float] = []
    discharged: list[float] = []
    lost: list[float] = []
    for dt_us, p_set, q_set in [*moves, (1, 0.0, 0.0)]:
        p = float(solve(group, t_us, p_set_kw=p_set, q_set_kvar=q_set).p_kw[0])
        h = dt_us / HOUR
        inflow = -p * eta_c if p < 0 else -p / eta_d
        after = energy * exp(-decay * h) + (inflow * -expm1(-decay * h) / decay if decay else inflow * h)
        charged.append(max(-p, 0.0) * h)
        discharged.append(max(p, 0.0) * h)
        lost.append(-p * h - (after - energy))
        energy, t_us = after, t_us + dt_us
        assert 10.0 * exp(-decay * 25) - 1e-9 <= energy <= 90.0 + 1e-9
    group.advance(t_us)
    now = measured(group)
    for suffix, expected in (("soc", energy / 100), ("e_kwh_charged", fsum(charged)),
                             ("e_kwh_discharged", fsum(discharged)), ("e_kwh_lost", fsum(lost)), ("e_kwh_excess", 0.0)):
        assert now[suffix][0] == pytest.approx(expected, rel=1e-9, abs=1e-9), suffix


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6 * HOUR), st.floats(-80, 80)), min_size=10, max_size=10))
def test_balance_closes_when_a_solve_is_late(moves: list[tuple[int, float]]) -> None:
    """Beyond one scan the store stops at its edge and the excess accounts for the rest."""
    group, t_us = build(), 0
    for dt_us, p_set in moves:
        solve(group, t_us, p_set_kw=p_set)
        t_us += dt_us
    group.advance(t_us)
    now = {suffix: float(row[0]) for suffix, row in measured(group).items()}
    stored = now["soc"] * 100 - 50.0
    assert 0.1 - 1e-12 <= now["soc"] <= 0.9 + 1e-12
    assert now["e_kwh_charged"] - now["e_kwh_discharged"] == pytest.approx(
        stored + now["e_kwh_lost"] - now["e_kwh_excess"], abs=1e-9)


def test_a_late_solve_counts_the_excess() -> None:
    """50 kW for 2 h from 40 kWh above the floor: 100 kWh delivered, 38 kWh there were (eta 0.95)."""
    group = build()
    solve(group, 0, p_set_kw=50)
    group.advance(2 * HOUR)
    assert measured(group)["soc"][0] == pytest.approx(0.1)
    assert measured(group)["e_kwh_excess"][0] == pytest.approx(100 / 0.95 - 40)


def test_limit_leaves_the_window_no_sooner_than_the_next_solve() -> None:
    """What is possible empties the store exactly at the end of the scan; the reason is energy."""
    group = build(soc_start=0.15)
    group.advance(0)
    p, reason = limited(group, "p_set_kw", p_set_kw=50.0)
    assert p[0] == pytest.approx(5.0 * 0.95 / 0.25)
    assert reason == [Limit.ENERGY.value]
    solve(group, 0, p_set_kw=50.0)
    group.advance(round(STEP_S * SECOND))
    assert measured(group)["soc"][0] == pytest.approx(0.1, abs=1e-12)
    assert limited(group, "p_set_kw", p_set_kw=1.0)[0][0] == pytest.approx(0.0, abs=1e-9)
    assert limited(group, "p_set_kw", p_set_kw=-50.0)[1] == [0]


def test_a_full_store_does_not_charge() -> None:
    """At soc_max the most charging power is zero, and discharging is free."""
    group = build(soc_start=0.9)
    group.advance(0)
    assert limited(group, "p_set_kw", p_set_kw=-10.0)[0][0] == 0.0
    assert limited(group, "p_set_kw", p_set_kw=50.0) == (np.array([50.0]), [0])


def test_rating_is_named_before_energy() -> None:
    """Beyond the power rating, with energy enough, the reason is capability."""
    group = build()
    group.advance(0)
    p, reason = limited(group, "p_set_kw", p_set_kw=60.0)
    assert (p[0], reason) == (50.0, [Limit.CAPABILITY.value])


@pytest.mark.parametrize(("priority", "p_kw", "q_kvar"), [("p", 40.0, 30.0), ("q", 30.0, 40.0)])
def test_priority_on_the_circle(priority: str, p_kw: float, q_kvar: float) -> None:
    """40 kW and 40 kvar on 50 kVA: the one with priority stays."""
    group = build(priority=priority)
    injection = solve(group, 0, p_set_kw=40.0, q_set_kvar=40.0)
    assert (injection.p_kw[0], injection.q_kvar[0]) == pytest.approx((p_kw, q_kvar))


def test_self_discharge_is_exact() -> None:
    """1 % an hour for a day leaves 0.99^24, however often it is solved."""
    for parts in (1, 7):
        group = build(self_discharge_per_h=0.01)
        for part in range(parts + 1):
            solve(group, part * 24 * HOUR // parts)
        assert measured(group)["soc"][0] == pytest.approx(0.5 * 0.99**24, rel=1e-12)


def test_self_discharge_drains_below_the_window_and_is_not_refilled() -> None:
    """The window bounds discharging; an empty store still leaks."""
    group = build(self_discharge_per_h=0.1, soc_start=0.1)
    solve(group, 0, p_set_kw=10.0)
    group.advance(HOUR)
    assert measured(group)["soc"][0] == pytest.approx(0.09)
    assert measured(group)["e_kwh_excess"][0] == 0.0


def test_without_voltage_nothing_flows_and_nothing_is_stored() -> None:
    """A de-energised battery keeps its energy."""
    group = build()
    assert solve(group, 0, v_pu=NAN, p_set_kw=20.0).p_kw[0] == 0.0
    group.advance(HOUR)
    assert measured(group)["soc"][0] == 0.5


def test_a_bus_that_dies_in_the_solve_takes_no_energy() -> None:
    """What was applied at a voltage that the same SOLVE then lost is not counted."""
    group = build()
    group.advance(0)
    asked = setpoints(group, p_set_kw=20.0)
    group.settle(asked, group.apply(asked, np.ones(1)), np.array([NAN]), 0)
    group.advance(HOUR)
    assert measured(group)["soc"][0] == 0.5


def test_windows_that_make_no_sense_are_refused() -> None:
    """soc_start lies in the window, and the window is not empty."""
    with pytest.raises(ValidationError, match=r"soc_min < soc_max"):
        BatteryConfig(name="b", bus=1, e_rated_kwh=1, p_max_kw=1, soc_min=0.5, soc_max=0.5)
    with pytest.raises(ValidationError, match=r"soc_min..soc_max = 0.1..0.9"):
        BatteryConfig(name="b", bus=1, e_rated_kwh=1, p_max_kw=1, soc_start=0.95)
