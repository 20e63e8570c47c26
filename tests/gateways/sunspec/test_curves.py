"""Curve models 705, 706 and 712: written, adopted, enabled, and followed by the simulated inverter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sunspec2.modbus.modbus import ModbusClientException

from gateways.modbus.bank import ExceptionCode
from tests.gateways.sunspec.rig import PV, Rig, Wire, model, put

S_KVA, P_KW, Q_KVAR = 1800.0, 1500.0, 792.0
AXES = {705: ("V", "Var"), 706: ("V", "W"), 712: ("W", "Var")}
Points = Sequence[tuple[float, float]]


def _write(client: Wire, number: int, curve: int, points: Points, **others: float) -> None:
    x, y = AXES[number]
    values = {f"Crv[{curve}].{name}": value for name, value in others.items()}
    for i, (at, value) in enumerate(points):
        values |= {f"Crv[{curve}].Pt[{i + 1}].{x}": at, f"Crv[{curve}].Pt[{i + 1}].{y}": value}
    put(client, number, values)


def _adopt(client: Wire, number: int, curve: int) -> None:
    put(client, number, {"Ena": 1})
    put(client, number, {"AdptCrvReq": curve})


def _expected(points: Points, x: float) -> float:
    return float(np.interp(x, [at for at, _ in points], [value for _, value in points]))


VOLT_VAR: Points = [(95, 40), (100, 10), (104, -10), (110, -42)]
VOLT_WATT: Points = [(103, 100), (110, 30)]
WATT_VAR: Points = [(20, 5), (60, -5), (100, -30)]


@pytest.mark.parametrize(("reference", "base"), [(3, S_KVA), (1, Q_KVAR), (0, P_KW)])
def test_volt_var_follows_the_adopted_curve(reference: int, base: float) -> None:
    """q is the curve's at the voltage that settles, per cent of what DeptRef names."""
    rig = Rig()
    client = rig.client()
    _write(client, 705, 2, VOLT_VAR, DeptRef=reference)
    rig.advance_s(2)
    assert rig.read("pv.q_kvar") == 0, "writing a curve does nothing yet"
    _adopt(client, 705, 2)
    rig.advance_s(3)
    v_pu, q_kvar = rig.read("pv.v_pu"), rig.read("pv.q_kvar")
    assert 1.0 < v_pu < 1.08
    assert q_kvar == pytest.approx(_expected(VOLT_VAR, 100 * v_pu) / 100 * base, abs=1e-3)


def test_volt_watt_caps_active_power() -> None:
    """p is the curve's share of WMax at the voltage that settles."""
    rig = Rig()
    client = rig.client()
    _write(client, 706, 3, VOLT_WATT)
    _adopt(client, 706, 3)
    rig.advance_s(3)
    share = _expected(VOLT_WATT, 100 * rig.read("pv.v_pu")) / 100
    assert 0.3 < share < 0.99
    assert rig.read("pv.p_kw") == pytest.approx(P_KW * share, rel=1e-6)
    assert model(client, 701).ThrotSrc.value == 1 << 10


def test_watt_var_follows_active_power() -> None:
    """q at half power is the curve's between its points."""
    rig = Rig()
    client = rig.client()
    _write(client, 712, 2, WATT_VAR)
    _adopt(client, 712, 2)
    put(client, 704, {"WMaxLimPctEna": 1, "WMaxLimPct": 75})
    rig.advance_s(3)
    assert rig.read("pv.q_kvar") == pytest.approx(_expected(WATT_VAR, 75) / 100 * S_KVA, rel=1e-9)


def test_the_response_time_is_the_curves() -> None:
    """RspTms: 90 % of the answer after that time, from where it stood."""
    rig = Rig()
    client = rig.client()
    _write(client, 705, 2, VOLT_VAR, RspTms=20)
    _adopt(client, 705, 2)
    rig.advance_s(6)
    early = rig.read("pv.q_kvar")
    rig.advance_s(200)
    late = rig.read("pv.q_kvar")
    assert late < early < 0
    assert abs(early) < 0.75 * abs(late)
    assert model(client, 705).Crv[0].RspTms.cvalue == 20


def test_the_adopted_curve_is_curve_1_and_keeps_when_its_source_changes() -> None:
    """Curve 1 shows what the run has; editing curve 2 afterwards does nothing until it is adopted again."""
    rig = Rig()
    client = rig.client()
    _write(client, 705, 2, VOLT_VAR)
    _adopt(client, 705, 2)
    assert model(client, 705).AdptCrvRslt.value == 0
    rig.advance_s(2)
    _write(client, 705, 2, [(90, 44), (97, 0), (103, 0), (112, -44)])
    rig.advance_s(2)
    shown = model(client, 705)
    assert shown.AdptCrvRslt.value == 1
    assert [(p.V.cvalue, p.Var.cvalue) for p in shown.Crv[0].Pt] == VOLT_VAR
    assert [p.V.cvalue for p in shown.Crv[1].Pt] == [90, 97, 103, 112]
    assert [crv.ReadOnly.value for crv in shown.Crv] == [1, 0, 0]


def test_curve_1_starts_as_the_devices_own() -> None:
    """What the scenario configures is what is shown before anything was adopted."""
    rig = Rig(PV.replace("s_rated_kva: 1800,", "s_rated_kva: 1800, mode: volt_var, volt_var: [[0.9, 0.3], [0.95, 0], "
                                                  "[1.01, 0], [1.1, -0.3]],"))
    shown = rig.client().models[705][0]
    assert shown.Ena.value == 1
    assert [(p.V.cvalue, p.Var.cvalue) for p in shown.Crv[0].Pt] == [(90, 30), (95, 0), (101, 0), (110, -30)]


def test_switching_a_function_off_beats_the_devices_mode() -> None:
    """Ena 0 switches off a volt-var that the scenario has on."""
    rig = Rig(PV.replace("s_rated_kva: 1800,", "s_rated_kva: 1800, mode: volt_var,"))
    client = rig.client()
    rig.advance_s(1)
    assert rig.read("pv.q_kvar") < -100
    put(client, 705, {"Ena": 0})
    rig.advance_s(2)
    assert rig.read("pv.q_kvar") == 0
    assert model(client, 705).Ena.value == 0


@pytest.mark.parametrize(("number", "points", "others"), [
    (705, [(95, 40), (95, 10), (104, -10), (110, -42)], {}),
    (705, [(95, 40), (100, -10), (104, 10), (110, -42)], {}),
    (705, [(95, 60), (100, 10), (104, -10), (110, -42)], {}),
    (705, VOLT_VAR, {"ActPt": 2}),
    (706, [(103, 130), (110, 30)], {}),
    (712, [(20, 0), (60, 5), (100, -30)], {}),
    (712, [(-20, 0), (60, 0), (100, -30)], {})])
def test_a_curve_that_cannot_be_is_not_adopted(number: int, points: Points, others: Mapping[str, float]) -> None:
    """03, AdptCrvRslt FAILED, the reason in the audit, and the curve in force stays."""
    rig = Rig()
    client = rig.client()
    before = [(p.points["V" if number != 712 else "W"].cvalue) for p in model(client, number).Crv[0].Pt]
    _write(client, number, 2, points, **others)
    with pytest.raises(ModbusClientException, match="exception 3"):
        put(client, number, {"AdptCrvReq": 2})
    rig.advance_s(2)
    shown = model(client, number)
    assert shown.AdptCrvRslt.value == 2
    assert [(p.points["V" if number != 712 else "W"].cvalue) for p in shown.Crv[0].Pt] == before
    assert shown.AdptCrvReq.value == 0
    name = {705: "volt_var", 706: "volt_watt", 712: "watt_var"}[number]
    assert isnan(rig.read(f"pv.{name}_x1"))


def test_an_adoption_is_one_request_for_the_whole_curve() -> None:
    """Eight points and the response time go to the gate at once."""
    rig = Rig()
    client = rig.client()
    _write(client, 705, 2, VOLT_VAR, RspTms=3)
    put(client, 705, {"AdptCrvReq": 2})
    request = rig.gate.requests[-1]
    asked = {rig.simulation.points.names[i].removeprefix("pv.volt_var_"): value
             for i, value in zip(request.ids, request.values, strict=True)}
    assert asked == pytest.approx({"x1": 0.95, "y1": 0.4, "x2": 1.0, "y2": 0.1, "x3": 1.04, "y3": -0.1, "x4": 1.1,
                                   "y4": -0.42, "olrt_s": 3.0})


@pytest.mark.parametrize("back", [0, 3])
def test_a_curve_reverts(back: int) -> None:
    """At the end of RvrtTms curve RvrtCrv comes into force; without one, what the scenario gives the device."""
    rig = Rig()
    client = rig.client()
    other: Points = [(90, 44), (97, 5), (103, -5), (112, -40)]
    _write(client, 705, 2, VOLT_VAR)
    _write(client, 705, 3, other)
    put(client, 705, {"RvrtTms": 10})
    put(client, 705, {"RvrtCrv": back})
    _adopt(client, 705, 2)
    rig.advance_s(9)
    shown = model(client, 705)
    assert shown.RvrtRem.value == 1
    assert shown.Crv[0].Pt[0].V.cvalue == 95
    rig.advance_s(3)
    shown = model(client, 705)
    q_kvar, v_pu = rig.read("pv.q_kvar"), rig.read("pv.v_pu")
    if back:
        assert shown.Crv[0].Pt[0].V.cvalue == 90
        assert q_kvar == pytest.approx(_expected(other, 100 * v_pu) / 100 * S_KVA, abs=1e-3)
    else:
        assert shown.Crv[0].Pt[0].V.cvalue == 92
        assert (shown.Ena.value, q_kvar) == (0, 0)


def test_points_of_curve_1_cannot_be_written() -> None:
    """It is what is in force: a change is refused, its own value is no change."""
    rig = Rig()
    address = rig.unit.map.address_of(705, "Crv[1].Pt[1].V")
    code = rig.unit.write_registers(address, (9300).to_bytes(2, "big"), rig.peer, 0, b"")
    assert code is ExceptionCode.ILLEGAL_DATA_VALUE
    assert rig.unit.write_registers(address, (9200).to_bytes(2, "big"), rig.peer, 0, b"") is None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(90, 120), min_size=4, max_size=4, unique=True).map(sorted),
       st.lists(st.integers(-44, 44), min_size=4, max_size=4).map(lambda ys: sorted(ys, reverse=True)))
def test_any_proper_curve_is_followed(xs: Sequence[int], ys: Sequence[int]) -> None:
    """Whatever the points, q is the curve at the voltage that settles."""
    points = list(zip(xs, ys, strict=True))
    rig = Rig()
    client = Wire(rig)
    client.scan()
    _write(client, 705, 2, points)
    _adopt(client, 705, 2)
    rig.advance_s(3)
    expected = _expected(points, 100 * rig.read("pv.v_pu")) / 100 * S_KVA
    if rig.read("grid.converged") == 1 and not _steep(points):
        assert rig.read("pv.q_kvar") == pytest.approx(expected, abs=0.05)


def _steep(points: Points) -> bool:
    """Curves steeper than IEEE 1547 allows may not settle within a SOLVE."""
    return any((y0 - y1) / (x1 - x0) > 15 for (x0, y0), (x1, y1) in pairwise(points))
