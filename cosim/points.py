"""The tags of one run: typed points, their current samples, and who hears of a change.

A point is known by name outside and by its index (``id``) inside.  The database has one writer, the simulation;
everyone else reads, subscribes or takes a snapshot.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, IntFlag

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError

Vector = NDArray[np.float64]
Ids = NDArray[np.int64]


def differs(one: Vector, other: Vector) -> NDArray[np.bool_]:
    """Where two vectors of setpoints (n,) differ; NaN, nothing asked, is equal to NaN."""
    return np.asarray((one != other) & ~(np.isnan(one) & np.isnan(other)))


def span(ids: Ids) -> slice | Ids:
    """`ids` as a slice where they lie side by side in order, else as they are: a slice reads without copying."""
    if len(ids) and np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return slice(int(ids[0]), int(ids[0]) + len(ids))
    return ids


class PointKind(Enum):
    """The five kinds of SCADA point."""

    ANALOG_INPUT = "analog_input"
    BINARY_INPUT = "binary_input"
    COUNTER = "counter"
    ANALOG_OUTPUT = "analog_output"
    BINARY_OUTPUT = "binary_output"

    @property
    def writable(self) -> bool:
        """Whether a command may ask for a change of it."""
        return self in (PointKind.ANALOG_OUTPUT, PointKind.BINARY_OUTPUT)


class Quality(IntFlag):
    """Why a value should not be trusted; 0 is good."""

    GOOD = 0
    RESTART = 1
    """Never published yet."""
    INVALID = 2
    """There is no such value now (a de-energised bus, a power flow that did not converge)."""
    STALE = 4
    """It stopped being refreshed (frozen sensor, broken link)."""
    SUBSTITUTED = 8
    """Somebody put this value in place of the measured one (bias, forced)."""


@dataclass(frozen=True, slots=True)
class Point:
    """A named, typed tag.

    `low` and `high` bound what may be asked of an output (engineering units); `deadband` is the change below
    which a subscriber is not told.
    """

    name: str
    kind: PointKind
    unit: str = ""
    low: float = -np.inf
    high: float = np.inf
    deadband: float = 0.0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All values of one instant, read-only: `values` (n_point,), `quality` (n_point,) uint8."""

    t_us: int
    values: Vector
    quality: NDArray[np.uint8]


#: Told with the ids that changed beyond their deadband and the time; reads the values from the database.
Subscriber = Callable[[Ids, int], None]


@dataclass(slots=True)
class _Subscription:
    ids: Ids
    deadband: Vector
    told: Vector
    call: Subscriber
    live: bool = True


class PointDatabase:
    """Current value, quality and time of every point.  Written by the simulation alone; read by everyone."""

    def __init__(self, points: Iterable[Point]) -> None:
        self.points = tuple(points)
        self.names = tuple(point.name for point in self.points)
        self.index = {name: i for i, name in enumerate(self.names)}
        if len(self.index) != len(self.names):
            twice = sorted(name for name, n in Counter(self.names).items() if n > 1)
            raise GridloopError(f"point names must be unique; found twice: {', '.join(twice[:5])}")
        n_point = len(self.points)
        self._values: Vector = np.full(n_point, np.nan)
        self._quality: NDArray[np.uint8] = np.full(n_point, Quality.RESTART, np.uint8)
        # What everyone is shown: the same memory, which only `publish` can write.
        self._shown, self.quality = self._values.view(), self._quality.view()
        self._shown.flags.writeable = self.quality.flags.writeable = False
        self._required = np.zeros(n_point, bool)
        self.requires_changed = True
        """Set by `require`; whoever publishes clears it."""
        self._complete: Callable[[Vector], None] | None = None
        self.t_us = -1
        self._subscriptions: list[_Subscription] = []
        self._snapshot: Snapshot | None = None

    def __len__(self) -> int:
        return len(self.points)

    def id_of(self, name: str) -> int:
        """Index of the point; raises GridloopError naming close matches."""
        found = self.index.get(name)
        if found is None:
            near = get_close_matches(name, self.names, 3)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {len(self.names)} points"
            raise GridloopError(f"unknown point '{name}'{hint}")
        return found

    def ids_of(self, patterns: Sequence[str]) -> Ids:
        """Indices for names and ``*`` patterns, in the order asked; a pattern's matches in database order."""
        found: list[int] = []
        for pattern in patterns:
            if "*" not in pattern:
                found.append(self.id_of(pattern))
                continue
            matches = match(pattern, self.names)
            if not matches:
                raise GridloopError(f"pattern '{pattern}' matches none of the {len(self.names)} points")
            found.extend(matches)
        return np.array(found, np.int64)

    @property
    def values(self) -> Vector:
        """Current values of all points (n_point,), engineering units; read-only."""
        if self._complete is not None:
            complete, self._complete = self._complete, None
            complete(self._values)
        return self._shown

    def require(self, ids: Ids) -> None:
        """These points will be read after every publish (`take`): they are never left to be worked out later."""
        if len(ids) and not self._required[ids].all():
            assert self.values is not None  # what was left for later until now is worked out
            self._required[ids] = True
            self.requires_changed = True

    def required(self, part: slice) -> bool:
        """Whether any point of a block is required."""
        return bool(self._required[part].any())

    @property
    def published(self) -> Vector:
        """Like `values`, without what is not required: the recorder's view."""
        return self._shown

    def take(self, ids: Ids) -> Vector:
        """Current values of required points, a copy."""
        return self._values[ids]

    def read(self, name: str) -> float:
        """Current value of one point, engineering units."""
        return float(self.values[self.id_of(name)])

    def read_vector(self, names: Sequence[str]) -> Vector:
        """Current values, shape (number of points named,), in the order asked; patterns allowed."""
        return self.values[self.ids_of(names)]

    def snapshot(self) -> Snapshot:
        """All values of the last published instant, immutable; made once an instant however often asked."""
        if self._snapshot is None:
            values, quality = self.values.copy(), self.quality.copy()
            values.flags.writeable = quality.flags.writeable = False
            self._snapshot = Snapshot(self.t_us, values, quality)
        return self._snapshot

    def subscribe(self, ids: Ids, call: Subscriber, deadband: float | None = None) -> Callable[[], None]:
        """Tell `call` of changes beyond the deadband (the points' own, unless given); returns the way out."""
        bands = np.array([self.points[i].deadband for i in ids]) if deadband is None else np.full(len(ids), deadband)
        # NaN was told to nobody yet: the first published value always counts as a change.
        self.require(np.asarray(ids, np.int64))
        entry = _Subscription(np.asarray(ids, np.int64), bands, np.full(len(ids), np.nan), call)
        self._subscriptions.append(entry)

        def leave() -> None:
            entry.live = False
            self._subscriptions = [other for other in self._subscriptions if other is not entry]

        return leave

    def publish(self, values: Vector, quality: NDArray[np.uint8], t_us: int,
                complete: Callable[[Vector], None] | None = None) -> None:
        """Replace every value at once, shape (n_point,); then tell subscribers.  `t_us` must not decrease.

        `complete` writes what is not required into the vector it is given, when somebody first asks.
        """
        assert t_us >= self.t_us, f"published t = {t_us} us after {self.t_us} us"
        self._complete = complete
        np.copyto(self._values, values)
        np.copyto(self._quality, quality)
        self.t_us = t_us
        self._snapshot = None
        for entry in tuple(self._subscriptions):
            self._tell(entry, t_us)

    def _tell(self, entry: _Subscription, t_us: int) -> None:
        if not entry.live:
            return
        now, told = self._values[entry.ids], entry.told
        changed = (np.abs(now - told) > entry.deadband) | (np.isnan(now) != np.isnan(told))
        if changed.any():
            told[changed] = now[changed]
            entry.call(entry.ids[changed], t_us)


def match(pattern: str, names: Sequence[str]) -> list[int]:
    """Indices of the names that a pattern with ``*`` (any characters, dots too) matches, in order."""
    regex = re.compile(".*".join(re.escape(part) for part in pattern.split("*")))
    return [i for i, name in enumerate(names) if regex.fullmatch(name)]
