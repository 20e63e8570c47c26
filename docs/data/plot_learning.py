"""Draw docs/img/learn_<task>.png: learning curves of trainings, a line an algorithm, mean and range over seeds.

    python docs/data/plot_learning.py docs/img/learn_anm6.png --title ANM6-Easy --column mean_discounted \\
        --ylabel "discounted return" --curve PPO=results/ppo --curve SAC=results/sac \\
        --ylim -150 0

A curve is a label and a folder: of one training (it holds `metrics.csv`), or of several (`gridloop train --seeds`);
or a pattern of such folders.
Drawn is a column of `metrics.csv` against steps: the mean of the last episodes of a policy that still tries things out.
A training that was stopped counts as far as it went.  `--line LABEL=VALUE` draws a
yardstick, where episodes of training are those of the yardstick. `docs/learning.md` names the commands of its pictures.

Needs matplotlib, which is no part of the set-up.
"""

from __future__ import annotations

import argparse
from glob import glob
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

COLORS = ("#1d4ed8", "#c2410c", "#047857", "#7c3aed", "#b45309", "#be185d")
GREY = "#6b7280"

Floats = NDArray[np.float64]


def runs(pattern: str) -> list[Path]:
    """Metrics of the trainings in a folder, or in folders by pattern; raises SystemExit where there are none."""
    found: list[Path] = []
    for folder in map(Path, sorted(glob(pattern))):
        own = folder / "metrics.csv"
        found += [own] if own.is_file() else sorted(folder.glob("*/metrics.csv"))
    if not found:
        raise SystemExit(f"{pattern}: no metrics.csv here or one level below; expected a folder of `gridloop train`")
    return found


def curve(path: Path, column: str) -> tuple[Floats, Floats]:
    """(steps, values) of one training, iterations without a finished episode left out."""
    table = pd.read_csv(path, on_bad_lines="skip")
    if column not in table:
        raise SystemExit(f"{path}: no column {column!r}; expected one of {', '.join(table.columns)}")
    table = table[["steps", column]].apply(pd.to_numeric, errors="coerce").dropna()
    return table["steps"].to_numpy(float), table[column].to_numpy(float)


def together(curves: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Steps (k,) that all curves have, and their values (n_curve, k)."""
    begin, end = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    steps = curves[0][0]
    steps = steps[(steps >= begin) & (steps <= end)]
    return steps, np.array([np.interp(steps, own, values) for own, values in curves])


def draw(axes: Axes, label: str, folders: str, column: str, color: str) -> None:
    """Mean over seeds as a line, their range as a band."""
    steps, values = together([curve(path, column) for path in runs(folders)])
    n = len(values)
    axes.plot(steps, values.mean(0), color=color, lw=1.6, label=f"{label}, {n} seed{'s' if n > 1 else ''}")
    if n > 1:
        axes.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.2, lw=0)


def thousands(value: float, _: int) -> str:
    """Steps as people write them."""
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value else "0"


def pair(text: str) -> tuple[str, str]:
    """LABEL=REST; raises ArgumentTypeError."""
    label, equals, rest = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"found {text!r}; expected LABEL=VALUE")
    return label, rest


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--title", default="")
    parser.add_argument("--column", default="mean_return")
    parser.add_argument("--ylabel", default="return of an episode")
    parser.add_argument("--curve", type=pair, action="append", required=True, metavar="LABEL=FOLDER")
    parser.add_argument("--line", type=pair, action="append", default=[], metavar="LABEL=VALUE")
    parser.add_argument("--ylim", type=float, nargs=2, metavar=("LOW", "HIGH"))
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for k, (label, folders) in enumerate(options.curve):
        draw(axes, label, folders, options.column, COLORS[k % len(COLORS)])
    for label, value in options.line:
        axes.axhline(float(value), color=GREY, lw=0.9, ls="--")
        axes.annotate(label, (0.99, float(value)), xycoords=("axes fraction", "data"), xytext=(0, -3),
                      textcoords="offset points", ha="right", va="top", fontsize=8, color="#374151")
    axes.set(xlabel="steps (decision instants)", ylabel=options.ylabel)
    axes.set_title(options.title, loc="left", fontsize=10)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    if options.ylim:
        axes.set_ylim(*options.ylim)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
