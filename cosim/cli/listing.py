"""``gridloop list``: the scenarios, plugins, networks and profiles that are known."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome
from cosim.errors import PluginError, ScenarioError

NAME = "list"
SUMMARY = "list the known scenarios, plugins of every family, networks and profiles"

_FAMILIES = (("devices", "device"), ("policies", "policy"), ("channel_rules", "rule"), ("disturbances", "disturbance"),
             ("listeners", "listener"), ("stations", "station"), ("terms", "term"))
_TITLES = ("scenarios", *(title for title, _ in _FAMILIES), "networks", "profiles")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("what", nargs="?", choices=_TITLES, help="only these")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Everything known, or one part of it."""
    data: dict[str, list[dict[str, Any]]] = {}
    for title in _TITLES if args.what is None else (args.what,):
        data[title] = _part(title, engine)
    return Outcome(Exit.DONE, "\n\n".join(_table(title, rows) for title, rows in data.items()), data)


def _part(title: str, engine: Engine) -> list[dict[str, Any]]:
    if title == "scenarios":
        return _scenarios()
    if title == "networks":
        return [{"name": name, "summary": summary} for name, summary in engine.networks()]
    if title == "profiles":
        from cosim.datasets.registry import datasets

        return [asdict(dataset) for dataset in datasets()]
    return _plugins(dict(_FAMILIES)[title], engine)


def _scenarios() -> list[dict[str, Any]]:
    """Shipped scenarios; a broken one is listed with what is wrong."""
    from cosim.scenario import shipped_scenarios

    return [{"name": name, "summary": _summary(path), "path": str(path)} for name, path in shipped_scenarios().items()]


def _summary(path: Path) -> str:
    from cosim.scenario.find import read_text
    from cosim.scenario.yaml_tree import parse_yaml

    try:
        data = parse_yaml(read_text(path), str(path)).data
    except ScenarioError as error:
        return f"cannot be read: {error.problems[0].message}"
    return str(data.get("summary", "")) if isinstance(data, dict) else ""


def _plugins(family: str, engine: Engine) -> list[dict[str, Any]]:
    registry = engine.registry()
    rows: list[dict[str, Any]] = []
    for kind in registry.kinds(family):
        try:
            rows.append({"kind": kind, "summary": registry.get(family, kind).summary})
        except PluginError as error:
            rows.append({"kind": kind, "summary": "", "error": str(error)})
    return rows


def _table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    names = [str(row.get("name", row.get("kind"))) for row in rows]
    width = max((len(name) for name in names), default=0)
    lines = [f"  {name:<{width}}  {row.get('error') or row['summary']}".rstrip()
             for name, row in zip(names, rows, strict=True)]
    return "\n".join([title.replace("_", " "), *(lines or ["  none"])])
