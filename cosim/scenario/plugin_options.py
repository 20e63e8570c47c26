"""Options of plugins in a scenario: every mapping with a ``kind``, validated by the ``Config`` of that kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from cosim.errors import PluginError, Problem, ScenarioError
from cosim.plugins import Registry
from cosim.scenario.problems import Origin, described, near, shown, validated
from cosim.scenario.yaml_tree import Path, Places

#: Keys of a plugin mapping that belong to the scenario, not to the plugin.
SCENARIO_KEYS = ("each",)


@dataclass(frozen=True, slots=True)
class PluginSlot:
    """A place of a scenario where a plugin's mapping stands (or something that should have been one)."""

    family: str
    path: Path
    value: Any


def plugin_slots(data: Any) -> Iterator[PluginSlot]:
    """Every plugin mapping of a scenario's plain data, in file order of the families."""
    for index, device in _items(data, "devices"):
        yield PluginSlot("device", ("devices", index), device)
    for index, channel in _items(data, "channels"):
        for key in ("rules", "up", "down"):
            for rule_index, rule in _items(channel, key):
                yield PluginSlot("rule", ("channels", index, key, rule_index), rule)
    for index, agent in _items(data, "agents"):
        for key in ("policy", "fallback"):
            if isinstance(agent, dict) and isinstance(agent.get(key), dict):
                yield PluginSlot("policy", ("agents", index, key), agent[key])
    for key in ("disturbances", "listeners", "stations"):
        for index, mapping in _items(data, key):
            yield PluginSlot(key.removesuffix("s"), (key, index), mapping)
    yield from _terms(data)


def _terms(data: Any) -> Iterator[PluginSlot]:
    """Terms of rewards and costs: everyone's, and each agent's own."""
    everyone = data.get("learning") if isinstance(data, dict) else None
    owners: list[tuple[tuple[str, ...], Any]] = [(("learning",), everyone)]
    owners += [(("agents", index, "learn"), agent.get("learn")) for index, agent in _items(data, "agents")
               if isinstance(agent, dict)]
    for path, owner in owners:
        for key in ("reward", "costs"):
            for index, term in _items(owner, key):
                yield PluginSlot("term", (*path, key, index), term)


def plugin_problems(data: Any, registry: Registry, places: Places) -> list[Problem]:
    """What is wrong with the plugin mappings of a scenario's data."""
    found: list[Problem] = []
    for slot in plugin_slots(data):
        if isinstance(slot.value, dict):
            found.extend(_slot_problems(slot, registry, places))
    return found


def configure(registry: Registry, family: str, mapping: Mapping[str, Any], path: str = "") -> Any:
    """The plugin's validated ``Config`` for a mapping with ``kind``.

    Raises ScenarioError whose problems have paths below `path` (no file or line: see `LoadedScenario.place`).
    """
    base = tuple(path.split(".")) if path else ()
    try:
        config = _config_class(registry, family, mapping)
    except PluginError as error:
        raise ScenarioError((Problem(str(error), ".".join((*base, "kind")), rule="plugin"),)) from None
    options = _options(mapping, config)
    try:
        return validated(config, options)
    except ValidationError as error:
        raise ScenarioError(tuple(described(error, Origin(config, options, base)))) from None


def _slot_problems(slot: PluginSlot, registry: Registry, places: Places) -> list[Problem]:
    try:
        config = _config_class(registry, slot.family, slot.value)
    except PluginError as error:
        path = (*slot.path, "kind")
        place = places.value(path)
        return [Problem(str(error), ".".join(path), place.file, place.line, place.column, "plugin")]
    options = _options(slot.value, config)
    try:
        validated(config, options)
    except ValidationError as error:
        return described(error, Origin(config, options, slot.path, places))
    return []


def _config_class(registry: Registry, family: str, mapping: Mapping[str, Any]) -> type[BaseModel]:
    kind = mapping.get("kind")
    known = ", ".join(registry.kinds(family)) or "none"
    if "kind" not in mapping:
        raise PluginError(f"missing; expected a {family} kind: {known}{_meant(mapping)}")
    if not isinstance(kind, str):
        raise PluginError(f"found {shown(kind)}; expected a {family} kind: {known}")
    config: type[BaseModel] = registry.get(family, kind).Config
    return config


def _meant(mapping: Mapping[str, Any]) -> str:
    for key in mapping:
        if hint := near(key, ["kind"]):
            return f" (found '{key}'{hint})"
    return ""


def _options(mapping: Mapping[str, Any], config: type[BaseModel]) -> dict[str, Any]:
    """The mapping without what belongs to the scenario; `kind` stays only where the Config declares it."""
    dropped = [key for key in (*SCENARIO_KEYS, "kind") if key not in config.model_fields]
    return {key: value for key, value in mapping.items() if key not in dropped}


def _items(data: Any, key: str) -> Iterator[tuple[str, Any]]:
    values = data.get(key) if isinstance(data, dict) else None
    if isinstance(values, list):
        for index, value in enumerate(values):
            yield str(index), value
