"""A route: one direction over several links in turn.  The hops judge; the route counts from end to end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from cosim.channel.rule import Fate
from cosim.channel.traffic import Deliver, Traffic, Transit
from cosim.kernel import T_MAX_US, Kernel


class Route(Traffic):
    """Messages over `hops`, the first being the sender's.

    A hop's queue and partition are shared with whatever else travels over it.  What a hop drops counts here too,
    under the same fate; the sender hears of what the first hop refuses.
    """

    __slots__ = ("_forwards", "_hops")

    def __init__(self, name: str, kernel: Kernel, hops: Sequence[Traffic]) -> None:
        super().__init__(name, kernel, T_MAX_US)  # every hop has a capacity
        self._hops = tuple(hops)
        self._forwards: tuple[Deliver, ...] = tuple(partial(self._forward, i + 1) for i in range(len(hops)))

    def send(self, size_bytes: int, deliver: Deliver, payload: Any) -> bool:
        """Send over the first hop; ``deliver(payload)`` is called on arrival from the last."""
        t_us = self._kernel.now_us
        self.sent += 1
        self.bytes += size_bytes
        if t_us < self._blocked_us:
            return self._refuse(t_us, size_bytes, payload)
        self.in_flight += 1
        return self._hops[0].send(size_bytes, self._forwards[0], Transit(self, deliver, payload, t_us, size_bytes))

    def queue(self, t_us: int) -> int:
        """Messages waiting at the hops, those of others included."""
        return sum(hop.queue(t_us) for hop in self._hops)

    def hop_dropped(self, fate: int, transit: Transit) -> None:
        """A hop dropped one of this route's messages."""
        if transit.epoch == self.epoch:
            self.in_flight -= 1
            self._drop(fate, transit.sent_us, transit.size_bytes, transit.payload)
        else:
            self._tell_drop(int(Fate.PARTITIONED), transit.sent_us, transit.size_bytes, transit.payload)

    def _forward(self, index: int, transit: Transit) -> None:
        if transit.epoch != self.epoch:
            self._tell_drop(int(Fate.PARTITIONED), transit.sent_us, transit.size_bytes, transit.payload)
        elif index < len(self._hops):
            self._hops[index].send(transit.size_bytes, self._forwards[index], transit)
        else:
            self._arrive(transit)

    def _arrive(self, transit: Transit) -> None:
        self.in_flight -= 1
        self._received += 1
        self.last_delay_us = delay_us = self._kernel.now_us - transit.sent_us
        self._delay_sum_us += delay_us
        self._freshest_us = max(self._freshest_us, transit.sent_us)
        if self.on_fate is not None:
            self._tell_arrival(transit.sent_us, transit.size_bytes, transit.payload)
        try:
            transit.deliver(transit.payload)
        except Exception as error:
            raise self._blame(transit.deliver, error) from error
