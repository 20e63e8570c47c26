"""What was asked of the devices and what was applied: step lines for the points that matter most, and every reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cosim.points import Vector
from cosim.report.markup import MISSING, Chart, Section, count, folded, label, note, number, plural, table, text
from cosim.report.plot import array, axis, line
from cosim.report.record import MAX_ROWS, Record
from cosim.report.samples import edges

MAX_CHARTS, MAX_TABLE, MAX_FIRST = 4, 60, 100
#: Steps that are drawn of one line; beyond, the extremes of equal shares of them.
MAX_STEPS = 3_000


@dataclass(slots=True)
class Asked:
    """Commands counted: by point, by (source, authority), and refused by status."""

    by_point: Counter[str] = field(default_factory=Counter)
    by_source: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def control(record: Record) -> Section:
    """The section."""
    asked = _counted(record)
    decisions = record.interventions
    parts: list[Chart | str] = [_verdict(asked, decisions, record)]
    moved = list(decisions["point"].value_counts().index) if len(decisions) else []
    chosen = list(dict.fromkeys([*moved, *(point for point, _ in asked.by_point.most_common())]))[:MAX_CHARTS]
    parts += [chart for chart in (_chart(record, point, decisions) for point in chosen) if chart is not None]
    if len(decisions):
        parts += [_reasons(record, decisions), _first(record, decisions)]
    if asked.by_source:
        rows = [[text(source or MISSING), text(authority), count(n)]
                for (source, authority), n in asked.by_source.most_common(MAX_TABLE)]
        parts.append(folded(f"Commands by source: {plural(len(asked.by_source), 'source')}",
                            table(("Source", "Authority", "Setpoints asked"), rows, (2,))))
    return Section("control", "Commands asked and applied", tuple(parts))


def _counted(record: Record) -> Asked:
    found = Asked()
    for part in record.chunks("commands", ["t_us", "kind", "point", "source", "authority", "status"]):
        sets = part.filter(pc.equal(part["kind"], "set"))
        accepted = sets.filter(pc.equal(sets["status"], "accepted"))
        for key, counter in (("point", found.by_point), ("source", None)):
            columns = [key] if counter is not None else ["source", "authority"]
            for row in accepted.group_by(columns).aggregate([([], "count_all")]).to_pylist():
                if counter is not None:
                    counter[row["point"]] += row["count_all"]
                else:
                    found.by_source[row["source"], row["authority"]] += row["count_all"]
        for row in sets.group_by("status").aggregate([([], "count_all")]).to_pylist():
            if row["status"] != "accepted":
                found.refused[row["status"]] += row["count_all"]
    return found


def _verdict(asked: Asked, decisions: pd.DataFrame, record: Record) -> str:
    if record.rows.get("decisions", 0) > MAX_ROWS:
        said = f"{count(record.rows['decisions'])} decisions are too many to list here; read decisions from the result."
    elif len(decisions):
        said = (f"{plural(len(decisions), 'intervention')} on {plural(decisions['point'].nunique(), 'point')}: "
                f"something other than what was asked was applied.")
    elif asked.by_point:
        said = f"All {plural(asked.by_point.total(), 'setpoint')} asked for could be applied as asked."
    else:
        return note("Nothing was asked of any device.")
    refused = "; ".join(f"{count(n)} {text(status.replace('_', ' '))}" for status, n in asked.refused.most_common())
    return f"<p>{said}{f' Refused at once: {refused}.' if refused else ''}</p>"


def _chart(record: Record, point: str, decisions: pd.DataFrame) -> Chart | None:
    """Asked (commands, or what the shield was asked) and applied (samples, or what the shield applied)."""
    mine = decisions[decisions["point"] == point] if len(decisions) else decisions
    lines = []
    asked_s, asked = _commands(record, point)
    if not len(asked_s) and len(mine):
        asked_s, asked = mine.index.to_numpy(np.float64), mine["requested"].to_numpy(np.float64)
    x = record.canvas.axis
    steps: dict[str, Any] = {"line": {"shape": "hv"}, "hovertemplate": f"%{{y:.5~g}} {_unit(record, point)}"}
    if len(asked_s):
        lines.append(line(x.at(asked_s), asked, "asked", color="--c2", width=1.2, **steps))
    if record.samples.present([point]):
        times, values = record.samples.reduce([point]).line(0)
        lines.append(line(x.at(times), values, "applied", color="--c1", width=1.8, **steps))
    elif len(mine):
        lines.append(line(x.at(mine.index.to_numpy(np.float64)), mine["applied"].to_numpy(np.float64), "applied",
                          color="--c1", **steps))
    if not lines:
        return None
    if len(mine):
        lines.append(_marks(record, mine))
    unit = _unit(record, point)
    figure = record.canvas.figure(lines, axis(f"Setpoint ({unit})" if unit else "Setpoint"))
    said = f"{text(point)}: {plural(len(mine), 'intervention')}" if len(mine) else f"{text(point)}: applied as asked"
    return Chart(said, figure, "", 250)


def _marks(record: Record, mine: pd.DataFrame) -> dict[str, object]:
    """A mark with its reason where an intervention began or changed."""
    shown = mine.iloc[:MAX_STEPS]
    words = [label(str(reason).replace("_", " ")) for reason in shown["reason"]]
    return {"type": "scatter", "mode": "markers", "name": "intervention",
            "x": array(record.canvas.axis.at(shown.index.to_numpy(np.float64)), "f8"),
            "y": array(shown["applied"].to_numpy(np.float64)), "text": words,
            "marker": {"symbol": "circle-open", "size": 7, "color": "--limit"}, "hovertemplate": "%{text}"}


def _commands(record: Record, point: str) -> tuple[Vector, Vector]:
    """Times and values asked for a point, NaN where it was released; thinned to the extremes of equal shares."""
    parts = []
    for part in record.chunks("commands", ["t_us", "kind", "point", "value", "status"]):
        wanted = pc.and_(pc.equal(part["point"], point), pc.equal(part["status"], "accepted"))
        parts.append(part.filter(wanted))
    found = pa.concat_tables(parts)
    released = pc.equal(found["kind"], "release").to_numpy()
    values = np.where(released, np.nan, found["value"].to_numpy())
    times_s = found["t_us"].to_numpy() / 1e6
    if not len(values):
        return times_s, values
    if len(values) > MAX_STEPS:
        at = edges(len(values), MAX_STEPS // 2)[:-1]
        values = np.stack([np.fmin.reduceat(values, at), np.fmax.reduceat(values, at)], axis=1).ravel()
        times_s = np.repeat(times_s[at], 2)
    # What was asked last stays asked to the end.
    return np.append(times_s, max(record.end_s, times_s[-1])), np.append(values, values[-1])


def _unit(record: Record, point: str) -> str:
    return text(record.samples.units.get(point) or next(
        (p["unit"] for p in record.manifest.get("points") or () if p["name"] == point), ""))


def _word(reason: object) -> str:
    return text(str(reason).replace("_", " "))


def _reasons(record: Record, decisions: pd.DataFrame) -> str:
    rows = []
    groups = decisions.assign(moved=(decisions["applied"] - decisions["requested"]).abs()).groupby(["point", "reason"])
    ranked = groups.agg(n=("moved", "size"), most=("moved", "max"), first=("t_us", "min"), last=("t_us", "max"))
    worst = ranked.sort_values("n", ascending=False, kind="stable").head(MAX_TABLE).reset_index()
    for row in worst.to_dict("records"):
        first, last = (record.canvas.axis.words(row[edge] / 1e6) for edge in ("first", "last"))
        rows.append([text(row["point"]), _word(row["reason"]), count(row["n"]),
                     f"{number(row['most'])} {_unit(record, row['point'])}", first, last])
    more = f" (the first {MAX_TABLE} of {count(len(ranked))})" if len(ranked) > MAX_TABLE else ""
    return table(("Point", "Reason", "Times", "Largest change", "First", "Last"), rows, (2, 3, 4, 5),
                 f"Interventions by point and reason{more}")


def _first(record: Record, decisions: pd.DataFrame) -> str:
    rows = [[record.canvas.axis.words(row["t_us"] / 1e6), text(row["point"]), number(row["requested"], 5),
             number(row["applied"], 5), _unit(record, row["point"]), _word(row["reason"])]
            for row in decisions.head(MAX_FIRST).to_dict("records")]
    title = f"The first {len(rows)} of {count(len(decisions))} interventions" if len(decisions) > len(rows) else (
        f"{plural(len(rows), 'intervention')}, one by one")
    return folded(title, table(("Time", "Point", "Asked", "Applied", "Unit", "Reason"), rows, (0, 2, 3)))
