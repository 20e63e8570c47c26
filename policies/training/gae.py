"""Generalised advantage estimation (Schulman et al. 2016) over decisions that take time.

A decision that takes Δt discounts what follows by γ^(Δt / per_s).  λ stays per decision: it weighs estimates by how
many values they lean on, which are decisions, not seconds.  An agent's decisions are a chain; where it ends the
value of what follows is V(s'), 0 after a termination.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.scenario.learning import Discount
from policies.training.transitions import Transitions

Floats = NDArray[np.float64]


def gammas(dt_s: Floats, discount: Discount) -> Floats:
    """γ^(Δt / per_s) (N,) of decisions that take `dt_s`."""
    return np.asarray(discount.gamma ** (np.asarray(dt_s, np.float64) / discount.per_s), np.float64)


def worth(discount: Discount | None, since_s: Floats) -> Floats:
    """γ^(t / per_s) (N,) of rewards that were decided `since_s` after the beginning; 1 without a discount.

    An agent that has not decided yet counts its time from before the beginning: its reward is 0, and no power of γ may
    make infinity of that.
    """
    return np.ones(len(since_s)) if discount is None else gammas(np.maximum(since_s, 0.0), discount)


def next_values(transitions: Transitions, values: Floats, after: Floats) -> Floats:
    """V(s') (N, …): the value of the agent's next row, or of `after` (N, …) where there is none; 0 after its end.

    `after` needs to be right only where `Transitions.follows` is -1.
    """
    follows = transitions.follows()
    has = follows >= 0
    found = np.where(_column(has, values), values[follows], after)
    return np.where(_column(transitions["terminated"], values), 0.0, found)


def advantages(transitions: Transitions, deltas: Floats, decays: Floats) -> Floats:
    """A (N, …) = δ + γ λ A of the agent's next row; `deltas` (N, …), `decays` (N,) = γ^(Δt / per_s) λ."""
    order = np.lexsort((transitions["order"], transitions["agent"], transitions["slot"]))
    follows = transitions.follows()
    # Plain floats: a loop over rows with array operations takes ten times as long.
    decay = np.where(follows >= 0, decays, 0.0)[order][::-1].tolist()
    found = np.empty_like(deltas, np.float64)
    for place in np.ndindex(deltas.shape[1:]):
        total, column = 0.0, []
        for delta, worth in zip(deltas[(order[::-1], *place)].tolist(), decay, strict=True):
            total = delta + worth * total
            column.append(total)
        found[(order[::-1], *place)] = column
    return found


def _column(mask: NDArray[np.generic], like: Floats) -> NDArray[np.generic]:
    """`mask` (n,) with as many axes as `like`."""
    return mask.reshape(-1, *(1,) * (like.ndim - 1))
