"""Which agents of a scenario learn, and a bundle put in their place: as overrides, so that no file is edited."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

from cosim.errors import Problem, ScenarioError
from cosim.scenario.schema import Scenario


def learner_entries(scenario: Scenario) -> tuple[int, ...]:
    """Entries of `agents` that learn: they actuate something, and ``learning.agents`` names them.

    Of an entry with `each` the pattern is compared with its template, {} standing for anything.  Raises ScenarioError
    when nobody learns.
    """
    found = tuple(i for i, agent in enumerate(scenario.agents) if agent.actuate
                  and any(_fits(agent.name, pattern) for pattern in scenario.learning.agents))
    if not found:
        raise ScenarioError((Problem(
            f"scenario '{scenario.name}' has no learners: none of its {len(scenario.agents)} agents has `actuate` and "
            f"is named by learning.agents ({', '.join(scenario.learning.agents)})", "agents"),))
    return found


def bundle_overrides(scenario: Scenario, bundle: Path, kind: str = "torch") -> tuple[str, ...]:
    """Overrides that let the bundle in folder `bundle` decide for every learner."""
    policy = json.dumps({"kind": kind, "bundle": str(bundle.resolve())}, ensure_ascii=False)
    return tuple(f"agents.{i}.policy={policy}" for i in learner_entries(scenario))


def _fits(name: str, pattern: str) -> bool:
    if "{}" not in name:
        return fnmatchcase(name, pattern)
    # What {} will be is known once the network is read: a pattern fits when it allows the fixed parts.
    any_name = name.replace("{}", "*")
    return fnmatchcase(any_name, pattern) or fnmatchcase(pattern.replace("*", "x"), any_name)
