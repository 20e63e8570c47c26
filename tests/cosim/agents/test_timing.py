"""When agents wake, and when what they decide takes effect."""

from __future__ import annotations

import pytest

from cosim.errors import ProcessError
from tests.cosim.simulation.worlds import WAN, agent, commands, ended, over, scripted, world

SPY = {"kind": "spy"}


def wakes(log: list[str]) -> list[float]:
    """Times of the wake-ups in a log."""
    return [float(line.split()[0]) for line in log if line.endswith("wakes")]


def test_period_and_offset() -> None:
    """An agent wakes at its offset and every period after it."""
    log: list[str] = []
    ended(world(plugins=[scripted("spy", log)], agents=[agent(policy=SPY, period_s=2.5, offset_s=0.3)]))
    assert log == ["0.300000 a wakes", "2.800000 a wakes", "5.300000 a wakes", "7.800000 a wakes"]


def test_agents_of_one_instant_wake_in_scenario_order() -> None:
    """Who shares an instant wakes in the order of the scenario file."""
    log: list[str] = []
    agents = [agent("z", policy=SPY, period_s=5), agent("a", policy=SPY, period_s=5)]
    ended(world(plugins=[scripted("spy", log)], agents=agents))
    assert log == ["0.000000 z wakes", "0.000000 a wakes", "5.000000 z wakes", "5.000000 a wakes",
                   "10.000000 z wakes", "10.000000 a wakes"]


def test_jitter_displaces_each_wake_up_and_never_accumulates() -> None:
    """With jitter every wake-up lies within its own period's window."""
    log: list[str] = []
    ended(world(plugins=[scripted("spy", log)], duration_s=100, agents=[agent(policy=SPY, jitter_s=0.5)]))
    late = [t - i for i, t in enumerate(wakes(log))]
    assert len(late) == 101 or len(late) == 100
    assert 0 <= min(late) < 0.1
    assert 0.4 < max(late) <= 0.5
    assert len(dict.fromkeys(late)) > 90


def test_jitter_is_the_agents_own_stream() -> None:
    """Another agent with jitter does not move this one's wake-ups; another seed does."""
    alone, beside, reseeded = [], [], []  # type: list[str], list[str], list[str]
    jittery = agent(policy=SPY, jitter_s=0.9)
    ended(world(plugins=[scripted("spy", alone)], agents=[jittery]))
    ended(world(plugins=[scripted("spy", beside)], agents=[agent("b", policy=SPY, jitter_s=0.9), jittery]))
    ended(world(plugins=[scripted("spy", reseeded)], agents=[jittery], seed=2))
    assert wakes([line for line in beside if " a " in line]) == wakes(alone)
    assert wakes(reseeded) != wakes(alone)


def test_an_error_with_jitter_names_the_agent() -> None:
    """A policy that raises is named with its simulation time, with jitter too."""
    def fail(observation: object, t_us: int) -> None:
        raise ZeroDivisionError("oops")

    for changes in ({}, {"jitter_s": 0.5}):
        simulation = world(plugins=[scripted("spy", [], fail)], agents=[agent("ann", policy=SPY, **changes)])
        with pytest.raises(ProcessError, match=r"ann failed at t = 0\.\d+ s: ZeroDivisionError: oops"):
            ended(simulation)


def test_computing_takes_time() -> None:
    """With `compute_s` the command enters that much later than the look."""
    result = ended(world(agents=[agent(compute_s=0.25, period_s=4)]))
    assert commands(result, "a") == [(0.25, "set", 1.0), (4.25, "set", 1.0), (8.25, "set", 1.0)]


def test_what_was_decided_is_what_arrives() -> None:
    """A policy that writes its next answer into the same array does not change one that is under way."""
    import numpy as np

    answer = np.zeros(1)

    def count(observation: object, t_us: int) -> object:
        answer[0] = t_us / 1e6
        return answer

    result = ended(world(plugins=[scripted("spy", [], count)], duration_s=4,
                         agents=[agent(policy=SPY, compute_s=1.5)]))
    assert commands(result, "a") == [(1.5, "set", 0.0), (2.5, "set", 1.0), (3.5, "set", 2.0)]


def test_a_command_takes_effect_at_its_own_instants_scan() -> None:
    """DRIVE comes before SOLVE: what an agent decides at a scan is in force in that very scan."""
    simulation = world(agents=[agent(policy={"kind": "constant", "values": [2.0]}, offset_s=3)])
    simulation.advance_to(2_000_000)
    assert simulation.points.read("ld.p_kw") == -30.0
    simulation.advance_to(3_000_000)
    assert simulation.points.read("ld.p_kw") == -60.0


def test_on_change_wakes_after_the_publication_that_changed() -> None:
    """An agent with a direct view wakes one microsecond after a change beyond its deadband, and only then."""
    log: list[str] = []
    step = {"kind": "load_step", "bus": "18", "p_kw": 500, "at_s": 4.5, "duration_s": 3}
    small = {"kind": "load_step", "bus": "18", "p_kw": 1, "at_s": 2}
    ended(world(plugins=[scripted("spy", log)], disturbances=[step, small],
                agents=[agent(policy=SPY, trigger="on_change", deadband=0.001, period_s=None)]))
    assert wakes(log) == [0.000001, 4.500001, 7.500001]


def test_on_change_over_a_channel_wakes_when_the_report_arrives() -> None:
    """Over a channel the change is noticed when the next report of it is there."""
    log: list[str] = []
    step = {"kind": "load_step", "bus": "18", "p_kw": 500, "at_s": 4.5, "duration_s": 3}
    ended(world(plugins=[scripted("spy", log)], disturbances=[step], channels=[WAN],
                agents=[agent(policy=SPY, trigger="on_change", deadband=0.001, period_s=None, telemetry=over())]))
    assert wakes(log) == [0.1, 5.1, 8.1]


def test_on_command_wakes_when_a_target_changes() -> None:
    """A command to an agent is seen at the next scan and wakes it right after; nothing else does."""
    log: list[str] = []
    seen: list[float] = []
    target = {"name": "cap", "low": 0, "high": 10}
    spy = scripted("spy", log, lambda observation, t_us: seen.append(float(observation[0])))
    simulation = world(plugins=[spy], agents=[agent(policy=SPY, trigger="on_command", commands=[target], period_s=None,
                                                    observe=["agent.a.cap"])])
    simulation.advance_to(2_500_000)
    assert simulation.submit("agent.a.cap", 7.0, "operator").value == "accepted"
    assert simulation.submit("agent.a.cap", 11.0, "operator").value == "out_of_range"
    ended(simulation)
    assert wakes(log) == [3.000001]
    assert seen == [7.0]
