"""The control centre as one asyncio process: stations polled side by side, trends and events to disk, an operator."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cosim.errors import RecordError
from cosim.stopwatch import wall_stamp
from hil.histogram import Histogram
from hil.pacer import Clock
from hil.scada.board import Board, Event
from hil.scada.desk import Desk, Surroundings
from hil.scada.event_log import EventLog, event_line
from hil.scada.link import Link
from hil.scada.plans import CentrePlan, StationPlan
from hil.scada.polling import StationPoll, Times
from hil.scada.trend import TrendFiles
from hil.scada.words import status_line

#: How often delays of alarms and staleness are looked at.
_TICK_S = 0.25


@dataclass(frozen=True, slots=True)
class CentreOptions:
    """`say` is given lines for the operator.  `out`: folder for trends and events; None: nothing is kept."""

    clock: Clock
    say: Callable[[str], None]
    out: Path | None = None
    for_s: float | None = None
    commands: tuple[str, ...] = ()
    status_every_s: float | None = 10.0
    wall: Callable[[], str] = wall_stamp


class Centre:
    """One run of a control centre."""

    def __init__(self, plan: CentrePlan, options: CentreOptions) -> None:
        self.plan, self.options = plan, options
        self.board = Board(plan)
        self.times = Times(lambda: options.clock.now_ns() / 1e9, self._wall_ms)
        self._files = TrendFiles(options.out / "trend", plan.trend.rows_per_part) if options.out is not None else None
        self._log = EventLog(options.out / "events.jsonl") if options.out is not None else None
        self.polls: list[StationPoll] = []
        self._links: dict[object, Link] = {}
        self._stop = asyncio.Event()
        self.desk = Desk(Surroundings(self.board, self.times, self._link, options.say,
                                      lambda: status_line(self.summary()), self._tell_events, self.stop))

    async def run(self) -> dict[str, Any]:
        """Poll until the time is over, `quit`, SIGINT or SIGTERM; returns the summary."""
        self.polls = [StationPoll(station, self._link_of(station), self.board, self.times)
                      for station in self.plan.stations]
        work: list[Any] = [poll.run(self.plan.communication, i / len(self.polls)) for i, poll in enumerate(self.polls)]
        work += [self._ticking(), self._flushing(), self.desk.run()]
        for line in self.options.commands:
            self.desk.hear(line)
        tasks = [asyncio.create_task(job) for job in work]
        for task in tasks:
            task.add_done_callback(self._on_end)
        with _stopping(self._stop), contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self.options.for_s)
        await _ended(tasks)
        for link in self._links.values():
            link.close()
        await self._flush()
        self._tell_events()
        if self._log is not None:
            self._log.close()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return self.summary()

    def stop(self) -> None:
        """End the run cleanly."""
        self._stop.set()

    def summary(self) -> dict[str, Any]:
        """Counters of all stations and of the whole."""
        stations = [poll.counters() for poll in self.polls]
        total = Histogram()
        for poll in self.polls:
            total.add(poll.latency)
        sums = {key: sum(row[key] for row in stations) for key in ("scans", "missed", "failed", "requests", "refusals")}
        unwritten = self._files.dropped if self._files else 0
        return {"name": self.plan.name, "seconds": round(self.times.now_s(), 3), **sums, "writes": self.desk.writes,
                "tags": len(self.board.tags), "alarms": len(self.board.shown_alarms()),
                "p50_ms": total.percentile_ns(50) / 1e6, "p99_ms": total.percentile_ns(99) / 1e6,
                "max_ms": total.max_ns / 1e6, "trend_rows": self._files.rows if self._files else 0,
                "trend_dropped": self.board.trend.dropped + unwritten, "events_lost": self.board.lost_events,
                "not_answering": [name for name, state in self.board.stations.items() if state.is_up is False],
                "stations": stations}

    def hear(self, line: str) -> None:
        """A line that an operator typed."""
        self.desk.hear(line)

    # -- housekeeping -------------------------------------------------------------------------------------------------

    async def _ticking(self) -> None:
        next_s, status_s = self.times.now_s(), self.times.now_s()
        every_s = self.options.status_every_s
        while True:
            next_s = max(next_s + _TICK_S, self.times.now_s())
            await asyncio.sleep(max(next_s - self.times.now_s(), 0.0))
            self.board.tick(self.times.now_s(), self._wall_ms())
            self._tell_events()
            if every_s is not None and next_s - status_s >= every_s:
                status_s = next_s
                self.options.say(status_line(self.summary()))

    async def _flushing(self) -> None:
        while self._files is not None:
            await asyncio.sleep(self.plan.trend.flush_s)
            await self._flush()

    async def _flush(self) -> None:
        """Rows to disk, in a thread: scans go on.  A disk that refuses is said, and tried again."""
        if self._files is None or not (len(self.board.trend) or self._files.waiting):
            return
        writing = asyncio.create_task(asyncio.to_thread(self._files.write, self.board.trend.drain()))
        try:
            await asyncio.shield(writing)
        except RecordError as error:
            self._note_disk(error)
        except asyncio.CancelledError:
            # The end: these rows must be down before the last ones follow.
            with contextlib.suppress(RecordError):
                await writing
            raise

    def _note_disk(self, error: RecordError) -> None:
        self.board.note(Event(self.times.now_s(), self._wall_ms(), "disk", "trend", str(error)))

    def _tell_events(self) -> None:
        for event in self.board.take_events():
            self.options.say(event_line(event))
            if self._log is not None:
                self._log.write(event)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        """A task that fails ends the run; `run` raises what it raised."""
        if not task.cancelled() and task.exception() is not None:
            self._stop.set()

    def _wall_ms(self) -> int:
        return round(datetime.fromisoformat(self.options.wall()).timestamp() * 1000)

    def _key(self, station: StationPlan) -> object:
        return station.endpoint if station.shared else station.name

    def _link_of(self, station: StationPlan) -> Link:
        return self._links.setdefault(self._key(station), Link(station.endpoint, station.timeout_s))

    def _link(self, name: str) -> Link:
        return next(poll.link for poll in self.polls if poll.plan.name == name)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: Python 3.11's wait_for forgets a cancellation that comes with its result."""
    waiting = set(tasks)
    while waiting:
        for task in tasks:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.1)


@contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    taken = []
    for number in signals:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
