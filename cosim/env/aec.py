"""The scenario as a PettingZoo AEC environment: agents one after another, in the order of events.

At a decision instant those that are due come in the scenario's order; all of them see the same grid, and their actions
enter together once the last has decided.  Nobody comes who is not due: an agent with a period of a minute is selected
once a minute, one of a second sixty times as often.  A reward is the integral since the agent's own last decision, and
is there (`last`) when the agent comes again.  Who is over comes once more, for None, before anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces
from pettingzoo import AECEnv

from cosim.env.event import Decision, EnvOptions, EventEnv
from cosim.env.faces import JointView, require_begun, row_for
from cosim.env.spaces import side_by_side
from cosim.errors import GridloopError
from cosim.points import Vector
from cosim.scenario.loader import LoadedScenario


class GridAECEnv(JointView, AECEnv[str, Any, Any]):  # type: ignore[misc]  # PettingZoo has no types
    """`EventEnv` as `pettingzoo.AECEnv`; `cosim.env.faces` says what is in infos."""

    def __init__(self, core: EventEnv, *, explain: bool = True, render_mode: str | None = None) -> None:
        super().__init__()
        self._take_on(core, render_mode, explain=explain)
        self.possible_agents = list(core.names)
        self.agents: list[str] = []
        self.agent_selection = ""
        self.observation_spaces, self.action_spaces = self._faces.observation_spaces, self._faces.action_spaces
        self.state_space = side_by_side(core.specs)
        self._by_name = {place[0]: place for place in self._faces.places}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The same object each time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The same object each time."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002  # PettingZoo's interface
        """Begin an episode; the first agent that is due is selected."""
        decision = self.core.reset(seed)
        self.agents = [] if decision.ended else [name for name, i, _ in self._faces.places
                                                 if not decision.terminated[i]]
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self._skip_agent_selection: str | None = None
        self._show(decision)

    def step(self, action: Any) -> None:
        """The selected agent's action (None: hold; of one that is over, nothing else).

        Raises GridloopError before the first reset and, standing where it stood, for what is no action of its space.
        """
        if not self.agents:
            require_begun(self.core)
            return
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            if self.agents and not self._waiting and not self._someone_is_over():
                self._go_on()
            return
        if action is not None:
            self._rows[agent] = row_for(self.core, self._by_name[agent][1], action)
        self._cumulative_rewards[agent] = 0.0
        self._waiting.remove(agent)
        if self._waiting:
            self._clear_rewards()
            self.agent_selection = self._waiting[0]
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Everyone who was due has decided: run to where somebody is due again, or over."""
        decision = self.core.step(self._rows)
        self._show(decision)
        self._accumulate_rewards()
        if self._someone_is_over():
            self._deads_step_first()

    def _show(self, decision: Decision) -> None:
        """What stands in the dictionaries after a decision."""
        live = [self._by_name[name] for name in self.agents]
        over, reward = decision.terminated.tolist(), decision.reward.tolist()
        self.rewards = {name: reward[i] for name, i, _ in live}
        self.terminations = {name: over[i] for name, i, _ in live}
        self.truncations = {name: decision.truncated and not over[i] for name, i, _ in live}
        self.infos = self._faces.infos(decision, live)
        self._rows: dict[int | str, Vector] = {}
        self._waiting = [name for name, i, _ in live if decision.due[i]]
        if self.agents:
            self.agent_selection = self._waiting[0] if self._waiting else self.agents[0]

    def _someone_is_over(self) -> bool:
        return any(self.terminations[name] or self.truncations[name] for name in self.agents)

    def observe(self, agent: str) -> Any:
        """What the agent sees at this instant; raises GridloopError for a name that is no learner's."""
        if agent not in self._by_name:
            raise GridloopError(f"unknown agent '{agent}'; learners are: {', '.join(self.core.names)}")
        _, i, part = self._by_name[agent]
        return self._faces.observation(self.core.last.observation, i, part)


def aec_env(scenario: str | Path | LoadedScenario, agents: Sequence[str] | None = None,
            overrides: Sequence[str] = (), options: EnvOptions | None = None, *, explain: bool = True,
            render_mode: str | None = None) -> GridAECEnv:
    """A scenario (name, file or loaded) as a PettingZoo AEC environment; see `EventEnv` for what it may refuse."""
    return GridAECEnv(EventEnv(scenario, agents, overrides, options), explain=explain, render_mode=render_mode)
