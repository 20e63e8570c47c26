"""A controller as an independent process: it wakes, looks, decides, and its action travels.

An agent owns no loop: it is called by the kernel (its period), by its telemetry (a change), by its mailbox (a message)
or by a command to it, and it never sees the grid, only published points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.agents.field import Action, AgentBoard, FieldEnd
from cosim.agents.telemetry import Sample, size_bytes
from cosim.channel import Corrupted, Traffic
from cosim.errors import PluginError
from cosim.kernel import Kernel
from cosim.plugins import Message, Policy
from cosim.points import Ids, PointDatabase, Quality, Vector

_new = tuple.__new__  # a named tuple's own constructor is a Python function around it, at twice the cost


@dataclass(frozen=True, slots=True)
class Wiring:
    """What connects an agent: `down` is None where its commands reach the field directly."""

    kernel: Kernel
    points: PointDatabase
    field: FieldEnd
    board: AgentBoard
    index: int
    down: Traffic | None


class _Undecided:
    """What an agent has until it is given a policy."""

    def act(self, observation: Vector, t_us: int) -> None:  # the Policy interface
        """Nothing to say."""


class Narrow:
    """A policy that sees the points of `observe` alone, where a learner in its place would see more behind them."""

    def __init__(self, policy: Policy, n_observe: int) -> None:
        self._policy, self._n = policy, n_observe
        listen = getattr(policy, "hear", None)
        if listen is not None:
            self.hear = listen

    def act(self, observation: Vector, t_us: int) -> Any:  # the Policy interface
        """The policy's answer to what it knows of."""
        return self._policy.act(observation[:self._n], t_us)


class Agent:
    """One controller.  `on_due`, where set, replaces its policy: a learner or bench decides instead."""

    def __init__(self, name: str, observed: Ids, actuated: Ids, wiring: Wiring, compute_us: int = 0) -> None:
        self.name = name
        self.observed, self.actuated = observed, actuated
        self.commanded = wiring.field.ids
        """`actuated` as its actions name them."""
        self.policy: Policy = _Undecided()
        self.on_due: Callable[[Agent], None] | None = None
        self.decided_us = 0
        """When what it issues next was decided: as it woke, or later where it waits to decide with others."""
        self.wake_on_sample = False
        self.deadband = 0.0
        self._kernel, self._points = wiring.kernel, wiring.points
        self._receive = wiring.field.receive  # bound once: it is handed to the link with every action
        self._board, self._index, self._down = wiring.board, wiring.index, wiring.down
        if wiring.down is None:
            self._points.require(observed)
        self._view: Vector | None = None if wiring.down is None else np.full(len(observed), np.nan)
        self._seen_us = -1
        self._quality: NDArray[np.uint8] | None = None
        self._compute_us = compute_us
        self._size = size_bytes(len(actuated))
        self._pending_us = -1
        self._acted_on: Vector | None = None

    # -- waking ----------------------------------------------------------------------------------------------------

    def wake(self, now_us: int) -> None:
        """Look, decide, act."""
        self.decided_us = now_us
        if self.on_due is not None:
            self.on_due(self)
            return
        view = self._view
        values = self.policy.act(self._points.take(self.observed) if view is None else view, now_us)
        if values is not None:
            try:
                self.issue(values)
            except TypeError as error:
                raise PluginError(f"agent '{self.name}': its policy answered {values!r:.60}; expected numbers, one for "
                                  f"each point in `actuate`") from error

    def wake_soon(self, t_us: int) -> None:
        """Wake at `t_us`, once however many reasons there are."""
        if t_us != self._pending_us:
            self._pending_us = t_us
            self._kernel.at(t_us, self._wake_now)

    def _wake_now(self, _: Any) -> None:
        self._pending_us = -1
        self.wake(self._kernel.now_us)

    def look(self) -> Vector:
        """What it sees now (n_observed,): the points themselves, or the newest report that has arrived."""
        return self._points.take(self.observed) if self._view is None else self._view

    def look_quality(self) -> NDArray[np.uint8]:
        """Quality of what it sees now (n_observed,); over a channel as reported, RESTART before the first report."""
        if self._view is None:
            return self._points.quality[self.observed]
        return np.full(len(self.observed), Quality.RESTART, np.uint8) if self._quality is None else self._quality

    # -- acting ----------------------------------------------------------------------------------------------------

    def issue(self, values: Any) -> None:
        """Send an action decided at `decided_us` on its way."""
        # Fixed now (the field end needs a tuple anyway): a policy may write its next answer into the same array while
        # this one travels.
        if values.__class__ is not tuple:
            values = tuple(values.tolist() if isinstance(values, np.ndarray) else values)
        action = _new(Action, (self.decided_us, values, self.name))
        if self._compute_us:
            self._kernel.at(self._kernel.now_us + self._compute_us, self._depart, action)
        elif self._down is None:
            self._receive(action)
        else:
            self._down.send(self._size, self._receive, action)

    def _depart(self, action: Any) -> None:
        if self._down is None:
            self._receive(action)
        else:
            self._down.send(self._size, self._receive, action)

    # -- hearing ---------------------------------------------------------------------------------------------------

    def see(self, sample: Sample | Corrupted) -> None:
        """A report has arrived; a damaged one, or an older one than the newest held, is thrown away."""
        if isinstance(sample, Corrupted):
            return
        t_us, values, _, quality = sample
        if t_us < self._seen_us:
            return
        self._seen_us, self._view, self._quality = t_us, values, quality
        self._board.seen_us[self._index] = t_us
        if self.wake_on_sample and self._moved(values):
            self._acted_on = values
            self.wake_soon(self._kernel.now_us)

    def _moved(self, values: Vector) -> bool:
        last = self._acted_on
        return last is None or bool(((np.abs(values - last) > self.deadband)
                                     | (np.isnan(values) != np.isnan(last))).any())

    def hear(self, message: Message, *, wake: bool) -> None:
        """A message from another agent has arrived in the mailbox."""
        listen = getattr(self.policy, "hear", None)
        if listen is not None:
            listen(message)
        if wake:
            self.wake_soon(self._kernel.now_us)
