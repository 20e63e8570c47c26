"""Writes what `gridloop evaluate` shows as known elsewhere, scenarios/yardsticks/<task>.json, of the tasks whose
optimum is worked out here.

    python -m benchmarks.yardsticks.files [TASK …]

Without names all four: some four minutes.  What is published (ANM6-Easy) is written by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.yardsticks import arbitrage, microgrids, reconfigure, volt_var
from benchmarks.yardsticks.played import held_out

FOLDER = Path(__file__).resolve().parents[2] / "scenarios" / "yardsticks"
COMMAND = "python -m benchmarks.yardsticks"


@dataclass(frozen=True, slots=True)
class Known:
    """One value of one figure of `gridloop evaluate`, and how it came about."""

    name: str
    figure: str
    value: float
    source: str


def of_arbitrage() -> list[Known]:
    """Earnings of three days."""
    found = [arbitrage.measured(day) for day in held_out()]
    return [Known("perfect foresight, held-out days", "return", _mean(each.best for each in found),
                  "linear programme over the scenario's own prices"),
            Known("threshold rule, held-out days", "return", _mean(each.rule for each in found),
                  "the scenario's own policy")]


def of_microgrids() -> list[Known]:
    """Minus the cost of a day."""
    found = [microgrids.measured(day) for day in held_out()]
    return [Known("perfect foresight, held-out days", "return", _mean(-each.best for each in found),
                  "mixed-integer programme over the scenario's own profiles"),
            Known("rule, held-out days", "return", _mean(-each.rule for each in found), "the scenario's own policy")]


def of_reconfigure() -> list[Known]:
    """Returns, and the losses of the hour if it began at the best configuration."""
    best = reconfigure.best_of_all()
    return [Known("best exchanges", "return", round(reconfigure.best_walk().value, 3),
                  "dynamic programme over the 14,784 trees that the choices can make"),
            Known("timetable", "return", round(reconfigure.timetable(), 3), "the scenario's own policy"),
            Known(f"open {', '.join(map(str, best.opened))} all hour", "losses_kwh", round(best.losses_kw, 3),
                  f"the best of all {best.trees:,} trees, which Baran and Wu (1989) found")]


def of_volt_var() -> list[Known]:
    """Losses of a day, of ways that keep the band."""
    curve, best = volt_var.measured("droop", held_out()), volt_var.best(held_out())
    return [Known("least losses in the band, held-out days", "losses_kwh", round(24 * best.losses_kw, 1),
                  "optimal power flow with everything known, every quarter of an hour"),
            Known("tuned curve with memory, held-out days", "losses_kwh", round(24 * curve.losses_kw, 1),
                  "the scenario's own policy")]


OF: Mapping[str, Callable[[], list[Known]]] = {
    arbitrage.SCENARIO: of_arbitrage, microgrids.SCENARIO: of_microgrids, reconfigure.SCENARIO: of_reconfigure,
    volt_var.SCENARIO: of_volt_var}


def written(found: Iterable[Known]) -> str:
    """The file's text."""
    entries = [f'  {{"name": {json.dumps(known.name)}, "figure": {json.dumps(known.figure)}, '
               f'"value": {known.value!r},\n   "source": {json.dumps(f"{known.source}: {COMMAND}")}}}'
               for known in found]
    return "[\n" + ",\n".join(entries) + "\n]\n"


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 2)


if __name__ == "__main__":
    for task in sys.argv[1:] or OF:
        (FOLDER / f"{task}.json").write_text(written(OF[task]()), encoding="utf-8")
