"""PV and wind: what is available, and the autonomous functions of IEEE 1547-2018."""

from __future__ import annotations

from math import exp, hypot, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cosim.devices.curves import Curves
from cosim.devices.pv import PV, PVConfig
from cosim.devices.wind import Wind, WindConfig
from cosim.plugins import Limit

from .fake_site import HOUR, NAN, SECOND, FakeSite, limited, measured, setpoints, solve

PROFILE = {"file": "p.csv", "column": "p"}


def build(step_s: float = 1.0, **options: Any) -> PV:
    site = FakeSite(step_s, p=options.pop("p", lambda t_s: 1.0), air=lambda t_s: 35.0)
    return PV.build([PVConfig(name="pv", **({"bus": "b1", "p_rated_kw": 100.0} | options))], site)


def q_at(group: PV, v_pu: float) -> float:
    group.advance(0)
    return float(group.apply(setpoints(group), np.array([v_pu])).q_kvar[0])


@pytest.mark.parametrize(("v_pu", "q_pu"), [
    (0.80, 0.44), (0.92, 0.44), (0.95, 0.22), (0.98, 0.0), (1.00, 0.0), (1.02, 0.0), (1.05, -0.22), (1.08, -0.44),
    (1.20, -0.44)])
def test_volt_var_reference_points(v_pu: float, q_pu: float) -> None:
    """IEEE 1547-2018 table 8, category B defaults, in per unit of nameplate kVA."""
    group = build(mode="volt_var", olrt_s=0, s_rated_kva=200.0)
    assert group.voltage_dependent
    assert q_at(group, v_pu) == pytest.approx(200 * q_pu, abs=1e-10)


@pytest.mark.parametrize(("v_pu", "p_pu"), [(1.0, 1.0), (1.06, 1.0), (1.08, 0.6), (1.10, 0.2), (1.2, 0.2)])
def test_volt_watt_reference_points(v_pu: float, p_pu: float) -> None:
    """IEEE 1547-2018 table 10, category B defaults."""
    group = build(mode="volt_watt", volt_watt_olrt_s=0)
    group.advance(0)
    assert group.apply(setpoints(group), np.array([v_pu])).p_kw[0] == pytest.approx(100 * p_pu)


@pytest.mark.parametrize(("p_kw", "q_kvar"), [(10, 0.0), (50, 0.0), (75, -22.0), (100, -44.0)])
def test_watt_var_reference_points(p_kw: float, q_kvar: float) -> None:
    """IEEE 1547-2018 table 9, category B defaults; it looks at no voltage."""
    group = build(mode="watt_var", olrt_s=0, s_rated_kva=120, watt_var=((0.2, 0), (0.5, 0), (1, -0.44 / 1.2)))
    group.advance(0)
    injection = group.apply(setpoints(group, p_set_kw=p_kw), np.array([1.0]))
    assert (injection.p_kw[0], injection.q_kvar[0]) == pytest.approx((p_kw, q_kvar))
    assert not group.voltage_dependent


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.5, 1.5), min_size=2, max_size=40),
       st.lists(st.tuples(st.floats(0.8, 1.2), st.floats(-0.44, 0.44)), min_size=2, max_size=8,
                unique_by=lambda point: point[0]))
def test_volt_var_is_monotone(voltages: list[float], points: list[tuple[float, float]]) -> None:
    """A higher voltage never gives more reactive power, in floating point too, for any legal curve."""
    xs, ys = sorted(x for x, _ in points), sorted((y for _, y in points), reverse=True)
    v = np.sort(np.array(voltages))
    curve = Curves([tuple(zip(xs, ys, strict=True))] * v.size)
    assert (np.diff(curve.at(v)) <= 0).all()


@settings(max_examples=100, deadline=None)
@given(st.floats(0, 1.5), st.floats(0, 200), st.floats(-100, 100), st.floats(0.85, 1.15), st.sampled_from(["p", "q"]),
       st.sampled_from(["none", "volt_var", "watt_var", "volt_watt", "volt_var_volt_watt", "fixed_power_factor"]))
def test_power_stays_within_available_and_circle(
    sun: float, cap: float, q_set: float, v_pu: float, priority: str, mode: str
) -> None:
    """P never exceeds what is available or the cap, and |S| never the rating, whatever mode and command."""
    group = build(p=lambda t_s: sun, profile=PROFILE, mode=mode, priority=priority, olrt_s=0, volt_watt_olrt_s=0,
                  s_rated_kva=90)
    for commands in ({}, {"p_set_kw": cap}, {"p_set_kw": cap, "q_set_kvar": q_set}):
        injection = solve(group, 0, v_pu=v_pu, **commands)
        p, q = float(injection.p_kw[0]), float(injection.q_kvar[0])
        assert 0 <= p <= min(100 * sun, commands.get("p_set_kw", 200)) + 1e-12
        assert hypot(p, q) <= 90 * (1 + 1e-12)
        assert abs(q) <= 0.44 * 90


def test_priority() -> None:
    """At full sun q priority curtails, p priority gives up reactive power."""
    q_first, p_first = build(mode="volt_var", olrt_s=0), build(mode="volt_var", olrt_s=0, priority="p")
    one, two = solve(q_first, 0, v_pu=1.08), solve(p_first, 0, v_pu=1.08)
    assert (one.p_kw[0], one.q_kvar[0]) == pytest.approx((100 * (1 - 0.44**2) ** 0.5, -44))
    assert (two.p_kw[0], two.q_kvar[0]) == pytest.approx((100, 0))


def test_open_loop_response_is_an_exact_first_order() -> None:
    """90 % of a voltage step's answer after olrt, and the same path however often it is solved."""
    for parts in (1, 10):
        group = build(step_s=0.1, mode="volt_var", olrt_s=5)
        assert not group.voltage_dependent
        assert solve(group, 0, v_pu=1.08).q_kvar[0] == 0.0
        for part in range(1, parts + 1):
            injection = solve(group, part * 5 * SECOND // parts, v_pu=1.08)
        assert injection.q_kvar[0] == pytest.approx(-44 * 0.9)
    injection = solve(group, 7 * SECOND, v_pu=1.0)
    assert injection.q_kvar[0] == pytest.approx(-44 * (1 - exp(-log(10) * 7 / 5)))


def test_volt_watt_lag_follows_its_own_response_time() -> None:
    """The cap falls from 1 towards 0.2 with volt_watt_olrt_s."""
    group = build(mode="volt_watt", volt_watt_olrt_s=10)
    solve(group, 0, v_pu=1.1)
    assert solve(group, 10 * SECOND, v_pu=1.1).p_kw[0] == pytest.approx(100 * (0.2 + 0.8 * 0.1))


def test_a_scan_longer_than_the_response_is_instantaneous() -> None:
    """With quarter-hour scans the answer belongs to the voltage of the same SOLVE."""
    group = build(step_s=900, mode="volt_var")
    assert group.voltage_dependent
    assert q_at(group, 1.08) == pytest.approx(-44)


def test_a_command_overrides_the_function_and_releases_without_a_jump() -> None:
    """q_set_kvar wins; afterwards the answer starts from where the command left it."""
    group = build(mode="volt_var", olrt_s=5)
    assert solve(group, 0, v_pu=1.0, q_set_kvar=30).q_kvar[0] == 30
    assert solve(group, 5 * SECOND, v_pu=1.0).q_kvar[0] == pytest.approx(3.0)


def test_fixed_power_factor_holds_on_the_circle() -> None:
    """At 0.9 and full sun both powers shrink so that the factor is kept."""
    injection = solve(build(mode="fixed_power_factor", power_factor=0.9), 0)
    p, q = float(injection.p_kw[0]), float(injection.q_kvar[0])
    assert (p, q) == pytest.approx((90, -100 * 0.19**0.5))
    injects = solve(build(mode="fixed_power_factor", power_factor=0.95, power_factor_sign="inject"), 0)
    assert injects.q_kvar[0] > 0


def test_limit_of_reactive_power() -> None:
    """±q_max with q priority; what the circle leaves beside the available power with p priority."""
    group = build(p=lambda t_s: 0.8, q_max_pu=0.7)
    group.advance(0)
    assert limited(group, "q_set_kvar", q_set_kvar=90) == (np.array([70.0]), [Limit.CAPABILITY.value])
    group = build(p=lambda t_s: 0.8, priority="p", q_max_pu=0.7, profile=PROFILE)
    group.advance(0)
    assert limited(group, "q_set_kvar", q_set_kvar=-90)[0][0] == pytest.approx(-60.0)
    assert limited(group, "q_set_kvar", q_set_kvar=-90, p_set_kw=0)[0][0] == pytest.approx(-70.0)


def test_power_from_irradiance_and_temperature() -> None:
    """800 W/m² at 35 °C air: cell 60 °C, 16.45 % derating, then losses and the inverter."""
    group = build(p=lambda t_s: 800.0, profile=PROFILE, profile_unit="w_m2",
                  temperature={"file": "p.csv", "column": "air"})
    solve(group, 0)
    assert measured(group)["p_available_kw"][0] == pytest.approx(100 * 0.8 * (1 - 0.0047 * 35) * 0.86 * 0.96)


def test_profile_in_kw_and_clipping() -> None:
    """A profile in kW is taken as it is, and the inverter clips it."""
    group = build(p=lambda t_s: 70.0 if t_s < 10 else 170.0, profile=PROFILE, profile_unit="kw", s_rated_kva=110)
    assert solve(group, 0).p_kw[0] == 70.0
    assert solve(group, 10 * SECOND).p_kw[0] == 110.0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900 * SECOND), st.floats(0, 120)), min_size=96, max_size=96))
def test_energy_counter_over_a_day(moves: list[tuple[int, float]]) -> None:
    """Energy is power times time to 1e-9 for irregular SOLVEs and random caps."""
    group, t_us, energy = build(p=lambda t_s: (t_s % 7200) / 7200, profile=PROFILE), 0, []
    for dt_us, cap in moves:
        energy.append(float(solve(group, t_us, p_set_kw=cap).p_kw[0]) * dt_us / HOUR)
        t_us += dt_us
    group.advance(t_us)
    assert measured(group)["e_kwh"][0] == pytest.approx(float(np.sum(energy)), rel=1e-9, abs=1e-9)


def test_without_voltage_nothing_is_injected() -> None:
    """A dead bus gets no power, in any mode, and the lag starts anew afterwards."""
    group = build(mode="volt_var", olrt_s=5)
    solve(group, 0, v_pu=1.08)
    injection = solve(group, 5 * SECOND, v_pu=NAN, q_set_kvar=10)
    assert (injection.p_kw[0], injection.q_kvar[0]) == (0.0, 0.0)
    assert np.isfinite(solve(group, 6 * SECOND, v_pu=1.08).q_kvar[0])


@pytest.mark.parametrize(("options", "says"), [
    ({"mode": "volt_var", "volt_var": ((0.9, 0.4), (1.1, 0.5))}, "never rising"),
    ({"volt_var": ((1.1, 0.4), (0.9, 0.0))}, "strictly rising"),
    ({"mode": "volt_var", "volt_var": ((0.9, 0.6), (1.1, -0.4))}, "within ±q_max_pu"),
    ({"volt_watt": ((1.0, 1.5), (1.1, 0.0))}, r"within 0\.\.1"),
    ({"mode": "fixed_power_factor", "power_factor": 0.8}, r"expected 0.898\.\.1"),
    ({"profile_unit": "kw"}, "needs a `profile`"), ({"temperature": "a.csv#t"}, "w_m2 only"),
    ({"p_rated_kw": None}, "p_rated_kw is required"), ({"mode": "voltvar"}, "volt_var"),
])
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    """Each message says what is accepted."""
    with pytest.raises(ValidationError, match=says):
        PVConfig(name="pv", **({"bus": "b1", "p_rated_kw": 100.0} | options))


@pytest.mark.parametrize(("v_m_s", "p_pu"), [(0, 0), (2.9, 0), (3, 0), (6, (216 - 27) / (1728 - 27)), (12, 1), (25, 1),
                                             (25.1, 0)])
def test_cubic_power_curve(v_m_s: float, p_pu: float) -> None:
    """Cut-in 3, rated 12, cut-out 25 m/s."""
    site = FakeSite(p=lambda t_s: v_m_s)
    group = Wind.build([WindConfig(name="w", bus="b1", p_rated_kw=2000, profile=PROFILE)], site)
    assert solve(group, 0).p_kw[0] == pytest.approx(2000 * p_pu)


@pytest.mark.parametrize(("v_m_s", "p_pu"), [(3.9, 0), (7, 0.3), (12, 0.8), (14, 1.0), (14.1, 0)])
def test_power_curve_of_points(v_m_s: float, p_pu: float) -> None:
    """Straight lines between the points, nothing outside them."""
    site = FakeSite(p=lambda t_s: v_m_s)
    config = WindConfig(name="w", element="park", power_curve=((4, 0), (10, 0.6), (14, 1.0)), profile=PROFILE)
    assert solve(Wind.build([config], site), 0).p_kw[0] == pytest.approx(60 * p_pu)


def test_thin_air_carries_less_power() -> None:
    """Density enters with its cube root on the wind speed."""
    site = FakeSite(p=lambda t_s: 8.0)
    config = WindConfig(name="w", bus="b1", p_rated_kw=100, profile=PROFILE, air_density_kg_m3=1.225 / 8 * 7)
    expected = 100 * (8.0**3 * 7 / 8 - 27) / (1728 - 27)
    assert solve(Wind.build([config], site), 0).p_kw[0] == pytest.approx(expected)
