"""Options of a station of kind ``sunspec``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cosim.plugins.config import PluginConfig
from cosim.plugins.stations import StationConfig

#: Models that this gateway can serve, by what they describe.
METER_MODELS = (1, 203)
INVERTER_MODELS = (1, 103, 113, 120, 121, 122, 123, 124, 701, 702, 703, 704, 705, 706, 707, 708, 709, 710, 711, 712,
                   713, 714, 715)


class MeterConfig(PluginConfig):
    """What a meter measures: the power through one place, and the voltage of one bus."""

    grid: bool = Field(False, description="The external grid's connection: `grid.slack_p_kw`, `grid.slack_q_kvar`.")
    line: str | int | None = Field(None, description="A line, at its from end; positive from there to the other end.")
    trafo: str | int | None = Field(None, description="A transformer, at its from end.")
    bus: str | int | None = Field(None, description="The bus whose voltage is shown (none: no voltage, no current).")
    s_full_kva: float = Field(10_000.0, gt=0, le=1e7, description=(
        "Full scale: the scale factors are chosen for it; power beyond it by half shows as not implemented."))

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        places = (self.grid, self.line is not None, self.trafo is not None)
        if sum(places) > 1 or not (any(places) or self.bus is not None):
            raise ValueError("expected one of `grid: true`, `line` and `trafo` (and a `bus` for the voltage), or a "
                             "`bus` alone")
        return self


class SunSpecConfig(StationConfig):
    """A SunSpec inverter, battery or meter.  The run has no phases: every model shows three equal ones."""

    kind: Literal["sunspec"] = "sunspec"
    device: str | None = Field(None, description="Name of the pv, wind or battery device that it stands for.")
    meter: MeterConfig | None = Field(None, description="Instead of `device`: what a meter (model 203) measures.")
    models: tuple[int, ...] | None = Field(None, min_length=1, max_length=30, description=(
        "SunSpec models in order (default: all that say something about the device). 1 comes first."))
    base: Literal[40000, 0, 50000] = Field(40000, description="Address of the `SunS` marker.")
    manufacturer: str = Field("Gridloop", min_length=1, max_length=32, description="Mn of model 1.")
    model: str = Field("SIMULATOR", min_length=1, max_length=32, description="Md of model 1.")
    version: str = Field("", max_length=16, description="Vr of model 1.")
    serial: str = Field("", max_length=32, description="SN of model 1 (default: the station's name).")
    writable: bool = Field(False, description="Whether masters may write controls.")
    role_write: Literal["operator", "engineer", "admin"] = Field("operator", description="Least role that may write.")
    heartbeat_s: float | None = Field(None, gt=0, le=86_400, description=(
        "Once a master has written ControllerHb (715): when it has not changed for this long, what masters asked for "
        "reverts as if every reversion timer had ended (none: never)."))
    v_nom_v: float = Field(400.0, gt=0, le=1e6, description="Nominal voltage between lines, V: what 1 pu is shown as.")
    hz: float = Field(50.0, gt=0, le=400, description="Frequency shown: the run itself has none.")

    @model_validator(mode="after")
    def _subject(self) -> Self:
        if (self.device is None) == (self.meter is None):
            raise ValueError("give either `device` (a pv, wind or battery device) or `meter`")
        known = INVERTER_MODELS if self.meter is None else METER_MODELS
        for model in self.models or ():
            if model not in known:
                what = "an inverter" if self.meter is None else "a meter"
                raise ValueError(f"models: {model} is none that {what} can have here; expected some of "
                                 f"{', '.join(map(str, known))}")
        if self.models is not None and (self.models[0] != 1 or len(set(self.models)) != len(self.models)):
            raise ValueError(f"models: found {list(self.models)}; expected 1 first and every model once")
        return self
