"""Figure 7: how late the 10 Hz grid is beside a null loop, and what of that grows; and the way of a write.

Meanwhile a master writes a setpoint five times a second and reads until the next, some 300 requests a second.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gateway_effort import Effort, reached, told
from benchmarks.gateway_load import READ, RECEIVE, connections
from benchmarks.gateway_servers import ours
from benchmarks.harness import Row

MORE_MS, DRIFT_MS = 2.0, 1.0
WRITE_S, READ_S = 0.2, 0.003


def pacing(effort: Effort) -> Iterator[Row]:
    """One run; its own timing record has both sides."""
    with ours() as server, connections(server.port, 1) as (connection,):
        write_and_read(connection, effort.pacing_s)
        record = server.end()
    yield from rows(record, effort.pacing_s)


def rows(record: dict[str, Any], seconds: float) -> Iterator[Row]:
    """From a timing record."""
    late, floor = record["rates"][0]["lateness"], record["floor"]["lateness"]
    value, beside = late["p99_ms"], floor["p99_ms"]
    yield reached("event lateness at 10 Hz: p99", value, "ms", f"null loop beside it ({beside:.3g} ms)",
                  f"<= floor + {MORE_MS:g} ms", ratio=value / beside, ok=value <= beside + MORE_MS)
    yield told("event lateness at 10 Hz: p50", late["p50_ms"], "ms", f"null loop beside it ({floor['p50_ms']:.3g} ms)",
               late["p50_ms"] / floor["p50_ms"])
    drift = record["drift_ms"]
    name = f"drift over {seconds / 60:.2g} minutes"
    if record["drift_windows"] < 2:
        yield told(name, drift, "ms", "needs two minutes at least")
    else:
        yield reached(name, drift, "ms", "least late scan of the last minute, of the first", f"< {DRIFT_MS:g} ms",
                      ok=abs(drift) < DRIFT_MS)
    for name, words in (("ingress_to_kernel", "a write's arrival to its entry"),
                        ("closed_loop", "a write's arrival to the first value read after its solve; a step is 100 ms")):
        span = record["spans"][name]
        if span["count"]:
            yield told(f"{name.replace('_', ' ')}: p99", span["p99_ms"], "ms",
                       f"{words}; p50 {span['p50_ms']:.3g}, max {span['max_ms']:.3g} ms, n {span['count']:,}")


def write_and_read(connection: socket.socket, seconds: float) -> None:
    """A setpoint that alternates, and reads of what the battery feeds in."""
    begun = time.monotonic()
    read, n = READ.pack(2, 0, 6, 1, 3, 0, 2), 0
    while (now := time.monotonic()) < begun + seconds:
        kw = 50.0 + n % 2
        connection.sendall(struct.pack(">HHHBBHHBf", 1, 0, 11, 1, 16, 10, 2, 4, kw))
        connection.recv(RECEIVE)
        n += 1
        while now < begun + n * WRITE_S:
            connection.sendall(read)
            connection.recv(RECEIVE)
            time.sleep(READ_S)
            now = time.monotonic()
