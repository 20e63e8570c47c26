"""The field's end of an agent: where its actions arrive, are judged late or not, and become commands.

Late means: older on arrival than the agent's deadline (counted from the moment the agent woke), or not arrived at all
within a period and the deadline.  What then happens is the scenario's choice (`LateAction`): hold the last command,
put zero in its place, drop it (release: the device falls back to its own default), or let a fallback policy that sees
the points directly answer instead.  An action that a newer one has overtaken on the way is never applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cosim.arbiter import NEVER_US
from cosim.channel import Corrupted
from cosim.commands import LONG, Authority, CommandInbox
from cosim.errors import PluginError
from cosim.kernel import Kernel
from cosim.plugins import Policy
from cosim.points import Ids, PointDatabase, Vector
from cosim.scenario.schema import LateAction


class Action(NamedTuple):
    """What agent `agent` decided: `decided_us` is when it woke; a NaN value leaves that setpoint alone."""

    decided_us: int
    values: tuple[float, ...]
    agent: str


class AgentBoard:
    """Per-agent counters that are published as points, as arrays (n_agent,)."""

    def __init__(self, n_agent: int) -> None:
        self.seen_us: list[float] = [float("nan")] * n_agent
        """Sample time of the newest telemetry held; NaN: none yet.  (Whole microseconds are exact up to 285 years.)"""
        self.direct = np.zeros(n_agent, bool)
        self.late = np.zeros(n_agent)

    def age_of(self, index: int, now_us: int) -> float:
        """Age of what one agent sees, s; NaN where nothing has arrived yet."""
        return 0.0 if self.direct[index] else (now_us - self.seen_us[index]) / 1e6

    def age_s(self, now_us: int) -> Vector:
        """Age of what each agent sees (n_agent,), NaN where nothing has arrived yet."""
        return np.where(self.direct, 0.0, (now_us - np.array(self.seen_us)) / 1e6)


@dataclass(frozen=True, slots=True)
class LatePolicy:
    """What counts as late, and what is done then.

    `watch_us` is how long the field waits for an action before it counts as missing (0: it does not watch).
    """

    deadline_us: int | None = None
    action: LateAction = LateAction.HOLD
    fallback: Policy | None = None
    fallback_ids: Ids | None = None
    watch_us: int = 0


class FieldEnd:
    """Turns the actions of one agent into commands."""

    def __init__(self, name: str, ids: Ids, *, authority: Authority, ttl_us: int | None, late: LatePolicy,
                 inbox: CommandInbox, points: PointDatabase, count_late: Callable[[str], None],
                 kernel: Kernel) -> None:
        self.name = name
        self.ids = tuple(int(i) for i in ids)
        self._n = len(self.ids)
        self._authority, self._ttl_us, self._late_policy = authority, ttl_us, late
        self._inbox, self._points, self._count_late = inbox, points, count_late
        self._block = inbox.block(self.ids) if self._n >= LONG else None
        self._kernel, self._deadline_us = kernel, late.deadline_us
        self._newest: Action | None = None
        self._arrived_us = 0

    def receive(self, action: Action | Corrupted) -> None:
        """An action has come in; a damaged one, a copy and an overtaken one are thrown away."""
        if isinstance(action, Corrupted):
            return
        now_us, decided_us, newest = self._kernel.now_us, action.decided_us, self._newest
        if newest is not None and (decided_us < newest.decided_us or newest is action):
            return
        self._newest, self._arrived_us = action, now_us
        if self._deadline_us is not None and now_us - decided_us > self._deadline_us:
            self._be_late("late", now_us)
            return
        values = action.values
        if self._n == 1 == len(values) and values[0] == values[0]:  # the usual action, without the ceremony
            self._inbox.post(self.ids, values, self.name, self._authority,
                             NEVER_US if self._ttl_us is None else now_us + self._ttl_us)
        else:
            self._post(values, now_us)

    def watch(self, now_us: int) -> None:
        """Called once a period: has an action come at all?"""
        if now_us - self._arrived_us > self._late_policy.watch_us:
            self._be_late("missing", now_us)

    def post(self, values: Sequence[float] | Vector, now_us: int) -> None:
        """Submit values (n_actuated,), leaving out NaN."""
        self._post(tuple(values.tolist() if isinstance(values, np.ndarray) else values), now_us)

    def _post(self, wanted: tuple[float, ...], now_us: int) -> None:
        if len(wanted) != self._n:
            raise PluginError(f"agent '{self.name}': its policy answered {len(wanted)} values; "
                              f"expected {self._n} (one for each point in `actuate`)")
        ids = self.ids
        expires_us = NEVER_US if self._ttl_us is None else now_us + self._ttl_us
        total = sum(wanted)
        if total != total:  # a NaN among them, or infinities of both signs
            kept = [(i, v) for i, v in zip(ids, wanted, strict=True) if v == v]
            ids, wanted = tuple(i for i, _ in kept), tuple(v for _, v in kept)
        elif self._block is not None:
            self._inbox.post_block(self._block, wanted, self.name, self._authority, expires_us)
            return
        if ids:
            self._inbox.post(ids, wanted, self.name, self._authority, expires_us)

    def _be_late(self, why: str, now_us: int) -> None:
        self._count_late(why)
        late = self._late_policy
        if late.action is LateAction.ZERO:
            self.post((0.0,) * self._n, now_us)
        elif late.action is LateAction.DROP:
            self._inbox.post_release(self.ids, self.name, self._authority)
        elif late.action is LateAction.FALLBACK:
            assert late.fallback is not None
            answer = late.fallback.act(self._points.values[late.fallback_ids], now_us)
            if answer is not None:
                self.post(answer, now_us)
