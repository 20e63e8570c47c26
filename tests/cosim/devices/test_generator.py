"""Dispatchable generators: limits, ramp, minimum times, cost and fuel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cosim.devices.generator import Generator, GeneratorConfig
from cosim.errors import PluginError
from cosim.plugins import Limit

from .fake_site import HOUR, NAN, SECOND, FakeSite, limited, measured, setpoints, solve


def build(**options: Any) -> Generator:
    place = {} if "element" in options else {"bus": "b1", "p_max_kw": 100.0, "p_min_kw": 25.0}
    return Generator.build([GeneratorConfig(name="g", **(place | options))], FakeSite())


def test_ramp_counts_from_the_last_solve() -> None:
    """2 kW/s: ten seconds after 25 kW at most 45 kW; the reason is the ramp."""
    group = build(ramp_kw_per_s=2)
    solve(group, 0, p_set_kw=25)
    group.advance(10 * SECOND)
    assert limited(group, "p_set_kw", p_set_kw=90) == (np.array([45.0]), [Limit.RAMP.value])
    assert solve(group, 10 * SECOND, p_set_kw=90).p_kw[0] == 45
    assert solve(group, 12 * SECOND, p_set_kw=25).p_kw[0] == 41


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20 * SECOND), st.floats(0, 120)), min_size=2, max_size=50))
def test_ramp_holds_for_irregular_solves(moves: list[tuple[int, float]]) -> None:
    """|change of p| <= ramp times elapsed time, always within p_min..p_max."""
    group, t_us, last = build(ramp_kw_per_s=1.5), 0, 25.0
    for dt_us, p_set in moves:
        t_us += dt_us
        first = group.t_us is None
        p = float(solve(group, t_us, p_set_kw=p_set).p_kw[0])
        assert abs(p - last) <= (0 if first else 1.5 * dt_us / SECOND) + 1e-9
        assert 25 <= p <= 100
        last = p


def test_minimum_up_and_down_times() -> None:
    """It cannot stop within min_up_s of its start, nor start within min_down_s of its stop."""
    group = build(min_up_s=60, min_down_s=30, on_at_start=False)
    assert solve(group, 0, on=1, p_set_kw=50).p_kw[0] == 50
    group.advance(59 * SECOND)
    assert limited(group, "on", on=0) == (np.array([1.0]), [Limit.MIN_TIME.value])
    assert solve(group, 60 * SECOND, on=0).p_kw[0] == 0
    group.advance(89 * SECOND)
    assert limited(group, "on", on=1) == (np.array([0.0]), [Limit.MIN_TIME.value])
    assert limited(group, "p_set_kw", on=1, p_set_kw=40)[0][0] == 0
    assert solve(group, 90 * SECOND, on=1, p_set_kw=40).p_kw[0] == 40
    assert measured(group)["starts"][0] == 2


def test_a_unit_that_starts_jumps_to_its_minimum() -> None:
    """From standstill p_min at once, then the ramp."""
    group = build(ramp_kw_per_s=1, on_at_start=False)
    assert solve(group, 0).p_kw[0] == 0
    assert solve(group, 10 * SECOND, on=1, p_set_kw=100).p_kw[0] == 35


def test_without_a_command_it_stays_as_it_is() -> None:
    """NaN: on or off as before, at its default power within the ramp."""
    group = build(p_kw=60)
    assert solve(group, 0).p_kw[0] == 60
    solve(group, SECOND, on=0)
    assert solve(group, 2 * SECOND, p_set_kw=50).p_kw[0] == 0


def test_cost_and_fuel() -> None:
    """An hour at 50 kW after one start, by the formulas."""
    group = build(cost_a_per_kw2h=0.01, cost_b_per_kwh=0.2, cost_c_per_h=3, start_cost=7, on_at_start=False)
    solve(group, 0, on=1, p_set_kw=50)
    group.advance(HOUR)
    now = measured(group)
    assert now["cost"][0] == pytest.approx(7 + 0.01 * 2500 + 0.2 * 50 + 3)
    assert now["fuel_l"][0] == pytest.approx(0.033 * 100 + 0.273 * 50)
    assert now["e_kwh"][0] == 50


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900 * SECOND), st.floats(0, 120), st.sampled_from([0.0, 1.0, NAN])),
                min_size=96, max_size=96))
def test_energy_over_a_day(moves: list[tuple[int, float, float]]) -> None:
    """The counter is power times time to 1e-9."""
    group, t_us, energy = build(ramp_kw_per_s=0.5, min_up_s=600), 0, []
    for dt_us, p_set, on in moves:
        energy.append(float(solve(group, t_us, p_set_kw=p_set, on=on).p_kw[0]) * dt_us / HOUR)
        t_us += dt_us
    group.advance(t_us)
    assert measured(group)["e_kwh"][0] == pytest.approx(float(np.sum(energy)), rel=1e-9, abs=1e-9)


def test_a_network_generator_regulates_voltage() -> None:
    """It takes over limits, power and voltage set point, and leaves q to the grid."""
    group = build(element="g0")
    assert group.placement.gen.tolist() == [0]
    assert group.placement.bus.tolist() == [1]
    injection = solve(group, 0)
    assert (injection.p_kw[0], injection.v_set_pu[0]) == (300, 1.02)
    assert np.isnan(injection.q_kvar[0])
    assert solve(group, SECOND, p_set_kw=900, v_set_pu=1.05).p_kw[0] == 500


def test_a_stopped_network_generator_is_out_of_service() -> None:
    """Positions opens and closes it, and returns the same object when nothing moves."""
    group = build(element="g0")
    topology = FakeSite().network.topology
    group.advance(0)
    assert group.positions(setpoints(group), topology) is topology
    stopped = group.positions(setpoints(group, on=0), topology)
    assert stopped.gen_closed.tolist() == [False, True, True]
    assert topology.gen_closed.all()


def test_the_reference_cannot_be_dispatched() -> None:
    """The slack's power is what the flow leaves: a device there is refused."""
    with pytest.raises(PluginError, match=r"device 'g': gen 'slack' is the reference"):
        build(element="slack")


def test_limits_must_fit() -> None:
    """Limits in the wrong order, and a voltage for a unit that holds none, are refused."""
    with pytest.raises(PluginError, match="expected p_min_kw <= p_max_kw"):
        build(p_min_kw=200)
    with pytest.raises(ValidationError, match="in place of a network generator"):
        build(v_set_pu=1.0)
