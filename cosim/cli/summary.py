"""A run's summary as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

#: Figures in the order in which a reader wants them: (key, words, unit).
_ROWS = (("status", "status", ""), ("error", "error", ""), ("sim_s", "simulated", "s"), ("wall_s", "took", "s"),
         ("solves", "power flows", ""), ("v_min_pu", "lowest voltage", "pu"), ("v_max_pu", "highest voltage", "pu"),
         ("violation_bus_minutes", "voltage violations", "bus-minutes"), ("dead_minutes", "without a solution", "min"),
         ("losses_kwh", "losses", "kWh"), ("import_kwh", "import", "kWh"), ("export_kwh", "export", "kWh"),
         ("unserved_kwh", "not served", "kWh"), ("cost", "cost of energy", ""), ("digest", "digest", ""),
         ("result", "result", ""))
#: Figures that say where, beside the figure itself.
_WHERE = {"v_min_pu": "v_min_bus", "v_max_pu": "v_max_bus"}


def summary_table(summary: Mapping[str, Any]) -> str:
    """The known figures of a summary (its KPIs included), one a line, aligned."""
    kpis = summary.get("kpis")
    figures = {**(kpis if isinstance(kpis, Mapping) else {}), **summary}
    rows = [(words, _value(key, figures, unit)) for key, words, unit in _ROWS if figures.get(key) not in (None, "")]
    return _drawn(rows)


def _value(key: str, figures: Mapping[str, Any], unit: str) -> str:
    value = figures[key]
    if isinstance(value, float):
        digits = 4 if unit == "pu" else 2
        value = f"{round(value, digits) + 0.0:,.{digits}f}"  # + 0.0: no "-0.00"
    elif isinstance(value, int):
        value = f"{value:,}"
    elif key == "digest":
        value = f"{str(value)[:16]}…" if len(str(value)) > 16 else value
    where = figures.get(_WHERE.get(key, ""), "")
    return " ".join(part for part in (str(value), unit, f"at {where}" if where else "") if part)


def _drawn(rows: list[tuple[str, str]]) -> str:
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
