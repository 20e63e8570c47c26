"""What happened when: disturbances and times without a power flow as bars, everything else as marks, and the list."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.report.markup import MISSING, Chart, Section, count, folded, label, note, plural, table, text
from cosim.report.plot import array, tick
from cosim.report.record import OWN_KINDS, Record
from cosim.report.timeaxis import duration_words

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
        colour = "--limit" if kind in OWN_KINDS else f"--c{i % 7 + 1}"
        traces.append({"type": "bar", "orientation": "h", "name": label(kind.replace("_", " ")),
                       "base": array(begin, "f8"), "x": array(np.maximum(end - begin, least), "f8"), "width": 0.6,
                       "y": [label(_label(kind, span.subject), 120) for span in mine], "marker": {"color": colour},
                       "text": words, "textposition": "none", "hovertemplate": "%{y}<br>%{text}<extra></extra>"})
    keys = [label(name, 120) for name in labels]
    y = {"type": "category", "categoryorder": "array", "categoryarray": keys,
         "range": [len(labels) - 0.5, -0.5], "tickvals": keys,
         "ticktext": [tick(_subject(name)) for name in labels], "showgrid": False, "fixedrange": True,
         "title": {"text": ""}}
    figure = record.canvas.figure(traces, y, banded=False, hovermode="closest", barmode="overlay", showlegend=True)
    more = f"The first {MAX_ROWS_DRAWN} subjects." if len(labels) == MAX_ROWS_DRAWN else ""
    return Chart(_finding(record), figure, more, 110 + 24 * len(labels))


def _finding(record: Record) -> str:
    """How many disturbances, and how long there was no power flow."""
    disturbances = [span for span in record.spans if span.kind not in OWN_KINDS]
    subjects = plural(len({span.subject for span in disturbances}), "subject")
    said = [f"{plural(len(disturbances), 'disturbance')} on {subjects}"] if disturbances else []
    for kind in OWN_KINDS:
        times_s = [span.end_s - span.begin_s for span in record.spans if span.kind == kind]
        if times_s:
            said.append(f"{kind} for {duration_words(sum(times_s))}")
    words = "; ".join(said)
    return words[:1].upper() + words[1:]


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
