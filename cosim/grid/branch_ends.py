"""Where branches begin and end, and what they may carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.grid.network import IntArray, Network
from cosim.state import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class BranchEnds:
    """Ends and ratings of the branches, each (n_branch,); `rated` is whether any has a rating.

    `near`, `far` and `per_rating` (2 n_branch,) are all from ends, then all to ends, to look at both in one go.
    """

    from_bus: IntArray
    to_bus: IntArray
    per_rating_from: FloatArray
    per_rating_to: FloatArray
    rated: bool
    rating_is_current: bool
    near: IntArray
    far: IntArray
    per_rating: FloatArray
    unrated: FloatArray
    """Loadings (n_branch,) where no branch has a rating: NaN."""


def branch_ends(network: Network) -> BranchEnds:
    """Of a network, without three-winding transformers (only pandapower carries those)."""
    branches = network.branches
    count = len(branches.line_names) + len(branches.trafo_names)
    per_from, per_to = 1.0 / branches.rating_from_kva[:count], 1.0 / branches.rating_to_kva[:count]
    start, end = branches.from_bus[:count], branches.to_bus[:count]
    return BranchEnds(start, end, per_from, per_to, bool(np.isfinite(per_from).any()), network.rating_is_current,
                      np.concatenate([start, end]), np.concatenate([end, start]), np.concatenate([per_from, per_to]),
                      _unrated(count))


def _unrated(count: int) -> FloatArray:
    """Shared by every state, so nobody may write into it."""
    nothing = np.full(count, np.nan)
    nothing.flags.writeable = False
    return nothing
