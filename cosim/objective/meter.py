"""The integrals of rewards and costs since each agent's own last decision.

Theory of operation: a term is a rate r(t) that changes at publishes only, so between two of them its integral is exact:
r dt, or, discounted from the agent's last decision at t_k with β = -ln γ / per_s,

    ∫ exp(-β (s - t_k)) r ds  over [a, b]  =  r exp(-β (a - t_k)) (1 - exp(-β (b - a))) / β.

Summed over decisions k with weights γ^((t_k - t_0) / per_s) that is the discounted integral of the whole run, whatever
the intervals: a constant rate r is worth r / β.  A share is a pair (agent, term); all shares are one vector.  Shares
that are `plain` are integrals without discount, whatever β: costs, whose limits are per second of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, expm1

import numpy as np
from numpy.typing import NDArray

from cosim.plugins.terms import TermGroup, TermView
from cosim.points import Ids, Vector


@dataclass(frozen=True, slots=True)
class Terms:
    """All terms of a run: groups in order, each with its number of terms and whether it is an impulse kind."""

    groups: tuple[TermGroup, ...]
    sizes: tuple[int, ...]
    impulse: tuple[bool, ...]

    @property
    def n(self) -> int:
        """Number of terms."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class Shares:
    """Which agents get which terms: `agent` and `term` (n_share,), `weight` (n_share,) per second (or per event).

    `plain` (n_share,) are never discounted; None: none of them.
    """

    agent: Ids
    term: Ids
    weight: Vector
    plain: NDArray[np.bool_] | None = None


class Meter:
    """Integrates every share; `watch` is called at publishes, `charge` before a reading."""

    def __init__(self, terms: Terms, shares: Shares, n_agent: int, beta_per_s: float = 0.0) -> None:
        self._terms, self._shares, self._n_agent, self._beta = terms, shares, n_agent, beta_per_s
        self._impulses = np.repeat(np.array(terms.impulse, bool), terms.sizes)
        self._has_impulses, self._has_rates = bool(self._impulses.any()), not self._impulses.all()
        self.rates: Vector = np.zeros(terms.n)
        """Values of the terms (n_term,) that hold now; 0 for an impulse kind."""
        self._integral = np.zeros(len(shares.term))
        self._decided_us = np.zeros(n_agent, np.int64)
        self._until_us = 0

    def watch(self, view: TermView) -> None:
        """A publish: what held until now is charged; what was published holds from now on."""
        self.charge(view.t_us)
        values = self._evaluate(view)
        if self._has_impulses:
            happened = np.where(self._impulses, values, 0.0)
            self._integral += happened[self._shares.term] * self._each(self._faded(view.t_us), 1.0)
            values = np.where(self._impulses, 0.0, values)
        self.rates = values

    def charge(self, t_us: int) -> None:
        """Bring the integrals to `t_us`."""
        held_us = t_us - self._until_us
        if held_us <= 0 or not self._has_rates:
            return
        held_s = held_us / 1e6
        if self._beta:
            worth = -expm1(-self._beta * held_s) / self._beta
            self._integral += self.rates[self._shares.term] * self._each(worth * self._faded(self._until_us), held_s)
        else:
            self._integral += self.rates[self._shares.term] * held_s
        self._until_us = t_us

    def take(self, agents: Sequence[int] | Ids, t_us: int) -> Vector:
        """Weighted integrals of every share (n_share,) up to `t_us`; those of `agents`, who decide now, begin anew."""
        self.charge(t_us)
        weighted = self._integral * self._shares.weight
        if len(agents) == self._n_agent:
            self._integral.fill(0.0)
            self._decided_us.fill(t_us)
        elif len(agents):
            chosen = np.zeros(self._n_agent, bool)
            chosen[agents] = True
            self._integral[chosen[self._shares.agent]] = 0.0
            self._decided_us[chosen] = t_us
        return weighted

    def _evaluate(self, view: TermView) -> Vector:
        groups = self._terms.groups
        if len(groups) == 1:
            return groups[0].rates(view)
        return np.concatenate([group.rates(view) for group in groups]) if groups else np.zeros(0)

    def _each(self, discounted: Vector | float, plain: float) -> Vector | float:
        """What each share counts (n_share,): the one, or the other where it is plain."""
        if self._shares.plain is None or not self._beta:
            return discounted
        return np.where(self._shares.plain, plain, discounted)

    def _faded(self, t_us: int) -> Vector | float:
        """exp(-β (t - t_k)) of every share."""
        if not self._beta:
            return 1.0
        if self._n_agent == 1:
            return exp(-self._beta * (t_us - int(self._decided_us[0])) / 1e6)
        faded: Vector = np.exp(-self._beta * (t_us - self._decided_us) / 1e6)[self._shares.agent]
        return faded
