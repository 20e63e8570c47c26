"""Figure 8: sessions with writes from several masters, refused ones among them, replayed to the same digest."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gateway_effort import Effort, reached
from benchmarks.gateway_load import RECEIVE, connections
from benchmarks.gateway_servers import Shape, ours
from benchmarks.harness import ROOT, Row

MASTERS = 4


def replays(effort: Effort) -> Iterator[Row]:
    """Serve, end, replay; as often as asked for."""
    same, writes, taken = 0, 0, 0
    for seed in range(effort.replays):
        with ours("--no-floor", "--rate", str(10 + seed % 11), "--write-rate", "500",
                  shape=Shape(recorded='["*"]')) as server:
            talk(server.port, random.Random(seed), effort.replay_s)
            counts = server.end()["writes"]
            same += replayed(server.run)
        writes, taken = writes + counts["writes"], taken + counts["taken"]
    yield reached("replay of a served session with writes: same digest", same, f"of {effort.replays} sessions",
                  f"{writes:,} writes from {MASTERS} masters, {taken:,} taken", "all",
                  ok=same == effort.replays and 0 < taken < writes)


def talk(port: int, rng: random.Random, seconds: float) -> None:
    """Reads and writes as they come, most of them right; every one is answered before the next."""
    with connections(port, MASTERS) as opened:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pdu = request(rng)
            connection = rng.choice(opened)
            connection.sendall(struct.pack(">HHHB", rng.randrange(65536), 0, len(pdu) + 1, 1) + pdu)
            connection.recv(RECEIVE)
            time.sleep(rng.random() * 0.03)


def request(rng: random.Random) -> bytes:
    """A PDU: reads, writes in and out of range, of one value and of two, to what may not be written, with masks."""
    kind = rng.randrange(8)
    if kind < 3:
        return struct.pack(">BHH", 3, rng.randrange(0, 16), rng.randrange(1, 8))
    if kind < 5:
        return struct.pack(">BHHBf", 16, 10, 2, 4, rng.uniform(-450, 450))
    if kind == 5:
        return struct.pack(">BHHBff", 16, 10, 4, 8, rng.uniform(-300, 300), rng.uniform(-110, 110))
    if kind == 6:
        return struct.pack(">BHH", 6, rng.randrange(0, 16), rng.randrange(65536))
    return struct.pack(">BHHHHBf", 23, 0, 10, 12, 2, 4, rng.uniform(-110, 110))


def replayed(folder: Path) -> bool:
    """Whether ``gridloop replay`` finds the digest that the served run had."""
    command = [sys.executable, "-m", "cosim.cli", "replay", str(folder), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    if done.returncode:
        print(f"replay ended with {done.returncode}: {done.stdout[:500]}{done.stderr[:500]}", file=sys.stderr)
        return False
    return bool(json.loads(done.stdout))
