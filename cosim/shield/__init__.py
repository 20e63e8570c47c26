"""The last function between any request and the grid."""

from cosim.shield.capability import CapabilityShield
from cosim.shield.decision import Breach, Rung, ShieldDecision, ShieldReason

__all__ = ["Breach", "CapabilityShield", "Rung", "ShieldDecision", "ShieldReason"]
