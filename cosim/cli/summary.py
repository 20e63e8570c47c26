"""A run's summary as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

#: Figures in the order in which a reader wants them: (key, words, unit).
_ROWS = (("status", "status", ""), ("error", "error", ""), ("sim_s", "simulated", "s"), ("wall_s", "took", "s"),
         ("solves", "power flows", ""), ("v_min_pu", "lowest voltage", "pu"), ("v_max_pu", "highest voltage", "pu"),
         ("violation_bus_minutes", "voltage violations", "bus-minutes"), ("dead_minutes", "without a solution", "min"),
         ("losses_kwh", "losses", "kWh"), ("import_kwh", "import", "kWh"), ("export_kwh", "export", "kWh"),
         ("unserved_kwh", "not served", "kWh"), ("cost", "cost of energy", ""), ("shield", "shield", ""),
         ("held", "no numbers, held", ""),
         ("digest", "digest", ""), ("result", "result", ""))
#: Figures that say where, beside the figure itself.
_WHERE = {"v_min_pu": "v_min_bus", "v_max_pu": "v_max_bus"}


def summary_table(summary: Mapping[str, Any]) -> str:
    """The known figures of a summary (its KPIs included), one a line, aligned."""
    kpis = summary.get("kpis")
    figures = {**(kpis if isinstance(kpis, Mapping) else {}), **summary, "shield": shield_words(summary.get("shield")),
               "held": held_words(summary.get("held_actions"))}
    rows = [(words, _value(key, figures, unit)) for key, words, unit in _ROWS if figures.get(key) not in (None, "")]
    return drawn(rows)


def shield_words(shield: Any) -> str:
    """What the shield did, in a line; "" where it was off."""
    if not isinstance(shield, Mapping) or shield.get("mode") in (None, "off"):
        return ""
    n = int(shield.get("interventions") or 0)
    active, infeasible = (float(shield.get(f"{word}_minutes") or 0.0) for word in ("active", "infeasible"))
    words = f"{n:,} {'intervention' if n == 1 else 'interventions'} in {active:,.2f} min"
    return words + (f", {infeasible:,.2f} min infeasible" if infeasible else ", always feasible") + (
        " (observing: nothing was moved)" if shield["mode"] == "observe" else "")


def held_words(held: Any) -> str:
    """Actions that were held because a policy gave no numbers; "" where all did."""
    if not isinstance(held, Mapping) or not held:
        return ""
    n, names = sum(held.values()), sorted(held)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{n:,} {'action' if n == 1 else 'actions'} of {', '.join(names[:5])}{more}"


#: Figures compared with the same run without the shield: (what it is of a run's KPIs, words, unit).
_COMPARED: tuple[tuple[Callable[[Mapping[str, Any]], Any], str, str], ...] = (
    (lambda kpis: kpis.get("violation_bus_minutes"), "voltage violations", "bus-minutes"),
    (lambda kpis: _total(kpis.get("overload_minutes")), "overloads", "branch-minutes"),
    (lambda kpis: kpis.get("v_min_pu"), "lowest voltage", "pu"),
    (lambda kpis: kpis.get("v_max_pu"), "highest voltage", "pu"),
    (lambda kpis: kpis.get("dead_minutes"), "without a solution", "min"),
    (lambda kpis: kpis.get("unserved_kwh"), "not served", "kWh"),
    (lambda kpis: kpis.get("losses_kwh"), "losses", "kWh"),
    (lambda kpis: _total(kpis.get("device_kwh"), 1), "devices fed in", "kWh"),
    (lambda kpis: _total(kpis.get("device_kwh"), -1), "devices drew", "kWh"))


def counterfactual_table(summary: Mapping[str, Any], without: Mapping[str, Any]) -> str:
    """A run beside the same run with the shield off."""
    ours, theirs = (given.get("kpis") or {} for given in (summary, without))
    rows = [("", "with", "without", "")]
    rows += [(words, _figure(of(ours), unit), _figure(of(theirs), unit), unit) for of, words, unit in _COMPARED]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{words:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}  {unit}".rstrip()
             for words, a, b, unit in rows]
    return "\n".join(["the same run without the shield:", *lines])


def _total(figures: Any, sign: int = 0) -> float | None:
    """Sum of a mapping's values: all of them, or those of one sign, as a size."""
    if not isinstance(figures, Mapping):
        return None
    return float(sum(abs(value) if sign else value for value in figures.values() if not sign or value * sign > 0))


def _figure(value: Any, unit: str) -> str:
    if not isinstance(value, int | float):
        return "-"
    digits = 4 if unit == "pu" else 2
    return f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no "-0.00"


def _value(key: str, figures: Mapping[str, Any], unit: str) -> str:
    value = figures[key]
    if isinstance(value, float):
        value = _figure(value, unit)
    elif isinstance(value, int):
        value = f"{value:,}"
    elif key == "digest":
        value = f"{str(value)[:16]}…" if len(str(value)) > 16 else value
    where = figures.get(_WHERE.get(key, ""), "")
    return " ".join(part for part in (str(value), unit, f"at {where}" if where else "") if part)


def drawn(rows: list[tuple[str, str]]) -> str:
    """With rich on a terminal; plain columns where a file or a pipe reads."""
    if not sys.stdout.isatty():
        width = max((len(words) for words, _ in rows), default=0)
        return "\n".join(f"{words:<{width}}  {value}" for words, value in rows)
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False)
    for words, value in rows:
        table.add_row(words, Text(value))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
