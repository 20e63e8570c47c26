"""What the shield did: how often and for how long, for whom and which limits, and what would have been without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cosim.errors import RecordError
from cosim.recorder.explain import DEVICE_REASONS, RUNGS, explain, limit_unit
from cosim.report.markup import MISSING, Chart, Section, count, energy, folded, note, number, plural, pu, table, text
from cosim.report.plot import axis
from cosim.report.record import MAX_ROWS, Record
from cosim.report.sections.counterfactual import compared, withheld_kwh
from cosim.report.timeaxis import duration_words

MAX_RANKED, MAX_LISTED = 30, 40
#: Rows of decisions that are one intervention have these in common.
_SAME = ("point", "source", "limit", "reason")


def shield(record: Record) -> Section:
    """The section."""
    mode = (record.scenario.get("shield") or {}).get("mode", "off")
    if mode == "off":
        return Section("shield", "Shield", (note("The shield was off: requests were held to the devices' own limits "
                                                 "only."),))
    parts: list[Chart | str] = [_cards(record)]
    if mode == "observe":
        parts.append(note("The shield only observed: it says below what it would have done, and moved nothing."))
    parts += _over_time(record)
    if record.rows.get("decisions", 0) > MAX_ROWS:
        parts.append(note(f"{count(record.rows['decisions'])} decisions are too many to rank here; read them from the "
                          f"result."))
    else:
        parts += _ranked(record, episodes(record.decisions, record.end_s))
    return Section("shield", "Shield", (*parts, *_without(record)))


def episodes(decisions: pd.DataFrame, end_s: float) -> pd.DataFrame:
    """The shield's own interventions, row by row: the columns of decisions, `seconds` until the next row of the same
    point, `begins` where who asked, the limit or the reason is not that of the point's row before, and `move` (0 where
    nobody asked: how far the device itself would have gone is not in its row)."""
    rows = decisions.sort_values(["point", "seq"], kind="stable").reset_index(drop=True)
    after = rows.groupby("point")["t_us"].shift(-1).fillna(end_s * 1e6)
    before = rows.groupby("point")[list(_SAME[1:])].shift(1)
    move = (rows["applied"] - rows["requested"]).abs().fillna(0.0)
    begins = (before != rows[list(_SAME[1:])]).any(axis=1)
    rows = rows.assign(seconds=(after - rows["t_us"]) / 1e6, begins=begins, move=move, run=begins.cumsum())
    return rows[~rows["reason"].isin(["none", *DEVICE_REASONS])]


# -- how much --------------------------------------------------------------------------------------------------------


def _cards(record: Record) -> str:
    figures = record.summary.get("shield") or {}
    if not figures:
        return note("This run has no figures of its shield: it did not end.")
    active_s, infeasible_s = (60 * float(figures.get(f"{word}_minutes") or 0.0) for word in ("active", "infeasible"))
    by_rung = figures.get("by_rung") or {}
    fallback_s = sum(60 * float(by_rung.get(rung) or 0.0) for rung in list(RUNGS)[2:])
    found = [("Interventions", count(int(figures.get("interventions") or 0)),
              "begun on an output, by the shield's own doing", False),
             ("Time active", duration_words(active_s), _share(active_s, record), False),
             ("Beyond projection", duration_words(fallback_s), "last verified setpoints, backup, emergency",
              fallback_s > 0),
             ("Infeasible", duration_words(infeasible_s),
              "nothing tried kept every hard limit" if infeasible_s else "every hard limit could be kept",
              infeasible_s > 0)]
    saved = withheld_kwh(record)
    if saved is not None:
        label = "Not fed in" if saved >= 0 else "Fed in besides"
        found.append((label, energy(abs(saved)), "against the same run without the shield", False))
    cells = "".join(f'<div class="card{" bad" if bad else ""}"><div class=label>{label}</div><div class=value>{value}'
                    f"</div><div class=where>{where}</div></div>" for label, value, where, bad in found)
    return f'<div class=cards style="margin:0 0 .9rem">{cells}</div>'


def _share(seconds: float, record: Record) -> str:
    return f"{number(100 * seconds / record.end_s)} % of the run" if record.end_s else ""


def _over_time(record: Record) -> list[Chart | str]:
    """How far from the request, and on which rung, where that was sampled."""
    steps: dict[str, Any] = {"line": {"shape": "hv"}}
    charts: list[Chart | str] = []
    if record.samples.present(["shield.distance_kva"]):
        reduced = record.samples.reduce(["shield.distance_kva"])
        farthest = float(np.nanmax(reduced.high)) if np.isfinite(reduced.high).any() else 0.0
        trace = record.canvas.line(reduced, 0, "distance", hovertemplate="%{y:.4~g} kVA", **steps)
        title = f"At most {number(farthest)} kVA away from what was asked" if farthest else "Nothing was moved"
        charts.append(Chart(title, record.canvas.figure([trace], axis("Distance (kVA)", rangemode="tozero")), "", 220))
    if record.samples.present(["shield.rung"]):
        reduced = record.samples.reduce(["shield.rung"])
        highest = int(np.nanmax(reduced.high)) if np.isfinite(reduced.high).any() else 0
        words = [rung.replace("_", " ") for rung in RUNGS]
        trace = record.canvas.line(reduced, 0, "rung", color="--c2", hovertemplate="%{y}", **steps)
        y = axis("", tickvals=list(range(len(words))), ticktext=words, range=[-0.3, max(highest, 1) + 0.3])
        title = f"Highest rung of the fallback chain: {words[min(highest, len(words) - 1)]}"
        charts.append(Chart(title, record.canvas.figure([trace], y), "", 190))
    return charts


# -- for whom, and which limits ----------------------------------------------------------------------------------------


def _ranked(record: Record, rows: pd.DataFrame) -> list[Chart | str]:
    if not len(rows):
        return [note("Every request was safe: the shield moved nothing.")]
    return [_by_source(rows), _by_limit(rows), _largest(record, rows)]


def _by_source(rows: pd.DataFrame) -> str:
    groups = rows.groupby("source").agg(n=("begins", "sum"), seconds=("seconds", "sum"), points=("point", "nunique"))
    ranked = groups.sort_values(["n", "seconds"], ascending=False, kind="stable")
    cells = [[text(row["source"] or "nobody (devices on their own)"), count(int(row["n"])),
              duration_words(row["seconds"]), count(row["points"])]
             for row in ranked.head(MAX_RANKED).reset_index().to_dict("records")]
    return table(("Who asked", "Interventions", "Output time", "Outputs"), cells, (1, 2, 3),
                 f"Who asked for what was not safe{_first_of(len(ranked))}")


def _by_limit(rows: pd.DataFrame) -> str:
    rows = rows.assign(excess=(rows["found"] - rows["bound"]).abs())
    groups = rows.groupby(["limit", "reason"]).agg(n=("begins", "sum"), seconds=("seconds", "sum"),
                                                   excess=("excess", "max"))
    ranked = groups.sort_values(["n", "seconds"], ascending=False, kind="stable")
    cells = [[text(row["limit"] or MISSING), text(str(row["reason"]).replace("_", " ")), count(int(row["n"])),
              duration_words(row["seconds"]), _excess(row)]
             for row in ranked.head(MAX_RANKED).reset_index().to_dict("records")]
    return table(("Limit", "Reason", "Interventions", "Output time", "Largest excess"), cells, (2, 3, 4),
                 f"Limits that requests would have broken{_first_of(len(ranked))}")


def _excess(row: dict[Any, Any]) -> str:
    unit, _ = limit_unit(row["limit"])
    value = pu(row["excess"]) if unit == "pu" else number(row["excess"])
    return value if value == MISSING else f"{value} {unit}".strip()


def _first_of(n: int) -> str:
    return f" (the first {MAX_RANKED} of {count(n)})" if n > MAX_RANKED else ""


def _largest(record: Record, rows: pd.DataFrame) -> str:
    """The largest row of each intervention in words: by how far all outputs were moved together, then by its own."""
    units = {point["name"]: point["unit"] for point in record.manifest.get("points") or ()}
    ranked = rows.sort_values(["distance_kva", "move"], ascending=False, kind="stable").drop_duplicates("run")
    lines = [explain({str(key): value for key, value in row.items()}, units.get(row["point"], ""),
                     record.canvas.axis.words(row["t_us"] / 1e6))
             for row in ranked.head(MAX_LISTED).to_dict("records")]
    listed = "".join(f"<li>{text(line, 400)}</li>" for line in lines)
    title = f"The {MAX_LISTED} largest of {count(len(ranked))} interventions" if len(ranked) > MAX_LISTED else (
        f"{plural(len(ranked), 'intervention')}, the largest first")
    return folded(title, f"<ol>{listed}</ol>")


def _without(record: Record) -> list[Chart | str]:
    """The same run without the shield, beside this one."""
    try:
        other = record.result.counterfactual()
    except RecordError as error:
        return [note(f"The run without the shield cannot be read: {text(error, 300)}", "banner failed")]
    if other is None:
        return [note("What would have happened without the shield: <code>gridloop run … --counterfactual</code>.")]
    return compared(record, other)

