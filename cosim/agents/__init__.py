"""Controllers: when they wake, what they see, how their commands travel, and what the field does with late ones."""

from cosim.agents.agent import Agent
from cosim.agents.field import Action, AgentBoard, FieldEnd, LatePolicy
from cosim.agents.telemetry import Reporter, TelemetryHub

__all__ = ["Action", "Agent", "AgentBoard", "FieldEnd", "LatePolicy", "Reporter", "TelemetryHub"]
