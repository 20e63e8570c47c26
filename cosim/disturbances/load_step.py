"""A step of demand (or generation) at a bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from cosim.disturbances.base import DisturbanceConfig, Stage


class LoadStep:
    """Extra demand at a bus, for a while."""

    family: ClassVar[str] = "disturbance"
    kind: ClassVar[str] = "load_step"
    summary: ClassVar[str] = "extra demand at a bus or at a device's bus, for duration_s"

    class Config(DisturbanceConfig):
        """Options of `load_step`."""

        kind: Literal["load_step"] = "load_step"
        bus: str | None = Field(None, description="Bus at which demand steps.")
        device: str | None = Field(None, description="Device at whose bus demand steps, instead of `bus`.")
        p_kw: float = Field(description="Extra active demand (consumption positive; negative: less demand).")
        q_kvar: float = Field(0.0, description="Extra reactive demand (consumption positive).")

        @model_validator(mode="after")
        def _placed(self) -> Self:
            if (self.bus is None) == (self.device is None):
                raise ValueError("load_step needs either `bus` or `device`")
            return self

    def __init__(self, config: Config, bus: str, inject: Callable[[float, float], None]) -> None:
        self.subject = f"bus.{bus}"
        self._config, self._inject = config, inject

    @classmethod
    def build(cls, config: Config, stage: Stage) -> Self:
        """The disturbance."""
        bus = config.bus if config.bus is not None else stage.device_bus(str(config.device))
        return cls(config, bus, stage.injection(bus))

    def begin(self) -> str:
        """Step up."""
        self._inject(-self._config.p_kw, -self._config.q_kvar)
        return f"{self._config.p_kw:+g} kW {self._config.q_kvar:+g} kvar of demand"

    def end(self) -> str:
        """Step back."""
        self._inject(0.0, 0.0)
        return "demand back"
