"""The scenario file as JSON Schema (draft 2020-12), for editors: plugin lists are ``oneOf`` by kind."""

from __future__ import annotations

from typing import Any

from cosim.errors import PluginError
from cosim.plugins import FAMILIES, Registry
from cosim.scenario.schema import Scenario

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_EACH = {"type": "string", "default": None,
         "description": "One device for each element of the network, `TABLE:PATTERN`; {} in `name` and in texts is its "
                        "name."}

#: Where plugin mappings stand: (model, key, family); None is the scenario itself.
_SLOTS = ((None, "devices", "device"), (None, "disturbances", "disturbance"),
          (None, "listeners", "listener"), (None, "stations", "station"), ("Agent", "policy", "policy"),
          ("Agent", "fallback", "policy"), ("Channel", "rules", "rule"), ("Channel", "up", "rule"),
          ("Channel", "down", "rule"))


def json_schema(registry: Registry) -> dict[str, Any]:
    """The whole schema; kinds that cannot be loaded are left out (see `unloadable`)."""
    schema = Scenario.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    options = {family: _family(registry, family, definitions) for family in FAMILIES}
    for model, key, family in _SLOTS:
        owner = schema if model is None else definitions[model]
        owner["properties"][key] = _with_options(owner["properties"][key], options[family])
    telemetry = definitions["Agent"]["properties"]["telemetry"]
    # `telemetry: direct` is accepted as a short form: the model's validator makes it a mapping.
    telemetry["anyOf"] = [{"const": "direct"}, {"$ref": telemetry.pop("$ref", "#/$defs/Telemetry")}]
    telemetry.pop("allOf", None)
    return {"$schema": DRAFT, "$id": "gridloop-scenario.json", **schema}


def unloadable(registry: Registry) -> tuple[str, ...]:
    """Messages of the plugins that are named but cannot be imported."""
    messages: list[str] = []
    for family in FAMILIES:
        for kind in registry.kinds(family):
            try:
                registry.get(family, kind)
            except PluginError as error:
                messages.append(str(error))
    return tuple(messages)


def plugin_schema(registry: Registry, family: str, kind: str) -> dict[str, Any]:
    """Schema of one kind's mapping, its `$defs` inside; raises PluginError when it cannot be loaded."""
    plugin = registry.get(family, kind)
    schema: dict[str, Any] = plugin.Config.model_json_schema()
    properties = {"kind": {"const": kind, "description": plugin.summary}}
    properties |= {key: value for key, value in schema.get("properties", {}).items() if key != "kind"}
    if family == "device":
        properties["each"] = dict(_EACH)
    required = ["kind", *(key for key in schema.get("required", []) if key != "kind")]
    return {**schema, "properties": properties, "required": required, "title": kind,
            "description": plugin.summary}


def _family(registry: Registry, family: str, definitions: dict[str, Any]) -> list[dict[str, str]]:
    """References to the kinds of a family, whose schemas are put into `definitions`."""
    references: list[dict[str, str]] = []
    for kind in registry.kinds(family):
        try:
            schema = plugin_schema(registry, family, kind)
        except PluginError:
            continue
        names = {name: f"{family}.{kind}.{name}" for name in schema.get("$defs", {})}
        for name, inner in schema.pop("$defs", {}).items():
            definitions[names[name]] = _renamed(inner, names)
        definitions[f"{family}.{kind}"] = _renamed(schema, names)
        references.append({"$ref": f"#/$defs/{family}.{kind}"})
    return references


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """`value` with the references to `names` changed."""
    if isinstance(value, dict):
        return {key: _reference(inner, names) if key == "$ref" else _renamed(inner, names)
                for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names) for inner in value]
    return value


def _reference(target: str, names: dict[str, str]) -> str:
    name = target.removeprefix("#/$defs/")
    return f"#/$defs/{names.get(name, name)}"


def _with_options(field: dict[str, Any], options: list[dict[str, str]]) -> dict[str, Any]:
    """A field whose mappings are one of `options`."""
    if not options:
        return field
    if "anyOf" in field:
        return {**field, "anyOf": [_with_options(member, options) for member in field["anyOf"]]}
    if field.get("type") == "array":
        return {**field, "items": {"oneOf": options}}
    if field.get("type") == "object":
        kept = {key: value for key, value in field.items() if key not in {"type", "additionalProperties"}}
        return {**kept, "oneOf": options}
    return field
