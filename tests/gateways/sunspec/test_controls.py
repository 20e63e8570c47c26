"""What masters write: scaled, staged, checked as a whole, and in force in the run."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from math import isnan

import pytest
from sunspec2.modbus.modbus import ModbusClientException

from cosim.commands import Authority
from cosim.errors import ScenarioError
from gateways.gate import WriteAnswer
from gateways.modbus.bank import ExceptionCode
from gateways.peer import Role
from tests.gateways.sunspec.rig import BATTERY, OPERATOR, PLAIN_PV, Rig, Wire, model, put


def _after(devices: str | None, number: int, values: Mapping[str, float]) -> Rig:
    """A run some seconds after these points were written one by one."""
    rig = Rig() if devices is None else Rig(devices)
    rig.advance_s(1)
    client = rig.client()
    for path, value in values.items():
        put(client, number, {path: value})
    rig.advance_s(2)
    return rig


@pytest.mark.parametrize(("number", "values", "p_kw", "q_kvar"), [
    (123, {"WMaxLimPct": 40, "WMaxLim_Ena": 1}, 600, 0),
    (123, {"WMaxLim_Ena": 1, "WMaxLimPct": 12.34}, 185.1, 0),
    (123, {"VArWMaxPct": -20, "VArPct_Mod": 1, "VArPct_Ena": 1}, 1500, -300),
    (123, {"VArMaxPct": 50, "VArPct_Ena": 1}, 1500, 396),
    (123, {"OutPFSet": 0.95, "OutPFSet_Ena": 1}, 1500, 1500 * (1 / 0.95**2 - 1) ** 0.5),
    (123, {"OutPFSet": -0.95, "OutPFSet_Ena": 1}, 1500, -1500 * (1 / 0.95**2 - 1) ** 0.5),
    (123, {"Conn": 0}, 0, 0),
    (703, {"ES": 0}, 0, 0),
    (704, {"WMaxLimPct": 40, "WMaxLimPctEna": 1}, 600, 0),
    (704, {"WSet": 777_000, "WSetMod": 1, "WSetEna": 1}, 777, 0),
    (704, {"WSetPct": 25, "WSetEna": 1}, 375, 0),
    (704, {"VarSet": -123_000, "VarSetEna": 1}, 1500, -123),
    (704, {"VarSetPct": 100, "VarSetMod": 1, "VarSetEna": 1}, 1500, 792),
    (704, {"VarSetPct": 10, "VarSetMod": 3, "VarSetEna": 1}, 1500, 180),
    (704, {"VarSetPct": 10, "VarSetMod": 0, "VarSetEna": 1}, 1500, 150),
    (704, {"PFWInj.PF": 0.98, "PFWInj.Ext": 1, "PFWInjEna": 1}, 1500, -1500 * (1 / 0.98**2 - 1) ** 0.5),
    (704, {"PFWInj.PF": 0.98, "PFWInj.Ext": 0, "PFWInjEna": 1}, 1500, 1500 * (1 / 0.98**2 - 1) ** 0.5),
    (715, {"OpCtl": 0}, 0, 0),
    (715, {"OpCtl": 2}, 0, 0)])
def test_a_control_moves_the_inverter(number: int, values: Mapping[str, float], p_kw: float, q_kvar: float) -> None:
    """Scale applied, kW from W, and each control's own meaning, in a real run."""
    rig = _after(None, number, values)
    assert rig.read("pv.p_kw") == pytest.approx(p_kw, abs=1e-6)
    assert rig.read("pv.q_kvar") == pytest.approx(q_kvar, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("number", "values", "p_kw"), [
    (704, {"WSet": -300_000, "WSetMod": 1, "WSetEna": 1}, -300),
    (704, {"WSetPct": -50, "WSetEna": 1}, -200),
    (704, {"WSetPct": 80, "WSetEna": 1, "WMaxLimPct": 20, "WMaxLimPctEna": 1}, 100),
    (704, {"WMaxLimPct": 20, "WMaxLimPctEna": 1}, 0),
    (124, {"InWRte": -30, "StorCtl_Mod": 1}, 120),
    (124, {"OutWRte": -60, "StorCtl_Mod": 2}, -300),
    (124, {"OutWRte": 50, "StorCtl_Mod": 3}, 0)])
def test_a_battery_is_set_limited_and_held_in_a_window(number: int, values: Mapping[str, float], p_kw: float) -> None:
    """Charging is negative; 124's negative rates force the other direction; a limit alone asks for nothing."""
    assert _after(BATTERY, number, values).read("battery.p_kw") == pytest.approx(p_kw, abs=1e-6)


def test_a_setting_waits_until_it_is_enabled() -> None:
    """WMaxLimPct with Ena 0 is kept and shown, and asks the run for nothing."""
    rig = Rig()
    client = rig.client()
    put(client, 704, {"WMaxLimPct": 30})
    rig.advance_s(2)
    assert isnan(rig.read("pv.p_set_kw"))
    assert rig.gate.requests[-1].ids == ()
    assert model(client, 704).WMaxLimPct.cvalue == 30
    put(client, 704, {"WMaxLimPctEna": 1})
    rig.advance_s(2)
    assert rig.read("pv.p_set_kw") == 450


def test_disabling_lets_go() -> None:
    """Ena 0 releases the point: what asks with lower authority is in force again."""
    rig = Rig()
    rig.simulation.inbox.submit("pv.p_set_kw", 1000.0, "agent", Authority.AGENT)
    client = rig.client()
    put(client, 704, {"WMaxLimPctEna": 1, "WMaxLimPct": 10})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 150
    put(client, 704, {"WMaxLimPctEna": 0})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 1000


def test_of_several_limits_the_least_holds() -> None:
    """123 and 704 both limit; taking one away leaves the other."""
    rig = Rig()
    client = rig.client()
    put(client, 123, {"WMaxLimPct": 50, "WMaxLim_Ena": 1})
    put(client, 704, {"WMaxLimPctEna": 1, "WMaxLimPct": 20})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 300
    put(client, 704, {"WMaxLimPctEna": 0})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 750


def test_one_order_to_disconnect_is_enough() -> None:
    """123, 703 and 715 can each disconnect; it comes back when all let it."""
    rig = Rig()
    client = rig.client()
    put(client, 123, {"Conn": 0})
    put(client, 703, {"ES": 0})
    put(client, 123, {"Conn": 1})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 0
    put(client, 703, {"ES": 1})
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == 1500


def test_writing_again_takes_the_point_back() -> None:
    """A value that somebody else replaced in between is asked for anew when it is written anew."""
    rig = Rig()
    client = rig.client()
    put(client, 704, {"WMaxLimPctEna": 1, "WMaxLimPct": 40})
    rig.advance_s(1)
    rig.simulation.submit("pv.p_set_kw", 900.0, "other")
    rig.advance_s(1)
    assert rig.read("pv.p_kw") == 900
    put(client, 704, {"WMaxLimPct": 40})
    rig.advance_s(1)
    assert rig.read("pv.p_kw") == 600


def _write(rig: Rig, address: int, data: bytes) -> ExceptionCode | None:
    return rig.unit.write_registers(address, data, rig.peer, rig.simulation.now_us, b"frame")


def test_a_group_is_one_request_with_all_its_points() -> None:
    """One FC16 over WMaxLimPctEna and WMaxLimPct is one call of the gate, in kW."""
    rig = Rig()
    address = rig.unit.map.address_of(704, "WMaxLimPctEna")
    assert _write(rig, address, struct.pack(">HH", 1, 6000)) is None
    [request] = rig.gate.requests
    assert request.tags == ("704.WMaxLimPctEna", "704.WMaxLimPct")
    assert request.ids == (rig.simulation.points.id_of("pv.p_set_kw"),)
    assert request.values == (900.0,)
    assert request.frame == b"frame"


def test_a_group_with_one_bad_point_changes_nothing() -> None:
    """The good half is not staged, not asked for and not shown; the audit says why."""
    rig = Rig()
    client = rig.client()
    address = rig.unit.map.address_of(704, "WMaxLimPctEna")
    assert _write(rig, address, struct.pack(">HH", 1, 10_001)) is ExceptionCode.ILLEGAL_DATA_VALUE
    shown = model(client, 704)
    assert (shown.WMaxLimPctEna.value, shown.WMaxLimPct.cvalue) == (0, 100)
    assert rig.gate.requests[-1].refusal == "WMaxLimPct = 100.01 is beyond what the device offers"
    assert rig.gate.requests[-1].ids == ()


@pytest.mark.parametrize("answer", [WriteAnswer.BLOCKED, WriteAnswer.QUEUE_FULL, WriteAnswer.RATE_LIMITED,
                                    WriteAnswer.READ_ONLY])
def test_what_the_gate_does_not_take_is_not_staged(answer: WriteAnswer) -> None:
    """The registers keep what they had, and the master is told."""
    rig = Rig()
    client = rig.client()
    rig.gate.forced = answer
    code = _write(rig, rig.unit.map.address_of(704, "WMaxLimPctEna"), struct.pack(">HH", 1, 6000))
    assert code in (ExceptionCode.SERVER_DEVICE_FAILURE, ExceptionCode.SERVER_DEVICE_BUSY,
                    ExceptionCode.ILLEGAL_FUNCTION)
    shown = model(client, 704)
    assert (shown.WMaxLimPctEna.value, shown.WMaxLimPct.cvalue) == (0, 100)


ADDRESS, VALUE = ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE


@pytest.mark.parametrize(("number", "path", "data", "code"), [
    (704, "WMaxLimPctRvrtTms", b"\0\1", ADDRESS),  # half of a uint32
    (704, "WMaxLimPctRvrtRem", b"\0\0\0\1", ADDRESS),  # read-only
    (103, "W", b"\0\1", ADDRESS),
    (704, "WMaxLimPct_SF", b"\0\1", ADDRESS),
    (704, "ID", b"\0\1", ADDRESS),
    (704, "WMaxLimPctEna", b"\0\2", VALUE),  # no such symbol
    (704, "WMaxLimPct", b"\xff\xff", VALUE),  # "not implemented" is no value
    (704, "VarSetMod", b"\0\2", VALUE),  # per cent of what is available
    (704, "WRmp", b"\0\1", ADDRESS),  # no ramps here
    (123, "Conn_WinTms", b"\0\5", ADDRESS),
    (123, "OutPFSet", struct.pack(">h", 100), VALUE),  # the rating allows 0.898
    (123, "OutPFSet", b"\0\0", VALUE),
    (702, "WMax", b"\0\1", VALUE),  # settings are the ratings
    (704, "WSet", struct.pack(">i", -1000), VALUE),  # a generator does not charge
    (705, "AdptCrvReq", b"\0\4", VALUE),  # three curves
    (705, "AdptCrvReq", b"\0\0", VALUE),
    (705, "Crv[1].ActPt", b"\0\3", VALUE),  # in force: as it is, or not at all
    (705, "Crv[2].ActPt", b"\0\5", VALUE),
    (705, "Crv[2].DeptRef", b"\0\2", VALUE),
    (1, "DA", b"\0\2", VALUE)])
def test_what_cannot_be_written(number: int, path: str, data: bytes, code: ExceptionCode) -> None:
    """02 for places, 03 for values, by the point's definition and by what the device can do."""
    rig = Rig()
    assert _write(rig, rig.unit.map.address_of(number, path), data) is code
    assert rig.gate.requests[-1].refusal


def test_addresses_come_before_values() -> None:
    """A write with a bad value and a read-only point is 02."""
    rig = Rig()
    address = rig.unit.map.address_of(704, "WMaxLimPctRvrtTms")
    assert _write(rig, address, struct.pack(">II", 0xFFFFFFFF, 1)) is ADDRESS


def test_a_model_may_be_written_back_as_it_was_read() -> None:
    """Fixed points with their own value and missing ones with their sentinel change nothing."""
    rig = Rig()
    client = rig.client()
    address = rig.unit.map.address_of(702, "WMax")
    data = client.read(address, 19)
    client.write(address, data)
    assert rig.gate.requests[-1].refusal == ""
    assert rig.gate.requests[-1].ids == ()


@pytest.mark.parametrize(("address", "data"), [(0, b"\0\1"), (39_999, b"\0\1"), (40_000, b"\0\1"), (65_535, b"\0\1")])
def test_writes_outside_the_models(address: int, data: bytes) -> None:
    """The marker, and what is not there: 02."""
    assert _write(Rig(), address, data) is ADDRESS


def test_a_write_may_not_cross_into_another_model() -> None:
    """The last point of one model and the first of the next are not one request."""
    rig = Rig()
    assert _write(rig, rig.unit.map.address_of(704, "PFWAbsRvrt.Ext"), b"\xff\xff\0\1") is ADDRESS


def test_writes_are_denied_unless_allowed() -> None:
    """By default a station is read-only: 01, and the attempt is audited."""
    rig = Rig(writable=False)
    assert _write(rig, rig.unit.map.address_of(704, "WMaxLimPctEna"), b"\0\1") is ExceptionCode.ILLEGAL_FUNCTION
    assert rig.gate.requests[-1].refusal == "this station takes no writes"
    assert rig.client().models[715][0].LocRemCtl.value == 1
    assert "read-only" in rig.unit.summary()


@pytest.mark.parametrize(("role", "least", "code"), [
    (Role.OBSERVER, "operator", ExceptionCode.ILLEGAL_FUNCTION), (Role.OPERATOR, "operator", None),
    (Role.OPERATOR, "engineer", ExceptionCode.ILLEGAL_FUNCTION), (Role.ADMIN, "engineer", None)])
def test_the_least_role_may_write(role: Role, least: str, code: ExceptionCode | None) -> None:
    """01 for a role that is too low."""
    rig = Rig(peer=replace(OPERATOR, role=role), role_write=least)
    assert _write(rig, rig.unit.map.address_of(704, "WMaxLimPct"), b"\0\1") is code


def test_function_6_and_22_write_single_registers() -> None:
    """FC6 through the session, FC22 by mask; both end in the same check."""
    rig = Rig()
    client = Wire(rig)
    address = rig.unit.map.address_of(704, "WMaxLimPctEna")
    client.ask(struct.pack(">BHH", 6, address, 1))
    client.ask(struct.pack(">BHHH", 22, rig.unit.map.address_of(704, "WMaxLimPct"), 0, 3000))
    rig.advance_s(1)
    assert rig.read("pv.p_kw") == 450
    with pytest.raises(ModbusClientException, match="exception 3"):
        client.ask(struct.pack(">BHHH", 22, address, 0, 2))
    with pytest.raises(ModbusClientException, match="exception 2"):
        client.ask(struct.pack(">BHHH", 22, 65_535, 0, 2))
    with pytest.raises(ModbusClientException, match="exception 1"):
        client.ask(struct.pack(">BHH", 5, address, 0xFF00))


def test_a_device_without_remote_functions_refuses_what_it_cannot() -> None:
    """Its curve model is there when asked for, says what the scenario configures, and takes nothing."""
    rig = Rig(PLAIN_PV, models=[1, 123, 703, 705])
    client = rig.client()
    curve = client.models[705][0]
    assert curve.Ena.value == 1
    assert curve.Crv[0].Pt[0].Var.cvalue == 44
    assert curve.Crv[1].ReadOnly.value == 1
    assert client.models[703][0].ES.value is None
    assert _write(rig, rig.unit.map.address_of(705, "Ena"), b"\0\0") is VALUE
    assert _write(rig, rig.unit.map.address_of(703, "ES"), b"\0\0") is ADDRESS
    assert _write(rig, rig.unit.map.address_of(123, "OutPFSet_Ena"), b"\0\1") is ADDRESS
    assert "nothing behind 703, 705" in rig.unit.summary()


@pytest.mark.parametrize(("options", "message"), [
    ({"device": "sun"}, "device 'sun' is no device of the scenario; expected a pv, wind or battery device: pv"),
    ({"meter": {"bus": "nowhere"}}, "the run has no point bus.nowhere.v_pu"),
    ({"meter": {"line": "x", "bus": "y"}}, "no point line.x.p_kw and no line.x.q_kvar and no bus.y.v_pu")])
def test_what_is_not_in_the_run_is_said_at_once(options: Mapping[str, object], message: str) -> None:
    """A ScenarioError that names it and what would be accepted."""
    with pytest.raises(ScenarioError) as caught:
        Rig(**options)
    assert message in str(caught.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"device": "pv", "meter": {"grid": True}}, "give either `device`"),
    ({"models": [103]}, "expected 1 first"),
    ({"models": [1, 103, 103]}, "every model once"),
    ({"models": [1, 203]}, "203 is none that an inverter can have"),
    ({"meter": {"grid": True, "line": "1"}}, "expected one of"),
    ({"base": 30000}, "40000")])
def test_options_that_make_no_sense(options: dict[str, object], message: str) -> None:
    """Refused when the scenario is read."""
    with pytest.raises(ValueError, match=message):
        Rig(**options)
