"""The shield of the network: what it says in each mode, and that asking it has no effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.shield import Asked, Rung, ShieldReason
from cosim.simulation import Simulation
from cosim.simulation.trial import Attempts
from tests.cosim.shield.shielded import GRID, PV, at, band, read, reasons, record, shielded, told, volts

POINTS = ("active", "reason", "distance_kva", "rung", "infeasible")


def said(simulation: Simulation) -> dict[str, float]:
    """The shield's own points."""
    return {name: read(simulation, f"shield.{name}") for name in POINTS}


def mode(name: str) -> dict[str, Any]:
    """The band in a mode."""
    return band(mode=name)


# -- modes ------------------------------------------------------------------------------------------------------------


def test_enforced_the_request_is_moved_and_the_points_say_so() -> None:
    """Active, why, by how much, on which rung."""
    simulation = told(shielded([PV], mode("enforce")), 2, pv__p_set_kw=3000.0)
    assert said(simulation) == {"active": 1.0, "reason": float(ShieldReason.VOLTAGE), "rung": float(Rung.PROJECTION),
                                "infeasible": 0.0,
                                "distance_kva": pytest.approx(3000 - read(simulation, "pv.p_kw"), abs=1e-6)}


def test_observed_the_request_goes_through_and_the_same_is_said() -> None:
    """What it would have done is recorded, as not enforced."""
    simulation = told(shielded([PV], mode("observe")), 2, pv__p_set_kw=3000.0)
    assert read(simulation, "pv.p_kw") == 3000
    assert volts(simulation)[1] > 1.1
    found = said(simulation)
    assert found["active"] == 1.0
    assert found["reason"] == ShieldReason.VOLTAGE
    assert found["rung"] == Rung.PROJECTION
    assert found["distance_kva"] == pytest.approx(1594, abs=5)
    rows = record(simulation).decisions()
    row = rows[rows["point"] == "pv.p_set_kw"].iloc[-1]
    assert not row["enforced"]
    assert (row["requested"], row["limit"]) == (3000, "bus.18.v_pu")
    assert row["applied"] == pytest.approx(1406, abs=5)


def test_observing_changes_nothing_of_a_run() -> None:
    """The same voltages as without, to the bit, over an unsafe hour."""
    def run(shield: Any) -> np.ndarray:
        simulation = told(shielded([PV], shield, step_s=60), 120, pv__p_set_kw=3000.0)
        told(simulation, 600, pv__p_set_kw=200.0)
        return np.asarray(record(at(simulation, 1200)).samples(["bus.18.v_pu", "pv.p_kw"]).to_numpy())

    assert np.array_equal(run(mode("observe")), run("off"))


def test_off_only_the_devices_limits_hold() -> None:
    """The band is passed; the points are there and quiet."""
    simulation = told(shielded([PV], "off"), 2, pv__p_set_kw=3000.0)
    assert volts(simulation)[1] > 1.1
    assert set(said(simulation).values()) == {0.0}


@pytest.mark.parametrize("shield", ["off", "enforce", "observe"])
def test_the_shields_own_commands_exist_wherever_it_is_spoken_of(shield: str) -> None:
    """`shield.stop` and `shield.reset`: a scenario that commands them also runs with the shield off."""
    points = shielded([PV], shield).points.index
    assert {"shield.stop", "shield.reset", *(f"shield.{name}" for name in POINTS)} <= set(points)


def test_infeasible_is_published() -> None:
    """A band that nothing can keep."""
    simulation = at(shielded([], {"voltage": [{"v_min_pu": 0.99}], "loading": []}), 1)
    assert (read(simulation, "shield.infeasible"), read(simulation, "shield.rung")) == (1.0, Rung.LEAST_HARM)


def test_without_limits_of_its_own_the_scenarios_hold() -> None:
    """`shield: enforce` takes the band of `limits:`."""
    simulation = told(shielded([PV], "enforce", limits={"v_min_pu": 0.9, "v_max_pu": 1.02}), 2, pv__p_set_kw=3000.0)
    assert 1.019 < volts(simulation)[1] <= 1.02


# -- what the answer is -----------------------------------------------------------------------------------------------


def ask(simulation: Simulation, p_kw: float, **options: Any) -> Any:
    """The shield's decision about a power of the plant, without effect."""
    values = np.array([p_kw, np.nan])
    asked = Asked(values, np.array([1, -1], np.int8), simulation.now_us, **options)
    return simulation._shield.filter(asked, Attempts(simulation._attempt, simulation._moving, simulation._respond))


def test_asking_has_no_effect() -> None:
    """Asked again it answers the same, and what was applied stands."""
    simulation = told(shielded([PV]), 2, pv__p_set_kw=500.0)
    before = read(simulation, "bus.18.v_pu")
    first, second = ask(simulation, 3000.0), ask(simulation, 3000.0)
    assert first.applied.tobytes() == second.applied.tobytes()
    assert first.rung is second.rung is Rung.PROJECTION
    ask(simulation, 3000.0, stop=True)
    assert ask(simulation, 600.0).applied[0] == 600.0
    assert read(at(simulation, 3), "bus.18.v_pu") == before


def test_what_was_answered_passes_as_it_is() -> None:
    """Idempotent, to the bit."""
    simulation = told(shielded([PV]), 2, pv__p_set_kw=500.0)
    first = ask(simulation, 3000.0)
    again = ask(simulation, float(first.applied[0]))
    assert again.applied is again.requested
    assert again.rung is Rung.REQUEST


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_no_value_is_too_wild(value: float) -> None:
    """Total: an answer, safe."""
    decision = ask(told(shielded([PV]), 2, pv__p_set_kw=500.0), value)
    assert not decision.infeasible
    assert decision.trial.state.v_pu.max() <= 1.05


def test_a_request_without_a_solution_is_moved_to_one_that_has() -> None:
    """A load a hundred times too large: the reason is that the power flow has no solution."""
    load = {"kind": "load", "name": "ld", "bus": "18", "p_kw": 2000, "q_kvar": 900}
    simulation = told(shielded([load], {"voltage": [{"v_min_pu": 0.85}], "loading": []}), 1, ld__scale=0.1)
    assert read(simulation, "shield.active") == 0.0
    told(simulation, 3, ld__scale=5.0)
    assert read(simulation, "grid.converged") == 1.0
    assert 0.85 <= volts(simulation)[0] < 0.87
    assert ("ld.scale", "divergence", "grid.converged") in reasons(simulation)


def test_devices_that_have_nothing_to_do_with_a_limit_are_left_to_the_bit() -> None:
    """A plant on another feeder with a request of its own."""
    other = {**PV, "name": "other", "bus": "22", "p_rated_kw": 300}
    spec = {"voltage": [], "loading": [{"branches": ["line.17-18"]}]}
    grid = {**GRID, "ratings_ka": {"17-18": 0.06}}
    simulation = told(shielded([PV, other], spec, grid=grid), 2, pv__p_set_kw=3000.0, other__p_set_kw=100.0 / 3)
    assert read(simulation, "pv.p_kw") < 1700
    assert read(simulation, "other.p_set_kw") == 100.0 / 3


def test_who_is_dear_is_moved_less() -> None:
    """Two plants at one bus; moving the first weighs nine times as much."""
    second = {**PV, "name": "cheap"}
    simulation = told(shielded([PV, second], band(weights=[{"devices": ["pv"], "p": 9}])), 2, pv__p_set_kw=1000.0,
                      cheap__p_set_kw=1000.0)
    dear, cheap = 1000 - read(simulation, "pv.p_kw"), 1000 - read(simulation, "cheap.p_kw")
    assert cheap == pytest.approx(9 * dear, rel=1e-3)


# -- observing does nothing -------------------------------------------------------------------------------------------



def test_observing_sheds_nobody() -> None:
    """A block that it would shed stays, scan after scan."""
    load = {"kind": "load", "name": "ld", "bus": "18", "p_kw": 300, "q_kvar": 100}
    spec = {"voltage": [{"v_min_pu": 0.95}], "loading": [], "emergency": {"shed": [{"devices": ["ld"]}]}}
    assert read(at(shielded([load], spec), 5), "ld.p_kw") == 0
    assert read(at(shielded([load], {**spec, "mode": "observe"}), 5), "ld.p_kw") == -300


def test_observing_keeps_no_reserve() -> None:
    """A battery gives what its own window lets it."""
    battery = {"kind": "battery", "name": "bat", "bus": "6", "e_rated_kwh": 40, "p_max_kw": 300}
    spec = band(energy=[{"soc_min": 0.5}])
    assert read(told(shielded([battery], spec), 2, bat__p_set_kw=300.0), "bat.p_kw") == 0
    assert read(told(shielded([battery], {**spec, "mode": "observe"}), 2, bat__p_set_kw=300.0), "bat.p_kw") == 300


def test_observing_refuses_no_switching() -> None:
    """A breaker with an interlock that does not allow it operates."""
    breaker = {"kind": "breaker", "name": "cb", "line": "18-33"}
    lock = {"command": "cb.closed", "needs": "bus.18.v_pu", "at_least": 1.2}
    spec = band(switching={"interlocks": [lock]})
    assert read(told(shielded([breaker], spec), 2, cb__closed=1.0), "line.18-33.closed") == 0
    assert read(told(shielded([breaker], {**spec, "mode": "observe"}), 2, cb__closed=1.0), "line.18-33.closed") == 1


# -- devices of every kind --------------------------------------------------------------------------------------------


def test_a_generators_voltage_is_moved() -> None:
    """Bus 2 of case14 may be held at 1.06, not at 1.09."""
    unit = {"kind": "generator", "name": "g2", "element": "2"}
    spec = {"voltage": [{"buses": ["2"], "v_min_pu": 0.9, "v_max_pu": 1.06}], "loading": []}
    simulation = told(shielded([unit], spec, grid={"network": "case14"}), 2, g2__v_set_pu=1.09)
    assert 1.0595 < read(simulation, "bus.2.v_pu") <= 1.06
    assert read(simulation, "shield.active") == 1.0


def test_an_inverter_that_answers_to_voltage_is_curtailed_around_its_own_answer() -> None:
    """Volt-var and the shield together: the band holds, and it absorbs before it curtails."""
    inverter = {**PV, "mode": "volt_var", "s_rated_kva": 3300, "q_max_pu": 0.44, "olrt_s": 0}
    simulation = told(shielded([inverter]), 2, pv__p_set_kw=3000.0)
    assert volts(at(simulation, 30))[1] <= 1.05
    assert read(simulation, "pv.q_kvar") < -1000
    assert read(simulation, "pv.p_kw") > 2500


def test_loads_that_answer_to_voltage_are_reckoned_with() -> None:
    """A constant-impedance load beside the plant."""
    load = {"kind": "load", "name": "ld", "bus": "18", "p_kw": 300, "q_kvar": 100, "zip_p": [1, 0, 0],
            "zip_q": [1, 0, 0]}
    simulation = told(shielded([load, PV]), 2, pv__p_set_kw=3000.0)
    assert 1.0495 < volts(simulation)[1] <= 1.05


def test_a_command_on_arrival_is_verified_in_its_own_instant() -> None:
    """Between two scans."""
    simulation = told(shielded([PV], commands={"timing": "on_arrival"}), 1, pv__p_set_kw=100.0)
    told(simulation, 2.3, pv__p_set_kw=2000.0)
    assert simulation.now_us == 2_300_000
    assert 1.0495 < volts(simulation)[1] <= 1.05
