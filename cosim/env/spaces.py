"""Gymnasium spaces of learners, and their actions as the rows that the core takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cosim.encoding import ActionSpec, LearnerSpec
from cosim.errors import GridloopError
from cosim.points import Vector


def observation_space(spec: LearnerSpec, *, masked: bool) -> spaces.Space[Any]:
    """A Box of features; with a mask, a Dict of ``observation`` and ``action_mask`` (one of PettingZoo's forms)."""
    low, high = _feature_bounds(spec)
    box = spaces.Box(low, high, dtype=np.float32)
    if not masked:
        return box
    return spaces.Dict({"observation": box, "action_mask": spaces.Box(0, 1, (sum(spec.action.counts),), np.int8)})


def _feature_bounds(spec: LearnerSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    n = len(spec.features) * spec.history
    high = [np.full(n, spec.clip)]
    low = [np.full(n, -spec.clip)]
    for extra in spec.extras:
        most = spec.clip if extra in ("age", "dt") else 1.0
        least = -1.0 if extra == "last_action" or extra.startswith("clock.") else 0.0
        high.append(np.full(spec.length(extra), most))
        low.append(np.full(spec.length(extra), least))
    return np.concatenate(low).astype(np.float32), np.concatenate(high).astype(np.float32)


def side_by_side(specs: Sequence[LearnerSpec]) -> spaces.Box:
    """The space of what all learners see, in one vector."""
    low, high = zip(*(_feature_bounds(spec) for spec in specs), strict=True)
    return spaces.Box(np.concatenate(low), np.concatenate(high), dtype=np.float32)


def action_space(spec: ActionSpec) -> spaces.Space[Any]:
    """Box, Discrete, MultiDiscrete, or for a mixed action a Dict of ``continuous`` and ``discrete``."""
    if spec.kind == "discrete":
        return spaces.Discrete(spec.counts[0])
    if spec.kind == "multi_discrete":
        return spaces.MultiDiscrete(list(spec.counts))
    box = _box(spec)
    if spec.kind == "continuous":
        return box
    return spaces.Dict({"continuous": box, "discrete": spaces.MultiDiscrete(list(spec.counts))})


def _box(spec: ActionSpec) -> spaces.Box:
    if spec.is_normalised:
        return spaces.Box(-1.0, 1.0, (len(spec.continuous),), np.float32)
    low = np.array([spec.setpoints[i].low for i in spec.continuous], np.float32)
    high = np.array([spec.setpoints[i].high for i in spec.continuous], np.float32)
    return spaces.Box(low, high, dtype=np.float32)


def row_of(spec: ActionSpec, action: Any) -> Vector:
    """An element of the action space as a stored row (width,)."""
    if spec.kind == "mixed":
        parts = (np.asarray(action["continuous"], float).reshape(-1), np.asarray(action["discrete"], float).reshape(-1))
        return np.concatenate(parts)
    return np.asarray(action, float).reshape(-1)


def rows_of(spec: ActionSpec, actions: Any, n: int) -> NDArray[np.float64]:
    """Elements of `n` action spaces side by side, (n, …), as stored rows (n, width); raises GridloopError for another
    shape."""
    parts = (actions["continuous"], actions["discrete"]) if spec.kind == "mixed" else (actions,)
    found = [np.asarray(part, float) for part in parts]
    if all(part.ndim and len(part) == n for part in found):
        rows = np.concatenate([part.reshape(n, -1) for part in found], axis=1)
        if rows.shape[1] == spec.width:
            return rows
    shapes = ", ".join(str(part.shape) for part in found)
    raise GridloopError(f"vector_env: actions of shape {shapes}; expected {n} rows of {spec.width} in all")
