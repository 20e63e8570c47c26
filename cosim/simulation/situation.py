"""What one policy may know and do besides its observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.points import Vector
from cosim.profile_ref import ProfileRef
from cosim.simulation.site import RunSite


@dataclass(frozen=True, slots=True)
class AgentSituation:
    """`cosim.plugins.Situation` of one agent; `post` sends (to, values) and says whether it left."""

    name: str
    observed: tuple[str, ...]
    actuated: tuple[str, ...]
    low: Vector
    high: Vector
    peers: tuple[str, ...]
    site: RunSite
    post: Callable[[str, Sequence[float]], bool]

    def rng(self, name: str) -> np.random.Generator:
        """A random stream of this agent's own."""
        return self.site.rng(f"agent.{self.name}.{name}")

    def send(self, to: str, values: Sequence[float]) -> bool:
        """Send a message to another agent; False when it did not leave."""
        return self.post(to, values)

    def profile(self, specs: Sequence[ProfileRef | None]) -> Callable[[int], Vector]:
        """A sampler of profile columns."""
        return self.site.profile(specs)
