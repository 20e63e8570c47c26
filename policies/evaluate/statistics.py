"""Means over few episodes and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

#: Probability that the true mean lies inside the interval, for normally distributed figures.
CONFIDENCE = 0.95
#: Fewest values that have an interval: of two it reaches 12.7 standard errors to either side, which says nothing.
MIN_INTERVAL = 3


@dataclass(frozen=True, slots=True)
class Summary:
    """`n` values: mean, 95 % interval of the mean by Student's t (NaN for fewer than three), median, extremes.

    `worst` is the least of what should be large, the most of what should be small.
    """

    n: int
    mean: float
    low: float
    high: float
    median: float
    worst: float
    std: float

    @property
    def half_width(self) -> float:
        """Half of the interval: mean ± this."""
        return (self.high - self.low) / 2


def summary(values: Sequence[float], *, higher_is_better: bool = True) -> Summary:
    """Of values that are numbers (others are left out); NaN throughout where there are none."""
    x = np.asarray([value for value in values if np.isfinite(value)], np.float64)
    nan = float("nan")
    if not len(x):
        return Summary(0, nan, nan, nan, nan, nan, nan)
    mean, worst = float(x.mean()), float(x.min() if higher_is_better else x.max())
    if len(x) == 1:
        return Summary(1, mean, nan, nan, mean, worst, nan)
    std = float(x.std(ddof=1))
    half = _quantile(len(x) - 1) * std / sqrt(len(x)) if len(x) >= MIN_INTERVAL else nan
    return Summary(len(x), mean, mean - half, mean + half, float(np.median(x)), worst, std)


def difference(ours: Sequence[float], theirs: Sequence[float], *, higher_is_better: bool = True) -> Summary:
    """Of the differences ours - theirs, episode by episode (the same seeds in the same order)."""
    return summary([a - b for a, b in zip(ours, theirs, strict=True)], higher_is_better=higher_is_better)


def _quantile(freedom: int) -> float:
    """Two-sided quantile of Student's t."""
    from scipy.stats import t  # slow to import, and only needed at the end

    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom))
