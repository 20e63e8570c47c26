"""Scenario files: schema, loader, checks."""

from __future__ import annotations

from cosim.scenario.expand import Expanded, expand_agents, expand_devices
from cosim.scenario.find import find_scenario, shipped_scenarios
from cosim.scenario.loader import LoadedScenario, load_scenario, load_text
from cosim.scenario.plugin_options import configure
from cosim.scenario.schema import Scenario

__all__ = ["Expanded", "LoadedScenario", "Scenario", "configure", "expand_agents", "expand_devices", "find_scenario",
           "load_scenario", "load_text", "shipped_scenarios"]
