"""What stands between a true value and the published one: frozen, biased and noisy sensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, Quality, Vector

#: Changes measured values in place: (values (n,), t_us) -> quality flag to add.
Fault = Callable[[Vector, int], Quality]


@dataclass(slots=True, eq=False)
class _Entry:
    ids: Ids
    fault: Fault


@dataclass(slots=True)
class Sensors:
    """Faults in force, applied in the order in which they began."""

    _entries: list[_Entry] = field(default_factory=list)

    @property
    def active(self) -> bool:
        """Whether any fault is in force."""
        return bool(self._entries)

    def begin(self, ids: Ids, fault: Fault) -> Callable[[], None]:
        """Let `fault` change the published values of `ids`; returns the function that ends it."""
        entry = _Entry(ids, fault)
        self._entries.append(entry)

        def end() -> None:
            self._entries = [other for other in self._entries if other is not entry]

        return end

    def measure(self, values: Vector, quality: NDArray[np.uint8], t_us: int) -> None:
        """Apply every fault in force to `values` (n_point,) and mark `quality` (n_point,)."""
        for entry in self._entries:
            seen = values[entry.ids]
            flag = entry.fault(seen, t_us)
            values[entry.ids] = seen
            quality[entry.ids] |= np.uint8(flag)
