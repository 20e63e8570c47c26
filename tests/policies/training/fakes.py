"""A tiny environment with `EventEnv`'s interface, whose best policy and values are known."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from cosim.encoding.spec import ActionSpec, Feature, LearnerSpec, Setpoint
from cosim.scenario.learning import Discount
from policies.training.worker import EnvRecipe

#: Names of what a learner sees here.
SEEN = ("target", "x", "due")


class Targets:
    """Each learner holds a number x near its target, drawn at each reset; the reward's rate is 1 - (x - target)².

    Learner i is due every `periods[i]` seconds, with up to `jitter` of it more; cost's rate is |x|.  With `rate` the
    reward's rate is that instead.  `dies` ends learner 0 after that many seconds.  `kill_at`: the process kills itself
    at that decision of any episode with an odd number of resets before.  `nan_at`: from that step of its life on the
    last learner's reward is NaN.
    """

    def __init__(self, periods: tuple[float, ...] = (1.0,), *, jitter: float = 0.0, duration_s: float = 20.0,
                 rate: float | None = None, dies: float | None = None, shared: bool = True,
                 counts: tuple[int, ...] = (), kill_at: int | None = None, nan_at: int | None = None,
                 discount: Mapping[str, float] | None = None) -> None:
        self.periods, self.jitter, self.duration_s, self.rate, self.dies = periods, jitter, duration_s, rate, dies
        n = len(periods)
        self.kill_at, self.nan_at, self.resets, self.closed, self.stepped = kill_at, nan_at, 0, 0, 0
        self.names = tuple(f"a{i}" for i in range(n))
        setpoints = [Setpoint("x", "", -1.0, 1.0)]
        setpoints += [Setpoint(f"d{i}", "", 0.0, n - 1.0, tuple(map(float, range(n)))) for i, n in enumerate(counts)]
        features = tuple(Feature(name, "", 0.0, 1.0) for name in SEEN)
        action = ActionSpec(tuple(setpoints))
        self.specs = tuple(LearnerSpec(name, "all" if shared else name, period, features, 1, (), 10.0, action)
                           for name, period in zip(self.names, periods, strict=True))
        self.groups = {"all": tuple(range(n))} if shared else {name: (i,) for i, name in enumerate(self.names)}
        size = len(SEEN)
        self.encoder = SimpleNamespace(size=n * size, slices=tuple(slice(i * size, (i + 1) * size) for i in range(n)))
        self.cost_names = ("effort",)
        self.discount = Discount(**discount) if discount else None

    def reset(self, seed: int | None = None) -> Any:
        """A new episode at time 0, where all are due."""
        self.resets += 1
        self.rng = np.random.default_rng(seed)
        n = len(self.names)
        self.target = self.rng.uniform(-1, 1, n)
        self.x, self.at, self.t, self.n_decision = np.zeros(n), np.zeros(n), 0.0, 0
        self.since, self.sums, self.costs = np.zeros(n), np.zeros(n), np.zeros((n, 1))
        self.dead = np.zeros(n, bool)
        return self._decision(np.ones(n, bool), ended=False)

    def rates(self) -> Any:
        """Rates of reward (n,) by what is done and meant now."""
        return 1 - (self.x - self.target) ** 2

    def step(self, rows: Mapping[int, Any]) -> Any:
        """Take actions of those due and go on to the next time anybody is."""
        self.n_decision += 1
        if self.kill_at is not None and self.n_decision == self.kill_at and self.resets % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        for i, row in rows.items():
            self.x[i] = np.clip(row[0], -1, 1)
        n = len(self.names)
        for i in np.flatnonzero(self.due):
            self.at[i] = self.t + self.periods[i] * (1 + self.jitter * self.rng.random())
        when = min(float(self.at[~self.dead].min()), self.duration_s)
        dying = self.dies is not None and not self.dead[0] and when >= self.dies
        when = float(self.dies) if dying and self.dies is not None else when
        rate = np.where(self.dead, 0.0, self.rates() if self.rate is None else self.rate)
        self.stepped += 1
        if self.nan_at is not None and self.stepped >= self.nan_at:
            rate = np.where(np.arange(n) == n - 1, np.nan, rate)
        self.sums += (when - self.t) * rate
        self.costs[:, 0] += (when - self.t) * np.abs(self.x)
        self.t = when
        if dying:
            self.dead[0] = True
        ended = when >= self.duration_s or bool(self.dead.all())
        return self._decision((self.at <= when) & ~self.dead if not ended else np.zeros(n, bool), ended, dying)

    def shown(self) -> tuple[Any, Any]:
        """What learners see of their targets (n,) and of what they do (n,)."""
        return self.target, self.x

    def _decision(self, due: Any, ended: bool, dying: bool = False) -> Any:
        told = due | (ended & ~self.dead)
        told[0] |= dying
        observation = np.stack([*self.shown(), due], 1).astype(np.float32).reshape(-1)
        found = SimpleNamespace(
            t_us=round(self.t * 1e6), due=due, observation=observation, reward=np.where(told, self.sums, 0.0),
            cost=np.where(told[:, None], self.costs, 0.0), dt_s=self.t - self.since, age_s=np.zeros(len(due)),
            terminated=self.dead.copy(), truncated=bool(ended and not self.dead.all()), ended=bool(ended))
        self.sums, self.costs = np.where(told, 0.0, self.sums), np.where(told[:, None], 0.0, self.costs)
        self.since = np.where(due, self.t, self.since)
        self.due = due
        return found

    def masks(self, index: int) -> list[Any] | None:
        """The last level is closed while the target is negative."""
        counts = self.specs[index].action.counts
        return [np.arange(n) < (n if self.target[index] > 0 else n - 1) for n in counts] if counts else None

    def close(self) -> None:
        """Counted."""
        self.closed += 1


class Swapped(Targets):
    """Two learners, new targets t at every decision; each is paid by the one that the other sees: 2 t - (x - t)²."""

    def rates(self) -> Any:
        """By the other's target."""
        theirs = self.target[::-1]
        return 2 * theirs - (self.x - theirs) ** 2

    def _decision(self, due: Any, ended: bool, dying: bool = False) -> Any:
        self.target = self.rng.uniform(-1, 1, len(self.names))
        return super()._decision(due, ended, dying)


class Together(Targets):
    """All are paid alike, 1 - (Σ x - Σ target)²: at best 1 a second, where each does what it alone sees."""

    def rates(self) -> Any:
        """By the sums."""
        return np.full(len(self.names), 1 - (self.x.sum() - self.target.sum()) ** 2)


class Cued(Targets):
    """A sign is shown at the beginning and asked for in the last second, at ± 1 a second; nothing else is ever seen.

    The best return is 1; whoever has forgotten the sign has 0 on average, whatever it does.
    """

    def rates(self) -> Any:
        """Something in the last second only."""
        return np.sign(self.target) * self.x * (self.t >= self.duration_s - 1.0)

    def shown(self) -> tuple[Any, Any]:
        """Not what it did either, which could be its note of the sign."""
        return np.sign(self.target) * (self.t == 0.0), 0 * self.x


#: Environments for recipes, by name.
KINDS: dict[str, type[Targets]] = {"targets": Targets, "swapped": Swapped, "together": Together, "cued": Cued}


def targets(**arguments: Any) -> Targets:
    """The environment, for a recipe."""
    return KINDS[arguments.pop("kind", "targets")](tuple(arguments.pop("periods", (1.0,))), **arguments)


def failing(**_: Any) -> Any:
    """An environment that cannot be made."""
    raise RuntimeError("no such grid")


def recipe(**arguments: Any) -> EnvRecipe:
    """How to make `Targets` elsewhere."""
    return EnvRecipe("tests.policies.training.fakes:targets", arguments)
