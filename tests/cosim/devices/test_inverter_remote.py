"""Inverter functions that are set while the run goes: what each does, and that setting is as good as configuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.devices.conformance import check_device
from cosim.devices.inverter_remote import KEPT
from cosim.devices.pv import PV, PVConfig
from cosim.devices.wind import Wind, WindConfig
from cosim.errors import PluginError
from cosim.plugins import Limit, Role

from .fake_site import NAN, SECOND, FakeSite, limited, setpoints, solve

VV = {f"volt_var_{axis}{k}": value for axis, values in (("x", (0.9, 0.95, 1.05, 1.1)), ("y", (0.4, 0.1, -0.1, -0.3)))
      for k, value in enumerate(values, 1)}
VV_CURVE = ((0.9, 0.4), (0.95, 0.1), (1.05, -0.1), (1.1, -0.3))
VW = {"volt_watt_x1": 1.02, "volt_watt_x2": 1.08, "volt_watt_y1": 0.9, "volt_watt_y2": 0.3}
WV = {"watt_var_x1": 0.1, "watt_var_x2": 0.5, "watt_var_x3": 0.9, "watt_var_y1": 0.2, "watt_var_y2": 0.0,
      "watt_var_y3": -0.4}
MODES = ("none", "volt_var", "watt_var", "volt_watt", "volt_var_volt_watt", "fixed_power_factor")


def configs(*rows: Mapping[str, Any]) -> list[PVConfig]:
    return [PVConfig(name=f"pv{i}", **({"bus": "b1", "p_rated_kw": 100.0} | dict(row))) for i, row in enumerate(rows)]


def build(step_s: float = 1.0, *, remote: bool = True, **options: Any) -> PV:
    return PV.build(configs({"remote_functions": remote, **options}), FakeSite(step_s, sun=lambda t_s: 1.0))


def powers(group: Any, t_us: int, v_pu: float = 1.0, **values: float) -> tuple[float, float]:
    """p and q of the first device after a SOLVE."""
    injection = solve(group, t_us, v_pu, **values)
    return float(injection.p_kw[0]), float(injection.q_kvar[0])


def test_the_setpoints_come_after_those_that_were() -> None:
    """Order and number are fixed; all are OTHER, the switches binary; without the option there are none of them."""
    names = [point.suffix for point in build().setpoints]
    assert names == ["p_set_kw", "q_set_kvar", "connect", "pf_set", "volt_var_on", "volt_watt_on", "watt_var_on",
                     *(f"volt_var_{a}{k}" for a in "xy" for k in (1, 2, 3, 4)),
                     *(f"volt_watt_{a}{k}" for a in "xy" for k in (1, 2)),
                     *(f"watt_var_{a}{k}" for a in "xy" for k in (1, 2, 3)), "volt_var_olrt_s", "volt_watt_olrt_s"]
    assert {point.role for point in build().setpoints[2:]} == {Role.OTHER}
    assert [p.suffix for p in build().setpoints if p.binary] == ["connect", *names[4:7]]
    plain = build(remote=False)
    assert [point.suffix for point in plain.setpoints] == names[:2]
    assert not plain.voltage_dependent
    assert build().voltage_dependent


def test_connect() -> None:
    """0 ceases to energise whatever else is asked; 1 and nothing are normal."""
    group = build()
    assert powers(group, 0, connect=0, q_set_kvar=20) == (0, 0)
    assert powers(group, SECOND, connect=1, q_set_kvar=20) == pytest.approx((97.98, 20), abs=0.01)
    assert powers(group, 2 * SECOND) == (100, 0)


@pytest.mark.parametrize(("pf", "q_kvar"), [(0.95, 31.2250), (-0.95, -31.2250), (1.0, 0.0), (-1.0, 0.0),
                                            (0.5, 44.0), (-0.2, -44.0), (0.0, 44.0)])
def test_power_factor(pf: float, q_kvar: float) -> None:
    """At full sun q is S sin phi, positive injecting; a factor that q_max cannot give is brought to sqrt(1 - 0.44²)."""
    p, q = powers(build(), 0, pf_set=pf)
    assert q == pytest.approx(q_kvar, abs=1e-3)
    assert p == pytest.approx(100 * max(abs(pf), (1 - 0.44**2) ** 0.5))


def test_power_factor_that_is_too_small_says_why() -> None:
    """Brought to the nearest with its sign, for capability; what suffices comes back to the bit."""
    least = (1 - 0.44**2) ** 0.5
    assert limited(build(), "pf_set", pf_set=-0.5) == (pytest.approx([-least]), [Limit.CAPABILITY.value])
    assert limited(build(), "pf_set", pf_set=0.9) == ([0.9], [0])
    assert limited(build(q_max_pu=1.0), "pf_set", pf_set=0.0) == ([0.01], [Limit.CAPABILITY.value])


def test_power_factor_follows_the_power() -> None:
    """At half the power half the reactive power."""
    assert powers(build(), 0, pf_set=0.9, p_set_kw=50) == pytest.approx((50, 50 * (1 / 0.81 - 1) ** 0.5))


@pytest.mark.parametrize(("v_pu", "q_pu"), [(0.85, 0.4), (0.925, 0.25), (1.0, 0.0), (1.075, -0.2), (1.2, -0.3)])
def test_volt_var_by_command(v_pu: float, q_pu: float) -> None:
    """The commanded curve, switched on by command, in per unit of the rating."""
    group = build(s_rated_kva=150)
    assert powers(group, 0, v_pu, volt_var_on=1, volt_var_olrt_s=0, **VV)[1] == pytest.approx(150 * q_pu, abs=1e-9)


@pytest.mark.parametrize(("v_pu", "p_pu"), [(1.0, 0.9), (1.05, 0.6), (1.1, 0.3)])
def test_volt_watt_by_command(v_pu: float, p_pu: float) -> None:
    """The commanded cap, in per unit of the rated power."""
    assert powers(build(), 0, v_pu, volt_watt_on=1, volt_watt_olrt_s=0, **VW) == pytest.approx((100 * p_pu, 0))


@pytest.mark.parametrize(("p_kw", "q_kvar"), [(5, 20), (30, 10), (70, -20), (90, -40)])
def test_watt_var_by_command(p_kw: float, q_kvar: float) -> None:
    """The commanded curve over the power fed in."""
    group = build(step_s=10)
    assert powers(group, 0, watt_var_on=1, p_set_kw=p_kw, **WV) == pytest.approx((p_kw, q_kvar))


def test_one_point_can_be_moved() -> None:
    """Points that nobody commands are the device's own."""
    group = build(mode="volt_var", olrt_s=0)
    assert powers(group, 0, 0.95)[1] == pytest.approx(22)
    assert powers(group, SECOND, 0.95, volt_var_x2=0.96)[1] == pytest.approx(44 * 0.25)


def test_precedence() -> None:
    """q_set over pf_set over volt-var over watt-var; the volt-watt cap beside each of them."""
    group, t_s = build(step_s=10), iter(range(0, 1000, 10))
    asked = {"watt_var_on": 1, **WV, **VV, "volt_var_olrt_s": 0, "p_set_kw": 60}

    def q(**more: float) -> float:
        return powers(group, next(t_s) * SECOND, 1.075, **asked, **more)[1]

    assert q() == pytest.approx(-10)
    assert q(volt_var_on=1) == pytest.approx(-20)
    assert q(volt_var_on=1, pf_set=0.98) == pytest.approx(60 * (1 / 0.98**2 - 1) ** 0.5)
    assert q(volt_var_on=1, pf_set=0.98, q_set_kvar=7) == 7
    capped = powers(group, next(t_s) * SECOND, 1.2, q_set_kvar=7, volt_watt_on=1, volt_watt_olrt_s=0, **VW)
    assert capped == pytest.approx((30, 7))


def test_a_commanded_reactive_power_frees_the_active_power_of_the_factor() -> None:
    """pf_set is not in force beside q_set_kvar, and holds no active power back."""
    assert powers(build(), 0, pf_set=0.9, q_set_kvar=0) == (100, 0)


def test_the_own_factor_holds_until_another_function_is_switched_on() -> None:
    """A device of mode fixed_power_factor keeps it while nothing else is asked."""
    group = build(mode="fixed_power_factor", power_factor=0.95)
    assert powers(group, 0)[1] == pytest.approx(-31.2250, abs=1e-3)
    assert powers(group, SECOND, pf_set=1.0) == (100, 0)
    assert powers(group, 2 * SECOND, 0.95, volt_var_on=1, volt_var_olrt_s=0)[1] == pytest.approx(22)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step_s", [1.0, 60.0])
def test_what_nobody_commands_is_as_without_the_option(mode: str, step_s: float) -> None:
    """The same trajectory to 1e-12, whatever the mode, direct and lagged."""
    one, other = build(step_s, mode=mode), build(step_s, mode=mode, remote=False)
    rng = np.random.default_rng(3)
    for k in range(30):
        v_pu = NAN if k == 17 else float(rng.uniform(0.9, 1.1))
        asked = {"p_set_kw": 60.0} if k % 5 == 3 else {}
        t_us = k * round(step_s * SECOND)
        assert powers(one, t_us, v_pu, **asked) == pytest.approx(powers(other, t_us, v_pu, **asked), abs=1e-12)


COMMANDED = [
    ({"volt_var_on": 1.0, **VV}, {"mode": "volt_var", "volt_var": VV_CURVE}),
    ({"volt_watt_on": 1.0, **VW}, {"mode": "volt_watt", "volt_watt": ((1.02, 0.9), (1.08, 0.3))}),
    ({"watt_var_on": 1.0, **WV}, {"mode": "watt_var", "watt_var": ((0.1, 0.2), (0.5, 0.0), (0.9, -0.4))}),
    ({"volt_var_on": 1.0, "volt_watt_on": 1.0}, {"mode": "volt_var_volt_watt"}),
    ({"pf_set": -0.95}, {"mode": "fixed_power_factor", "power_factor": 0.95}),
    ({"volt_var_on": 1.0, "volt_watt_on": 1.0, "volt_var_olrt_s": 7.0, "volt_watt_olrt_s": 3.0},
     {"mode": "volt_var_volt_watt", "olrt_s": 7.0, "volt_watt_olrt_s": 3.0})]


@pytest.mark.parametrize(("commands", "options"), COMMANDED)
@pytest.mark.parametrize("step_s", [1.0, 60.0])
def test_commanded_from_the_start_is_configured(commands: dict[str, float], options: dict[str, Any],
                                                step_s: float) -> None:
    """Functions commanded before the first SOLVE give what the same options give, direct and lagged."""
    one, other = build(step_s), build(step_s, remote=False, **options)
    rng = np.random.default_rng(5)
    for k in range(20):
        v_pu, t_us = float(rng.uniform(0.9, 1.12)), k * round(step_s * SECOND)
        assert powers(one, t_us, v_pu, **commands) == pytest.approx(powers(other, t_us, v_pu), abs=1e-10)


@pytest.mark.parametrize(("commands", "options"), COMMANDED)
def test_commanded_later_becomes_configured(commands: dict[str, float], options: dict[str, Any]) -> None:
    """Switched on at 10 s: when the lags have settled, the trajectory is that of the options; off again, as before."""
    one, other = build(), build(remote=False, **options)
    for k in range(200):
        asked = commands if k >= 10 else {}
        here, there = powers(one, k * SECOND, 1.07, **asked), powers(other, k * SECOND, 1.07)
        assert here == pytest.approx((100, 0)) or k >= 10
        assert here == pytest.approx(there, abs=1e-6) or k < 120
    assert there != pytest.approx((100, 0), abs=1)
    for k in range(200, 300):
        last = powers(one, k * SECOND, 1.07)
    assert last == pytest.approx((100, 0))


def test_a_lagged_function_begins_where_the_power_is() -> None:
    """Volt-var switched on over a factor of -0.95 goes on from its reactive power, at its own rate."""
    group = build()
    q0 = powers(group, 0, 0.92, pf_set=-0.95)[1]
    assert powers(group, SECOND, 0.92, volt_var_on=1)[1] == pytest.approx(q0)
    then = 44 + (q0 - 44) * exp(-log(10) * 3 / 5)
    assert powers(group, 4 * SECOND, 0.92, volt_var_on=1)[1] == pytest.approx(then)
    # Another curve: no jump, and on towards the new target.
    asked = {"volt_var_on": 1, "volt_var_y1": 0.2, "volt_var_olrt_s": 2}
    on = 44 + (then - 44) * exp(-log(10) * 1 / 5)
    assert powers(group, 5 * SECOND, 0.92, **asked)[1] == pytest.approx(on)
    assert powers(group, 7 * SECOND, 0.92, **asked)[1] == pytest.approx(20 + (on - 20) * 0.1)


def test_a_lag_begins_from_the_power_beside_another_that_runs() -> None:
    """A device whose volt-var is switched on goes on from its own reactive power though others lag already."""
    group = PV.build(configs({"remote_functions": True}, {"mode": "volt_var"}), FakeSite())
    pf = np.array([0.95, NAN])
    before = solve(group, 0, [0.95, 0.95], pf_set=pf)
    solve(group, SECOND, [0.95, 0.95], pf_set=pf)
    after = solve(group, 2 * SECOND, [0.95, 0.95], volt_var_on=[1, NAN])
    assert after.q_kvar[0] == pytest.approx(before.q_kvar[0])
    assert after.q_kvar[1] == pytest.approx(22 * (1 - exp(-log(10) * 2 / 5)))


def test_a_cap_that_begins_to_lag_goes_on_from_where_it_stood() -> None:
    """From direct to lagged the cap does not let go first; switched off it does, at once."""
    group = build()
    on = {"volt_watt_on": 1.0}
    assert powers(group, 0, 1.1, volt_watt_olrt_s=0, **on)[0] == pytest.approx(20)
    assert powers(group, SECOND, 1.0, volt_watt_olrt_s=10, **on)[0] == pytest.approx(20)
    assert powers(group, 11 * SECOND, 1.0, volt_watt_olrt_s=10, **on)[0] == pytest.approx(100 - 80 * 0.1)
    assert powers(group, 12 * SECOND, 1.0)[0] == 100
    assert powers(group, 13 * SECOND, 1.1, **on)[0] == 100


def test_a_function_switched_on_shorter_than_the_scan_follows_the_same_voltage() -> None:
    """`apply` answers each voltage that it is asked about: the SOLVE can iterate."""
    group = build(step_s=1)
    group.advance(0)
    asked = setpoints(group, volt_var_on=1, volt_var_olrt_s=0.5)
    assert [float(group.apply(asked, np.array([v])).q_kvar[0]) for v in (0.92, 0.95, 1.08)] == pytest.approx(
        [44, 22, -44])
    lagging = setpoints(group, volt_var_on=1, volt_var_olrt_s=5)
    assert group.apply(lagging, np.array([0.92])).q_kvar[0] == 0


def test_devices_without_the_option_take_no_command() -> None:
    """Their ranges are what they have, and nothing changes, beside a device whose functions are set."""
    plain = {"mode": "volt_var", "olrt_s": 0, "volt_var": tuple((0.9 + 0.02 * k, 0.4 - 0.1 * k) for k in range(7))}
    group = PV.build(configs({"remote_functions": True}, plain), FakeSite())
    group.advance(0)
    asked = setpoints(group, connect=0, pf_set=0.95, volt_var_on=0, volt_watt_on=1, volt_var_x1=0.97, volt_var_y1=0.3,
                      volt_watt_olrt_s=0)
    for point in group.setpoints[2:]:
        assert point.low[1] == point.high[1], point.suffix
    possible, reason = group.limit(asked)
    assert possible[2:7, 1].tolist()[:3] == [1, 1, 1]
    assert reason[2, 1] == Limit.CAPABILITY.value
    injection = group.apply(asked, np.array([1.0, 0.93]))
    assert injection.p_kw == pytest.approx([0, 100 * (1 - 0.25**2) ** 0.5])
    assert injection.q_kvar[1] == pytest.approx(100 * 0.25)


@pytest.mark.parametrize("step_s", [1.0, 60.0])
def test_the_contract_is_kept(step_s: float) -> None:
    """`check_device` finds no breach with functions that are set at random, mixed with devices without the option."""
    on: dict[str, Any] = {"remote_functions": True}
    rows: Sequence[dict[str, Any]] = (
        on, {**on, "mode": "volt_var", "volt_var": ((0.95, 0.2), (1.05, -0.2))}, {"mode": "volt_var_volt_watt"},
        {**on, "priority": "p", "q_max_pu": 0.3}, {**on, "q_max_pu": 1.0, "s_rated_kva": 70},
        {**on, "q_max_pu": 0.0}, {**on, "mode": "fixed_power_factor", "power_factor": 0.95})
    check_device(PV, configs(*rows), FakeSite(step_s))
    wind = [WindConfig(name="w", bus="b1", p_rated_kw=10, **on), WindConfig(name="x", element="park", mode="watt_var")]
    check_device(Wind, wind, FakeSite(step_s))


@pytest.mark.parametrize(("curve", "points"), [
    (((0.9, 0.3), (1.1, -0.3)), 2), (((0.9, 0.3), (1.0, 0.1), (1.1, -0.3)), 3), (((0.0, 0.3), (2.0, -0.3)), 2)])
def test_curves_of_fewer_points_keep_their_shape(curve: Any, points: int) -> None:
    """A configured curve of two or three points is exact as four."""
    assert len(curve) == points
    one, other = (build(60, mode="volt_var", volt_var=curve, remote=remote) for remote in (True, False))
    for k, v_pu in enumerate(np.linspace(0.8, 1.2, 41)):
        assert powers(one, k * SECOND, v_pu) == pytest.approx(powers(other, k * SECOND, v_pu), abs=1e-12)


@pytest.mark.parametrize(("options", "says"), [
    ({"volt_var": tuple((0.9 + 0.04 * k, 0.2 - 0.1 * k) for k in range(5))},
     r"device 'pv0' \(pv\): `volt_var` has 5 points; with remote_functions expected at most 4"),
    ({"volt_watt": ((1.0, 1), (1.05, 0.5), (1.1, 0))}, "`volt_watt` has 3 points"),
    ({"volt_var": ((0.9, 0.2), (0.9001, 0.1))}, "nearer than 0.001"),
    ({"watt_var": ((0.5, 0.2), (2.5, 0.1))}, r"reaches from x = 0.5 to 2.5; with remote_functions expected 0\.\.2"),
])
def test_curves_that_cannot_be_commanded_are_refused(options: dict[str, Any], says: str) -> None:
    """At build, with the device, the option, what was found and expected; without the option they are fine."""
    with pytest.raises(PluginError, match=says):
        build(**options)
    build(remote=False, **options)


def test_own_points_are_within_the_reactive_power() -> None:
    """A device whose mode has no volt-var may have a curve beyond its q_max_pu: switched on, it ends there."""
    group = build(q_max_pu=0.2)
    assert powers(group, 0, 0.8, volt_var_on=1, volt_var_olrt_s=0)[1] == pytest.approx(20)
    assert powers(group, SECOND, 0.95, volt_var_on=1, volt_var_olrt_s=0)[1] == pytest.approx(10)


def test_nothing_is_compiled_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting is compiled once however often it is applied, and the memory of settings is bounded."""
    group = build()
    functions: Any = group._functions
    made: list[int] = []
    compile_ = functions._compile
    monkeypatch.setattr(functions, "_compile", lambda rows: made.append(1) or compile_(rows))
    for k in range(20):
        solve(group, k * SECOND, volt_var_on=1)
    assert len(made) == 1
    for k in range(20, 40):
        solve(group, k * SECOND, volt_var_on=1, volt_var_y1=0.01 * (k - 19))
    assert len(made) == 21
    assert len(functions._compiled) <= KEPT
    assert len(functions._held) <= KEPT


CURVES = ("volt_var", 4, 2.0, (-0.44, 0.44), 0.001), ("volt_watt", 2, 2.0, (0, 1), 0.001), (
    "watt_var", 3, 2.0, (-0.44, 0.44), 0.01)
ANY = st.one_of(st.floats(-3, 3), st.just(NAN), st.sampled_from([0.0, 0.95, 1.0, 1.05, 2.0]), st.floats(allow_nan=True))


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, min_size=23, max_size=23), st.sampled_from(MODES))
def test_limit_makes_any_command_usable(values: list[float], mode: str) -> None:
    """Total, idempotent to the bit, a reason just where something moved; points in order and within their bounds."""
    group = build(mode=mode)
    wanted = np.array([[NAN], [NAN], *([value] for value in values), [NAN], [NAN]])
    possible, reason = group.limit(wanted)
    again, reason_again = group.limit(possible)
    assert possible.tobytes() == again.tobytes()
    assert not reason_again.any()
    assert np.array_equal(np.isnan(possible), np.isnan(wanted))
    assert np.array_equal(reason == 0, (possible == wanted) | np.isnan(wanted))
    suffixes = [point.suffix for point in group.setpoints]
    for name, n_point, top, (low, high), gap in CURVES:
        at = suffixes.index(f"{name}_x1")
        own = np.array([getattr(PVConfig(name="a", bus="b", p_rated_kw=1), name)], float)[0]
        x, y = (np.where(np.isnan(row), mine, row) for row, mine in (
            (possible[at:at + n_point, 0], own[:, 0]), (possible[at + n_point:at + 2 * n_point, 0], own[:, 1])))
        assert (np.diff(x) > gap * 0.99999).all()
        assert x[0] >= 0
        assert x[-1] <= top
        assert (np.diff(y) <= 0).all()
        assert low <= y.min()
        assert y.max() <= high
    group.advance(0)
    injection = group.apply(possible, np.array([1.03]))
    assert 0 <= injection.p_kw[0] <= 100
    assert abs(injection.q_kvar[0]) <= 44


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0.5, 1.5), min_size=4, max_size=4), st.lists(st.floats(0.5, 1.5), min_size=4, max_size=4))
def test_limit_finds_the_nearest_points(wanted: list[float], other: list[float]) -> None:
    """No usable four voltages are nearer to what was asked than what is possible."""
    asked = {f"volt_var_x{k}": value for k, value in enumerate(wanted, 1)}
    group = build()
    possible, _ = group.limit(setpoints(group, **asked))
    at = [point.suffix for point in group.setpoints].index("volt_var_x1")
    found = possible[at:at + 4, 0]
    usable = np.sort(np.array(other)) + 0.001 * np.arange(4)
    assert np.linalg.norm(found - wanted) <= np.linalg.norm(usable - wanted) + 1e-9


def test_limit_by_hand() -> None:
    """Two voltages the wrong way round meet halfway, a millesimal apart; an unasked point stands in the way."""
    group = build()
    crossed = limited(group, "volt_var_x2", volt_var_x1=0.95, volt_var_x2=0.91, volt_var_x3=1.03, volt_var_x4=1.1)
    assert crossed == (pytest.approx([0.9305]), [Limit.CAPABILITY.value])
    assert limited(group, "volt_var_x1", volt_var_x1=1.5)[0] == pytest.approx([0.979])
    assert limited(group, "volt_var_y2", volt_var_y2=0.5)[0] == pytest.approx([0.44])
    assert limited(group, "volt_var_y3", volt_var_y3=0.2) == ([0.0], [Limit.CAPABILITY.value])
    rising = {"volt_watt_y1": 0.2, "volt_watt_y2": 0.6}
    assert limited(group, "volt_watt_y1", **rising)[0] == pytest.approx([0.4])
    assert limited(group, "connect", connect=0.3) == ([0.0], [Limit.CAPABILITY.value])
