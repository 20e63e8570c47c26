"""Bus voltages: the envelope over all buses against the limits, the heat map, and who violated them for how long."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.points import Vector
from cosim.report.markup import TO, Chart, Section, bus, count, label, note, number, plural, pu, text
from cosim.report.plot import LEGEND, MARGIN, Scale, array, axis, heat, heat_height, limit, line, tick
from cosim.report.record import Record
from cosim.report.samples import Reduced

MAX_BARS = 20


def voltages(record: Record) -> Section:
    """The section."""
    points = record.samples.named("bus.", ".v_pu")
    parts: list[Chart | str] = []
    if points:
        names = [point.removeprefix("bus.").removesuffix(".v_pu") for point in points]
        reduced = record.samples.reduce(points)
        if np.isfinite(reduced.high).any():
            parts += [_envelope(record, reduced, names), _map(record, reduced, names)]
        else:
            parts.append(note("No bus had a voltage at any sample: nothing was energised, or no power flow converged."))
    else:
        parts.append(note("No bus voltages were sampled (<code>record.points</code> of the scenario)."))
    parts += _minutes(record)
    return Section("voltages", "Voltages", tuple(parts))


def finding(record: Record, low: float, high: float) -> str:
    """What the voltages did, in a sentence: from the exact figures where the run has them, else from the samples."""
    band = f"{number(record.v_min_pu)}{TO}{number(record.v_max_pu)} pu"
    if not record.kpis:
        where = "within" if low >= record.v_min_pu and high <= record.v_max_pu else "outside"
        return f"Sampled voltages {where} {band}: {pu(low)} to {pu(high)} pu"
    said = []
    for key, words, edge in (("undervoltage_minutes", "below", record.v_min_pu),
                             ("overvoltage_minutes", "above", record.v_max_pu)):
        minutes = record.kpis.get(key) or {}
        if minutes:
            said.append(f"{plural(len(minutes), 'bus', 'buses')} {words} {number(edge)} pu for "
                        f"{number(sum(minutes.values()))} bus-minutes")
    return "; ".join(said) if said else f"Voltage stayed within {band}"


def _envelope(record: Record, reduced: Reduced, names: list[str]) -> Chart:
    canvas, low, high = record.canvas, reduced.low, reduced.high
    x, y = canvas.axis.at(reduced.begin_s), axis("Voltage (pu)", hoverformat=".4f", tickformat=".3f")
    lines = []
    if len(names) == 1:
        lines.append(canvas.line(reduced, 0, names[0], hovertemplate="%{y:.4f} pu"))
    else:
        edge: dict[str, Any] = {"color": "--c1", "width": 1.2}
        lines += _percentiles(x, reduced.last) if len(names) >= 8 else []
        for name, values, which, dash in (("highest", np.fmax.reduce(high, axis=1), _argmax(high), "solid"),
                                          ("lowest", np.fmin.reduce(low, axis=1), _argmax(-low), "solid")):
            lines.append(line(x, values, name, **edge, dash=dash, text=[label(bus(names[i])) for i in which],
                              hovertemplate="%{y:.4f} pu at %{text}"))
    shapes = [limit(record.v_max_pu, f"limit {number(record.v_max_pu)}"),
              limit(record.v_min_pu, f"limit {number(record.v_min_pu)}", "bottom")]
    figure = canvas.figure(lines, y, shapes=shapes)
    caption = (f"Lowest and highest of {plural(len(names), 'bus', 'buses')}" + (
        ", the range that holds 90 % of them, and the median" if len(names) >= 8 else "")
        + "; dashed: limits; shaded times: disturbances (see Events).") if len(names) > 1 else (
        "Dashed: limits; shaded times: disturbances (see Events).")
    return Chart(finding(record, float(np.nanmin(low)), float(np.nanmax(high))), figure, caption, 340)


def _argmax(values: Vector) -> NDArray[np.intp]:
    """Column (n_row,) of the largest value in each row; 0 where all are missing."""
    return np.asarray(np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1))


def _percentiles(x: Vector, values: Vector) -> list[dict[str, Any]]:
    """Band of the 5th to the 95th percentile over buses, and the median, of the last sample of each bucket."""
    ranked = np.sort(values, axis=1)
    filled = np.isfinite(ranked).sum(axis=1)
    p5, p50, p95 = (_quantile(ranked, filled, share) for share in (0.05, 0.5, 0.95))
    hidden: dict[str, Any] = {"line": {"width": 0}, "hoverinfo": "skip"}
    return [line(x, p5, "5 %", showlegend=False, **hidden),
            line(x, p95, "90 % of buses", fill="tonexty", fillcolor="--c1-soft", **hidden),
            line(x, p50, "median", color="--ink", hovertemplate="%{y:.4f} pu", width=1.4)]


def _quantile(ranked: Vector, filled: Vector, share: float) -> Vector:
    """Linear-interpolation quantile of each row (n_row,), NaN last in each row and not counted."""
    place = np.maximum(filled - 1, 0) * share
    below = np.floor(place).astype(np.int64)
    rows = np.arange(len(ranked))
    first, second = ranked[rows, below], ranked[rows, np.minimum(below + 1, np.maximum(filled - 1, 0))]
    return np.asarray(first + (second - first) * (place - below))


def _map(record: Record, reduced: Reduced, names: list[str]) -> Chart:
    low, high = record.v_min_pu, record.v_max_pu
    centre = (low + high) / 2
    reach = max(float(np.nanmax(np.abs(reduced.high - centre))), float(np.nanmax(np.abs(reduced.low - centre))),
                1.2 * (high - centre))
    inside = (high - centre) / reach / 2
    colours = ((0.0, "--under-far"), (0.5 - inside * 1.001, "--under"), (0.5 - inside, "--under-near"),
               (0.5, "--neutral"), (0.5 + inside, "--over-near"), (0.5 + inside * 1.001, "--over"),
               (1.0, "--over-far"))
    scale = Scale("Voltage by bus (pu)", centre - reach, centre + reach, centre, colours, ".4f", ".2f")
    figure, shared = heat(record.canvas, reduced, names, "Bus", scale)
    dead = np.flatnonzero(reduced.gap.any(axis=0))
    lowest = names[int(np.nanargmin(np.fmin.reduce(reduced.low, axis=0)))]
    highest = names[int(np.nanargmax(np.fmax.reduce(reduced.high, axis=0)))]
    dead_words = ", ".join(text(bus(names[i]), 40) for i in dead) if len(dead) <= 3 else f"{count(len(dead))} buses"
    title = f"Without voltage at times: {dead_words}" if len(dead) else (
        f"Lowest at {text(bus(lowest), 40)}, highest at {text(bus(highest), 40)}")
    caption = "Strong colours: outside the limits. Grey: de-energised, or no power flow converged."
    if shared > 1:
        caption += f" Each row shows the worst of up to {shared} neighbouring buses."
    return Chart(title, figure, caption, heat_height(len(names)))


def _minutes(record: Record) -> list[Chart | str]:
    """Minutes outside the limits by bus, the worst first."""
    under, over = (record.kpis.get(f"{word}voltage_minutes") or {} for word in ("under", "over"))
    total = {name: under.get(name, 0.0) + over.get(name, 0.0) for name in (*under, *over)}
    if not total:
        return []
    worst = sorted(total, key=lambda name: -total[name])[:MAX_BARS]
    bars = [{"type": "bar", "orientation": "h", "name": words, "marker": {"color": colour},
             "y": [label(name) for name in worst], "x": array([minutes.get(name, 0.0) for name in worst]),
             "hovertemplate": "%{y}: %{x:.4~g} min"}
            for words, minutes, colour in ((f"below {number(record.v_min_pu)} pu", under, "--under"),
                                           (f"above {number(record.v_max_pu)} pu", over, "--over")) if minutes]
    layout = {"barmode": "stack", "hovermode": "closest", "showlegend": True, "legend": LEGEND, "margin": MARGIN,
              "xaxis": {"title": {"text": "Time outside the limits (min)"}, "rangemode": "tozero"},
              "yaxis": {"type": "category", "autorange": "reversed", "title": {"text": ""}, "showgrid": False,
                        "fixedrange": True, "tickvals": [label(name) for name in worst],
                        "ticktext": [tick(name) for name in worst]}}
    more = f"The worst {MAX_BARS} of {count(len(total))} buses." if len(total) > MAX_BARS else ""
    return [Chart(f"{text(bus(worst[0], 'Bus'), 40)} was outside the limits longest: {number(total[worst[0]])} min",
                  {"data": bars, "layout": layout}, more, 110 + 20 * len(worst))]
