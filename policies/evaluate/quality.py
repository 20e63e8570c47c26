"""Qualities of the channel between learners and field, written short: ``ideal,delay=0.5s,delay=0.5s+loss=20%``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cosim.errors import GridloopError
from cosim.scenario.schema import Scenario
from policies.placement import learner_entries

#: Name of the channel that is put into the scenario, and most qualities compared.
CHANNEL = "evaluated"
MAX_QUALITIES = 50

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min)?")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%)?")
_MS = {"ms": 1.0, "s": 1e3, "min": 60e3, None: 1e3}
_ACCEPTED = "'scenario' (as the file says), 'ideal', or parts joined by +: delay=0.5s, jitter=200ms, loss=20%"


class QualityError(GridloopError):
    """A channel quality that is none."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How what learners see and order travels: `kind` is ``scenario``, ``ideal`` or ``channel``, whose `rules` are
    JSON."""

    name: str
    kind: str
    rules: str = "[]"

    def overrides(self, scenario: Scenario) -> tuple[str, ...]:
        """Overrides of a scenario that make its learners' telemetry so; other agents keep theirs."""
        if self.kind == "scenario":
            return ()
        changes = []
        if self.kind == "channel":
            others = [channel.model_dump(mode="json", exclude_unset=True) for channel in scenario.channels
                      if channel.name != CHANNEL]
            channels = [*others, {"name": CHANNEL, "rules": json.loads(self.rules)}]
            changes.append(f"channels={json.dumps(channels)}")
        for i in learner_entries(scenario):
            telemetry = scenario.agents[i].telemetry.model_dump(mode="json", exclude_unset=True)
            telemetry = {key: value for key, value in telemetry.items() if key not in ("kind", "channel")}
            telemetry |= {"kind": "channel", "channel": CHANNEL} if self.kind == "channel" else {"kind": "direct"}
            changes.append(f"agents.{i}.telemetry={json.dumps(telemetry)}")
        return tuple(changes)


def qualities(text: str) -> tuple[Quality, ...]:
    """Qualities separated by commas; raises QualityError."""
    found = tuple(_quality(part.strip()) for part in text.split(","))
    if len(found) > MAX_QUALITIES:
        raise QualityError(f"channels: {len(found)} qualities; expected at most {MAX_QUALITIES}")
    names = [quality.name for quality in found]
    if len(set(names)) < len(names):
        raise QualityError(f"channels: {next(name for name in names if names.count(name) > 1)!r} is named twice")
    return found


def _quality(text: str) -> Quality:
    if text in ("scenario", "ideal"):
        return Quality(text, text)
    rules = []
    for part in text.split("+"):
        key, equals, value = (word.strip() for word in part.partition("="))
        make = _PARTS.get(key)
        if make is None or not equals:
            raise QualityError(f"channels: found {text!r:.80}; expected {_ACCEPTED}")
        rules.append(make(text, value))
    return Quality(text, "channel", json.dumps(rules))


def _delay(text: str, value: str) -> dict[str, Any]:
    return {"kind": "latency", "distribution": "constant", "delay_ms": _ms(text, value)}


def _jitter(text: str, value: str) -> dict[str, Any]:
    return {"kind": "latency", "distribution": "uniform", "low_ms": 0.0, "high_ms": _ms(text, value)}


def _loss(text: str, value: str) -> dict[str, Any]:
    match = _SHARE.fullmatch(value)
    share = float(match[1]) / (100.0 if match[2] else 1.0) if match else -1.0
    if not 0 <= share <= 1:
        raise QualityError(f"channels: {text!r:.80}: loss is {value!r:.20}; expected 0 to 1, or 0% to 100%")
    return {"kind": "loss", "probability": share}


def _ms(text: str, value: str) -> float:
    match = _TIME.fullmatch(value)
    if match is None:
        raise QualityError(f"channels: {text!r:.80}: found {value!r:.20}; expected a time such as 0.5s, 200ms or 1min")
    return float(match[1]) * _MS[match[2]]


_PARTS: dict[str, Callable[[str, str], dict[str, Any]]] = {"delay": _delay, "jitter": _jitter, "loss": _loss}
