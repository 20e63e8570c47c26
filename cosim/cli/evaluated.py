"""The outcome of ``gridloop evaluate`` as a table for people."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from cosim.cli.learning import columns

if TYPE_CHECKING:
    from policies.evaluate import Cell, Evaluation, Summary

#: Columns behind the return: (figure, heading, factor, digits, whether it is left out where it is 0 throughout).
_COLUMNS = (("in_band", "in band %", 100.0, 2, False), ("violating", "violating %", 100.0, 2, True),
            ("violation_bus_minutes", "bus-min out", 1.0, 1, True), ("overload_minutes", "overload min", 1.0, 1, True),
            ("losses_kwh", "losses kWh", 1.0, 1, False), ("cost", "cost", 1.0, 2, True),
            ("unserved_kwh", "not served kWh", 1.0, 1, True), ("interventions", "shield moved", 1.0, 1, True))


def evaluation_table(evaluation: Evaluation) -> str:
    """A line a controller and quality: figures as means with the half width of their 95 % intervals."""
    cells = evaluation.cells()
    reference = evaluation.controllers[0]
    shown = [column for column in _COLUMNS if not column[4] or any(_mean(cell, column[0]) for cell in cells)]
    costs = list(dict.fromkeys(name for cell in cells for name in cell.figures if name.startswith("cost.")))
    main = ["return", *(["discounted_return"] if any("discounted_return" in cell.figures for cell in cells) else [])]
    several = len(evaluation.controllers) > 1
    head = [*(["channel"] if len(evaluation.qualities) > 1 else []), "controller",
            *(name.replace("_return", "") for name in main), "median", "worst",
            *([f"against {reference}"] if several else []), *(column[1] for column in shown),
            *(name.removeprefix("cost.") for name in costs), "decides in ms"]
    rows = []
    for cell in cells:
        row = [*([cell.quality] if len(evaluation.qualities) > 1 else []), cell.controller]
        row += [_with_interval(cell.figures.get(name)) for name in main]
        row += [_number(cell.figures["return"].median), _number(cell.figures["return"].worst)]
        row += [_with_interval(cell.against.get("return"), sign=True)] if several else []
        row += [_with_interval(cell.figures.get(name), factor, digits) for name, _, factor, digits, _ in shown]
        row += [_with_interval(cell.figures.get(name)) for name in costs]
        rows.append([*row, f"{cell.latency_ms['median']:.3f}" if cell.latency_ms else "-"])
    table = columns(head, rows, left=2 if len(evaluation.qualities) > 1 else 1)
    return "\n".join([table, *_yardsticks(evaluation), _note(evaluation)])


def _yardsticks(evaluation: Evaluation) -> list[str]:
    lines = []
    for known in evaluation.yardsticks:
        spread = f" ± {known.spread:g}" if known.spread is not None else ""
        lines.append(f"known elsewhere: {known.name}: {known.figure.replace('_', ' ')} {known.value:g}{spread} "
                     f"({known.source})")
    return [*lines, "(what is known elsewhere is of the episodes named there, not of others)"] if lines else []


def _note(evaluation: Evaluation) -> str:
    from policies.evaluate import MIN_INTERVAL

    n = len(evaluation.seeds)
    told = "mean ± half of the 95 % interval (Student's t)" if n >= MIN_INTERVAL else (
        f"means without intervals, which take {MIN_INTERVAL} seeds")
    words = (f"{len(evaluation.episodes)} episodes, {n} {'seed' if n == 1 else 'seeds'}; {told}; differences are "
             f"paired by seed")
    return words if evaluation.complete else f"{words}; stopped early: not all episodes were played"


def _mean(cell: Cell, name: str) -> float:
    found = cell.figures.get(name)
    return found.mean if found is not None and isfinite(found.mean) else 0.0


def _with_interval(summary: Summary | None, factor: float = 1.0, digits: int | None = None, *,
                   sign: bool = False) -> str:
    if summary is None or not isfinite(summary.mean):
        return "-"
    mean, half = summary.mean * factor, summary.half_width * factor
    words = _number(mean, digits)
    words = f"+{words}" if sign and mean > 0 else words
    return f"{words} ± {_number(half, digits)}" if isfinite(half) else words


def _number(value: float, digits: int | None = None) -> str:
    """`digits` decimals, or four significant digits."""
    if not isfinite(value):
        return "-"
    if digits is not None:
        return f"{round(value, digits) + 0.0:,.{digits}f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
