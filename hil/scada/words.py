"""A control centre in lines of text, and as a table that refreshes itself on a terminal."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Any

from hil.scada.board import Board, Tag
from hil.scada.readings import TagQuality

#: Most lines that `list` shows.
MAX_LINES = 500


def status_line(summary: dict[str, Any]) -> str:
    """How it goes, in one line."""
    silent = f", {len(summary['not_answering'])} not answering" if summary["not_answering"] else ""
    return (f"t = {summary['seconds']:.0f} s: {len(summary['stations'])} stations{silent}, {summary['scans']} scans, "
            f"{summary['missed']} missed, {summary['failed']} failed; answers p50 {summary['p50_ms']:.2f} ms, p99 "
            f"{summary['p99_ms']:.2f} ms; {summary['alarms']} alarms")


def summary_text(summary: dict[str, Any], most: int = 30) -> str:
    """The end's table: the whole, then stations (the worst first where there are many)."""
    rows = sorted(summary["stations"], key=lambda row: (-row["missed"] - row["failed"], -row["p99_ms"]))
    head = f"{'station':<24} {'scans':>8} {'missed':>7} {'failed':>7} {'refused':>8} {'p50 ms':>8} {'p99 ms':>8}"
    lines = [f"{row['station']:<24.24} {row['scans']:>8} {row['missed']:>7} {row['failed']:>7} {row['refusals']:>8} "
             f"{row['p50_ms']:>8.2f} {row['p99_ms']:>8.2f}" for row in rows[:most]]
    rest = [f"… and {len(rows) - most} stations more"] if len(rows) > most else []
    kept = f"{summary['trend_rows']} trend rows" + (
        f", {summary['trend_dropped']} dropped" if summary["trend_dropped"] else "")
    return "\n".join([head, *lines, *rest, status_line(summary), f"{summary['writes']} writes taken, {kept}"])


def tag_lines(board: Board, pattern: str = "*") -> list[str]:
    """Tags by name with value, units and quality."""
    found = [tag for key, tag in board.tags.items()
             if fnmatchcase(key if "/" in pattern else tag.plan.entry.tag, pattern)]
    lines = [f"{tag.plan.key:<40} {value_text(tag):>14} {tag.plan.entry.units:<6} {tag.quality.name.lower()}"
             for tag in found[:MAX_LINES]]
    return [*lines, f"… and {len(found) - MAX_LINES} more"] if len(found) > MAX_LINES else lines or ["no such tag"]


def value_text(tag: Tag) -> str:
    """A value, or a dash where there is none."""
    return "—" if math.isnan(tag.value) else f"{tag.value:.6g}"


def alarm_lines(board: Board, most: int = 100) -> list[str]:
    """Alarms that are not normal."""
    return [f"{alarm.state.value:<13} {alarm.limits.priority.name.lower():<9} {alarm.name}: {alarm.verdict}"
            + ("" if math.isnan(alarm.value) else f" (value {alarm.value:.6g})")
            for alarm in board.shown_alarms()[:most]]


def screen(board: Board, summary: dict[str, Any], said: list[str], typed: str) -> Any:
    """A rich renderable of the whole, at most as high as the caller's terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    tags = Table(title=f"{summary['name']} · {status_line(summary)}", expand=True)
    for name, side in (("tag", "left"), ("value", "right"), ("units", "left"), ("quality", "left")):
        tags.add_column(name, justify=side)  # type: ignore[arg-type]  # a literal
    for tag in list(board.tags.values())[:20]:
        tags.add_row(tag.plan.key, value_text(tag), tag.plan.entry.units, tag.quality.name.lower(),
                     style={TagQuality.BAD: "red", TagQuality.STALE: "yellow"}.get(tag.quality, ""))
    alarms = Table(title="alarms", expand=True, show_header=False)
    for line in alarm_lines(board, 8) or ["none"]:
        alarms.add_row(Text(line))
    return Group(tags, alarms, Text("\n".join(said[-6:])), Text(f"> {typed}"))
