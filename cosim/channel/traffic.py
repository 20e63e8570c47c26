"""What links and routes share: the counts of a direction, its partition at run time, and its points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cosim.channel.rule import Corrupted, Fate
from cosim.errors import GridloopError, ProcessError
from cosim.kernel import MICROSECONDS, T_MAX_US, Kernel
from cosim.points import Point, PointKind, Vector

Deliver = Callable[[Any], Any]
#: Told once per message, when its fate is known: (sent_us, arrival_us or -1, Fate, size_bytes, payload).
OnFate = Callable[[int, int, int, int, Any], None]

_PARTITIONED, _QUEUE_FULL = int(Fate.PARTITIONED), int(Fate.QUEUE_FULL)

#: Points of one direction: suffix, kind, unit, description.
_POINTS = (
    ("sent", PointKind.COUNTER, "", "messages given to the link"),
    ("delivered", PointKind.COUNTER, "", "messages handed to the receiver, copies included"),
    ("lost", PointKind.COUNTER, "", "messages dropped for whatever reason"),
    ("queue", PointKind.ANALOG_INPUT, "", "messages waiting or being sent at the bandwidth rules"),
    ("delay_s", PointKind.ANALOG_INPUT, "s", "delay of the message delivered last"),
    ("age_s", PointKind.ANALOG_INPUT, "s", "age of information: time since the freshest message delivered was sent"),
)


class Transit:
    """A message on a route, as the payload of one hop's message.  Never changed: copies may share it."""

    __slots__ = ("deliver", "epoch", "payload", "route", "sent_us", "size_bytes")

    def __init__(self, route: Traffic, deliver: Deliver, payload: Any, sent_us: int, size_bytes: int) -> None:
        self.route, self.deliver, self.payload = route, deliver, payload
        self.sent_us, self.size_bytes, self.epoch = sent_us, size_bytes, route.epoch


def corrupted(payload: Any) -> Any:
    """The payload marked as damaged; on a route the mark goes inside, so that the route still knows its own."""
    if isinstance(payload, Transit):
        marked = Transit(payload.route, payload.deliver, corrupted(payload.payload), payload.sent_us,
                         payload.size_bytes)
        marked.epoch = payload.epoch
        return marked
    return payload if isinstance(payload, Corrupted) else Corrupted(payload)


class Traffic:
    """Messages of one direction.

    The balance ``sent + duplicated == delivered + lost + dropped_queue + dropped_partition + corrupted + in_flight``
    holds at any time.  `bytes` counts what was sent; `damaged` the messages that went on as `Corrupted`.
    """

    __slots__ = ("_blocked_us", "_delay_sum_us", "_drops", "_freshest_us", "_kernel", "_received", "bytes", "capacity",
                 "damaged", "duplicated", "epoch", "in_flight", "last_delay_us", "name", "on_fate", "sent")

    def __init__(self, name: str, kernel: Kernel, capacity: int) -> None:
        self.name, self.capacity, self._kernel = name, capacity, kernel
        self.sent = self.bytes = self.in_flight = self.duplicated = self.damaged = 0
        self._drops = [0] * len(Fate)
        self._received = self._delay_sum_us = 0
        self._freshest_us = self.last_delay_us = -1
        self._blocked_us = -1
        self.epoch = 0
        """Counts the cuts: a message of an earlier epoch is dead when it arrives."""
        self.on_fate: OnFate | None = None

    def send(self, size_bytes: int, deliver: Deliver, payload: Any) -> bool:
        """Send now; ``deliver(payload)`` is called on arrival.

        False where a sender would know that it failed: partitioned, or no room at its own end.  Loss is not known.
        """
        raise NotImplementedError

    # -- counts ----------------------------------------------------------------------------------------------------

    @property
    def delivered(self) -> int:
        """Messages handed to the receiver, copies included."""
        return self._received

    @property
    def lost(self) -> int:
        """Messages lost by chance."""
        return self._drops[-Fate.LOST]

    @property
    def dropped_queue(self) -> int:
        """Messages for which a queue or the link's capacity had no room."""
        return self._drops[-Fate.QUEUE_FULL]

    @property
    def dropped_partition(self) -> int:
        """Messages sent into, or in flight at the start of, a partition."""
        return self._drops[-Fate.PARTITIONED]

    @property
    def corrupted(self) -> int:
        """Messages discarded by the receiver's checksum."""
        return self._drops[-Fate.CORRUPTED]

    @property
    def dropped(self) -> int:
        """Messages that never arrive, for whatever reason."""
        return sum(self._drops)

    @property
    def mean_delay_us(self) -> float:
        """Mean delay of the messages delivered; NaN before the first."""
        return self._delay_sum_us / self._received if self._received else float("nan")

    def age_us(self, now_us: int) -> int | None:
        """Time since the freshest message delivered was sent; None before the first."""
        return now_us - self._freshest_us if self._freshest_us >= 0 else None

    def queue(self, t_us: int) -> int:
        """Messages waiting or being sent at the bandwidth rules."""
        raise NotImplementedError

    # -- partitions at run time ------------------------------------------------------------------------------------

    def block(self, until_us: int = T_MAX_US, *, drop_in_flight: bool = False) -> None:
        """Partition from now on, before `until_us`; the later end counts where two blocks overlap."""
        self._blocked_us = max(self._blocked_us, until_us)
        if drop_in_flight:
            self.cut()

    def open_(self) -> None:
        """End every block at once (scheduled `partition` rules stay)."""
        self._blocked_us = -1

    def set_partition(self, on: bool, *, drop_in_flight: bool = False) -> None:
        """`block` without end, or `open_`."""
        if on:
            self.block(drop_in_flight=drop_in_flight)
        else:
            self.open_()

    def cut(self, _: Any = None) -> None:
        """Drop everything in flight.  It counts at once; `on_fate` and routes hear of each when it would arrive."""
        self._drops[-_PARTITIONED] += self.in_flight
        self.in_flight = 0
        self.epoch += 1

    # -- inside ----------------------------------------------------------------------------------------------------

    def _refuse(self, t_us: int, size_bytes: int, payload: Any) -> bool:
        self._drop(_PARTITIONED if t_us < self._blocked_us else _QUEUE_FULL, t_us, size_bytes, payload)
        return False

    def _drop(self, fate: int, sent_us: int, size_bytes: int, payload: Any) -> None:
        self._drops[-fate] += 1
        self._tell_drop(fate, sent_us, size_bytes, payload)

    def _tell_drop(self, fate: int, sent_us: int, size_bytes: int, payload: Any) -> None:
        if isinstance(payload, Transit):
            payload.route.hop_dropped(fate, payload)
            payload = payload.payload
        if self.on_fate is not None:
            self.on_fate(sent_us, -1, fate, size_bytes, payload)

    def hop_dropped(self, fate: int, transit: Transit) -> None:
        """A hop dropped one of this route's messages."""
        raise NotImplementedError

    def _tell_arrival(self, sent_us: int, size_bytes: int, payload: Any) -> None:
        assert self.on_fate is not None
        inner = payload.payload if isinstance(payload, Transit) else payload
        self.on_fate(sent_us, self._kernel.now_us, 0, size_bytes, inner)

    def _blame(self, deliver: Deliver, error: Exception) -> Exception:
        """A receiver's failure names the receiver, not the link that happened to call it."""
        if isinstance(error, GridloopError):
            return error
        owner = getattr(getattr(deliver, "__self__", None), "name", None)
        receiver = owner if isinstance(owner, str) else getattr(deliver, "__qualname__", repr(deliver))
        return ProcessError(f"{receiver} (message over {self.name})", self._kernel.now_us,
                            f"{type(error).__name__}: {error}")

    # -- points ----------------------------------------------------------------------------------------------------

    def points(self) -> tuple[Point, ...]:
        """Points of this direction: ``<name>.{sent,delivered,lost,queue,delay_s,age_s}``."""
        return tuple(Point(f"{self.name}.{suffix}", kind, unit, description=text)
                     for suffix, kind, unit, text in _POINTS)

    def measure(self, out: Vector) -> None:
        """Write the values of `points` into `out`, shape (6,); NaN where nothing was delivered yet."""
        now_us = self._kernel.now_us
        age_us = self.age_us(now_us)
        delay_s = self.last_delay_us / MICROSECONDS if self._received else np.nan
        out[:] = (self.sent, self._received, self.dropped, self.queue(now_us), delay_s,
                  np.nan if age_us is None else age_us / MICROSECONDS)
