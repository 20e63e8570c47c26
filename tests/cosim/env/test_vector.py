"""Many environments in processes: the same as one after another, clear errors, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="Gymnasium is not installed (pip install .[env])")

from gymnasium.vector import AutoresetMode

import cosim.env.workers
from cosim.env import (
    EnvOptions,
    VectorOptions,
    parallel_env,
    single_agent,
    vector_env,
    vector_parallel_env,
)
from cosim.errors import GridloopError
from cosim.plugins import Registry
from cosim.replay import replay
from cosim.scenario.loader import load_text
from tests.cosim.env.worlds import LOSSES, learner, loaded

SHORT = EnvOptions(duration_s=20)
MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Every test leaves neither a process nor a piece of shared memory."""
    before = _segments()
    yield
    assert active_children() == []
    assert _segments() == before


def _segments() -> list[str]:
    return sorted(path.name for path in MEMORY.glob(f"gridloop-{os.getpid()}-*")) if MEMORY.is_dir() else []


def alone(seed: int, actions: np.ndarray, resets: int = 2) -> list[Any]:
    """What one environment gives for actions (n, width), the next episode after each end: NEXT_STEP by hand."""
    env = single_agent(loaded(), "agent_2", options=SHORT)
    observation, info = env.reset(seed=seed)
    found = [(observation.tolist(), 0.0, False, False, info)]
    for action in actions:
        if found[-1][2] or found[-1][3]:
            observation, info = env.reset()
            found.append((observation.tolist(), 0.0, False, False, info))
        else:
            observation, *rest = env.step(action)
            found.append((observation.tolist(), *rest))
    return found


def test_without_a_seed_every_environment_begins_with_an_episode_of_its_own() -> None:
    """The scenario's seed, the next one, …: copies of one episode would be worth one."""
    jittery = loaded(learner(1, jitter_s=4))
    with closing(vector_parallel_env(jittery, 3, options=VectorOptions(processes=1, env=SHORT))) as envs:
        _, infos = envs.reset()
        begun_s = infos["agent_1"]["dt"].tolist()
        assert len(dict.fromkeys(begun_s)) == 3
        _, infos = envs.reset(seed=jittery.scenario.seed)
        assert infos["agent_1"]["dt"].tolist() == begun_s


def test_a_vector_is_the_same_environments_one_after_another() -> None:
    """Observations, rewards, ends and infos, over episodes' ends, on two processes, with seeds s, s + 1, s + 2."""
    actions = np.random.default_rng(1).uniform(-1, 1, (7, 3, 1)).astype(np.float32)
    envs = vector_env(loaded(), 3, "agent_2", options=VectorOptions(processes=2, env=SHORT))
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.observation_space.shape == (3, *envs.single_observation_space.shape)
    observations, infos = envs.reset(seed=5)
    found = [(observations, np.zeros(3), np.zeros(3, bool), np.zeros(3, bool), infos)]
    for row in actions:
        assert row in envs.action_space
        found.append(envs.step(row))
    envs.close()
    expected = [alone(5 + i, actions[:, i]) for i in range(3)]
    for k, (seen, rewards, over, truncated, told) in enumerate(found):
        assert seen.dtype == np.float32
        for i in range(3):
            info = {key: told[key][i] for key in told if not key.startswith("_")}
            assert (seen[i].tolist(), rewards[i], over[i], truncated[i], info) == expected[i][k]
            assert told["_dt"][i]
    assert any(truncated.any() for _, _, _, truncated, _ in found)
    assert any(rewards.any() for _, rewards, *_ in found)


def test_same_step_hands_over_the_last_observation() -> None:
    """The step that ends an episode shows the next one's start, and the end in infos; nothing is lost or added."""
    options = VectorOptions(processes=1, autoreset=AutoresetMode.SAME_STEP, env=SHORT)
    actions = np.random.default_rng(1).uniform(-1, 1, (6, 2, 1)).astype(np.float32)
    envs = vector_env(loaded(), 2, "agent_2", options=options)
    envs.reset(seed=5)
    steps = [envs.step(row) for row in actions]
    envs.close()
    env = single_agent(loaded(), "agent_2", options=SHORT)
    env.reset(seed=5)
    for k, action in enumerate(actions[:, 0]):
        observation, reward, over, truncated, info = env.step(action)
        seen, rewards, terminations, truncations, infos = steps[k]
        assert (reward, over, truncated) == (rewards[0], terminations[0], truncations[0])
        if truncated:
            assert infos["final_obs"][0].tolist() == observation.tolist()
            assert infos["_final_obs"].tolist() == [True, True]
            assert {key: infos["final_info"][key][0] for key in info} == info
            observation, info = env.reset()
        else:
            assert "final_obs" not in infos
        assert seen[0].tolist() == observation.tolist()
        assert {key: infos[key][0] for key in info} == info
    assert steps[3][3].all()


def test_same_step_hands_over_what_the_last_step_cost() -> None:
    """With several learners too: costs, terms and times of the step that ended the episode."""
    scenario = loaded(learning={"reward": [LOSSES], "costs": [{"kind": "voltage", "name": "low", "low": 1.0}]})
    options = VectorOptions(processes=1, autoreset=AutoresetMode.SAME_STEP, env=SHORT)
    one = parallel_env(scenario, options=SHORT)
    one.reset(seed=1)
    with closing(vector_parallel_env(scenario, 2, options=options)) as envs:
        envs.reset(seed=1)
        while one.agents:
            *_, infos = envs.step({"agent_1": np.ones((2, 1))})
            *_, told = one.step({"agent_1": np.ones(1)})
            for name, info in told.items():
                final = infos[name].get("final_info", infos[name])
                assert {key: final[key][0] for key in info} == info
                assert ("final_info" in infos[name]) is not one.agents
    assert infos["agent_1"]["_final_info"].tolist() == [True, True]
    assert infos["agent_1"]["final_info"]["cost.low"][0] > infos["agent_1"]["cost.low"][0] == 0


def test_several_learners_are_arrays_by_agent() -> None:
    """As `parallel_env` gives them, agents that die included; who is left out holds."""
    dying = learner(3, period_s=7, learn={"dies_when": [{"point": "bat3.soc", "below": 0.45}]})
    scenario = loaded(learner(1), dying, learning={"reward": [LOSSES], "costs": [{"kind": "voltage", "low": 1.0}]})
    envs = vector_parallel_env(scenario, 2, options=VectorOptions(processes=2))
    one = parallel_env(scenario)
    observations, infos = envs.reset(seed=3)
    expected, told = one.reset(seed=4)
    died = False
    while True:
        for name in one.possible_agents:
            assert observations[name].shape == (2, *envs.single_observation_spaces[name].shape)
            if name in expected:
                assert observations[name][1].tolist() == expected[name].tolist()
                assert {key: infos[name][key][1] for key in told[name]} == told[name]
        if not one.agents:
            break
        observations, rewards, over, truncations, infos = envs.step({"agent_3": np.ones((2, 1), np.float32)})
        expected, gains, ends, cuts, told = one.step({"agent_3": [1.0]})
        died = died or over["agent_3"].all()
        for name, gain in gains.items():
            assert (rewards[name][1], over[name][1], truncations[name][1]) == (gain, ends[name], cuts[name])
    envs.close()
    assert died
    assert one.core.last.truncated


def test_masks_and_mixed_actions_travel() -> None:
    """Observations with masks and actions in two parts, in their own spaces.  (And whoever lets go of a vectorised
    environment without `close` leaves nothing behind either: this test does.)"""
    choices = [{"name": "charge", "set": {"bat1.p_set_kw": -50}}, {"name": "wait"}]
    masks = [{"choices": ["charge"], "closed_when": {"point": "bat1.soc", "above": 0.51}}]
    masked = learner(1, learn={"act": {"choices": choices, "masks": masks}})
    mixed = learner(2, actuate=["bat2.p_set_kw", "bat2.q_set_kvar"],
                    learn={"act": {"levels": {"bat2.q_set_kvar": 3}, "range": {"bat2.q_set_kvar": [-30, 30]}}})
    envs = vector_parallel_env(loaded(masked, mixed), 2, options=VectorOptions(processes=1, env=SHORT))
    observations, _ = envs.reset(seed=1)
    assert observations["agent_1"] in envs.observation_spaces["agent_1"]
    assert observations["agent_1"]["action_mask"].tolist() == [[1, 1], [1, 1]]
    actions = {name: space.sample() for name, space in envs.action_spaces.items()}
    actions["agent_1"] = np.array([0, 1])
    for _ in range(3):
        observations, *_ = envs.step(actions)
    assert observations["agent_1"]["action_mask"].tolist() == [[0, 1], [1, 1]]
    assert observations["agent_1"] in envs.observation_spaces["agent_1"]


def test_a_process_that_dies_is_named_and_everything_is_closed() -> None:
    """The call that notices says which environments it had; the next says that all is closed."""
    envs = vector_env(loaded(), 3, "agent_1", options=VectorOptions(processes=2, env=SHORT))
    envs.reset(seed=1)
    victim = next(child for child in active_children() if child.name == "environments 0, 2")
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(GridloopError, match=r"vector_env environments 0, 2: its process ended with exit code -9"):
        envs.step(np.zeros((3, 1), np.float32))
    with pytest.raises(GridloopError, match="vector_env is closed"):
        envs.reset()
    envs.close()


def test_an_interrupted_call_closes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody waited for would pass for that of the next call."""
    envs = vector_env(loaded(), 2, "agent_1", options=VectorOptions(processes=1, env=SHORT))
    envs.reset(seed=1)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cosim.env.workers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        envs.step(np.zeros((2, 1), np.float32))
    monkeypatch.undo()
    with pytest.raises(GridloopError, match="vector_env is closed"):
        envs.step(np.zeros((2, 1), np.float32))
    envs.close()


def test_seeds_are_looked_at_before_they_are_sent() -> None:
    """One bad seed is refused, and nothing is closed for it; arrays of whole numbers are as good as lists.

    A step before the first reset is refused too.
    """
    with closing(vector_env(loaded(), 2, "agent_1", options=VectorOptions(processes=1, env=SHORT))) as envs:
        with pytest.raises(GridloopError, match=r"^no episode has begun; call reset\(\)$"):
            envs.step(np.zeros((2, 1)))
        seen, _ = envs.reset(seed=[5, 6])
        for bad in ([1, -2], [1, 1.5], np.array([1.0, 2.0]), -1, 2.5, "ab"):
            with pytest.raises(GridloopError, match="expected a whole number from 0 on"):
                envs.reset(seed=bad)
        for good in (np.array([5, 6]), np.int64(5), 5):
            assert envs.reset(seed=good)[0].tolist() == seen.tolist()
        for bad, found in (("abc", "'abc'"), ([["x"], ["y"]], r"\[\['x'\]")):
            with pytest.raises(GridloopError, match=f"actions of agent 'agent_1': found {found}.* expected 2 elements"):
                envs.step(bad)
    with closing(vector_parallel_env(loaded(), 1, "agent_1", options=VectorOptions(processes=1, env=SHORT))) as many:
        with pytest.raises(GridloopError, match="expected a mapping of agents' names to actions"):
            many.step(["agent_1"])
        assert list(many.reset(seed=np.array([1]))[0]) == ["agent_1"]


def test_what_a_process_refuses_reaches_its_owner() -> None:
    """An error inside is raised outside, with the environment's number, and closes everything."""
    envs = vector_env(loaded(learner(1, offset_s=30)), 1, options=VectorOptions(env=SHORT))
    with pytest.raises(GridloopError, match=r"vector_env environment 0: nobody has a decision in an episode of 20 s"):
        envs.reset(seed=1)


def test_who_does_not_answer_in_time_is_given_up() -> None:
    """Processes that are not ready within `timeout_s` are ended."""
    with pytest.raises(GridloopError, match=r"vector_env environment 0: no answer within 0.001 s"):
        vector_env(loaded(), 1, "agent_1", options=VectorOptions(timeout_s=0.001, env=SHORT))


def test_what_the_owner_refuses_starts_nothing() -> None:
    """Wrong numbers and modes."""
    for n in (0, 5_000):
        with pytest.raises(GridloopError, match=f"vector_env: {n} environments; expected 1 to 4096"):
            vector_env(loaded(), n, "agent_1")
    for processes in (0, -1):
        with pytest.raises(GridloopError, match=f"vector_env: {processes} processes; expected 1 or more, or None"):
            vector_env(loaded(), 2, "agent_1", options=VectorOptions(processes=processes))
    with pytest.raises(GridloopError, match="expected one of: NextStep, SameStep"):
        vector_env(loaded(), 2, "agent_1", options=VectorOptions(autoreset=AutoresetMode.DISABLED))


def test_plugins_of_this_process_alone_are_refused() -> None:
    """Whoever registered a term by hand hears that other processes cannot know it; unused it is no harm."""
    registry = Registry()
    plain = registry.get("term", "sum")

    class Mine(plain):  # type: ignore[misc]  # made from what the registry holds
        kind = "mine"

        class Config(plain.Config):  # type: ignore[misc]
            kind: str = "mine"

    registry.add(Mine, origin="here")
    for term, fits in (({**LOSSES, "kind": "mine"}, False), (LOSSES, True)):
        text = loaded(learner(1), learning={"reward": [term]} if fits else {"reward": [LOSSES]}).text
        text = text if fits else text.replace("kind: sum", "kind: mine")
        scenario = load_text(text, path=Path("three.yaml"), registry=registry)
        if fits:
            with closing(vector_env(scenario, 1, options=VectorOptions(env=SHORT))) as envs:
                envs.reset(seed=1)
            continue
        with pytest.raises(GridloopError, match=r"needs plugins that only this process knows \(term 'mine'\)"):
            vector_env(scenario, 1, options=VectorOptions(env=SHORT))


def test_each_environment_records_its_own_episodes(tmp_path: Path) -> None:
    """In a folder of its own, finished by `close`; they replay.  What has the wrong shape is refused before."""
    options = VectorOptions(processes=1, env=EnvOptions(duration_s=10, record=tmp_path))
    envs = vector_env(loaded(), 2, "agent_1", options=options)
    with pytest.raises(GridloopError, match="1 seeds for 2 environments"):
        envs.reset(seed=[1])
    envs.reset(seed=1)
    with pytest.raises(GridloopError, match=r"actions of shape \(3, 1\); expected 2 rows of 1 in all"):
        envs.step(np.zeros((3, 1)))
    envs.step(np.ones((2, 1)))
    envs.close()
    envs.close()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["env-0000", "env-0001"]
    assert replay(tmp_path / "env-0001" / "episode-000000").same
