"""Actions that come too late: from when they count, and what is done in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.env import EnvOptions
from cosim.replay import replay
from tests.cosim.env.worlds import LOSSES, learner, made


@pytest.mark.parametrize(("late", "expected"), [
    ({}, 20.0), ({"late": "zero"}, 0.0), ({"late": "drop"}, None),
    ({"late": "fallback", "fallback": {"kind": "constant", "values": [7.0]}}, 7.0)])
def test_a_learner_too_slow_is_late(late: dict[str, Any], expected: float | None) -> None:
    """`compute_s` beyond `deadline_s`: its action is not carried out, and what `late` says is."""
    slow = learner(1, compute_s=2.0, deadline_s=1.0, **late)
    resting = {"name": "resting", "policy": {"kind": "constant", "values": [20.0]}, "period_s": 60,
               "authority": "schedule", "actuate": ["bat1.p_set_kw"]}
    agents = (slow, resting) if late.get("late") in (None, "drop") else (slow,)
    env = made(*agents, learning={"reward": [LOSSES], "agents": ["agent_1"]})
    env.reset(1)
    env.step({0: [0.9]})
    assert env.simulation.points.read("agent.agent_1.late") == 1
    asked = env.simulation.points.read("bat1.p_set_kw")
    assert asked == (20.0 if expected is None else expected)


def test_a_deadline_counts_from_the_decision(tmp_path: Path) -> None:
    """Who waits to decide with others is not late for it, in a replay neither; who computes too long is."""
    for compute_s, late in ((0.0, 0), (0.4, 0), (0.6, 3)):
        waiting = learner(1, offset_s=0.3, deadline_s=0.5, compute_s=compute_s)
        env = made(waiting, learning={"reward": [LOSSES], "together_s": 1.0},
                   options=EnvOptions(record=tmp_path / str(compute_s)))
        env.reset(1)
        for _ in range(3):
            decision = env.step({0: [0.5]})
        assert decision.t_us == 16_000_000
        assert env.simulation.points.read("agent.agent_1.late") == late
        env.close()
        assert replay(tmp_path / str(compute_s) / "episode-000000").same


@pytest.mark.parametrize(("period_s", "compute_s", "deadline_s", "together_s"),
                         [(0.5, 0.0, 0.5, 2.0), (5, 2.0, 2.5, 4.0)])
def test_who_waits_for_others_is_not_missing(period_s: float, compute_s: float, deadline_s: float,
                                             together_s: float) -> None:
    """The time until the next action counts as missing includes what it may wait to be decided together."""
    env = made(learner(1, period_s=period_s, compute_s=compute_s, deadline_s=deadline_s),
               learning={"reward": [LOSSES], "together_s": together_s})
    env.reset(1)
    for _ in range(5):
        env.step({0: [0.5]})
    assert env.simulation.points.read("agent.agent_1.late") == 0


def test_a_learner_in_time_is_not_late() -> None:
    """The action is carried out when it has been computed."""
    env = made(learner(1, compute_s=2.0, deadline_s=2.5))
    env.reset(1)
    env.step({0: [0.9]})
    assert env.simulation.points.read("agent.agent_1.late") == 0
    assert env.simulation.points.read("bat1.p_set_kw") == 90.0
