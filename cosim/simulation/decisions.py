"""What the shield did, written down: a row where an intervention begins, changes or ends, and events.

Theory of operation
-------------------
A decision is made in every SOLVE, and most say what the one before said.  An output's row is written when its reason,
the rung, the limit that explains it or what was asked has changed.  Where a limit of the network is the reason, also
when what is applied has moved by more than `MOVED` of the output's range since its last row: a curtailment that
follows the sun leaves a trace that can be read, and a full battery that is asked to charge one row.  A shield that
only observes is written down the same way, with what it would have applied and ``enforced`` false.

Times are summed over what held since the decision before, so `figures` are exact at the moment of asking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cosim.plugins import Limit
from cosim.points import Ids, Point, Vector, differs
from cosim.recorder import DecisionRow, Recorder
from cosim.recorder.explain import limit_words
from cosim.shield import Breach, Rung, ShieldDecision, ShieldReason

#: Share of an output's range by which what is applied moves before that is written down again.
MOVED = 0.01

_NAMES = tuple(reason.name.lower() for reason in ShieldReason)
_RUNGS = tuple(rung.name.lower() for rung in Rung)
#: Reasons up to this one are the device's own: no limit of the network explains them.
_OWN = max(limit.value for limit in Limit)


def _nobody(_: int) -> str:
    return ""


class DecisionLog:
    """Writes rows and events of the shield's decisions, and keeps count.

    `points` are all points of the run (their ranges, by `point_ids`); `source` tells who asks on an output (slot).
    """

    def __init__(self, recorder: Recorder, point_ids: Ids, *, points: Sequence[Point] = (),
                 source: Callable[[int], str] = _nobody) -> None:
        self._recorder, self._point_ids, self._source = recorder, point_ids, source
        n = len(point_ids)
        self._step = _steps(points, point_ids)
        self._reason = np.zeros(n, np.uint8)
        self._requested, self._shown = np.full(n, np.nan), np.full(n, np.nan)
        self._limit = np.zeros(n, np.int64)
        self._enforced = np.ones(n, np.bool_)
        self._limits = {"": 0}
        """Numbers of limits' names, in the order in which they first explained something."""
        self._rung = Rung.REQUEST
        self._infeasible = ""
        self._overridden: tuple[str, ...] = ()
        self._soft: tuple[str, ...] = ()
        self._is_quiet = True
        self._tally = _Tally()

    def write(self, decision: ShieldDecision, t_us: int) -> None:
        """Write what differs from the last decision; for most runs' decisions there is nothing to do."""
        plain = not decision.active and decision.rung is Rung.REQUEST and not decision.breaches
        if plain and self._is_quiet and not decision.infeasible:
            return
        self._tell(decision, t_us)
        begun, own = self._rows(decision, t_us)
        self._tally.held(decision, bool((self._reason > _OWN).any()), t_us)
        self._tally.interventions += begun
        self._tally.device_limited += own
        self._rung = decision.rung
        self._is_quiet = plain and not decision.infeasible

    def figures(self, t_us: int) -> dict[str, Any]:
        """Counts and times up to `t_us`, for the run's summary: `interventions` that began on an output for a reason
        other than the device's own (those are `device_limited`), minutes with any, minutes infeasible and by rung."""
        return self._tally.figures(t_us)

    # -- rows ------------------------------------------------------------------------------------------------------

    def _rows(self, decision: ShieldDecision, t_us: int) -> tuple[int, int]:
        """Write the rows of this decision; returns how many interventions began, and how many of devices' own."""
        n = len(decision.reason)
        shown, enforced = _shown(decision)
        why = _by_reason(decision)
        numbers = np.array([self._limits.setdefault("" if b is None else b.limit, len(self._limits)) for b in why])
        limit = numbers[decision.reason]
        moved = decision.reason != 0
        before = self._reason[:n]
        with np.errstate(invalid="ignore"):
            drifted = (np.abs(shown - self._shown[:n]) > self._step[:n]) & (decision.reason > _OWN)
        changed = (decision.reason != before) | moved & (
            differs(decision.requested, self._requested[:n]) | drifted | (limit != self._limit[:n])
            | (enforced != self._enforced[:n]) | (np.isnan(shown) != np.isnan(self._shown[:n]))
            | (decision.rung is not self._rung))
        begun = (decision.reason > _OWN) & (before <= _OWN)
        own = moved & (decision.reason <= _OWN) & (before == 0)
        counts = int(begun.sum()), int(own.sum())
        at = np.flatnonzero(changed)
        for i in at.tolist():
            self._recorder.decision(self._row(decision, i, t_us, why[int(decision.reason[i])],
                                              (float(shown[i]), bool(enforced[i]))))
        self._reason[:n] = decision.reason
        self._requested[at], self._shown[at] = decision.requested[at], shown[at]
        self._limit[at], self._enforced[at] = limit[at], enforced[at]
        return counts

    def _row(self, decision: ShieldDecision, i: int, t_us: int, breach: Breach | None,
             shown: tuple[float, bool]) -> DecisionRow:
        limit, bound, found, after = ("", np.nan, np.nan, np.nan) if breach is None else (
            breach.limit, breach.bound, breach.found, breach.after)
        return DecisionRow(t_us, int(self._point_ids[i]), float(decision.requested[i]), shown[0],
                           _NAMES[int(decision.reason[i])], decision.distance_kva, self._source(i), limit, bound, found,
                           after, _RUNGS[decision.rung], shown[1])

    # -- events ----------------------------------------------------------------------------------------------------

    def _tell(self, decision: ShieldDecision, t_us: int) -> None:
        event = self._recorder.event
        worst = next((breach for breach in decision.breaches if not breach.overridden), None)
        if decision.infeasible and not self._infeasible:
            self._infeasible = "shield" if worst is None else worst.limit
            event(t_us, "shield.infeasible.begin", self._infeasible, "nothing that was tried keeps every hard limit" + (
                "" if worst is None else f": {limit_words(worst.limit, worst.after)}, limit {worst.bound:.6g}"))
        elif self._infeasible and not decision.infeasible:
            event(t_us, "shield.infeasible.end", self._infeasible, "every hard limit is kept again")
            self._infeasible = ""
        if decision.rung is not self._rung and max(decision.rung, self._rung) >= Rung.LAST_SAFE:
            event(t_us, "shield.rung", "shield", f"{_words(self._rung)} -> {_words(decision.rung)}",
                  float(decision.rung))
        soft = {breach.limit: breach for breach in decision.breaches if not breach.hard}
        for limit in (name for name in soft if name not in self._soft):
            event(t_us, "shield.soft.begin", limit, f"{limit_words(limit, soft[limit].after)}, soft limit "
                                                    f"{soft[limit].bound:.6g}")
        for limit in (name for name in self._soft if name not in soft):
            event(t_us, "shield.soft.end", limit, "kept again")
        self._soft = tuple(soft)
        overridden = tuple(breach.limit for breach in decision.breaches if breach.overridden)
        for breach in decision.breaches:
            if breach.overridden and breach.limit not in self._overridden:
                event(t_us, "shield.override", breach.limit,
                      f"{limit_words(breach.limit, breach.found)}, limit {breach.bound:.6g}: not moved, who asked may "
                      f"override it")
        self._overridden = overridden


class _Tally:
    """Counts, and minutes of what held between decisions."""

    def __init__(self) -> None:
        self.interventions = self.device_limited = 0
        self._since_us = 0
        self._now: tuple[bool, bool, Rung] = (False, False, Rung.REQUEST)
        self._active_us = self._infeasible_us = 0
        self._by_rung_us = dict.fromkeys(Rung, 0)

    def held(self, decision: ShieldDecision, active: bool, t_us: int) -> None:
        """What holds from `t_us` on; what was before is summed up to then."""
        now = (active, decision.infeasible, decision.rung)
        if now != self._now:
            self._sum(t_us)
            self._now = now

    def _sum(self, t_us: int) -> None:
        active, infeasible, rung = self._now
        passed_us, self._since_us = t_us - self._since_us, t_us
        self._active_us += passed_us * active
        self._infeasible_us += passed_us * infeasible
        self._by_rung_us[rung] += passed_us

    def figures(self, t_us: int) -> dict[str, Any]:
        """See `DecisionLog.figures`."""
        self._sum(t_us)
        minutes = {_RUNGS[rung]: passed_us / 60e6 for rung, passed_us in self._by_rung_us.items() if passed_us}
        return {"interventions": self.interventions, "device_limited": self.device_limited,
                "active_minutes": self._active_us / 60e6, "infeasible_minutes": self._infeasible_us / 60e6,
                "by_rung": minutes}


def _steps(points: Sequence[Point], ids: Ids) -> Vector:
    """By how much each output moves before that is a change: (n,); of an unbounded one any movement is."""
    if not points:
        return np.zeros(len(ids))
    ranges = np.array([points[i].high - points[i].low for i in ids.tolist()], np.float64)
    return np.where(np.isfinite(ranges), MOVED * ranges, 0.0)


def _shown(decision: ShieldDecision) -> tuple[Vector, np.ndarray[Any, np.dtype[np.bool_]]]:
    """What is applied, or would be, (n,), and where it is indeed."""
    if decision.advised is None:
        return decision.applied, np.ones(len(decision.applied), np.bool_)
    return decision.advised, ~differs(decision.advised, decision.applied)


def _by_reason(decision: ShieldDecision) -> list[Breach | None]:
    """The limit that explains an output moved for each reason: the worst of that reason, else the worst; none for the
    device's own."""
    first: dict[int, Breach] = {}
    for breach in decision.breaches:
        if not breach.overridden:
            first.setdefault(int(breach.reason), breach)
    worst = next(iter(first.values()), None)
    return [None if reason <= _OWN else first.get(reason, worst) for reason in range(len(_NAMES))]


def _words(rung: Rung) -> str:
    return rung.name.lower().replace("_", " ")
