"""Plots of `benchmarks.shield` for the documents (needs matplotlib)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt

WITHOUT, WITH = "#b8433a", "#2f6db3"


def bars(path: Path, title: str, unit: str, without: Mapping[str, float], shielded: Mapping[str, float]) -> None:
    """Pairs of bars, without and with the shield, by the keys of `without`; every bar is labelled with its value."""
    names = list(without)
    at, width = np.arange(len(names)), 0.38
    figure, axes = plt.subplots(figsize=(max(6.0, 1.3 * len(names) + 2), 3.6), layout="constrained")
    for offset, values, colour, label in ((-width / 2, without, WITHOUT, "without shield"),
                                          (width / 2, shielded, WITH, "with shield")):
        drawn = axes.bar(at + offset, [values[name] for name in names], width, color=colour, label=label)
        axes.bar_label(drawn, [f"{values[name]:,.0f}" for name in names], fontsize=8, padding=2)
    axes.set_xticks(at, names, fontsize=8)
    axes.set_ylabel(unit)
    axes.set_title(title, fontsize=10)
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    for ending in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=150)
    plt.close(figure)


def lines(path: Path, title: str, unit: str, qualities: Sequence[str],
          by_policy: Mapping[str, Sequence[float]]) -> None:
    """One line a policy over qualities, on a scale that shows zero and thousands."""
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    for (policy, values), marker in zip(by_policy.items(), "osD^v", strict=False):
        axes.plot(range(len(qualities)), values, marker=marker, label=policy)
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xticks(range(len(qualities)), [name.replace(", ", ",\n") for name in qualities], fontsize=8)
    axes.set_ylabel(unit)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    for ending in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{ending}"), dpi=150)
    plt.close(figure)
