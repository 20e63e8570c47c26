"""Follows single writes through a served run: arrived, entered the kernel, solved, read back (`hil.timing.Span`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hil.timing import Span, Timing

#: Writes followed at a time; more are carried out like any other, and not measured.
MAX_FOLLOWED = 1_000
#: Session of a write whose master has left; sessions are numbered from 1.
_GONE = 0


@dataclass(slots=True)
class _Write:
    session: int
    arrival_ns: int
    entry_us: int
    solved_ns: int = 0


class Spans:
    """The writes under way; `waiting` says whether any answer is of interest (asked for every answer sent)."""

    __slots__ = ("_entering", "_solved", "_solving", "_timing", "waiting")

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._entering: deque[_Write] = deque()
        self._solving: deque[_Write] = deque()
        self._solved: dict[int, _Write] = {}
        self.waiting = False

    def taken(self, session: int, arrival_ns: int, entry_us: int) -> None:
        """A write of a session was taken; it enters the kernel at `entry_us`."""
        if len(self._entering) + len(self._solving) < MAX_FOLLOWED:
            self._entering.append(_Write(session, arrival_ns, entry_us))

    def processed(self, t_us: int, published_us: int, now_ns: int) -> None:
        """An instant was processed; values are of `published_us`."""
        record = self._timing.spans[Span.INGRESS_TO_KERNEL].record
        while self._entering and self._entering[0].entry_us <= t_us:
            write = self._entering.popleft()
            record(now_ns - write.arrival_ns)
            self._solving.append(write)
        while self._solving and self._solving[0].entry_us <= published_us:
            write = self._solving.popleft()
            write.solved_ns = now_ns
            if write.session != _GONE and len(self._solved) < MAX_FOLLOWED:
                self._solved.setdefault(write.session, write)
                self.waiting = True

    def answered(self, session: int, now_ns: int) -> None:
        """Something was sent to a session: after its write was solved, that is the value read back."""
        write = self._solved.pop(session, None)
        if write is not None:
            self._timing.spans[Span.KERNEL_TO_EGRESS].record(now_ns - write.solved_ns)
            self._timing.spans[Span.CLOSED_LOOP].record(now_ns - write.arrival_ns)
            self.waiting = bool(self._solved)

    def left(self, session: int) -> None:
        """A session has ended: nobody reads its writes back, those under way neither."""
        self._solved.pop(session, None)
        for under_way in (self._entering, self._solving):
            for write in under_way:
                if write.session == session:
                    write.session = _GONE
        self.waiting = bool(self._solved)
