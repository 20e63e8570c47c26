"""The engine: scans, SOLVEs between them, commands on arrival, divergence, decisions from outside."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from cosim.devices.single import SingleConfig, SingleDevice
from cosim.errors import GridloopError
from cosim.points import Quality
from cosim.simulation import Simulation
from tests.cosim.simulation.worlds import agent, commands, ended, events, over, scripted, world

ON_ARRIVAL = {"timing": "on_arrival"}


def solved_at(simulation: Simulation) -> list[float]:
    """Run to the end; the times of the SOLVEs."""
    times = []
    while simulation.kernel.next_us() is not None and simulation.kernel.next_us() <= simulation.end_us:  # type: ignore[operator]
        before = simulation.solves
        t_us = simulation.advance_instant()
        if simulation.solves != before:
            assert simulation.solves == before + 1
            times.append(t_us / 1e6)  # type: ignore[operator]
    return times


def test_the_scan_solves_at_zero_and_every_step() -> None:
    """Ten seconds at one second scans are eleven SOLVEs, and the first solution before time moves."""
    simulation = world()
    assert simulation.solves == 1
    ended(simulation)
    assert simulation.solves == 12


def test_one_solve_an_instant_however_many_ask() -> None:
    """Scan, three disturbances and two agents at one instant make one SOLVE; between scans each its own."""
    step = {"kind": "load_step", "bus": "9", "p_kw": 10, "duration_s": 1}
    simulation = world(disturbances=[{**step, "at_s": 3}, {**step, "at_s": 3}, {**step, "at_s": 5.5},
                                     {**step, "at_s": 5.5}], agents=[agent("a"), agent("b")])
    assert solved_at(simulation) == [0, 1, 2, 3, 4, 5, 5.5, 6, 6.5, 7, 8, 9, 10]


def test_a_trip_is_solved_and_published_at_its_own_instant() -> None:
    """Between scans a trip is seen at its very microsecond."""
    simulation = world(disturbances=[{"kind": "line_outage", "line": "3-4", "at_s": 2.345678}])
    simulation.advance_to(2_345_677)
    assert simulation.points.read("line.3-4.closed") == 1
    simulation.advance_to(2_345_678)
    assert simulation.points.read("line.3-4.closed") == 0
    assert simulation.points.t_us == 2_345_678
    assert math.isnan(simulation.points.read("bus.18.v_pu"))
    assert simulation.points.quality[simulation.points.id_of("bus.18.v_pu")] == Quality.INVALID


def test_on_scan_commands_wait_for_the_scan() -> None:
    """A command between scans is accepted at once and in force at the next scan."""
    simulation = world()
    simulation.advance_to(2_400_000)
    assert simulation.submit("ld.scale", 2, "op").value == "accepted"
    simulation.advance_to(2_999_999)
    assert simulation.points.read("ld.p_kw") == -30
    simulation.advance_to(3_000_000)
    assert simulation.points.read("ld.p_kw") == -60


def test_on_arrival_commands_solve_at_once() -> None:
    """Without quantum each arrival is its own SOLVE."""
    simulation = world(commands=ON_ARRIVAL)
    simulation.submit("ld.scale", 2, "op", at_us=2_400_000)
    assert solved_at(simulation) == [0, 1, 2, 2.4, 3, 4, 5, 6, 7, 8, 9, 10]


def test_on_arrival_commands_of_one_quantum_share_a_solve() -> None:
    """Arrivals within a quantum are solved together at its end; one on its edge at once."""
    simulation = world(commands={**ON_ARRIVAL, "quantum_s": 0.1})
    for i, at_us in enumerate((2_410_000, 2_420_000, 2_499_999, 2_600_000)):
        simulation.submit("ld.scale", i + 1, "op", at_us=at_us)
    assert solved_at(simulation) == [0, 1, 2, 2.5, 2.6, 3, 4, 5, 6, 7, 8, 9, 10]


def test_on_arrival_agents_solve_when_they_act() -> None:
    """An agent between scans has its effect at its own instant under on_arrival."""
    simulation = world(commands=ON_ARRIVAL, agents=[agent(offset_s=0.25, period_s=5)])
    assert solved_at(simulation) == [0, 0.25, 1, 2, 3, 4, 5, 5.25, 6, 7, 8, 9, 10]


def test_on_arrival_commands_expire_at_their_own_instant() -> None:
    """Under on_arrival the end of a command's time to live is solved when it comes; under on_scan at the scan."""
    for changes, expected in (({"commands": ON_ARRIVAL}, -30.0), ({}, -60.0)):
        simulation = world(**changes)
        simulation.submit("ld.scale", 2, "op", ttl_s=1.3, at_us=2_000_000)
        simulation.advance_to(3_299_999)
        assert simulation.points.read("ld.p_kw") == -60
        simulation.advance_to(3_400_000)
        assert simulation.points.read("ld.p_kw") == expected
        simulation.advance_to(4_000_000)
        assert simulation.points.read("ld.p_kw") == -30


def test_a_devices_own_timer_is_solved_when_it_ends() -> None:
    """A breaker that takes 0.35 s to open does so between scans, at its own instant."""
    simulation = world(devices=[{"kind": "breaker", "name": "cb", "line": "3-4", "delay_s": 0.35}])
    simulation.submit("cb.closed", 0, "op", at_us=2_000_000)
    assert solved_at(simulation) == [0, 1, 2, 2.35, 3, 4, 5, 6, 7, 8, 9, 10]
    assert simulation.points.read("line.3-4.closed") == 0


COLLAPSE = {"kind": "load_step", "bus": "18", "p_kw": 1e6, "at_s": 3.5, "duration_s": 3}


def test_a_power_flow_without_solution_is_recorded_and_the_run_goes_on() -> None:
    """Events, INVALID quality and dead minutes while there is no solution; afterwards all is as if nothing was."""
    simulation = world(disturbances=[COLLAPSE])
    plain = world()
    simulation.advance_to(5_000_000)
    points = simulation.points
    assert points.read("grid.converged") == 0
    assert points.quality[points.id_of("bus.18.v_pu")] == Quality.INVALID
    assert points.quality[points.id_of("grid.slack_p_kw")] == Quality.INVALID
    for s in (simulation, plain):
        s.advance_to(7_000_000)
    names = ["bus.*", "line.*", "grid.slack*", "ld.p_kw"]
    np.testing.assert_allclose(points.read_vector(names), plain.points.read_vector(names), rtol=1e-8, atol=1e-7)
    np.testing.assert_array_equal(points.quality, plain.points.quality)
    result = ended(simulation)
    told = events(result, "grid.")
    assert [line.split(":")[0] for line in told] == ["3.500000 grid.diverged grid", "6.500000 grid.converged grid"]
    assert len(told[0]) > len("3.500000 grid.diverged grid: ")
    assert simulation.kpis().dead_minutes == pytest.approx(3 / 60, rel=1e-12)
    assert simulation.kpis().duration_s == 10


def test_a_run_may_begin_without_a_solution() -> None:
    """A network that has no solution at t = 0 is told, and recovers when demand goes."""
    simulation = world(devices=[{"kind": "load", "name": "ld", "bus": "18", "p_kw": 1e6}], agents=[
        agent(policy={"kind": "schedule", "rows": [[3, 0]]})])
    assert simulation.points.read("grid.converged") == 0
    told = events(ended(simulation), "grid.")
    assert [line.split(":")[0] for line in told] == ["0.000000 grid.diverged grid", "3.000000 grid.converged grid"]


class Config(SingleConfig):
    """A device whose law has no fixed point."""

    kind: str = "flipper"


class Flipper(SingleDevice):
    """Draws much where the voltage is high and nothing where it is low: it never settles."""

    kind = "flipper"
    Config = Config
    voltage_dependent = True

    def limits(self) -> tuple[float, float, float, float]:
        """Up to what it draws."""
        return -2000.0, 0.0, 0.0, 0.0

    def apply(self, setpoints: dict[str, float], v_pu: float) -> tuple[float, float]:
        """All or nothing."""
        return (-2000.0 if v_pu > 0.9 else 0.0), 0.0


def test_voltage_dependent_devices_settle() -> None:
    """A constant-impedance load ends where its own law and the power flow agree to 1e-8 pu."""
    simulation = world(devices=[{"kind": "load", "name": "ld", "bus": "18", "p_kw": 500, "q_kvar": 100,
                                 "zip_p": [1, 0, 0], "zip_q": [1, 0, 0]}])
    v, p, q = simulation.points.read_vector(["bus.18.v_pu", "ld.p_kw", "ld.q_kvar"])
    s_base_kva = simulation.grid.network.base_mva * 1e3
    assert abs(p + 500 * v**2) / s_base_kva < 2e-8
    assert abs(q + 100 * v**2) / s_base_kva < 2e-8
    assert events(ended(simulation), "settled") == []


def test_devices_that_do_not_settle_are_told_of() -> None:
    """Where law and voltage never agree the run says so, once, with the residual, and goes on."""
    simulation = world(plugins=[Flipper], devices=[{"kind": "flipper", "name": "fl", "bus": "18"}])
    told = events(ended(simulation), "settled")
    assert len(told) == 1
    assert told[0].startswith("0.000000 grid.unsettled devices: residual")
    assert "expected at most 1e-8" in told[0]


# -- decisions from outside ------------------------------------------------------------------------------------------


def outside(**changes: Any) -> Simulation:
    """A simulation whose agent a is decided outside, every two seconds."""
    return world(agents=[agent(period_s=2, **changes)], external=("a",))


def test_decisions_stand_between_drive_and_solve() -> None:
    """The clock stops at the agent's instant before its SOLVE; the action is in force in that very SOLVE."""
    simulation = outside()
    seen = []
    while due := simulation.advance_to_decision():
        assert due == ("a",)
        seen.append((simulation.now_us / 1e6, simulation.points.t_us / 1e6, simulation.points.read("ld.p_kw")))
        simulation.commit({"a": [len(seen)]})
    assert seen == [(0, 0, -30), (2, 1, -30), (4, 3, -60), (6, 5, -90), (8, 7, -120), (10, 9, -150)]
    assert simulation.now_us == simulation.end_us


def test_two_agents_of_one_instant_are_due_together() -> None:
    """Agents due at one instant are named together, in scenario order."""
    simulation = world(agents=[agent("z"), agent("b", period_s=2)], external=("z", "b"))
    assert simulation.advance_to_decision() == ("z", "b")
    assert simulation.advance_to_decision() == ("z",)
    assert simulation.now_us == 1_000_000


def test_no_action_leaves_things_as_they_are() -> None:
    """A decision that is passed over asks for nothing."""
    simulation = outside()
    while simulation.advance_to_decision():
        pass
    assert simulation.points.read("ld.p_kw") == -30


@pytest.mark.parametrize(("actions", "message"), [
    ({"b": [1.0]}, "agent 'b' is not due; due: a"),
    ({"a": [1.0, 2.0]}, r"agent 'a' at t = 0.0 s: 2 values; expected 1"),
    ({"a": [2.0], "b": [1.0]}, "agent 'b' is not due"),
])
def test_actions_that_do_not_fit_are_refused_whole(actions: dict[str, list[float]], message: str) -> None:
    """A wrong agent or a wrong length is an error at once, and nothing of the request is taken on."""
    simulation = outside()
    simulation.advance_to_decision()
    with pytest.raises(GridloopError, match=message):
        simulation.commit(actions)
    simulation.advance_to_decision(1_000_000)
    assert simulation.points.read("ld.p_kw") == -30


def test_commit_without_a_decision() -> None:
    """Nothing can be committed before a decision is due, or after the end."""
    simulation = outside()
    with pytest.raises(GridloopError, match="no decision is due"):
        simulation.commit({"a": [1.0]})
    while simulation.advance_to_decision():
        pass
    with pytest.raises(GridloopError, match="no decision is due"):
        simulation.commit({"a": [1.0]})


def test_advance_to_says_that_a_decision_waits() -> None:
    """A run with outside agents cannot be advanced past their decisions, whole or by instants, without saying so."""
    for advance in (lambda s: s.advance_to(5_000_000), lambda s: s.advance_instant()):
        simulation = outside()
        with pytest.raises(GridloopError, match=r"agents a wait for a decision at t = 0\.0 s"):
            advance(simulation)
        simulation.commit({"a": [2.0]})
        assert simulation.advance_to_decision() == ("a",)
        assert simulation.points.read("ld.p_kw") == -60


def test_operators_commands_at_a_decision_enter_in_that_instant() -> None:
    """What is submitted while a decision waits is in force in the same SOLVE; afterwards it is a microsecond late."""
    simulation = outside()
    simulation.advance_to_decision()
    simulation.submit("ld.scale", 3, "operator")
    simulation.advance_to_decision(0)
    assert simulation.points.read("ld.p_kw") == -90
    simulation.submit("ld.scale", 2, "operator")
    simulation.advance_to_decision(500_000)
    result_times = [t for t, _, _ in commands(ended_outside(simulation), "operator")]
    assert result_times == [0.0, 0.000001]


def ended_outside(simulation: Simulation) -> Any:
    """Run to the end without actions and close."""
    while simulation.advance_to_decision():
        pass
    simulation.recorder.close("done")
    return simulation.recorder.result()


def test_an_outside_action_travels_as_the_agents_own_would() -> None:
    """Computation delay and channel are the agent's, whoever decides."""
    wan = {"name": "wan", "rules": [{"kind": "latency", "distribution": "constant", "delay_ms": 300}]}
    simulation = world(agents=[agent(period_s=5, compute_s=0.2, telemetry=over())], channels=[wan], external=("a",))
    while simulation.advance_to_decision():
        simulation.commit({"a": [2.0]})
    simulation.recorder.close("done")
    found = simulation.recorder.result().commands()
    assert [(r.t_us / 1e6, r.kind, r.external) for r in found.itertuples()] == [
        (0.0, "action", True), (0.5, "set", False), (5.0, "action", True), (5.5, "set", False), (10.0, "action", True)]


def test_time_does_not_run_backwards() -> None:
    """Advancing to the past is an error that says where it is."""
    simulation = world()
    simulation.advance_to(5_000_000)
    with pytest.raises(GridloopError, match="5000000"):
        simulation.advance_to(4_000_000)


def test_an_interlock_blocks_and_is_released() -> None:
    """While an interlock holds a point everything lower is refused; released, the lower command resumes."""
    from cosim.commands import Authority

    simulation = world(agents=[agent(policy={"kind": "constant", "values": [2.0]}, period_s=20)])
    place = simulation.points.id_of("ld.scale")
    simulation.advance_to(1_000_000)
    simulation.submit("ld.scale", 0, "interlock", authority=Authority.INTERLOCK)
    simulation.advance_to(2_000_000)
    assert simulation.submit("ld.scale", 1, "op").value == "blocked"
    assert simulation.points.read("ld.p_kw") == 0
    simulation.inbox.release([place], "interlock", Authority.INTERLOCK)
    simulation.advance_to(3_000_000)
    assert simulation.points.read("ld.p_kw") == -60


def test_recording_at_another_period() -> None:
    """`record.period_s` thins samples out; trips between scans are no extra samples."""
    simulation = world(record={"period_s": 3}, disturbances=[{"kind": "line_outage", "line": "3-4", "at_s": 3.5}])
    assert ended(simulation).samples().index.tolist() == [0, 3, 6, 9]


def test_policies_see_read_only_reports() -> None:
    """A policy that scribbles on its observation does not change what it or others see next."""
    seen = []

    def scribble(observation: Any, t_us: int) -> None:
        seen.append(float(observation[0]))
        with suppress(ValueError):  # it may be read-only
            observation[0] = 77.0

    for changes in ({}, {"telemetry": over(), "period_s": 0.5}):
        seen.clear()
        wan = {"name": "wan", "rules": []}
        simulation = world(plugins=[scripted("spy", [], scribble)], channels=[wan],
                           agents=[agent(policy={"kind": "spy"}, actuate=[], **changes)])
        ended(simulation)
        assert 77.0 not in seen
        assert simulation.points.read("bus.5.v_pu") != 77.0


@pytest.mark.parametrize("points", [["*"], ["bus.18.v_pu", "ld.*"], ["agent.*"]])
@pytest.mark.parametrize("fault", [[], [{"kind": "point_bias", "points": ["bus.1*"], "offset": 1, "at_s": 3.5,
                                         "duration_s": 3}]])
def test_samples_are_what_was_published(points: list[str], fault: list[dict[str, Any]]) -> None:
    """Every sample is, bit for bit, what a reader saw at that time; and reading changes nothing of the record."""
    changes = {"record": {"points": points}, "disturbances": fault,
               "agents": [agent(policy={"kind": "random", "low": 0, "high": 2})]}
    read, unread = world(**changes), world(**changes)
    seen = []
    for t_s in range(11):
        read.advance_to(t_s * 1_000_000)
        seen.append(read.points.values.copy())
    results = [ended(simulation) for simulation in (read, unread)]
    names = list(results[0].samples().columns)
    expected = np.array(seen)[:, [read.points.id_of(name) for name in names]]
    for result in results:
        np.testing.assert_array_equal(result.samples().to_numpy(), expected)
    assert np.isfinite(expected).any()
    assert results[0].digest == results[1].digest
