"""The shield of a run: in the field, or in the control centre where the scenario says so."""

from __future__ import annotations

from collections.abc import Mapping

from cosim.channel import Channel
from cosim.kernel import Kernel
from cosim.scenario.schema import Scenario
from cosim.shield import NetworkShield, Shield
from cosim.simulation.remote import RemoteShield
from cosim.simulation.shielding import Surroundings, make_shield, remote_options


def guard(scenario: Scenario, around: Surroundings, kernel: Kernel, channels: Mapping[str, Channel]) -> Shield:
    """The shield; ScenarioError with every name that does not exist."""
    shield = make_shield(scenario, around)
    if scenario.shield.telemetry is None or not isinstance(shield, NetworkShield):
        return shield
    return RemoteShield(shield, kernel, around.grid, remote_options(scenario, around, channels))
