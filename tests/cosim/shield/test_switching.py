"""Rules for positions: interlocks, operations an hour, loops and islands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.commands import Authority
from cosim.plugins import Role, Setpoint
from cosim.shield.switching import HOUR_US, Lock, Rules, Switching
from cosim.simulation import Simulation
from tests.cosim.shield.shielded import GRID, PV, band, read, reasons, shielded, told, volts


class Group:
    """Two devices with a power and a position."""

    names = ("a", "b")
    setpoints = tuple(Setpoint(role.value, "", role, np.zeros(2), np.ones(2)) for role in (Role.P_KW, Role.POSITION))


def rules(**options: Any) -> Switching:
    """Over one group: outputs 2 and 3 are positions."""
    return Switching([Group()], [slice(0, 4)], Rules(**options))  # type: ignore[list-item]  # a fake


NOTHING = np.full(4, np.nan)


def values(*numbers: float) -> np.ndarray:
    """An output vector."""
    return np.array(numbers, np.float64)


def test_only_positions_that_are_asked_to_change_are_judged() -> None:
    """Powers are not positions; NaN beside NaN is no change."""
    switching = rules()
    assert switching.slots.tolist() == [2, 3]
    assert switching.changed(values(5, 5, np.nan, np.nan), NOTHING).size == 0
    assert switching.changed(values(5, 5, 1, np.nan), NOTHING).tolist() == [2]
    assert switching.changed(values(5, 5, 1, 1), values(0, 0, 1, 0)).tolist() == [3]


@pytest.mark.parametrize(("reading", "value", "refused"), [
    (5.0, 1.0, []), (11.0, 1.0, [2]), (-1.0, 1.0, [2]), (np.nan, 1.0, [2]), (11.0, 0.0, [])])
def test_an_interlock_refuses_its_value_while_the_point_is_out_of_bounds(reading: float, value: float,
                                                                        refused: list[int]) -> None:
    """A point without a value allows nothing; another value is free."""
    switching = rules(locks=(Lock(2, 1.0, 9, 0.0, 10.0),), read=lambda point: reading if point == 9 else 0.0)
    wanted = values(0, 0, value, np.nan)
    assert switching.refused(wanted, switching.changed(wanted, NOTHING), 0) == refused


def test_operations_are_counted_over_any_hour_and_only_those_that_were_let_through() -> None:
    """Two an hour for each output; after an hour the first is forgotten."""
    switching = rules(most_an_hour=2)
    last = values(0, 0, 0, 0)
    for t_us in (0, 10_000_000):
        wanted = values(0, 0, 1 - last[2], 0)
        assert switching.refused(wanted, switching.changed(wanted, last), t_us) == []
        switching.note(wanted, last, t_us)
        last = wanted
    wanted = values(0, 0, 1, 1)
    for t_us in (20_000_000, HOUR_US - 1):
        assert switching.refused(wanted, switching.changed(wanted, last), t_us) == [2]
    assert switching.refused(wanted, switching.changed(wanted, last), HOUR_US) == []


# -- in a run ---------------------------------------------------------------------------------------------------------

BREAKERS = [{"kind": "breaker", "name": "tie", "line": "18-33"}, {"kind": "breaker", "name": "end", "line": "17-18"},
            {"kind": "load", "name": "ld", "bus": "18", "p_kw": 50, "q_kvar": 10}]


def network(**switching: Any) -> Simulation:
    """A tie that is open and a breaker that is closed; loops and islands are allowed where nothing is said."""
    return shielded(BREAKERS, band(switching={"allow_loops": True, "allow_islands": True, **switching}), grid=GRID)


def closed(simulation: Simulation, line: str) -> bool:
    """As the power flow has it."""
    return bool(read(simulation, f"line.{line}.closed"))


def test_a_tie_may_close_a_loop_only_where_loops_are_allowed() -> None:
    """Allowed by default; refused for its own sake where the network is operated radially."""
    assert closed(told(network(), 2, tie__closed=1.0), "18-33")
    simulation = told(network(allow_loops=False), 2, tie__closed=1.0)
    assert not closed(simulation, "18-33")
    assert ("tie.closed", "switching", "no loops") in reasons(simulation)


def test_a_radial_network_may_be_switched_over_in_one_command() -> None:
    """Opening one and closing the other in one scan leaves no loop."""
    simulation = told(network(allow_loops=False, allow_islands=False), 2, tie__closed=1.0, end__closed=0.0)
    assert (closed(simulation, "18-33"), closed(simulation, "17-18")) == (True, False)
    assert read(simulation, "shield.active") == 0.0


def test_a_breaker_may_leave_an_island_only_where_that_is_allowed() -> None:
    """Allowed by default."""
    assert not closed(told(network(), 2, end__closed=0.0), "17-18")
    simulation = told(network(allow_islands=False), 2, Authority.OPERATOR, end__closed=0.0)
    assert closed(simulation, "17-18")
    assert read(simulation, "bus.18.v_pu") > 0.9
    assert ("end.closed", "switching", "no islands") in reasons(simulation)


def test_a_refused_command_does_not_hold_back_another() -> None:
    """The load is scaled while the tie stays open."""
    simulation = told(network(allow_loops=False), 2, tie__closed=1.0, ld__scale=2.0)
    assert not closed(simulation, "18-33")
    assert read(simulation, "ld.p_kw") == -100


def test_a_breaker_operates_so_often_an_hour_and_stays_then() -> None:
    """Two operations; the third is refused, and in the next hour it goes through."""
    simulation = network(max_operations_per_hour=2)
    told(simulation, 10, tie__closed=1.0)
    told(simulation, 20, tie__closed=0.0)
    told(simulation, 30, tie__closed=1.0)
    assert not closed(simulation, "18-33")
    assert ("tie.closed", "switching", "2 operations in an hour") in reasons(simulation)


def test_what_an_hour_refused_goes_through_when_the_hour_is_over() -> None:
    """The command still stands then."""
    rules = {"max_operations_per_hour": 1, "allow_loops": True}
    simulation = shielded(BREAKERS, band(switching=rules), duration_s=7200, step_s=60)
    told(simulation, 60, tie__closed=1.0)
    told(simulation, 120, tie__closed=0.0)
    assert closed(simulation, "18-33")
    told(simulation, 3600)
    assert closed(simulation, "18-33")
    told(simulation, 3720)
    assert not closed(simulation, "18-33")


def test_an_interlock_holds_a_breaker_until_its_condition_is_met() -> None:
    """The breaker opens only once its load is scaled down, by itself: the command is still in force."""
    lock = {"command": "end.closed", "value": 0, "needs": "ld.p_kw", "at_least": -20}
    simulation = told(network(interlocks=[lock]), 2, Authority.INTERLOCK, end__closed=0.0)
    assert closed(simulation, "17-18")
    told(simulation, 4, ld__scale=0.1)
    told(simulation, 6)
    assert not closed(simulation, "17-18")
    assert ("end.closed", "switching", "interlock with ld.p_kw") in reasons(simulation)


def test_an_unsafe_request_beside_it_does_not_let_a_loop_through() -> None:
    """The plant is curtailed, and the tie stays open all the same."""
    simulation = shielded([*BREAKERS, PV], band(switching={"allow_loops": False}))
    told(simulation, 2, tie__closed=1.0, pv__p_set_kw=3000.0)
    assert not closed(simulation, "18-33")
    assert volts(simulation)[1] <= 1.05


def test_an_unsafe_request_beside_it_does_not_let_an_island_through() -> None:
    """The same for a breaker that would leave bus 18 without supply."""
    simulation = shielded([*BREAKERS, {**PV, "bus": "17"}], band(switching={"allow_islands": False}))
    told(simulation, 2, end__closed=0.0, pv__p_set_kw=3000.0)
    assert closed(simulation, "17-18")
    assert volts(simulation)[1] <= 1.05


def test_a_command_that_was_refused_goes_through_once_the_rule_allows_it() -> None:
    """The tie closes when the other end opens: both commands stand."""
    simulation = told(network(allow_loops=False), 2, tie__closed=1.0)
    assert not closed(simulation, "18-33")
    told(simulation, 4, end__closed=0.0)
    assert (closed(simulation, "18-33"), closed(simulation, "17-18")) == (True, False)


def test_letting_go_of_a_position_is_no_operation_and_neither_is_asking_for_it_again() -> None:
    """It stays where it was commanded to; only what differs from there is a change."""
    switching = rules(most_an_hour=1)
    switching.note(values(0, 0, 1, np.nan), NOTHING, 0)
    assert switching.changed(NOTHING, values(0, 0, 1, np.nan)).size == 0
    switching.note(NOTHING, values(0, 0, 1, np.nan), 1)
    assert switching.changed(values(0, 0, 1, np.nan), NOTHING).size == 0
    assert switching.changed(values(0, 0, 0, np.nan), NOTHING).tolist() == [2]


def test_a_command_to_stay_at_the_steps_that_are_in_is_no_operation() -> None:
    """A bank says where it stands: its first command counts only if it moves it."""
    bank = {"kind": "capacitor", "name": "cap", "bus": "18", "q_step_kvar": 50, "steps": 4, "steps_at_start": 2}
    simulation = shielded([bank], band(switching={"max_operations_per_hour": 1, "allow_loops": True}))
    told(simulation, 2, cap__steps=2.0)
    told(simulation, 4, cap__steps=1.0)
    assert read(simulation, "cap.steps_in") == 1
    told(simulation, 6, cap__steps=2.0)
    assert read(simulation, "cap.steps_in") == 1


def test_a_command_to_stay_closed_is_no_operation() -> None:
    """A breaker's first command counts only if it moves it."""
    simulation = network(max_operations_per_hour=1)
    told(simulation, 2, end__closed=1.0)
    told(simulation, 4, end__closed=0.0)
    assert not closed(simulation, "17-18")
