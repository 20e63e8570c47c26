"""Decisions as training data: each agent's own, from one of its decisions to its next.

A row is (s, a, R, Δt, s'): `obs` when the agent decided, the `action` row it took, the `reward` and `cost`
integrated until its own next decision, the time `dt_s` between, and `next_obs` then.  `terminated` ends the agent's
life (nothing follows); `truncated` ends the episode at its time limit (what would follow is worth V(s')).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths of a group's columns; 0 leaves a column out (`n_cost` 0 keeps an empty one)."""

    n_obs: int
    width: int
    n_cost: int = 0
    n_mask: int = 0
    n_joint: int = 0
    n_joint_action: int = 0
    n_hidden: int = 0

    def columns(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Shape of a row and dtype of every column, by name, in a fixed order."""
        found: dict[str, tuple[tuple[int, ...], str]] = {
            "obs": ((self.n_obs,), "f4"), "action": ((self.width,), "f4"), "logp": ((), "f4"),
            "reward": ((), "f8"), "cost": ((self.n_cost,), "f8"), "dt_s": ((), "f8"), "next_obs": ((self.n_obs,), "f4"),
            "terminated": ((), "?"), "truncated": ((), "?"), "agent": ((), "i4"), "slot": ((), "i4"),
            "order": ((), "i8")}
        if self.n_mask:
            found |= {"mask": ((self.n_mask,), "?"), "next_mask": ((self.n_mask,), "?")}
        if self.n_joint:
            found |= {"joint": ((self.n_joint,), "f4"), "next_joint": ((self.n_joint,), "f4")}
        if self.n_joint_action:
            found |= {"joint_action": ((self.n_joint_action,), "f4")}
        if self.n_hidden:
            found |= {"hidden": ((self.n_hidden,), "f4"), "next_hidden": ((self.n_hidden,), "f4")}
        return found


@dataclass(frozen=True, slots=True)
class Transitions:
    """N rows of one group, in the order of slots, within a slot in the order in which they ended.

    `columns` by name, each (N, …): obs, action, logp, reward, cost (N, n_cost), dt_s, next_obs, terminated, truncated,
    agent (index of the learner in the environment), slot, order (the agent's own decisions in that slot, counted on
    over fragments and episodes); and, where asked for, mask and next_mask (True where an alternative may be taken),
    joint and next_joint (everything that all learners see, with its ages), joint_action (all learners' rows in force),
    hidden and next_hidden (the actor's memory before this decision and before the next).
    """

    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.columns["reward"])

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def get(self, name: str) -> Array | None:
        """A column, None where it was not asked for."""
        return self.columns.get(name)

    def follows(self) -> NDArray[np.int64]:
        """(N,) row of the same agent's next decision, -1 where its life or episode ended or it is not among these."""
        order = np.lexsort((self["order"], self["agent"], self["slot"]))
        here, there = order[:-1], order[1:]
        going = ((self["slot"][here] == self["slot"][there]) & (self["agent"][here] == self["agent"][there])
                 & (self["order"][there] == self["order"][here] + 1)
                 & ~self["terminated"][here] & ~self["truncated"][here])
        found = np.full(len(self), -1, np.int64)
        found[here[going]] = there[going]
        return found


def empty(shape: Shape, n: int) -> dict[str, Array]:
    """Columns of n rows, zero."""
    return {name: np.zeros((n, *row), dtype) for name, (row, dtype) in shape.columns().items()}


def joined(parts: Sequence[Transitions]) -> Transitions:
    """Rows of all parts, in their order; at least one part."""
    return Transitions({name: np.concatenate([part[name] for part in parts]) for name in parts[0].columns})


def n_bytes(columns: Mapping[str, tuple[tuple[int, ...], str]], n: int) -> int:
    """Memory of n rows."""
    return n * sum(int(np.prod(row, dtype=np.int64)) * np.dtype(dtype).itemsize for row, dtype in columns.values())
