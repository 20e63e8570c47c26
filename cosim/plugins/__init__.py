"""What a plugin is: the interfaces, and the registry that finds them.  This is what a plugin author reads.

Everything that can be added is a plugin, built-ins included: a class with a pydantic ``Config`` and a ``build``,
named by an entry point of one of the `FAMILIES` below, e.g. in your own ``pyproject.toml``::

    [project.entry-points."gridloop.devices"]
    electrolyser = "my_package.electrolyser:Electrolyser"

or found in a folder that the scenario names (``plugins: [my_folder]``), which is loaded only when the person who runs
it says ``--allow-plugins``: there, every public class with a ``family`` and a ``kind`` attribute is registered.
"""

from __future__ import annotations

from cosim.plugins.config import FAMILIES, DeviceConfig, PluginConfig
from cosim.plugins.devices import (
    DelayedGroup,
    DeviceGroup,
    DeviceKind,
    Envelope,
    Injection,
    Limit,
    Measurement,
    MeteringGroup,
    Placement,
    PositionedGroup,
    Role,
    RowGroup,
    Setpoint,
    Site,
    StorageGroup,
    StoredEnergy,
)
from cosim.plugins.policies import ListeningPolicy, Message, Policy, PolicyKind, RuleKind, Situation
from cosim.plugins.registry import Registry
from cosim.plugins.stations import ListenerConfig, ListenerKind, StationConfig, StationKind, StationSite
from cosim.plugins.terms import Per, TermConfig, TermGroup, TermKind, TermSite, TermView

__all__ = [
    "DelayedGroup",
    "DeviceConfig",
    "DeviceGroup",
    "DeviceKind",
    "Envelope",
    "FAMILIES",
    "Injection",
    "Limit",
    "ListenerConfig",
    "ListenerKind",
    "ListeningPolicy",
    "Measurement",
    "Message",
    "MeteringGroup",
    "Per",
    "Placement",
    "PluginConfig",
    "Policy",
    "PolicyKind",
    "PositionedGroup",
    "Registry",
    "Role",
    "RowGroup",
    "RuleKind",
    "Setpoint",
    "Site",
    "StationConfig",
    "StationKind",
    "StationSite",
    "StorageGroup",
    "StoredEnergy",
    "Situation",
    "TermConfig",
    "TermGroup",
    "TermKind",
    "TermSite",
    "TermView",
]
