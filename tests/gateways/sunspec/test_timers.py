"""Reversion timers and heartbeats, in simulation time."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import isnan

import pytest

from gateways.gate import WriteAnswer
from tests.gateways.sunspec.rig import BATTERY, Rig, model, put

STEP_US = 1_000_000


def test_a_limit_reverts_on_time_in_100_of_100_phases() -> None:
    """704: written at any phase of the scan, what is in force changes within one step of the time that was set."""
    rig = Rig()
    address, seconds = rig.unit.map.address_of(704, "WMaxLimPctEna"), 3
    on_time = 0
    for i in range(100):
        begin_us = rig.simulation.now_us + 10_000 * i + 1
        rig.simulation.advance_to(begin_us)
        data = struct.pack(">HHHHI", 1, 1000, 5000, 1, seconds)
        assert rig.unit.write_registers(address, data, rig.peer, begin_us, b"") is None
        due_us = begin_us + seconds * STEP_US
        assert rig.unit.next_us() == due_us
        rig.simulation.advance_to(due_us - 1)
        assert rig.read("pv.p_kw") == 150, "reverted too early"
        rig.unit.on_time(due_us)
        rig.simulation.advance_to(due_us + STEP_US)
        on_time += rig.read("pv.p_kw") == 750
    assert on_time == 100
    assert len(rig.gate.owned) == 100


@pytest.mark.parametrize(("number", "values", "before_kw", "after_kw"), [
    (704, {"WMaxLimPctRvrt": 80, "WMaxLimPctEnaRvrt": 1, "WMaxLimPctRvrtTms": 10, "WMaxLimPct": 10,
           "WMaxLimPctEna": 1}, 150, 1200),
    (704, {"WMaxLimPctRvrtTms": 10, "WMaxLimPct": 10, "WMaxLimPctEna": 1}, 150, 1500),
    (704, {"WSetPctRvrt": 60, "WSetEnaRvrt": 1, "WSetRvrtTms": 10, "WSetPct": 20, "WSetEna": 1}, 300, 900),
    (704, {"WSetMod": 1, "WSetRvrt": 70_000, "WSetEnaRvrt": 1, "WSetRvrtTms": 10, "WSet": 50_000, "WSetEna": 1},
     50, 70),
    (123, {"WMaxLimPct": 10, "WMaxLimPct_RvrtTms": 10, "WMaxLim_Ena": 1}, 150, 1500),
    (123, {"Conn_RvrtTms": 10, "Conn": 0}, 0, 1500)])
def test_every_control_reverts_to_what_its_model_says(number: int, values: Mapping[str, float], before_kw: float,
                                                      after_kw: float) -> None:
    """704 to its …Rvrt values, 123 to disabled."""
    rig = Rig()
    client = rig.client()
    for path, value in values.items():
        put(client, number, {path: value})
    rig.advance_s(9.5)
    assert rig.read("pv.p_kw") == before_kw
    rig.advance_s(2)
    assert rig.read("pv.p_kw") == after_kw
    assert rig.unit.next_us() is None


@pytest.mark.parametrize(("number", "values", "before", "after"), [
    (704, {"VarSet": 100_000, "VarSetRvrt": -50_000, "VarSetEnaRvrt": 1, "VarSetRvrtTms": 5, "VarSetEna": 1}, 100, -50),
    (704, {"PFWInj.PF": 0.95, "PFWInjRvrtTms": 5, "PFWInjEna": 1}, 1500 * (1 / 0.95**2 - 1) ** 0.5, 0),
    (704, {"PFWInj.PF": 0.95, "PFWInjRvrt.PF": 0.99, "PFWInjRvrt.Ext": 1, "PFWInjEnaRvrt": 1, "PFWInjRvrtTms": 5,
           "PFWInjEna": 1}, 1500 * (1 / 0.95**2 - 1) ** 0.5, -1500 * (1 / 0.99**2 - 1) ** 0.5),
    (123, {"VArMaxPct": 50, "VArPct_RvrtTms": 5, "VArPct_Ena": 1}, 396, 0),
    (123, {"OutPFSet": 0.95, "OutPFSet_RvrtTms": 5, "OutPFSet_Ena": 1}, 1500 * (1 / 0.95**2 - 1) ** 0.5, 0)])
def test_reactive_controls_revert(number: int, values: Mapping[str, float], before: float, after: float) -> None:
    """Reactive power and power factor, likewise."""
    rig = Rig()
    client = rig.client()
    for path, value in values.items():
        put(client, number, {path: value})
    rig.advance_s(4)
    assert rig.read("pv.q_kvar") == pytest.approx(before, rel=1e-9)
    rig.advance_s(3)
    assert rig.read("pv.q_kvar") == pytest.approx(after, rel=1e-9, abs=1e-9)


def test_a_window_of_a_battery_reverts() -> None:
    """124: InOutWRte_RvrtTms ends StorCtl_Mod."""
    rig = Rig(BATTERY)
    client = rig.client()
    for path, value in {"InOutWRte_RvrtTms": 5, "InWRte": -30, "StorCtl_Mod": 1}.items():
        put(client, 124, {path: value})
    rig.advance_s(4)
    assert rig.read("battery.p_kw") == 120
    rig.advance_s(3)
    assert rig.read("battery.p_kw") == 0
    assert model(client, 124).StorCtl_Mod.value == 0


def test_the_time_left_counts_down_and_a_new_write_restarts_it() -> None:
    """RvrtRem in seconds, rounded up (no 0 while it runs); writing the same again keeps a control alive."""
    rig = Rig()
    client = rig.client()
    put(client, 704, {"WMaxLimPctRvrtTms": 10, "WMaxLimPct": 50})
    put(client, 704, {"WMaxLimPctEna": 1})
    left = []
    rig.simulation.advance_to(500_000)
    put(client, 704, {"WMaxLimPct": 50})  # 0.5 s after a scan: at scans, half a second more is left
    for _ in range(3):
        rig.advance_s(3)
        left.append(model(client, 704).WMaxLimPctRvrtRem.value)
    assert left == [8, 5, 2]
    put(client, 704, {"WMaxLimPct": 50})
    rig.advance_s(3)
    assert model(client, 704).WMaxLimPctRvrtRem.value == 8
    assert rig.read("pv.p_kw") == 750
    rig.advance_s(8)
    assert model(client, 704).WMaxLimPctRvrtRem.value == 0
    assert model(client, 704).WMaxLimPctEna.value == 0


@pytest.mark.parametrize("values", [{"WMaxLimPctEna": 0}, {"WMaxLimPctRvrtTms": 0}])
def test_a_timer_stops_when_its_control_or_its_time_is_switched_off(values: Mapping[str, float]) -> None:
    """Nothing is left to happen."""
    rig = Rig()
    client = rig.client()
    put(client, 704, {"WMaxLimPctRvrtTms": 10, "WMaxLimPct": 50})
    put(client, 704, {"WMaxLimPctEna": 1})
    assert rig.unit.next_us() == 10_000_000
    put(client, 704, values)
    assert rig.unit.next_us() is None


def test_the_longest_time_is_no_overflow() -> None:
    """Nearly 2^32 seconds are 136 years."""
    rig = Rig()
    client = rig.client()
    put(client, 704, {"WMaxLimPctRvrtTms": 2**32 - 2, "WMaxLimPct": 50})
    put(client, 704, {"WMaxLimPctEna": 1})
    assert rig.unit.next_us() == (2**32 - 2) * 1_000_000
    assert model(client, 704).WMaxLimPctRvrtRem.value == 2**32 - 2


def test_a_reversion_that_is_blocked_is_tried_again() -> None:
    """Where the run does not take it, the registers do not pretend; a second later it is asked for again."""
    rig = Rig()
    client = rig.client()
    put(client, 123, {"WMaxLimPct_RvrtTms": 2, "WMaxLimPct": 10})
    put(client, 123, {"WMaxLim_Ena": 1})
    rig.gate.forced = WriteAnswer.QUEUE_FULL
    rig.advance_s(3.5)
    assert model(client, 123).WMaxLim_Ena.value == 1
    assert rig.unit.next_us() == 4_000_000
    rig.gate.forced = None
    rig.advance_s(2)
    assert model(client, 123).WMaxLim_Ena.value == 0
    assert rig.read("pv.p_kw") == 1500


def _heard(rig: Rig) -> object:
    client = rig.client()
    put(client, 704, {"WMaxLimPctRvrt": 60, "WMaxLimPctEnaRvrt": 1, "WMaxLimPct": 10})
    put(client, 704, {"WMaxLimPctEna": 1})
    put(client, 123, {"VArMaxPct": 50, "VArPct_Ena": 1})
    put(client, 705, {"Ena": 1})
    return client


def test_a_heartbeat_that_stands_still_reverts_what_was_asked() -> None:
    """After heartbeat_s without a change, within one step, everything goes as if its timer had ended."""
    rig = Rig(heartbeat_s=5)
    client = _heard(rig)
    for beat in range(1, 21):
        put(client, 715, {"ControllerHb": beat})
        rig.advance_s(1)
    assert (rig.read("pv.p_kw"), rig.read("pv.q_kvar")) == (150, 396)
    put(client, 715, {"ControllerHb": 20})  # the same: not a beat
    rig.advance_s(3.9)
    assert rig.read("pv.p_kw") == 150
    rig.advance_s(1.2)
    assert (rig.read("pv.p_kw"), rig.read("pv.q_kvar")) == (900, 0)
    assert isnan(rig.read("pv.volt_var_on"))
    assert "comm_loss" in rig.gate.owned[-1][3]
    assert rig.unit.next_us() is None


def test_a_heartbeat_that_never_began_is_not_missed() -> None:
    """A master that does not use ControllerHb keeps what it asked for."""
    rig = Rig(heartbeat_s=5)
    _heard(rig)
    rig.advance_s(60)
    assert rig.read("pv.p_kw") == 150


@pytest.mark.parametrize(("number", "path"), [(715, "OpCtl"), (123, "Conn"), (703, "ES")])
def test_an_order_to_cease_outlives_the_heartbeat(number: int, path: str) -> None:
    """Who was told to disconnect does not come back because nobody talks to it any more."""
    rig = Rig(heartbeat_s=5)
    client = rig.client()
    put(client, number, {path: 0})
    put(client, 715, {"ControllerHb": 1})
    rig.advance_s(30)
    assert rig.read("pv.p_kw") == 0


def test_a_master_that_comes_back_is_heard_again() -> None:
    """A later beat starts the watch anew."""
    rig = Rig(heartbeat_s=5)
    client = rig.client()
    put(client, 715, {"ControllerHb": 1})
    rig.advance_s(10)
    assert rig.unit.next_us() is None
    put(client, 715, {"ControllerHb": 2})
    put(client, 704, {"WMaxLimPctEna": 1, "WMaxLimPct": 10})
    rig.advance_s(4)
    assert rig.read("pv.p_kw") == 150
    rig.advance_s(3)
    assert rig.read("pv.p_kw") == 1500


def test_alarm_reset_is_a_button() -> None:
    """Nothing is latched: the register reads 0 again; the run is asked for nothing."""
    rig = Rig()
    client = rig.client()
    put(client, 715, {"AlarmReset": 1})
    assert model(client, 715).AlarmReset.value == 0
    assert rig.gate.requests[-1].ids == ()
