"""Yardsticks of the learning tasks: what no control, a rule and the optimum reach on the held-out days.

    python -m benchmarks.yardsticks [--quick] [--json FILE]
    python -m benchmarks.yardsticks.files [TASK …]           writes those that `gridloop evaluate` shows

`--quick` takes four of the twelve held-out days, and of the
feeder's trees those that the task's choices can make.  Deterministic: the same machine gives the same figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import numpy as np

from benchmarks.harness import Row, main
from benchmarks.yardsticks import arbitrage, microgrids, reconfigure, volt_var
from benchmarks.yardsticks.played import held_out


def days(quick: bool) -> list[date]:
    """The held-out days: twelve, or four of them."""
    return held_out(every=90 if quick else 30)


def of_volt_var(quick: bool) -> Iterator[Row]:
    """CR and losses by way of control."""
    for variant in volt_var.VARIANTS:
        yield from _volt_var_rows(variant, volt_var.measured(variant, days(quick)))
    yield from _volt_var_rows("least losses (OPF)", volt_var.best(days(quick), every=20 if quick else 5))


def _volt_var_rows(name: str, figures: volt_var.Figures) -> Iterator[Row]:
    span = f"voltages {figures.v_min_pu:.4f} to {figures.v_max_pu:.4f} pu"
    yield Row(f"volt_var_33: {name}, CR", round(figures.ratio, 4), "", span, None, "", None)
    yield Row(f"volt_var_33: {name}, losses", round(figures.losses_kw, 2), "kW",
              f"{24 * figures.losses_kw:.1f} kWh a day", None, "", None)


def of_microgrids(quick: bool) -> Iterator[Row]:
    """Mean cost of a day."""
    found = [microgrids.measured(day) for day in days(quick)]
    for field in ("nothing", "rule", "best", "relaxed"):
        yield Row(f"microgrids3: {field}", _mean(found, field), "EUR/day", f"{len(found)} days", None, "", None)
    apart = max(abs(day.played - day.best) for day in found)
    yield Row("microgrids3: optimum played in the engine", apart, "EUR apart", "the program", None, "<= 1e-6",
              apart <= 1e-6)


def of_reconfigure(quick: bool) -> Iterator[Row]:
    """Losses of the feeder."""
    as_it_is, best = reconfigure.engine_losses_kw([reconfigure.AS_IT_IS, reconfigure.BEST]).tolist()
    for name, losses, published in (("as it is", as_it_is, 202.677), ("open 7, 9, 14, 32, 37", best, 139.551)):
        yield Row(f"reconfigure_33: {name}", round(losses, 4), "kW", f"published {published}", None, "± 0.001",
                  abs(losses - published) <= 1e-3)
    found = reconfigure.best_of_choices() if quick else reconfigure.best_of_all()
    yield Row(f"reconfigure_33: best of {found.trees:,} trees", round(found.losses_kw, 4), "kW",
              f"open {', '.join(map(str, found.opened))}; {found.unsolved:,} without a solution", None, "the same",
              found.opened == reconfigure.BEST)
    walk = reconfigure.best_walk()
    yield Row("reconfigure_33: return of the best exchanges", round(walk.value, 4), "",
              f"timetable {reconfigure.timetable():.4f}", None, "", None)
    apart = abs(reconfigure.played(walk.opened) - walk.value)
    yield Row("reconfigure_33: best exchanges played in the engine", apart, "apart", "the programme", None, "<= 1e-6",
              apart <= 1e-6)


def of_arbitrage(quick: bool) -> Iterator[Row]:
    """Mean earnings of an episode."""
    found = [arbitrage.measured(day) for day in days(quick)]
    best = _mean(found, "best")
    for field in ("nothing", "rule", "ahead", "best"):
        mean = _mean(found, field)
        yield Row(f"arbitrage: {field}", mean, "EUR/3 days", f"optimum ({best:.1f})", round(mean / best, 4), "", None)
    apart = max(abs(episode.played - episode.best) for episode in found)
    yield Row("arbitrage: optimum played in the engine", apart, "EUR apart", "the program", None, "<= 1e-6",
              apart <= 1e-6)


def _mean(found: Sequence[object], field: str) -> float:
    return round(float(np.mean([getattr(each, field) for each in found])), 2)


def measure(quick: bool) -> Iterator[Row]:
    """The rows of all tasks."""
    for rows in (of_volt_var, of_microgrids, of_reconfigure, of_arbitrage):
        yield from rows(quick)


if __name__ == "__main__":
    assert __doc__ is not None
    raise SystemExit(main(__doc__, measure))
