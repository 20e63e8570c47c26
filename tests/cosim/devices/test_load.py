"""Loads: rating, profile, power factor, voltage dependence, scale."""

from __future__ import annotations

from math import acos, tan
from typing import Any

import pytest

from cosim.devices.load import Load, LoadConfig

from .fake_site import HOUR, NAN, SECOND, FakeSite, measured, solve

PROFILE, Q_PROFILE = "p.csv#p", "p.csv#q"


def build(**options: Any) -> Load:
    place = {} if "element" in options else {"bus": "b1"}
    return Load.build([LoadConfig(name="l", **place, **options)], FakeSite(p=lambda t_s: 0.5, q=lambda t_s: 0.25))


def power(group: Load, **values: Any) -> tuple[float, float]:
    injection = solve(group, 0, **values)
    return float(injection.p_kw[0]), float(injection.q_kvar[0])


def test_consumption_is_a_negative_injection() -> None:
    """10 kW consumed is -10 kW into the grid; the counter counts consumption."""
    group = build(p_kw=10, q_kvar=3)
    assert power(group) == (-10, -3)
    group.advance(HOUR // 2)
    assert measured(group)["e_kwh"][0] == 5


def test_power_factor_gives_inductive_reactive_power() -> None:
    """q = p tan(acos pf), consumed."""
    assert power(build(p_kw=10, power_factor=0.9)) == pytest.approx((-10, -10 * tan(acos(0.9))))


def test_element_brings_its_own_values() -> None:
    """Without options a taken-over load keeps what the network said."""
    assert power(build(element="house")) == (-4, -1)
    assert power(build(element="house", p_kw=8, profile=PROFILE)) == (-4, -0.5)


@pytest.mark.parametrize(("options", "expected"), [
    ({"p_kw": 10, "q_kvar": 4, "profile": PROFILE}, (-5, -2)),
    ({"p_kw": 10, "q_kvar": 4, "profile": PROFILE, "q_profile": Q_PROFILE}, (-5, -1)),
    ({"p_kw": 10, "q_kvar": 4, "profile": PROFILE, "profile_unit": "kw"}, (-0.5, -0.2)),
    ({"profile": PROFILE, "profile_unit": "kw", "q_profile": Q_PROFILE}, (-0.5, -0.25)),
    ({"profile": PROFILE, "profile_unit": "kw", "power_factor": 0.8}, (-0.5, -0.375)),
    ({"p_kw": 10, "profile": {"file": "p.csv", "column": "p", "scale": 3}}, (-15, 0)),
])
def test_profiles(options: dict[str, Any], expected: tuple[float, float]) -> None:
    """Multiples or kW; reactive power follows unless it has a profile of its own."""
    assert power(build(**options)) == pytest.approx(expected)


@pytest.mark.parametrize(("zip_p", "factor"), [((1, 0, 0), 0.81), ((0, 1, 0), 0.9), ((0, 0, 1), 1.0),
                                               ((0.2, 0.3, 0.5), 0.2 * 0.81 + 0.27 + 0.5)])
def test_zip(zip_p: tuple[float, float, float], factor: float) -> None:
    """Constant impedance, current and power at 0.9 pu."""
    group = build(p_kw=10, q_kvar=1, zip_p=zip_p, zip_q=(1, 0, 0))
    assert group.voltage_dependent
    assert power(group, v_pu=0.9) == pytest.approx((-10 * factor, -0.81))


def test_scale_multiplies_and_is_bounded() -> None:
    """A load step of 2 doubles; 9 is more than the 5 that are accepted."""
    assert power(build(p_kw=10), scale=2) == (-20, 0)
    assert power(build(p_kw=10), scale=9) == (-50, 0)
    assert power(build(p_kw=10), scale=0)[0] == 0


def test_without_voltage_nothing_is_consumed_but_the_demand_stands() -> None:
    """A de-energised load neither draws nor counts; what it would draw is told to the grid as unserved."""
    group = build(p_kw=10, zip_p=(1, 0, 0))
    assert power(group, v_pu=NAN)[0] == -10
    assert measured(group)["p_kw"][0] == 0
    group.advance(10 * SECOND)
    assert measured(group)["e_kwh"][0] == 0
