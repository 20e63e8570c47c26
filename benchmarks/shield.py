"""The safety shield: is it safe, near to the request, and cheap?

    python -m benchmarks.shield [--quick] [--calls N] [--only PART …] [--processes N] [--json FILE] [--plots DIR]

Parts (each in a module of its own, which says how it measures): `violations` (shield_trials), `distance`
(shield_distance), `cost` and `agents` (shield_cost), `channel` (shield_channel). Zero in n calls is given with its
Clopper-Pearson bound. Numerical libraries get one thread: more gain nothing on matrices this small, and lose much on
a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy is loaded; the processes started here inherit it

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np  # noqa: E402

from benchmarks import shield_channel, shield_cost, shield_distance  # noqa: E402
from benchmarks.harness import Reach, Row, compare, machine_state  # noqa: E402
from benchmarks.shield_cases import FEEDERS, OVERSIZE, POLICIES, YEAR_S  # noqa: E402
from benchmarks.shield_trials import Cell, Share, Tally, run_all, upper_bound  # noqa: E402

LEVEL = 0.95
FAILURES_SHOWN = 5
"""Repros printed for each cell."""
UNSHIELDED_SHARE = 0.1
YEAR_H = YEAR_S / 3_600


@dataclass(slots=True)
class Effort:
    """How much is measured, and what for the plots is kept."""

    calls: int = 1_000_000
    states: int = 200
    rechecked: int = 1_000
    cost_calls: int = 5_000
    heap_calls: int = 100_000
    step_s: int = 400
    pairs: int = 7
    channel_calls: int = 7 * 8_640
    other_channel_calls: int = 8_640
    processes: int = 2
    cells: dict[Cell, Tally] = field(default_factory=dict)

    @classmethod
    def quick(cls) -> Effort:
        """A minute or two."""
        return cls(calls=2_000, states=16, rechecked=40, cost_calls=300, heap_calls=0, step_s=60, pairs=3,
                   channel_calls=1_440, other_channel_calls=720)


def _shares(effort: Effort, calls: int, *, shielded: bool) -> list[Share]:
    n = effort.processes
    return [Share(feeder, policy, calls, share, n, shielded, effort.rechecked // (len(POLICIES) * n) if shielded else 0,
                  -(-200 // n)) for feeder in FEEDERS for policy in POLICIES for share in range(n)]


def violations(effort: Effort) -> Iterator[Row]:
    """Figure 1: every policy on both feeders, and a smaller sample of the same without the shield."""
    without = max(effort.processes * 100, round(effort.calls * UNSHIELDED_SHARE))
    effort.cells |= run_all([*_shares(effort, effort.calls, shielded=True), *_shares(effort, without, shielded=False)],
                            effort.processes)
    for feeder in FEEDERS:
        for policy in POLICIES:
            yield from _cell_rows(f"{feeder}, {policy} policy", effort.cells[feeder, policy, "", True],
                                  effort.cells[feeder, policy, "", False])


def _cell_rows(name: str, tally: Tally, without: Tally) -> Iterator[Row]:
    counts, n = tally.counts, tally.counts["calls"]
    unflagged = counts["unflagged"] + counts["device limits passed"]
    yield _row(f"{name}: unflagged violations", unflagged, f"of {n:,} calls",
               f"{without.share_of('violating'):.1%} of {without.counts['calls']:,} calls without the shield; "
               f"{LEVEL:.0%} upper bound {upper_bound(unflagged, n):.2g} a call", reach="0", ok=not unflagged)
    flagged, refuted = counts["infeasible"], counts["refuted"]
    yield _row(f"{name}: flagged infeasible", flagged, f"of {n:,} calls",
               f"independent feasibility solve: {counts['confirmed']} confirmed, {refuted} refuted",
               reach="none refuted", ok=not refuted)
    yield _row(f"{name}: PV curtailed", 100 * tally.curtailed / max(tally.available, 1e-9), "% of available",
               f"{100 * tally.curtailed_by_shield / max(tally.available, 1e-9):.2g} % by the shield, the rest as asked")
    rungs = ", ".join(f"{rung.lower()} {counts[rung]:,}" for rung in _RUNGS if counts[rung])
    yield _row(f"{name}: time of a call", tally.ms(0.5), "ms median",
               f"p99 {tally.ms(0.99):.3g}, max {tally.ms(1.0):.3g} ms; {rungs}")
    if counts["rechecked"]:
        wrong = counts["rechecked and violating"]
        yield _row(f"{name}: accepted states solved by pandapower", wrong, f"violating of {counts['rechecked']}",
                   f"largest difference {tally.rechecked_pu:.1e} pu", reach="0", ok=not wrong)


_RUNGS = ("REQUEST", "PROJECTION", "LAST_SAFE", "BACKUP", "EMERGENCY", "LEAST_HARM")


def distance(effort: Effort) -> Iterator[Row]:
    """Figure 2."""
    n = effort.processes
    parts = [shield_distance.Part(feeder, effort.states // n, share, n) for feeder in FEEDERS for share in range(n)]
    for feeder, found in shield_distance.compare_all(parts, n).items():
        ratios = np.array([one.ratio for one in found])
        known = ratios[np.isfinite(ratios)]
        lost = f"; no optimum found for {ratios.size - known.size}" if known.size < ratios.size else ""
        against = f"AC-optimal projection, {known.size} unsafe requests{lost}"
        for what, value, bound in (("median", float(np.median(known)), 1.02), ("worst", float(known.max()), 1.10)):
            yield _reached(f"{feeder}: distance to the request, {what}", value, "of the optimum's", against,
                           Reach(False, bound), value)
        rated = FEEDERS[feeder].peak_kw * OVERSIZE
        far = [one.ratio for one in found if one.optimal_kva >= 0.01 * rated]
        excess = max(one.shield_kva - one.optimal_kva for one in found if np.isfinite(one.ratio))
        yield _row(f"{feeder}: the same, worst of {len(far)} more than 1 % of a rating from safe",
                   max(far, default=1.0), "of the optimum's",
                   f"largest excess of all {excess:.3g} kVA; the devices have {rated:.0f} kVA each")
        for one in sorted(found, key=lambda one: -one.ratio)[:3]:
            print(f"  {one.ratio:.4f}: {one}", file=sys.stderr)


def cost(effort: Effort) -> Iterator[Row]:
    """Figure 3."""
    found = shield_cost.measure(effort.cost_calls)
    bare, case = float(np.median(found.bare_safe)), f"case118, {shield_cost.DEVICES} devices"
    yield _reached(f"{case}: safe request", float(np.median(found.safe)), "ms", f"bare AC solve ({bare:.3g} ms)",
                   Reach(False, 1.5), found.safe_ratio)
    read = float(np.median(found.bare_read))
    yield _row(f"{case}: safe request", float(np.median(found.safe)), "ms",
               f"bare solve, loadings read ({read:.3g} ms)", found.safe_ratio_read)
    bare = float(np.median(found.bare_unsafe))
    for what, quantile, bound in (("median", 0.5, 30.0), ("p99", 0.99, 100.0)):
        yield _reached(f"{case}: unsafe request, {what}", float(np.quantile(found.unsafe, quantile)), "ms",
                       f"bare AC solve of the request ({bare:.3g} ms)", Reach(False, bound),
                       found.unsafe_ratio(quantile))
    rungs = ", ".join(f"{name.lower()} {count:,}" for name, count in found.rungs.items())
    yield _row(f"{case}: power flows in a call, most", max(found.solves), "solves",
               f"{found.infeasible} infeasible; {rungs}")
    if effort.heap_calls:
        blocks, mb, calls = shield_cost.growth(effort.heap_calls)
        yield _row(f"{case}: heap growth", blocks, "objects kept a call", f"{mb:+.1f} MB over {calls:,} calls",
                   reach="< 0.1", ok=blocks < 0.1)


def agents(effort: Effort) -> Iterator[Row]:
    """Figure 4."""
    on, off = (shield_cost.seconds_a_step(mode, effort.step_s) for mode in ("enforce", "off"))
    found = compare(on, off, effort.pairs)
    yield _reached("100-agent benchmark, shield on: time of a step", found.ours * 1e3, "ms",
                   f"off ({found.theirs * 1e3:.3g} ms)", Reach(False, 1.6), found.ratio)


def channel(effort: Effort) -> Iterator[Row]:
    """Figure 5."""
    qualities = shield_channel.QUALITIES
    shares = [Share("case33bw", policy, effort.channel_calls if quality == shield_channel.TO_REACH
                    else effort.other_channel_calls, channel=quality, shielded=shielded)
              for quality in qualities for policy in POLICIES for shielded in (True, False)
              if shielded or quality == shield_channel.TO_REACH]
    effort.cells |= run_all(shares, effort.processes)
    for quality in qualities:
        for policy in POLICIES:
            tally = effort.cells["case33bw", policy, quality, True]
            counts, unshielded = tally.counts, effort.cells["case33bw", policy, shield_channel.TO_REACH, False]
            unflagged, stale = counts["unflagged"], counts["unflagged, a report stale"]
            yield _row(f"case33bw, {policy} policy, {quality}: violation minutes", minutes(tally),
                       f"in {counts['calls'] * shield_channel.STEP_S / 3600:.3g} h",
                       f"{unshielded.share_of('violating'):.1%} of the time without the shield; {unflagged} scans "
                       f"unflagged ({stale} with a stale report, {counts['unflagged, flagged just before']} within "
                       f"30 s of a flag), {counts['infeasible']} flagged; "
                       f"{100 * tally.curtailed / max(tally.available, 1e-9):.3g} % curtailed",
                       reach="0 unflagged while fresh" if quality == shield_channel.TO_REACH else "",
                       ok=unflagged == stale if quality == shield_channel.TO_REACH else None)


def minutes(tally: Tally) -> float:
    """Time with a violation behind a channel, flagged or not."""
    return tally.counts["violating"] * shield_channel.STEP_S / 60


def plots(effort: Effort, folder: Path) -> None:
    """What was measured, for the documents."""
    from benchmarks import shield_plots

    folder.mkdir(parents=True, exist_ok=True)
    year = {(feeder, policy, on): effort.cells[feeder, policy, "", on].share_of("violating") * YEAR_H * 60
            for feeder, policy, quality, on in effort.cells if not quality}
    for feeder in FEEDERS:
        if (feeder, "no", True) in year:
            pair = ({policy: year[feeder, policy, on] for policy in POLICIES} for on in (False, True))
            shield_plots.bars(folder / f"shield_{feeder}", f"{feeder}: time in violation by who commands",
                              "minutes a year", *pair)
    tallies = {key: tally for key, tally in effort.cells.items() if key[2] and key[3]}
    if tallies:
        hours = {key: tally.counts["calls"] * shield_channel.STEP_S / 3600 for key, tally in tallies.items()}
        qualities = list(shield_channel.QUALITIES)
        by_policy = {policy: [minutes(tallies[key]) * 24 / hours[key] for key in
                              (("case33bw", policy, quality, True) for quality in qualities)] for policy in POLICIES}
        plain = {policy: 1440 * effort.cells["case33bw", policy, shield_channel.TO_REACH, False].share_of("violating")
                 for policy in POLICIES}
        shield_plots.lines(folder / "shield_channel", "case33bw: time in violation by the shield's channel",
                           "minutes a day", [*qualities, "no shield"],
                           {policy: [*values, plain[policy]] for policy, values in by_policy.items()})


def _row(name: str, value: float, unit: str, against: str, ratio: float | None = None, reach: str = "",
         *, ok: bool | None = None) -> Row:
    return Row(name, value, unit, against, ratio, reach, ok)


def _reached(name: str, value: float, unit: str, against: str, reach: Reach, ratio: float) -> Row:
    return Row(name, value, unit, against, ratio, str(reach), reach.met(ratio))


def markdown(rows: Sequence[Row]) -> str:
    """The rows as the documents' table."""
    lines = ["| what | ours | against | ratio | reach | reached |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = "missing" if row.value is None else f"{row.value:,.3g}" if abs(row.value) < 1e3 else f"{row.value:,.0f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.4g}"
        verdict = {None: "-", True: "yes", False: "**no**"}[row.ok]
        lines.append(f"| {row.name} | {value} {row.unit} | {row.against} | {ratio} | {row.reach or '-'} | {verdict} |")
    return "\n".join(lines)


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "violations": violations, "distance": distance, "cost": cost, "agents": agents, "channel": channel}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code is 0 unless the script itself crashes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little of everything: a few minutes")
    parser.add_argument("--calls", type=int, metavar="N", help="calls of each policy on each feeder (1,000,000)")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="these parts only")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="processes at a time (2)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there as a JSON list")
    parser.add_argument("--plots", metavar="DIR", type=Path, help="draw the plots there (needs matplotlib)")
    options = parser.parse_args(argv)
    effort = Effort.quick() if options.quick else Effort()
    effort.processes, effort.calls = options.processes, options.calls or effort.calls
    started = time.perf_counter()
    print(f"before: {machine_state()}")
    rows = []
    for part in options.only:
        for row in PARTS[part](effort):
            rows.append(row)
            print(f"  measured: {row.name}: {row.value} {row.unit}; {row.against}", file=sys.stderr, flush=True)
    print(markdown(rows))
    for cell, tally in effort.cells.items():
        for failure in tally.failures[:FAILURES_SHOWN]:
            print(f"{cell}: {failure}")
    print(f"after:  {machine_state()}; took {time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    if options.plots:
        plots(effort, options.plots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
