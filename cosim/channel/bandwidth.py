"""Bandwidth: one server of a set rate with a bounded FIFO queue, drop-tail."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from pydantic import Field

from cosim.channel.rule import Fate, Judged, RuleConfig, RuleSite
from cosim.kernel import MICROSECONDS

_QUEUE_FULL = int(Fate.QUEUE_FULL)


class BandwidthConfig(RuleConfig):
    """Options of `bandwidth`.

    `queue_messages` and `queue_bytes` bound what waits, besides the message that is being sent.  `overhead_bytes`
    are added to every message (headers).
    """

    kind: str = "bandwidth"
    bits_per_second: int = Field(gt=0, description="Rate of the line; messages are sent one after the other.")
    queue_messages: int = Field(1000, ge=0, le=1_000_000, description="Most messages that wait, besides the one being "
                                                                      "sent; more are dropped.")
    queue_bytes: int | None = Field(None, ge=0, description="Most bytes that wait (default: any number).")
    overhead_bytes: int = Field(0, ge=0, description="Headers: added to the size of every message.")


class Bandwidth(Judged):
    """A line that sends one message after the other; waiting emerges (M/D/1 for Poisson arrivals of equal size).

    Messages reach `judge` in order of time, so when each will have left is known at once: no event is needed.
    Decision: times in here are integers in units of 1/bits_per_second microseconds, so a line never drifts.
    """

    kind: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "bits per second with a bounded queue, drop-tail"
    Config: ClassVar[type[RuleConfig]] = BandwidthConfig
    ordered = True

    def __init__(self, config: BandwidthConfig) -> None:
        self._rate, self._overhead = config.bits_per_second, config.overhead_bytes
        self._room, self._room_bytes = config.queue_messages, config.queue_bytes
        #: (departure, size) of messages being sent and waiting, and the sum of their sizes.
        self._line: deque[tuple[int, int]] = deque()
        self._bytes = 0

    @classmethod
    def build(cls, config: BandwidthConfig, site: RuleSite) -> Bandwidth:  # noqa: ARG003 - no chance in it
        """The rule."""
        return cls(config)

    def judge(self, t_us: int, size_bytes: int) -> int:
        """Time to wait and to be sent, or QUEUE_FULL."""
        size_bytes += self._overhead
        now = t_us * self._rate
        self._depart(now)
        line = self._line
        if line and not self._has_room(size_bytes):
            return _QUEUE_FULL
        departure = (line[-1][0] if line else now) + size_bytes * 8 * MICROSECONDS
        line.append((departure, size_bytes))
        self._bytes += size_bytes
        return (2 * (departure - now) + self._rate) // (2 * self._rate)  # to whole microseconds, half up

    def backlog(self, t_us: int) -> int:
        """Messages waiting or being sent at `t_us`."""
        self._depart(t_us * self._rate)
        return len(self._line)

    def cut(self, t_us: int) -> None:  # noqa: ARG002 - all of it, whenever
        """The queue is lost too."""
        self._line.clear()
        self._bytes = 0

    def _depart(self, now: int) -> None:
        line = self._line
        while line and line[0][0] <= now:
            self._bytes -= line.popleft()[1]

    def _has_room(self, size_bytes: int) -> bool:
        # The head is on the wire and takes no room.
        if len(self._line) > self._room:
            return False
        return self._room_bytes is None or self._bytes - self._line[0][1] + size_bytes <= self._room_bytes
