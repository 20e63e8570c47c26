"""Figure 4: 200 stations scanned once a second, beside 500 idle and 50 busy sessions and a grid solved at 10 Hz.

The stations stand behind four ports, fifty units each; each has a master of its own, whose scan is three requests one
after the other (holding registers, input registers, a discrete input).  A scan that is not complete within its second
is missed.  The busy sessions ask ten times a second each; the idle ones once in two minutes (after five minutes of
silence the listener would close them, as its `idle_s` says).
"""

from __future__ import annotations

import heapq
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gateway_effort import Effort, reached, told
from benchmarks.gateway_load import READ, RECEIVE, Latencies, connections
from benchmarks.gateway_servers import Shape, ours
from benchmarks.harness import Row

PORTS, UNITS, IDLE, BUSY = 4, 50, 500, 50
SCAN_S, BUSY_S, IDLE_S, STEP_MS = 1.0, 0.1, 120.0, 100.0
PATIENCE_S = 1.0
"""Whatever is not answered within it is missed."""
Requests = tuple[tuple[int, int, int], ...]
SCAN: Requests = ((3, 0, 16), (4, 0, 4), (2, 0, 1))
"""Function, address and quantity of a scan's requests."""
QUERY: Requests = ((3, 0, 10),)


def crowd(effort: Effort) -> Iterator[Row]:
    """All at once, once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    try:
        with ours(shape=Shape(PORTS, UNITS)) as server:
            found = scan_all(server.ports, effort.crowd_s)
            record = server.end()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    scans, busy = found.scans, found.busy
    idle_lost = found.idle.lost + found.idle_lost
    yield reached(f"{PORTS * UNITS} stations at {SCAN_S:g} s beside {IDLE} idle and {BUSY} busy sessions: missed scans",
                  scans.lost, f"of {len(scans.seconds) + scans.lost:,}", f"{busy.lost} of "
                  f"{len(busy.seconds) + busy.lost:,} busy sessions' requests; {idle_lost} of the idle ones' lost",
                  "0", ok=not scans.lost + busy.lost + idle_lost)
    overruns, floor = record["overruns"]["count"], late_of(record["floor"].get("lateness", {}), STEP_MS)
    yield reached("the same: overruns of the 10 Hz grid", overruns, f"of {record['rates'][0]['lateness']['count']:,}",
                  f"null loop beside it ({floor} more than {STEP_MS:g} ms late)", "<= the floor's",
                  ok=overruns <= floor)
    yield told("the same: time of a scan, p99", scans.ms(0.99), "ms", f"three requests; p50 {scans.ms(0.5):.3g} ms")
    yield told("the same: share of the step that the grid took", 100 * record["rates"][0]["utilisation_mean"], "%",
               f"most {100 * record['rates'][0]['utilisation_max']:.0f} %")


def late_of(histogram: dict[str, Any], ms: float) -> int:
    """How many of a timing record's histogram were later than `ms`."""
    return sum(n for upper_ns, n in histogram.get("buckets_ns", ()) if upper_ns > ms * 1e6)


@dataclass(slots=True)
class Master:
    """One session that asks `round` every `period_s`; what it waits for now."""

    connection: socket.socket
    unit: int
    round: Requests
    period_s: float
    due_s: float
    found: Latencies
    at: int = -1
    """Which request of its round is under way; -1: none."""
    data: bytes = b""
    begun_s: float = 0.0
    owed: deque[float] = field(default_factory=deque)
    """Rounds that fell due while one was under way."""

    def fall_due(self) -> None:
        """Begin a round, or let it wait for the one under way."""
        self.owed.append(self.due_s)
        self.due_s += self.period_s
        if self.at < 0:
            self._begin()

    def hear(self, now_s: float) -> None:
        """Bytes have come: the next request, or the round is done."""
        self.data += self.connection.recv(RECEIVE)
        if len(self.data) < 9 or len(self.data) < 6 + int.from_bytes(self.data[4:6], "big"):
            return
        function = self.round[self.at][0]
        good, self.data = self.data[6:8] == bytes((self.unit, function)), b""
        self.at += 1
        if good and self.at < len(self.round):
            self._ask()
            return
        took_s, self.at = now_s - self.begun_s, -1
        if good and took_s <= PATIENCE_S:
            self.found.seconds.append(took_s)
        else:
            self.found.lost += 1
        if self.owed:
            self._begin()

    def _begin(self) -> None:
        self.begun_s, self.at = self.owed.popleft(), 0
        self._ask()

    def _ask(self) -> None:
        function, address, count = self.round[self.at]
        self.connection.send(READ.pack(self.at, 0, 6, self.unit, function, address, count))


@dataclass(slots=True)
class Found:
    """Of one crowd."""

    scans: Latencies = field(default_factory=Latencies)
    busy: Latencies = field(default_factory=Latencies)
    idle: Latencies = field(default_factory=Latencies)
    idle_lost: int = 0


def scan_all(ports: list[int], seconds: float) -> Found:
    """The crowd for so long; at the end every idle session is asked once more."""
    found = Found()
    with ExitStack() as stack:
        begun = time.monotonic() + 1.0
        idle = _sessions(stack, ports, IDLE)
        masters = [*_masters(_sessions(stack, ports, PORTS * UNITS), SCAN, SCAN_S, begun, found.scans),
                   *_masters(_sessions(stack, ports, BUSY), QUERY, BUSY_S, begun, found.busy),
                   *_masters(idle, QUERY, IDLE_S, begun, found.idle)]
        _run(masters, begun + seconds)
        _drain(masters)
        found.idle_lost = IDLE - sum(_answers(connection) for connection, _ in idle)
    return found


def _sessions(stack: ExitStack, ports: list[int], number: int) -> list[tuple[socket.socket, int]]:
    """So many connections spread over the ports, each with the unit it asks."""
    shares = [number // len(ports) + (i < number % len(ports)) for i in range(len(ports))]
    return [(connection, i % UNITS + 1) for port, share in zip(ports, shares, strict=True)
            for i, connection in enumerate(stack.enter_context(connections(port, share)))]


def _masters(sessions: list[tuple[socket.socket, int]], requests: Requests, period_s: float, begun: float,
             found: Latencies) -> list[Master]:
    """One a session, their instants spread over the period."""
    return [Master(connection, unit, requests, period_s, begun + i * period_s / len(sessions), found)
            for i, (connection, unit) in enumerate(sessions)]


def _run(masters: list[Master], stop: float) -> None:
    """Every master at its instants until `stop`."""
    by_number = {master.connection.fileno(): master for master in masters}
    calendar = [(master.due_s, i) for i, master in enumerate(masters)]
    heapq.heapify(calendar)
    with select.epoll() as poll:
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while (now := time.monotonic()) < stop:
            while calendar[0][0] <= now:
                _, i = heapq.heappop(calendar)
                masters[i].fall_due()
                heapq.heappush(calendar, (masters[i].due_s, i))
            ready = poll.poll(max(0.0, min(calendar[0][0], stop) - time.monotonic()))
            now = time.monotonic()
            for number, _ in ready:
                by_number[number].hear(now)


def _drain(masters: list[Master]) -> None:
    """Wait, at most a second, for what is under way; then it is missed."""
    last = time.monotonic() + SCAN_S
    for master in masters:
        while master.at >= 0 and time.monotonic() < last:
            if select.select([master.connection], (), (), max(0.0, last - time.monotonic()))[0]:
                master.hear(time.monotonic())
        master.found.lost += (master.at >= 0) + len(master.owed)


def _answers(connection: socket.socket) -> bool:
    """Whether a session still answers."""
    try:
        connection.settimeout(5.0)
        connection.sendall(READ.pack(1, 0, 6, 1, 3, 0, 10))
        return len(connection.recv(RECEIVE)) > 9
    except OSError:
        return False
