"""The scenario as a Ray RLlib multi-agent environment: only those that are due are in the observations.

RLlib asks for an action of everyone in the observations, so an agent appears when it is due and not otherwise.  A
reward is the integral since its own last decision.  Who dies gets its last observation and reward then; at the end
(truncation included) everyone who has been asked for an action does.  Ray is imported when the first such environment
is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from gymnasium import spaces

from cosim.env.event import Decision, EnvOptions, EventEnv
from cosim.env.faces import Place, View, begun
from cosim.errors import GridloopError
from cosim.scenario.loader import LoadedScenario

Step = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]

_ALL = "__all__"


class DueAgents(View):
    """What RLlib's `MultiAgentEnv` has to do, without its base class (see `rllib_class`)."""

    def __init__(self, core: EventEnv, *, explain: bool = True, render_mode: str | None = None) -> None:
        super().__init__()
        self._take_on(core, render_mode, explain=explain)
        self.possible_agents = list(core.names)
        self.agents: list[str] = []
        self.observation_spaces, self.action_spaces = self._faces.observation_spaces, self._faces.action_spaces
        self._shown: list[bool] = []
        self._gone: list[bool] = []

    def get_observation_space(self, agent_id: str) -> spaces.Space[Any]:
        """The space of one agent."""
        return self.observation_spaces[agent_id]

    def get_action_space(self, agent_id: str) -> spaces.Space[Any]:
        """The space of one agent."""
        return self.action_spaces[agent_id]

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:  # noqa: ARG002  # RLlib's interface
        """Begin an episode; observations and infos of those that are due.

        Raises GridloopError when nobody decides before its end.
        """
        decision = begun(self.core, seed)
        self._gone = decision.terminated.tolist()
        self.agents = [name for name, i, _ in self._faces.places if not self._gone[i]]
        self._shown = [False] * len(self.possible_agents)
        places = self._told(decision)
        return self._faces.observations(decision, places), self._faces.infos(decision, places)

    def step(self, action_dict: Mapping[str, Any]) -> Step:
        """Carry out the actions of those that are due, and run to the next decision instant."""
        decision = self.core.step(self._faces.rows(action_dict))
        while not (self._told(decision) or decision.ended):
            decision = self.core.advance()
        places = self._told(decision)
        over, reward = decision.terminated.tolist(), decision.reward.tolist()
        rewards = {name: reward[i] for name, i, _ in places}
        terminateds = {name: over[i] for name, i, _ in places}
        truncateds = {name: decision.truncated and not over[i] for name, i, _ in places}
        all_over = all(over)
        terminateds[_ALL], truncateds[_ALL] = all_over, decision.truncated and not all_over
        answer = (self._faces.observations(decision, places), rewards, terminateds, truncateds,
                  self._faces.infos(decision, places))
        self._gone = over
        self.agents = [] if decision.ended else [name for name, i, _ in self._faces.places if not over[i]]
        return answer

    def _told(self, decision: Decision) -> list[Place]:
        """Who hears of a decision; those that are due have been shown something from now on."""
        found = []
        for place in self._faces.places:
            i = place[1]
            last = (decision.ended or bool(decision.terminated[i])) and not self._gone[i] and self._shown[i]
            if decision.due[i] or last:
                self._shown[i] = True
                found.append(place)
        return found


@cache
def rllib_class() -> type[Any]:
    """`DueAgents` as a subclass of Ray's `MultiAgentEnv`; raises GridloopError where Ray is not installed."""
    try:
        base = import_module("ray.rllib.env.multi_agent_env").MultiAgentEnv
    except ImportError as error:
        raise GridloopError(f"rllib_env needs Ray: pip install 'ray[rllib]' ({error})") from None
    return type("GridMultiAgentEnv", (DueAgents, base), {"__doc__": DueAgents.__doc__, "__module__": __name__})


def rllib_env(scenario: str | Path | LoadedScenario, agents: Sequence[str] | None = None,
              overrides: Sequence[str] = (), options: EnvOptions | None = None, *, explain: bool = True,
              render_mode: str | None = None) -> Any:
    """A scenario (name, file or loaded) as a `ray.rllib` `MultiAgentEnv`; see `EventEnv` for what it may refuse.

    Register it with ``register_env(name, lambda config: rllib_env(**config))``.
    """
    made = rllib_class()
    return made(EventEnv(scenario, agents, overrides, options), explain=explain, render_mode=render_mode)
