"""Policies that need no learning: constant, schedule, droop, random."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.errors import PluginError
from cosim.kernel import MICROSECONDS, T_MAX_US
from cosim.plugins import PluginConfig, Situation
from cosim.points import Vector
from cosim.profile_ref import ProfileRef

#: IEEE 1547-2018 category B default volt-var curve: (voltage pu, reactive power pu of rating, into the grid positive).
VOLT_VAR_CATEGORY_B = ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))


class Constant:
    """Always the same setpoints."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = "constant"
    summary: ClassVar[str] = "the same setpoints at every decision"

    class Config(PluginConfig):
        """Options of `constant`."""

        kind: Literal["constant"] = "constant"
        values: tuple[float, ...] = Field(min_length=1, description="One value per actuated point, or one for all.")

    def __init__(self, values: Sequence[float]) -> None:
        self._values = tuple(values)

    @classmethod
    def build(cls, config: Config, situation: Situation) -> Self:
        """The policy of one agent."""
        n = len(situation.actuated)
        if len(config.values) not in (1, n):
            raise PluginError(f"policy constant: {len(config.values)} values for {n} actuated points; give 1 or {n}")
        return cls(config.values * n if len(config.values) == 1 else config.values)

    def act(self, observation: Vector, t_us: int) -> Sequence[float]:  # noqa: ARG002  # the Policy interface
        """The values."""
        return self._values


class Schedule:
    """Setpoints by time: from a profile, or from rows in the scenario."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = "schedule"
    summary: ClassVar[str] = "setpoints by time, from a profile or from rows"

    class Config(PluginConfig):
        """Options of `schedule`."""

        kind: Literal["schedule"] = "schedule"
        rows: tuple[tuple[float, ...], ...] | None = Field(
            None, description="Rows [t_s, value, …], one value per actuated point, in force from t_s on.")
        profiles: tuple[ProfileRef, ...] | None = Field(None, description="One profile column per actuated point.")

        @model_validator(mode="after")
        def _one_source(self) -> Self:
            if (self.rows is None) == (self.profiles is None):
                raise ValueError("schedule needs either `rows` or `profiles`")
            if self.rows is not None:
                times = [row[0] for row in self.rows if row]
                if len(times) != len(self.rows) or not times or times != sorted(set(times)):
                    raise ValueError("`rows` must be [t_s, value, …] with t_s strictly increasing")
                if max(map(abs, times)) > T_MAX_US / MICROSECONDS:
                    raise ValueError(f"`rows` must have t_s of at most {T_MAX_US / MICROSECONDS:g} s")
            return self

    def __init__(self, at: Callable[[int], Vector | Sequence[float] | None]) -> None:
        self._at = at

    @classmethod
    def build(cls, config: Config, situation: Situation) -> Self:
        """The policy of one agent."""
        n = len(situation.actuated)
        if config.profiles is not None:
            if len(config.profiles) != n:
                raise PluginError(f"policy schedule: {len(config.profiles)} profiles for {n} actuated points")
            return cls(situation.profile(config.profiles))
        assert config.rows is not None
        wrong = [i for i, row in enumerate(config.rows) if len(row) != n + 1]
        if wrong:
            raise PluginError(f"policy schedule: row {wrong[0]} has {len(config.rows[wrong[0]]) - 1} values for "
                              f"{n} actuated points")
        times = [round(row[0] * 1e6) for row in config.rows]
        values = [row[1:] for row in config.rows]

        def at(t_us: int) -> Sequence[float] | None:
            place = bisect_right(times, t_us)
            return values[place - 1] if place else None

        return cls(at)

    def act(self, observation: Vector, t_us: int) -> Sequence[float] | Vector | None:  # noqa: ARG002  # the interface
        """The row in force; None before the first."""
        return self._at(t_us)


class Droop:
    """A piecewise linear law from a measured value to a setpoint, e.g. volt-var."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = "droop"
    summary: ClassVar[str] = "piecewise linear law from observation to setpoint (volt-var, volt-watt, …)"

    class Config(PluginConfig):
        """Options of `droop`."""

        kind: Literal["droop"] = "droop"
        curve: tuple[tuple[float, float], ...] = Field(
            VOLT_VAR_CATEGORY_B, min_length=2,
            description="Points (observed, setpoint / base), observed strictly increasing; flat outside. "
                        "Default: IEEE 1547-2018 category B volt-var.")
        reads: tuple[str, ...] | None = Field(None, min_length=1, description=(
            "Observed points that the curve is read at, where the agent sees more: one, or one per actuated point."))
        base: float | None = Field(None, description="What the curve's ordinate is a fraction of (default: the "
                                                     "actuated point's upper bound).")
        smoothing: Annotated[float, Field(gt=0, le=1)] = Field(
            1.0, description="Part of the way to the curve that one decision goes (1: all of it).")

        @model_validator(mode="after")
        def _increasing(self) -> Self:
            x = [point[0] for point in self.curve]
            if any(b <= a for a, b in pairwise(x)):
                raise ValueError(f"`curve` must have strictly increasing abscissae; found {x}")
            return self

    def __init__(self, config: Config, bases: Sequence[float], n_observed: int,
                 reads: Sequence[int] | None = None) -> None:
        self._reads = None if reads is None else list(reads)
        n_observed = n_observed if reads is None else len(reads)
        self._x = [point[0] for point in config.curve]
        self._y = [point[1] for point in config.curve]
        self._slope = [(y1 - y0) / (x1 - x0) for (x0, y0), (x1, y1) in
                       pairwise(config.curve)]
        self._bases, self._shared = list(bases), n_observed == 1
        self._smoothing = config.smoothing
        #: One point in, one out, no memory: the usual agent, in half the time.
        self._single = self._bases[0] if len(self._bases) == n_observed == 1 and config.smoothing == 1.0 else None
        self._last = [0.0] * len(self._bases)

    @classmethod
    def build(cls, config: Config, situation: Situation) -> Self:
        """The policy of one agent."""
        missing = [name for name in config.reads or () if name not in situation.observed]
        if missing:
            raise PluginError(f"policy droop: `reads` has '{missing[0]}'; expected one of: "
                              f"{', '.join(situation.observed)}")
        reads = None if config.reads is None else [situation.observed.index(name) for name in config.reads]
        n_observed, n = len(situation.observed if reads is None else reads), len(situation.actuated)
        if n_observed not in (1, n):
            raise PluginError(f"policy droop: observes {n_observed} points and actuates {n}; observe (or name in "
                              f"`reads`) one point, or as many as are actuated")
        bases = [config.base if config.base is not None else float(high) for high in situation.high]
        if not all(np.isfinite(bases)):
            raise PluginError("policy droop: an actuated point has no upper bound; give `base`")
        return cls(config, bases, n_observed, reads)

    def act(self, observation: Vector, t_us: int) -> Sequence[float]:  # noqa: ARG002  # the Policy interface
        """The curve at each observation; NaN stays NaN (that setpoint is left alone)."""
        if self._reads is not None:
            observation = observation[self._reads]
        if self._single is not None:
            return (self._law(observation.item()) * self._single,)
        seen = observation.tolist()
        if self._shared:
            seen = seen * len(self._bases)
        answer = [self._law(x) * base for x, base in zip(seen, self._bases, strict=True)]
        if self._smoothing < 1.0:
            answer = self._smoothed(answer)
        return answer

    def _law(self, x: float) -> float:
        if x != x:
            return x
        place = bisect_right(self._x, x) - 1
        if place < 0:
            return self._y[0]
        if place >= len(self._slope):
            return self._y[-1]
        return self._y[place] + self._slope[place] * (x - self._x[place])

    def _smoothed(self, target: list[float]) -> list[float]:
        step = self._smoothing
        answer = [old + step * (new - old) for old, new in zip(self._last, target, strict=True)]
        self._last = [new if new == new else old for old, new in zip(self._last, answer, strict=True)]
        return answer


class Random:
    """Uniform setpoints: the null hypothesis, and a hard test of everything downstream."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = "random"
    summary: ClassVar[str] = "uniform random setpoints within bounds"

    class Config(PluginConfig):
        """Options of `random`."""

        kind: Literal["random"] = "random"
        low: float | None = Field(None, description="Smallest value (default: each point's lower bound).")
        high: float | None = Field(None, description="Largest value (default: each point's upper bound).")

        @model_validator(mode="after")
        def _ordered(self) -> Self:
            if self.low is not None and self.high is not None and self.low > self.high:
                raise ValueError(f"low {self.low} must not exceed high {self.high}")
            return self

    def __init__(self, low: Vector, high: Vector, rng: np.random.Generator) -> None:
        self._low, self._high, self._rng = low, high, rng

    @classmethod
    def build(cls, config: Config, situation: Situation) -> Self:
        """The policy of one agent."""
        low = situation.low if config.low is None else np.full(len(situation.low), config.low)
        high = situation.high if config.high is None else np.full(len(situation.high), config.high)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise PluginError("policy random: an actuated point has no bounds; give `low` and `high`")
        return cls(low, high, situation.rng("random"))

    def act(self, observation: Vector, t_us: int) -> Any:  # noqa: ARG002  # the Policy interface
        """A fresh uniform draw."""
        return self._rng.uniform(self._low, self._high)
