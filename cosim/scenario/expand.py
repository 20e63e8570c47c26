"""``each``: one entry of a scenario that stands for many, once the network's names are known.

``{kind: load, each: "load:*", name: "load_{}", element: "{}"}`` is a device for every load of the network; an agent
with ``each: "pv_*"`` is an agent for every device of such a name.  ``{}`` is replaced in names and strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from cosim.errors import Problem, ScenarioError
from cosim.scenario.learning import Learn
from cosim.scenario.model import NAME_PATTERN
from cosim.scenario.problems import near
from cosim.scenario.schema import Agent

T = TypeVar("T")

#: Tables of a network that a device's `each` may name.
TABLES = ("bus", "load", "sgen", "gen", "line", "trafo", "switch", "shunt")
#: Most devices or agents of a scenario after expansion.
MAX_EXPANDED = 100_000


@dataclass(frozen=True, slots=True)
class Expanded(Generic[T]):
    """One expanded item; `index` is its entry in the scenario file (``devices.<index>``)."""

    item: T
    index: int


def expand_devices(mappings: Sequence[Mapping[str, Any]],
                   names_of: Callable[[str], Sequence[str]]) -> tuple[Expanded[dict[str, Any]], ...]:
    """Device mappings without `each`; `names_of(table)` gives the names in a table of the network.

    Raises ScenarioError when a pattern is malformed or matches nothing, or names collide.
    """
    found: list[Expanded[dict[str, Any]]] = []
    problems: list[Problem] = []
    for index, mapping in enumerate(mappings):
        if mapping.get("each") is None:
            found.append(Expanded({k: v for k, v in mapping.items() if k != "each"}, index))
            continue
        try:
            found.extend(_devices(mapping, index, names_of))
        except ScenarioError as error:
            problems.extend(error.problems)
    return _accepted(found, "devices", problems, lambda device: str(device.get("name")))


def expand_agents(agents: Sequence[Agent], device_names: Sequence[str]) -> tuple[Expanded[Agent], ...]:
    """Agents without `each`, one for each matching device; raises ScenarioError as `expand_devices`."""
    found: list[Expanded[Agent]] = []
    problems: list[Problem] = []
    for index, agent in enumerate(agents):
        if agent.each is None:
            found.append(Expanded(agent, index))
            continue
        matching = [name for name in device_names if fnmatchcase(name, agent.each)]
        if not matching:
            problems.append(Problem(f"'{agent.each}' matches no device{near(agent.each, device_names)}; "
                                    f"known: {_listed(device_names)}", f"agents.{index}.each", rule="each"))
        found.extend(Expanded(_agent_of(agent, name), index) for name in matching)
    return _accepted(found, "agents", problems, lambda agent: agent.name)


def _devices(mapping: Mapping[str, Any], index: int,
             names_of: Callable[[str], Sequence[str]]) -> list[Expanded[dict[str, Any]]]:
    path = f"devices.{index}.each"
    table, colon, pattern = str(mapping["each"]).partition(":")
    if not colon or table not in TABLES:
        raise ScenarioError((Problem(f"found '{mapping['each']}'; expected TABLE:PATTERN such as 'load:*', with a "
                                     f"table of {', '.join(TABLES)}{near(table, TABLES)}", path, rule="each"),))
    names = names_of(table)
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        raise ScenarioError((Problem(f"'{pattern}' matches no {table} of the network; known: {_listed(names)}", path,
                                     rule="each"),))
    template = {key: value for key, value in mapping.items() if key != "each"}
    return [Expanded(_device_of(template, name), index) for name in matching]


def _device_of(template: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`name` as it stands in references; in the device's own name, with what names may not hold replaced by _."""
    own = {"name": filled(template.get("name"), _safe(name))}
    return {**{key: filled(value, name) for key, value in template.items()}, **own}


def _agent_of(agent: Agent, name: str) -> Agent:
    return agent.model_copy(update={
        "name": filled(agent.name, name), "each": None, "observe": filled(agent.observe, name),
        "actuate": filled(agent.actuate, name), "policy": filled(agent.policy, name),
        "fallback": filled(agent.fallback, name), "learn": _learn_of(agent, name)})


def _learn_of(agent: Agent, name: str) -> Learn:
    """An entry's agents are a group, alike but for the device's name."""
    identity = {"group": agent.learn.group or _safe(agent.name.replace("{}", "")).strip("_-") or "each",
                "subject": filled(agent.learn.subject, name) or name}
    if not agent.learn.model_fields_set - {"group", "subject"}:
        return agent.learn.model_copy(update=identity)
    return Learn.model_validate({**_filled_keys(agent.learn.model_dump(exclude_unset=True), name), **identity})


def _filled_keys(value: Any, name: str) -> Any:
    """As `filled`, in the keys of mappings too: they are patterns of points."""
    if isinstance(value, dict):
        return {filled(key, name): _filled_keys(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled_keys(inner, name) for inner in value)
    return filled(value, name)


def filled(value: Any, name: str) -> Any:
    """`value` with {} replaced by `name` in every string of it."""
    if isinstance(value, str):
        return value.replace("{}", name)
    if isinstance(value, dict):
        return {key: filled(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(filled(inner, name) for inner in value)
    return value


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_\-]+", "_", name)


def _accepted(found: list[Expanded[T]], key: str, problems: list[Problem],
              name_of: Callable[[T], str]) -> tuple[Expanded[T], ...]:
    """`found`, unless something was wrong, there are too many, or two share a name."""
    if len(found) > MAX_EXPANDED:
        problems.append(Problem(f"{len(found):,} after expansion; expected at most {MAX_EXPANDED:,}", key, rule="each"))
    seen: dict[str, int] = {}
    for item in found:
        name = name_of(item.item)
        path = f"{key}.{item.index}.name"
        if name in seen:
            problems.append(Problem(f"the name '{name}' is made twice (also by {key}.{seen[name]})", path, rule="each"))
        elif not re.fullmatch(NAME_PATTERN, name):
            problems.append(Problem(f"'{name}' is made by `each`; expected letters, digits, _ and - (at most 64)",
                                    path, rule="each"))
        seen.setdefault(name, item.index)
    if problems:
        raise ScenarioError(tuple(problems))
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    return (", ".join(names[:20]) + (" …" if len(names) > 20 else "")) or "none"
