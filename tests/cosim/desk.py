"""A command inbox of four outputs for the tests of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from cosim.commands import Authority, Command, CommandInbox, CommandStatus
from cosim.kernel import Kernel
from cosim.points import Point, PointDatabase, PointKind

SCHEDULE, AGENT, OPERATOR, INTERLOCK = Authority
NAN = math.nan


@dataclass
class Rows:
    """A journal that keeps everything."""

    rows: list[Command] = field(default_factory=list)

    def command(self, command: Command) -> None:
        """Append."""
        self.rows.append(command)


class Desk:
    """Three outputs behind an input: ``pv.p`` and ``ev.p`` in -10..10, a breaker ``cb`` and an unbounded ``free``."""

    def __init__(self, **options: Any) -> None:
        self.kernel = Kernel()
        self.points = PointDatabase((
            Point("bus.v_pu", PointKind.ANALOG_INPUT), Point("pv.p", PointKind.ANALOG_OUTPUT, low=-10, high=10),
            Point("ev.p", PointKind.ANALOG_OUTPUT, low=-10, high=10), Point("cb", PointKind.BINARY_OUTPUT),
            Point("free", PointKind.ANALOG_OUTPUT)))
        self.journal = Rows()
        self.woken: list[int] = []
        self.inbox = CommandInbox(self.points, self.kernel, self.journal, wake=self.woken.append, **options)

    def submit(self, value: float, authority: Authority = OPERATOR, point: str = "pv.p",
               **options: Any) -> CommandStatus:
        """From outside."""
        return self.inbox.submit(point, value, "test", authority, **options)

    def drain(self, t_us: int) -> list[float]:
        """Advance to `t_us`, drain there, and give what is in force."""
        self.kernel.advance_to(t_us)
        return self.inbox.drain(t_us).values.tolist()

    def pv(self, t_us: int) -> float:
        """What pv.p is asked to be."""
        return self.drain(t_us)[0]
