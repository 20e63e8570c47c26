"""Figure 1: answers a second, 16 connections of 10 registers each, every one asking again as soon as it is answered.

Ours solves its feeder ten times a second meanwhile and keeps every byte (`--wire all`, as it does unless told
otherwise); the others have nothing else to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.exchange import PeerMissingError
from benchmarks.gateway_effort import Effort
from benchmarks.gateway_load import closed_loop
from benchmarks.gateway_servers import Running, ours, peer
from benchmarks.harness import Comparison, Rate, Reach, Row

SESSIONS = 16
PEERS = (("pymodbus", "pymodbus's server", Reach(True, 2.5)),
         ("echo", "bare asyncio echo of the same bytes", Reach(True, 0.6)),
         ("pymodbustcp", "pyModbusTCP's server", None), ("libmodbus", "libmodbus, select() in C", None))


def throughput(effort: Effort) -> Iterator[Row]:
    """Ours against each peer in turn; all run all the time, one is asked at a time."""
    with ExitStack() as stack:
        mine = rate(stack.enter_context(ours("--no-floor")), effort.window_s)
        for kind, words, reach in PEERS:
            theirs = _peer_rate(stack, kind, effort.window_s)
            yield Comparison(f"{SESSIONS} connections × 10 registers", "answers/s", words, mine, theirs,
                             reach).row(effort.pairs)
        bare = rate(stack.enter_context(ours("--no-floor", "--wire", "none")), effort.window_s)
        yield Comparison("the same, keeping every byte", "answers/s", "keeping none (--wire none)", mine,
                         bare).row(effort.pairs)


def rate(server: Running, window_s: float) -> Rate:
    """Answers a second of one server."""
    return lambda: closed_loop(server.port, SESSIONS, window_s)


def _peer_rate(stack: ExitStack, kind: str, window_s: float) -> Rate:
    """Of a peer; it raises PeerMissingError when called if there is none here."""
    try:
        return rate(stack.enter_context(peer(kind)), window_s)
    except PeerMissingError as missing:
        reason = missing

        def absent() -> float:
            raise reason

        return absent
