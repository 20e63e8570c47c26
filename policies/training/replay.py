"""Replay memory: a ring of decisions in preallocated arrays, drawn uniformly or by priority, the same for a seed.

Priorities follow Schaul et al., "Prioritized experience replay" (ICLR 2016), proportional variant: a row is drawn with
probability P = p^alpha / (sum of all p^alpha) and weighs (1 / (N P))^beta / max.  TorchRL's own priorities are a C++
extension that does not load beside torch 2.13, so the sum tree is here, in NumPy, a level of the tree at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.errors import GridloopError

Array = NDArray[Any]
Indices = NDArray[np.int64]
Columns = Mapping[str, Array]

#: Added to an error before it becomes a priority: no row is out of reach.
SMALLEST_PRIORITY = 1e-6
#: Columns whose value at the end of an n-step transition is that of its last step.
_LAST = ("next_obs", "next_others", "next_mask", "terminated", "truncated")


class SumTree:
    """Non-negative numbers (size,) whose running sum can be searched; `size` is rounded up to a power of two."""

    def __init__(self, size: int) -> None:
        self._depth = max(size - 1, 1).bit_length()
        self._first = 1 << self._depth
        self._sums = np.zeros(2 * self._first)

    @property
    def total(self) -> float:
        """The sum of all numbers."""
        return float(self._sums[1])

    def __getitem__(self, index: Indices) -> NDArray[np.float64]:
        return self._sums[index + self._first]

    def set(self, index: Indices, value: NDArray[np.float64] | float) -> None:
        """Put numbers in their places; of a place named twice the last counts."""
        node = index + self._first
        self._sums[node] = value
        for _ in range(self._depth):
            node = node >> 1
            self._sums[node] = self._sums[2 * node] + self._sums[2 * node + 1]

    def find(self, mass: NDArray[np.float64]) -> Indices:
        """For each mass in [0, total) the place whose share of the running sum it falls into, never one of 0."""
        node = np.ones(len(mass), np.int64)
        mass = mass.copy()
        for _ in range(self._depth):
            left, right = self._sums[2 * node], self._sums[2 * node + 1]
            # Rounding may leave a mass behind the last number: then there is nothing on the right.
            turn = ((mass >= left) & (right > 0)) | (left <= 0)
            mass -= np.where(turn, left, 0.0)
            node = 2 * node + turn
        return node - self._first


@dataclass(frozen=True, slots=True)
class Drawn:
    """Rows of the memory: columns (n, …), their places (n,) and importance weights (n,), 1 where drawn uniformly."""

    columns: dict[str, Array]
    index: Indices
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Priorities:
    """How rows are preferred: by (error + eps)^alpha; beta = 1 undoes the bias in full."""

    alpha: float = 0.6
    beta: float = 0.4


class Replay:
    """The last `capacity` rows; columns and their shapes are those of the first rows added."""

    def __init__(self, capacity: int, rng: np.random.Generator, priorities: Priorities | None = None) -> None:
        if capacity < 1:
            raise GridloopError(f"replay: capacity: found {capacity}; expected at least 1 row")
        self.capacity, self._rng, self._priorities = capacity, rng, priorities
        self._columns: dict[str, Array] = {}
        self._tree = SumTree(capacity) if priorities else None
        self._added = 0
        self._highest = 1.0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    @property
    def added(self) -> int:
        """Rows ever added."""
        return self._added

    def add(self, columns: Columns) -> None:
        """Append rows (n, …); the oldest give way.  New rows get the highest priority seen."""
        columns = {name: np.asarray(column) for name, column in columns.items()}
        n = self._checked(columns)
        if not self._columns:
            self._columns = {name: np.zeros((self.capacity, *column.shape[1:]), column.dtype)
                             for name, column in columns.items()}
        kept = min(n, self.capacity)
        place = (self._added + np.arange(n - kept, n)) % self.capacity
        for name, column in self._columns.items():
            column[place] = columns[name][n - kept:]
        self._added += n
        if self._tree is not None:
            self._tree.set(place, self._highest)

    def _checked(self, columns: dict[str, Array]) -> int:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) != 1:
            raise GridloopError(f"replay: found columns of different lengths {lengths}; expected one length")
        known = {name: (column.shape[1:], column.dtype) for name, column in self._columns.items()}
        found = {name: (column.shape[1:], column.dtype) for name, column in columns.items()}
        if known and known != found:
            wrong = sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name))
            raise GridloopError(f"replay: columns {', '.join(wrong)}: found {[found.get(w) for w in wrong]}; expected "
                                f"{[known.get(w) for w in wrong]}, the shape and type of the rows added first")
        return next(iter(lengths.values()))

    def draw(self, n: int) -> Drawn:
        """n rows with replacement; at least one row must have been added."""
        if not len(self):
            raise GridloopError("replay: nothing was added yet; expected at least one row")
        if self._tree is None or self._priorities is None:
            index = self._rng.integers(0, len(self), n)
            weight = np.ones(n, np.float32)
        else:
            total = self._tree.total
            index = self._tree.find((np.arange(n) + self._rng.random(n)) * (total / n))  # one from each n-th part
            share = self._tree[index] * (len(self) / total)
            raw = share ** -self._priorities.beta
            weight = (raw / raw.max()).astype(np.float32)
        return Drawn({name: column[index] for name, column in self._columns.items()}, index, weight)

    def prioritise(self, index: Indices, error: Array) -> None:
        """Priorities of rows from their last temporal-difference errors; without priorities nothing happens."""
        if self._tree is None or self._priorities is None:
            return
        priority = (np.abs(np.asarray(error, np.float64)) + SMALLEST_PRIORITY) ** self._priorities.alpha
        self._highest = max(self._highest, float(priority.max()))
        self._tree.set(index, priority)

    def state(self) -> dict[str, Array]:
        """Everything, as arrays: continuing from it gives the same draws, bit for bit."""
        n = len(self)
        state: dict[str, Array] = {f"column/{name}": column[:n].copy() for name, column in self._columns.items()}
        state["added"] = np.array([self._added], np.int64)
        state["rng"] = generator_state(self._rng)
        if self._tree is not None:
            state["highest"] = np.array([self._highest])
            state["priority"] = self._tree[np.arange(n)].copy()
        return state

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Take up `state` of a memory of the same capacity."""
        self._columns = {}
        for key in sorted(name for name in state if name.startswith("column/")):
            rows = np.asarray(state[key])
            if len(rows) > self.capacity:
                raise GridloopError(f"replay: found {len(rows)} saved rows; expected at most {self.capacity}")
            column = np.zeros((self.capacity, *rows.shape[1:]), rows.dtype)
            column[:len(rows)] = rows
            self._columns[key.removeprefix("column/")] = column
        self._added = int(state["added"][0])
        restore_generator(self._rng, state["rng"])
        if self._tree is not None:
            self._highest = float(state["highest"][0])
            self._tree.set(np.arange(len(self)), np.asarray(state["priority"]))


def generator_state(rng: np.random.Generator) -> NDArray[np.uint64]:
    """A PCG64 generator's state (6,): two 128-bit numbers in halves, then the half-used 32-bit draw."""
    state = rng.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise GridloopError(f"replay: found a {state['bit_generator']} generator; expected PCG64, of default_rng")
    numbers = [state["state"]["state"], state["state"]["inc"]]
    halves = [part for number in numbers for part in (number >> 64, number & (2**64 - 1))]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def restore_generator(rng: np.random.Generator, state: Array) -> None:
    """Put a PCG64 generator where `generator_state` found it."""
    a, b, c, d, has, last = (int(number) for number in state)
    rng.bit_generator.state = {"bit_generator": "PCG64", "state": {"state": a << 64 | b, "inc": c << 64 | d},
                               "has_uint32": has, "uinteger": last}


def fold(columns: Columns, n: int, gamma: float, per_s: float) -> dict[str, Array]:
    """Transitions of up to n own decisions each, in the order of (slot, agent, order): one a row, as before.

    Reward and costs are the sums of γ^(t_k / per_s) r_k, t_k the time from the first decision to the k-th; `dt_s` is
    the whole time, so γ^(dt_s / per_s) is what the value at the end is worth.  A step that ended its episode, or whose
    successor is not among these rows, is the last one of its transition, which then holds fewer steps.
    """
    order = np.lexsort((columns["order"], columns["agent"], columns["slot"]))
    rows = {name: np.asarray(column)[order] for name, column in columns.items()}
    if n == 1:
        return rows
    out = {name: column.copy() for name, column in rows.items()}
    over = rows["terminated"].astype(bool) | rows["truncated"].astype(bool)
    follows = np.zeros(len(over), bool)
    follows[:-1] = ((rows["slot"][1:] == rows["slot"][:-1]) & (rows["agent"][1:] == rows["agent"][:-1])
                    & (rows["order"][1:] == rows["order"][:-1] + 1) & ~over[:-1])
    last = np.arange(len(over))
    going = np.ones(len(over), bool)
    for _ in range(n - 1):
        going = going & follows[last]
        worth = np.where(going, gamma ** (out["dt_s"] / per_s), 0.0)
        last = np.where(going, last + 1, last)
        for name in ("reward", "cost"):
            if name in rows:
                each = worth.reshape(-1, *(1,) * (rows[name].ndim - 1))
                out[name] = (out[name] + each * rows[name][last]).astype(rows[name].dtype)
        out["dt_s"] = out["dt_s"] + np.where(going, rows["dt_s"][last], 0.0).astype(rows["dt_s"].dtype)
    return out | {name: rows[name][last] for name in _LAST if name in rows}
