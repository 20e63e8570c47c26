"""What each kind of disturbance does to the grid, to channels, to what is published; and what it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.points import Quality
from cosim.simulation import Simulation
from tests.cosim.simulation.worlds import agent, commands, ended, world

LINE = {"kind": "line_outage", "line": "3-4"}
BREAKER = {"kind": "breaker", "name": "cb", "line": "3-4"}


def at(simulation: Simulation, t_s: float, point: str) -> float:
    """A point's value at a time."""
    simulation.advance_to(round(t_s * 1e6))
    return simulation.points.read(point)


def timeline(simulation: Simulation, point: str, *times_s: float) -> list[float]:
    """A point's values at some times."""
    return [at(simulation, t_s, point) for t_s in times_s]


def test_line_outage_and_return() -> None:
    """A line that is out carries nothing and says that it is open; afterwards all is as before."""
    simulation = world(disturbances=[{**LINE, "at_s": 2.5, "duration_s": 3}])
    before, during, after = ((at(simulation, t_s, "line.3-4.p_kw"), simulation.points.read("line.3-4.closed"),
                              simulation.points.read("bus.18.v_pu")) for t_s in (2, 2.5, 5.5))
    assert before[0] > 1000
    assert during[:2] == (0.0, 0.0)
    assert np.isnan(during[2])
    assert after == pytest.approx(before, rel=1e-9)
    assert at(simulation, 5.5, "grid.unserved_kw") == 0.0


def test_overlapping_outages_of_one_line_all_have_to_end() -> None:
    """A line that is out twice returns when the second outage ends."""
    simulation = world(disturbances=[{**LINE, "at_s": 2, "duration_s": 4}, {**LINE, "at_s": 4, "duration_s": 4}])
    assert timeline(simulation, "line.3-4.closed", 1, 2, 4, 6, 7, 8) == [1, 0, 0, 0, 0, 1]


def test_transformer_and_generator_outages() -> None:
    """They open their element and close it again."""
    simulation = world(grid={"network": "case14"}, devices=[], disturbances=[])
    trafo = next(n for n in simulation.points.names if n.startswith("trafo.") and n.endswith(".closed"))
    gen = next(n for n in simulation.points.names if n.startswith("gen.") and n.endswith(".closed"))
    names = [name.split(".", 1)[1].removesuffix(".closed") for name in (trafo, gen)]
    simulation = world(grid={"network": "case14"}, devices=[], disturbances=[
        {"kind": "transformer_outage", "trafo": names[0], "at_s": 2, "duration_s": 2},
        {"kind": "generator_outage", "gen": names[1], "at_s": 3, "duration_s": 2}])
    seen = [(at(simulation, t_s, trafo), at(simulation, t_s, gen)) for t_s in (1, 2, 3, 4, 5)]
    assert seen == [(1, 1), (0, 1), (0, 0), (1, 0), (1, 1)]


def test_a_load_step_is_power_times_time_exactly() -> None:
    """A step of 120 kW for 2.5 s that begins and ends between scans draws 120 x 2.5 s, and what its losses add."""
    step = {"kind": "load_step", "bus": "2", "p_kw": 120, "at_s": 3.3, "duration_s": 2.5}
    with_step, without = (world(disturbances=[*d]) for d in ([step], []))
    for simulation in (with_step, without):
        simulation.advance_to(10_000_000)
    drawn, base = with_step.kpis(), without.kpis()
    extra_kwh = (drawn.import_kwh - drawn.losses_kwh) - (base.import_kwh - base.losses_kwh)
    assert extra_kwh == pytest.approx(120 * 2.5 / 3600, rel=1e-6)


def test_a_load_step_at_a_devices_bus_stands_beside_the_device() -> None:
    """The device's own power is not touched; the step shows at the feeder's head."""
    simulation = world(disturbances=[{"kind": "load_step", "device": "ld", "p_kw": 100, "at_s": 3, "duration_s": 2}])
    slack = timeline(simulation, "grid.slack_p_kw", 2, 3, 5)
    assert slack[1] - slack[0] == pytest.approx(100, rel=0.1)
    assert slack[2] == pytest.approx(slack[0], rel=1e-9)
    assert simulation.points.read("ld.p_kw") == -30.0


def test_overlapping_load_steps_add_up() -> None:
    """Two steps at one bus are both drawn while both last."""
    step = {"kind": "load_step", "bus": "2", "p_kw": 100}
    simulation = world(disturbances=[{**step, "at_s": 2, "duration_s": 4}, {**step, "at_s": 4, "duration_s": 4}])
    slack = np.array(timeline(simulation, "grid.slack_p_kw", 1, 2, 4, 6, 8))
    np.testing.assert_allclose(slack - slack[0], [0, 100, 200, 100, 0], atol=1.0)


def frozen(**changes: Any) -> dict[str, Any]:
    """A frozen load measurement."""
    return {"kind": "point_freeze", "points": ["ld.p_kw"], "at_s": 3.5, "duration_s": 4, **changes}


RAMP = agent("mover", policy={"kind": "schedule", "rows": [[t, t / 10] for t in range(11)]})


@pytest.mark.parametrize(("flagged", "quality"), [(True, Quality.STALE), (False, Quality.GOOD)])
def test_a_frozen_point_keeps_its_value_and_may_say_so(flagged: bool, quality: Quality) -> None:
    """The published value stops; its quality shows it where the scenario says so; the device goes on."""
    simulation = world(agents=[RAMP], disturbances=[frozen(flagged=flagged)])
    assert timeline(simulation, "ld.p_kw", 3, 4, 5, 7) == pytest.approx([-9, -9, -9, -9])
    place = simulation.points.id_of("ld.p_kw")
    assert simulation.points.quality[place] == quality
    assert simulation.points.read("ld.scale") == pytest.approx(0.7)
    assert at(simulation, 8, "ld.p_kw") == pytest.approx(-24)
    assert simulation.points.quality[place] == Quality.GOOD


def test_a_bias_is_gain_and_offset() -> None:
    """What is published is gain x value + offset, only while it lasts."""
    simulation = world(disturbances=[{"kind": "point_bias", "points": ["ld.p_kw"], "gain": 2, "offset": 5, "at_s": 3,
                                      "duration_s": 2}])
    assert timeline(simulation, "ld.p_kw", 2, 3, 4, 5) == [-30, -55, -55, -30]


def test_noise_has_its_sigma_and_does_not_repeat() -> None:
    """Gaussian noise of the stated sigma; a second occurrence draws anew; the same seed draws the same."""
    noise = {"kind": "point_noise", "points": ["ld.p_kw"], "sigma": 2, "at_s": [0, 1000], "duration_s": 999.5}

    def published() -> np.ndarray[Any, Any]:
        result = ended(world(duration_s=2000, disturbances=[noise], record={"points": ["ld.p_kw"]}))
        return result.samples()["ld.p_kw"].to_numpy() + 30

    first = published()
    assert first[:999].std() == pytest.approx(2, rel=0.1)
    assert abs(first[:999].mean()) < 3 * 2 / np.sqrt(999)
    assert abs(np.corrcoef(first[:999], first[1000:1999])[0, 1]) < 0.1
    np.testing.assert_array_equal(first, published())


@pytest.mark.parametrize("fault", [
    {"kind": "point_freeze", "points": ["*"]},
    {"kind": "point_bias", "points": ["bus.*.v_pu", "grid.*"], "offset": -0.2},
    {"kind": "point_noise", "points": ["bus.*.v_pu", "line.*.loading"], "sigma": 0.3},
])
def test_lying_sensors_change_neither_grid_nor_figures(fault: dict[str, Any]) -> None:
    """Grid and key figures are those of the run without the fault, to the bit, while what is published is not."""
    plain, lied = (world(agents=[RAMP], disturbances=d) for d in ([], [{**fault, "at_s": 3, "duration_s": 5}]))
    for simulation in (plain, lied):
        simulation.advance_to(7_000_000)
    np.testing.assert_array_equal(plain.grid.state.v_pu, lied.grid.state.v_pu)
    assert plain.points.read("bus.18.v_pu") != lied.points.read("bus.18.v_pu")
    for simulation in (plain, lied):
        simulation.advance_to(10_000_000)
    assert plain.kpis() == lied.kpis()
    np.testing.assert_array_equal(plain.points.values, lied.points.values)


def test_agents_believe_lying_sensors() -> None:
    """An agent sees what is published: the bias reaches its decision."""
    droop = agent(policy={"kind": "droop", "curve": [[0, 0], [2, 2]], "base": 1})
    bias = {"kind": "point_bias", "points": ["bus.5.v_pu"], "offset": 0.5, "at_s": 3, "duration_s": 3}
    asked = [value for _, _, value in commands(ended(world(agents=[droop], disturbances=[bias])), "a")]
    assert all(0.9 < value < 1.0 for value in asked[:4] + asked[7:])
    assert all(1.4 < value < 1.5 for value in asked[4:7])


def test_a_breaker_operation_opens_and_puts_back() -> None:
    """The operation holds the breaker with interlock authority; after it the breaker returns, unless told otherwise."""
    simulation = world(devices=[BREAKER], disturbances=[
        {"kind": "breaker", "device": "cb", "at_s": 2.5, "duration_s": 3}])
    assert at(simulation, 2, "line.3-4.closed") == 1
    assert at(simulation, 2.5, "line.3-4.closed") == 0
    assert simulation.submit("cb.closed", 1, "operator").value == "blocked"
    assert at(simulation, 6, "cb.is_closed") == 1
    assert simulation.submit("cb.closed", 0, "operator").value == "accepted"
    assert at(simulation, 7, "line.3-4.closed") == 0


def test_overlapping_operations_of_one_breaker_all_have_to_end() -> None:
    """What one operation holds is not let go because another ends."""
    hold = {"kind": "breaker", "device": "cb"}
    simulation = world(devices=[BREAKER], disturbances=[{**hold, "at_s": 2, "duration_s": 6},
                                                        {**hold, "at_s": 3, "duration_s": 2}])
    simulation.advance_to(6_000_000)
    assert simulation.submit("cb.closed", 1, "operator").value == "blocked"
    simulation.advance_to(8_000_000)
    assert simulation.submit("cb.closed", 1, "operator").value == "accepted"


def test_an_open_breaker_and_an_outage_of_its_line_are_two_things() -> None:
    """The end of an outage does not close a breaker, nor does a breaker end an outage."""
    simulation = world(devices=[BREAKER], disturbances=[{**LINE, "at_s": 2, "duration_s": 4}], agents=[
        agent(policy={"kind": "schedule", "rows": [[0, 1], [3, 0], [8, 1]]}, actuate=["cb.closed"])])
    assert timeline(simulation, "line.3-4.closed", 1, 2, 3, 6, 7, 8) == [1, 0, 0, 0, 0, 1]


def test_a_partition_in_one_direction_leaves_the_other() -> None:
    """`direction: down` stops commands, not telemetry."""
    wan = {"name": "wan", "rules": []}
    simulation = world(channels=[wan], agents=[agent(telemetry={"kind": "channel", "channel": "wan"})], disturbances=[
        {"kind": "partition", "channel": "wan", "direction": "down", "at_s": 3.5, "duration_s": 3}])
    result = ended(simulation)
    assert [t for t, _, _ in commands(result, "a")] == [0, 1, 2, 3, 7, 8, 9, 10]
    frame = result.messages()
    lost = frame[frame["fate"] == "partitioned"]
    assert list(dict.fromkeys(lost["channel"])) == ["wan.down"]
    assert len(lost) == 3


def test_overlapping_partitions_all_have_to_end() -> None:
    """A direction that is cut twice is mended when the second partition ends; the other one sooner."""
    wan = {"name": "wan", "rules": []}
    simulation = world(channels=[wan], agents=[agent(telemetry={"kind": "channel", "channel": "wan"})], disturbances=[
        {"kind": "partition", "channel": "wan", "at_s": 2.5, "duration_s": 3},
        {"kind": "partition", "channel": "wan", "direction": "down", "at_s": 4.5, "duration_s": 3}])
    result = ended(simulation)
    assert [t for t, _, _ in commands(result, "a")] == [0, 1, 2, 8, 9, 10]
    frame = result.messages()
    reports = frame[(frame["channel"] == "wan.up") & (frame["fate"] == "delivered")]
    assert (reports["t_us"] / 1e6).tolist()[:6] == [0, 1, 2, 6, 7, 8]
