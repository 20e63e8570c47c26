"""What agents see: the points themselves, or reports that are late, lost, damaged and out of order."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cosim.simulation.worlds import agent, ended, over, scripted, world

SPY = {"kind": "spy"}
#: The load follows the time, so that what is seen tells when it was published: 10 kW more each second.
RISING = {"kind": "schedule", "rows": [[t, t / 10] for t in range(10)]}


def seen_p_kw(channel: dict[str, Any] | None, offset_s: float = 0.5, **changes: Any) -> list[float]:
    """What agent `a` sees of a load that consumes 10 kW x t, at `offset_s` and each second after."""
    seen: list[float] = []
    spy = scripted("spy", [], lambda observation, t_us: seen.append(-float(observation[0])))
    telemetry = "direct" if channel is None else over()
    watcher = agent(policy=SPY, observe=["ld.p_kw"], actuate=[], telemetry=telemetry, offset_s=offset_s)
    mover = agent("mover", policy=RISING)
    load = {"kind": "load", "name": "ld", "bus": "5", "p_kw": 100}
    ended(world(plugins=[spy], devices=[load], agents=[watcher, mover],
                channels=[] if channel is None else [channel], **changes), 6)
    return np.round(seen, 6).tolist()


def up(*rules: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A channel with those rules field to agent."""
    return {"name": "wan", "up": list(rules), "down": [], **changes}


def in_turn(*ms: float) -> dict[str, Any]:
    """Delays in turn."""
    return {"kind": "latency", "distribution": "trace", "values_ms": list(ms), "order": "sequence"}


def test_direct_sees_what_was_published_last() -> None:
    """Between scans an agent sees the last scan; at a scan's instant it still sees the one before."""
    assert seen_p_kw(None) == [0, 10, 20, 30, 40, 50]
    assert seen_p_kw(None, offset_s=0.0) == [100, 0, 10, 20, 30, 40, 50]


def test_a_report_is_seen_when_it_has_arrived() -> None:
    """Reports that take 1.2 s are one scan older than those that take 0.2 s; before the first there is only NaN."""
    np.testing.assert_equal(seen_p_kw(up(in_turn(200))), [0, 10, 20, 30, 40, 50])
    np.testing.assert_equal(seen_p_kw(up(in_turn(1200))), [np.nan, 0, 10, 20, 30, 40])


def test_a_lost_report_leaves_the_last_one() -> None:
    """With every report lost nothing is ever seen."""
    np.testing.assert_equal(seen_p_kw(up({"kind": "loss", "probability": 1.0})), [np.nan] * 6)


def test_out_of_order_reports_never_take_back_what_is_seen() -> None:
    """A report that arrives after a newer one is thrown away: the newest wins."""
    np.testing.assert_equal(seen_p_kw(up(in_turn(100, 1700, 100, 100))), [0, 0, 20, 30, 40, 40])


def test_a_damaged_report_is_not_seen() -> None:
    """What arrives corrupted leaves the view as it was."""
    np.testing.assert_equal(
        seen_p_kw(up({"kind": "corruption", "probability": 1.0, "deliver": True})), [np.nan] * 6)


def test_a_partition_makes_the_view_stale_and_its_age_grow() -> None:
    """While a channel is cut the age of what an agent holds grows by a second each second, and then falls back."""
    simulation = world(
        channels=[up(in_turn(200))], agents=[agent(telemetry=over(), actuate=[], policy=SPY)],
        plugins=[scripted("spy", [])], duration_s=12,
        disturbances=[{"kind": "partition", "channel": "wan", "at_s": 3.5, "duration_s": 4}])
    ages = []
    for t_s in range(12):
        simulation.advance_to(t_s * 1_000_000)
        ages.append(simulation.points.read("agent.a.age_s"))
    np.testing.assert_equal(ages, [np.nan, 1, 1, 1, 1, 2, 3, 4, 5, 1, 1, 1])


def test_what_is_in_flight_when_the_partition_begins_arrives_unless_dropped() -> None:
    """`drop_in_flight` decides about messages under way."""
    for drop, age in ((False, 1.0), (True, 2.0)):
        simulation = world(
            channels=[up(in_turn(500))], agents=[agent(telemetry=over(), actuate=[], policy=SPY)],
            plugins=[scripted("spy", [])],
            disturbances=[{"kind": "partition", "channel": "wan", "at_s": 3.2, "drop_in_flight": drop}])
        simulation.advance_to(4_000_000)
        assert simulation.points.read("agent.a.age_s") == age


def test_a_direct_view_has_no_age() -> None:
    """What is seen directly is always current."""
    simulation = world(agents=[agent()])
    simulation.advance_to(5_500_000)
    assert simulation.points.read("agent.a.age_s") == 0.0


def test_telemetry_has_its_own_period_and_offset() -> None:
    """The field reports at its own period and offset: five seconds apart, half a second late."""
    result = ended(world(channels=[up(in_turn(100))], agents=[
        agent(telemetry=over(period_s=5, offset_s=0.5), policy=SPY)], plugins=[scripted("spy", [])]))
    frame = result.messages()
    reports = frame[frame["receiver"] == "a"]
    assert (reports["t_us"] / 1e6).tolist() == [0.5, 5.5]
    assert ((reports["arrival_us"] - reports["t_us"]) == 100_000).all()
    assert reports["bytes"].tolist() == [48, 48]
