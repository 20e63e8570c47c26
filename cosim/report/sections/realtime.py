"""A served run against the wall clock: lateness and load of every rate, the way of a write, the machine's noise floor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cosim.recorder.result import FolderSource
from cosim.report.markup import MISSING, Chart, Section, count, label, note, number, plural, table, text
from cosim.report.plot import LEGEND, MARGIN, array, axis, style
from cosim.report.record import Record
from cosim.report.timeaxis import duration_words

FILE = "realtime.json"
#: Largest file that is read.
MAX_BYTES = 8 * 1024 * 1024
_FLOORS = {"lateness": "noise floor: timer", "wakeup": "noise floor: wake-up"}
_FLOOR_DASHES = {"noise floor: timer": "dash", "noise floor: wake-up": "dot"}
_SPANS = {"ingress_to_kernel": "write to kernel", "kernel_to_egress": "solved to read back",
          "closed_loop": "write, solved, read back"}


def realtime(record: Record) -> Section | None:
    """The section; None for a run that was not served."""
    data = timing_of(record)
    if data is None:
        return None
    parts: list[Chart | str] = [*_charts(data), _times(data), _facts(data)]
    return Section("realtime", "Against the wall clock", tuple(parts))


def timing_of(record: Record) -> Mapping[str, Any] | None:
    """What a served run wrote of its timing; None where there is no such (readable) file."""
    source = record.result.source
    path: Path | None = source.folder / FILE if isinstance(source, FolderSource) else None
    try:
        if path is None or path.stat().st_size > MAX_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("rates"), list) else None


def _series(data: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any], bool]]:
    """(words, histogram, whether it is the machine's own) of everything that was measured."""
    for rate in data["rates"]:
        yield f"{rate['name']}: late", rate["lateness"], False
    for name, words in _SPANS.items():
        yield words, data["spans"][name], False
    for name, words in _FLOORS.items():
        yield words, (data.get("floor") or {}).get(name) or {}, True


def _charts(data: Mapping[str, Any]) -> list[Chart]:
    """How many were later than x: a survival curve for each, on two logarithmic axes."""
    lines, scan = [], data["rates"][0]["lateness"]
    for i, (words, histogram, is_floor) in enumerate(_series(data)):
        if not histogram.get("count"):
            continue
        edges = np.array([upper for upper, _ in histogram["buckets_ns"]], np.float64) / 1e6
        counts = np.array([n for _, n in histogram["buckets_ns"]], np.float64)
        later = 100 * (1 - (np.cumsum(counts) - counts) / counts.sum())
        look = {"color": "--missing", "dash": _FLOOR_DASHES[words]} if is_floor else style(i)
        lines.append({"type": "scatter", "mode": "lines", "name": label(words), "x": array(np.maximum(edges, 1e-3)),
                      "y": array(later), "line": {"shape": "hv", "width": 1.6, **look},
                      "hovertemplate": "%{y:.3g} % take longer than %{x:.3g} ms"})
    if not lines:
        return []
    layout = {"xaxis": {"type": "log", "title": {"text": "longer than (ms)", "standoff": 8}, "dtick": 1,
                        "tickformat": "~g"},
              "yaxis": axis("share (%)", type="log", dtick=1, tickformat="~g"), "hovermode": "closest",
              "legend": LEGEND, "margin": {**MARGIN, "b": 52}, "showlegend": True}
    finding = "No scan was due" if not scan.get("count") else (
        f"Half of the scans began within {number(scan['p50_ms'])} ms of their time, 99 % within "
        f"{number(scan['p99_ms'])} ms")
    return [Chart(finding, {"data": lines, "layout": layout},
                  "How many took longer than a time. The noise floor is a loop that does nothing, measured by another "
                  "process in the same window: what it shows too is the machine's.", 380)]


def _times(data: Mapping[str, Any]) -> str:
    rows = []
    for words, histogram, _ in _series(data):
        if histogram.get("count"):
            figures = [number(histogram[key]) for key in ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "max_ms")]
            rows.append([text(words), count(histogram["count"]), *figures])
    head = ("", "number", "median", "p90", "p99", "p99.9", "longest (ms)")
    return table(head, rows, numeric=range(1, 7)) if rows else note("Nothing was measured.")


def _facts(data: Mapping[str, Any]) -> str:
    overruns, writes, doors = data["overruns"], data["writes"], data["doors"]
    worst = (f", the worst {number(overruns['worst_ms'])} ms at t = {duration_words(overruns['worst_t_s'])}"
             if overruns["count"] else "")
    refusals = ", ".join(f"{text(name.replace('_', ' '))} {count(n)}" for name, n in writes.items()
                         if n and name not in ("writes", "taken"))
    busy = [(f"{text(rate['name'])} {number(100 * rate['utilisation_mean'])} % (at most "
             f"{number(100 * rate['utilisation_max'])} %)") for rate in data["rates"]]
    lost = (f"{plural(data['skipped_scans'], 'scan')} skipped, {duration_words(data['slipped_s'])} slipped")
    if behind_s := data.get("behind_s"):
        lost += f", stopped {duration_words(behind_s)} of simulation time behind"
    sessions = (f"{count(doors['sessions'])}, at most {count(doors['most_open'])} at once, "
                f"{count(doors['refused'])} connections refused")
    pairs = [
        ("Busy", "; ".join(busy)),
        ("Overruns", f"{plural(overruns['count'], 'scan')}{worst}; policy {text(data['policy'])}, {lost}"),
        ("Drift", _drift(data)),
        ("Writes", f"{count(writes['writes'])}, taken {count(writes['taken'])}{f' ({refusals})' if refusals else ''}"),
        ("Sessions", sessions),
        *((f"Listener {text(name)}", _door(door)) for name, door in doors["listeners"].items()),
        ("Asked of the system", "; ".join(f"{text(name)}: {text(word)}" for name, word in
                                          (data.get("profile") or {}).items()) or MISSING)]
    return table(("Session", ""), [[name, value] for name, value in pairs])


def _drift(data: Mapping[str, Any]) -> str:
    if int(data.get("drift_windows", 2)) < 2:
        return "not measured: it needs two minutes of simulation time at least, and thirty scans in each"
    return f"{number(data['drift_ms'])} ms from the first minute to the last"


def _door(door: Mapping[str, Any]) -> str:
    """Where it was, and what was counted there (nothing of what never happened)."""
    words = [text(door.get("where", MISSING)), *([f"not open: {text(door['shut'])}"] if "shut" in door else [])]
    words += [f"{text(name.replace('_', ' '))} {count(n)}" for name, n in door.items() if isinstance(n, int) and n]
    return ", ".join(words)
