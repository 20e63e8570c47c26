"""What becomes of actions at the field's end: late, missing, overtaken, damaged, copied, expired, outranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.errors import ProcessError
from tests.cosim.simulation.worlds import WAN, agent, commands, ended, events, over, scripted, world

SPY = {"kind": "spy"}


def by_second(observation: object, t_us: int) -> list[float]:
    """Answers the time in tenths of a second, so that each action is known by its value."""
    return [t_us / 1e7]


def delays(*ms: float) -> dict[str, Any]:
    """A channel whose messages take these delays in turn, down only; up takes no time."""
    return {"name": "wan", "up": [], "down": [
        {"kind": "latency", "distribution": "trace", "values_ms": list(ms), "order": "sequence"}]}


def partition(at_s: float, duration_s: float, **changes: Any) -> dict[str, Any]:
    """A partition of the channel."""
    return {"kind": "partition", "channel": "wan", "at_s": at_s, "duration_s": duration_s, **changes}


def test_an_overtaken_action_is_dropped() -> None:
    """The action of t = 0 s arrives after that of t = 1 s and is never applied."""
    result = ended(world(plugins=[scripted("spy", [], by_second)], duration_s=3, channels=[delays(1500, 100, 100)],
                         agents=[agent(policy=SPY, telemetry=over())]))
    assert commands(result, "a") == [(1.1, "set", 0.1), (2.1, "set", 0.2)]


def test_a_late_copy_of_an_action_on_time_is_not_late() -> None:
    """A duplicated message whose copy arrives past the deadline does no harm."""
    wan = {"name": "wan", "up": [], "down": [{"kind": "duplication", "probability": 1.0, "extra_delay_ms": 400}]}
    result = ended(world(plugins=[scripted("spy", [], by_second)], duration_s=3, channels=[wan],
                         agents=[agent(policy=SPY, telemetry=over(), deadline_s=0.3, late="zero")]))
    assert commands(result, "a") == [(0.0, "set", 0.0), (1.0, "set", 0.1), (2.0, "set", 0.2), (3.0, "set", 0.3)]
    assert events(result, "action_late") == []


def test_a_damaged_action_is_ignored() -> None:
    """What arrives corrupted never becomes a command."""
    wan = {"name": "wan", "up": [], "down": [{"kind": "corruption", "probability": 1.0, "deliver": True}]}
    result = ended(world(channels=[wan], agents=[agent(telemetry=over())]))
    assert commands(result, "a") == []
    assert (result.messages()["fate"] == "delivered").any()


LATE_BY_DELAY = [(0.5, "set", 0.0), (2.5, "set", 0.2), (4.5, "set", 0.4)]


@pytest.mark.parametrize(("late", "instead"), [
    ("hold", []),
    ("zero", [(1.7, "set", 0.0), (3.7, "set", 0.0)]),
    ("drop", [(1.7, "release", np.nan), (3.7, "release", np.nan)]),
    ("fallback", [(1.7, "set", 3.0), (3.7, "set", 3.0)]),
])
def test_late_on_arrival(late: str, instead: list[tuple[float, str, float]]) -> None:
    """An action older than the deadline on arrival is replaced by what `late` says, and counted."""
    fallback = {"fallback": {"kind": "constant", "values": [3.0]}} if late == "fallback" else {}
    simulation = world(plugins=[scripted("spy", [], by_second)], duration_s=5,
                       channels=[delays(500, 700)], agents=[agent(
                           policy=SPY, telemetry=over(), deadline_s=0.6, late=late, **fallback)])
    result = ended(simulation)
    expected = sorted(LATE_BY_DELAY + instead)
    found = commands(result, "a")
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected])
    assert events(result, "action_late") == ["1.700000 action_late a: late", "3.700000 action_late a: late"]
    assert simulation.points.read("agent.a.late") == 2


@pytest.mark.parametrize(("late", "scale"), [("hold", 2.0), ("zero", 0.0), ("drop", 1.0), ("fallback", 3.0)])
def test_missing_actions_during_a_partition_and_recovery(late: str, scale: float) -> None:
    """While nothing arrives the field acts by itself, each period; the next action takes over again."""
    fallback = {"fallback": {"kind": "constant", "values": [3.0]}} if late == "fallback" else {}
    simulation = world(duration_s=20, channels=[WAN], disturbances=[partition(5.5, 6)], agents=[
        agent(policy={"kind": "constant", "values": [2.0]}, telemetry=over(), deadline_s=0.5, late=late, **fallback)])
    simulation.advance_to(5_000_000)
    assert simulation.points.read("ld.p_kw") == -60.0
    simulation.advance_to(10_000_000)
    assert simulation.points.read("ld.p_kw") == -30.0 * scale
    result = ended(simulation)
    assert simulation.points.read("ld.p_kw") == -60.0
    assert events(result, "action_late") == [
        f"{t}.000000 action_late a: missing" for t in (7, 8, 9, 10, 11, 12)]


def test_what_jitter_and_offset_delay_is_not_missing() -> None:
    """Every action arrives in time after its decision: the field does not take the agent's own rhythm for silence."""
    jittery = agent(telemetry=over(), deadline_s=0.2, jitter_s=0.9, late="zero")
    result = ended(world(duration_s=60, channels=[WAN], agents=[jittery]))
    assert events(result, "action_late") == []
    lost = {"name": "wan", "rules": [{"kind": "partition", "windows": [[0, 99]]}]}
    tardy = agent(telemetry=over(), deadline_s=2, period_s=5, offset_s=10, late="hold")
    result = ended(world(duration_s=26, channels=[lost], agents=[tardy]))
    assert events(result, "action_late") == [f"{t}.000000 action_late a: missing" for t in (20, 25)]


def test_a_policy_without_deadline_is_not_watched() -> None:
    """Without `deadline_s` silence means nothing."""
    result = ended(world(channels=[WAN], disturbances=[partition(2, 6)], agents=[agent(telemetry=over())]))
    assert events(result, "action_late") == []


def test_agents_that_wake_on_events_are_not_watched() -> None:
    """Who acts only when something happens is not missing while nothing does, whatever its deadline."""
    result = ended(world(agents=[agent(trigger="on_change", deadline_s=0.5, late="zero", deadband=0.1)]))
    assert events(result, "action_late") == []


def test_a_command_expires() -> None:
    """With `ttl_s` the device is on its own again that long after the command arrived."""
    simulation = world(agents=[agent(policy={"kind": "constant", "values": [2.0]}, period_s=5, ttl_s=2)])
    seen = []
    for t_s in range(10):
        simulation.advance_to(t_s * 1_000_000)
        seen.append(simulation.points.read("ld.p_kw"))
    assert seen == [-60, -60, -30, -30, -30, -60, -60, -30, -30, -30]


def test_authority_decides() -> None:
    """An operator-level agent outranks another, and an outside operator outranks an agent until released."""
    low = agent("low", policy={"kind": "constant", "values": [2.0]})
    high = agent("high", policy={"kind": "constant", "values": [3.0]}, authority="operator", offset_s=5)
    simulation = world(agents=[low, high])
    simulation.advance_to(2_000_000)
    assert simulation.points.read("ld.p_kw") == -60.0
    simulation.submit("ld.scale", 0.5, "control room")
    simulation.advance_to(3_000_000)
    assert simulation.points.read("ld.p_kw") == -15.0
    simulation.advance_to(5_000_000)
    assert simulation.points.read("ld.p_kw") == -90.0


@pytest.mark.parametrize("channel", [False, True])
def test_a_wrong_number_of_values_names_agent_and_time(channel: bool) -> None:
    """A policy that answers too many values stops the run with its name, the time and what was expected."""
    changes = {"telemetry": over()} if channel else {}
    simulation = world(plugins=[scripted("spy", [], lambda o, t: [1.0, 2.0])], channels=[WAN],
                       agents=[agent("ann", policy=SPY, offset_s=3, **changes)])
    with pytest.raises(ProcessError) as caught:
        ended(simulation)
    text = str(caught.value)
    assert "ann" in text
    assert ("t = 3.1" if channel else "t = 3.0") in text
    assert "2 values" in text
    assert "expected 1" in text


def test_nan_leaves_a_setpoint_alone() -> None:
    """NaN in an answer asks for nothing there; what was in force stays."""
    devices = [{"kind": "load", "name": f"l{i}", "bus": "5", "p_kw": 10} for i in range(2)]
    answers = iter([[2.0, 3.0], [np.nan, 4.0], [np.nan, np.nan]])
    simulation = world(plugins=[scripted("spy", [], lambda o, t: next(answers))], duration_s=3, devices=devices,
                       agents=[agent(policy=SPY, actuate=["l0.scale", "l1.scale"])])
    seen = []
    for t_s in range(3):
        simulation.advance_to(t_s * 1_000_000)
        seen.append(simulation.points.read_vector(["l0.p_kw", "l1.p_kw"]).tolist())
    assert seen == [[-20, -30], [-20, -40], [-20, -40]]


def test_out_of_range_answers_are_refused_and_recorded() -> None:
    """An answer outside a point's range is no error of the run: it is refused, and says so."""
    simulation = world(agents=[agent(policy={"kind": "constant", "values": [-1.0]})])
    result = ended(simulation)
    assert list(dict.fromkeys(result.commands()["status"])) == ["out_of_range"]
    assert simulation.points.read("ld.p_kw") == -30.0
