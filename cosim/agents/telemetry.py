"""How samples reach agents over a channel: the field reports what was just published, period by period."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from cosim.channel import Traffic
from cosim.kernel import Kernel, Phase
from cosim.points import Ids, PointDatabase, Vector

#: Bytes of a report or command before its values: an IP and TCP header without options (RFC 9293) is 40.
HEADER_BYTES = 40
VALUE_BYTES = 8


def size_bytes(n_value: int) -> int:
    """Bytes on the wire of a message with `n_value` values."""
    return HEADER_BYTES + VALUE_BYTES * n_value


class Sample(NamedTuple):
    """A report as it travels to `agent`: when it was published, and the values (n_observed,)."""

    t_us: int
    values: Vector
    agent: str


class Seer(Protocol):
    """Whoever reports are for."""

    name: str

    def see(self, sample: Sample) -> None:
        """A report has arrived."""


class Reporter:
    """Sends the points one agent observes, over one link."""

    __slots__ = ("_ids", "_link", "_points", "_seer", "_size")

    def __init__(self, ids: Ids, points: PointDatabase, link: Traffic, seer: Seer) -> None:
        self._ids, self._points, self._link, self._seer = ids, points, link, seer
        self._size = size_bytes(len(ids))

    def report(self) -> None:
        """Send the points as last published."""
        points = self._points
        self._link.send(self._size, self._seer.see, Sample(points.t_us, points.values[self._ids], self._seer.name))


class TelemetryHub:
    """All reporters of a run.  Those of one period share a turn, which runs in REPORT: after PUBLISH."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._turns: dict[tuple[int, int], list[Reporter]] = {}

    def add(self, reporter: Reporter, period_us: int, offset_us: int) -> None:
        """Report every `period_us` from `offset_us` on."""
        turn = self._turns.get((period_us, offset_us))
        if turn is None:
            turn = self._turns[period_us, offset_us] = []
            later = self._kernel.at
            self._kernel.every(period_us, lambda now_us: later(now_us, _report_all, turn, Phase.REPORT),
                               offset_us=offset_us)
        turn.append(reporter)


def _report_all(turn: Any) -> None:
    for reporter in turn:
        reporter.report()
