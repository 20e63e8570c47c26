"""What a disturbance is, what it may touch, and when it happens.

A disturbance has a `begin` and an `end`; the scheduler here calls them in DRIVE at the scenario's times, writes an
event row for each, and asks for a SOLVE at that very instant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.channel import Channel
from cosim.kernel import Kernel, whole_us
from cosim.plugins import PluginConfig
from cosim.points import Ids, Vector
from cosim.scenario.model import Period, Seconds


class RandomTimes(PluginConfig):
    """Poisson times: exponential gaps of the stated mean rate."""

    per_hour: float = Field(gt=0, le=3600, description="Mean number an hour.")
    start_s: Seconds = Field(0.0, description="No earlier than this.")
    end_s: Seconds | None = Field(None, description="No later than this (default: the end of the run).")


class DisturbanceConfig(PluginConfig):
    """When a disturbance happens; every kind has these."""

    kind: str
    at_s: Seconds | tuple[Seconds, ...] | None = Field(None, description="Time or times at which it begins.")
    random: RandomTimes | None = Field(None, description="Random times instead of `at_s`.")
    duration_s: Period | None = Field(
        None, description="How long it lasts (default: to the end of the run).")

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at_s is None) == (self.random is None):
            raise ValueError("give either `at_s` or `random: {per_hour: …}`")
        if self.random is not None and self.duration_s is None:
            raise ValueError("random disturbances need `duration_s`")
        return self


class Disturbance(Protocol):
    """Something that begins and ends.  `begin` may be called again after `end`, never in between."""

    subject: str
    """What it hits, for the event log."""

    def begin(self) -> str:
        """Let it happen; returns a few words for the event log."""

    def end(self) -> str:
        """Undo it; returns a few words for the event log."""


class Stage(Protocol):
    """What disturbances may touch.  Look-ups raise PluginError naming close matches."""

    kernel: Kernel
    duration_us: int
    cuts: dict[str, int]
    """By link: how many partitions are in force."""

    def outage(self, table: str, name: str) -> tuple[Callable[[], None], Callable[[], None]]:
        """(begin, end) of an outage of a network element; `table`: line, trafo, gen or switch."""

    def injection(self, bus: str) -> Callable[[float, float], None]:
        """A new injection at a bus: the function that sets its p_kw and q_kvar."""

    def setpoint(self, name: str) -> Callable[[float | None], None]:
        """Commands an output point with interlock authority; None releases it."""

    def resting(self, name: str) -> Callable[[float], None]:
        """Commands an output point with schedule authority: what holds while nobody else asks."""

    def points(self, patterns: Sequence[str]) -> Ids:
        """Ids of points, by names and patterns."""

    def values(self) -> Vector:
        """All published values."""

    def sensor_fault(self, ids: Ids, fault: Callable[[Vector, int], Any]) -> Callable[[], None]:
        """Let a sensor fault begin; returns the function that ends it."""

    def channel(self, name: str) -> Channel:
        """A channel of the scenario."""

    def device_bus(self, name: str) -> str:
        """Name of the bus at which a device stands."""

    def rng(self, name: str) -> np.random.Generator:
        """A named random stream."""

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Write an event row."""

    def request_solve(self) -> None:
        """Ask for a SOLVE at this instant."""


class DisturbanceKind(Protocol):
    """The class that an entry point of ``gridloop.disturbances`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[DisturbanceConfig]]

    @classmethod
    def build(cls, config: Any, stage: Stage) -> Disturbance:
        """The disturbance; raises PluginError for what it cannot find."""


@dataclass(slots=True)
class _Scheduled:
    name: str
    kind: str
    disturbance: Disturbance
    duration_us: int | None
    stage: Stage
    active: bool = False
    until_us: int = 0

    def begin(self, _: Any) -> None:
        """Begin, or last longer: times that overlap or touch are one disturbance."""
        now_us = self.stage.kernel.now_us
        if self.duration_us is not None:
            self.until_us = now_us + self.duration_us
            self.stage.kernel.at(self.until_us, self.end)
        if not self.active:
            self.active = True
            self._write("begin", self.disturbance.begin())

    def end(self, _: Any) -> None:
        """End, unless it has begun again meanwhile."""
        if self.stage.kernel.now_us < self.until_us:
            return
        self.active = False
        self._write("end", self.disturbance.end())

    def _write(self, edge: str, words: str) -> None:
        self.stage.event(f"{self.kind}.{edge}", self.disturbance.subject, words)
        self.stage.request_solve()


def schedule(name: str, config: DisturbanceConfig, disturbance: Disturbance, stage: Stage) -> None:
    """Put the begin and end times of one disturbance on the calendar; `name` is its random stream's."""
    duration_us = None if config.duration_s is None else round(config.duration_s * 1e6)
    entry = _Scheduled(name, config.kind, disturbance, duration_us, stage)
    for t_us in _times(name, config, stage):
        stage.kernel.at(t_us, entry.begin)


def _times(name: str, config: DisturbanceConfig, stage: Stage) -> list[int]:
    if config.at_s is not None:
        times = config.at_s if isinstance(config.at_s, tuple) else (config.at_s,)
        return [whole_us(t_s) for t_s in times]
    assert config.random is not None
    end_us = stage.duration_us if config.random.end_s is None else whole_us(config.random.end_s)
    found: list[int] = []
    t_us, rng = whole_us(config.random.start_s), stage.rng(name)
    while True:
        t_us += max(1, round(rng.exponential(3600e6 / config.random.per_hour)))
        if t_us > end_us:
            return found
        found.append(t_us)
