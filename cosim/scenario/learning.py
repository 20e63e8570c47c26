"""What a scenario says about learning: who learns, what learners see and do, what is good, when an episode ends.

Everything has a default: a scenario without these keys is an environment too, in which every agent learns.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cosim.scenario.model import Model, Name, Period, Seconds

#: Most choices, levels of a setpoint, and entries of the other lists here.
MAX_CHOICES = 10_000


class Clock(Enum):
    """A cycle of the calendar that a learner sees as a point on a circle."""

    DAY = "day"
    WEEK = "week"
    YEAR = "year"


class Units(Enum):
    """What a continuous action is written in."""

    NORMALISED = "normalised"
    ENGINEERING = "engineering"


Range = Annotated[tuple[float, float], Field(description="[low, high] in the point's unit.")]


def _ordered(ranges: dict[str, tuple[float, float]], what: str) -> None:
    for pattern, (low, high) in ranges.items():
        if low >= high:
            raise ValueError(f"{what} of '{pattern}': low {low} must be below high {high}")


class Observing(Model):
    """What a learner sees, as features: the agent's `observe` points, scaled, and what is ticked here."""

    scale: dict[str, Range] = Field(default_factory=dict, description=(
        "Range of a point that becomes [-1, 1], by pattern of point names; the last that matches counts, and one that "
        "matches nothing (agents may share these) says nothing. Default: by unit (voltages 0.9 to 1.1 pu, powers by "
        "the device's rating or the network's load, flags 0 to 1)."))
    clip: float = Field(10.0, gt=0, le=1e6, description="Scaled features are cut off at ± this.")
    history: int = Field(1, ge=1, le=256, description="Frames: what is seen now, and at the last decisions before.")
    last_action: bool = Field(False, description="The last action decided, normalised.")
    acknowledged: bool = Field(False, description="The setpoints in force, as the field last reported them.")
    quality: bool = Field(False, description="A flag a point: 1 where its value is not good.")
    age: bool = Field(True, description="Age of the newest report, in decision periods.")
    due: bool = Field(True, description="Whether the agent decides now (1) or is only shown (0).")
    dt: bool = Field(True, description="Time since the agent's own last decision, in decision periods.")
    clock: tuple[Clock, ...] = Field((), max_length=3, description=(
        "Sine and cosine of the time of the day, week, year."))

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        _ordered(self.scale, "scale")
        return self


class Condition(Model):
    """A comparison of one point with a bound."""

    point: str = Field(description="Name of the point.")
    below: float | None = Field(None, description="True while the point is below this.")
    above: float | None = Field(None, description="True while the point is above this.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("needs `below`, `above` or both")
        return self


class Choice(Model):
    """One thing to do: setpoints by name; what is not named stays as it is."""

    name: str = Field(min_length=1, max_length=64, description="What it is called in reports.")
    set: dict[str, float] = Field(default_factory=dict, description="Values by pattern of the actuated points' names.")


class Mask(Model):
    """Choices that are closed while a condition holds (an action mask of the environment)."""

    choices: tuple[str, ...] = Field(min_length=1, description="Patterns of names of choices.")
    closed_when: Condition = Field(description=(
        "They may not be taken while this holds: an action that takes one all the same leaves everything as it is."))


class Acting(Model):
    """What a learner's action is: a number for each setpoint, a level for each, or one of some choices."""

    units: Units = Field(Units.NORMALISED, description="`normalised`: [-1, 1] spans the range. `engineering`: as is.")
    range: dict[str, Range] = Field(default_factory=dict, description=(
        "Range of a setpoint by pattern, within the point's own bounds; needed where it has none."))
    levels: dict[str, int | None] = Field(default_factory=dict, max_length=MAX_CHOICES, description=(
        "Setpoints that take levels, by pattern: how many, evenly from low to high; null: every whole number. Binary "
        "points always do."))
    choices: tuple[Choice, ...] = Field((), max_length=MAX_CHOICES, description=(
        "Instead: the whole action is one of these."))
    masks: tuple[Mask, ...] = Field((), max_length=MAX_CHOICES, description="Choices that are closed at times.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _ordered(self.range, "range")
        for pattern, n in self.levels.items():
            if n is not None and not 2 <= n <= MAX_CHOICES:
                raise ValueError(f"levels of '{pattern}': found {n}; expected 2 to {MAX_CHOICES} or null")
        if self.choices and (self.levels or self.range):
            raise ValueError("`choices` stand alone: leave out `levels` and `range`")
        if self.masks and not self.choices:
            raise ValueError("`masks` close `choices`; there are none")
        names = [choice.name for choice in self.choices]
        if len(set(names)) != len(names):
            raise ValueError("names of `choices` must differ")
        return self


class Learn(Model):
    """How one agent learns (or its trained policy acts): features, actions, its own part of the reward."""

    group: Name | None = Field(None, description=(
        "Agents of one group share one network (default: an entry with `each` is a group; any other agent its own)."))
    subject: str = Field("", description="Written {} in names of features, so that agents of a group are alike "
                                         "(default: the device's name under `each`).")
    observe: Observing = Field(default_factory=Observing, description="What it sees.")
    act: Acting = Field(default_factory=Acting, description="What it does.")
    reward: tuple[dict[str, Any], ...] = Field((), description="Its own reward terms: mappings with `kind`.")
    costs: tuple[dict[str, Any], ...] = Field((), description="Its own constraint signals: mappings with `kind`.")
    dies_when: tuple[Condition, ...] = Field((), description="It ends, for good, when one of these holds.")


class Discount(Model):
    """Worth of what comes later: `gamma` for every `per_s` seconds, however long a step takes."""

    gamma: float = Field(gt=0, le=1, description="Discount factor.")
    per_s: Period = Field(description="The time that it belongs to.")
    inside: bool = Field(True, description=(
        "Whether a decision's reward is discounted within its interval, too: then a rate r is worth r/β at any "
        "intervals. `false`: a plain integral, as tasks with fixed steps define it."))


class Vary(Model):
    """A value of the scenario drawn anew at each reset."""

    path: str = Field(description="Where, as in --set: devices.0.soc_start, channels.0.rules.1.probability.")
    low: float | None = Field(None, description="Smallest value of a uniform draw.")
    high: float | None = Field(None, description="Largest value of a uniform draw.")
    choices: tuple[float | str, ...] | None = Field(None, min_length=1, description="Instead: one of these.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.low is None) != (self.high is None) or (self.low is None) == (self.choices is None):
            raise ValueError("needs `low` and `high`, or `choices`")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low} must not exceed high {self.high}")
        return self


class Episode(Model):
    """What one episode is, and how it differs from the last."""

    duration_s: Period | None = Field(None, description="Its length (default: the run's).")
    offset_s: tuple[Seconds, Seconds] | None = Field(None, description=(
        "Profiles are read from a time drawn from here on (adds to `profile_offset_s`)."))
    offset_step_s: Period = Field(900.0, description="That time is a multiple of this, from the lowest.")
    offsets_s: tuple[Seconds, ...] | None = Field(None, min_length=1, description="Instead: one of these times.")
    vary: tuple[Vary, ...] = Field((), max_length=1_000, description="Values drawn anew at each reset.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.offset_s is not None and self.offsets_s is not None:
            raise ValueError("give `offset_s` or `offsets_s`, not both")
        if self.offset_s is not None and self.offset_s[0] > self.offset_s[1]:
            raise ValueError(f"offset_s: low {self.offset_s[0]} must not exceed high {self.offset_s[1]}")
        return self


class Learning(Model):
    """The scenario as an environment."""

    agents: tuple[str, ...] = Field(("*",), min_length=1, description=(
        "Who learns: patterns of agents' names; others keep their policies."))
    reward: tuple[dict[str, Any], ...] = Field((), description=(
        "Terms that every learner gets: mappings with `kind` (see `gridloop list`). Without any terms: voltage, "
        "overload, losses and unserved demand."))
    costs: tuple[dict[str, Any], ...] = Field((), description=(
        "Constraint signals for all, kept apart from the reward; never discounted within a decision's interval."))
    reward_clip: tuple[float, float] | None = Field(None, description="The reward of a decision is kept within this.")
    discount: Discount | None = Field(None, description=(
        "Worth of later rewards (default: whoever trains chooses, and rewards are plain integrals)."))
    episode: Episode = Field(default_factory=Episode, description="Length and variety of episodes.")
    together_s: Seconds = Field(0.0, description="Agents due within this time decide together, at its end.")
    ends_if_diverged: bool = Field(True, description="An episode ends when the power flow has no solution.")
    ends_when: tuple[Condition, ...] = Field((), max_length=1_000, description=(
        "It ends for all when one of these holds."))
    end_reward: float = Field(0.0, description=(
        "Added to everyone's reward when it ends so (not at the end of its time)."))

    @model_validator(mode="after")
    def _ordered_clip(self) -> Self:
        if self.reward_clip is not None and self.reward_clip[0] >= self.reward_clip[1]:
            raise ValueError(f"reward_clip: low {self.reward_clip[0]} must be below high {self.reward_clip[1]}")
        return self
