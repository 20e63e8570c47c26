"""Emergency actions and the emergency stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.commands import Authority
from cosim.shield.emergency import Action, Emergency, Standing
from tests.cosim.shield.shielded import GRID, PV, at, band, read, reasons, record, rung, shielded, told, volts

S = 1_000_000


def emergency(recovery_s: float = 10.0) -> Emergency:
    """Two blocks, then a unit with two powers; output 0 is nobody's."""
    return Emergency((Action("a", np.array([1])), Action("b", np.array([2, 3])), Action("trip", np.array([4]))),
                     round(recovery_s * S), np.array([4, 5]))


# -- the state machine ------------------------------------------------------------------------------------------------


def test_actions_are_taken_one_after_the_other() -> None:
    """Each with those before it; what is taken already is not taken again."""
    one, values = emergency(), np.arange(6, dtype=np.float64) + 1
    assert [(count, found.tolist()) for count, found in one.further(values, 1)] == [
        (2, [1, 0, 0, 0, 5, 6]), (3, [1, 0, 0, 0, 0, 6])]
    assert one.acted(values, 0) is values
    assert one.slots(2).tolist() == [1, 2, 3]
    assert one.slots(0).size == 0


def test_the_stop_sets_every_power_to_zero_and_nothing_else() -> None:
    """Positions stay."""
    assert emergency().halted(np.full(6, 7.0)).tolist() == [7, 7, 7, 7, 0, 0]


@pytest.mark.parametrize(("stopped", "stop", "reset", "expected"), [
    (False, False, False, False), (False, True, False, True), (True, False, False, True), (True, False, True, False),
    (True, True, True, True), (False, False, True, False), (False, True, True, True), (True, True, False, True)])
def test_the_stop_latches_until_reset_and_no_longer_asked_for(stopped: bool, stop: bool, reset: bool,
                                                              expected: bool) -> None:
    """Every row of the table."""
    one = emergency()
    one.standing = Standing(0, -1, stopped)
    assert one.stops(stop=stop, reset=reset) is expected


def test_an_action_is_taken_back_after_all_was_well_for_long_enough() -> None:
    """One at a time, and the clock starts anew each time and whenever it is not well."""
    one = emergency(10.0)
    one.standing = one.after(Standing(2), well=False, t_us=0)
    taken = []
    for t_s in range(1, 40):
        well = t_s != 8
        one.standing = one.after(Standing(one.standing.taken), well=well, t_us=t_s * S)
        taken.append(one.standing.taken)
    assert taken.index(1) == 18  # well again from 9 s on, ten seconds long: at 19 s
    assert taken.index(0) == 29  # the clock begins at 20 s
    assert one.standing == Standing(0, -1, False)


# -- in a run ---------------------------------------------------------------------------------------------------------

#: Three loads at the end of a heavy feeder: shed in this order, b before a, whatever the order in the file.
LOADS = [{"kind": "load", "name": name, "bus": bus, "p_kw": p_kw, "q_kvar": p_kw / 3}
         for name, bus, p_kw in (("a", "18", 100), ("b", "17", 100), ("c", "16", 60))]
BLOCKS = [{"devices": ["a"], "priority": 5}, {"devices": ["b"], "priority": 1}]


def feeder(step_kw: float, **emergency_: Any) -> Any:
    """Half the feeder's load, ours beside it, and at 10 s more demand at bus 14 for 30 s."""
    spec = {"voltage": [{"v_min_pu": 0.93, "v_max_pu": 1.1}], "loading": [], "emergency": emergency_}
    return shielded(LOADS, spec, grid=GRID, disturbances=[
        {"kind": "load_step", "bus": "14", "p_kw": step_kw, "q_kvar": step_kw / 2, "at_s": 10, "duration_s": 30}])


def scale(simulation: Any, name: str) -> float:
    """What a load is held to; NaN where nothing holds it."""
    return read(simulation, f"{name}.scale")


def without_action(step_kw: float) -> float:
    """The lowest voltage of the same feeder where nothing can be done."""
    return volts(at(feeder(step_kw), 12))[0]


def test_as_few_blocks_are_shed_as_it_takes_in_the_order_of_their_priority() -> None:
    """A small step costs the first block, a larger one both; in the very instant of the step."""
    small, large = 120.0, 260.0
    assert without_action(small) < 0.93
    simulation = at(feeder(small, shed=BLOCKS), 10)
    assert (rung(simulation), read(simulation, "shield.infeasible")) == (4, 0.0)
    assert read(simulation, "b.p_kw") == 0.0
    assert read(simulation, "a.p_kw") == -100
    assert volts(simulation)[0] >= 0.93
    simulation = at(feeder(large, shed=BLOCKS), 10)
    assert (read(simulation, "a.p_kw"), read(simulation, "b.p_kw"), read(simulation, "c.p_kw")) == (0, 0, -60)
    assert rung(simulation) == 4
    assert volts(simulation)[0] >= 0.93


def test_nobody_is_shed_whom_the_scenario_does_not_name() -> None:
    """What is left is told: infeasible, least harm."""
    simulation = at(feeder(260.0), 12)
    assert (rung(simulation), read(simulation, "shield.infeasible")) == (5, 1.0)
    assert read(simulation, "a.p_kw") == -100
    assert "shield.infeasible.begin" in set(record(simulation).events()["kind"])


def test_what_was_shed_comes_back_one_block_at_a_time_after_the_time_to_recover() -> None:
    """The step ends at 40 s; with 20 s to recover the last block comes back at 60 s, the other at 81 s."""
    simulation = at(feeder(260.0, shed=BLOCKS, recovery_s=20), 39)
    assert (read(simulation, "a.p_kw"), read(simulation, "b.p_kw")) == (0, 0)
    back: dict[str, float] = {}
    for t_s in range(40, 90):
        at(simulation, t_s)
        for name in ("a", "b"):
            if read(simulation, f"{name}.p_kw") != 0:
                back.setdefault(name, t_s)
        assert volts(simulation)[0] >= 0.93
    assert back == {"a": pytest.approx(61, abs=1), "b": pytest.approx(82, abs=1)}
    assert rung(simulation) == 0
    assert {reason for point, reason, _ in reasons(simulation) if point == "b.scale"} >= {"recovery"}


def test_a_unit_is_tripped_after_the_blocks_are_shed() -> None:
    """A plant that may not be moved by the projection (nobody regulates it down) is tripped as the last resort."""
    plant = {"kind": "generator", "name": "g", "bus": "18", "p_min_kw": 1800, "p_max_kw": 2000, "p_kw": 1800,
             "q_min_kvar": 0, "q_max_kvar": 1}
    assert read(at(shielded([plant]), 1), "shield.infeasible") == 1.0
    simulation = at(shielded([plant], band(emergency={"trip": ["g"]})), 1)
    assert read(simulation, "g.p_kw") == 0.0
    assert (rung(simulation), read(simulation, "shield.infeasible")) == (4, 0.0)


def test_the_stop_stops_what_has_a_least_power() -> None:
    """A unit that cannot run below 300 kW does not run."""
    plant = {"kind": "generator", "name": "g", "bus": "6", "p_min_kw": 300, "p_max_kw": 500, "p_kw": 300}
    simulation = told(at(shielded([plant]), 1), 2, Authority.OPERATOR, shield__stop=1.0)
    assert (read(simulation, "g.p_kw"), rung(simulation)) == (0, 4)


def test_the_stop_halts_everything_until_it_is_reset() -> None:
    """Latched: released is not reset, and a reset while it is asked for does nothing."""
    battery = {"kind": "battery", "name": "bat", "bus": "25", "e_rated_kwh": 4000, "p_max_kw": 500}
    simulation = told(shielded([PV, battery]), 2, pv__p_set_kw=700.0, bat__p_set_kw=-300.0)
    told(simulation, 4, Authority.OPERATOR, shield__stop=1.0)
    assert (read(simulation, "pv.p_kw"), read(simulation, "bat.p_kw"), rung(simulation)) == (0, 0, 4)
    told(simulation, 6, Authority.OPERATOR, shield__reset=1.0)
    assert read(simulation, "bat.p_kw") == 0
    told(simulation, 8, Authority.OPERATOR, shield__reset=0.0, shield__stop=0.0)
    told(simulation, 10, Authority.AGENT, bat__p_set_kw=-200.0)
    assert (read(simulation, "pv.p_kw"), read(simulation, "bat.p_kw")) == (0, 0)
    told(simulation, 12, Authority.OPERATOR, shield__reset=1.0)
    assert (read(simulation, "pv.p_kw"), read(simulation, "bat.p_kw")) == (700, -200)
    assert rung(simulation) == 0
    assert ("bat.p_set_kw", "emergency_stop", "") in reasons(simulation)


def test_the_stop_holds_whatever_it_does_to_the_band() -> None:
    """Every power to zero means every power: who stands beside the machine relies on it."""
    battery = {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 4000, "p_max_kw": 500}
    spec = {"voltage": [{"v_min_pu": 0.965}], "loading": []}
    simulation = told(shielded([battery], spec), 2, bat__p_set_kw=300.0)
    told(simulation, 4, Authority.OPERATOR, shield__stop=1.0)
    assert (read(simulation, "bat.p_kw"), read(simulation, "bat.q_kvar")) == (0, 0)
    assert read(simulation, "shield.infeasible") == 1.0


def test_no_interlock_stands_in_the_way_of_the_stop() -> None:
    """Rules for operating are not rules for an emergency."""
    plant = {"kind": "generator", "name": "g", "bus": "6", "p_min_kw": 300, "p_max_kw": 500, "p_kw": 300}
    lock = {"command": "g.on", "needs": "bus.6.v_pu", "at_least": 2}
    simulation = shielded([plant], band(switching={"interlocks": [lock]}))
    told(simulation, 4, Authority.OPERATOR, shield__stop=1.0)
    assert read(simulation, "g.p_kw") == 0
