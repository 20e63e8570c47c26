"""The ``channels:`` part of a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any

from pydantic import Field, ValidationError, model_validator

from cosim.channel.rule import RuleConfig
from cosim.errors import PluginError, Problem
from cosim.plugins import PluginConfig, Registry

RawRule = Mapping[str, Any]


class Ordering(Enum):
    """Whether messages of one link may overtake each other."""

    FREE = "free"
    FIFO = "fifo"


class ChannelConfig(PluginConfig):
    """One channel: rules of its own, or a route over other channels.

    `rules` hold in both directions (each with its own chance and its own queue); `up` (field to agent, agent to
    agent) or `down` (agent to field) stands in place of `rules` for that direction.  `capacity`: the most messages
    in flight per direction.  `hops`: names of channels from the field's side to the agents'; a route takes nothing
    else.
    """

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_\-]*$", max_length=100)
    rules: tuple[dict[str, Any], ...] = Field((), max_length=100)
    up: tuple[dict[str, Any], ...] | None = Field(None, max_length=100)
    down: tuple[dict[str, Any], ...] | None = Field(None, max_length=100)
    ordering: Ordering = Ordering.FREE
    capacity: int = Field(10_000, gt=0)
    hops: tuple[str, ...] | None = Field(None, min_length=1, max_length=100)

    @model_validator(mode="after")
    def _rules_or_hops(self) -> ChannelConfig:
        if self.hops is not None:
            own = [key for key in ("rules", "up", "down", "ordering", "capacity") if key in self.model_fields_set]
            if own:
                raise ValueError(f"a channel with hops has no {', '.join(own)} of its own; its hops have")
        return self

    def rules_of(self, direction: str) -> tuple[RawRule, ...]:
        """Raw rules of ``up`` or ``down``."""
        own: tuple[RawRule, ...] | None = getattr(self, direction)
        return self.rules if own is None else own


def read_rule(raw: RawRule, registry: Registry) -> tuple[Any, RuleConfig]:
    """The plugin class and the validated options of one rule.

    Raises PluginError for an unknown kind (naming the known ones), pydantic's ValidationError for wrong options.
    """
    kind = raw.get("kind")
    if not isinstance(kind, str):
        raise PluginError(f"a rule needs a kind; known: {', '.join(registry.kinds('rule'))}")
    plugin = registry.get("rule", kind)
    return plugin, plugin.Config.model_validate(dict(raw))


def channel_problems(raws: Sequence[Any], registry: Registry) -> tuple[Problem, ...]:
    """Everything wrong with a scenario's channels; paths are like ``channels.0.rules.1.probability``."""
    problems: list[Problem] = []
    configs: list[tuple[int, ChannelConfig]] = []
    for i, raw in enumerate(raws):
        try:
            configs.append((i, ChannelConfig.model_validate(raw)))
        except ValidationError as error:
            problems.extend(_problems_of(error, f"channels.{i}", ChannelConfig))
    for i, config in configs:
        for key in ("rules", "up", "down"):
            for j, rule in enumerate(getattr(config, key) or ()):
                problems.extend(_rule_problems(rule, f"channels.{i}.{key}.{j}", registry))
    return tuple(problems) + _name_problems(configs)


def _rule_problems(raw: RawRule, path: str, registry: Registry) -> list[Problem]:
    try:
        read_rule(raw, registry)
    except PluginError as error:
        return [Problem(str(error), f"{path}.kind")]
    except ValidationError as error:
        return _problems_of(error, path, registry.get("rule", raw["kind"]).Config)
    return []


def _problems_of(error: ValidationError, path: str, config: type[PluginConfig]) -> list[Problem]:
    accepted = tuple(config.model_fields)
    found = []
    for item in error.errors(include_url=False):
        place = ".".join([path, *(str(part) for part in item["loc"])])
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            near = get_close_matches(str(item["loc"][-1]), accepted, 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            message = f"unknown key; {hint}accepted: {', '.join(accepted)}"
        elif item["type"] != "missing" and item["loc"]:
            message = f"{message} (found {item['input']!r:.60})"
        found.append(Problem(message, place))
    return found


def _name_problems(configs: Sequence[tuple[int, ChannelConfig]]) -> tuple[Problem, ...]:
    problems: list[Problem] = []
    with_rules = tuple(config.name for _, config in configs if config.hops is None)
    seen: dict[str, int] = {}
    for i, config in configs:
        if config.name in seen:
            problems.append(Problem(f"channel '{config.name}' exists already (channels.{seen[config.name]})",
                                    f"channels.{i}.name"))
        seen.setdefault(config.name, i)
    for i, config in configs:
        for j, hop in enumerate(config.hops or ()):
            if hop not in with_rules:
                problems.append(Problem(_unknown_hop(hop, seen, with_rules), f"channels.{i}.hops.{j}"))
    return tuple(problems)


def _unknown_hop(hop: str, names: Mapping[str, int], with_rules: tuple[str, ...]) -> str:
    if hop in names:
        return f"hop '{hop}' is itself a route; name its hops instead"
    near = get_close_matches(hop, with_rules, 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown channel '{hop}'; {hint}known: {', '.join(with_rules) or 'none'}"
