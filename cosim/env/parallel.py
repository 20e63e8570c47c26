"""The scenario as a PettingZoo parallel environment: all live agents at every step, whoever is due.

Asynchrony is not flattened: a step is a decision instant.  Its observations and infos say who is due, how long ago each
agent decided and how old what it sees is; actions of agents that are not due are held (nothing is sent for them);
rewards come with an agent's own next decision, 0 in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from cosim.env.event import Decision, EnvOptions, EventEnv
from cosim.env.spaces import action_space, observation_space, row_of
from cosim.scenario.loader import LoadedScenario


class GridParallelEnv(ParallelEnv):  # type: ignore[misc]  # PettingZoo ships no types
    """`EventEnv` as `pettingzoo.ParallelEnv`.

    Infos: ``due`` (bool), ``dt`` and ``age`` (s), ``cost`` (by name); with `explain`, ``terms`` (the reward's parts).
    """

    def __init__(self, core: EventEnv, *, explain: bool = True, render_mode: str | None = None) -> None:
        self.core = core
        self.metadata = {"name": f"gridloop/{core.loaded.scenario.name}", "is_parallelizable": True,
                         "render_modes": ["human", "ansi", "rgb_array"]}
        self.render_mode = render_mode
        self.possible_agents = list(core.names)
        self.agents: list[str] = []
        self._explain = explain
        self._masked = [bool(agent.learn.act.masks) for agent in core.agents]
        self.observation_spaces = {name: observation_space(spec, masked=masked) for name, spec, masked in zip(
            core.names, core.specs, self._masked, strict=True)}
        self.action_spaces = {name: action_space(spec.action) for name, spec in zip(core.names, core.specs,
                                                                                   strict=True)}
        self._kinds = {name: spec.action for name, spec in zip(core.names, core.specs, strict=True)}
        self._places = tuple(zip(core.names, range(len(core.names)), core.encoder.slices, strict=True))

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The same object each time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The same object each time."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:  # noqa: ARG002  # PettingZoo's interface
        """Begin an episode; observations and infos of everyone."""
        decision = self.core.reset(seed)
        self.agents = list(self.possible_agents)
        live = [(name, i, part) for name, i, part in self._places if not decision.terminated[i]]
        if decision.ended:
            self.agents = []
        return self._observations(decision, live), self._infos(decision, live)

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool],
                                                        dict[str, bool], dict[str, dict[str, Any]]]:
        """Carry out the actions of those that are due, and run to the next decision instant."""
        live = self.agents
        if not live:
            return {}, {}, {}, {}, {}
        decision = self.core.step({name: row_of(self._kinds[name], action) for name, action in actions.items()})
        there = [place for place in self._places if place[0] in live] if len(live) < len(self._places) else self._places
        reward = decision.reward.tolist()
        over = decision.terminated.tolist()
        rewards = {name: reward[i] for name, i, _ in there}
        terminations = {name: over[i] for name, i, _ in there}
        truncations = {name: decision.truncated and not over[i] for name, i, _ in there}
        if decision.ended:
            self.agents = []
        elif any(over):
            self.agents = [name for name, i, _ in there if not over[i]]
        return (self._observations(decision, there), rewards, terminations, truncations,
                self._infos(decision, there))

    def _observations(self, decision: Decision, there: Sequence[tuple[str, int, slice]]) -> dict[str, Any]:
        flat = decision.observation
        if not any(self._masked):
            return {name: flat[part] for name, _, part in there}
        return {name: {"observation": flat[part], "action_mask": self._mask(i)} if self._masked[i] else flat[part]
                for name, i, part in there}

    def _mask(self, index: int) -> NDArray[np.int8]:
        masks = self.core.masks(index)
        assert masks is not None
        return np.concatenate(masks).astype(np.int8)

    def _infos(self, decision: Decision, there: Sequence[tuple[str, int, slice]]) -> dict[str, dict[str, Any]]:
        due, dt_s, age_s = decision.due.tolist(), decision.dt_s.tolist(), decision.age_s.tolist()
        infos: dict[str, dict[str, Any]] = {
            name: {"due": due[i], "dt": dt_s[i], "age": age_s[i]} for name, i, _ in there}
        costs = self.core.cost_names
        for name, i, _ in there:
            if costs:
                infos[name]["cost"] = dict(zip(costs, decision.cost[i].tolist(), strict=True))
            if self._explain and (due[i] or decision.ended):
                infos[name]["terms"] = self.core.breakdown(i)
        return infos

    def state(self) -> NDArray[np.float32]:
        """What all learners see, side by side (for a centralised critic)."""
        return self.core.last.observation

    def render(self) -> Any:
        """The grid now: text (``ansi``, ``human``) or a picture (``rgb_array``)."""
        from cosim.env.rendering import picture, text

        if self.render_mode == "rgb_array":
            return picture(self.core)
        shown = text(self.core)
        if self.render_mode == "human":
            print(shown)  # noqa: T201  # what human mode means
            return None
        return shown

    def close(self) -> None:
        """Finish the record, if there is one."""
        self.core.close()


def parallel_env(scenario: str | Path | LoadedScenario, agents: Sequence[str] | None = None,
                 overrides: Sequence[str] = (), options: EnvOptions | None = None, *, explain: bool = True,
                 render_mode: str | None = None) -> GridParallelEnv:
    """A scenario (name, file or loaded) as a PettingZoo parallel environment; see `EventEnv` for what it may refuse."""
    return GridParallelEnv(EventEnv(scenario, agents, overrides, options), explain=explain, render_mode=render_mode)
