"""The scenario as a PettingZoo parallel environment: all live agents at every step, whoever is due.

Asynchrony is not flattened: a step is a decision instant.  Its observations and infos say who is due, how long ago each
agent decided and how old what it sees is; actions of agents that are not due are held (nothing is sent for them);
rewards come with an agent's own next decision, 0 in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces
from pettingzoo import ParallelEnv

from cosim.env.event import EnvOptions, EventEnv
from cosim.env.faces import JointView, Place, require_begun
from cosim.env.spaces import side_by_side
from cosim.scenario.loader import LoadedScenario

Step = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]


class GridParallelEnv(JointView, ParallelEnv[str, Any, Any]):  # type: ignore[misc]  # PettingZoo has no types
    """`EventEnv` as `pettingzoo.ParallelEnv`; `cosim.env.faces` says what is in infos."""

    def __init__(self, core: EventEnv, *, explain: bool = True, render_mode: str | None = None) -> None:
        self._take_on(core, render_mode, explain=explain)
        self.possible_agents = list(core.names)
        self.agents: list[str] = []
        self.observation_spaces, self.action_spaces = self._faces.observation_spaces, self._faces.action_spaces
        self.state_space = side_by_side(core.specs)
        self._live: tuple[Place, ...] = ()

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
        shown = tuple(place for place in self._faces.places if not decision.terminated[place[1]])
        self._live = () if decision.ended else shown
        self.agents = [name for name, _, _ in self._live]
        return self._faces.observations(decision, shown), self._faces.infos(decision, shown)

    def step(self, actions: Mapping[str, Any]) -> Step:
        """Carry out the actions of those that are due, and run to the next decision instant.

        Raises GridloopError before the first reset, for a name that is no learner's and for an action of another size.
        """
        live = self._live
        if not live:
            require_begun(self.core)
            return {}, {}, {}, {}, {}
        decision = self.core.step(self._faces.rows(actions))
        reward, over, truncated = decision.reward.tolist(), decision.terminated.tolist(), decision.truncated
        rewards = {name: reward[i] for name, i, _ in live}
        terminations = {name: over[i] for name, i, _ in live}
        truncations = {name: truncated and not over[i] for name, i, _ in live}
        if decision.ended:
            self._live, self.agents = (), []
        elif any(over):
            self._live = tuple(place for place in live if not over[place[1]])
            self.agents = [name for name, _, _ in self._live]
        return (self._faces.observations(decision, live), rewards, terminations, truncations,
                self._faces.infos(decision, live))


def parallel_env(scenario: str | Path | LoadedScenario, agents: Sequence[str] | None = None,
                 overrides: Sequence[str] = (), options: EnvOptions | None = None, *, explain: bool = True,
                 render_mode: str | None = None) -> GridParallelEnv:
    """A scenario (name, file or loaded) as a PettingZoo parallel environment; see `EventEnv` for what it may refuse."""
    return GridParallelEnv(EventEnv(scenario, agents, overrides, options), explain=explain, render_mode=render_mode)
