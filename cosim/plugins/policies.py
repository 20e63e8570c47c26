"""What a policy is, and what it may know and do; and the rules of channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.plugins.config import PluginConfig
from cosim.points import Vector

if TYPE_CHECKING:
    from cosim.encoding import LearnerSpec


class Situation(Protocol):
    """What a policy may know and do besides its observation."""

    name: str
    observed: tuple[str, ...]
    actuated: tuple[str, ...]
    low: Vector
    high: Vector
    peers: tuple[str, ...]

    @property
    def base_dir(self) -> Path:
        """Folder that the scenario's relative files are in."""

    @property
    def shield(self) -> Mapping[str, Any]:
        """The scenario's settings of the shield, as plain data."""

    def rng(self, name: str) -> np.random.Generator:
        """A random stream of this agent's own."""

    def send(self, to: str, values: Sequence[float]) -> bool:
        """Send a message to another agent; False when the link dropped it at once."""

    def profile(self, specs: Sequence[Any]) -> Callable[[int], Vector]:
        """A sampler of profile columns: t_us -> (len(specs),)."""

    def learner(self) -> LearnerSpec:
        """What this agent sees and does as a learner; raises PluginError when no action space can be built."""

    def senses(self) -> tuple[float, NDArray[np.uint8]]:
        """Age of what the agent sees now, s (NaN: nothing has come yet), and its quality (n_seen,)."""

    def open_choices(self) -> Callable[[], NDArray[np.bool_]] | None:
        """Tells which choices (n_choice,) may be taken now; None where none is ever closed."""

    def clock_us(self, t_us: int) -> int:
        """Calendar time at `t_us`, microseconds since Monday 1 January 2001."""

    def held(self, why: str) -> None:
        """The policy has no answer that could be sent; its setpoints stay as they are: counted, and recorded once."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one agent sent to another."""

    sender: str
    receiver: str
    sent_us: int
    values: tuple[float, ...]


class Policy(Protocol):
    """An agent's decision rule."""

    def act(self, observation: Vector, t_us: int) -> Sequence[float] | Vector | None:
        """Setpoints (n_actuated,) in engineering units for what is observed (n_observed,); None: nothing to say.

        NaN in the observation: no such value (not received yet, de-energised).  NaN in the answer: leave that one.
        """


class ListeningPolicy(Policy, Protocol):
    """A policy that also hears messages (optional method)."""

    def hear(self, message: Message) -> None:
        """A message has arrived in the mailbox."""


class PolicyKind(Protocol):
    """The class that an entry point of ``gridloop.policies`` names.

    One with a class attribute ``learned = True`` is handed what its `Situation.learner` specifies: the acknowledged
    setpoints come after the points of `observe`.  Any other sees the points of `observe` alone.
    """

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[PluginConfig]]

    @classmethod
    def build(cls, config: Any, situation: Situation) -> Policy:
        """One agent's policy; raises PluginError when the situation does not fit it."""


class RuleKind(Protocol):
    """The class that an entry point of ``gridloop.channel_rules`` names; see `cosim.channel`."""

    family: ClassVar[str]
    kind: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[PluginConfig]]
