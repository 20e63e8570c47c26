"""Simulated communication links: rules give verdicts on messages (pass, pass later, drop).  See `rule` for the idea."""

from __future__ import annotations

from cosim.channel.channel import Channel, build_channels
from cosim.channel.link import Link
from cosim.channel.route import Route
from cosim.channel.rule import Corrupted, Drawn, Fate, Forking, Judged, Rule, RuleConfig, RuleSite
from cosim.channel.traffic import Traffic

__all__ = ["Channel", "Corrupted", "Drawn", "Fate", "Forking", "Judged", "Link", "Route", "Rule", "RuleConfig",
           "RuleSite", "Traffic", "build_channels"]
