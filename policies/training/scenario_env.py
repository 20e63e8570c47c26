"""A scenario as the environment that a training acts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cosim.env.event import EnvOptions, EventEnv
from cosim.scenario.learning import Discount
from cosim.scenario.loader import load_scenario
from cosim.simulation.kept import Kept
from policies.bundle import normalised


def scenario_env(scenario: str, agents: Sequence[str] | None = None, overrides: Sequence[str] = (),
                 discount: Mapping[str, float] | None = None, *, allow_plugins: bool = False,
                 kept: Kept | None = None, **options: Any) -> EventEnv:
    """An `EventEnv` that takes normalised actions, whatever the scenario says; `options` are those of `EnvOptions`."""
    chosen = EnvOptions(discount=Discount(**discount) if discount else None, **options)
    loaded = load_scenario(scenario, overrides=tuple(overrides), allow_plugins=allow_plugins)
    env = EventEnv(loaded, tuple(agents) if agents else None, options=chosen, kept=kept)
    env.take_rows_of([normalised(spec) for spec in env.specs])
    return env
