"""The last function between any request and the grid."""

from cosim.shield.capability import CapabilityShield
from cosim.shield.decision import Asked, Breach, Rung, Shield, ShieldDecision, ShieldReason
from cosim.shield.network import NetworkShield

__all__ = ["Asked", "Breach", "CapabilityShield", "NetworkShield", "Rung", "Shield", "ShieldDecision", "ShieldReason"]
