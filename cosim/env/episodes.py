"""Episodes: what is drawn anew at each reset, and the scenario that comes of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from operator import index
from typing import Any

from pydantic import ValidationError

from cosim.errors import GridloopError, Problem, ScenarioError
from cosim.kernel import Kernel
from cosim.scenario.learning import Episode, Vary
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.overrides import put_value
from cosim.scenario.schema import Record, Scenario

#: Seeds of episodes are drawn below this: what NumPy, JSON and YAML all hold exactly.
_SEEDS = 2**53


class Episodes:
    """Makes the scenario of one episode after another; the same seed makes the same ones.

    The first episode after a seed runs with that very seed (as ``gridloop run --seed`` does), later ones with seeds
    drawn from it.
    """

    def __init__(self, loaded: LoadedScenario, *, records: bool, duration_s: float | None = None,
                 offset_s: float | None = None) -> None:
        self._loaded, self._records, self._offset_s = loaded, records, offset_s
        self._episode: Episode = loaded.scenario.learning.episode
        _require_times(duration_s, None if offset_s is None else loaded.scenario.profile_offset_s + offset_s)
        self._duration_s = duration_s if duration_s is not None else self._episode.duration_s
        # Only what the file says: some things ask whether a key is there.
        self._plain = _listed(loaded.scenario.model_dump(exclude_unset=True)) if self._episode.vary else None
        self.seed_with(loaded.scenario.seed)

    def seed_with(self, seed: int) -> None:
        """Begin anew with `seed`; raises GridloopError for one that is no whole number, or negative."""
        self._seed, self._count = whole_seed(seed), 0
        self._rng = Kernel(self._seed).rng("episodes")

    def next(self) -> LoadedScenario:
        """The scenario of the next episode; raises ScenarioError for a `vary` that does not fit."""
        seed = self._seed if self._count == 0 else int(self._rng.integers(_SEEDS))
        self._count += 1
        changes = self._changes(seed)
        scenario = self._scenario(changes)
        overrides = (*self._loaded.overrides, *(f"{path}={_text(value)}" for path, value in changes))
        return replace(self._loaded, scenario=scenario, overrides=overrides)

    def latest(self) -> LoadedScenario:
        """Nothing drawn, and the latest time that could be: building it finds out whether profiles reach that far."""
        episode, scenario = self._episode, self._loaded.scenario
        last_s = self._offset_s
        if last_s is None and episode.offsets_s is not None:
            last_s = max(episode.offsets_s)
        elif last_s is None and episode.offset_s is not None:
            last_s = episode.offset_s[0] + episode.offset_step_s * _steps(episode)
        changes = {"profile_offset_s": scenario.profile_offset_s + (last_s or 0.0),
                   "duration_s": scenario.duration_s if self._duration_s is None else self._duration_s}
        return replace(self._loaded, scenario=scenario.model_copy(update=changes))

    def _changes(self, seed: int) -> list[tuple[str, Any]]:
        """(path, value) of everything that differs from the file, seed last."""
        changes = [(vary.path, self._draw(vary)) for vary in self._episode.vary]
        offset_s = self._offset()
        if offset_s is not None:
            changes.append(("profile_offset_s", offset_s))
        if self._duration_s is not None:
            changes.append(("duration_s", self._duration_s))
        return [*changes, ("seed", seed)]

    def _draw(self, vary: Vary) -> Any:
        if vary.choices is not None:
            return vary.choices[int(self._rng.integers(len(vary.choices)))]
        assert vary.low is not None
        assert vary.high is not None
        return float(self._rng.uniform(vary.low, vary.high))

    def _offset(self) -> float | None:
        episode, fixed = self._episode, self._loaded.scenario.profile_offset_s
        if self._offset_s is not None:
            return fixed + self._offset_s
        if episode.offsets_s is not None:
            return fixed + episode.offsets_s[int(self._rng.integers(len(episode.offsets_s)))]
        if episode.offset_s is None:
            return None
        return fixed + episode.offset_s[0] + episode.offset_step_s * int(self._rng.integers(_steps(episode) + 1))

    def _scenario(self, changes: Sequence[tuple[str, Any]]) -> Scenario:
        top = {path: value for path, value in changes if path in ("seed", "duration_s", "profile_offset_s")}
        if not self._records:
            # Nobody reads it: no rows of messages, no samples.
            top["record"] = Record(points=(), messages=False)
        if self._plain is None:
            return self._loaded.scenario.model_copy(update=top)
        data = copy.deepcopy(self._plain)
        for path, value in changes:
            put_value(data, path, value)
        try:
            return Scenario.model_validate({**data, **top})
        except ValidationError as error:
            raise ScenarioError(tuple(Problem(f"learning.episode.vary: {item['msg']}", ".".join(map(str, item["loc"])))
                                      for item in error.errors())) from None


def whole_seed(seed: Any) -> int:
    """A seed as Python's own number, which is what goes on record; raises GridloopError for what is none."""
    try:
        found = index(seed)
    except TypeError:
        found = -1
    if found < 0:
        raise GridloopError(f"reset: seed {seed!r:.40}; expected a whole number from 0 on")
    return found


def _require_times(duration_s: float | None, offset_s: float | None) -> None:
    """As the scenario's own keys are checked, profiles read from `offset_s`; raises GridloopError."""
    try:
        Episode(duration_s=duration_s, offset_s=None if offset_s is None else (offset_s, offset_s))
    except ValidationError as error:
        item = error.errors()[0]
        raise GridloopError(f"EnvOptions.{item['loc'][0]}: found {item['input']}: {item['msg']}") from None


def _steps(episode: Episode) -> int:
    """How many steps after its first the last time to begin is."""
    assert episode.offset_s is not None
    low_us, high_us, step_us = (round(time_s * 1e6) for time_s in (*episode.offset_s, episode.offset_step_s))
    return (high_us - low_us) // step_us


def _listed(data: Any) -> Any:
    """Plain data with lists for tuples, whose entries can be replaced."""
    if isinstance(data, dict):
        return {key: _listed(value) for key, value in data.items()}
    return [_listed(value) for value in data] if isinstance(data, (list, tuple)) else data


def _text(value: Any) -> str:
    """As an override reads it back: text in quotes, whatever it says."""
    return json.dumps(value) if isinstance(value, str) else repr(value)
