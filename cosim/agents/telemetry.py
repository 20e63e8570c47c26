"""How samples reach agents over a channel: the field reports what was just published, period by period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.channel import Traffic
from cosim.kernel import Kernel, Phase
from cosim.points import Ids, PointDatabase, Vector

#: Bytes of a report or command before its values: an IP and TCP header without options (RFC 9293) is 40.
HEADER_BYTES = 40
VALUE_BYTES = 8


_new = tuple.__new__  # a named tuple's own constructor is a Python function around it, at twice the cost


def size_bytes(n_value: int) -> int:
    """Bytes on the wire of a message with `n_value` values."""
    return HEADER_BYTES + VALUE_BYTES * n_value


class Sample(NamedTuple):
    """A report as it travels to `agent`: when it was published, the values (n_observed,) and, where the agent asked for
    it, their quality (n_observed,)."""

    t_us: int
    values: Vector
    agent: str
    quality: NDArray[np.uint8] | None = None


class Seer(Protocol):
    """Whoever reports are for."""

    name: str

    def see(self, sample: Sample) -> None:
        """A report has arrived."""


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports the points `ids` to one agent over one link, with their quality where that is wanted."""

    ids: Ids
    link: Traffic
    seer: Seer
    quality: bool = False


class TelemetryHub:
    """All reporters of a run.  Those of one period share a turn, which runs in REPORT: after PUBLISH."""

    def __init__(self, kernel: Kernel, points: PointDatabase) -> None:
        self._kernel, self._points = kernel, points
        self._turns: dict[tuple[int, int], _Turn] = {}

    def add(self, reporter: Reporter, period_us: int, offset_us: int) -> None:
        """Report every `period_us` from `offset_us` on."""
        turn = self._turns.get((period_us, offset_us))
        if turn is None:
            turn = self._turns[period_us, offset_us] = _Turn(self._kernel, self._points)
            self._kernel.every(period_us, turn.wake, offset_us=offset_us)
        turn.add(reporter)


class _Turn:
    """Reporters of one period and offset: one read of the points for all of them."""

    def __init__(self, kernel: Kernel, points: PointDatabase) -> None:
        self._kernel, self._points = kernel, points
        self._ids: Ids = np.zeros(0, np.int64)
        self._entries: list[tuple[Any, int, Any, slice, str]] = []
        self._flagged: list[tuple[Any, int, Any, slice, str]] = []

    def add(self, reporter: Reporter) -> None:
        """One more."""
        start, n = len(self._ids), len(reporter.ids)
        self._ids = np.concatenate((self._ids, reporter.ids))
        self._points.require(reporter.ids)
        entries = self._flagged if reporter.quality else self._entries
        entries.append((reporter.link.send, size_bytes(n), reporter.seer.see, slice(start, start + n),
                        reporter.seer.name))

    def wake(self, now_us: int) -> None:
        """It is time: report once this instant is published."""
        self._kernel.at(now_us, self.report, None, Phase.REPORT)

    def report(self, _: Any) -> None:
        """Send every agent its points as last published."""
        t_us, values = self._points.t_us, self._points.take(self._ids)
        values.flags.writeable = False  # agents get views of it
        for send, size, see, part, name in self._entries:
            send(size, see, _new(Sample, (t_us, values[part], name, None)))
        if self._flagged:
            # Flags travel in the octets of the values they belong to (as in DNP3 objects): the size is the same.
            quality = self._points.quality[self._ids]
            for send, size, see, part, name in self._flagged:
                send(size, see, _new(Sample, (t_us, values[part], name, quality[part])))
