"""Figure 3: sixteen requests in one segment, as masters with several requests under way send them."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.exchange import PeerMissingError
from benchmarks.gateway_effort import Effort, reached
from benchmarks.gateway_load import burst, connections
from benchmarks.gateway_servers import ours, peer
from benchmarks.harness import Row

DEPTH = 16


def bursts(effort: Effort) -> Iterator[Row]:
    """A burst counts when all of its answers come, each in its place; pymodbus's server is asked once."""
    try:
        with peer("pymodbus") as server, connections(server.port, 1) as (connection,):
            words = f"pymodbus's server ({burst(connection, DEPTH, 1)} of {DEPTH} answered)"
    except PeerMissingError as missing:
        words = f"pymodbus's server (peer missing: {missing})"
    with ours("--no-floor") as mine, connections(mine.port, 4) as opened:
        whole = sum(burst(opened[i % 4], DEPTH, DEPTH * i) == DEPTH for i in range(effort.bursts))
    yield reached(f"pipelined bursts of {DEPTH}: {DEPTH} of {DEPTH}, in order", whole, f"of {effort.bursts:,}", words,
                  "all", ok=whole == effort.bursts)
