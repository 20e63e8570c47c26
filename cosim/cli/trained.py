"""What a training says on its way and at its end, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from cosim.cli.learning import columns

#: Lines of the table of what a transfer kept; names are counted, not listed, where there are more.
_MOST_LISTED = 12


def progress_words(progress: Any) -> str:
    """One iteration in a line: steps, return, costs, what the shield did, speed."""
    parts = [f"{progress.steps:,} steps", f"{progress.episodes:,} episodes"]
    if progress.mean_return is not None:
        parts.append(f"return {_number(progress.mean_return)}")
        if progress.mean_discounted is not None:
            parts.append(f"discounted {_number(progress.mean_discounted)}")
    else:
        parts.append(f"reward {_number(progress.reward_rate)}/s")
    if progress.trial is not None:
        parts.append(f"trial {_number(progress.trial)}")
    if progress.best is not None:
        parts.append(f"best {_number(progress.best)}")
    parts += [f"{name} {_number(rate)}/s" for name, rate in progress.cost_rates.items()]
    if progress.violating:
        parts.append(f"violating {_number(100 * progress.violating)} %")
    if progress.interventions:
        parts.append(f"shield moved {_number(progress.interventions)}/h")
    parts.append(f"{progress.steps_per_s:,.0f} steps/s")
    return ", ".join(parts)


def result_data(seed: int, folder: Path, result: Any) -> dict[str, Any]:
    """How one training ended; `policy` is the bundle to use: the best one where there was one."""
    best = folder / "best"
    policy = best if (best / "bundle.json").is_file() else result.bundle
    return {"seed": seed, "folder": str(folder), "reason": result.reason, "iterations": result.iterations,
            "steps": result.steps, "best": result.best, "bundle": str(result.bundle), "policy": str(policy)}


def results_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A line a training, and how far apart their best scores (mean returns on the way) are."""
    rows = [[str(r["seed"]), r["reason"].replace("_", " "), f"{r['steps']:,}", _number(r["best"]), r["policy"]]
            for r in results]
    lines = [columns(["seed", "ended", "steps", "best score", "bundle"], rows, left=2)]
    best = [r["best"] for r in results if r["best"] is not None and isfinite(r["best"])]
    if len(best) > 1:
        from policies.evaluate.statistics import summary

        found = summary(best)
        lines.append(f"best score over {found.n} seeds: {_number(found.mean)} ± {_number(found.half_width)} "
                     f"(95 % interval), median {_number(found.median)}, worst {_number(found.worst)}")
    return "\n".join(lines)


def moved_table(moved: Sequence[Any]) -> str:
    """What became of a bundle's inputs and outputs: counted, and named where they are few."""
    rows = []
    for group in dict.fromkeys(entry.group for entry in moved):
        for side, words in (("in", "sees"), ("out", "does")):
            for fate in ("kept", "rescaled", "new", "gone"):
                of = [entry for entry in moved if (entry.group, entry.side, entry.fate) == (group, side, fate)]
                if of:
                    rows.append([group, words, fate, str(len(of)), _listed(of, named=fate != "kept")])
    return columns(["group", "", "fate", "n", "names"], rows, left=5)


def _listed(entries: Sequence[Any], *, named: bool) -> str:
    noted = [entry for entry in entries if entry.note]
    if noted:
        words = [f"{entry.name} ({entry.note})" for entry in noted[:3]]
    else:
        words = [entry.name for entry in entries[:_MOST_LISTED if named else 4]]
    shown = len(noted[:3]) if noted else len(words)
    return ", ".join(words) + (", …" if shown < len(entries) else "")


def _number(value: Any) -> str:
    if not isinstance(value, int | float) or not isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"
