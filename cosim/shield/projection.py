"""The nearest safe setpoints: a quadratic programme on the linearised grid, repeated where the power flow has led.

Theory of operation
-------------------
Each round linearises the limits at the last solved candidate (the solver's own Jacobian), finds the effective powers
nearest to the request that keep the linearised limits by their margin, and has the power flow judge them.  A fixed
point of this (sequential quadratic programming with the objective's exact Hessian) fulfils the first-order conditions
of the AC projection itself.  It ends when the candidate is safe and another round would gain less than `GAIN`, and
always after `ROUNDS`.

Only limits that are broken or near at some candidate have rows (large networks have thousands that never matter), and
only devices that move such a limit have columns: what is unrelated stays to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, Vector
from cosim.shield.assess import Assessed, Assessor
from cosim.shield.controls import Controls, Frame
from cosim.shield.decision import ShieldReason
from cosim.shield.qp import least_bad, nearest

ROUNDS = 8
GAIN = 0.003
"""Share of the distance that one more round must promise."""
TIGHT = 0.01
"""Room left at a limit, as a share of what was broken, at which a candidate is taken for the nearest."""
BEYOND = 0.06
"""Share of what a candidate breaks that the second round aims beyond it; all of it from the third on, where little is
left.  So most requests take two rounds, and none creeps up to a limit."""
NEAR = 1.0
"""Rows join the programme when their limit is nearer than this, in the rows' scale."""
ROWS_MOST = 60
UNRELATED = 0.01
"""A device that moves every row by less than this share of the most effective one is unrelated."""
IDLE = 1e-5
"""A row whose limit is farther than this share of the widest control's range does not bind."""
HALVINGS = 6
"""Most halvings of a step that the power flow does not follow."""
NO_EFFECT = 1e-6
"""A row that everything together moves by less than this, in its scale, nobody can help (a voltage that is held)."""
KEPT_ROUNDS = 3
BETWEEN = 4
"""Candidates tried between one that breaks a limit and one that keeps all."""
CUTS = 4
"""Most tangents to the devices' circles in one round."""
KEPT_MARGIN = 0.05
"""Share of the margin that a moved setpoint must keep, so that it passes again when it is asked for as it is."""


#: Rows in y (m, n_control), their bounds, which are hard, and what passing each by one is worth.
_Rows = tuple[Vector, Vector, NDArray[np.bool_], Vector]


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What is projected: capability-limited setpoints, and the effective powers around them; `authority` (n_control,)
    is that of the command behind each control (-1: nobody's)."""

    setpoints: Vector
    frame: Frame
    standing: Vector
    """What the devices do at `setpoints` (n_control,)."""
    authority: NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Projected:
    """Where a projection ended: the nearest safe candidate found, None where none; `distance` is weighted."""

    best: Assessed | None
    distance: float
    hoped: float
    """What the first programme promised."""


@dataclass(slots=True, eq=False)
class _Search:
    """What one run has seen: how bad the start was, the least harm, the distance of the candidate before, the nearest
    candidate that breaks something, and the best."""

    worst: float
    least: float
    before: float = 0.0
    outside: Vector | None = None
    found: Projected = field(default_factory=lambda: Projected(None, np.inf, np.inf))

    def promises_nothing(self, length: float, round_: int) -> bool:
        """Whether a programme's answer of this length is no nearer than what was found."""
        if round_ == 1:
            self.found = replace(self.found, hoped=length)
        return self.found.best is not None and length >= (1.0 - GAIN) * self.found.distance


class Projection:
    """Projects requests for one call of the shield."""

    def __init__(self, controls: Controls, assess: Assessor, request: Request) -> None:
        self._controls, self._assess, self._request = controls, assess, request
        self._working: list[dict[int, int]] = [{} for _ in assess.cases]
        """Rows in the programme, and which side (1: upper, -1: lower), for each case."""
        self._kept: list[_Rows] = []
        """Loading rows of earlier rounds: a loading is a convex function, nearly, so its tangents all hold."""
        self._start: Assessed | None = None

    def run(self, start: Assessed) -> Projected:
        """From the linearisation at `start`, which must be solved."""
        frame, point = self._request.frame, start
        self._start = start  # too far out for its tangents to be worth keeping
        search = _Search(self._worst(start), start.harm)
        frozen = np.zeros(frame.at.size, bool)
        for round_ in range(1, ROUNDS + 1):
            self._take_in(point)
            here = self._controls.read(point.setpoints, point.trial.dispatch)[frame.index]
            y = self._step(point, here, frozen, beyond=_beyond(round_) * self._worst(point))
            if y is None or search.promises_nothing(float(np.sqrt(y @ y)), round_):
                break
            x = np.minimum(np.maximum(frame.at + y / frame.weight, frame.low), frame.high)
            moved, found = self._candidate(x, here)
            if found is None or self._ends(search, moved, found, round_):
                break
            frozen |= self._stuck(x, here, found)
            if np.abs(found - here).max(initial=0.0) <= 1e-9 * float(frame.size.max(initial=1.0)):
                break
            point = moved
        return search.found

    def _ends(self, search: _Search, moved: Assessed, x: Vector, round_: int) -> bool:
        """Take a candidate in; whether the search is over."""
        far, before = self._distance(x), search.before
        search.before = far
        if self._assess.keeps_margin(moved, KEPT_MARGIN):
            if far < search.found.distance:
                search.found = replace(search.found, best=moved, distance=far)
            if far <= (1.0 + GAIN) * before or self._tight(moved, search.worst):
                return True  # there is no nearer point between it and what is broken
            if search.outside is None:
                return False
            search.found = self._between(search.outside, x, search.found)
            return True
        if far < search.found.distance:
            search.outside = x
        stalls = search.found.best is None and round_ > 4 and moved.harm > 0.9 * search.least
        search.least = min(search.least, moved.harm)
        return stalls

    def _between(self, outside: Vector, inside: Vector, best: Projected) -> Projected:
        """The nearest of some candidates on the way from one that breaks a limit to one that keeps all, or `best`."""
        low, high = 0.0, 1.0
        for _ in range(BETWEEN):
            share = 0.5 * (low + high)
            moved, found = self._candidate(outside + share * (inside - outside), inside)
            if found is None or not self._assess.keeps_margin(moved, KEPT_MARGIN):
                low = share
                continue
            high, far = share, self._distance(found)
            if far < best.distance:
                best = replace(best, best=moved, distance=far)
        return best

    def _candidate(self, x: Vector, here: Vector) -> tuple[Assessed, Vector | None]:
        """The candidate at `x`, or on the way to it where the power flow does not follow so far."""
        request = self._request
        for _ in range(HALVINGS):
            setpoints = self._controls.setpoints(request.setpoints, request.frame, x, request.standing)
            moved = self._assess(setpoints)
            if moved.solved:
                return moved, self._controls.read(setpoints, moved.trial.dispatch)[request.frame.index]
            x = 0.5 * (x + here)
        return moved, None

    def _worst(self, one: Assessed) -> float:
        """By how much the worst hard limit is broken, in its scale."""
        return max((float((limits.excess(values) * limits.hard).max(initial=0.0))
                    for _, limits, values in self._assess.solutions(one)), default=0.0)

    def _tight(self, one: Assessed, worst: float) -> bool:
        """Whether a hard limit has no more room than a small share of what was broken."""
        for _, limits, values in self._assess.solutions(one):
            room = np.fmin(limits.high - values, values - limits.low) - limits.margin
            if np.nanmin(np.where(limits.hard, room * limits.per_scale, np.inf), initial=np.inf) <= TIGHT * worst:
                return True
        return False

    def _distance(self, x: Vector) -> float:
        frame = self._request.frame
        return float(np.linalg.norm((x - frame.at) * frame.weight))

    def _stuck(self, x: Vector, before: Vector, now: Vector) -> NDArray[np.bool_]:
        """Controls that were asked to move and did not: they are not what they say, and are left alone."""
        size = self._request.frame.size
        asked = np.abs(x - before) > 1e-3 * size
        return np.asarray(asked & (np.abs(now - before) < 1e-7 * size))

    # -- the programme -------------------------------------------------------------------------------------------------

    def _take_in(self, point: Assessed) -> None:
        """Rows that are broken or near at `point`, the worst first."""
        for k, limits, values in self._assess.solutions(point):
            over, under = (values - limits.high) * limits.per_scale, (limits.low - values) * limits.per_scale
            beyond = np.fmax(over, under)
            near = np.flatnonzero(beyond > -NEAR)
            if near.size > ROWS_MOST:
                near = near[np.argsort(-beyond[near], kind="stable")[:ROWS_MOST]]
            working = self._working[k]
            for row in near.tolist():
                working.setdefault(row, 1 if over[row] >= under[row] else -1)

    def _step(self, point: Assessed, here: Vector, frozen: NDArray[np.bool_], *, beyond: float) -> Vector | None:
        """y (n_control,): weighted change from the request, by the programme linearised at `point`."""
        built = self._rows(point, here, beyond=beyond)
        if built is None:
            return None
        rows, bound, hard, worth = built
        frame = self._request.frame
        low, high = (frame.low - frame.at) * frame.weight, (frame.high - frame.at) * frame.weight
        stay = (here - frame.at) * frame.weight
        low, high = np.where(frozen, stay, low), np.where(frozen, stay, high)
        matter = _matter(rows, bound, worth, low, high)
        rows, bound, hard, worth = rows[matter], bound[matter], hard[matter], worth[matter]
        bound = bound - np.where(frozen, rows * stay, 0.0).sum(axis=1)
        y = np.where(frozen, stay, 0.0)
        for share in (UNRELATED, 0.0):  # everything that helps at all is called in only where the others do not do
            use = np.flatnonzero(_related(rows, share) & (high > low))
            programme = _Programme(rows[:, use], bound, hard, worth, low[use], high[use])
            y[use], keeps_all = self._solved(programme, use)
            if keeps_all:
                break
        return y

    def _solved(self, programme: _Programme, use: Ids) -> tuple[Vector, bool]:
        """The programme's solution, with tangents where it leaves a device's circle, and whether it keeps every row."""
        frame = self._request.frame
        found, keeps_all = programme.solution()
        for _ in range(CUTS):
            y = np.zeros(frame.at.size)
            y[use] = found
            cuts = self._outside(y, use)
            if cuts is None:
                break
            programme = programme.with_rows(*cuts)
            found, keeps_all = programme.solution()
        return programme.settled(found), keeps_all

    def _outside(self, y: Vector, use: Ids) -> tuple[Vector, Vector] | None:
        """Tangents (rows, bounds) for devices whose apparent power at `y` passes their rating."""
        frame = self._request.frame
        x = frame.at + y / frame.weight
        mine = np.flatnonzero((frame.partner > np.arange(x.size)) & np.isfinite(frame.radius_kva))
        other = frame.partner[mine]
        s_kva = np.hypot(x[mine], x[other])
        out = np.flatnonzero(s_kva > frame.radius_kva[mine] * (1.0 + 1e-6))
        if not out.size:
            return None
        mine, other, s_kva = mine[out], other[out], s_kva[out]
        rows = np.zeros((out.size, x.size))
        every = np.arange(out.size)
        rows[every, mine] = x[mine] / s_kva / frame.weight[mine]
        rows[every, other] = x[other] / s_kva / frame.weight[other]
        bound = frame.radius_kva[mine] - (frame.at[mine] * x[mine] + frame.at[other] * x[other]) / s_kva
        fixed = np.setdiff1d(np.arange(x.size), use)
        return rows[:, use], bound - rows[:, fixed] @ y[fixed]

    def _rows(self, point: Assessed, here: Vector, *, beyond: float) -> _Rows | None:
        """Linearised limits in y: rows (m, n_control), bounds, which are hard, what passing each by one is worth."""
        frame, assess = self._request.frame, self._assess
        parts: list[_Rows] = []
        kept: list[_Rows] = []
        for k, limits, values in assess.solutions(point):
            working, trial = self._working[k], point.trials[k]
            if not working:
                continue
            response = assess.attempt.response(point.setpoints, trial)
            found = trial.state.sensitivity(frame.directions, response)
            if found is None:
                return None
            row = np.fromiter(working, np.int64, len(working))
            sign = np.fromiter(working.values(), np.float64, len(working))
            slope = limits.gradient(found, row, frame.device, frame.p_per) * sign[:, None]
            limit = np.where(sign > 0, limits.high[row], -limits.low[row]) - limits.margin[row]
            # What is broken at a candidate is what the linearisation left out: the next one leaves out less.
            limit = limit - beyond * limits.scale[row]
            bound = limit - sign * values[row] - slope @ (frame.at - here)
            hard = limits.hard[row]
            # Who may override a limit is not moved for it.
            slope = np.where(self._request.authority[None, :] >= limits.override[row][:, None], 0.0, slope)
            parts.append((slope / frame.weight, bound, hard, limits.per_scale[row]))
            curved = (limits.reason[row] == ShieldReason.LOADING) & (point is not self._start)
            raw = bound + limits.margin[row] + beyond * limits.scale[row]
            kept.append((slope[curved] / frame.weight, raw[curved], hard[curved], limits.per_scale[row][curved]))
        parts, self._kept = [*parts, *self._kept], [*kept, *self._kept][:KEPT_ROUNDS]
        if not parts:
            return np.empty((0, frame.at.size)), np.empty(0), np.empty(0, bool), np.empty(0)
        return (np.vstack([part[0] for part in parts]), np.concatenate([part[1] for part in parts]),
                np.concatenate([part[2] for part in parts]), np.concatenate([part[3] for part in parts]))


@dataclass(frozen=True, slots=True, eq=False)
class _Programme:
    rows: Vector
    bound: Vector
    hard: NDArray[np.bool_]
    worth: Vector
    low: Vector
    high: Vector

    def solution(self) -> tuple[Vector, bool]:
        """The nearest point and True, or the one that breaks the least where none keeps every row."""
        if not self.low.size:
            return self.low, not self.bound.size
        # A soft limit is worth moving about a tenth of what could be moved.
        price = np.where(self.hard, np.inf, self.worth * 0.01 * float((self.high - self.low).sum()) ** 2)
        least = np.minimum(self.rows * self.low, self.rows * self.high).sum(axis=1)
        found = None
        if not (self.hard & (least > self.bound)).any():  # else no point keeps that row
            found = nearest(self.rows, self.bound, self.low, self.high, price)
        if found is not None:
            return found, True
        found = least_bad(self.rows, self.bound, self.low, self.high, np.where(self.hard, 1.0, 1e-3) * self.worth)
        return self.at_rest if found is None else found, False

    @property
    def at_rest(self) -> Vector:
        """As near to the request as the box lets it."""
        return np.minimum(np.maximum(np.zeros(self.low.size), self.low), self.high)

    def settled(self, found: Vector) -> Vector:
        """`found` with the controls at rest that no binding row moves: an interior point leaves them next to it."""
        if not self.bound.size:
            return found
        size = np.abs(self.rows).max(axis=1, initial=0.0)
        binding = self.bound - self.rows @ found <= IDLE * size * float((self.high - self.low).max(initial=0.0))
        return np.where(_related(self.rows[binding], UNRELATED), found, self.at_rest)

    def with_rows(self, rows: Vector, bound: Vector) -> _Programme:
        """With further hard rows."""
        k = bound.size
        return replace(self, rows=np.vstack([self.rows, rows]), bound=np.concatenate([self.bound, bound]),
                       hard=np.concatenate([self.hard, np.ones(k, bool)]),
                       worth=np.concatenate([self.worth, np.full(k, 1e3)]))


def _beyond(round_: int) -> float:
    """Share of what is still broken that a round aims beyond."""
    return (0.0, BEYOND)[round_ - 1] if round_ <= 2 else 1.0


def _matter(rows: Vector, bound: Vector, worth: Vector, low: Vector, high: Vector) -> NDArray[np.bool_]:
    """Rows that some point of the box breaks and that moving about in it makes a difference to: exact screening."""
    one, other = rows * low, rows * high
    most, least = np.maximum(one, other).sum(axis=1), np.minimum(one, other).sum(axis=1)
    return np.asarray((most > bound) & ((most - least) * worth > NO_EFFECT))


def _related(rows: Vector, share: float) -> NDArray[np.bool_]:
    """Which columns (n_control,) move any row by more than a share of what the most effective one does."""
    size = np.abs(rows)
    most = size.max(axis=1, initial=0.0)
    return np.asarray((size > share * most[:, None]).any(axis=0))
