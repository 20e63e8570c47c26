"""A channel goes silent."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from cosim.channel import Channel
from cosim.disturbances.base import DisturbanceConfig, Stage


class ChannelPartition:
    """Nothing gets through a channel, in one direction or both."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "partition"
    summary: ClassVar[str] = "a channel delivers nothing, for duration_s"

    class Config(DisturbanceConfig):
        """Options of `partition`."""

        kind: Literal["partition"] = "partition"
        channel: str = Field(description="Name of the channel.")
        drop_in_flight: bool = Field(False, description="Whether what is under way is lost too.")
        direction: Literal["both", "up", "down"] = Field(
            "both", description="up: field to agent; down: agent to field.")

    def __init__(self, channel: Channel, direction: str, drop_in_flight: bool, cuts: dict[str, int]) -> None:
        self.subject = f"channel.{channel.name}"
        self._drop_in_flight, self._cuts = drop_in_flight, cuts
        self._links = [getattr(channel, side) for side in ("up", "down") if direction in ("both", side)]

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        return cls(stage.channel(config.channel), config.direction, config.drop_in_flight, stage.cuts)

    def begin(self) -> str:
        """Cut."""
        for link in self._links:
            self._cuts[link.name] = self._cuts.get(link.name, 0) + 1
            link.block(drop_in_flight=self._drop_in_flight)
        return "partitioned"

    def end(self) -> str:
        """Mend, unless another partition cuts the same direction."""
        for link in self._links:
            self._cuts[link.name] -= 1
            if not self._cuts[link.name]:
                link.open_()
        return "mended"
