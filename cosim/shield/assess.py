"""What the grid would be at some setpoints, judged against every limit: the grid as it stands, and after each loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cosim.points import Vector
from cosim.shield.decision import Trial
from cosim.shield.limits import Limits
from cosim.state import Response

#: Authority of a command that nobody gave.
NOBODY = -1
#: A voltage below this is taken for the lower root of the power flow, or for collapse.
LOW_VOLTAGE_PU = 0.8


class Attempt(Protocol):
    """Tries setpoints (n_output,) on a copy of the grid; nothing of it has an effect."""

    def __call__(self, setpoints: Vector) -> Trial:
        """The grid as it stands, at these setpoints."""

    def without(self, setpoints: Vector, branch: int) -> Trial:
        """The grid after the loss of a branch."""

    def response(self, setpoints: Vector, trial: Trial) -> Response | None:
        """How the devices answer to voltage around a trial; None where none does."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A state that is watched: `lost` is the branch that is out (-1: none)."""

    limits: Limits
    lost: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class Assessed:
    """A candidate.  `trials` and `values` have an entry for each case; values are None where there is no solution.

    `harm` is the sum of what hard limits are passed by, inf without a solution of the grid as it stands.
    """

    setpoints: Vector
    trials: tuple[Trial, ...]
    values: tuple[Vector | None, ...]
    harm: float
    clean: bool = False
    """Whether no limit is broken at all, soft ones included."""

    @property
    def trial(self) -> Trial:
        """The grid as it stands."""
        return self.trials[0]

    @property
    def solved(self) -> bool:
        """Whether the grid as it stands has a solution."""
        return self.values[0] is not None

    @property
    def safe(self) -> bool:
        """Whether every hard limit holds."""
        return self.harm == 0.0


class Assessor:
    """Tries and judges candidates of one call; remembers the one that does the least harm.

    `authority` is the highest in force.  At first every hard limit binds; after `overrule` those that it may override
    do not.
    """

    def __init__(self, cases: Sequence[Case], attempt: Attempt, p_max_kw: Vector, authority: int) -> None:
        self.cases, self.attempt, self.p_max_kw, self._authority = tuple(cases), attempt, p_max_kw, authority
        self.binding = tuple(case.limits.hard for case in self.cases)
        self.overriding = NOBODY
        """The authority that limits are overridden by; `NOBODY` while all bind."""
        self.tried: list[Assessed] = []

    def __call__(self, setpoints: Vector, trial: Trial | None = None) -> Assessed:
        """The candidate at `setpoints`; `trial` is its power flow where that is known already."""
        first = self.attempt(setpoints) if trial is None else trial
        trials, values, harm, clean = [first], [self._values(0, first)], np.inf, False
        if values[0] is not None:
            for k, case in enumerate(self.cases[1:], 1):
                lost = self.attempt.without(setpoints, case.lost)
                trials.append(lost)
                values.append(self._values(k, lost))
            clean = all(found is not None and case.limits.keeps(found)
                        for case, found in zip(self.cases, values, strict=True))
            harm = 0.0 if clean else sum((self._harm(k, found) for k, found in enumerate(values)), 0.0)
        found = Assessed(setpoints, tuple(trials), tuple(values), harm, clean)
        self.tried.append(found)
        return found

    @property
    def may_override(self) -> bool:
        """Whether some hard limit may be overridden by who is in force, and is not yet."""
        return self.overriding == NOBODY and any(
            bool((case.limits.hard & (case.limits.override <= self._authority)).any()) for case in self.cases)

    def overrule(self, requested: Assessed) -> Assessed:
        """Let who is in force override what they may; returns the request judged again."""
        self.overriding = self._authority
        self.binding = tuple(case.limits.hard & (case.limits.override > self._authority) for case in self.cases)
        self.tried = [self.again(one) for one in self.tried]
        return self.again(requested)

    def again(self, one: Assessed) -> Assessed:
        """A candidate judged by what binds now."""
        harm = np.inf if not one.solved else sum((self._harm(k, found) for k, found in enumerate(one.values)), 0.0)
        return replace(one, harm=harm)

    def keeps_margin(self, one: Assessed, share: float) -> bool:
        """Whether the binding limits hold by `share` of their margin."""
        if not one.safe:
            return False
        for case, values, binding in zip(self.cases, one.values, self.binding, strict=True):
            if values is not None:
                limits = case.limits
                near = (values > limits.high - share * limits.margin) | (values < limits.low + share * limits.margin)
                if (near & binding).any():
                    return False
        return True

    def no_worse(self, one: Assessed, than: Assessed) -> bool:
        """Whether no binding limit is passed further than at `than` (the rule of progress)."""
        if not one.solved:
            return False
        if not than.solved:
            return True
        for k, case in enumerate(self.cases):
            new, old = one.values[k], than.values[k]
            if old is None:
                continue
            if new is None:
                return False
            worse = case.limits.excess(new) > case.limits.excess(old) + 1e-9
            if (worse & self.binding[k]).any():
                return False
        return True

    def _values(self, k: int, trial: Trial) -> Vector | None:
        state = trial.state
        if not state.converged:
            return None
        v = state.v_pu
        if np.fmin.reduce(v, initial=np.inf) < LOW_VOLTAGE_PU:
            return None
        return self.cases[k].limits.values(state, trial.dispatch, self.p_max_kw)

    def _harm(self, k: int, values: Vector | None) -> float:
        if values is None:  # a loss without solution: worse than any violation that is a number
            return 1e6 if self.binding[k].any() else 0.0
        excess = self.cases[k].limits.excess(values)
        return float(excess @ self.binding[k])
