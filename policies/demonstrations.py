"""Data sets of what a scenario's own policies do: droop, schedules, constants, seen through the learners' eyes.

The environment is the one that learners are trained in; at each decision the scripted policy of every learner that is
due answers instead, and its setpoints are stored as the row nearest to them.  A policy that says nothing leaves its
last row in force, and that is what is stored; decisions (and rewards) before its first answer are not.  `noise` tries
out what is beside the policy: without it a data set says nothing about what would have been better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosim.scenario.learning import Discount
from policies.bundle import scenario_digest
from policies.datasets import GAMMA, Dataset, Episode, require_places
from policies.training.scenario_env import scenario_env
from policies.training.transitions import Array


@dataclass(frozen=True, slots=True)
class Recording:
    """How much is recorded, and how far from the policies.

    `noise`: standard deviation added to numbers (range [-1, 1]) and, up to 1, the share of discrete parts that take any
    open alternative.  `seed` decides episodes (those of seed, seed + 1, …) and noise.
    """

    episodes: int = 10
    seed: int = 1
    noise: float = 0.0
    duration_s: float | None = None
    agents: tuple[str, ...] | None = None
    overrides: tuple[str, ...] = ()
    discount: Discount | None = None
    """Of rewards within an interval; default: learning.discount, else 0.99 a period of the fastest learner."""
    allow_plugins: bool = False
    """Load the Python code that the scenario's `plugins` names."""


def record(scenario: str, out: Path, recording: Recording | None = None,
           on_episode: Callable[[int], None] | None = None) -> tuple[Path, ...]:
    """Record episodes of a scenario; the folders, one a group.  `on_episode` is told each number when it ended.

    Raises ScenarioError for a scenario without learners, FolderError where there are data sets already and DatasetError
    where none can be written, before the first episode.
    """
    recording = recording or Recording()
    env = _env(scenario, recording)
    name = _safe(env.loaded.scenario.name)
    require_places(out, name, env.groups)
    found: list[Episode] = []
    for number in range(recording.episodes):
        found += _Scribe(env, recording, recording.seed + number).episode()
        if on_episode is not None:
            on_episode(number)
    env.close()
    about = {"scenario": {"name": env.loaded.scenario.name, "digest": scenario_digest(env.loaded)},
             "shield": env.loaded.scenario.shield.model_dump(mode="json"),
             "discount": env.discount.model_dump() if env.discount else None,
             "recorded": {"episodes": recording.episodes, "seed": recording.seed, "noise": recording.noise}}
    return tuple(Dataset(group, env.specs[members[0]], tuple(env.cost_names),
                         tuple(e for e in found if e.agent in members and len(e)), about,
                         tuple(env.specs[i] for i in members[1:])).save(out, name)
                 for group, members in env.groups.items())


def _env(scenario: str, recording: Recording) -> Any:
    """The environment with the discount that a training would use."""
    def made(discount: Discount | None) -> Any:
        return scenario_env(scenario, recording.agents, recording.overrides,
                            discount.model_dump() if discount else None, allow_plugins=recording.allow_plugins,
                            duration_s=recording.duration_s)

    env = made(recording.discount)
    return env if env.discount else made(Discount(gamma=GAMMA, per_s=min(spec.period_s for spec in env.specs)))


@dataclass(slots=True)
class _Life:
    """What one agent did so far in an episode."""

    observations: list[Array] = field(default_factory=list)
    masks: list[Array] = field(default_factory=list)
    rows: list[Array] = field(default_factory=list)
    told: list[tuple[float, float, Array]] = field(default_factory=list)
    """Reward, duration and costs of each row."""
    over: bool = False


class _Scribe:
    """One episode as lives of agents."""

    def __init__(self, env: Any, recording: Recording, seed: int) -> None:
        self.env, self.recording, self.seed = env, recording, seed
        self.rng = np.random.default_rng([recording.seed, seed])
        self.lives = [_Life() for _ in env.names]

    def episode(self) -> list[Episode]:
        """Act to the end."""
        decision = self.env.reset(seed=self.seed)
        while True:
            for i, life in enumerate(self.lives):
                self._tell(i, life, decision)
            if decision.ended:
                return [self._closed(i, life) for i, life in enumerate(self.lives)]
            self._act(decision)
            decision = self.env.advance()

    def _tell(self, i: int, life: _Life, decision: Any) -> None:
        """What came of the open decision, and what is seen now."""
        over = bool(decision.terminated[i])
        if life.over or not (decision.due[i] or over or decision.ended):
            return
        if len(life.rows) > len(life.told):
            life.told.append((float(decision.reward[i]), float(decision.dt_s[i]), decision.cost[i].copy()))
            self._see(i, life, decision)
        life.over = over

    def _see(self, i: int, life: _Life, decision: Any) -> None:
        life.observations.append(decision.observation[self.env.encoder.slices[i]].copy())
        masks = self.env.masks(i)
        if masks is not None:
            life.masks.append(np.concatenate(masks))

    def _act(self, decision: Any) -> None:
        answers = self.env.scripted()
        scripted = {i: setpoints for i, setpoints in answers.items() if not np.isnan(setpoints).all()}
        rows = {}
        for i in np.flatnonzero(decision.due).tolist():
            life, codec = self.lives[i], self.env.codecs[i]
            if i not in scripted and not life.rows:
                continue
            row = self._row(codec, scripted.get(i), life.rows[-1] if life.rows else None)
            if self.recording.noise:
                row = rows[i] = self._disturbed(i, row)
            if not life.rows:
                self._see(i, life, decision)
            life.rows.append(row.astype(np.float32))
        # As they are, also where they say nothing: an empty command goes over its channel as in `gridloop run`.
        self.env.commit_setpoints({**answers, **{i: self.env.codecs[i].decode(row) for i, row in rows.items()}})

    @staticmethod
    def _row(codec: Any, setpoints: Array | None, last: Array | None) -> Array:
        """The row nearest to setpoints; numbers that these leave alone are the last row's, or the middle."""
        if setpoints is None:
            assert last is not None
            return last.astype(float)
        row: Array = codec.encode(setpoints)
        n = len(codec.spec.continuous)
        row[:n] = np.clip(row[:n], -1.0, 1.0)
        for k, i in enumerate(codec.spec.discrete):
            if np.isnan(setpoints[i]):
                row[n + k] = np.nan
        before = np.zeros(len(row)) if last is None else last
        return np.where(np.isnan(row), before, row)

    def _disturbed(self, i: int, row: Array) -> Array:
        """The row with noise; closed alternatives are not taken."""
        spec, noise = self.env.specs[i].action, self.recording.noise
        n = len(spec.continuous)
        row = row.copy()
        row[:n] = np.clip(row[:n] + noise * self.rng.standard_normal(n), -1.0, 1.0)
        for k, part in enumerate(self.env.masks(i) or []):
            if self.rng.random() < noise and part.any():
                row[n + k] = self.rng.choice(np.flatnonzero(part))
        return row

    def _closed(self, i: int, life: _Life) -> Episode:
        steps = len(life.told)
        rewards, dt_s, costs = zip(*life.told, strict=True) if steps else ((), (), ())
        return Episode(i, np.array(life.observations, np.float32).reshape(-1, self.env.specs[i].size),
                       np.array(life.rows[:steps], np.float32).reshape(steps, -1), np.array(rewards), np.array(dt_s),
                       np.array(costs).reshape(steps, len(self.env.cost_names)), life.over,
                       np.array(life.masks) if life.masks else None, self.seed)


def _safe(name: str) -> str:
    """A scenario's name as a namespace."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in name)[:64] or "scenario"
