"""Sensors that lie: frozen, biased, noisy.  The grid is as it is; what is published is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from cosim.disturbances.base import DisturbanceConfig, Stage
from cosim.points import Quality, Vector


class _SensorConfig(DisturbanceConfig):
    """Which points are hit."""

    points: tuple[str, ...] = Field(min_length=1, description="Points hit; patterns with *.")


class _SensorFault:
    """Begins and ends one fault; what it does to values is the subclass's `fault`."""

    def __init__(self, config: Any, stage: Stage) -> None:
        self.subject = ", ".join(config.points)
        self._config, self._stage = config, stage
        self._end: Callable[[], None] | None = None

    @classmethod
    def build(cls, config: Any, stage: Stage) -> Self:
        """The disturbance; the points are checked now."""
        stage.points(config.points)
        return cls(config, stage)

    def begin(self) -> str:
        """Start lying."""
        ids = self._stage.points(self._config.points)
        self._end = self._stage.sensor_fault(ids, self.fault(self._stage.values()[ids]))
        return f"{len(ids)} points"

    def end(self) -> str:
        """Tell the truth again."""
        assert self._end is not None
        self._end()
        return "good again"

    def fault(self, held: Vector) -> Callable[[Vector, int], Quality]:
        """The function that changes values in place; `held` are the values published last."""
        raise NotImplementedError


class PointFreeze(_SensorFault):
    """Values stop moving; quality says STALE only if the scenario lets the fault be noticed."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "point_freeze"
    summary: ClassVar[str] = "points keep the value they had"

    class Config(_SensorConfig):
        """Options of `point_freeze`."""

        kind: Literal["point_freeze"] = "point_freeze"
        flagged: bool = Field(True, description="Whether the quality shows it (STALE); false: nobody can tell.")

    def fault(self, held: Vector) -> Callable[[Vector, int], Quality]:
        """Hold."""
        flag = Quality.STALE if self._config.flagged else Quality.GOOD

        def freeze(values: Vector, _: int) -> Quality:
            values[:] = held
            return flag

        return freeze


class PointBias(_SensorFault):
    """Values are off by a constant or a factor."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "point_bias"
    summary: ClassVar[str] = "points are published as gain x value + offset"

    class Config(_SensorConfig):
        """Options of `point_bias`."""

        kind: Literal["point_bias"] = "point_bias"
        offset: float = Field(0.0, description="Added, in the points' unit.")
        gain: float = Field(1.0, description="Multiplied first.")

    def fault(self, held: Vector) -> Callable[[Vector, int], Quality]:  # noqa: ARG002  # a bias remembers nothing
        """Shift."""
        gain, offset = self._config.gain, self._config.offset

        def bias(values: Vector, _: int) -> Quality:
            values *= gain
            values += offset
            return Quality.GOOD

        return bias


class PointNoise(_SensorFault):
    """Values carry Gaussian noise."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "point_noise"
    summary: ClassVar[str] = "points carry Gaussian noise"

    class Config(_SensorConfig):
        """Options of `point_noise`."""

        kind: Literal["point_noise"] = "point_noise"
        sigma: float = Field(gt=0, description="Standard deviation, in the points' unit.")

    def __init__(self, config: Any, stage: Stage) -> None:
        super().__init__(config, stage)
        # One stream for the whole run: a second occurrence must not repeat the noise of the first.
        self._rng: np.random.Generator = stage.rng(f"noise.{self.subject}")

    def fault(self, held: Vector) -> Callable[[Vector, int], Quality]:  # noqa: ARG002  # noise remembers nothing
        """Shake."""
        rng, sigma = self._rng, self._config.sigma

        def noise(values: Vector, _: int) -> Quality:
            values += rng.normal(0.0, sigma, len(values))
            return Quality.GOOD

        return noise
