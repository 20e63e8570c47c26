"""One agent of the scenario as a Gymnasium environment; all others keep the scenario's policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium

from cosim.env.episodes import whole_seed
from cosim.env.event import Decision, EnvOptions, EventEnv
from cosim.env.faces import View, begun, row_for
from cosim.errors import GridloopError
from cosim.scenario.loader import LoadedScenario


class GridSingleEnv(View, gymnasium.Env[Any, Any]):
    """`EventEnv` with one learner as `gymnasium.Env`: a step is from one of its decisions to the next.

    Steps last as long as they last (``dt`` in infos); `cosim.env.faces` says what else is in infos.
    """

    def __init__(self, core: EventEnv, *, explain: bool = True, render_mode: str | None = None) -> None:
        if len(core.names) != 1:
            raise GridloopError(f"single_agent takes one learner; scenario '{core.loaded.scenario.name}' has "
                                f"{len(core.names)}: name one of {', '.join(core.names)}")
        self._take_on(core, render_mode, explain=explain)
        self.agent = core.names[0]
        self.observation_space = self._faces.observation_spaces[self.agent]
        self.action_space = self._faces.action_spaces[self.agent]

    def reset(self, *, seed: int | None = None,
              options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and run to the agent's first decision; raises GridloopError when there is none in it, and
        for a seed that is none."""
        seed = None if seed is None else whole_seed(seed)
        super().reset(seed=seed, options=dict(options or {}))
        decision = begun(self.core, seed)
        return self._seen(decision), self._info(decision)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The agent's action, and what came of it by its next decision (or the end).

        Raises GridloopError for an action of another size, and after the end.
        """
        decision = self.core.step({0: row_for(self.core, 0, action)})
        over = bool(decision.terminated[0])
        return (self._seen(decision), float(decision.reward[0]), over, decision.truncated and not over,
                self._info(decision))

    def _seen(self, decision: Decision) -> Any:
        return self._faces.observation(decision.observation, 0, self._faces.places[0][2])

    def _info(self, decision: Decision) -> dict[str, Any]:
        return self._faces.infos(decision, self._faces.places)[self.agent]


def single_agent(scenario: str | Path | LoadedScenario, agent: str | None = None, overrides: Sequence[str] = (),
                 options: EnvOptions | None = None, *, explain: bool = True,
                 render_mode: str | None = None) -> GridSingleEnv:
    """One agent (the only learner, where there is one) as a Gymnasium environment; see `EventEnv` for what it may
    refuse."""
    core = EventEnv(scenario, None if agent is None else (agent,), overrides, options)
    return GridSingleEnv(core, explain=explain, render_mode=render_mode)
