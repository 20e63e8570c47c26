"""The views on one core: who is there, in which order, and what is in infos."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="PettingZoo is not installed (pip install .[env])")

import cosim.env
import cosim.env.rllib
from cosim.env import EnvOptions, EventEnv, aec_env, parallel_env, single_agent
from cosim.env.rllib import DueAgents, rllib_class, rllib_env
from cosim.env.spaces import row_of
from cosim.errors import GridloopError
from tests.cosim.env.worlds import LOSSES, learner, loaded

#: Agent 1 every 5 s, agent 2 every 7 s until its battery is empty, agent 3 every 20 s from 10 s on.
DYING = {"dies_when": [{"point": "bat2.soc", "below": 0.3}]}
THREE = (learner(1), learner(2, period_s=7, learn=DYING), learner(3, period_s=20, offset_s=10))


class RllibBase(gymnasium.Env[Any, Any]):
    """What DueAgents needs of Ray's base class: a constructor without arguments."""


class Fake(DueAgents, RllibBase):
    """DueAgents on a stand-in for Ray."""


def full(action: float, env: Any) -> dict[str, np.ndarray]:
    """The same action for everyone."""
    return {name: np.array([action], np.float32) for name in env.possible_agents}


def test_parallel_shows_everyone_and_says_who_is_due() -> None:
    """Observations, rewards and infos of all live agents at every step; `due`, `dt` and `age` say how things are."""
    env = parallel_env(loaded(*THREE))
    observations, infos = env.reset(seed=1)
    assert {name: info["due"] for name, info in infos.items()} == {"agent_1": True, "agent_2": True, "agent_3": False}
    observations, rewards, _, _, infos = env.step(full(0.0, env))
    assert list(observations) == list(rewards) == env.agents
    assert env.core.last.t_us == 5_000_000
    assert [(info["due"], info["dt"], info["age"]) for info in infos.values()] == [
        (True, 5.0, 0.0), (False, 5.0, 0.0), (False, 5.0, 0.0)]
    assert rewards["agent_1"] < 0 == rewards["agent_2"] == rewards["agent_3"]
    assert infos["agent_1"]["term.losses"] == rewards["agent_1"]
    assert infos["agent_2"]["term.losses"] == 0.0
    assert env.state().tolist() == np.concatenate(list(observations.values())).tolist()
    assert env.state() in env.state_space


def test_parallel_holds_who_is_not_due() -> None:
    """What is given for an agent that is not due is not sent."""
    env = parallel_env(loaded(*THREE))
    env.reset(seed=1)
    env.step({"agent_3": np.array([0.5])})
    env.step({})
    assert np.isnan(env.core.simulation.points.read("bat3.p_set_kw"))
    assert env.core.stats.actions == 0


@pytest.mark.parametrize("explain", [True, False])
def test_infos_keep_their_keys(explain: bool) -> None:
    """From reset to the end, with costs by name; terms only where they are wanted.  Terms add up to the reward."""
    terms = [LOSSES, {"kind": "sum", "name": "charge", "points": ["bat*.soc"]}]
    costs = [{"kind": "voltage", "name": "low", "low": 1.0}]
    env = parallel_env(loaded(*THREE, learning={"reward": terms, "costs": costs}), explain=explain)
    _, infos = env.reset(seed=1)
    keys = ["due", "dt", "age", "cost.low", *(["term.losses", "term.charge"] if explain else [])]
    while env.agents:
        assert all(list(info) == keys for info in infos.values())
        _, rewards, _, _, infos = env.step(full(0.1, env))
        for name, info in infos.items():
            assert (info["cost.low"] > 0) == (rewards[name] != 0)
            if explain:
                assert info["term.losses"] + info["term.charge"] == pytest.approx(rewards[name], rel=1e-12)


def test_what_has_not_arrived_is_infinitely_old() -> None:
    """Infos can be compared: NaN is equal to nothing."""
    env = parallel_env(loaded(learner(1, telemetry={"kind": "channel", "channel": "wan"}),
                              channels=[{"name": "wan", "rules": [{"kind": "loss", "probability": 1.0}]}]))
    _, infos = env.reset(seed=1)
    assert infos["agent_1"]["age"] == np.inf


def test_events_come_in_order() -> None:
    """AEC: those due at an instant in the scenario's order, each with its own integral; the dead before all others."""
    env = aec_env(loaded(*THREE))
    env.reset(seed=1)
    came = []
    for name in env.agent_iter():
        _, reward, over, truncated, info = env.last()
        came.append((env.core.last.t_us / 1e6, name, info["dt"], over, truncated))
        assert (reward < 0) == (info["dt"] > 0 and len([e for e in came if e[1] == name]) > 1)
        env.step(None if over or truncated else np.array([1.0]))
    assert came[:5] == [(0.0, "agent_1", 0.0, False, False), (0.0, "agent_2", 0.0, False, False),
                        (5.0, "agent_1", 5.0, False, False), (7.0, "agent_2", 7.0, False, False),
                        (10.0, "agent_1", 5.0, False, False)]
    died = next(entry for entry in came if entry[3])
    assert died[1] == "agent_2"
    assert [entry[1:] for entry in came[-2:]] == [("agent_1", 5.0, False, True), ("agent_3", 10.0, False, True)]
    assert [entry[1] for entry in came].count("agent_2") == came.index(died) + 1 - [
        entry[1] for entry in came[:came.index(died)]].count("agent_1") - [
        entry[1] for entry in came[:came.index(died)]].count("agent_3")


def test_aec_and_parallel_are_the_same_episode() -> None:
    """The sums of everybody's rewards agree, and so does the end."""
    sums: dict[str, float] = {}
    env = aec_env(loaded(*THREE))
    env.reset(seed=1)
    for name in env.agent_iter():
        _, reward, over, truncated, _ = env.last()
        sums[name] = sums.get(name, 0.0) + reward
        env.step(None if over or truncated else np.array([0.3], np.float32))
    other = parallel_env(loaded(*THREE))
    other.reset(seed=1)
    totals = dict.fromkeys(other.possible_agents, 0.0)
    while other.agents:
        _, rewards, *_ = other.step(full(0.3, other))
        for name, reward in rewards.items():
            totals[name] += reward
    assert totals == sums
    assert env.core.last.observation.tolist() == other.core.last.observation.tolist()


def test_rllib_sees_only_those_that_are_due() -> None:
    """The dying once more when they die, and at the end everyone that ever was asked, with its last reward."""
    env = Fake(EventEnv(loaded(*THREE, learner(1, name="never", offset_s=39.5, actuate=["bat1.q_set_kvar"],
                                                  learn={"act": {"range": {"*": [-9, 9]}}})),
                        options=EnvOptions(duration_s=39)))
    observations, infos = env.reset(seed=1)
    assert list(observations) == list(infos) == ["agent_1", "agent_2"]
    asked = [list(observations)]
    while True:
        observations, rewards, terminateds, truncateds, infos = env.step(
            {name: np.array([1.0], np.float32) for name in observations})
        assert list(observations) == list(rewards) == list(infos)
        assert list(terminateds) == list(truncateds) == [*observations, "__all__"]
        asked.append(list(observations))
        if terminateds["__all__"] or truncateds["__all__"]:
            break
        if terminateds.get("agent_2"):
            assert rewards["agent_2"] < 0
            assert "agent_2" not in env.agents
            observations.pop("agent_2")
    assert asked[:4] == [["agent_1", "agent_2"], ["agent_1"], ["agent_2"], ["agent_1", "agent_3"]]
    assert asked[-1] == ["agent_1", "agent_3"]
    assert truncateds == {"agent_1": True, "agent_3": True, "__all__": True}
    assert not any(terminateds.values())
    assert all(reward < 0 for reward in rewards.values())
    assert env.agents == []


def test_rllib_ends_when_all_are_over() -> None:
    """A condition's end is a termination for all."""
    scenario = loaded(*THREE, learning={"reward": [LOSSES], "ends_when": [{"point": "bat1.soc", "below": 0.4}]})
    env = Fake(EventEnv(scenario))
    observations, _ = env.reset(seed=1)
    while observations:
        observations, _, terminateds, truncateds, _ = env.step(
            {name: np.array([1.0], np.float32) for name in observations})
        if terminateds["__all__"]:
            break
    assert all(terminateds.values())
    assert not any(truncateds.values())


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is imported when it is needed, and only then."""
    def missing(name: str) -> Any:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(cosim.env.rllib, "import_module", missing)
    rllib_class.cache_clear()
    with pytest.raises(GridloopError, match=r"rllib_env needs Ray: pip install 'ray\[rllib\]'"):
        rllib_env(loaded())
    rllib_class.cache_clear()


def test_actions_of_every_kind_become_rows() -> None:
    """Box, Discrete, MultiDiscrete and the two parts of a mixed one; samples of every space are taken."""
    points = ["bat2.p_set_kw", "bat2.q_set_kvar"]
    wait = [{"name": "wait"}, {"name": "charge", "set": {"bat1.p_set_kw": -10}}]
    acts = {"continuous": {"range": {"*": [-9, 9]}}, "multi_discrete": {"range": {"*": [-9, 9]}, "levels": {"*": 3}},
            "mixed": {"range": {"*": [-9, 9]}, "levels": {"*kvar": 3}}}
    for kind, act in acts.items():
        env = single_agent(loaded(learner(2, actuate=points, learn={"act": act})))
        assert env.core.specs[0].action.kind == kind
        env.reset(seed=1)
        for _ in range(3):
            env.step(env.action_space.sample())
    env = single_agent(loaded(learner(1, learn={"act": {"choices": wait}})))
    assert env.core.specs[0].action.kind == "discrete"
    env.reset(seed=1)
    env.step(1)
    assert env.core.simulation.points.read("bat1.p_set_kw") == -10
    assert row_of(env.core.specs[0].action, np.int64(1)).tolist() == [1.0]


def test_what_is_no_action_is_refused_in_every_view() -> None:
    """Text, half an action, an array in place of two parts, a list in place of a mapping: one message each."""
    mixed = learner(2, actuate=["bat2.p_set_kw", "bat2.q_set_kvar"],
                    learn={"act": {"range": {"*": [-9, 9]}, "levels": {"*kvar": 3}}})
    many, turns, one = parallel_env(loaded(mixed)), aec_env(loaded(mixed)), single_agent(loaded(mixed))
    many.reset(seed=1), turns.reset(seed=1), one.reset(seed=1)
    for action in (np.zeros(2), {"continuous": np.zeros(1)}, "abc"):
        for step in (lambda: many.step({"agent_2": action}), lambda: turns.step(action), lambda: one.step(action)):  # noqa: B023  # called at once
            with pytest.raises(GridloopError, match=r"action of agent 'agent_2': found .*; expected a mapping with "
                                                    r"`continuous` \(1\) and `discrete` \(1\)"):
                step()
    plain = single_agent(loaded(learner(1)))
    plain.reset(seed=1)
    with pytest.raises(GridloopError, match="action of agent 'agent_1': found 'abc'; expected numbers only"):
        plain.step("abc")
    with pytest.raises(GridloopError, match=r"actions: found \[0, 0\]; expected a mapping of agents' names"):
        many.step([0, 0])
    many.step({"agent_2": {"continuous": np.ones(1), "discrete": [0]}})  # none of it has changed anything
    for seed in (1.5, -1, "a"):
        with pytest.raises(GridloopError, match=f"reset: seed {seed!r}; expected a whole number"):
            one.reset(seed=seed)
    one.reset(seed=np.int64(1))


@pytest.mark.parametrize("make", [parallel_env, aec_env])
def test_nothing_can_be_done_before_the_first_reset(make: Any) -> None:
    """As of the core; after the end of an episode a step does nothing, as PettingZoo has it."""
    env = make(loaded())
    for doing in (lambda: env.step({}), env.state):
        with pytest.raises(GridloopError, match=r"no episode has begun; call reset\(\)"):
            doing()
    env.reset(seed=1)
    while env.agents:
        env.step({} if make is parallel_env else None)
    assert env.step({} if make is parallel_env else None) in (None, ({}, {}, {}, {}, {}))


@pytest.mark.parametrize("package", ["pettingzoo", "gymnasium"])
@pytest.mark.parametrize("view", ["parallel_env", "aec_env", "single_agent", "vector_env", "vector_parallel_env",
                                  "rllib_env", "VectorOptions"])
def test_a_view_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch, view: str, package: str) -> None:
    """As training does for its own; views that do not need a package work without it."""
    for name in [name for name in sys.modules if name.startswith("cosim.env.")]:
        monkeypatch.setattr(cosim.env, name.removeprefix("cosim.env."), sys.modules[name])  # put back afterwards
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    if package == "pettingzoo" and view not in ("parallel_env", "aec_env"):
        assert callable(getattr(cosim.env, view))
        return
    with pytest.raises(GridloopError, match=rf"^{view} needs {package}: pip install 'gridloop\[env\]'$"):
        getattr(cosim.env, view)


def test_a_bug_of_ours_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of our own that is missing stays what it is."""
    monkeypatch.setattr(cosim.env, "parallel", sys.modules["cosim.env.parallel"])
    monkeypatch.delitem(sys.modules, "cosim.env.parallel")
    monkeypatch.setitem(sys.modules, "cosim.env.faces", None)
    with pytest.raises(ModuleNotFoundError, match=r"cosim\.env\.faces"):
        cosim.env.parallel_env  # noqa: B018


def test_unknown_agents_and_wrong_sizes_are_refused_in_every_view() -> None:
    """Before anything is sent."""
    env = parallel_env(loaded())
    env.reset(seed=1)
    with pytest.raises(GridloopError, match="unknown agent 'bob'; learners are: agent_1, agent_2, agent_3"):
        env.step({"bob": np.zeros(1)})
    with pytest.raises(GridloopError, match="action of agent 'agent_1': 3 numbers; expected 1"):
        env.step({"agent_1": np.zeros(3)})
    one = single_agent(loaded(learner(1)))
    one.reset(seed=1)
    with pytest.raises(GridloopError, match="action of agent 'agent_1': 2 numbers; expected 1"):
        one.step(np.zeros(2))
    turns = aec_env(loaded())
    turns.reset(seed=1)
    with pytest.raises(GridloopError, match="unknown agent 'bob'"):
        turns.observe("bob")
