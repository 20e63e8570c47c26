"""Points to features, for many learners at a time: one flat vector, every agent a slice of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, tau

import numpy as np
from numpy.typing import NDArray

from cosim.encoding.spec import LearnerSpec
from cosim.points import Ids, Vector, span

Encoded = NDArray[np.float32]

DAY_US = 86_400_000_000
#: Extras that say when: one number a learner each.
_TIMES = ("due", "age", "dt")
#: Length of the cycles of ``clock.*``; the year is the mean Gregorian one.
CYCLES_US = {"clock.day": DAY_US, "clock.week": 7 * DAY_US, "clock.year": round(365.2425 * DAY_US)}


@dataclass(slots=True)
class Senses:
    """What learners know besides their points; arrays are (n_agent,) unless said.

    `quality` (n_raw,) is not 0 where a value is not good; `last_action` (n_setpoint of all,) normalised; `clock_us` is
    the time of the calendar (since Monday 1 January 2001).  None where nobody asked for it.
    """

    age_s: Vector
    due: NDArray[np.bool_]
    dt_s: Vector
    quality: NDArray[np.uint8] | None = None
    last_action: Vector | None = None
    clock_us: int = 0


class Encoder:
    """Encodes what several learners see.  `slices` are their places in the flat vector (size,).

    Holds the frames of the past: `remember` after a decision, `forget` at a reset.
    """

    def __init__(self, specs: Sequence[LearnerSpec]) -> None:
        self.specs = tuple(specs)
        starts = np.concatenate(([0], np.cumsum([spec.size for spec in specs]))).tolist()
        self.size = int(starts[-1])
        self.slices = tuple(slice(a, b) for a, b in pairwise(starts))
        features = [feature for spec in specs for feature in spec.features]
        self.n_raw = len(features)
        self._center = np.array([f.center for f in features])
        self._gain = 1.0 / np.array([f.half_width for f in features]) if features else np.zeros(0)
        self._clip = np.repeat([spec.clip for spec in specs], [len(spec.features) for spec in specs])
        self._least = -self._clip
        self._lay_out()
        self._frames = np.zeros((max((spec.history for spec in specs), default=1) - 1, self.n_raw))
        self._is_new = np.ones(len(self.specs), bool)

    def _lay_out(self) -> None:
        """Where everything stands in the flat vector."""
        frames: list[list[int]] = []
        held: list[list[int]] = []
        extras: dict[str, list[int]] = {}
        owners: dict[str, list[int]] = {}
        raw = 0
        self._of_agent = np.repeat(np.arange(len(self.specs)), [len(spec.features) for spec in self.specs])
        for a, (spec, part) in enumerate(zip(self.specs, self.slices, strict=True)):
            n, place = len(spec.features), part.start
            for k in range(spec.history):
                while len(frames) <= k:
                    frames.append([])
                    held.append([])
                frames[k] += range(place, place + n)
                held[k] += range(raw, raw + n)
                place += n
            for extra in spec.extras:
                length = spec.length(extra)
                extras.setdefault(extra, []).extend(range(place, place + length))
                owners.setdefault(extra, []).append(a)
                place += length
            raw += n
        self._places = [span(np.array(f, np.int64)) for f in frames]
        self._held = [np.array(h, np.int64) for h in held]
        self._wanted = frozenset(extras)
        self._extras: dict[str, Ids] = {name: np.array(ids, np.int64) for name, ids in extras.items()}
        self._selected = self._selections()
        self._lay_out_times(owners)

    def _lay_out_times(self, owners: Mapping[str, Sequence[int]]) -> None:
        """Where the `_TIMES` stand, and of `due`, age and dt of all learners in a row: which, in units of what, at
        most how much."""
        n = len(self.specs)
        periods, clips = (np.array([getattr(spec, key) for spec in self.specs]) for key in ("period_s", "clip"))
        units, most = ({"due": plain, "age": own, "dt": own} for plain, own in (
            (np.ones(n), periods), (np.full(n, np.inf), clips)))
        shown = [name for name in _TIMES if name in self._extras]
        self._time_places = span(np.array([i for name in shown for i in self._extras.pop(name)], np.int64))
        self._time_of = span(np.array([n * _TIMES.index(name) + i for name in shown for i in owners[name]], np.int64))
        self._time_unit, self._time_most = (np.array([each[name][i] for name in shown for i in owners[name]])
                                            for each in (units, most))

    def _selections(self) -> dict[str, Ids]:
        """Of the raw values and of all setpoints: those whose agents want their quality or last action shown."""
        quality: list[int] = []
        last: list[int] = []
        raw = point = 0
        for spec in self.specs:
            n, m = len(spec.features), len(spec.action.setpoints)
            quality += range(raw, raw + n) if "quality" in spec.extras else ()
            last += range(point, point + m) if "last_action" in spec.extras else ()
            raw, point = raw + n, point + m
        return {"quality": np.array(quality, np.int64), "last_action": np.array(last, np.int64)}

    def wants(self, extra: str) -> bool:
        """Whether any learner sees this extra."""
        return extra in self._wanted

    @property
    def remembers(self) -> bool:
        """Whether any learner sees its past."""
        return bool(len(self._frames))

    def forget(self) -> None:
        """No past: until a learner's own first decision, what it sees stands for it."""
        self._is_new[:] = True

    def scaled(self, raw: Vector) -> Vector:
        """Raw values (n_raw,) as features: scaled, cut off, 0 where there is no value."""
        scaled: Vector = (raw - self._center) * self._gain
        if not isfinite(scaled.dot(scaled)):
            scaled = np.where(np.isnan(scaled), 0.0, scaled)
        np.maximum(scaled, self._least, out=scaled)
        np.minimum(scaled, self._clip, out=scaled)
        return scaled

    def encode(self, raw: Vector, senses: Senses) -> Encoded:
        """The flat vector (size,) for raw values (n_raw,) of all learners in order."""
        now = self.scaled(raw)
        if self.remembers and self._is_new.any():
            fresh = self._is_new[self._of_agent]
            self._frames[:, fresh] = now[fresh]
        out = np.empty(self.size, np.float32)
        if self._places:
            out[self._places[0]] = now
        for k in range(1, len(self._places)):
            out[self._places[k]] = self._frames[k - 1][self._held[k]]
        self._write_extras(out, senses)
        return out

    def remember(self, raw: Vector, decided: NDArray[np.bool_]) -> None:
        """Learners that have `decided` (n_agent,) keep what they saw as their newest past frame."""
        if not self.remembers:
            return
        part = decided[self._of_agent]
        self._frames[1:, part] = self._frames[:-1, part]
        self._frames[0, part] = self.scaled(raw)[part]
        self._is_new &= ~decided

    def _write_extras(self, out: Encoded, senses: Senses) -> None:
        if len(self._time_unit):
            told = np.concatenate((senses.due, senses.age_s, senses.dt_s))[self._time_of]
            # fmin: what has never arrived (NaN) is as old as can be.
            out[self._time_places] = np.fmin(told / self._time_unit, self._time_most)
        for name, places in self._extras.items():
            if name == "quality":
                assert senses.quality is not None
                out[places] = senses.quality[self._selected[name]] != 0
            elif name == "last_action":
                assert senses.last_action is not None
                out[places] = senses.last_action[self._selected[name]]
            else:
                phase = tau * (senses.clock_us % CYCLES_US[name]) / CYCLES_US[name]
                out[places[::2]], out[places[1::2]] = np.sin(phase), np.cos(phase)
