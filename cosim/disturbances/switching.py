"""Outages of network elements, and breaker operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from cosim.disturbances.base import DisturbanceConfig, Stage


class _Outage:
    """An element goes out of service and returns."""

    def __init__(self, subject: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.subject, self._begin, self._end = subject, begin, end

    def begin(self) -> str:
        """Out."""
        self._begin()
        return "out of service"

    def end(self) -> str:
        """Back."""
        self._end()
        return "back in service"


class LineOutage(_Outage):
    """A line trips."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "line_outage"
    summary: ClassVar[str] = "a line goes out of service, and returns after duration_s"

    class Config(DisturbanceConfig):
        """Options of `line_outage`."""

        kind: Literal["line_outage"] = "line_outage"
        line: str = Field(description="Name of the line.")

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        return cls(f"line.{config.line}", *stage.outage("line", config.line))


class TransformerOutage(_Outage):
    """A transformer trips."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "transformer_outage"
    summary: ClassVar[str] = "a transformer goes out of service, and returns after duration_s"

    class Config(DisturbanceConfig):
        """Options of `transformer_outage`."""

        kind: Literal["transformer_outage"] = "transformer_outage"
        trafo: str = Field(description="Name of the transformer.")

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        return cls(f"trafo.{config.trafo}", *stage.outage("trafo", config.trafo))


class GeneratorOutage(_Outage):
    """A regulating generator trips."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "generator_outage"
    summary: ClassVar[str] = "a voltage-regulating generator trips, and returns after duration_s"

    class Config(DisturbanceConfig):
        """Options of `generator_outage`."""

        kind: Literal["generator_outage"] = "generator_outage"
        gen: str = Field(description="Name of the generator in the network.")

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        return cls(f"gen.{config.gen}", *stage.outage("gen", config.gen))


class BreakerOperation:
    """Somebody operates a breaker device; at the end of duration_s it is put back and let go."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "breaker"
    summary: ClassVar[str] = "a breaker device is operated, and put back after duration_s"

    class Config(DisturbanceConfig):
        """Options of `breaker`."""

        kind: Literal["breaker"] = "breaker"
        device: str = Field(description="Name of a device of kind breaker.")
        closed: bool = Field(False, description="Position it is put into.")

    def __init__(self, config: Any, stage: Stage) -> None:
        self.subject, self._closed, self._stage = config.device, config.closed, stage
        self._command = stage.setpoint(f"{config.device}.closed")
        self._rest = stage.resting(f"{config.device}.closed")
        self._position = stage.points([f"{config.device}.is_closed"])

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        return cls(config, stage)

    def begin(self) -> str:
        """Operate."""
        # Where it stands now goes below whatever else is asked, while the door is not yet blocked by the interlock.
        self._rest(float(self._stage.values()[self._position][0]))
        self._command(float(self._closed))
        return "closed" if self._closed else "opened"

    def end(self) -> str:
        """Let go: the breaker follows whatever else is in force, and else returns to where it was."""
        self._command(None)
        return "put back"
