"""Fragments as sequences of one agent's decisions: what memory is learned through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.training.transitions import Transitions

Index = NDArray[np.int64]


def sequences(transitions: Transitions, length: int) -> list[Index]:
    """Rows of each agent's consecutive decisions within one episode, at most `length` of them, in order."""
    order = np.lexsort((transitions["order"], transitions["agent"], transitions["slot"]))
    follows = transitions.follows()
    cuts = np.flatnonzero(follows[order[:-1]] != order[1:]) + 1
    return [part[start:start + length] for part in np.split(order, cuts) for start in range(0, len(part), length)]


def padded(parts: Sequence[Index]) -> tuple[Index, NDArray[np.bool_]]:
    """Rows (time, n) of n sequences, and which of them are real; a short one repeats its last row."""
    longest = max(len(part) for part in parts)
    index = np.stack([np.pad(part, (0, longest - len(part)), mode="edge") for part in parts], 1)
    real = np.arange(longest)[:, None] < np.array([len(part) for part in parts])
    return index, real
