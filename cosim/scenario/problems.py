"""What pydantic found, as a person would say it: where, what was found, what is expected, what was probably meant."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cosim.errors import Problem
from cosim.scenario.model import NAME_PATTERN
from cosim.scenario.yaml_tree import Path, Places

M = TypeVar("M", bound=BaseModel)

#: Most names that a mistyped one is compared with.
MAX_COMPARED = 1_000

#: Units by the last word of a key: they end every name (house style 2).
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "kw": "kW", "kvar": "kvar", "kva": "kVA",
         "kwh": "kWh", "pu": "per unit", "ka": "kA", "deg": "degrees", "hz": "Hz", "c": "°C", "pct": "%",
         "bps": "bit/s", "bytes": "bytes", "km": "km", "mps": "m/s", "m2": "m²", "kv": "kV"}

_NAME_SAID = "a name of letters, digits, _ and - (at most 64)"
_ALTERNATIVES = re.compile(r"^\^\(([\w|\-]+)\)\$$")
_WITH_UNIT = re.compile(r"^([-+]?[0-9.]{1,20}) ?[A-Za-z%°]{1,6}$")
_NOUNS = {"float": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "tuple": "a list",
          "list": "a list", "dict": "a mapping", "model": "a mapping", "dataclass": "a mapping",
          "model_attributes": "a mapping"}
_LIMITS = {"greater_than": ("gt", "more than"), "greater_than_equal": ("ge", "at least"),
           "less_than": ("lt", "less than"), "less_than_equal": ("le", "at most")}


def unit_of(name: str) -> str:
    """The unit that a key's name ends in (``period_s`` → seconds), or ''.  A cost's unit is the user's currency."""
    if name.startswith("cost_"):
        return ""
    if name.endswith("_m_s"):
        return "m/s"
    if "_per_" in name:
        above, below = name.split("_per_", 1)
        upper = unit_of(above) or above.rsplit("_", 1)[-1]
        return f"{upper} per {unit_of('_' + below) or below}" if unit_of(above) else ""
    return UNITS.get(name.rsplit("_", 1)[-1], "") if "_" in name else ""


def validated(model: type[M], data: Any) -> M:
    """`data` (plain YAML data) as a model, strictly: text is no number, true is no number; raises ValidationError.

    JSON is the way in because pydantic's strict mode reads enums from text and tuples from lists only there.
    """
    return model.model_validate_json(json.dumps(data), strict=True)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where validated data came from: the model, the data, its path in the scenario and the places of it all."""

    model: type[BaseModel]
    data: Any
    base: Path = ()
    places: Places = dataclasses.field(default_factory=Places)


def described(error: ValidationError, origin: Origin) -> list[Problem]:
    """Every error of a failed validation as a Problem; one a value, so the members of a union are told together."""
    messages: dict[tuple[Path, bool], list[str]] = {}
    items = [(_existing(item["loc"], origin.data, item["type"] == "missing"), item)
             for item in error.errors(include_url=False)]
    inner = {loc[:length] for loc, _ in items for length in range(len(loc))}
    for loc, item in items:
        if loc in inner and item["type"].endswith("_type"):
            continue  # another member of a union: the one that looked inside says more
        said = messages.setdefault((loc, item["type"] == "extra_forbidden"), [])
        if (message := _message(item, origin.model, loc)) not in said:
            said.append(message)
    return [_problem((*origin.base, *loc), _joined(said), origin.places, is_key)
            for (loc, is_key), said in messages.items()]


def _problem(path: Path, message: str, places: Places, is_key: bool) -> Problem:
    place = places.key(path) if is_key else places.value(path)
    return Problem(message, ".".join(path), place.file, place.line, place.column, "schema")


def _existing(loc: Sequence[str | int], data: Any, is_missing: bool) -> Path:
    """The steps of a location that exist in the data: pydantic puts validators and union members between them."""
    path: list[str] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(str(part))
    return (*path, str(loc[-1])) if is_missing else tuple(path)


def _joined(messages: list[str]) -> str:
    """Several messages about one value in one: `found x; expected a number or a list`."""
    heads = [message.partition("; expected ") for message in messages]
    if len(messages) > 1 and all(head == heads[0][0] and tail for head, _, tail in heads):
        return f"{heads[0][0]}; expected {' or '.join(tail for _, _, tail in heads)}"
    return "; or: ".join(messages)


def _message(item: Any, model: type[BaseModel], loc: Path) -> str:
    kind, found = item["type"], item["input"]
    context = item.get("ctx", {})
    name = next((part for part in reversed(loc) if not part.isdecimal()), "")
    if kind == "extra_forbidden":
        return unknown_key(name, fields_at(model, loc[:-1]))
    if kind == "missing":
        return _missing(name, model, loc)
    if kind in {"enum", "literal_error"}:
        return f"found {shown(found)}; expected {context['expected']}{near(found, _quoted(context['expected']))}"
    if kind == "string_pattern_mismatch":
        return _pattern(found, str(context["pattern"]))
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"found {shown(found)}; expected {words} {context[key]:g}{_in_unit(name)}"
    if kind in {"value_error", "assertion_error"}:
        return str(item["msg"]).partition(", ")[2]
    for family, noun in _NOUNS.items():
        if kind in {f"{family}_type", f"{family}_parsing"}:
            return f"found {shown(found)}; expected {noun}{_in_unit(name)}{_bare(found)}"
    if kind == "int_from_float":
        return f"found {shown(found)}; expected a whole number"
    return f"found {shown(found)}; {item['msg'][:1].lower()}{item['msg'][1:]}"


def _missing(name: str, model: type[BaseModel], loc: Path) -> str:
    field = fields_at(model, loc[:-1]).get(name)
    about = f": {field.description}" if field is not None and field.description else ""
    return f"missing{about}" if about else f"missing; expected a value{_in_unit(name)}"


def _pattern(found: Any, pattern: str) -> str:
    match = _ALTERNATIVES.match(pattern)
    if match is None:
        said = _NAME_SAID if pattern == NAME_PATTERN else f"text like {pattern}"
        return f"found {shown(found)}; expected {said}"
    options = match.group(1).split("|")
    return f"found {shown(found)}; expected {', '.join(options[:-1])} or {options[-1]}{near(found, options)}"


def unknown_key(name: str, accepted: Iterable[str]) -> str:
    """The message for a key that nobody knows."""
    known = list(accepted)
    return f"unknown key '{name}'{near(name, known)}; accepted: {', '.join(known) or 'none'}"


def near(found: Any, options: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where something close exists, else ''."""
    close = get_close_matches(str(found)[:100], list(islice(options, MAX_COMPARED)), 1, 0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def shown(value: Any) -> str:
    """A value as a person who wrote YAML would name it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text '{value}'" if len(value) <= 60 else f"the text '{value[:57]}…'"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return str(value)[:60]


def fields_at(model: type[BaseModel], loc: Path) -> dict[str, Any]:
    """The fields of the model that `loc` leads to from `model` ({} where it leads to none)."""
    here: list[Any] = [model]
    for part in loc:
        here = [inner for annotation in here for inner in _step(annotation, part)] or here
    models = [m for annotation in here for m in _models(annotation)]
    return {name: field for m in models for name, field in m.model_fields.items()}


def _step(annotation: Any, part: str) -> list[Any]:
    """What a list index or a key leads to from an annotation."""
    fields = [model.model_fields[part].annotation for model in _models(annotation) if part in model.model_fields]
    return fields or _containers(annotation)


def _containers(annotation: Any) -> list[Any]:
    """Item types of the lists and mappings in an annotation."""
    origin = get_origin(annotation)
    if origin in (tuple, list):
        return [a for a in get_args(annotation) if a is not Ellipsis]
    if origin is dict:
        return [get_args(annotation)[1]]
    return [inner for a in get_args(annotation) for inner in _containers(a)] if origin is not None else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Models in an annotation, outside lists and mappings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (tuple, list, dict):
        return []
    return [model for a in get_args(annotation) for model in _models(a)]


def _quoted(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _bare(found: Any) -> str:
    """``: write 4`` for text such as ``4 kW``."""
    match = _WITH_UNIT.match(found) if isinstance(found, str) else None
    return f": write {match.group(1)} (the key's name says the unit)" if match else ""


def _in_unit(name: str) -> str:
    unit = unit_of(name)
    return f" ({unit})" if unit else ""
