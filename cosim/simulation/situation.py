"""What one policy may know and do besides its observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.encoding import LearnerSpec
from cosim.points import Vector
from cosim.profile_ref import ProfileRef
from cosim.simulation.site import RunSite


@dataclass(frozen=True, slots=True)
class AgentSituation:
    """`cosim.plugins.Situation` of one agent; `post` sends (to, values) and says whether it left; `count_held` is told
    why an answer was held."""

    name: str
    observed: tuple[str, ...]
    actuated: tuple[str, ...]
    low: Vector
    high: Vector
    peers: tuple[str, ...]
    site: RunSite
    post: Callable[[str, Sequence[float]], bool]
    spec: Callable[[], LearnerSpec]
    sight: Callable[[], tuple[float, NDArray[np.uint8]]]
    choices: Callable[[], Callable[[], NDArray[np.bool_]] | None]
    count_held: Callable[[str], None]

    @property
    def base_dir(self) -> Path:
        """Folder that the scenario's relative files are in."""
        return self.site.base_dir

    @property
    def shield(self) -> Mapping[str, Any]:
        """The scenario's settings of the shield, as plain data."""
        return self.site.shield

    def learner(self) -> LearnerSpec:
        """What this agent sees and does as a learner; raises PluginError when no action space can be built."""
        return self.spec()

    def senses(self) -> tuple[float, NDArray[np.uint8]]:
        """Age of what the agent sees now, s (NaN: nothing has come yet), and its quality (n_seen,)."""
        return self.sight()

    def open_choices(self) -> Callable[[], NDArray[np.bool_]] | None:
        """Tells which choices (n_choice,) may be taken now; None where none is ever closed."""
        return self.choices()

    def clock_us(self, t_us: int) -> int:
        """Calendar time at `t_us`, microseconds since Monday 1 January 2001."""
        return self.site.clock_us(t_us)

    def held(self, why: str) -> None:
        """The policy has no answer that could be sent; its setpoints stay as they are: counted, and recorded once."""
        self.count_held(why)

    def rng(self, name: str) -> np.random.Generator:
        """A random stream of this agent's own."""
        return self.site.rng(f"agent.{self.name}.{name}")

    def send(self, to: str, values: Sequence[float]) -> bool:
        """Send a message to another agent; False when it did not leave."""
        return self.post(to, values)

    def profile(self, specs: Sequence[ProfileRef | None]) -> Callable[[int], Vector]:
        """A sampler of profile columns."""
        return self.site.profile(specs)
