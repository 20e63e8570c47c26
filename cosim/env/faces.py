"""What every view shows of learners: their spaces, observations, actions and infos, in one form.

Infos are flat and keep their keys from reset to the end (TorchRL and vectorised environments need that): ``due``
(bool), ``dt`` and ``age`` (s; infinite where nothing has been received yet), ``cost.<name>`` of each cost signal, and
with `explain` ``term.<name>`` of each term of the reward, weighted: they add up to it (before it is clipped, and
without ``end_reward``).  Costs and terms come when the reward does: with the agent's own next decision, or at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cosim.encoding.features import Encoded
from cosim.env.decision import NOT_BEGUN
from cosim.env.event import Decision, EventEnv
from cosim.env.spaces import action_space, observation_space, row_of
from cosim.errors import GridloopError
from cosim.points import Vector

#: A learner's name, its index, and its part of the flat observation.
Place = tuple[str, int, slice]

RENDER_MODES = ("human", "ansi", "rgb_array")


class Faces:
    """The learners of one `EventEnv` as spaces of Gymnasium and dictionaries by name."""

    def __init__(self, core: EventEnv, *, explain: bool = True) -> None:
        self.core = core
        self.masked = tuple(bool(agent.learn.act.masks) for agent in core.agents)
        self.places: tuple[Place, ...] = tuple(zip(core.names, range(len(core.names)), core.encoder.slices,
                                                   strict=True))
        self.observation_spaces: dict[str, spaces.Space[Any]] = {
            name: observation_space(core.specs[i], masked=self.masked[i]) for name, i, _ in self.places}
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            name: action_space(core.specs[i].action) for name, i, _ in self.places}
        self._any_mask = any(self.masked)
        self._mixed = tuple(spec.action.kind == "mixed" for spec in core.specs)
        self._bare: dict[str, Any] = {f"cost.{name}": 0.0 for name in core.cost_names}
        self.cost_keys = tuple(self._bare)
        self._terms: list[tuple[str, ...]] = [() for _ in core.names]
        self._starts = [0] * (len(core.names) + 1)
        if explain:
            self._name_terms()

    def _name_terms(self) -> None:
        """Keys of each learner's terms, and where each share of the meter is added up; equal names are one."""
        core = self.core
        keys: list[dict[str, None]] = [{} for _ in core.names]
        shares = [(agent, f"term.{name}") for agent, name in zip(core.term_agents.tolist(), core.term_names,
                                                                 strict=True)]
        is_cost = core.term_costs.tolist()
        for (agent, key), cost in zip(shares, is_cost, strict=True):
            if not cost:
                keys[agent][key] = None
        self._terms = [tuple(each) for each in keys]
        starts = np.concatenate(([0], np.cumsum([len(each) for each in keys]))).astype(np.int64)
        self._starts = [int(start) for start in starts]
        # What is a cost goes to a slot of its own, behind all others.
        self._slots = np.array([starts[-1] if cost else starts[agent] + self._terms[agent].index(key)
                                for (agent, key), cost in zip(shares, is_cost, strict=True)], np.int64)
        self._each_its_own = np.array_equal(self._slots, np.arange(starts[-1]))

    # -- observations and actions ----------------------------------------------------------------------------------

    def observations(self, decision: Decision, places: Sequence[Place]) -> dict[str, Any]:
        """What these learners see, elements of their spaces."""
        flat = decision.observation
        if not self._any_mask:
            return {name: flat[part] for name, _, part in places}
        return {name: self.observation(flat, i, part) for name, i, part in places}

    def observation(self, flat: Encoded, index: int, part: slice) -> Any:
        """What one learner sees."""
        return {"observation": flat[part], "action_mask": self.mask(index)} if self.masked[index] else flat[part]

    def mask(self, index: int) -> NDArray[np.int8]:
        """1 for every open choice of a learner that has masks."""
        masks = self.core.masks(index)
        assert masks is not None
        return np.concatenate(masks).astype(np.int8)

    def rows(self, actions: Any) -> dict[int | str, Any]:
        """Actions by name as rows by index, of those that are due; None holds.

        Raises GridloopError for a name that is no learner's and for what is no mapping.
        """
        core = self.core
        require_named(actions, self.action_spaces)
        rows: dict[int | str, Any] = {}
        names, mixed = core.names, self._mixed
        for i in core.due:
            action = actions.get(names[i])
            if action is not None:
                rows[i] = row_for(core, i, action) if mixed[i] else action
        return rows

    # -- infos -----------------------------------------------------------------------------------------------------

    def infos(self, decision: Decision, places: Sequence[Place]) -> dict[str, dict[str, Any]]:
        """Infos of these learners."""
        due, dt_s, age_s = decision.due.tolist(), decision.dt_s.tolist(), self.ages(decision)
        infos: dict[str, dict[str, Any]] = {name: {"due": due[i], "dt": dt_s[i], "age": age_s[i], **self._bare}
                                            for name, i, _ in places}
        if self.cost_keys:
            rows = decision.cost.tolist()
            for name, i, _ in places:
                infos[name].update(zip(self.cost_keys, rows[i], strict=True))
        if any(self._terms):
            values = self.term_values()
            for name, i, _ in places:
                infos[name].update(zip(self._terms[i], values[self._starts[i]:self._starts[i + 1]], strict=True))
        return infos

    @property
    def n_term(self) -> int:
        """Number of terms of all learners."""
        return self._starts[-1]

    def term_places(self, index: int) -> list[tuple[int, str]]:
        """Places of a learner's terms in `term_values`, and their keys."""
        return list(enumerate(self._terms[index], self._starts[index]))

    def ages(self, decision: Decision) -> list[float]:
        """Ages (n,) with infinity for NaN: it is equal to itself, as those who compare infos expect."""
        return [age_s if age_s == age_s else inf for age_s in decision.age_s.tolist()]

    def term_values(self) -> list[float]:
        """Weighted terms of the last reading, learner after learner, in the order of their keys."""
        n, weighted = self._starts[-1], self.core.weighted
        values: list[float]
        if self._each_its_own:  # + 0.0: a term's zero has no sign, as a sum's has none
            values = (weighted + 0.0).tolist()
        else:
            values = np.bincount(self._slots, weighted, n + 1)[:n].tolist()
        return values


class View:
    """What views of PettingZoo and Gymnasium have in common; goes before their base class."""

    def _take_on(self, core: EventEnv, render_mode: str | None, *, explain: bool) -> None:
        self.core, self._faces = core, Faces(core, explain=explain)
        self.metadata, self.render_mode = metadata(core), known_mode(render_mode)

    def render(self) -> Any:
        """The grid now: text (``ansi``, ``human``) or a picture (``rgb_array``); None without a mode."""
        return rendered(self.core, self.render_mode)

    def close(self) -> None:
        """Finish the record, if there is one."""
        self.core.close()


class JointView(View):
    """A view of several learners."""

    def state(self) -> NDArray[np.float32]:
        """What all learners see, side by side (for a centralised critic); raises GridloopError before any reset."""
        require_begun(self.core)
        return self.core.last.observation.copy()


def require_named(actions: Mapping[str, Any], learners: Mapping[str, Any]) -> None:
    """Actions by names of learners; raises GridloopError for another name, and for what is no mapping."""
    try:
        if actions.keys() <= learners.keys():
            return
    except AttributeError:
        raise GridloopError(f"actions: found {actions!r:.80}; expected a mapping of agents' names to actions") from None
    name = next(name for name in actions if name not in learners)
    raise GridloopError(f"unknown agent '{name}'; learners are: {', '.join(learners)}")


def row_for(core: EventEnv, index: int, action: Any) -> Vector:
    """A learner's action as a stored row (width,); raises GridloopError for what is no element of its space."""
    spec = core.specs[index].action
    try:
        return row_of(spec, action)
    except (LookupError, TypeError, ValueError):
        wanted = (f"a mapping with `continuous` ({len(spec.continuous)}) and `discrete` ({len(spec.counts)})"
                  if spec.kind == "mixed" else "numbers only")
        raise GridloopError(f"action of agent '{core.names[index]}': found {action!r:.60}; expected {wanted}") from None


def begun(core: EventEnv, seed: int | None) -> Decision:
    """The first decision of an episode; raises GridloopError when there is none before its end."""
    decision = core.reset(seed)
    if decision.ended and not decision.truncated:
        raise GridloopError(f"the episode is over at t = {decision.t_us / 1e6:g} s, before anybody decides "
                            f"({', '.join(core.names)}): what ends it (learning.ends_when, learning.ends_if_diverged, "
                            f"learn.dies_when) holds as it begins")
    if decision.ended:
        raise GridloopError(f"nobody has a decision in an episode of {core.simulation.end_us / 1e6:g} s "
                            f"({', '.join(core.names)}); make it longer (learning.episode.duration_s)")
    return decision


def require_begun(core: EventEnv) -> None:
    """GridloopError where no episode has begun yet; after the end of one PettingZoo expects an empty answer."""
    if not core.stats.episodes:
        raise GridloopError(NOT_BEGUN)


def rendered(core: EventEnv, mode: str | None) -> Any:
    """The grid now in a render mode: None, text, or a picture (h, w, 3) uint8."""
    from cosim.env.rendering import picture, text

    if mode is None:
        return None
    if mode == "rgb_array":
        return picture(core)
    shown = text(core)
    if mode == "human":
        sys.stdout.write(f"{shown}\n")
        return None
    return shown


def known_mode(mode: str | None) -> str | None:
    """The mode; raises GridloopError for one that does not exist."""
    if mode is not None and mode not in RENDER_MODES:
        raise GridloopError(f"render_mode '{mode}' is unknown; expected one of: {', '.join(RENDER_MODES)}")
    return mode


def metadata(core: EventEnv) -> dict[str, Any]:
    """What PettingZoo and Gymnasium keep about an environment."""
    return {"name": f"gridloop/{core.loaded.scenario.name}", "is_parallelizable": True,
            "render_modes": list(RENDER_MODES), "render_fps": 4}
