"""An unmodified pysunspec2 client: what it finds, and that what it reads is what the run has."""

from __future__ import annotations

import socket
import threading
from math import hypot, isnan

import numpy as np
import pytest
from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP

from cosim.points import Quality
from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.mbap import TcpSession
from gateways.modbus.session import SessionOptions
from tests.gateways.sunspec.rig import BATTERY, OPERATOR, PLAIN_PV, PV, Rig, Wire, model

INVERTER = [1, 103, 120, 121, 122, 123, 701, 702, 703, 704, 705, 706, 712, 715]


def _serve_one(rig: Rig) -> tuple[int, threading.Thread]:
    """One connection on loopback, answered by our session until the client leaves."""
    door = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with door, door.accept()[0] as peer:
            session = TcpSession({7: rig.unit.bank}, OPERATOR, SessionOptions(), 0)
            peer.settimeout(20)
            while data := peer.recv(4096):
                peer.sendall(session.receive(data, rig.simulation.now_us))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return door.getsockname()[1], thread


def test_the_tcp_client_discovers_reads_and_drives_it() -> None:
    """pysunspec2 over a real socket: the scan is the model list, and a limit it writes moves the inverter."""
    rig = Rig()
    rig.advance_s(2)
    port, thread = _serve_one(rig)
    client = SunSpecModbusClientDeviceTCP(slave_id=7, ipaddr="127.0.0.1", ipport=port, timeout=10)
    client.connect()
    client.scan(connect=False)
    assert [found.model_id for found in client.model_list] == INVERTER
    assert [found.error_info for found in client.model_list if found.error_info] == []
    assert client.models[1][0].Mn.value == "Gridloop"
    controls = client.models[704][0]
    controls.WMaxLimPct.cvalue, controls.WMaxLimPctEna.value = 40, 1
    controls.write()
    rig.advance_s(1)
    measured = client.models[701][0]
    measured.read()
    assert measured.W.cvalue == pytest.approx(600_000, abs=50)
    client.close()
    client.disconnect()
    thread.join(10)


@pytest.mark.parametrize("base", [40000, 0, 50000])
def test_every_base_is_found(base: int) -> None:
    """The marker at each of the three addresses that clients look at."""
    client = Rig(base=base).client()
    assert client.base_addr == base
    assert [found.model_id for found in client.model_list] == INVERTER


@pytest.mark.parametrize(("devices", "expected"), [
    (PLAIN_PV, [1, 103, 120, 121, 122, 123, 701, 702, 704, 715]),
    (BATTERY, [1, 103, 120, 121, 122, 123, 124, 701, 702, 704, 713, 715])])
def test_models_without_anything_behind_them_are_left_out(devices: str, expected: list[int]) -> None:
    """No curve models where the device has no remote functions; storage models where it stores."""
    rig = Rig(devices)
    assert [found.model_id for found in rig.client().model_list] == expected
    assert "nothing behind 703, 705" in rig.unit.summary() or "nothing behind 705" in rig.unit.summary()


def test_the_whole_set_can_be_asked_for() -> None:
    """Every model of IEEE 1547-2018 scans without an error, also those with nothing behind them."""
    wanted = (1, 113, *range(120, 124), *range(701, 716))
    client = Rig(models=wanted).client()
    assert tuple(found.model_id for found in client.model_list) == wanted
    assert [found.error_info for found in client.model_list if found.error_info] == []
    assert client.models[707][0].Ena.value == 0
    assert client.models[707][0].Crv[0].MustTrip.Pt[0].V.value is None


@pytest.mark.parametrize("number", [103, 113, 701])
def test_measurements_are_the_databases_within_half_a_unit(number: int) -> None:
    """W, VAr, VA, A, V, PF and energy, with reactive power flowing."""
    rig = Rig(models=[1, number])
    assert rig.simulation.submit("pv.q_set_kvar", -400.0, "test").name == "ACCEPTED"
    rig.advance_s(7)
    shown = model(rig.client(), number)
    p, q, v = (rig.read(f"pv.{name}") for name in ("p_kw", "q_kvar", "v_pu"))
    s, v_ll = hypot(p, q), 400 * v
    names = {"Var" if number == 701 else "VAr": 1e3 * q, "W": 1e3 * p, "VA": 1e3 * s, "A": 3**0.5 * 1e3 * s / v_ll,
             "LLV" if number == 701 else "PPVphAB": v_ll, "LNV" if number == 701 else "PhVphA": v_ll / 3**0.5,
             "Hz": 50.0, "PF": p / s * (1 if number == 701 else 100),
             "TotWhInj" if number == 701 else "WH": 1e3 * rig.read("pv.e_kwh")}
    assert q == pytest.approx(-400)
    for name, expected in names.items():
        point = getattr(shown, name)
        half = 0.51 * 10.0 ** getattr(shown, point.sf).value if point.sf else 1e-6 * max(abs(expected), 1)
        assert point.cvalue == pytest.approx(expected, abs=half), name


def test_every_phase_is_a_third() -> None:
    """The run has no phases: 701 shows three equal ones."""
    rig = Rig()
    rig.advance_s(2)
    shown = model(rig.client(), 701)
    for phase in ("L1", "L2", "L3"):
        assert getattr(shown, f"W{phase}").cvalue == pytest.approx(shown.W.cvalue / 3, abs=100)
        assert getattr(shown, f"V{phase}").cvalue == shown.LNV.cvalue
    assert shown.A.cvalue == pytest.approx(3 * shown.AL1.cvalue, abs=2)


def test_nameplate_capacity_and_settings_are_the_devices() -> None:
    """120, 121 and 702 from the scenario's ratings."""
    client = Rig().client()
    plate, capacity, settings = (client.models[number][0] for number in (120, 702, 121))
    assert plate.DERTyp.value == 4
    assert plate.WRtg.cvalue == capacity.WMaxRtg.cvalue == capacity.WMax.cvalue == settings.WMax.cvalue == 1_500_000
    assert plate.VARtg.cvalue == capacity.VAMaxRtg.cvalue == 1_800_000
    assert plate.VArRtgQ1.cvalue == -plate.VArRtgQ4.cvalue == capacity.VarMaxInjRtg.cvalue == 792_000
    assert plate.VArRtgQ2.value is None
    assert capacity.CtrlModes.value == 0b110_0001_1111


def test_what_the_run_does_not_have_is_not_implemented() -> None:
    """Temperatures and the DC side are sentinels; nothing is shown as 0 for want of a value."""
    shown = Rig().client().models[103][0]
    assert shown.TmpCab.value is None
    assert shown.DCW.value is None
    assert shown.StVnd.value is None


@pytest.mark.parametrize("quality", [Quality.INVALID, Quality.RESTART])
def test_a_value_that_is_not_to_be_trusted_is_not_implemented(quality: Quality) -> None:
    """Bad quality gives the sentinel, and the inverter is off."""
    rig = Rig()
    rig.advance_s(2)
    client, points = rig.client(), rig.simulation.points
    marks = points.quality.copy()
    for name in ("pv.p_kw", "pv.q_kvar", "pv.v_pu"):
        marks[points.id_of(name)] = quality
    points.publish(points.values.copy(), marks, points.t_us)
    shown = model(client, 103)
    assert [shown.points[name].value for name in ("W", "VAr", "VA", "PF", "A", "PhVphA", "Hz")] == [None] * 7
    assert shown.St.value == 1
    assert shown.Evt1.value == 1 << 4


def test_a_dead_bus_is_off_and_has_no_voltage() -> None:
    """NaN is never 0: without voltage V and Hz are missing, and power is 0 because it is."""
    rig = Rig()
    rig.advance_s(2)
    client, points = rig.client(), rig.simulation.points
    values = points.values.copy()
    values[points.id_of("pv.v_pu")] = np.nan
    values[points.id_of("pv.p_kw")] = values[points.id_of("pv.q_kvar")] = 0.0
    points.publish(values, points.quality.copy(), points.t_us)
    shown = model(client, 103)
    assert (shown.W.value, shown.PhVphA.value, shown.Hz.value, shown.St.value) == (0, None, None, 1)


def test_beyond_full_scale_is_missing_not_wrapped() -> None:
    """A value that the scale factor cannot hold is the sentinel, never another number."""
    rig = Rig(meter={"grid": True, "s_full_kva": 100})
    rig.advance_s(1)
    assert abs(rig.read("grid.slack_q_kvar")) > 300
    shown = rig.client().models[203][0]
    assert shown.VAR.value is None


def test_one_read_is_of_one_instant() -> None:
    """W, VAr and VA agree in every answer, whatever is published in between."""
    rig = Rig()
    client = rig.client()
    for i in range(20):
        rig.simulation.submit("pv.p_set_kw", 1500.0 - 70 * i, "test")
        rig.advance_s(1)
        shown = model(client, 103)
        assert shown.VA.cvalue == pytest.approx(hypot(shown.W.cvalue, shown.VAr.cvalue), abs=150)
        assert shown.W.cvalue == pytest.approx(1e3 * rig.read("pv.p_kw"), abs=51)


def test_operating_states() -> None:
    """OFF when told to cease, THROTTLED below what is available, MPPT when nothing holds it back."""
    rig = Rig()
    rig.advance_s(1)
    client = rig.client()
    assert (model(client, 103).St.value, model(client, 701).InvSt.value) == (4, 3)
    rig.simulation.submit("pv.p_set_kw", 300.0, "test")
    rig.advance_s(1)
    advanced = model(client, 701)
    assert (model(client, 103).St.value, advanced.InvSt.value, advanced.ThrotPct.value, advanced.ThrotSrc.value) == (
        5, 4, 20, 1)
    rig.simulation.submit("pv.connect", 0.0, "test")
    rig.advance_s(1)
    assert (model(client, 103).St.value, model(client, 701).ConnSt.value, model(client, 123).Conn.value) == (1, 0, 0)


@pytest.mark.parametrize("rest", ["power", "voltage"])
def test_scale_factors_come_with_their_values(rest: str) -> None:
    """Value and scale factor are of the same model image: any sub-range of a model agrees with the whole."""
    rig = Rig()
    rig.advance_s(1)
    client = rig.client()
    begin = rig.unit.map.address_of(103, "ID")
    whole = client.read(begin, 52)
    first = {"power": 14, "voltage": 7}[rest]
    assert client.read(begin + first, 9) == whole[2 * first:2 * first + 18]


def test_reads_outside_the_map_and_of_other_tables() -> None:
    """02 outside; 01 where SunSpec has no such table."""
    rig = Rig()
    bank, unit = rig.unit.bank, rig.unit
    for address, count in ((39_999, 2), (unit.map.end - 1, 2), (65_535, 1), (0, 1)):
        assert bank.read_registers(Table.HOLDING_REGISTERS, address, count, OPERATOR) is (
            ExceptionCode.ILLEGAL_DATA_ADDRESS)
    assert bank.read_registers(Table.INPUT_REGISTERS, 40_000, 1, OPERATOR) is ExceptionCode.ILLEGAL_FUNCTION
    assert bank.read_bits(Table.COILS, 40_000, 1, OPERATOR) is ExceptionCode.ILLEGAL_FUNCTION
    assert bank.read_registers(Table.HOLDING_REGISTERS, unit.map.end - 2, 2, OPERATOR) == b"\xff\xff\0\0"


def test_the_meter_shows_power_voltage_and_energy() -> None:
    """203 at the external grid: signs, thirds, and energy by direction, exact."""
    rig = Rig(meter={"grid": True, "bus": "1", "s_full_kva": 3000}, v_nom_v=12_660)
    client = rig.client()
    rig.advance_s(1800)
    p_out = rig.read("grid.slack_p_kw")
    rig.simulation.submit("pv.p_set_kw", 0.0, "test")
    rig.advance_s(1800)
    shown, p_in = model(client, 203), rig.read("grid.slack_p_kw")
    assert [found.model_id for found in client.model_list] == [1, 203]
    assert shown.W_SF.value == 3  # 4500 counts of 1 kW
    assert shown.W.cvalue == pytest.approx(1e3 * p_in, abs=501)
    assert shown.WphB.cvalue == pytest.approx(1e3 * p_in / 3, abs=501)
    assert shown.PPV.cvalue == pytest.approx(12_660, abs=1)
    assert p_out > 0
    assert shown.TotWhImp.value == pytest.approx(1e3 * (p_out * 1801 + p_in * 1799) / 3600, abs=2)


def test_a_line_meter_shows_the_lines_from_end() -> None:
    """Without a bus there is no voltage, and so no current."""
    line = next(name for name in Rig().simulation.points.names if name.startswith("line.") and name.endswith(".p_kw"))
    rig = Rig(meter={"line": line.removeprefix("line.").removesuffix(".p_kw")})
    rig.advance_s(1)
    shown = rig.client().models[203][0]
    assert shown.W.cvalue == pytest.approx(1e3 * rig.read(line), abs=501)
    assert (shown.A.value, shown.PhV.value, shown.Hz.value, shown.Evt.value) == (None, None, None, 0)


def test_the_battery_shows_its_store() -> None:
    """713 and 124: energy, state of charge, ratings; charging counts as absorbed."""
    rig = Rig(BATTERY)
    client = rig.client()
    rig.simulation.submit("battery.p_set_kw", -200.0, "test")
    rig.advance_s(1801)
    store, basic, power = model(client, 713), model(client, 124), model(client, 701)
    soc = rig.read("battery.soc")
    assert store.WHRtg.cvalue == 2_000_000
    assert store.SoC.cvalue == pytest.approx(100 * soc, abs=0.006)
    assert store.WHAvail.cvalue == pytest.approx(2e6 * soc, abs=51)
    assert basic.ChaState.cvalue == store.SoC.cvalue
    assert basic.ChaSt.value == 4
    assert power.W.cvalue == -200_000
    assert power.PF.cvalue == -1
    assert power.TotWhAbs.value == pytest.approx(1e3 * rig.read("battery.e_kwh_charged"), abs=1)


def test_the_heartbeat_counts_seconds_of_simulation_time() -> None:
    """DERHb rises by one a second, worked out when it is read."""
    rig = Rig()
    client = rig.client()
    seen = []
    for _ in range(5):
        rig.advance_s(1)
        seen.append(model(client, 715).DERHb.value)
    assert seen == [1, 2, 3, 4, 5]
    rig.advance_s(60)
    assert model(client, 715).DERHb.value == 65


def test_nothing_is_made_anew_while_nothing_changes() -> None:
    """Between publishes and writes the same bytes are given, without working them out again."""
    rig = Rig()
    rig.advance_s(1)
    client = rig.client()
    image = next(image for image in rig.unit.map.images if image.model == 103)
    before = client.read(rig.unit.map.address_of(103, "ID"), 52)
    image.put({"W": float("nan")})
    again = client.read(rig.unit.map.address_of(103, "ID"), 52)
    assert again != before, "the image was made anew without need"
    rig.advance_s(1)
    assert client.read(rig.unit.map.address_of(103, "W"), 1) == before[28:30]


def test_assigning_one_wire_to_two_units_is_two_stations() -> None:
    """Two stations of one run answer for their own devices."""
    two = PV + PV.replace("name: pv", "name: other").replace('"18"', '"25"').replace("1500", "900")
    rig = Rig(two, device="other")
    rig.advance_s(1)
    client = Wire(rig)
    client.scan()
    assert not isnan(rig.read("other.p_kw"))
    assert model(client, 103).W.cvalue == 900_000
