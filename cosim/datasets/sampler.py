"""Reads many columns of one profile at once, at times that mostly move forward.

One sampler serves all devices that read one file in one way: `Sampler.at` takes one row of the shared matrix for all
of them.  A run asks for non-decreasing times, so the sampler keeps the interval it is in and looks anew only when it
leaves it (the next row first, a binary search only after a jump).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cosim.datasets.findings import Limits
from cosim.datasets.model import Profile
from cosim.datasets.series import Interpolation, Sampling, Series, covers, make_series
from cosim.errors import Problem, ProfileError

Floats = NDArray[np.float64]


class Sampler:
    """``at(t_us)`` gives the chosen columns (k,), times ``scale``, at a simulation time.

    ``columns`` may repeat (two devices with one profile and different ``scale``); ``scale`` is one number or (k,).
    `series` is what `make_series` gave for the same columns and sampling, where somebody has kept it.  Raises
    `ProfileError` as `make_series` does, and for a scale that is not finite or does not fit.
    """

    __slots__ = (
        "_from_us",
        "_linear",
        "_profile",
        "_row",
        "_sampling",
        "_scale",
        "_series",
        "_slope",
        "_until_us",
        "_value",
        "columns",
    )

    def __init__(
        self,
        profile: Profile,
        columns: Sequence[str],
        *,
        sampling: Sampling | None = None,
        scale: Floats | Sequence[float] | float = 1.0,
        limits: Limits | None = None,
        series: Series | None = None,
    ) -> None:
        self._sampling = sampling or Sampling()
        self._profile = profile
        self.columns = tuple(columns)
        self._series = make_series(profile, self.columns, self._sampling, limits) if series is None else series
        self._linear = self._sampling.interpolation == Interpolation.LINEAR
        self._scale = _checked_scale(scale, len(self.columns), profile.source)
        self._row = 0
        # An empty interval: the first question looks for its row.
        self._from_us, self._until_us = 0, 0
        self._value: Floats = np.empty(0)
        self._slope: Floats = np.empty(0)

    @property
    def units(self) -> tuple[str, ...]:
        """The unit of each column as its name states it, before ``scale``."""
        units = dict(zip(self._profile.columns, self._profile.units, strict=True))
        return tuple(units[name] for name in self.columns)

    def at(self, t_us: int) -> Floats:
        """Values (k,) at a simulation time, read-only and never changed later.

        Raises `ProfileError` outside the profile (`covers` tells beforehand).
        """
        if not self._from_us <= t_us < self._until_us:
            self._seek(t_us)
        if not self._linear:
            return self._value
        return self._value + self._slope * (t_us - self._from_us)

    def next_change_us(self, t_us: int) -> int | None:
        """The simulation time of the first sample (or window) after ``t_us``; None where the profile has no more."""
        if not self._from_us <= t_us < self._until_us:
            self._seek(t_us)
        ends = not self._series.lap_us and self._row == len(self._series.t_us) - 1
        return None if ends else self._until_us

    def _seek(self, t_us: int) -> None:
        """Move to the interval [from, until) of simulation time that holds ``t_us`` and take its row."""
        series = self._series
        first = int(series.t_us[0])
        tau = t_us + self._sampling.start_us
        shift = -self._sampling.start_us
        if series.lap_us:
            laps = (tau - first) // series.lap_us * series.lap_us
            tau, shift = tau - laps, shift + laps
        elif not first <= tau <= series.end_us:
            missing = covers(self._profile, t_us, t_us, self._sampling)
            raise ProfileError((missing or Problem("no value", file=self._profile.source),))
        self._row = self._find(tau)
        start, stop = self._bounds(self._row)
        self._from_us, self._until_us = start + shift, stop + shift
        self._take()

    def _find(self, tau: int) -> int:
        """The last row at or before profile time ``tau``."""
        times, near = self._series.t_us, self._row + 1
        if near + 1 < len(times) and times[near] <= tau < times[near + 1]:
            return near
        return int(np.searchsorted(times, tau, side="right")) - 1

    def _bounds(self, row: int) -> tuple[int, int]:
        """The half-open interval of profile time of a row; the last one of a profile that ends includes its end."""
        series = self._series
        if row + 1 < len(series.t_us):
            return int(series.t_us[row]), int(series.t_us[row + 1])
        return int(series.t_us[row]), series.end_us if series.lap_us else series.end_us + 1

    def _take(self) -> None:
        values, picks = self._series.values, self._series.picks
        self._value = values[self._row].take(picks) * self._scale
        self._value.setflags(write=False)
        if not self._linear:
            return
        if self._row + 1 < len(values):
            rise = values[self._row + 1].take(picks) * self._scale - self._value
            self._slope = rise / (self._until_us - self._from_us)
        else:
            self._slope = np.zeros_like(self._value)


def _checked_scale(scale: Floats | Sequence[float] | float, count: int, source: str) -> Floats:
    factors = np.asarray(scale, dtype=np.float64)
    if factors.shape not in ((), (count,)) or not np.isfinite(factors).all():
        text = f"scale has shape {factors.shape}, expected one finite number or {count} of them, one a column"
        raise ProfileError((Problem(text, file=source, rule="profile-scale"),))
    return np.broadcast_to(factors, (count,)).copy()
