"""25 probes of a Modbus TCP server at its socket: ours, and three that are in use, beside what should come.

    python -m benchmarks.robustness [--only NAME …] [--json FILE]

Prints the table as Markdown.  Each probe has connections of its own; a peer that a probe has stopped is started again
for the next, ours has to bear all of them in one process.  What should come is the application protocol (v1.1b3, 6 and
7) and the messaging guide; what these leave open is said.  Peers that are not installed are named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.exchange import PeerMissingError
from benchmarks.gateway_servers import Running, Shape, ours, peer
from benchmarks.robustness_probes import PROBES, Probe, is_healthy

DOOR = "max_sessions: 1000, frame_s: 2, write_stall_s: 2"
"""Ours with shorter patience than the defaults (5 s and 10 s), so that the table is done in a minute."""


def start_ours() -> AbstractContextManager[Running]:
    """For the probes."""
    return ours("--no-floor", shape=Shape(door=DOOR))


SERVERS: dict[str, Callable[[], AbstractContextManager[Running]]] = {
    "ours": start_ours, "pymodbus": lambda: peer("pymodbus"), "pyModbusTCP": lambda: peer("pymodbustcp"),
    "libmodbus": lambda: peer("libmodbus")}


@dataclass(slots=True)
class Column:
    """What one server did, by probe; `missing` says why there is nothing."""

    name: str
    found: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    restarts: int = 0


def column(name: str, probes: Sequence[Probe] = PROBES) -> Column:
    """All probes on one server."""
    result = Column(name)
    try:
        for probe, found, restarted in _all(SERVERS[name], probes):
            result.found[probe.name] = found
            result.restarts += restarted
    except PeerMissingError as missing:
        result.missing = str(missing)
    return result


def _all(start: Callable[[], AbstractContextManager[Running]],
         probes: Sequence[Probe]) -> Iterator[tuple[Probe, str, bool]]:
    """(probe, what came, whether the server had to be started again)."""
    left = list(probes)
    while left:
        with ExitStack() as stack:
            server = stack.enter_context(start())
            while left:
                probe = left.pop(0)
                found = probe.run(server.port)
                well = server.process.poll() is None and is_healthy(server.port)
                yield probe, found if well else f"{found}; then no longer answers", not well
                if not well:
                    break


def verdict(probe: Probe, found: str) -> bool:
    """Whether that is what should come."""
    return found in probe.good


def markdown(columns: Sequence[Column], probes: Sequence[Probe] = PROBES) -> str:
    """The table; what is not as it should be stands out."""
    lines = ["| # | probe | " + " | ".join(column.name for column in columns) + " | expected |",
             "|---|---|" + "---|" * len(columns) + "---|"]
    for number, probe in enumerate(probes, 1):
        cells = [_cell(probe, column) for column in columns]
        lines.append(f"| {number} | {probe.name} | " + " | ".join(cells) + f" | {' or '.join(probe.good)} |")
    score = [f"**{sum(verdict(probe, column.found[probe.name]) for probe in probes)} of {len(probes)}**"
             if column.found else "–" for column in columns]
    return "\n".join([*lines, "| | as expected | " + " | ".join(score) + " | |"])


def _cell(probe: Probe, column: Column) -> str:
    if probe.name not in column.found:
        return "–"
    found = column.found[probe.name]
    return found if verdict(probe, found) else f"**{found}**"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code is 1 when ours does not do what it should."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SERVERS), default=list(SERVERS), help="these servers only")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write what was found there")
    options = parser.parse_args(argv)
    columns = [column(name) for name in options.only]
    print(markdown(columns))
    for one in columns:
        if one.missing:
            print(f"{one.name}: missing ({one.missing})")
        elif one.restarts:
            print(f"{one.name}: started again {one.restarts} times, as it answered nobody any more")
    if options.json:
        found = {one.name: one.found for one in columns}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    own = next((one for one in columns if one.name == "ours"), None)
    return 0 if own is None or all(verdict(probe, own.found[probe.name]) for probe in PROBES) else 1


if __name__ == "__main__":
    sys.exit(main())
