"""SunSpec model definitions as they are published: the JSON files inside the `pysunspec2` distribution, read as data.

Only the files are used (github.com/sunspec/models, Apache-2.0), none of the package's code: its client is the oracle
that tests this gateway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cosim.errors import GatewayError


@dataclass(frozen=True, slots=True)
class PointDef:
    """One point: `size` in registers; `sf` names the point that holds its exponent ("" where it has none)."""

    name: str
    type: str
    size: int
    sf: str
    writable: bool
    symbols: tuple[int, ...]
    value: int | None


@dataclass(frozen=True, slots=True)
class GroupDef:
    """Points in order, then groups in order; `count` is a number, or the name of the point that holds it."""

    name: str
    count: int | str
    points: tuple[PointDef, ...]
    groups: tuple[GroupDef, ...]


@cache
def model_definition(model: int) -> GroupDef:
    """The definition of one model; raises GatewayError where there is none."""
    try:
        text = resources.files("sunspec2").joinpath(f"models/json/model_{model}.json").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        raise GatewayError("SunSpec model definitions not found: they come with the package pysunspec2; install "
                           "pysunspec2>=1.3") from None
    except FileNotFoundError:
        raise GatewayError(f"SunSpec model {model}: pysunspec2 has no definition of it") from None
    return _group(json.loads(text)["group"])


def _group(data: Mapping[str, Any]) -> GroupDef:
    count = data.get("count", 1)
    return GroupDef(
        data["name"], int(count) if str(count).isdigit() else str(count),
        tuple(_point(point) for point in data.get("points", ())),
        tuple(_group(group) for group in data.get("groups", ())))


def _point(data: Mapping[str, Any]) -> PointDef:
    value = data.get("value")
    return PointDef(
        data["name"], data["type"], int(data["size"]), str(data.get("sf") or ""), data.get("access") == "RW",
        tuple(int(symbol["value"]) for symbol in data.get("symbols", ())), None if value is None else int(value))
