"""Pieces of plotly.js figures as plain data: no figure object is built, so plotly is only asked for its script.

A colour is the name of a variable of page.css ("--c1"); page.js puts in what it stands for in the scheme in force,
light, dark or print.  Names of series are escaped here (plotly.js reads tags in labels).
Arrays go in as base64 of their bytes, which plotly.js reads: a third of the size of decimal numbers, and NaN survives.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cosim.points import Vector
from cosim.report.markup import label
from cosim.report.samples import Reduced
from cosim.report.timeaxis import TimeAxis

#: Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), told apart by all kinds of colour vision.
COLOURS = tuple(f"--c{i}" for i in range(1, 8))
DASHES = ("solid", "dash", "dot")
#: Cells of a heat map: what a screen can show.
HEAT_ROWS, HEAT_COLUMNS = 120, 400
MAX_TICK, MAX_NAME = 13, 40
MARGIN = {"l": 88, "r": 14, "t": 34, "b": 46}


@dataclass(frozen=True, slots=True)
class Span:
    """A time during which something was out of order: `end_s` is where the drawing ends when it never ended."""

    subject: str
    kind: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Canvas:
    """What drawings over time share: the axis, and what happened meanwhile (drawn as bands behind)."""

    axis: TimeAxis
    bands: tuple[Span, ...] = field(default=())

    def figure(self, data: Sequence[dict[str, Any]], y: dict[str, Any], *, banded: bool = True,
               **layout: Any) -> dict[str, Any]:
        """A figure over time; `y` is its vertical axis."""
        shapes = [*(self._shape(span) for span in self.bands if banded), *layout.pop("shapes", ())]
        return {"data": list(data), "layout": {
            "xaxis": self.axis.layout(), "yaxis": y, "margin": MARGIN, "shapes": shapes, "hovermode": "x unified",
            "legend": LEGEND, "meta": {"time": True}, **layout}}

    def line(self, reduced: Reduced, column: int, name: str, **style: Any) -> dict[str, Any]:
        """One series, every spike of it."""
        times, values = reduced.line(column)
        return line(self.axis.at(times), values, name, **style)

    def _shape(self, span: Span) -> dict[str, Any]:
        x0, x1 = (float(at) for at in self.axis.at(np.array([span.begin_s, span.end_s])))
        return {"type": "rect", "xref": "x", "yref": "paper", "x0": x0, "x1": x1, "y0": 0, "y1": 1, "layer": "below",
                "fillcolor": "--band", "line": {"width": 1 if span.begin_s == span.end_s else 0, "color": "--band"}}


LEGEND = {"orientation": "h", "x": 0, "y": 1.01, "xanchor": "left", "yanchor": "bottom"}


def tick(name: str) -> str:
    """A name that fits beside an axis: its end tells it from its neighbours."""
    return label(name if len(name) <= MAX_TICK else f"…{name[1 - MAX_TICK:]}")


def array(values: ArrayLike, kind: str = "f4") -> dict[str, str]:
    """An array (n,) or (rows, columns) as plotly.js reads it."""
    given = np.ascontiguousarray(values, f"<{kind}")
    packed = {"dtype": kind, "bdata": b64encode(given.tobytes()).decode()}
    return packed if given.ndim == 1 else {**packed, "shape": ",".join(map(str, given.shape))}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """A vertical axis with its title."""
    return {"title": {"text": title}, "zeroline": False, **more}


def style(i: int) -> dict[str, Any]:
    """Colour and dash of the i-th line: distinct for the first 21."""
    return {"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i // len(COLOURS) % len(DASHES)]}


def line(x: Vector, y: Vector, name: str, *, color: str = "--c1", dash: str = "solid", **more: Any) -> dict[str, Any]:
    """A line; `more` are further options of the trace."""
    width = more.pop("width", 1.6)
    mode = "lines" if len(x) > 1 else "markers"
    return {"type": "scatter", "mode": mode, "name": label(name, MAX_NAME), "x": array(x, "f8"), "y": array(y),
            "connectgaps": False, "line": {"color": color, "dash": dash, "width": width, **more.pop("line", {})},
            **more}


def limit(value: float, words: str, side: str = "top") -> dict[str, Any]:
    """A dashed line across the drawing: one of a figure's shapes.  Its label hangs by its top or stands above."""
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "layer": "above",
            "line": {"color": "--limit", "width": 1, "dash": "dash"},
            "label": {"text": words, "textposition": "end", "yanchor": side,
                      "font": {"size": 11, "color": "--limit"}}}


@dataclass(frozen=True, slots=True)
class Scale:
    """Colours of a heat map from `low` to `high`: each cell shows what lies farthest from `centre`.

    `colours` are (position 0..1, colour); `title` names the value and its unit, `hover` formats it.
    """

    title: str
    low: float
    high: float
    centre: float
    colours: tuple[tuple[float, str], ...]
    hover: str
    tickformat: str = ""


def heat(canvas: Canvas, reduced: Reduced, names: Sequence[str], what: str, scale: Scale) -> tuple[dict[str, Any], int]:
    """A heat map over time, one row a series, and how many neighbouring series at most share a row.

    Cells in which any value is missing stay empty.  `what` is the title of the rows.
    """
    coarse, across = reduced.coarser(HEAT_COLUMNS, HEAT_ROWS)
    farthest = np.where(coarse.high - scale.centre >= scale.centre - coarse.low, coarse.high, coarse.low)
    ends = np.append(across[1:], len(names)) - 1
    rows = [names[a] if a == b else f"{names[a]} … {names[b]}" for a, b in zip(across, ends, strict=True)]
    # Labels are cut, keys must stay apart.
    keys = [label(row, 2 * MAX_NAME) for row in rows]
    if len(set(keys)) < len(keys):
        keys = [label(f"{i + 1}: {row}", 2 * MAX_NAME) for i, row in enumerate(rows)]
    trace = {"type": "heatmap", "x": array(canvas.axis.at(_cell_edges(coarse)), "f8"),
             "y": keys, "z": array(np.where(coarse.gap, np.nan, farthest).T),
             "zmin": scale.low, "zmax": scale.high, "colorscale": [list(stop) for stop in scale.colours],
             "hoverongaps": False, "zsmooth": False, "colorbar": _colorbar(scale),
             "hovertemplate": f"{what} %{{y}}<br>%{{x}}<br>%{{z:{scale.hover}}}<extra></extra>"}
    shown = range(0, len(rows), -(-len(rows) // 24))
    y = axis("", type="category", autorange="reversed", tickvals=[keys[i] for i in shown],
             ticktext=[tick(names[across[i]]) for i in shown], showgrid=False, fixedrange=True)
    figure = canvas.figure([trace], y, banded=False, hovermode="closest", plot_bgcolor="--missing",
                           margin={**MARGIN, "t": 62})
    return figure, int((ends - across).max()) + 1


def _cell_edges(reduced: Reduced) -> Vector:
    """Edges (b + 1,) of the cells, half way between samples, so that the last one of the run is seen too."""
    between = (reduced.end_s[:-1] + reduced.begin_s[1:]) / 2
    half = (reduced.begin_s[1] - reduced.end_s[0]) / 2 if len(between) else 0.5
    return np.concatenate([[reduced.begin_s[0] - half], between, [reduced.end_s[-1] + half]])


def heat_height(n: int) -> int:
    """Pixels that make rows legible without a tower."""
    return int(np.clip(140 + 14 * min(n, HEAT_ROWS), 190, 560))


def _colorbar(scale: Scale) -> dict[str, Any]:
    # Above the drawing, so that everything over time keeps the same margins.
    return {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom", "thickness": 9,
            "lenmode": "fraction", "len": 0.6, "outlinewidth": 0, "ypad": 4, "xpad": 0, "nticks": 6,
            "tickformat": scale.tickformat, "title": {"text": scale.title, "side": "top"}}
