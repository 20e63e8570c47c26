"""A scenario as the environment that a training acts in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cosim.encoding import ActionCodec
from cosim.env.event import EnvOptions, EventEnv
from cosim.scenario.learning import Discount
from policies.bundle import normalised


def scenario_env(scenario: str, agents: Sequence[str] | None = None, overrides: Sequence[str] = (),
                 discount: Mapping[str, float] | None = None, **options: Any) -> EventEnv:
    """An `EventEnv` that takes normalised actions, whatever the scenario says; `options` are those of `EnvOptions`."""
    chosen = EnvOptions(discount=Discount(**discount) if discount else None, **options)
    env = EventEnv(scenario, tuple(agents) if agents else None, tuple(overrides), chosen)
    env.specs = tuple(normalised(spec) for spec in env.specs)
    env.codecs = tuple(ActionCodec(spec.action) for spec in env.specs)
    return env
