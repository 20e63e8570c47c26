"""One direction of a channel: messages under rules.

A message is a tuple on the kernel's heap, no object of its own: a million messages cost a million of them.  Its
arrival passes through the link (0.2 us), which keeps the counts true at any time and lets a partition take what is
in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from cosim.channel.rule import Fate, Rule
from cosim.channel.stage import LAST_FATE, compile_stages, unknown_fate
from cosim.channel.traffic import Deliver, Traffic, Transit
from cosim.errors import KernelError
from cosim.kernel import Kernel, Phase

#: A message under way: (deliver, payload, sent_us, size_bytes, epoch).
Flight = tuple[Deliver, Any, int, int, int]

_KNOWN_TO_SENDER = (int(Fate.QUEUE_FULL), int(Fate.PARTITIONED))


class Link(Traffic):
    """Messages of one direction of one channel.

    With `fifo` no message overtakes an earlier one (a late one, or a late copy, holds up those behind it).
    At most `capacity` messages are in flight; more are dropped and counted under `dropped_queue`.
    """

    __slots__ = ("_arrive_call", "_at", "_fifo", "_quick", "_rules", "_stages")

    def __init__(self, name: str, kernel: Kernel, rules: Sequence[Rule], *, fifo: bool, capacity: int) -> None:
        super().__init__(name, kernel, capacity)
        self._rules, self._fifo = tuple(rules), fifo
        self._stages = compile_stages(self._rules)
        only = self._stages[0]
        #: Verdicts of a link whose rules are all drawn: the fast path.
        self._quick: Iterator[int] | None = (
            only.stream if len(self._stages) == 1 and only.fork is None and not fifo else None)
        self._at = kernel.at
        self._arrive_call = self._arrive  # bound once: a bound method per message costs 40 ns and 64 bytes
        for rule in self._rules:
            rule.attach(self.cut)

    def send(self, size_bytes: int, deliver: Deliver, payload: Any) -> bool:
        """Send now; ``deliver(payload)`` is called on arrival.

        False where a sender would know that it failed: partitioned, or no room at its own end.  Loss is not known.
        """
        t_us = self._kernel.now_us
        self.sent += 1
        self.bytes += size_bytes
        if t_us < self._blocked_us or self.in_flight >= self.capacity:
            return self._refuse(t_us, size_bytes, payload)
        flight = (deliver, payload, t_us, size_bytes, self.epoch)
        self.in_flight += 1
        if self._quick is None:
            return self._pass(0, flight, t_us) not in _KNOWN_TO_SENDER
        verdict = next(self._quick)
        if verdict >= 0:
            if verdict:
                self._at(t_us + verdict, self._arrive_call, flight)
            else:
                self._schedule(t_us, self._arrive_call, flight)
            return True
        self._end(verdict, flight)
        return verdict not in _KNOWN_TO_SENDER

    def queue(self, t_us: int) -> int:
        """Messages waiting or being sent at the bandwidth rules."""
        return sum(rule.backlog(t_us) for rule in self._rules)

    def cut(self, _: Any = None) -> None:
        """Drop everything in flight, queues included."""
        super().cut()
        for stage in self._stages:
            stage.last_us = -1
        for rule in self._rules:
            rule.cut(self._kernel.now_us)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _pass(self, index: int, flight: Flight, t_us: int) -> int:
        """Judge a message that enters stage `index` at `t_us`; returns 0, or the fate it met before any event."""
        stage = self._stages[index]
        verdict = stage.judge(t_us, flight[3])
        if verdict < 0:
            if verdict < LAST_FATE and stage.only is not None:
                raise unknown_fate(stage.only, verdict)
            self._end(verdict, flight)
            return verdict
        exit_us = t_us + verdict
        out = stage.fork(flight[1]) if stage.fork is not None else None
        if out is None:
            return self._leave(index, flight, exit_us)
        self._count_fork(flight[1], out)
        fates = [self._leave(index, (flight[0], payload, *flight[2:]), exit_us + extra_us) for extra_us, payload in out]
        return fates[0]

    def _leave(self, index: int, flight: Flight, exit_us: int) -> int:
        if self._fifo:
            stage = self._stages[index]
            exit_us = stage.last_us = max(exit_us, stage.last_us)
        if index + 1 == len(self._stages):
            self._schedule(exit_us, self._arrive_call, flight)
        elif self._stages[index + 1].by_event:
            self._schedule(exit_us, self._enter, (index + 1, flight))
        else:
            return self._pass(index + 1, flight, exit_us)
        return 0

    def _enter(self, entry: tuple[int, Flight]) -> None:
        index, flight = entry
        if flight[4] == self.epoch:
            self._pass(index, flight, self._kernel.now_us)
        else:
            self._tell_drop(int(Fate.PARTITIONED), flight[2], flight[3], flight[1])

    def _schedule(self, t_us: int, call: Deliver, arg: Any) -> None:
        try:
            self._at(t_us, call, arg)
        except KernelError:  # DRIVE has passed
            self._at_next(t_us, call, arg)

    def _at_next(self, t_us: int, call: Deliver, arg: Any) -> None:
        assert t_us == self._kernel.now_us, f"{self.name}: arrival at {t_us} us is in the past"
        if self._kernel.phase <= Phase.DECIDE:  # what is decided outside still arrives before SOLVE, as an agent's own
            self._at(t_us, call, arg, Phase.DECIDE)
        else:  # what is sent later (telemetry leaves in REPORT) cannot arrive in the same instant
            self._at(t_us + 1, call, arg)

    def _arrive(self, flight: Flight) -> None:
        deliver, payload, sent_us, size_bytes, epoch = flight
        if epoch != self.epoch:
            self._tell_drop(int(Fate.PARTITIONED), sent_us, size_bytes, payload)
            return
        self.in_flight -= 1
        self._received += 1
        self.last_delay_us = delay_us = self._kernel.now_us - sent_us
        self._delay_sum_us += delay_us
        if sent_us > self._freshest_us:
            self._freshest_us = sent_us
        if self.on_fate is not None:
            self._tell_arrival(sent_us, size_bytes, payload)
        try:
            deliver(payload)
        except Exception as error:
            raise self._blame(deliver, error) from error

    def _end(self, fate: int, flight: Flight) -> None:
        self.in_flight -= 1
        self._drop(fate, flight[2], flight[3], flight[1])

    def _count_fork(self, before: Any, out: Sequence[tuple[int, Any]]) -> None:
        extra = len(out) - 1
        self.duplicated += extra
        self.in_flight += extra
        self.damaged += out[0][1] is not before
        if isinstance(before, Transit):
            before.route.duplicated += extra
            before.route.in_flight += extra
            before.route.damaged += out[0][1] is not before
