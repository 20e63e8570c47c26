"""Partitions at set times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field, field_validator

from cosim.channel.rule import Fate, Judged, RuleConfig, RuleSite
from cosim.errors import KernelError
from cosim.kernel import Kernel, whole_us

_PARTITIONED = int(Fate.PARTITIONED)


class PartitionConfig(RuleConfig):
    """Options of `partition`: windows ``[start_s, end_s)`` in order of time.

    With `drop_in_flight` what is under way on the link when a window starts is lost too (also what would arrive at
    that very instant); without it, it arrives.
    """

    kind: str = "partition"
    windows: tuple[tuple[float, float], ...] = Field(min_length=1, max_length=100_000, description=(
        "Times [start_s, end_s] between which nothing passes, in order of time."))
    drop_in_flight: bool = Field(False, description="Whether what is under way when a window starts is lost too.")

    @field_validator("windows")
    @classmethod
    def _in_order(cls, windows: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        last_us = 0
        for start_s, end_s in windows:
            try:
                start_us, end_us = whole_us(start_s), whole_us(end_s)
            except KernelError as error:
                raise ValueError(str(error)) from error
            if not last_us <= start_us < end_us:
                raise ValueError(f"window [{start_s:g}, {end_s:g}): expected start_s < end_s and windows in order of "
                                 "time that do not overlap")
            last_us = end_us
        return windows


class Partition(Judged):
    """The link is down in set windows."""

    kind: ClassVar[str] = "partition"
    summary: ClassVar[str] = "the link is down in set windows of time"
    Config: ClassVar[type[RuleConfig]] = PartitionConfig
    ordered = True

    def __init__(self, windows: tuple[tuple[int, int], ...], kernel: Kernel, *, drop_in_flight: bool) -> None:
        self._windows, self._kernel, self._drop_in_flight = windows, kernel, drop_in_flight
        self._next = 0

    @classmethod
    def build(cls, config: PartitionConfig, site: RuleSite) -> Partition:
        """The rule."""
        windows = tuple((whole_us(start_s), whole_us(end_s)) for start_s, end_s in config.windows)
        return cls(windows, site.kernel, drop_in_flight=config.drop_in_flight)

    def attach(self, cut: Callable[[Any], None]) -> None:
        """Schedule the cuts: now, so that they come first at their instants."""
        if self._drop_in_flight:
            for start_us, _ in self._windows:
                self._kernel.at(start_us, cut)

    def judge(self, t_us: int, size_bytes: int) -> int:  # noqa: ARG002 - size plays no part
        """0 or PARTITIONED."""
        windows, i = self._windows, self._next
        while i < len(windows) and t_us >= windows[i][1]:
            i += 1
        self._next = i
        return _PARTITIONED if i < len(windows) and t_us >= windows[i][0] else 0
