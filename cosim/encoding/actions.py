"""A learner's action to setpoints, and back.

What a learner stores is a flat row (width,): the continuous numbers, then an index for each discrete part.  NaN, or an
index that does not exist, leaves that setpoint alone (NaN in the answer) and is counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.encoding.spec import ActionSpec
from cosim.points import Vector


class ActionCodec:
    """Codes the actions of one learner; arrays may have leading axes (..., width)."""

    def __init__(self, spec: ActionSpec) -> None:
        self.spec = spec
        self.low = np.array([s.low for s in spec.setpoints])
        self.high = np.array([s.high for s in spec.setpoints])
        part = np.array(spec.continuous, np.int64)
        self._part, self._n = part, len(part)
        self._middle = (self.low[part] + self.high[part]) / 2
        self._half = (self.high[part] - self.low[part]) / 2
        self._least, self._most = self.low[part], self.high[part]
        self._levels = [np.array(spec.setpoints[i].levels) for i in spec.discrete]
        self._choices = np.array([[np.nan if v is None else v for v in row] for row in spec.choices])
        self._whole = self._n == len(spec.setpoints)

    def decode(self, row: Vector) -> Vector:
        """Setpoints (n_setpoint,) for a stored row (width,); values beyond the range are brought to its end."""
        if self.spec.choices:
            index = _index(row[0], len(self._choices))
            chosen: Vector = np.full(len(self.low), np.nan) if index < 0 else self._choices[index]
            return chosen
        values = self._decode_continuous(row[:self._n])
        if self._whole:
            return values
        out = np.full(len(self.low), np.nan)
        out[self._part] = values
        for k, i in enumerate(self.spec.discrete):
            index = _index(row[self._n + k], len(self._levels[k]))
            if index >= 0:
                out[i] = self._levels[k][index]
        return out

    def held(self, row: Vector) -> int:
        """How many numbers of a row (width,) leave their setpoints alone because they are none: NaN, no such index."""
        known = sum(_index(value, n) >= 0 for value, n in zip(row[self._n:], self.spec.counts, strict=True))
        return int(np.isnan(row[:self._n]).sum()) + len(self.spec.counts) - known

    def chooses(self, row: Vector, which: NDArray[np.bool_]) -> bool:
        """Whether a row (width,) is one of some choices (n_choice,)."""
        index = _index(row[0], len(which))
        return index >= 0 and bool(which[index])

    def _decode_continuous(self, values: Vector) -> Vector:
        values = values if not self.spec.is_normalised else self._middle + self._half * values
        within: Vector = np.minimum(np.maximum(values, self._least), self._most)
        return within

    def encode(self, setpoints: Vector) -> Vector:
        """The stored row (width,) nearest to setpoints (n_setpoint,): what another policy did, as training data."""
        if self.spec.choices:
            distance = np.nansum((self._choices - setpoints) ** 2, axis=1)
            return np.array([float(np.argmin(distance))])
        row = np.empty(self.spec.width)
        values = setpoints[self._part]
        row[:self._n] = (values - self._middle) / self._half if self.spec.is_normalised else values
        for k, i in enumerate(self.spec.discrete):
            row[self._n + k] = np.argmin(np.abs(self._levels[k] - setpoints[i]))
        return row

    def shown(self, setpoints: Vector) -> Vector:
        """Setpoints (n_setpoint,) as the feature ``last_action``: [-1, 1] over the range, 0 where there is none.

        What lies beyond the range (another policy's answer) is shown as its end.
        """
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        shown: Vector = np.minimum(np.maximum(2 * (setpoints - self.low) / span - 1, -1.0), 1.0)
        return np.where(np.isnan(shown), 0.0, shown)


def _index(value: float, n: int) -> int:
    """The index that `value` is, -1 where it is none."""
    return int(value) if value == value and 0 <= value < n and value == int(value) else -1
