"""Changes to a scenario from the command line: ``--set agents.0.period_s=5``, ``--set devices.pv3.s_rated_kva=60``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cosim.errors import Problem, ScenarioError
from cosim.scenario.problems import near
from cosim.scenario.yaml_tree import Path, Place, Places, parse_yaml

#: Most components of a path, and most overrides.
MAX_PARTS = 20
MAX_OVERRIDES = 1_000


def apply_overrides(data: dict[str, Any], overrides: Sequence[str], places: Places) -> list[Problem]:
    """Change `data` and `places` in place; a step of a path is a key, an index, or an item's ``name``.

    A missing last key, or a missing mapping on the way, is created: whether it may exist is the schema's business.
    """
    problems: list[Problem] = []
    for count, text in enumerate(overrides):
        try:
            if count >= MAX_OVERRIDES:
                raise _refused(text, f"more than {MAX_OVERRIDES} overrides")
            _apply(data, text, places)
        except ScenarioError as error:
            problems.extend(error.problems)
    return problems


def put_value(data: dict[str, Any], path: str, value: Any) -> None:
    """Change plain data at a path as in an override; raises ScenarioError for one that leads nowhere."""
    _put(data, path.split("."), value, Places(), f"--set {path}")


def _apply(data: dict[str, Any], text: str, places: Places) -> None:
    name, equals, value_text = text.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise _refused(text, "expected PATH=VALUE, for instance agents.0.period_s=5")
    if len(parts) > MAX_PARTS:
        raise _refused(text, f"a path of {len(parts)} steps; expected at most {MAX_PARTS}")
    label = f"--set {name.strip()}"
    tree = parse_yaml(value_text, label)
    if tree.problems:
        raise ScenarioError(tuple(Problem(p.message, ".".join(parts), label, rule="override") for p in tree.problems))
    _put(data, parts, tree.data, places, label)


def _put(data: dict[str, Any], parts: list[str], value: Any, places: Places, label: str) -> None:
    here: Any = data
    path: Path = ()
    for part in parts[:-1]:
        step = _step(here, part, path, label)
        path = (*path, str(step))
        if isinstance(here, dict) and here.get(step) is None:
            here[step] = {}
            places.values[path] = places.keys[path] = Place(label)
        here = here[step]
    step = _step(here, parts[-1], path, label)
    here[step] = value
    _mark(places, (*path, str(step)), Place(label))


def _step(here: Any, part: str, path: Path, label: str) -> str | int:
    """The key or index that one step of a path means in `here`."""
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise _refused(label, f"'{'.'.join(path)}' is a single value and has no '{part}'")
    if part.isdecimal() and len(part) < 10 and int(part) < len(here):
        return int(part)
    names = [item.get("name") if isinstance(item, dict) else None for item in here]
    if part in names:
        return names.index(part)
    known = [name for name in names if isinstance(name, str)][:50]
    exists = f"0 to {len(here) - 1}" if here else "nothing (the list is empty)"
    raise _refused(label, f"no '{part}' in '{'.'.join(path)}'{near(part, known)}; it has {exists}"
                          + (f": {', '.join(known)}" if known else ""))


def _mark(places: Places, path: Path, place: Place) -> None:
    """Everything at and below `path` now comes from the override."""
    for table in (places.values, places.keys):
        for old in [p for p in table if p[:len(path)] == path]:
            del table[old]
        table[path] = place


def _refused(label: str, message: str) -> ScenarioError:
    shown = label if label.startswith("--set ") else f"--set {label[:80]}"
    return ScenarioError((Problem(message, file=shown, rule="override"),))
