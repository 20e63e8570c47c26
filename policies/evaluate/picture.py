"""An evaluation as an SVG picture of one figure: marks with 95 % intervals (from three episodes on), side by side."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, isfinite, log10

from policies.evaluate.evaluation import Cell, Evaluation, figure
from policies.evaluate.statistics import MIN_INTERVAL, Summary

#: Okabe and Ito's palette (jfly.uni-koeln.de/color, 2008), told apart by all kinds of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
WIDTH, HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 86, 24, 56, 56


def svg(evaluation: Evaluation, name: str = "return") -> str:
    """The picture of one figure; controllers without that figure are left out."""
    cells = [cell for cell in evaluation.cells() if name in cell.figures and isfinite(cell.figures[name].mean)]
    levels = [yardstick for yardstick in evaluation.yardsticks if yardstick.figure == name]
    ticks = _ticks([*(edge for cell in cells for edge in _edges(cell.figures[name])), *(y.value for y in levels)])
    drawing = _Drawing(ticks, evaluation.qualities)
    parts = [*_frame(drawing, _title(evaluation, name)), *_levels(drawing, [(y.name, y.value) for y in levels])]
    for k, controller in enumerate(evaluation.controllers):
        mine = [cell for cell in cells if cell.controller == controller]
        parts += _series(drawing, mine, name, (k, len(evaluation.controllers)))
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="12">\n<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n')


class _Drawing:
    """Where values and qualities are on the paper."""

    def __init__(self, ticks: Sequence[float], qualities: Sequence[str]) -> None:
        self.ticks, self.qualities = ticks, tuple(qualities)
        self.step = (WIDTH - _LEFT - _RIGHT) / len(qualities)

    def x(self, quality: str, shift: float = 0.0) -> float:
        """The middle of a quality's column, or a share of the column beside it."""
        return _LEFT + self.step * (self.qualities.index(quality) + 0.5 + shift)

    def y(self, value: float) -> float:
        """Height of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)


def _edges(summary: Summary) -> list[float]:
    return [value for value in (summary.low, summary.mean, summary.high) if isfinite(value)]


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers that enclose the values, five or so."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / 5
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first, last = floor(low / step), ceil(high / step)
    return [k * step for k in range(first, last + 1)]


def _title(evaluation: Evaluation, name: str) -> str:
    known = figure(name)
    unit = f" [{known.unit}]" if known.unit not in ("", "1") else ""
    better = "higher" if known.higher_is_better else "lower"
    n = len(evaluation.seeds)
    mean = f"mean of {n} episodes and 95 % interval" if n >= MIN_INTERVAL else "mean of 2 episodes" if n > 1 else (
        "one episode")
    return f"{evaluation.scenario}: {known.words}{unit}, {mean} ({better} is better)"


def _frame(drawing: _Drawing, title: str) -> list[str]:
    parts = [f'<text x="{_LEFT}" y="20" font-size="13">{escape(title)}</text>']
    for tick in drawing.ticks:
        y = drawing.y(tick)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.6g}</text>')
    return parts + [f'<text x="{drawing.x(quality):.1f}" y="{HEIGHT - _BOTTOM + 22}" text-anchor="middle">'
                    f'{escape(quality)}</text>' for quality in drawing.qualities]


def _levels(drawing: _Drawing, levels: Sequence[tuple[str, float]]) -> list[str]:
    parts = []
    for words, value in levels:
        y = drawing.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#555" '
                     f'stroke-dasharray="5 4"/>')
        parts.append(f'<text x="{WIDTH - _RIGHT}" y="{y - 4:.1f}" text-anchor="end" fill="#555">{escape(words)}</text>')
    return parts


def _series(drawing: _Drawing, cells: Sequence[Cell], name: str, place: tuple[int, int]) -> list[str]:
    """One controller: its marks with whiskers, joined, and its name in the legend."""
    k, n = place
    colour, shift = COLOURS[k % len(COLOURS)], 0.5 * ((k + 0.5) / n - 0.5)
    parts, path = [], []
    for cell in cells:
        found = cell.figures[name]
        x, y = drawing.x(cell.quality, shift), drawing.y(found.mean)
        path.append(f"{x:.1f},{y:.1f}")
        if isfinite(found.low):
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{drawing.y(found.low):.1f}" '
                         f'y2="{drawing.y(found.high):.1f}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
    if len(path) > 1:
        parts.append(f'<polyline points="{" ".join(path)}" fill="none" stroke="{colour}" stroke-opacity="0.5"/>')
    x = _LEFT + k * (WIDTH - _LEFT - _RIGHT) / n
    words = cells[0].controller if cells else ""
    if words:
        parts.append(f'<circle cx="{x + 5:.1f}" cy="38" r="4.5" fill="{colour}"/>'
                     f'<text x="{x + 14:.1f}" y="42">{escape(words)}</text>')
    return parts
