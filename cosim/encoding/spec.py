"""The specification of a learner: every feature it sees and every number it answers, as plain data.

It is written into a bundle beside the weights, and compared with the scenario that the bundle is put into.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

#: Length of each feature that is not a point's, by name; ``clock.*`` are a sine and a cosine.
_SINGLE = ("age", "due", "dt")


@dataclass(frozen=True, slots=True)
class Feature:
    """A point as it is seen: (value - `center`) / `half_width`."""

    name: str
    """The point's name, with the agent's subject written {}."""
    unit: str
    center: float
    half_width: float


@dataclass(frozen=True, slots=True)
class Setpoint:
    """A point as it is commanded, engineering units; `levels` () for any value from `low` to `high`."""

    name: str
    unit: str
    low: float
    high: float
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class ActionSpec:
    """The action of a learner.

    `choices` () for a value or level a setpoint; else the action is the index of one of them: `choices[i]` are values
    (n_setpoint,), None where a setpoint is left alone, and `choice_names[i]` what it is called.
    """

    setpoints: tuple[Setpoint, ...]
    is_normalised: bool = True
    choice_names: tuple[str, ...] = ()
    choices: tuple[tuple[float | None, ...], ...] = ()

    @cached_property
    def continuous(self) -> tuple[int, ...]:
        """Setpoints that take any value."""
        return () if self.choices else tuple(i for i, s in enumerate(self.setpoints) if not s.levels)

    @cached_property
    def discrete(self) -> tuple[int, ...]:
        """Setpoints that take a level."""
        return () if self.choices else tuple(i for i, s in enumerate(self.setpoints) if s.levels)

    @property
    def kind(self) -> str:
        """``continuous`` (Box), ``discrete`` (one of n), ``multi_discrete`` or ``mixed``."""
        if self.choices or (len(self.discrete) == 1 and not self.continuous):
            return "discrete"
        if not self.discrete:
            return "continuous"
        return "mixed" if self.continuous else "multi_discrete"

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of alternatives of every discrete part of the action."""
        if self.choices:
            return (len(self.choices),)
        return tuple(len(self.setpoints[i].levels) for i in self.discrete)

    @property
    def width(self) -> int:
        """Numbers in an action as the learner stores it: the continuous ones, then an index a discrete part."""
        return len(self.continuous) + len(self.counts)


@dataclass(frozen=True)
class LearnerSpec:
    """What one agent sees and does.

    Encoded (size,): frame 0 (now), frame 1, … frame `history` - 1 (n_feature each), then the `extras` in order:
    ``last_action`` (n_setpoint), ``quality`` (n_feature), ``age``, ``due``, ``dt`` (1 each), ``clock.day`` … (2 each).
    `period_s` is the unit of age and dt.
    """

    agent: str
    group: str
    period_s: float
    features: tuple[Feature, ...]
    history: int
    extras: tuple[str, ...]
    clip: float
    action: ActionSpec

    def length(self, extra: str) -> int:
        """Numbers of one extra."""
        if extra in _SINGLE:
            return 1
        if extra == "last_action":
            return len(self.action.setpoints)
        return len(self.features) if extra == "quality" else 2

    @cached_property
    def size(self) -> int:
        """Numbers in an encoded observation."""
        return len(self.features) * self.history + sum(self.length(extra) for extra in self.extras)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every number of an encoded observation."""
        frames = [feature.name if not k else f"{feature.name}[-{k}]" for k in range(self.history)
                  for feature in self.features]
        for extra in self.extras:
            if extra in _SINGLE:
                frames.append(extra)
            elif extra == "last_action":
                frames += [f"last.{setpoint.name}" for setpoint in self.action.setpoints]
            elif extra == "quality":
                frames += [f"bad.{feature.name}" for feature in self.features]
            else:
                frames += [f"{extra}.sin", f"{extra}.cos"]
        return tuple(frames)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From `to_dict`; raises KeyError, TypeError or ValueError for what is none."""
        action = data["action"]
        setpoints = tuple(Setpoint(**{**s, "levels": tuple(s["levels"])}) for s in action["setpoints"])
        choices = tuple(tuple(choice) for choice in action["choices"])
        spec = ActionSpec(setpoints, bool(action["is_normalised"]), tuple(action["choice_names"]), choices)
        return cls(str(data["agent"]), str(data["group"]), float(data["period_s"]),
                   tuple(Feature(**feature) for feature in data["features"]), int(data["history"]),
                   tuple(data["extras"]), float(data["clip"]), spec)

    def differences(self, other: LearnerSpec) -> list[str]:
        """Where `other` differs in what matters to a network, one line each: field, found here, found there.

        Names of agents do not matter, nor does the unit of time when nothing is measured in it.
        """
        found = _list_differences("feature", [f.name for f in self.features], [f.name for f in other.features])
        theirs = {f.name: f for f in other.features}
        found += [f"feature {mine.name}: scale {_range(mine)} and {_range(theirs[mine.name])} {mine.unit}"
                  for mine in self.features if mine.name in theirs and _range(mine) != _range(theirs[mine.name])]
        for field in ("history", "extras", "clip"):
            if getattr(self, field) != getattr(other, field):
                found.append(f"{field}: {getattr(self, field)} and {getattr(other, field)}")
        if {"age", "dt"} & set(self.extras) and self.period_s != other.period_s:
            found.append(f"period_s: {self.period_s} and {other.period_s}")
        return found + action_differences(self.action, other.action)


def _range(feature: Feature) -> tuple[float, float]:
    return feature.center - feature.half_width, feature.center + feature.half_width


def _list_differences(what: str, mine: Sequence[str], other: Sequence[str]) -> list[str]:
    found = [f"{what} {name}: only here" for name in mine if name not in other]
    found += [f"{what} {name}: only there" for name in other if name not in mine]
    if not found and list(mine) != list(other):
        found.append(f"order of {what}s: {', '.join(mine)} and {', '.join(other)}")
    return found


def action_differences(mine: ActionSpec, other: ActionSpec) -> list[str]:
    """Where two actions differ, one line each: field, found here, found there."""
    found = _list_differences("setpoint", [s.name for s in mine.setpoints], [s.name for s in other.setpoints])
    theirs = {s.name: s for s in other.setpoints}
    for setpoint in mine.setpoints:
        there = theirs.get(setpoint.name)
        if there is None:
            continue
        if (setpoint.low, setpoint.high) != (there.low, there.high):
            found.append(f"setpoint {setpoint.name}: range {setpoint.low:g} to {setpoint.high:g} and {there.low:g} to "
                         f"{there.high:g} {setpoint.unit}")
        if setpoint.levels != there.levels:
            found.append(f"setpoint {setpoint.name}: {len(setpoint.levels)} and {len(there.levels)} levels")
    if mine.is_normalised != other.is_normalised:
        found.append(f"is_normalised: {mine.is_normalised} and {other.is_normalised}")
    found += _list_differences("choice", mine.choice_names, other.choice_names)
    if not found and mine.choices != other.choices:
        found.append("choices: the same names, other values")
    return found
