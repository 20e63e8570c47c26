"""Loading of lines and transformers: the most loaded ones over time, and all of them as a heat map."""

from __future__ import annotations

import numpy as np

from cosim.report.markup import Chart, Section, count, note, number, plural, text
from cosim.report.plot import Scale, axis, heat, heat_height, limit, style
from cosim.report.record import Record
from cosim.report.samples import Reduced

MAX_LINES = 10


def loadings(record: Record) -> Section:
    """The section."""
    points = record.samples.named("line.", ".loading") + record.samples.named("trafo.", ".loading")
    if not points:
        return _section(note("No branch loadings were sampled (<code>record.points</code> of the scenario)."))
    reduced = record.samples.reduce(points, lambda values: values * 100)
    peak = np.fmax.reduce(reduced.high, axis=0)
    rated = np.flatnonzero(np.isfinite(peak) & (peak > 0))
    if not len(rated):
        return _section(note(f"None of the {plural(len(points), 'branch', 'branches')} has a rating and a flow, so "
                             f"there are no loadings to show."))
    names = [points[i].removesuffix(".loading") for i in rated]
    parts = [_highest(record, reduced.columns(rated.tolist()), names)]
    if len(names) > 1:
        parts.append(_map(record, reduced.columns(rated.tolist()), names))
    without = len(points) - len(rated)
    return _section(*parts, *([note(f"{plural(without, 'branch', 'branches')} without a rating or without any flow "
                                    f"left out.")] if without else []))


def _section(*parts: Chart | str) -> Section:
    return Section("loadings", "Loadings", parts)


def _finding(record: Record, peak: float, name: str) -> str:
    minutes = record.kpis.get("overload_minutes") or {}
    if minutes:
        return (f"{plural(len(minutes), 'branch', 'branches')} above {number(record.loading_max * 100)} % for "
                f"{number(sum(minutes.values()))} branch-minutes")
    return f"Highest loading {number(peak)} %, {text(name)}"


def _highest(record: Record, reduced: Reduced, names: list[str]) -> Chart:
    peak = np.fmax.reduce(reduced.high, axis=0)
    worst = np.argsort(-peak, kind="stable")[:MAX_LINES].tolist()
    lines = [record.canvas.line(reduced, i, names[i], **style(k), hovertemplate="%{y:.4~g} %")
             for k, i in enumerate(worst)]
    top = record.loading_max * 100
    # A limit far above everything would flatten what there is to see.
    shapes = [limit(top, f"limit {number(top)} %")] if peak[worst[0]] > 0.6 * top else []
    figure = record.canvas.figure(lines, axis("Loading (% of rating)", rangemode="tozero"), shapes=shapes)
    words = f"The {len(worst)} most loaded of {count(len(names))} branches." if len(names) > len(worst) else ""
    return Chart(_finding(record, float(peak[worst[0]]), names[worst[0]]), figure, words, 360)


def _map(record: Record, reduced: Reduced, names: list[str]) -> Chart:
    top = record.loading_max * 100
    high = float(np.nanmax(reduced.high))
    end = max(high, top)
    at = top / end
    over = ((at, "--over"), (1.0, "--over-far")) if high > top else ()
    colours = ((0.0, "--neutral"), (at * 0.999 if over else 1.0, "--under"), *over)
    scale = Scale("Loading by branch (% of rating)", 0.0, end, 0.0, colours, ".4~g")
    figure, shared = heat(record.canvas, reduced, names, "Branch", scale)
    caption = "Grey: no power flow converged."
    if shared > 1:
        caption += f" Each row shows the most loaded of up to {shared} neighbouring branches."
    above = int((np.fmax.reduce(reduced.high, axis=0) > top).sum())
    share = f"{plural(above, 'branch', 'branches')} of {count(len(names))} overloaded at times" if above else (
        f"All {count(len(names))} branches within their ratings")
    return Chart(share, figure, caption, heat_height(len(names)))
