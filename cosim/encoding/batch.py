"""Actions of many learners at once: a vector operation for all of them instead of one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cosim.encoding.actions import ActionCodec
from cosim.points import Ids, Vector


class ActionBatch:
    """Decodes rows of several learners as their codecs do, bit for bit; `codecs` in the learners' order."""

    def __init__(self, codecs: Sequence[ActionCodec]) -> None:
        self._codecs = tuple(codecs)
        specs = [codec.spec for codec in codecs]
        self.widths = tuple(spec.width for spec in specs)
        #: Only where every number is a normalised setpoint; else each codec does its own.
        self._alike = all(spec.kind == "continuous" and spec.is_normalised for spec in specs)
        low, high = (np.concatenate([getattr(codec, end) for codec in codecs]) for end in ("low", "high"))
        self._low, self._high = low, high
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        ends = np.cumsum([0, *self.widths])
        self._places: tuple[Ids, ...] = tuple(np.arange(a, b) for a, b in pairwise(ends))

    def decode(self, rows: Mapping[int, Any]) -> dict[int, Vector]:
        """Setpoints (n_setpoint,) for rows (width,) by index of the learner; rows have their lengths."""
        if not self._alike or len(rows) < 2:
            return {i: self._codecs[i].decode(np.asarray(row, float)) for i, row in rows.items()}
        values = np.concatenate(list(rows.values()), dtype=np.float64, casting="unsafe")
        low, high, middle, half = self._low, self._high, self._middle, self._half
        if len(rows) < len(self._codecs) or list(rows) != list(range(len(rows))):
            chosen = np.concatenate([self._places[i] for i in rows])
            low, high, middle, half = low[chosen], high[chosen], middle[chosen], half[chosen]
        # Held at the ends themselves: middle + half may lie a last bit beyond, and the door would refuse all of it.
        decoded = np.minimum(np.maximum(middle + half * values, low), high)
        found, start = {}, 0
        for i in rows:
            end = start + self.widths[i]
            found[i] = decoded[start:end]
            start = end
        return found
