"""What a channel rule is: the file to read before writing one.

Theory of operation
-------------------
A link judges every message by its rules in the order of the scenario.  A verdict is an ``int``: zero or more means
*pass after so many microseconds*, a negative one is the `Fate` of a message that goes no further.  Delays add; the
first drop wins; a later rule sees the message at the time at which the earlier ones let it go.  A rule is one of

* `Drawn`: depends on chance alone.  It draws verdicts in blocks, and neighbours are added in NumPy, so a link
  of any number of drawn rules costs one ``next()`` a message;
* `Judged`: depends on time, size or its own memory (a queue, a burst);
* `Forking`: one message becomes several, or another one (a copy, a damaged message).

Order matters: ``[latency, bandwidth]`` queues at the far end of the latency, ``[loss, bandwidth]`` spares the queue
what is lost before it, ``[duplication, latency]`` gives each copy a delay of its own and
``[latency, duplication]`` gives both the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cosim.kernel import Kernel
from cosim.plugins import PluginConfig

#: Verdicts drawn at a time: large enough that NumPy's calls cost 50 ns a message, small enough for 1,000 links.
BLOCK = 512
#: Longest delay of one rule, a year: keeps the sum of heavy tails inside int64.
DELAY_MAX_US = 365 * 86_400 * 1_000_000

Verdicts = NDArray[np.int64]


class Fate(IntEnum):
    """What became of a message; negative: not delivered."""

    DELIVERED = 0
    LOST = -1
    QUEUE_FULL = -2
    """A bounded queue, or the link's `capacity`, was full."""
    PARTITIONED = -3
    CORRUPTED = -4
    """Discarded by the receiver's checksum."""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """What a receiver is handed in place of `payload` when a damaged message is delivered all the same."""

    payload: Any


class RuleConfig(PluginConfig):
    """Base of every rule's options."""

    kind: str


@dataclass(frozen=True, slots=True)
class RuleSite:
    """What a rule may use while it is built: its random stream, time, and the folder of relative file names."""

    rng: np.random.Generator
    kernel: Kernel
    folder: Path = Path()


class Rule:
    """Base of every rule: one object per link direction."""

    family: ClassVar[str] = "rule"
    reorders: bool = False
    """Whether a message may leave this rule after one that entered later."""
    ordered: bool = False
    """Whether `judge` must see messages in order of time (a queue, a window)."""

    def attach(self, cut: Callable[[Any], None]) -> None:
        """Called once by the link; `cut` drops everything in flight on it, for a rule that does so at a set time."""

    def cut(self, t_us: int) -> None:
        """Everything in flight was dropped at `t_us`: forget what waits."""

    def backlog(self, t_us: int) -> int:  # noqa: ARG002 - most rules hold nothing back
        """Messages that this rule keeps waiting at `t_us`."""
        return 0


class Drawn(Rule):
    """A rule of pure chance."""

    def draw(self, n: int) -> Verdicts:
        """The next `n` verdicts, shape (n,)."""
        raise NotImplementedError


class Judged(Rule):
    """A rule with memory."""

    def judge(self, t_us: int, size_bytes: int) -> int:
        """Verdict on a message that reaches the rule at `t_us`: a delay in microseconds or a negative `Fate`."""
        raise NotImplementedError


class Forking(Rule):
    """A rule that changes what travels."""

    def fork(self, payload: Any) -> Sequence[tuple[int, Any]] | None:
        """Messages that go on in place of one, as (extra delay in us, payload), the first being the original; None:
        unchanged."""
        raise NotImplementedError


def whole_delays_us(delay_ms: NDArray[np.float64]) -> Verdicts:
    """Delays in whole microseconds, rounded half up, within 0 … `DELAY_MAX_US`."""
    return np.floor(np.clip(delay_ms * 1000.0, 0.0, DELAY_MAX_US) + 0.5).astype(np.int64)


def uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Endless uniform numbers in [0, 1), drawn in blocks: a scalar draw costs twenty times as much."""
    while True:
        yield from rng.random(BLOCK).tolist()
