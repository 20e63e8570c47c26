"""Which scenario, and who learns in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cosim.encoding import LearnerSpec
from cosim.encoding.spec import action_differences
from cosim.errors import GridError, GridloopError, Problem, ScenarioError
from cosim.points import match
from cosim.scenario.expand import expand_agents, expand_devices
from cosim.scenario.learning import Learning
from cosim.scenario.loader import LoadedScenario, load_scenario, load_text
from cosim.scenario.schema import Agent as AgentSpec
from cosim.simulation.kept import Kept


def scenario_of(scenario: str | Path | LoadedScenario, overrides: Sequence[str]) -> LoadedScenario:
    """The scenario loaded; overrides of one that is loaded already come after its own."""
    if not isinstance(scenario, LoadedScenario):
        return load_scenario(scenario, overrides=overrides)
    if not overrides:
        return scenario
    return load_text(scenario.text, path=scenario.path, base_dir=scenario.base_dir,
                     overrides=(*scenario.overrides, *overrides), registry=scenario.registry,
                     # Whoever loaded it allowed its plugins; an override brings no others where there were none.
                     allow_plugins=bool(scenario.scenario.plugins))


def named_learners(loaded: LoadedScenario, kept: Kept, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the agents that will learn, before anything is built; () where building will say what is wrong."""
    scenario = loaded.scenario
    try:
        network = kept.network(scenario, loaded.base_dir)
        devices = expand_devices(scenario.devices, lambda table: getattr(network, f"{table}_names"))
        agents = expand_agents(scenario.agents, [str(device.item["name"]) for device in devices])
        return tuple(spec.name for spec in learners_of(loaded, [agent.item for agent in agents], patterns))
    except (GridError, ScenarioError):
        return ()


def learners_of(loaded: LoadedScenario, specs: Sequence[AgentSpec], patterns: Sequence[str] | None) -> list[AgentSpec]:
    """Of all agents those that learn, in the scenario's order; raises ScenarioError when there are none."""
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


def patterns_of(agents: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Patterns of agents' names; one alone needs no list around it."""
    return (agents,) if isinstance(agents, str) else None if agents is None else tuple(agents)


def require_alike(first: Sequence[AgentSpec], now: Sequence[AgentSpec], before: Learning, learning: Learning) -> None:
    """What an episode draws anew must not change who learns, what learners see, and what later rewards are worth;
    raises GridloopError with what differs."""
    names, found = ([spec.name for spec in specs] for specs in (first, now))
    if names != found:
        raise GridloopError(f"learning.episode.vary: who learns may not vary; found {', '.join(found)} in this "
                            f"episode; expected {', '.join(names)}")
    for one, other in zip(first, now, strict=True):
        if (one.observe, one.learn.observe) != (other.observe, other.learn.observe):
            raise GridloopError(f"learning.episode.vary: what agent '{one.name}' sees (`observe`, `learn.observe`) may "
                                f"not vary: its policy would read one thing as another")
    if before.discount != learning.discount:
        raise GridloopError("learning.episode.vary: `learning.discount` may not vary: whoever trains has read it")


def require_same_names(first: Sequence[tuple[str, ...]], now: Sequence[tuple[str, ...]]) -> None:
    """Names of (costs, terms) that a trainer has read; raises GridloopError for others."""
    for what, expected, found in zip(("costs", "terms"), first, now, strict=True):
        if expected != found:
            raise GridloopError(f"learning.episode.vary: names of {what} may not vary; found {', '.join(found)} in "
                                f"this episode; expected {', '.join(expected)}")


def require_same_actions(specs: Sequence[LearnerSpec], found: Sequence[LearnerSpec]) -> None:
    """What an episode draws anew must not change what actions mean; raises GridloopError with what differs."""
    for spec, now in zip(specs, found, strict=True):
        units = replace(now.action, is_normalised=spec.action.is_normalised)  # whoever trains may choose them
        lines = action_differences(spec.action, units)
        if lines:
            raise GridloopError(f"learning.episode.vary: the action of agent '{spec.agent}' is another one in this "
                                f"episode: {'; '.join(lines)}; give it a range that holds in all (learn.act.range)")


def _problem(message: str, path: str) -> ScenarioError:
    return ScenarioError((Problem(message, path),))
