"""What happened when: disturbances and times without a power flow as bars, everything else as marks, and the list."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.report.markup import MISSING, Chart, Section, count, folded, note, plural, table, text
from cosim.report.plot import array, tick
from cosim.report.record import Record

MAX_ROWS_DRAWN, MAX_LISTED = 30, 200


def events(record: Record) -> Section:
    """The section."""
    spans, rows = record.spans, record.events
    if not rows.num_rows:
        return Section("events", "Events", (note("Nothing happened: the scenario has no disturbances, and the power "
                                                 "flow always converged."),))
    parts: list[Chart | str] = []
    if spans:
        parts.append(_timeline(record))
    parts.append(_list(record))
    return Section("events", "Events", tuple(parts))


def _timeline(record: Record) -> Chart:
    """One row a subject and kind, a bar for each time it lasted."""
    labels = list(dict.fromkeys(_label(span.kind, span.subject) for span in record.spans))[:MAX_ROWS_DRAWN]
    kinds = list(dict.fromkeys(span.kind for span in record.spans))
    at = record.canvas.axis.at
    least = (at(record.end_s) - at(0.0)) / 400
    traces: list[dict[str, Any]] = []
    for i, kind in enumerate(kinds):
        mine = [span for span in record.spans if span.kind == kind and _label(kind, span.subject) in labels]
        begin, end = at(np.array([span.begin_s for span in mine])), at(np.array([span.end_s for span in mine]))
        stamp = record.canvas.axis.words
        words = [f"{stamp(span.begin_s)} to {stamp(span.end_s)}" for span in mine]
        colour = "--limit" if kind in ("no power flow", "devices not settled") else f"--c{i % 7 + 1}"
        traces.append({"type": "bar", "orientation": "h", "name": text(kind.replace("_", " ")),
                       "base": array(begin, "f8"), "x": array(np.maximum(end - begin, least), "f8"), "width": 0.6,
                       "y": [text(_label(kind, span.subject)) for span in mine], "marker": {"color": colour},
                       "text": words, "textposition": "none", "hovertemplate": "%{y}<br>%{text}<extra></extra>"})
    y = {"type": "category", "categoryorder": "array", "categoryarray": [text(label) for label in labels],
         "range": [len(labels) - 0.5, -0.5], "tickvals": [text(label) for label in labels],
         "ticktext": [tick(_subject(label)) for label in labels], "showgrid": False, "fixedrange": True,
         "title": {"text": ""}}
    figure = record.canvas.figure(traces, y, banded=False, hovermode="closest", barmode="overlay", showlegend=True)
    more = f"The first {MAX_ROWS_DRAWN} subjects." if len(labels) == MAX_ROWS_DRAWN else ""
    title = f"{plural(len(record.spans), 'disturbance')} on {plural(len({s.subject for s in record.spans}), 'subject')}"
    return Chart(title, figure, more, 110 + 24 * len(labels))


def _label(kind: str, subject: str) -> str:
    return f"{subject} · {kind.replace('_', ' ')}"


def _subject(label: str) -> str:
    return label.partition(" · ")[0]


def _list(record: Record) -> str:
    rows = record.events.slice(0, MAX_LISTED).to_pylist()
    cells = [[record.canvas.axis.words(row["t_us"] / 1e6), text(row["kind"]), text(row["subject"]),
              text(row["detail"], 300) or MISSING] for row in rows]
    total = record.events.num_rows
    title = f"The first {MAX_LISTED} of {count(total)} events" if total > MAX_LISTED else plural(total, "event")
    return folded(title, table(("Time", "Kind", "Subject", "What"), cells, (0,)))
