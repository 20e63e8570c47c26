"""Figure 5: healthy masters beside 200 that send a byte now and then and never a whole request.

    python -m benchmarks.gateway_loris PORT NUMBER

is the slow ones' own process: each begins a long request, adds a byte twice a second, and comes again when it is cut.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median

from benchmarks.gateway_effort import Effort, reached
from benchmarks.gateway_latency import PER_SECOND, window
from benchmarks.gateway_servers import ours
from benchmarks.harness import ROOT, Row

NUMBER = 200
DRIP_S = 0.5
MOST_RISE, MOST_MS = 0.2, 5.0
BEGINNING = bytes.fromhex("0001000000fe0110")
"""A write of many registers that is to have 254 bytes."""


def loris(effort: Effort) -> Iterator[Row]:
    """Windows with and without, in turn, on one server."""
    with ours("--no-floor") as mine:
        window(mine, 1.0)
        pairs = []
        for _ in range(effort.pairs):
            alone = window(mine, effort.latency_window_s)
            with slow_ones(mine.port, NUMBER):
                pairs.append((window(mine, effort.latency_window_s), alone))
    beside, alone_ms = median(a.ms(0.99) for a, _ in pairs), median(b.ms(0.99) for _, b in pairs)
    rise = median(a.ms(0.99) / b.ms(0.99) for a, b in pairs) - 1
    lost = sum(a.lost for a, _ in pairs)
    yield reached(f"{NUMBER} slow-loris connections: p99 of {PER_SECOND:,.0f} healthy requests/s", beside, "ms",
                  f"without them ({alone_ms:.3g} ms); {lost} not answered",
                  f"rise <= {MOST_RISE:.0%} or {MOST_MS:g} ms", ratio=1 + rise,
                  ok=not lost and (rise <= MOST_RISE or beside - alone_ms <= MOST_MS))


@contextmanager
def slow_ones(port: int, number: int) -> Iterator[None]:
    """While they drip."""
    command = [sys.executable, "-m", "benchmarks.gateway_loris", str(port), str(number)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the slow connections could not be opened")
        try:
            yield
        finally:
            process.kill()


def main(port: int, number: int) -> int:
    """Drip until standard input ends."""
    opened = [_begun(port) for _ in range(number)]
    print("ready", flush=True)
    turn, next_s = 0, time.monotonic()
    while True:
        next_s += DRIP_S / number
        if select.select([sys.stdin.fileno()], (), (), max(0.0, next_s - time.monotonic()))[0]:
            return 0 if not os.read(sys.stdin.fileno(), 64) else 1
        at = turn % number
        turn += 1
        try:
            opened[at].send(b"\0")
        except OSError:
            opened[at].close()
            with suppress(OSError):
                opened[at] = _begun(port)


def _begun(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.send(BEGINNING)
    return connection


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
