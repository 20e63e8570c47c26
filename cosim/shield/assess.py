"""What the grid would be at some setpoints, judged against every limit: the grid as it stands, and after each loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cosim.points import Vector
from cosim.shield.decision import Trial
from cosim.shield.limits import Limits
from cosim.state import Response

#: Harm of a state after a loss that has no solution: worse than any violation that is a number.
LOST_HARM = 1e6
#: Authority of a command that nobody gave.
NOBODY = -1
#: Most candidates of one call; beyond, what has done the least harm so far is the answer.
MOST_CANDIDATES = 120


class Attempt(Protocol):
    """Tries setpoints (n_output,) on a copy of the grid; nothing of it has an effect."""

    def __call__(self, setpoints: Vector) -> Trial:
        """The grid as it stands, at these setpoints."""

    def without(self, setpoints: Vector, branch: int) -> Trial:
        """The grid after the loss of a branch."""

    def ahead(self, setpoints: Vector) -> Trial | None:
        """The grid once every order that takes its time is carried out; None where none is under way."""

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
    States after a loss are only looked at where the grid as it stands keeps its own limits.

    `harm` is the sum of what hard limits are passed by, inf without a solution of the grid as it stands.
    """

    setpoints: Vector
    trials: tuple[Trial, ...]
    values: tuple[Vector | None, ...]
    harm: float
    clean: bool = False
    """Whether no limit is broken at all, soft ones included."""
    ahead: Trial | None = None
    """Once every order that takes its time is carried out, where one is under way."""

    @property
    def trial(self) -> Trial:
        """The grid as it stands."""
        return self.trials[0]

    @property
    def headed(self) -> Trial:
        """Where it leads."""
        return self.trial if self.ahead is None else self.ahead

    @property
    def solved(self) -> bool:
        """Whether the grid as it stands has a solution."""
        return self.values[0] is not None

    @property
    def safe(self) -> bool:
        """Whether every hard limit holds."""
        return self.harm == 0.0

    def of(self, case: int) -> Vector | None:
        """The values in one case; None without a solution, and where a loss was not looked at."""
        return self.values[case] if case < len(self.values) else None


class Assessor:
    """Tries and judges candidates of one call, and remembers them.

    `authority` is the highest in force.  At first every hard limit binds as it stands; see `overrule`.
    """

    def __init__(self, cases: Sequence[Case], attempt: Attempt, p_max_kw: Vector, authority: int) -> None:
        self.cases, self.attempt, self.p_max_kw, self._authority = tuple(cases), attempt, p_max_kw, authority
        self.overriding = NOBODY
        """The authority that limits are overridden by; `NOBODY` while all bind."""
        self.tried: list[Assessed] = []

    def __call__(self, setpoints: Vector) -> Assessed:
        """The candidate at `setpoints`."""
        first = self.attempt(setpoints)
        values = self._values(0, first)
        clean = values is not None and self.cases[0].limits.keeps(values)
        found = Assessed(setpoints, (first,), (values,), 0.0, clean)
        found = replace(found, harm=0.0 if clean else self._total(found))
        if found.safe and len(self.cases) > 1:
            found = self._with_losses(found)
        ahead = self.attempt.ahead(setpoints)
        if ahead is not None:
            found = replace(found, ahead=ahead)
            harm = self._total(found)
            found = replace(found, harm=harm, clean=found.clean and harm == 0.0)
        self.tried.append(found)
        return found

    @property
    def spent(self) -> bool:
        """Whether this call has tried as much as it may."""
        return len(self.tried) >= MOST_CANDIDATES

    def _with_losses(self, one: Assessed) -> Assessed:
        """The states after each loss as well."""
        trials, values = list(one.trials), list(one.values)
        for k, case in enumerate(self.cases[1:], 1):
            lost = self.attempt.without(one.setpoints, case.lost)
            trials.append(lost)
            values.append(self._values(k, lost))
        clean = one.clean and all(found is not None and case.limits.keeps(found)
                                  for case, found in zip(self.cases[1:], values[1:], strict=True))
        one = replace(one, trials=tuple(trials), values=tuple(values), clean=clean)
        return one if clean else replace(one, harm=self._total(one))

    @property
    def may_override(self) -> bool:
        """Whether some hard limit may be overridden by who is in force, and is not yet."""
        return self.overriding == NOBODY and any(
            bool((case.limits.hard & (case.limits.override <= self._authority)).any()) for case in self.cases)

    def overrule(self, theirs: Assessed, without: Assessed) -> None:
        """Let who is in force override what they may, as far as their own commands take it and no further.

        `theirs` is the grid with their commands and everybody else where they stand, `without` the same without them:
        what is broken without them is not broken by them.  Bounds are widened in place; who calls puts them back.
        """
        self.overriding = self._authority
        for k, case in enumerate(self.cases):
            limits = case.limits
            to, at = theirs.of(k), without.of(k)
            if to is None:
                continue
            before = np.zeros(to.size) if at is None else limits.excess(at)
            by_them = (limits.override <= self._authority) & (limits.excess(to) > before + 1e-9)
            room = 2.0 * limits.margin
            limits.high = np.where(by_them, np.fmax(limits.high, to + room), limits.high)
            limits.low = np.where(by_them, np.fmin(limits.low, to - room), limits.low)
        self.tried = [self.again(one) for one in self.tried]

    def again(self, one: Assessed) -> Assessed:
        """A candidate judged by what binds now."""
        return replace(one, harm=self._total(one), clean=False)

    def solutions(self, one: Assessed) -> Iterator[tuple[int, Limits, Vector]]:
        """The cases of a candidate that were looked at and have a solution: number, limits and values."""
        for k, (case, values) in enumerate(zip(self.cases, one.values, strict=False)):
            if values is not None:
                yield k, case.limits, values

    def keeps_margin(self, one: Assessed, share: float) -> bool:
        """Whether the hard limits hold by `share` of their margin."""
        if not one.safe:
            return False
        for _, limits, values in self.solutions(one):
            near = (values > limits.high - share * limits.margin) | (values < limits.low + share * limits.margin)
            if (near & limits.hard).any():
                return False
        return True

    def no_worse(self, one: Assessed, than: Assessed) -> bool:
        """Whether no hard limit is passed further than at `than` (the rule of progress)."""
        if not one.solved:
            return False
        if not than.solved:
            return True
        for k, limits, old in self.solutions(than):
            if k >= len(one.values):
                continue
            new = one.values[k]
            if new is None or ((limits.excess(new) > limits.excess(old) + 1e-9) & limits.hard).any():
                return False
        return True

    def _values(self, k: int, trial: Trial) -> Vector | None:
        state = trial.state
        # Where devices and voltages do not agree, the power flow is not of what the devices would do.
        if not state.converged or not trial.settled:
            return None
        return self.cases[k].limits.values(state, trial.dispatch, self.p_max_kw)

    def _total(self, one: Assessed) -> float:
        """What hard limits are passed by, over all states of a candidate."""
        if not one.solved:
            return np.inf
        harm = sum((self._harm(k, values) for k, values in enumerate(one.values)), 0.0)
        if one.ahead is not None:
            later = self._values(0, one.ahead)
            harm += LOST_HARM if later is None else self._harm(0, later)
        return harm

    def _harm(self, k: int, values: Vector | None) -> float:
        limits = self.cases[k].limits
        if values is None:  # a loss without solution: worse than any violation that is a number
            return LOST_HARM if limits.hard.any() else 0.0
        return float(limits.excess(values) @ limits.hard)
