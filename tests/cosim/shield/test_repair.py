"""The fallback chain: every rung is reached where those above it cannot help."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.simulation import Simulation
from tests.cosim.shield.shielded import (
    GRID,
    PV,
    at,
    band,
    blindfolded,
    read,
    reasons,
    record,
    rung,
    shielded,
    told,
    volts,
)

REQUEST, PROJECTION, LAST_SAFE, BACKUP, EMERGENCY, LEAST_HARM = range(6)
CAPACITOR = {"kind": "capacitor", "name": "cap", "bus": "18", "q_step_kvar": 300, "steps": 4, "lockout_s": 0}


def test_the_request_is_the_first_rung() -> None:
    """Safe as asked."""
    assert rung(told(shielded([PV]), 2, pv__p_set_kw=500.0)) == REQUEST


def test_the_projection_is_the_second() -> None:
    """Unsafe, and there is something to move."""
    assert rung(told(shielded([PV]), 2, pv__p_set_kw=2000.0)) == PROJECTION


def halfway() -> Simulation:
    """500 kW, then 3 MW and a solver without sensitivities."""
    simulation = told(shielded([PV]), 2, pv__p_set_kw=500.0)
    return told(blindfolded(simulation), 4, pv__p_set_kw=3000.0)


def test_where_nothing_can_be_projected_the_last_safe_setpoints_are_left() -> None:
    """Safe, at least what was, and told."""
    simulation = halfway()
    assert rung(simulation) == LAST_SAFE
    assert volts(simulation)[1] <= 1.05
    assert read(simulation, "pv.p_kw") >= 500
    assert "request -> last safe" in set(record(simulation).events()["detail"])


def test_the_way_from_the_last_safe_setpoints_to_the_request_is_halved() -> None:
    """The answer lies between 500 kW and 3 MW, right below the limit."""
    simulation = halfway()
    assert 1.04 < volts(simulation)[1] <= 1.05
    assert 1300 < read(simulation, "pv.p_kw") < 1410


def test_the_way_to_a_request_of_another_kind_is_halved() -> None:
    """A battery's power is no cap: it ends right below the limit."""
    battery = {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 9000, "p_max_kw": 3000}
    simulation = told(shielded([battery]), 2, bat__p_set_kw=500.0)
    told(blindfolded(simulation), 4, bat__p_set_kw=3000.0)
    assert rung(simulation) == LAST_SAFE
    assert 1.048 < volts(simulation)[1] <= 1.05


def test_where_what_was_safe_no_longer_is_the_backup_takes_over() -> None:
    """A load step at 4 s, no sensitivities: the inverter's droop lifts the voltage in that instant."""
    inverter = {**PV, "p_rated_kw": 600, "s_rated_kva": 900, "q_max_pu": 1.0}
    spec = {"voltage": [{"v_min_pu": 0.94}], "loading": [], "backup": {"deadband_pu": 0.01, "full_pu": 0.1}}
    simulation = told(shielded([inverter], spec, disturbances=[
        {"kind": "load_step", "bus": "14", "p_kw": 400, "q_kvar": 150, "at_s": 4}]), 2, pv__p_set_kw=100.0)
    assert rung(simulation) == REQUEST
    at(blindfolded(simulation), 4)
    assert rung(simulation) == BACKUP
    assert volts(simulation)[0] >= 0.94
    assert read(simulation, "pv.q_kvar") > 100


def test_with_no_backup_and_nothing_else_the_least_harm_is_done_and_said() -> None:
    """The same without a droop: flagged infeasible."""
    inverter = {**PV, "p_rated_kw": 600, "s_rated_kva": 900, "q_max_pu": 1.0}
    spec = {"voltage": [{"v_min_pu": 0.94}], "loading": [], "backup": {"kind": "none"}}
    simulation = told(shielded([inverter], spec, disturbances=[
        {"kind": "load_step", "bus": "14", "p_kw": 400, "q_kvar": 150, "at_s": 4}]), 2, pv__p_set_kw=100.0)
    at(blindfolded(simulation), 4)
    assert (rung(simulation), read(simulation, "shield.infeasible")) == (LEAST_HARM, 1.0)


def test_the_least_harm_is_less_than_what_was_asked_and_than_staying() -> None:
    """A limit that cannot be kept: the plant helps as much as it can."""
    spec = {"voltage": [{"v_min_pu": 0.99}], "loading": []}
    inverter = {**PV, "p_rated_kw": 300, "s_rated_kva": 330, "q_max_pu": 0.44}
    simulation = told(shielded([inverter], spec), 2, pv__p_set_kw=0.0, pv__q_set_kvar=-100.0)
    assert (rung(simulation), read(simulation, "shield.infeasible")) == (LEAST_HARM, 1.0)
    unshielded = told(shielded([inverter], "off"), 2, pv__p_set_kw=0.0, pv__q_set_kvar=-100.0)
    assert volts(simulation)[0] > volts(unshielded)[0] + 0.005
    assert read(simulation, "pv.q_kvar") == pytest.approx(0.44 * 330, rel=1e-3)


# -- events that nobody caused ----------------------------------------------------------------------------------------


def test_a_violation_that_a_load_step_causes_is_repaired_in_the_very_instant() -> None:
    """The step goes away at 5.5 s, between scans; the plant that leaned on it is curtailed at 5.5 s."""
    simulation = told(shielded([PV], disturbances=[
        {"kind": "load_step", "bus": "18", "p_kw": 900, "q_kvar": 300, "at_s": 0, "duration_s": 5.5}]), 2,
        pv__p_set_kw=2200.0)
    assert read(simulation, "pv.p_kw") == 2200
    at(simulation, 5.5)
    assert volts(simulation)[1] <= 1.05
    assert read(simulation, "pv.p_kw") < 1500
    frame = record(simulation).decisions()
    assert frame[frame["reason"] == "voltage"]["t_us"].tolist()[-1] == 5_500_000


def test_a_violation_that_an_outage_causes_is_repaired_in_the_very_instant() -> None:
    """The feeder is fed from both ends until 5.25 s; with one gone the plant is too much for the other."""
    breaker = {"kind": "breaker", "name": "tie", "line": "18-33", "closed_at_start": True}
    simulation = told(shielded([PV, breaker], disturbances=[{"kind": "line_outage", "line": "18-33", "at_s": 5.25}]),
                      2, pv__p_set_kw=1800.0)
    assert read(simulation, "pv.p_kw") == 1800
    at(simulation, 5.25)
    assert not read(simulation, "line.18-33.closed")
    assert volts(simulation)[1] <= 1.05
    assert 1300 < read(simulation, "pv.p_kw") < 1450


# -- discrete ---------------------------------------------------------------------------------------------------------


def test_a_capacitor_step_that_breaks_the_band_is_refused_and_nobody_pays_for_it() -> None:
    """The plant beside it, right below the limit, stays to the bit."""
    simulation = told(shielded([PV, CAPACITOR]), 2, pv__p_set_kw=1390.0)
    told(simulation, 4, cap__steps=2.0)
    assert read(simulation, "cap.steps_in") == 0
    assert read(simulation, "pv.p_set_kw") == 1390.0
    assert read(simulation, "pv.p_kw") == 1390.0
    assert ("cap.steps", "voltage", "bus.18.v_pu") in reasons(simulation)


def test_a_capacitor_step_that_fits_goes_through() -> None:
    """At a lower infeed."""
    simulation = told(shielded([PV, CAPACITOR]), 2, pv__p_set_kw=500.0, cap__steps=2.0)
    assert read(simulation, "cap.steps_in") == 2
    assert rung(simulation) == REQUEST


def test_a_tap_that_breaks_the_band_is_refused_and_another_is_not() -> None:
    """Nine steps up break 1.05; one step does not."""
    changer = {"kind": "tap_changer", "name": "tap", "trafo": "Trafo_0-1", "auto": False, "tap_min": -9, "tap_max": 9,
               "tap_at_start": 0}
    simulation = at(shielded([changer], grid={"network": "cigre_mv"}), 1)
    before = volts(simulation)
    told(simulation, 2, tap__tap=-9.0, tap__auto=0.0)
    assert read(simulation, "tap.tap_position") == 0
    assert volts(simulation) == pytest.approx(before)
    told(simulation, 4, tap__tap=-1.0)
    assert read(simulation, "tap.tap_position") == -1


def test_a_neighbouring_step_is_taken_where_nothing_continuous_can_help() -> None:
    """A load step takes the voltage below the band; one step of the bank brings it back, at once."""
    spec = {"voltage": [{"v_min_pu": 0.94}], "loading": []}
    simulation = at(shielded([CAPACITOR], spec, disturbances=[
        {"kind": "load_step", "bus": "14", "p_kw": 400, "q_kvar": 150, "at_s": 4}]), 3)
    assert (rung(simulation), read(simulation, "cap.steps_in")) == (REQUEST, 0)
    at(simulation, 4)
    assert rung(simulation) == PROJECTION
    assert read(simulation, "cap.steps_in") == 1
    assert volts(simulation)[0] >= 0.94


# -- N-1 --------------------------------------------------------------------------------------------------------------

#: A ring of three buses: with both ways to bus 3 the plant is welcome, with one it is too much.
RING = """function mpc = ring
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [
	1	3	0	0	0	0	1	1	0	12.66	1	1.1	0.9;
	2	1	0.1	0.05	0	0	1	1	0	12.66	1	1.1	0.9;
	3	1	0.1	0.05	0	0	1	1	0	12.66	1	1.1	0.9;
];
mpc.gen = [
	1	0	0	300	-300	1	100	1	250	-250;
];
mpc.branch = [
	1	2	0.15	0.10	0	0	0	0	0	0	1	-360	360;
	2	3	0.15	0.10	0	0	0	0	0	0	1	-360	360;
	1	3	0.30	0.20	0	0	0	0	0	0	1	-360	360;
];
"""


def ring(tmp_path: Any, mode: Any, **changes: Any) -> Simulation:
    """The plant at bus 3, asked for 2.5 MW at 2 s."""
    (tmp_path / "ring.m").write_text(RING)
    simulation = shielded([{**PV, "bus": "3"}], mode, grid={"network": "ring.m"}, base_dir=tmp_path, **changes)
    return told(simulation, 2, pv__p_set_kw=2500.0)


def secure(*, hard: bool) -> dict[str, Any]:
    """1.05 as it stands, 1.06 after the loss of either way."""
    return band(n_minus_1={"branches": ["line.1-3", "line.1-2"], "v_max_pu": 1.06, "hard": hard})


def after_loss(tmp_path: Any, p_kw: float) -> float:
    """The highest voltage after the loss of line 1-3, from a run of its own without a shield."""
    simulation = ring(tmp_path, "off", disturbances=[{"kind": "line_outage", "line": "1-3", "at_s": 5}])
    told(simulation, 4, pv__p_set_kw=p_kw)
    before = volts(simulation)[1]
    at(simulation, 5)
    assert volts(simulation)[1] > before
    return volts(simulation)[1]


def test_a_request_that_is_safe_now_but_not_after_a_loss_is_moved_until_it_is(tmp_path: Any) -> None:
    """A run with that loss and what was applied ends right below the limit after the loss."""
    assert volts(ring(tmp_path, band()))[1] <= 1.05
    assert read(ring(tmp_path, band()), "pv.p_kw") == 2500  # safe as it stands
    assert after_loss(tmp_path, 2500.0) > 1.06
    simulation = ring(tmp_path, secure(hard=True))
    assert rung(simulation) == PROJECTION
    assert 1.059 < after_loss(tmp_path, read(simulation, "pv.p_kw")) <= 1.06
    assert [limit for _, reason, limit in reasons(simulation) if reason == "contingency"][-1] in (
        "bus.3.v_pu without line.1-3", "bus.3.v_pu without line.1-2")


def test_soft_limits_after_a_loss_move_nothing(tmp_path: Any) -> None:
    """The default: N-1 is watched."""
    assert read(ring(tmp_path, secure(hard=False)), "pv.p_kw") == 2500


def test_grid_constant_is_what_the_figures_here_stand_on() -> None:
    """Half of Baran and Wu's load without devices: 0.958 at the end, safe in every band used here."""
    assert volts(at(shielded([], "off", grid=GRID), 1))[0] == pytest.approx(0.9583, abs=1e-3)
