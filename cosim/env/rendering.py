"""The grid now, for eyes: a compact text, or a picture drawn into an array (no graphics library).

The picture, from top to bottom: bus voltages as bars about 1 pu with the scenario's limits as lines, loadings of
branches as bars with their limit, and the last rewards of learners.  Bars outside a limit are red.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.env.event import EventEnv
from cosim.errors import GridloopError
from cosim.points import Vector, match

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

WIDTH, HEIGHT, MARGIN = 640, 480, 10
#: Voltages are drawn this far about 1 pu, loadings up to this.
V_SPAN_PU, LOADING_TOP = 0.15, 1.5
#: Most agents named in the text.
MOST_NAMED = 12

WHITE: Colour = (255, 255, 255)
FRAME: Colour = (205, 205, 205)
LIMIT: Colour = (90, 90, 90)
GOOD: Colour = (46, 125, 180)
BAD: Colour = (200, 40, 40)
GAIN: Colour = (60, 150, 80)


@dataclass(frozen=True, slots=True)
class _Look:
    """What is shown: voltages (n_bus,), loadings (n_branch,), and the limits."""

    voltages: Vector
    loadings: Vector
    v_min_pu: float
    v_max_pu: float
    loading_max: float

    @property
    def low(self) -> int:
        """Buses below the lower limit."""
        return int((self.voltages < self.v_min_pu).sum())

    @property
    def high(self) -> int:
        """Buses above the upper limit."""
        return int((self.voltages > self.v_max_pu).sum())

    @property
    def overloaded(self) -> int:
        """Branches beyond their limit."""
        return int((self.loadings > self.loading_max).sum())


def _look(core: EventEnv) -> _Look:
    if core.stats.episodes == 0:
        raise GridloopError("there is nothing to render before the first reset()")
    points, limits = core.simulation.points, core.loaded.scenario.limits

    def values(*patterns: str) -> Vector:
        ids = [i for pattern in patterns for i in match(pattern, points.names)]
        return points.values[np.array(ids, np.int64)]

    return _Look(values("bus.*.v_pu"), values("line.*.loading", "trafo.*.loading"), limits.v_min_pu, limits.v_max_pu,
                 limits.loading_max)


def text(core: EventEnv) -> str:
    """Time, the grid's extremes and violations, and what learners got; raises GridloopError before the first reset."""
    look, last, points = _look(core), core.last, core.simulation.points
    due = [name for name, is_due in zip(core.names, last.due.tolist(), strict=True) if is_due]
    state = "ended" if last.ended else f"due: {_named(due) or 'nobody'}"
    lines = [f"{core.loaded.scenario.name}  t = {last.t_us / 1e6:g} s  {state}",
             (f"voltage {_extremes(look.voltages)} pu, limits {look.v_min_pu:g} to {look.v_max_pu:g}: "
              f"{look.low} low, {look.high} high"),
             f"loading {_extremes(look.loadings)}, limit {look.loading_max:g}: {look.overloaded} over",
             f"losses {points.read('grid.losses_kw'):.6g} kW, slack {points.read('grid.slack_p_kw'):.6g} kW"]
    if points.read("grid.converged") < 0.5:
        lines.append("the power flow has no solution")
    for i, name in enumerate(core.names[:MOST_NAMED]):
        costs = "".join(f"  {cost} {last.cost[i, k]:.6g}" for k, cost in enumerate(core.cost_names))
        over = "  over" if last.terminated[i] else ""
        lines.append(f"{name}: reward {last.reward[i]:.6g}{costs}{over}")
    if len(core.names) > MOST_NAMED:
        rest = last.reward[MOST_NAMED:]
        lines.append(f"and {len(rest)} more agents: reward {rest.sum():.6g} in all")
    return "\n".join(lines)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _extremes(values: Vector) -> str:
    known = values[np.isfinite(values)]
    return f"{known.min():.4f} to {known.max():.4f}" if len(known) else "unknown"


def picture(core: EventEnv) -> Picture:
    """The picture (HEIGHT, WIDTH, 3); raises GridloopError before the first reset."""
    look, reward = _look(core), core.last.reward
    canvas = np.full((HEIGHT, WIDTH, 3), WHITE, np.uint8)
    third = (HEIGHT - 4 * MARGIN) // 3
    boxes = [canvas[top:top + third, MARGIN:WIDTH - MARGIN]
             for top in range(MARGIN, HEIGHT - third, third + MARGIN)]
    bad = (look.voltages < look.v_min_pu) | (look.voltages > look.v_max_pu)
    _bars(boxes[0], (look.voltages - 1.0) / V_SPAN_PU, bad, (GOOD, BAD))
    for limit in (look.v_min_pu, look.v_max_pu):
        _line(boxes[0], (limit - 1.0) / V_SPAN_PU)
    _bars(boxes[1], 2 * look.loadings / LOADING_TOP - 1, look.loadings > look.loading_max, (GOOD, BAD), base=-1.0)
    _line(boxes[1], 2 * look.loading_max / LOADING_TOP - 1)
    largest = float(np.abs(reward).max())
    _bars(boxes[2], reward / (largest or 1.0), reward < 0, (GAIN, BAD))
    return canvas


def _bars(box: Picture, heights: Vector, bad: NDArray[np.bool_], colours: tuple[Colour, Colour],
          base: float = 0.0) -> None:
    """Bars from `base` to `heights`, both from -1 (bottom) to 1 (top), side by side; NaN has none."""
    rows, columns, _ = box.shape
    _frame(box)
    if not len(heights):
        return
    # Column by column: which bar stands there (with more bars than columns, the first of those that share one).
    edges = np.linspace(0, len(heights), columns - 1)[:-1]
    bar = edges.astype(int)
    gap = (edges % 1.0 > 0.85) & (columns > 4 * len(heights))
    ends = _row(rows, np.nan_to_num(np.clip(heights, -1, 1), nan=base))[bar]
    start = int(_row(rows, np.array([base]))[0])
    each = np.arange(rows)[:, None]
    drawn = (each >= np.minimum(ends, start)) & (each <= np.maximum(ends, start)) & ~gap & np.isfinite(heights)[bar]
    inner = box[:, 1:columns - 1]
    inner[drawn] = np.where(bad[bar][None, :, None], np.array(colours[1], np.uint8),
                            np.array(colours[0], np.uint8)).repeat(rows, 0)[drawn]


def _frame(box: Picture) -> None:
    box[[0, -1]] = FRAME
    box[:, [0, -1]] = FRAME


def _line(box: Picture, height: float) -> None:
    """A dashed line across a box, where it is inside."""
    if -1 <= height <= 1:
        row = int(_row(box.shape[0], np.array([height]))[0])
        dashes = np.flatnonzero(np.arange(box.shape[1]) % 8 < 5)
        box[row, dashes] = LIMIT


def _row(rows: int, heights: Vector) -> NDArray[np.int64]:
    """Rows of a box for heights from -1 to 1."""
    return np.rint((rows - 1) * (1 - heights) / 2).astype(np.int64)
