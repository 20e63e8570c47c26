"""Families of plugins, and the base of their options."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

#: Families of plugins and the entry-point group of each.
FAMILIES: Mapping[str, str] = {
    "device": "gridloop.devices",
    "policy": "gridloop.policies",
    "rule": "gridloop.channel_rules",
    "disturbance": "gridloop.disturbances",
    "listener": "gridloop.listeners",
    "station": "gridloop.stations",
    "term": "gridloop.terms",
}


class PluginConfig(BaseModel):
    """Base of every plugin's options: unknown keys are errors, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DeviceConfig(PluginConfig):
    """What every device has: a name, and a place in the network."""

    name: str = Field(description="Unique name; its points are `<name>.<point>`. With `each`, a template that contains "
                                  "{}.")
    kind: str
