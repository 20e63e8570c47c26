"""Which scenario, and who learns in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cosim.errors import Problem, ScenarioError
from cosim.points import match
from cosim.scenario.loader import LoadedScenario, load_scenario, load_text
from cosim.scenario.schema import Agent as AgentSpec
from cosim.simulation import Simulation


def scenario_of(scenario: str | Path | LoadedScenario, overrides: Sequence[str]) -> LoadedScenario:
    """The scenario loaded; overrides of one that is loaded already come after its own."""
    if not isinstance(scenario, LoadedScenario):
        return load_scenario(scenario, overrides=overrides)
    if not overrides:
        return scenario
    return load_text(scenario.text, path=scenario.path, base_dir=scenario.base_dir,
                     overrides=(*scenario.overrides, *overrides), registry=scenario.registry, allow_plugins=True)


def learners_of(loaded: LoadedScenario, simulation: Simulation, patterns: Sequence[str] | None) -> list[AgentSpec]:
    """Agents that learn, in the scenario's order; raises ScenarioError when there are none."""
    specs = simulation.crew.specs
    names = [spec.name for spec in specs]
    wanted = loaded.scenario.learning.agents if patterns is None else tuple(patterns)
    where = "learning.agents" if patterns is None else "agents"
    chosen: set[int] = set()
    for pattern in wanted:
        found = match(pattern, names)
        if not found and (patterns is not None or "agents" in loaded.scenario.learning.model_fields_set):
            raise loaded.place(_problem(f"'{pattern}' matches no agent; known: {', '.join(names) or 'none'}", where))
        chosen.update(found)
    learners = [spec for i, spec in enumerate(specs) if i in chosen and spec.actuate]
    if not learners:
        raise loaded.place(_problem(
            f"scenario '{loaded.scenario.name}' has no learners: nobody of its {len(names)} agents actuates anything; "
            f"an environment needs an agent with `actuate`", "agents" if names else ""))
    return learners


def _problem(message: str, path: str) -> ScenarioError:
    return ScenarioError((Problem(message, path),))
