"""The environments in the hands of TorchRL, Stable-Baselines3, RLlib and a loop in CleanRL's style."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="PettingZoo is not installed (pip install .[env])")

from cosim.env import EnvOptions, VectorOptions, parallel_env, rllib_env, single_agent, vector_env
from tests.cosim.env.worlds import LOSSES, learner, loaded

SHORT = EnvOptions(duration_s=20)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Other packages' own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_torchrl_rolls_out() -> None:
    """PettingZooWrapper: observations, actions, rewards and infos of groups, over asynchronous agents and a death."""
    pytest.importorskip("torchrl", reason="TorchRL is not installed (pip install .[rl])")
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper

    dying = learner(2, period_s=7, learn={"dies_when": [{"point": "bat2.soc", "below": 0.4}]})
    costs = [{"kind": "voltage", "name": "low", "low": 1.0}]
    env = PettingZooWrapper(parallel_env(loaded(learner(1), dying, learning={"reward": [LOSSES], "costs": costs}),
                                         options=SHORT), use_mask=True, return_state=True, seed=1)
    found = env.rollout(50, break_when_any_done=False, break_when_all_done=True)
    agents = found["next", "agent"]
    assert agents["reward"].shape[1:] == (2, 1)
    assert agents["reward"].sum() < 0
    assert agents["info", "cost.low"].sum() > 0
    assert found["state"].shape[-1] == env.observation_spec["state"].shape[0]
    env.close()


def test_stable_baselines_learns() -> None:
    """PPO on one agent, checked by Stable-Baselines3's own checker first."""
    stable = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    from stable_baselines3.common.env_checker import check_env

    env = single_agent(loaded(), "agent_1", options=SHORT)
    check_env(env)
    model = stable.PPO("MlpPolicy", env, n_steps=32, batch_size=32, n_epochs=1, device="cpu", seed=1)
    model.learn(64)
    assert model.num_timesteps == 64
    action, _ = model.predict(env.reset(seed=1)[0], deterministic=True)
    assert action in env.action_space


def as_vec_env(env: Any) -> Any:  # noqa: C901  # a class of another package has to be had first
    """A parallel environment of agents alike as Stable-Baselines3's VecEnv: an agent a row, one policy for all."""
    from stable_baselines3.common.vec_env import VecEnv

    class Together(VecEnv):
        def __init__(self) -> None:
            self._names = env.possible_agents
            first = self._names[0]
            self.render_mode = None
            super().__init__(len(self._names), env.observation_space(first), env.action_space(first))

        def reset(self) -> Any:
            return self._rows(env.reset()[0])

        def _rows(self, by_name: dict[str, Any]) -> Any:
            return np.stack([by_name[name] for name in self._names])

        def step_async(self, actions: Any) -> None:
            self._actions = dict(zip(self._names, actions, strict=True))

        def step_wait(self) -> Any:
            seen, rewards, over, truncated, infos = env.step(self._actions)
            seen, told = self._rows(seen), [infos[name] for name in self._names]
            done = np.array([over[name] or truncated[name] for name in self._names])
            if done.all():
                for info, row in zip(told, seen, strict=True):
                    info["terminal_observation"] = row
                seen = self.reset()
            return seen, self._rows(rewards).astype(np.float32), done, told

        def close(self) -> None:
            env.close()

        def get_attr(self, name: str, indices: Any = None) -> list[Any]:
            return [getattr(self, name)] * self.num_envs

        def set_attr(self, name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError

        def env_method(self, name: str, *args: Any, **options: Any) -> list[Any]:
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * self.num_envs

    return Together()


def test_stable_baselines_learns_agents_alike_together() -> None:
    """One policy for all rows of a parallel environment, without SuperSuit."""
    stable = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    vec = as_vec_env(parallel_env(loaded(), options=SHORT, explain=False))
    model = stable.PPO("MlpPolicy", vec, n_steps=8, batch_size=24, n_epochs=1, device="cpu", seed=1)
    model.learn(48)
    assert model.num_timesteps == 48


def test_a_loop_in_cleanrls_style() -> None:
    """Actor-critic over vector_env with torch: two environments, rollouts over episodes' ends, one update each."""
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")
    torch.manual_seed(1)
    envs = vector_env(loaded(), 2, "agent_1", options=VectorOptions(processes=1, env=SHORT))
    size = envs.single_observation_space.shape[0]
    actor, critic = (torch.nn.Sequential(torch.nn.Linear(size, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
                     for _ in range(2))
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-2)
    before = [weight.clone() for weight in actor.parameters()]
    observation, _ = envs.reset(seed=1)
    losses, cuts = [], 0
    for _ in range(2):
        logs, values, rewards, alive = [], [], [], []
        for _ in range(6):
            seen = torch.as_tensor(observation)
            choice = torch.distributions.Normal(actor(seen), 0.5)
            action = choice.sample()
            observation, reward, over, truncated, _ = envs.step(action.clamp(-1, 1).numpy())
            logs.append(choice.log_prob(action).sum(1))
            values.append(critic(seen)[:, 0])
            rewards.append(torch.as_tensor(reward, dtype=torch.float32))
            alive.append(torch.as_tensor(~(over | truncated), dtype=torch.float32))
            cuts += int(truncated.sum())
        back = critic(torch.as_tensor(observation))[:, 0].detach()
        loss = torch.zeros(())
        for log, value, reward, lives in reversed(list(zip(logs, values, rewards, alive, strict=True))):
            back = reward + 0.95 * lives * back
            advantage = back - value
            loss = loss - (log * advantage.detach()).mean() + advantage.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    envs.close()
    assert np.isfinite(losses).all()
    assert cuts >= 4
    assert any(not torch.equal(old, new) for old, new in zip(before, actor.parameters(), strict=True))


def test_rllib_samples() -> None:
    """Ray's own checks of a multi-agent environment, and an episode of its runner."""
    pytest.importorskip("ray.rllib", reason="Ray is not installed (pip install 'ray[rllib]')")
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.env.multi_agent_env import MultiAgentEnv
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    agents = (learner(1), learner(2, period_s=7))
    assert isinstance(rllib_env(loaded(*agents)), MultiAgentEnv)
    config = (PPOConfig().environment(rllib_env_class(agents))
              .env_runners(num_envs_per_env_runner=1, batch_mode="complete_episodes")
              .multi_agent(policies={"agent_1", "agent_2"}, policy_mapping_fn=lambda name, *_, **__: name))
    runner = MultiAgentEnvRunner(config=config)
    episodes = runner.sample(num_episodes=2, random_actions=True)
    for episode in episodes:
        lengths = {name: len(each) for name, each in episode.agent_episodes.items()}
        assert lengths == {"agent_1": 4, "agent_2": 3}
        assert episode.is_truncated
    runner.stop()


def rllib_env_class(agents: Any) -> Any:
    """What RLlib calls with its configuration."""
    from ray.tune.registry import register_env

    register_env("gridloop", lambda config: rllib_env(loaded(*agents), options=SHORT))
    return "gridloop"
