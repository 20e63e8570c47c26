"""The last function between any request and the grid."""

from cosim.shield.capability import CapabilityShield
from cosim.shield.decision import ShieldDecision, ShieldReason

__all__ = ["CapabilityShield", "ShieldDecision", "ShieldReason"]
