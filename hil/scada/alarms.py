"""Alarms of a control centre: limits with deadband and delay, and their acknowledgement.

Theory of operation (ISA-18.2-2016, the state diagram without shelving and suppression)::

    NORMAL ──raise──▶ ACTIVE ──acknowledge──▶ ACKNOWLEDGED ──clear──▶ NORMAL
                      ▲   └──clear──▶ RETURNED ──acknowledge──▶ NORMAL
                      └────raise────────┘

A condition is raised when it has held for `delay_s` without a break.  Beyond a limit it holds until the value is back
by more than the deadband.  A value that is not good says nothing: the condition stays as it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntEnum


class Priority(IntEnum):
    """How fast a person should look."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class State(Enum):
    """Of one alarm."""

    NORMAL = "normal"
    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    """Back to normal before anybody acknowledged it."""


class _Step(Enum):
    RAISE = 0
    CLEAR = 1
    ACKNOWLEDGE = 2


_TABLE = {
    (State.NORMAL, _Step.RAISE): State.ACTIVE,
    (State.ACTIVE, _Step.ACKNOWLEDGE): State.ACKNOWLEDGED,
    (State.ACTIVE, _Step.CLEAR): State.RETURNED,
    (State.ACKNOWLEDGED, _Step.CLEAR): State.NORMAL,
    (State.RETURNED, _Step.ACKNOWLEDGE): State.NORMAL,
    (State.RETURNED, _Step.RAISE): State.ACTIVE,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What is alarming about a value; NaN: no such limit.  `equals` is for discretes and modes."""

    low: float = math.nan
    high: float = math.nan
    equals: float = math.nan
    deadband: float = 0.0
    delay_s: float = 0.0
    priority: Priority = Priority.MEDIUM

    def verdict(self, value: float, before: str) -> str:
        """Which limit is broken (``high``, ``low``, ``state``), or ""; `before` is what was said last time."""
        if value == self.equals:
            return "state"
        if value > self.high - (self.deadband if before == "high" else 0.0):
            return "high"
        if value < self.low + (self.deadband if before == "low" else 0.0):
            return "low"
        return ""

    def bound(self, verdict: str) -> float:
        """The limit that a verdict is about."""
        return {"high": self.high, "low": self.low, "state": self.equals}.get(verdict, math.nan)


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm went from one state to another."""

    alarm: str
    priority: Priority
    t_s: float
    before: State
    after: State
    verdict: str
    value: float


class Alarm:
    """One alarm on one tag, or on a station's communication (told by `hold`)."""

    __slots__ = ("_condition", "_pending_s", "limits", "name", "since_s", "state", "value", "verdict")

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self.state, self.since_s, self.verdict, self.value = State.NORMAL, math.nan, "", math.nan
        self._condition = ""
        self._pending_s: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it belongs in the list of alarms."""
        return self.state is not State.NORMAL

    def take(self, value: float, t_s: float) -> Change | None:
        """A good value at `t_s` (never before the one before)."""
        return self.hold(self.limits.verdict(value, self._condition), value, t_s)

    def hold(self, condition: str, value: float, t_s: float) -> Change | None:
        """The condition is as told ("" = none) at `t_s`."""
        self.value = value
        if not condition:
            self._condition, self._pending_s = "", None
            return self._step(_Step.CLEAR, t_s)
        if self._pending_s is None:
            self._pending_s = t_s
        self._condition = condition
        return self.tick(t_s)

    def tick(self, t_s: float) -> Change | None:
        """Time has gone on without a new value: a delay may be over."""
        if self._pending_s is None or t_s - self._pending_s < self.limits.delay_s:
            return None
        change = self._step(_Step.RAISE, t_s)
        if self.state in (State.ACTIVE, State.ACKNOWLEDGED):
            self.verdict = self._condition
        return change

    def acknowledge(self, t_s: float) -> Change | None:
        """A person has seen it; None where there is nothing to acknowledge."""
        return self._step(_Step.ACKNOWLEDGE, t_s)

    def _step(self, step: _Step, t_s: float) -> Change | None:
        after = _TABLE.get((self.state, step))
        if after is None:
            return None
        if step is _Step.RAISE:
            self.verdict = self._condition
        before, self.state, self.since_s = self.state, after, t_s
        return Change(self.name, self.limits.priority, t_s, before, after, self.verdict, self.value)
