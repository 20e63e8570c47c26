"""What every benchmark script shares: paired measuring, rows, the table and the command line.

The speed of a shared machine varies up to four times within minutes, so an absolute rate means little. `compare` runs
the two sides in turn (A B A B …) and keeps the median of the ratios of neighbours. Before each measurement the garbage
collector is emptied and everything alive is frozen: neither side pays for scanning what the other's imports or the
process's history left behind (with 1,000 agents that alone halves a rate).

A script installs nothing. A side that is not there gives a row without a value that says so; it is no failure: the
exit code is 0 unless the script itself crashes.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from benchmarks.exchange import PeerMissingError

Item = TypeVar("Item")
Result = TypeVar("Result")

Rate = Callable[[], float]
"""Runs one side once and returns its rate; higher is better."""

ROOT = Path(__file__).resolve().parent.parent


class NotBuiltError(Exception):
    """Our own side of a comparison does not exist yet."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The figure a ratio has to reach: at least or at most `bound`."""

    at_least: bool
    bound: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a benchmark's result.

    `value` is our figure in `unit`, `against` the other side (with its figure where it was measured, or why one side
    is missing), `ratio` ours to theirs. `ok` is None where there is no figure to reach or nothing was measured.
    """

    name: str
    value: float | None
    unit: str
    against: str
    ratio: float | None
    reach: str
    ok: bool | None


@dataclass(frozen=True, slots=True)
class Pairing:
    """Medians over the pairs of one comparison; `ratio` is the median of the pairs' ratios, not of the medians."""

    ours: float
    theirs: float
    ratio: float


@contextmanager
def settled() -> Iterator[None]:
    """Collect the garbage and freeze what lives, so that only the measured side's own objects are scanned."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def compare(ours: Rate, theirs: Rate, pairs: int) -> Pairing:
    """Measure the sides in turn, `pairs` times each; the first, unmeasured pair loads modules and fills caches."""
    ours(), theirs()
    rates: list[tuple[float, float]] = []
    for _ in range(pairs):
        with settled():
            a = ours()
        with settled():
            b = theirs()
        rates.append((a, b))
    return Pairing(
        ours=statistics.median(a for a, _ in rates),
        theirs=statistics.median(b for _, b in rates),
        ratio=statistics.median(a / b for a, b in rates),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row to be measured: our rate against a peer's, with the ratio to reach (None: reported only)."""

    name: str
    unit: str
    peer: str
    ours: Rate
    theirs: Rate
    reach: Reach | None = None

    def row(self, pairs: int) -> Row:
        """Measure; a missing side gives a row that says which, and the side that is there is still measured."""
        try:
            pairing = compare(self.ours, self.theirs, pairs)
        except PeerMissingError as missing:
            return self._missing(f"{self.peer} (peer missing: {missing})", _alone(self.ours))
        except NotBuiltError as missing:
            return self._missing(f"{self.peer} ({_alone_figure(self.theirs)}; {missing})", None)
        ok = self.reach.met(pairing.ratio) if self.reach else None
        against = f"{self.peer} ({_figure(pairing.theirs)})"
        return Row(self.name, pairing.ours, self.unit, against, pairing.ratio, str(self.reach or ""), ok)

    def _missing(self, against: str, value: float | None) -> Row:
        return Row(self.name, value, self.unit, against, None, str(self.reach or ""), None)


def _alone(side: Rate) -> float:
    """Rate of a side whose partner is missing, after one run to warm up."""
    side()
    with settled():
        return side()


def _alone_figure(side: Rate) -> str:
    """The same as text, or why this side is missing as well."""
    try:
        return _figure(_alone(side))
    except PeerMissingError as missing:
        return f"peer missing: {missing}"
    except NotBuiltError:
        return "-"


def child_peak_mb(statement: str) -> float:
    """Peak resident memory (MB) of a fresh interpreter that runs `statement` with the repository root on its path.

    Read from VmHWM, not from `ru_maxrss`, which a child inherits from a large parent on Linux.
    Raises subprocess.CalledProcessError when the statement fails.
    """
    report = "; print([s for s in open('/proc/self/status') if s.startswith('VmHWM')][0].split()[1])"
    return float(child_output(statement + report).split()[-1]) / 1024.0


def child_output(statement: str) -> str:
    """Standard output of a fresh interpreter that runs `statement` in the repository root."""
    command = [sys.executable, "-c", statement]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout  # noqa: S603


def machine_state() -> str:
    """One line on the machine: cores, load average, Python."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{os.cpu_count()} cores, load average {load}, "
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as an aligned text table."""
    head = ("what", "ours", "unit", "against", "ratio", "reach", "ok")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, tuple("-" * width for width in widths))
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {None: "-", True: "yes", False: "NO"}[row.ok]
    ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
    value = "missing" if row.value is None else _figure(row.value)
    return row.name, value, row.unit, row.against, ratio, row.reach or "-", verdict


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """The work on every item, `processes` at a time, in the items' order; in this process where that is one."""
    if processes == 1:
        return [work(item) for item in items]
    with get_context("spawn").Pool(processes) as pool:
        return pool.map(work, items, chunksize=1)


def main(description: str, measure: Callable[[bool], Iterator[Row]], argv: Sequence[str] | None = None) -> int:
    """The command line of a benchmark script; `measure(quick)` yields its rows. Returns the exit code 0."""
    options = command_line(description).parse_args(argv)
    return report(options, measure(options.quick))


def command_line(description: str) -> argparse.ArgumentParser:
    """What every benchmark script takes; a script may add arguments of its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and shorter runs: under a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there as a JSON list")
    return parser


def report(options: argparse.Namespace, measured: Iterable[Row]) -> int:
    """Measure, saying what is done, print the table and write the file that `options` name. Returns the exit code 0."""
    started = time.perf_counter()
    print(f"before: {machine_state()}")
    rows = []
    for row in measured:
        rows.append(row)
        print(f"  measured: {row.name} against {row.against}", file=sys.stderr, flush=True)
    print(table(rows))
    print(f"after:  {machine_state()}; took {time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0
