"""Trials: the same few episodes, played without exploration, again and again while a training goes on.

What episodes of training return says little about which policy is the best where days differ: another policy had other
days, and each still tried things out.  Trials have their own seeds, the same in every training, whatever its seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from policies.training.algorithm import TrainingError
from policies.training.assembly import Assembly
from policies.training.slot import Slot, SlotSetting
from policies.training.transitions import Array

#: Seed and slot of trials: no slot of a training has the largest number (`Collection.slots`).
_SEED, _SLOT = 0, 4096


@dataclass(frozen=True, slots=True)
class _AtBest:
    """An actor that does what it takes for best."""

    actor: Any

    def act(self, observations: Array, rng: np.random.Generator, *, masks: Array | None = None,
            hidden: Array | None = None) -> tuple[Array, Array, Array | None]:
        """As `slot.Actor.act`."""
        acted: tuple[Array, Array, Array | None] = self.actor.act(observations, rng, deterministic=True, masks=masks,
                                                                  hidden=hidden)
        return acted


@dataclass(frozen=True, slots=True)
class Judged:
    """Means over trial episodes and learners: plain and discounted returns, and costs per second by name."""

    plain: float
    discounted: float
    cost_rates: Mapping[str, float]


class Trials:
    """`n` episodes of a training's environment, in this process.

    With `overrides` these stand in for the training's, and the scenario's own discount for its: a task whose reward is
    another one to learn from is judged by its own.
    """

    def __init__(self, assembly: Assembly, n: int, overrides: Sequence[str] | None = None) -> None:
        self._plan, self._n = assembly.plan, n
        recipe = self._plan.recipe
        if overrides is not None:
            arguments = {**(recipe.arguments or {}), "overrides": [*overrides], "discount": None}
            recipe = replace(recipe, arguments=arguments)
        env = recipe.make()
        _require_same_learners(assembly.env, env)
        self._slot = Slot(env, SlotSetting(_SLOT, _SEED, self._plan.shapes))

    def play(self, weights: Mapping[str, Mapping[str, Any]]) -> Judged:
        """What actors with these weights (by group and name) reach: a function of the weights alone."""
        actors = {name: _AtBest(actor) for name, actor in self._plan.make_actors(weights).items()}
        episodes = [self._slot.play(number, actors) for number in range(self._n)]
        time_s = max(sum(episode.length_s * len(episode.returns) for episode in episodes), 1e-9)
        costs = np.sum([np.sum(episode.costs, axis=0) for episode in episodes], axis=0)
        names = self._slot.env.cost_names
        return Judged(float(np.mean([episode.returns for episode in episodes])),
                      float(np.mean([episode.discounted for episode in episodes])),
                      {name: float(cost) / time_s for name, cost in zip(names, costs, strict=True)})

    def close(self) -> None:
        """End the environment."""
        self._slot.env.close()


def _require_same_learners(trained: Any, tried: Any) -> None:
    """TrainingError where an environment's learners are not those of the training."""
    pairs = zip(trained.specs, tried.specs, strict=False)  # another number of them is another grouping
    found = [line for mine, theirs in pairs for line in mine.differences(theirs)]
    if found or trained.groups != tried.groups:
        raise TrainingError(f"trials.overrides: learners differ from those that are trained: "
                            f"{'; '.join(found[:8]) or f'groups {trained.groups} and {tried.groups}'}; expected the "
                            f"same observations and actions")
