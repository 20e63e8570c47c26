"""The gateways: fast, on time, sturdy, and replayable?

    python -m benchmarks.gateway [--quick] [--only PART …] [--json FILE]

Parts (each in a module of its own, which says how it measures): `throughput`, `latency`, `bursts`, `crowd`, `loris`,
`fuzz`, `pacing` (event lateness, drift, the way of a write), `replays`.  Everything stays on the loopback; every server
is a process of its own; the one load generator (`gateway_load`) is this process.  In full it takes an hour.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.gateway_bursts import bursts
from benchmarks.gateway_crowd import crowd
from benchmarks.gateway_effort import Effort
from benchmarks.gateway_fuzz import fuzz
from benchmarks.gateway_latency import latency
from benchmarks.gateway_loris import loris
from benchmarks.gateway_pacing import pacing
from benchmarks.gateway_replays import replays
from benchmarks.gateway_throughput import throughput
from benchmarks.harness import Row, machine_state, table

PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "throughput": throughput, "latency": latency, "bursts": bursts, "crowd": crowd, "loris": loris, "fuzz": fuzz,
    "pacing": pacing, "replays": replays}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code is 0 unless the script itself crashes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little of everything: some five minutes")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts only")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there as a JSON list")
    options = parser.parse_args(argv)
    effort, started = Effort.quick() if options.quick else Effort(), time.perf_counter()
    print(f"before: {machine_state()}")
    rows = []
    for part in options.only:
        for row in PARTS[part](effort):
            rows.append(row)
            print(f"  measured: {row.name}: {row.value} {row.unit}; {row.against}", file=sys.stderr, flush=True)
    print(table(rows))
    print(f"after:  {machine_state()}; took {time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
