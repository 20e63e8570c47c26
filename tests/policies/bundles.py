"""Bundles with random weights for the agents of a small scenario; no torch needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.encoding import LearnerSpec
from cosim.encoding.spec import ActionSpec, Feature, Setpoint
from cosim.scenario.loader import LoadedScenario
from cosim.simulation import BuildOptions, build
from policies.bundle import Bundle, GroupBundle, normalised, scenario_digest
from policies.description import Description

#: An agent that sees two points and answers one number and one of three levels.
SPEC = LearnerSpec("a", "g", 60.0, (Feature("v", "pu", 1.0, 0.1), Feature("p", "kW", 0.0, 50.0)), 2,
                   ("last_action", "age"), 10.0,
                   ActionSpec((Setpoint("q", "kvar", -10.0, 10.0), Setpoint("tap", "", 0.0, 2.0, (0.0, 1.0, 2.0)))))


def description(spec: LearnerSpec, **changes: Any) -> Description:
    """A small network for a specification."""
    action = spec.action
    return Description(spec.size, len(action.continuous), action.counts, **{"hidden": (8, 6), **changes})


def weights(network: Description, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights, large enough to matter."""
    rng = np.random.default_rng(seed)
    found = {name: (0.5 * rng.standard_normal(shape)).astype(np.float32) for name, shape in network.shapes.items()}
    if "norm/std" in found:
        found["norm/std"] = np.abs(found["norm/std"]) + np.float32(0.5)
    if "explore" in found:
        found["explore"] = np.array(0.3, np.float32)
    return found


def group(spec: LearnerSpec = SPEC, seed: int = 0, **changes: Any) -> GroupBundle:
    """One policy."""
    network = description(spec, **changes)
    return GroupBundle(spec, network, weights(network, seed))


def specs_of(loaded: LoadedScenario) -> Mapping[str, list[LearnerSpec]]:
    """What its agents see and do, by group; the agents' policies must be buildable."""
    crew = build(loaded, BuildOptions()).crew
    found: dict[str, list[LearnerSpec]] = {}
    for name in crew.agents:
        spec = normalised(crew.learner(name))
        found.setdefault(spec.group, []).append(spec)
    return found


def bundle_for(loaded: LoadedScenario, folder: Path, **changes: Any) -> Bundle:
    """A bundle of random policies for every group of a scenario, saved."""
    shield = loaded.scenario.shield.model_dump(mode="json")
    made = Bundle({name: replace(group(specs[0], i, **changes), members=tuple(specs))
                   for i, (name, specs) in enumerate(specs_of(loaded).items())},
                  {"name": loaded.scenario.name, "digest": scenario_digest(loaded)}, shield, None, {"algo": "none"})
    made.save(folder)
    return made
