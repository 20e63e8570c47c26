"""What an environment is made with, and what it answers: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosim.encoding.features import Encoded
from cosim.points import Vector
from cosim.scenario.learning import Discount

NOT_BEGUN = "no episode has begun; call reset()"


@dataclass(frozen=True, slots=True)
class EnvOptions:
    """How a scenario becomes an environment.

    `record` is a folder: every episode is a result in a folder of its own below it, which `gridloop replay` replays.
    `discount`, `duration_s` and `offset_s` stand in for what the scenario says of episodes.
    """

    record: Path | None = None
    discount: Discount | None = None
    duration_s: float | None = None
    offset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What learners find at a decision instant; arrays are in the order of `EventEnv.names`, (n,) unless said.

    `observation` is the flat vector of all (`EventEnv.encoder.slices`), `cost` (n, n_cost).  `terminated`: this learner
    is over, now or before.  `truncated`: the episode's time is up.  `ended`: it is over for everyone.
    """

    t_us: int
    due: NDArray[np.bool_]
    observation: Encoded
    reward: Vector
    cost: Vector
    dt_s: Vector
    age_s: Vector
    terminated: NDArray[np.bool_]
    truncated: bool
    ended: bool


@dataclass(slots=True)
class EnvStats:
    """Counts since the environment was made."""

    episodes: int = 0
    decisions: int = 0
    actions: int = 0
    held_nan: int = 0
    """Numbers of actions that left their setpoints as they were: NaN, an index that does not exist, a choice that was
    closed.  The manifest of a recorded episode has its own as ``held_numbers``, where there are any."""
