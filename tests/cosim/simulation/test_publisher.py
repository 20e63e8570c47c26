"""PUBLISH: what a SOLVE committed becomes points, all at once, with qualities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.commands import CommandStatus
from cosim.kernel import Phase
from cosim.points import Quality
from cosim.shield import ShieldReason
from cosim.simulation import Simulation
from tests.cosim.simulation.worlds import agent, world

TRIP = {"kind": "line_outage", "line": "3-4", "at_s": 3, "duration_s": 4}


def at_each_second(simulation: Simulation, look: Any) -> list[Any]:
    """What `look` finds after each scan."""
    found = []
    for t_s in range(11):
        simulation.advance_to(t_s * 1_000_000)
        found.append(look(simulation.points))
    return found


def test_points_worked_out_when_asked_equal_those_always_written() -> None:
    """Laziness is invisible: every value of every scan, with an outage and an agent at work."""
    lazy = world(disturbances=[TRIP], agents=[agent()], record={"points": ["grid.converged"]})
    assert not lazy.points.required(slice(lazy.points.id_of("line.3-4.p_kw"), None))
    eager = world(disturbances=[TRIP], agents=[agent()])
    eager.points.require(np.arange(len(eager.points)))
    once = at_each_second(lazy, lambda points: points.values.tobytes())
    assert once == at_each_second(eager, lambda points: points.published.tobytes())
    assert len(set(once)) > 2


def test_what_the_grid_cannot_give_is_invalid_and_good_again() -> None:
    """A dead bus while it is dead; its neighbours stay good."""
    simulation = world(disturbances=[TRIP])
    dead, alive = (simulation.points.id_of(name) for name in ("bus.18.v_pu", "bus.2.v_pu"))
    qualities = at_each_second(simulation, lambda points: tuple(Quality(points.quality[i]) for i in (dead, alive)))
    assert qualities == [(Quality.INVALID if 3 <= t_s < 7 else Quality.GOOD, Quality.GOOD) for t_s in range(11)]


def test_without_a_power_flow_every_flow_is_invalid() -> None:
    """Converged says no, and no stale number stands under GOOD."""
    simulation = world(devices=[{"kind": "load", "name": "ld", "bus": "18", "p_kw": 1e6}])
    simulation.advance_to(1_000_000)
    points = simulation.points
    assert points.read("grid.converged") == 0
    for pattern in ("bus.*", "line.*.loading", "line.*.p_kw", "grid.slack_*"):
        assert (points.quality[points.ids_of([pattern])] == Quality.INVALID).all(), pattern
        assert not np.isfinite(points.read_vector([pattern])).any(), pattern
    # What flows into a device is unknown; what it has counted so far is its own.
    assert points.quality[points.id_of("ld.p_kw")] == points.quality[points.id_of("ld.q_kvar")] == Quality.INVALID
    assert points.quality[points.id_of("ld.e_kwh")] == Quality.GOOD


@pytest.mark.parametrize(("phase", "found"), [(Phase.DRIVE, (2_000_000, 1.0)), (Phase.DECIDE, (2_000_000, 1.0)),
                                              (Phase.REPORT, (3_000_000, 0.0))])
@pytest.mark.parametrize("record", [["*"], ["grid.converged"]])
def test_until_publish_the_points_are_those_of_the_last_instant(phase: Phase, found: tuple[int, float],
                                                                record: list[str]) -> None:
    """Who looks before SOLVE sees what was published last, with its time, worked out then or now."""
    simulation = world(disturbances=[TRIP], record={"points": record})
    seen: list[tuple[int, float]] = []

    def look(_: Any) -> None:
        seen.append((simulation.points.t_us, simulation.points.read("line.3-4.closed")))

    simulation.advance_to(2_500_000)
    simulation.kernel.at(3_000_000, lambda _: simulation.kernel.at(3_000_000, look, None, phase))
    simulation.advance_to(3_000_000)
    assert seen == [found]


def test_a_move_of_the_shield_is_published() -> None:
    """Whether, why and how far while it lasts; zeros before and after; the output shows what is applied."""
    simulation = world(devices=[{"kind": "battery", "name": "bat", "bus": "18", "p_max_kw": 100,
                                 "e_rated_kwh": 100, "soc_start": 0.9}])
    points, names = simulation.points, [f"shield.{name}" for name in ("active", "reason", "distance_kva")]
    assert [points.read(name) for name in names] == [0, 0, 0]
    assert simulation.submit("bat.p_set_kw", -50.0, "test") is CommandStatus.ACCEPTED
    simulation.advance_to(1_000_000)
    assert [points.read(name) for name in names] == [1, ShieldReason.ENERGY, 50.0]
    assert points.read("bat.p_set_kw") == 0.0
    simulation.submit("bat.p_set_kw", 50.0, "test")
    simulation.advance_to(2_000_000)
    assert [points.read(name) for name in names] == [0, 0, 0]


def test_rows_of_a_group_that_nobody_requires_are_worked_out_when_asked() -> None:
    """A battery's energy is required, its counters are not: they are right all the same, once asked for."""
    battery = {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 1, "p_max_kw": 100}
    observer = agent(actuate=["bat.p_set_kw"], observe=["bat.soc"])
    partly = world(devices=[battery], agents=[observer], record={"points": ["bat.soc"]})
    wholly = world(devices=[battery], agents=[observer])
    wholly.points.require(np.arange(len(wholly.points)))
    partly.points.require(partly.points.ids_of(["bat.soc"]))
    looks = [at_each_second(simulation, lambda points: (points.published[points.id_of("bat.soc")],
                                                        points.values.tobytes()))
             for simulation in (partly, wholly)]
    assert looks[0] == looks[1]
    assert len({soc for soc, _ in looks[0]}) > 1


def test_losses_without_the_slack_are_right_and_so_is_the_slack_once_asked() -> None:
    """The losses are required, what the reference delivers is not: both are those of a run that requires everything."""
    partly = world(disturbances=[TRIP], agents=[agent()], record={"points": ["grid.losses_kw"]})
    wholly = world(disturbances=[TRIP], agents=[agent()])
    wholly.points.require(np.arange(len(wholly.points)))
    first = partly.points.id_of("grid.slack_p_kw")
    assert not partly.points.required(slice(first, partly.points.id_of("grid.slack_q_kvar") + 1))
    looks = [at_each_second(simulation, lambda points: (points.published[points.id_of("grid.losses_kw")],
                                                        points.values.tobytes()))
             for simulation in (partly, wholly)]
    assert looks[0] == looks[1]
    assert len({losses for losses, _ in looks[0]}) > 1
