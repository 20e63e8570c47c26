"""One station polled for ever: connect, scan on absolute deadlines, say what came, back off when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hil.histogram import Histogram
from hil.scada.blocks import Block
from hil.scada.board import Board
from hil.scada.config import CommunicationSpec
from hil.scada.link import Link, Outcome, Reply
from hil.scada.plans import ScanPlan, StationPlan
from hil.scada.readings import Reading, read_block, refused
from hil.scada.schedule import Backoff, ScanClock
from hil.scada.splitting import is_answer, read_split

#: Silences in a row after which a connection of one's own is made anew.
_PATIENCE = 2


class Times:
    """Seconds since the start, and the wall's milliseconds for the record."""

    __slots__ = ("_clock", "_start_s", "wall_ms")

    def __init__(self, clock: Callable[[], float], wall_ms: Callable[[], int]) -> None:
        self._clock, self._start_s, self.wall_ms = clock, clock(), wall_ms

    def now_s(self) -> float:
        """Monotonic seconds since the start."""
        return self._clock() - self._start_s


class StationPoll:
    """What one station's task does, and its counters."""

    def __init__(self, plan: StationPlan, link: Link, board: Board, times: Times) -> None:
        self.plan, self.link = plan, link
        self._board, self._times = board, times
        self.latency = Histogram()
        self.requests = self.refusals = self.failed = 0
        self._silences = 0
        self._clocks: list[tuple[ScanPlan, ScanClock]] = []

    async def run(self, communication: CommunicationSpec, phase: float) -> None:
        """Poll until cancelled; the first scan of a class is `phase` (0…1) of its period after the start."""
        self._clocks = [(scan, ScanClock(scan.period_s, self._times.now_s() + phase * scan.period_s))
                        for scan in self.plan.scans]
        backoff = Backoff(communication.retry_first_s, communication.retry_most_s)
        while True:
            problem = await self._connected()
            if not problem:
                scan, clock = min(self._clocks, key=lambda pair: pair[1].next_s)
                await asyncio.sleep(max(clock.next_s - self._times.now_s(), 0.0))
                clock.begin(self._times.now_s())
                problem = await self._scan(scan)
            self._board.comm(self.plan.name, problem, self._times.now_s(), self._times.wall_ms())
            if problem:
                self.failed += 1
                await asyncio.sleep(backoff.wait_s())
            else:
                backoff.reset()

    async def _connected(self) -> str:
        return "" if self.link.is_open else await self.link.open()

    async def _scan(self, scan: ScanPlan) -> str:
        """Read every block; returns why the station does not answer, or ""."""
        readings: list[Reading] = []
        for block in scan.blocks:
            for part, reply in await read_split(self._ask, block):
                if not is_answer(reply):
                    self._forsake(reply.outcome)
                    return reply.words
                readings += read_block(part, reply.data) if reply.is_done else refused(part)
        self._silences = 0
        self._board.take(self.plan, readings, self._times.now_s(), self._times.wall_ms())
        return ""

    async def _ask(self, block: Block) -> Reply:
        begun_s = self._times.now_s()
        reply = await self.link.read(block.unit, block.table, block.address, block.count)
        self.requests += 1
        self.refusals += reply.outcome is Outcome.REFUSED
        if is_answer(reply):
            self.latency.record(round((self._times.now_s() - begun_s) * 1e9))
        return reply

    def _forsake(self, outcome: Outcome) -> None:
        """Close a connection that is of no use; a shared one only when it is dead."""
        self._silences += outcome is Outcome.SILENT
        is_dead = outcome is Outcome.LOST
        if is_dead or (not self.plan.shared and (outcome is Outcome.GARBLED or self._silences >= _PATIENCE)):
            self._silences = 0
            self.link.close()

    def counters(self) -> dict[str, Any]:
        """For the summary: times in milliseconds, of one request and its answer.

        Scans that were due while the station did not answer are missed ones too.
        """
        now_s = self._times.now_s()
        return {"station": self.plan.name, "address": str(self.plan.endpoint),
                "scans": sum(clock.scans for _, clock in self._clocks),
                "missed": sum(clock.missed + clock.overdue(now_s) for _, clock in self._clocks), "failed": self.failed,
                "requests": self.requests, "refusals": self.refusals,
                "p50_ms": self.latency.percentile_ns(50) / 1e6, "p99_ms": self.latency.percentile_ns(99) / 1e6,
                "max_ms": self.latency.max_ns / 1e6}
