"""Many copies of a scenario at once, in worker processes: arrays with a row for each environment.

Every environment steps from decision to decision by its own time; rows are not at the same instant.  With
`gymnasium.vector.AutoresetMode.NEXT_STEP` (the default) the step after an episode's end begins the next episode: its
action is not carried out and its reward is 0.  With ``SAME_STEP`` the step that ends an episode begins the next one:
the observation is the new one, and the old one is in infos (``final_obs``; ``final_info``: all else there was).

Environment `i` of a reset with ``seed=s`` runs with seed ``s + i`` (at first without one: the scenario's); nothing
depends on how processes are scheduled.
Processes are spawned: a script needs ``if __name__ == "__main__":``.  `close` ends them and removes what they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cosim.env.decision import NOT_BEGUN
from cosim.env.episodes import whole_seed
from cosim.env.event import EnvOptions, EventEnv
from cosim.env.faces import Faces, metadata, require_named
from cosim.env.slots import Records, mask_counts, parts
from cosim.env.spaces import rows_of
from cosim.env.workers import Plan, Workers
from cosim.errors import GridloopError
from cosim.scenario.loader import LoadedScenario

Bools = NDArray[np.bool_]
#: One for all (environment `i` gets the `i`-th after it), one for each, or None.
Seeds = int | Sequence[int | None] | NDArray[np.integer[Any]] | None
MultiStep = tuple[dict[str, Any], dict[str, Any], dict[str, Bools], dict[str, Bools], dict[str, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class VectorOptions:
    """How many environments run: `processes` (None: one a core, at most one an environment), `autoreset` as above,
    `timeout_s` for the slowest answer; `env` are the options of each environment."""

    processes: int | None = None
    autoreset: AutoresetMode = AutoresetMode.NEXT_STEP
    explain: bool = True
    timeout_s: float = 600.0
    env: EnvOptions = field(default_factory=EnvOptions)


class _Rows:
    """The learners of all environments as arrays; what both kinds of vectorised environment share."""

    def __init__(self, core: EventEnv, n: int, options: VectorOptions) -> None:
        modes = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
        if options.autoreset not in modes:
            raise GridloopError(f"vector_env: autoreset {options.autoreset} is not supported; expected one of: "
                                f"{', '.join(mode.value for mode in modes)}")
        self.n, self.faces = n, Faces(core, explain=options.explain)
        self.specs = core.specs
        self._seed, self._has_begun = core.loaded.scenario.seed, False
        self._masks, self._widths = parts(mask_counts(self.faces)), parts([s.action.width for s in core.specs])
        plan = Plan.of(core, explain=options.explain, same_step=options.autoreset is AutoresetMode.SAME_STEP)
        self.workers = Workers(plan, self.faces, n, options.processes, options.timeout_s)

    def reset(self, seed: Seeds) -> Records:
        """The records after a reset everywhere."""
        if seed is None and not self._has_begun:
            seed = self._seed  # each its own from the first: copies of one episode are worth one
        seeds = self._seeds(seed)
        self._has_begun = True
        self.workers.reset(seeds)
        return self.workers.records

    def _seeds(self, seed: Seeds) -> list[int | None]:
        """A seed for each environment; raises GridloopError, before anything is sent, for one that is none."""
        if isinstance(seed, np.ndarray) and seed.ndim:
            seed = seed.tolist()
        if isinstance(seed, Sequence):
            seeds = [None if one is None else whole_seed(one) for one in seed]
        else:
            seeds = [None if seed is None else whole_seed(seed) + i for i in range(self.n)]
        if len(seeds) != self.n:
            raise GridloopError(f"vector_env: {len(seeds)} seeds for {self.n} environments")
        return seeds

    def step(self, actions: Mapping[int, Any]) -> Records:
        """The records after a step with actions (n, …) by index of the learner; GridloopError before any reset."""
        if not self._has_begun:
            raise GridloopError(NOT_BEGUN)
        records = self.workers.records
        if len(records):
            records["given"] = False
        for i, action in actions.items():
            rows = self._rows_for(i, action)
            if len(records):
                records["rows"][:, self._widths[i]] = rows
                records["given"][:, i] = True
        self.workers.step()
        return records

    def _rows_for(self, index: int, action: Any) -> NDArray[np.float64]:
        """Rows (n, width) of a learner's actions; raises GridloopError for what are none."""
        try:
            return rows_of(self.specs[index].action, action, self.n)
        except (LookupError, TypeError, ValueError):
            raise GridloopError(f"vector_env: actions of agent '{self.faces.core.names[index]}': found {action!r:.60}; "
                                f"expected {self.n} elements of its action space side by side") from None

    def observation(self, shots: Records, index: int) -> Any:
        """What a learner sees everywhere: (n, size), a copy; a dictionary with its masks."""
        seen = shots["observation"][:, self.faces.places[index][2]].copy()
        if not self.faces.masked[index]:
            return seen
        return {"observation": seen, "action_mask": shots["mask"][:, self._masks[index]].copy()}

    def info(self, shots: Records, index: int) -> dict[str, Any]:
        """Infos of a learner everywhere, (n,) each."""
        info = {"due": shots["due"][:, index].copy(), "dt": shots["dt"][:, index].copy(),
                "age": shots["age"][:, index].copy()}
        for k, key in enumerate(self.faces.cost_keys):
            info[key] = shots["cost"][:, index, k].copy()
        for k, key in self.faces.term_places(index):
            info[key] = shots["terms"][:, k].copy()
        return info


def _outcome(records: Records) -> Records:
    """What the step came to: the final state where a new episode has begun since."""
    renewed = records["renewed"]
    return np.where(renewed, records["final"], records["now"]) if renewed.any() else records["now"]


class GridVectorEnv(VectorEnv[Any, Any, Any]):
    """Copies of a scenario with one learner, as `gymnasium.vector.VectorEnv`."""

    def __init__(self, core: EventEnv, n: int, options: VectorOptions) -> None:
        if len(core.names) != 1:
            raise GridloopError(f"vector_env takes one learner; scenario '{core.loaded.scenario.name}' has "
                                f"{len(core.names)}: name one of {', '.join(core.names)}, or use vector_parallel_env")
        self._rows = _Rows(core, n, options)
        faces = self._rows.faces
        self.num_envs, self.agent = n, core.names[0]
        self.metadata = {**metadata(core), "autoreset_mode": options.autoreset}
        self.single_observation_space = faces.observation_spaces[self.agent]
        self.single_action_space = faces.action_spaces[self.agent]
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)

    def reset(self, *, seed: Seeds = None,
              options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode everywhere; with None the next of each.

        Raises GridloopError for a seed that is none; every environment stands where it stood then.
        """
        shots = self._rows.reset(seed)["now"]
        super().reset(seed=seed if isinstance(seed, int) else None, options=dict(options or {}))
        return self._rows.observation(shots, 0), _told(self._rows.info(shots, 0), np.ones(self.num_envs, bool))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Actions, an element of `action_space`; observations, rewards, terminations, truncations (n, …), infos.

        Raises GridloopError for actions of another shape, and when a process fails or ends.
        """
        records = self._rows.step({0: actions})
        shots, renewed = _outcome(records), records["renewed"].copy()
        over = shots["terminated"][:, 0].copy()
        infos = _told(self._rows.info(records["now"], 0), np.ones(self.num_envs, bool))
        if renewed.any():
            infos["final_info"], infos["_final_info"] = _told(self._rows.info(shots, 0), renewed), renewed
            infos["final_obs"], infos["_final_obs"] = self._final(shots, renewed), renewed.copy()
        return (self._rows.observation(records["now"], 0), shots["reward"][:, 0].copy(), over,
                shots["truncated"] & ~over, infos)

    def _final(self, shots: Records, renewed: Bools) -> Any:
        """Last observations as objects, None where there is none (Gymnasium's form)."""
        seen = self._rows.observation(shots, 0)
        final = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(renewed).tolist():
            final[i] = {key: value[i] for key, value in seen.items()} if isinstance(seen, dict) else seen[i]
        return final

    def close_extras(self, **_: Any) -> None:
        """End the processes."""
        self._rows.workers.close()


def _told(info: dict[str, Any], where: Bools) -> dict[str, Any]:
    """Infos with the marks that Gymnasium sets beside them: ``_key`` is true where an environment has it."""
    return {**info, **{f"_{key}": where.copy() for key in info}}


class GridVectorParallelEnv:
    """Copies of a scenario with several learners: dictionaries by agent, of arrays with a row for each environment.

    All agents are always there.  One that has died stays terminated until its environment's next episode, and what it
    is given is left out.
    """

    def __init__(self, core: EventEnv, n: int, options: VectorOptions) -> None:
        self._rows = _Rows(core, n, options)
        faces = self._rows.faces
        self.num_envs, self.possible_agents = n, list(core.names)
        self.metadata = {**metadata(core), "autoreset_mode": options.autoreset}
        self.single_observation_spaces, self.single_action_spaces = faces.observation_spaces, faces.action_spaces
        self.observation_spaces = {name: batch_space(space, n) for name, space in faces.observation_spaces.items()}
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            name: batch_space(space, n) for name, space in faces.action_spaces.items()}

    def reset(self, seed: Seeds = None) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begin an episode everywhere; with None the next of each.  Observations and infos by agent.

        Raises GridloopError for a seed that is none; every environment stands where it stood then.
        """
        shots = self._rows.reset(seed)["now"]
        return self._by_agent(shots)

    def step(self, actions: Mapping[str, Any]) -> MultiStep:
        """Actions (n, …) by agent; who is left out, or is not due in an environment, holds there.

        Raises GridloopError for an unknown agent, for actions of another shape, and when a process fails or ends.
        """
        known = {name: i for i, name in enumerate(self.possible_agents)}
        require_named(actions, known)
        records = self._rows.step({known[name]: action for name, action in actions.items()})
        shots, renewed = _outcome(records), records["renewed"].copy()
        observations, infos = self._by_agent(records["now"])
        rewards = {name: shots["reward"][:, i].copy() for name, i in known.items()}
        over = {name: shots["terminated"][:, i].copy() for name, i in known.items()}
        truncations = {name: shots["truncated"] & ~over[name] for name in known}
        if renewed.any():
            for name, i in known.items():
                infos[name] |= {"final_obs": self._rows.observation(shots, i), "_final_obs": renewed.copy(),
                                "final_info": self._rows.info(shots, i), "_final_info": renewed.copy()}
        return observations, rewards, over, truncations, infos

    def _by_agent(self, shots: Records) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        names = self.possible_agents
        return ({name: self._rows.observation(shots, i) for i, name in enumerate(names)},
                {name: self._rows.info(shots, i) for i, name in enumerate(names)})

    def close(self) -> None:
        """End the processes."""
        self._rows.workers.close()


def vector_env(scenario: str | Path | LoadedScenario, n: int, agent: str | None = None,
               overrides: Sequence[str] = (), options: VectorOptions | None = None) -> GridVectorEnv:
    """`n` copies of a scenario with one learner (`agent`; others keep their policies) in processes.

    Raises as `EventEnv`, and GridloopError when there are several learners or a process cannot be started.
    """
    options, agents = options or VectorOptions(), None if agent is None else (agent,)
    return GridVectorEnv(EventEnv(scenario, agents, overrides, options.env), n, options)


def vector_parallel_env(scenario: str | Path | LoadedScenario, n: int, agents: Sequence[str] | None = None,
                        overrides: Sequence[str] = (), options: VectorOptions | None = None) -> GridVectorParallelEnv:
    """`n` copies of a scenario with all its learners in processes; raises as `vector_env`."""
    options = options or VectorOptions()
    return GridVectorParallelEnv(EventEnv(scenario, agents, overrides, options.env), n, options)
