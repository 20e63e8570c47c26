"""Who learns in an episode whose scenario is drawn anew: by its own rules, as the same learners."""

from __future__ import annotations

from typing import Any

import pytest

from cosim.env import EventEnv
from cosim.errors import GridloopError
from tests.cosim.env.worlds import LOSSES, learner, loaded, made

NEVER = {"point": "bat1.soc", "below": 0.0}


def drawing(path: str, value: Any) -> dict[str, Any]:
    """`learning` of which one thing is drawn anew, always as `value`."""
    vary = {"path": path, "choices": [value]} if isinstance(value, str) else {"path": path, "low": value, "high": value}
    return {"agents": ["agent_1"], "reward": [LOSSES], "costs": [{**LOSSES, "name": "cost"}], "end_reward": 0.0,
            "reward_clip": [-1e6, 1e6], "discount": {"gamma": 0.9, "per_s": 60}, "ends_when": [NEVER],
            "episode": {"vary": [vary]}}


def drawn(path: str, value: Any) -> EventEnv:
    """One learner, with rules of its own, in an episode with that draw."""
    own = {"observe": {"clip": 10.0}, "reward": [{**LOSSES, "name": "own"}], "dies_when": [NEVER]}
    return made(learner(1, learn=own), learner(2), learning=drawing(path, value))


def test_an_episode_goes_by_the_rules_it_has_drawn() -> None:
    """Whoever draws what ends it, what it is worth or how far a reward reaches finds just that."""
    plain = drawn("learning.end_reward", 0.0)
    plain.reset(1)
    usual = float(plain.step({}).reward[0])
    assert drawn("learning.ends_when.0.below", 2.0).reset(1).terminated.all()
    assert drawn("agents.0.learn.dies_when.0.below", 2.0).reset(1).terminated.tolist() == [True]
    clipped = drawn("learning.reward_clip.1", 2 * usual)
    clipped.reset(1)
    assert clipped.step({}).reward.tolist() == [2 * usual]
    heavy = drawn("agents.0.learn.reward.0.weight", 2 * LOSSES["weight"])
    heavy.reset(1)
    assert heavy.step({}).reward[0] == pytest.approx(1.5 * usual, rel=1e-12)


def test_the_drawn_reward_of_an_end_is_paid() -> None:
    """`end_reward` as the episode has it."""
    learning = drawing("learning.end_reward", -55.0) | {"ends_when": [{"point": "bat1.soc", "below": 0.45}]}
    env = made(learner(1), learner(2), learning=learning)
    env.reset(1)
    decision = env.step({0: [1.0]})
    assert decision.terminated.all()
    assert -66 < decision.reward[0] < -55


@pytest.mark.parametrize(("path", "value", "words"), [
    ("learning.reward.0.name", "other", "names of terms may not vary; found other, cost, own in this episode"),
    ("learning.costs.0.name", "other", "names of costs may not vary; found other in this episode; expected cost"),
    ("learning.agents.0", "agent_2", "who learns may not vary; found agent_2 in this episode; expected agent_1"),
    ("agents.0.learn.observe.clip", 5.0, "what agent 'agent_1' sees .* may not vary"),
    ("agents.0.observe.1", "bat2.soc", "what agent 'agent_1' sees .* may not vary"),
    ("learning.discount.gamma", 0.5, "`learning.discount` may not vary"),
])
def test_what_a_trainer_has_read_may_not_be_drawn(path: str, value: Any, words: str) -> None:
    """One message for each; the environment is none the worse for it."""
    env = drawn(path, value)
    with pytest.raises(GridloopError, match=f"learning.episode.vary: {words}"):
        env.reset(1)
    with pytest.raises(GridloopError, match=r"the episode has ended; call reset\(\)"):
        env.step({})
    env.close()


def test_one_pattern_needs_no_list() -> None:
    """`agents="agent_1"` is one name, not seven letters."""
    assert EventEnv(loaded(), agents="agent_1").names == ("agent_1",)
    assert EventEnv(loaded(), agents="agent_*").names == EventEnv(loaded()).names
