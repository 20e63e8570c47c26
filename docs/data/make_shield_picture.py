"""Draw docs/img/shield.png: the day of scenarios/hostile_operator.yaml with and without the shield.

    gridloop run hostile_operator --out WITH
    gridloop run hostile_operator --set shield=false --out WITHOUT
    python docs/data/make_shield_picture.py WITH WITHOUT docs/img/shield.png

Needs matplotlib, which is no part of the set-up.
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cosim.recorder import RunResult

WITHOUT, WITH, LIMIT = "#c2410c", "#1d4ed8", "#6b7280"
DEEDS = ((0.5, "demand x 5"), (4, "charge"), (5.5, "island"), (6.5, "loop"), (12, "all Q up"), (13, "discharge"),
         (14.5, "capacitors"), (17.5, "discharge"), (19, "all Q down"), (22, "charge"))
"""Hours, and what the hostile hand does then."""


def voltages(axes: Axes, result: RunResult, color: str, label: str) -> None:
    """Lowest and highest voltage of all buses over the hours."""
    seen = result.samples(["bus.*.v_pu"])
    hours = seen.index.to_numpy() / 3600
    axes.fill_between(hours, seen.min(axis=1), seen.max(axis=1), color=color, alpha=0.3, lw=0, step="post")
    axes.step(hours, seen.max(axis=1), color=color, lw=1.2, where="post", label=label)
    axes.step(hours, seen.min(axis=1), color=color, lw=1.2, where="post")


def reactive(axes: Axes, result: RunResult) -> None:
    """What was asked of the plants together (nothing, most of the day), and what they did, Mvar."""
    seen = result.samples(["pv_*.q_kvar"]).sum(axis=1) / 1e3
    hours = seen.index.to_numpy() / 3600
    axes.step(hours, seen, color=WITH, lw=1.2, where="post", label="with the shield")
    axes.step(hours, asked(result, hours), color=WITHOUT, lw=1.6, where="post", label="asked by the operator")


def asked(result: RunResult, hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the plants' setpoints (Mvar) that were in force at each of `hours`; NaN where none was."""
    commands = result.commands()
    own = commands[(commands["source"] == "hostile_inverters") & (commands["status"] == "accepted")]
    found = np.full(hours.size, np.nan)
    for begins_us, sent in own.groupby("t_us"):
        begin, end = float(begins_us) / 3.6e9, float(sent["expires_us"].iloc[0]) / 3.6e9
        found[(hours >= begin) & (hours <= end)] = sent["value"].sum() / 1e3
    return found


def main(with_shield: str, without_shield: str, picture: str) -> None:
    """Both results into one picture of two rows."""
    enforced, bare = RunResult.load(with_shield), RunResult.load(without_shield)
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True, height_ratios=(2, 1),
                                         layout="constrained")
    voltages(top, bare, WITHOUT, "without the shield")
    voltages(top, enforced, WITH, "with the shield")
    for limit in (0.95, 1.05):
        top.axhline(limit, color=LIMIT, lw=0.9, ls="--")
    for hour, deed in DEEDS:
        top.annotate(deed, (hour, 1.175), rotation=45, ha="left", va="bottom", fontsize=8, color="#374151",
                     annotation_clip=False)
        top.axvline(hour, color=LIMIT, lw=0.4, ls=":")
    top.set(ylabel="Voltage (pu), lowest to highest bus", ylim=(0.83, 1.175))
    top.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.27, 0.0))
    reactive(bottom, enforced)
    bottom.axhline(0, color=LIMIT, lw=0.4)
    bottom.set(ylabel="Plants' Q (Mvar)", xlabel="Hour of the day", xlim=(0, 24), xticks=range(0, 25, 3))
    bottom.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.27, 0.0))
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:4])
