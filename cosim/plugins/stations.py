"""What a station (an RTU, an inverter's controller, a meter, a relay) and a listener (a door for masters) are.

The core knows of them only what a scenario must be able to say; the kinds themselves live in `gateways`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import Field

from cosim.plugins.config import PluginConfig
from cosim.points import PointDatabase


class StationConfig(PluginConfig):
    """What every station has: a name, the listener behind which it answers, and its address there."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$",
                      description="Unique name: in messages, in the audit log, and as the source of its commands.")
    kind: str
    listener: str | None = Field(None, description="Name of the listener it answers at (default: the only one).")
    unit: int = Field(1, ge=1, le=247, description="Unit identifier (RTU address): unique behind one listener.")


class ListenerConfig(PluginConfig):
    """What every listener has: a name."""

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$", description="Unique name.")
    kind: str


class StationSite(Protocol):
    """What a station may ask of the run that it stands in."""

    points: PointDatabase
    gate: Any
    """`gateways.gate.Gate`: the one way in for its writes."""
    device_kinds: dict[str, str]
    """Kind of every device by name."""
    device_configs: dict[str, Any]
    """Validated options of every device by name."""

    def file(self, name: str) -> Path:
        """A file that the scenario names, relative to it; raises ScenarioError when there is none."""


class StationKind(Protocol):
    """The class that an entry point of ``gridloop.stations`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[StationConfig]]

    @classmethod
    def build(cls, config: Any, site: StationSite) -> Any:
        """The `gateways.station.Station`; raises ScenarioError naming every point or file that does not fit."""


class ListenerKind(Protocol):
    """The class that an entry point of ``gridloop.listeners`` names."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[ListenerConfig]]

    @classmethod
    def build(cls, config: Any, base_dir: Path) -> Any:
        """The `gateways.listener.Listener`, not open yet; raises ScenarioError for missing certificates and such."""
