"""What is generated from the schema: JSON Schema and the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.plugins import FAMILIES, Registry
from cosim.scenario.json_schema import json_schema, plugin_schema, unloadable
from cosim.scenario.reference import reference_markdown
from cosim.scenario.schema import Scenario

ROOT = Path(__file__).resolve().parents[3]


def references(value: Any) -> list[str]:
    """Every $ref inside."""
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for inner in value.values() for ref in references(inner)]
    return [ref for inner in value for ref in references(inner)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere() -> None:
    """No $ref of the schema with every installed plugin is dangling."""
    schema = json_schema(Registry())
    known = {f"#/$defs/{name}" for name in schema["$defs"]}
    assert references(schema)
    assert set(references(schema)) <= known


def test_plugin_lists_are_one_of_by_kind(registry: Registry) -> None:
    """A device is one of the known kinds, and its kind is a constant; options refuse unknown keys."""
    schema = json_schema(registry)
    assert schema["properties"]["devices"]["items"]["oneOf"] == [{"$ref": "#/$defs/device.lamp"}]
    lamp = schema["$defs"]["device.lamp"]
    assert lamp["properties"]["kind"]["const"] == "lamp"
    assert lamp["additionalProperties"] is False
    assert lamp["required"] == ["kind", "name"]
    assert "each" in lamp["properties"]


def test_optional_slots_allow_nothing(registry: Registry) -> None:
    """`fallback`, `up` and `down` may be left out; `policy` may not."""
    agent = json_schema(registry)["$defs"]["Agent"]["properties"]
    assert agent["policy"]["oneOf"] == [{"$ref": "#/$defs/policy.fixed"}]
    assert {"type": "null"} in agent["fallback"]["anyOf"]
    assert {"const": "direct"} in agent["telemetry"]["anyOf"]


def test_schema_names_its_draft(registry: Registry) -> None:
    """Editors choose the dialect by $schema."""
    assert json_schema(registry)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", list(Scenario.model_fields))
def test_reference_names_every_key(name: str, registry: Registry) -> None:
    """Each key of a scenario is in the reference."""
    assert f"| `{name}` |" in reference_markdown(registry)


def test_reference_has_a_section_for_each_kind(registry: Registry) -> None:
    """Each plugin has its section, with unit, range and description of its options."""
    text = reference_markdown(registry)
    for family in FAMILIES:
        for kind in registry.kinds(family):
            assert f"### `{kind}`" in text
    assert "| `p_kw` | number | kW | `1.0` | ≥ 0 | Power of the lamp. |" in text


def test_every_installed_plugin_loads() -> None:
    """The reference is complete only when every named plugin can be imported."""
    assert unloadable(Registry()) == ()


def test_committed_reference_is_up_to_date() -> None:
    """`gridloop schema --format markdown --out docs/reference/scenario.md` was run after the last change."""
    committed = (ROOT / "docs" / "reference" / "scenario.md").read_text(encoding="utf-8")
    assert committed == reference_markdown(Registry())


def undescribed(name: str, schema: dict[str, Any]) -> list[str]:
    """Options of a schema, and of the models in it, that say nothing of themselves."""
    models = {name: schema, **schema.get("$defs", {})}
    return [f"{model}.{key}" for model, inner in models.items()
            for key, field in inner.get("properties", {}).items() if not field.get("description")]


def test_every_option_is_described() -> None:
    """No key of the scenario and no option of an installed plugin lacks a description."""
    registry = Registry()
    found = undescribed("Scenario", Scenario.model_json_schema())
    for family in FAMILIES:
        for kind in registry.kinds(family):
            found += undescribed(f"{family} {kind}", plugin_schema(registry, family, kind))
    assert found == []
