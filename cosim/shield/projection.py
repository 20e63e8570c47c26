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

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosim.points import Ids, Vector
from cosim.shield.assess import Assessed, Assessor
from cosim.shield.controls import Controls, Frame
from cosim.shield.qp import least_bad, nearest

ROUNDS = 8
GAIN = 0.003
"""Share of the distance that one more round must promise."""
NEAR = 1.0
"""Rows join the programme when their limit is nearer than this, in the rows' scale."""
ROWS_MOST = 60
UNRELATED = 1e-3
"""A device that moves every row by less than this share of the most effective one is unrelated."""
IDLE = 1e-5
"""A row whose limit is farther than this share of the widest control's range does not bind."""
HALVINGS = 6
"""Most halvings of a step that the power flow does not follow."""
CUTS = 4
"""Most tangents to the devices' circles in one round."""
KEPT_MARGIN = 0.5
"""Share of the margin that a moved setpoint must keep, so that it passes again when it is asked for as it is."""


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


class Projection:
    """Projects requests for one call of the shield."""

    def __init__(self, controls: Controls, assess: Assessor, request: Request) -> None:
        self._controls, self._assess, self._request = controls, assess, request
        self._working: list[dict[int, int]] = [{} for _ in assess.cases]
        """Rows in the programme, and which side (1: upper, -1: lower), for each case."""

    def run(self, start: Assessed) -> Projected:
        """From the linearisation at `start`, which must be solved."""
        frame, point = self._request.frame, start
        best: Assessed | None = None
        distance = hoped = np.inf
        least = start.harm
        frozen = np.zeros(frame.at.size, bool)
        for round_ in range(1, ROUNDS + 1):
            self._take_in(point)
            here = self._controls.read(point.setpoints, point.trial.dispatch)[frame.index]
            y = self._step(point, here, frozen)
            if y is None:
                break
            length = float(np.sqrt(y @ y))
            hoped = length if round_ == 1 else hoped
            if best is not None and length >= (1.0 - GAIN) * distance:
                break
            x = np.minimum(np.maximum(frame.at + y / frame.weight, frame.low), frame.high)
            moved, found = self._candidate(x, here)
            if found is None:
                break
            if self._assess.keeps_margin(moved, KEPT_MARGIN):
                far = self._distance(found)
                if far < distance:
                    best, distance = moved, far
            elif best is None and round_ > 3 and moved.harm > 0.9 * least:
                break  # it does not get anywhere
            frozen |= self._stuck(x, here, found)
            least = min(least, moved.harm)
            if np.abs(found - here).max(initial=0.0) <= 1e-9 * float(frame.size.max(initial=1.0)):
                break
            point = moved
        return Projected(best, distance, hoped)

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
        for k, case in enumerate(self._assess.cases):
            values = point.values[k] if k < len(point.values) else None
            if values is None:
                continue
            limits = case.limits
            over = (values - limits.high) * limits.per_scale
            under = (limits.low - values) * limits.per_scale
            beyond = np.fmax(over, under)
            near = np.flatnonzero(beyond > -NEAR)
            if near.size > ROWS_MOST:
                near = near[np.argsort(-beyond[near], kind="stable")[:ROWS_MOST]]
            working = self._working[k]
            for row in near.tolist():
                working.setdefault(row, 1 if over[row] >= under[row] else -1)

    def _step(self, point: Assessed, here: Vector, frozen: Vector) -> Vector | None:
        """y (n_control,): weighted change from the request, by the programme linearised at `point`."""
        built = self._rows(point, here)
        if built is None:
            return None
        rows, bound, hard, worth = built
        frame = self._request.frame
        low, high = (frame.low - frame.at) * frame.weight, (frame.high - frame.at) * frame.weight
        stay = (here - frame.at) * frame.weight
        low, high = np.where(frozen, stay, low), np.where(frozen, stay, high)
        use = np.flatnonzero(_related(rows) & (high > low))
        bound = bound - np.where(frozen, rows * stay, 0.0).sum(axis=1)
        y = np.where(frozen, stay, 0.0)
        y[use] = self._solved(_Programme(rows[:, use], bound, hard, worth, low[use], high[use]), use)
        return y

    def _solved(self, programme: _Programme, use: Ids) -> Vector:
        """The programme's solution, with tangents where it leaves a device's circle."""
        frame = self._request.frame
        found = programme.solution()
        for _ in range(CUTS):
            y = np.zeros(frame.at.size)
            y[use] = found
            cuts = self._outside(y, use)
            if cuts is None:
                break
            programme = programme.with_rows(*cuts)
            found = programme.solution()
        return programme.settled(found)

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

    def _rows(self, point: Assessed, here: Vector) -> tuple[Vector, Vector, NDArray[np.bool_], Vector] | None:
        """Linearised limits in y: rows (m, n_control), bounds, which are hard, what passing each by one is worth."""
        frame, assess = self._request.frame, self._assess
        parts: list[tuple[Vector, Vector, NDArray[np.bool_], Vector]] = []
        for k, working in enumerate(self._working):
            values = point.values[k] if k < len(point.values) else None
            if not working or values is None:
                continue
            trial, limits = point.trials[k], assess.cases[k].limits
            response = assess.attempt.response(point.setpoints, trial)
            found = trial.state.sensitivity(frame.directions, response)
            if found is None:
                return None
            row = np.fromiter(working, np.int64, len(working))
            sign = np.fromiter(working.values(), np.float64, len(working))
            slope = limits.gradient(found, row, frame.device, frame.p_per) * sign[:, None]
            limit = np.where(sign > 0, limits.high[row], -limits.low[row]) - limits.margin[row]
            bound = limit - sign * values[row] - slope @ (frame.at - here)
            hard = assess.binding[k][row]
            # Who may override a limit is not moved for it.
            slope = np.where(self._request.authority[None, :] >= limits.override[row][:, None], 0.0, slope)
            parts.append((slope / frame.weight, bound, hard, limits.per_scale[row]))
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

    def solution(self) -> Vector:
        """The nearest point, or the one that breaks the least where none keeps every row."""
        if not self.low.size:
            return self.low
        # A soft limit is worth moving about a tenth of what could be moved.
        price = np.where(self.hard, np.inf, self.worth * 0.01 * float((self.high - self.low).sum()) ** 2)
        found = nearest(self.rows, self.bound, self.low, self.high, price)
        if found is None:
            found = least_bad(self.rows, self.bound, self.low, self.high, np.where(self.hard, 1.0, 1e-3) * self.worth)
        return np.minimum(np.maximum(np.zeros(self.low.size), self.low), self.high) if found is None else found

    def settled(self, found: Vector) -> Vector:
        """`found` with the controls at rest that no binding row moves: an interior point leaves them next to it."""
        if not self.bound.size:
            return found
        size = np.abs(self.rows).max(axis=1, initial=0.0)
        binding = self.bound - self.rows @ found <= IDLE * size * float((self.high - self.low).max(initial=0.0))
        at_rest = np.minimum(np.maximum(np.zeros(found.size), self.low), self.high)
        return np.where(_related(self.rows[binding]), found, at_rest)

    def with_rows(self, rows: Vector, bound: Vector) -> _Programme:
        """With further hard rows."""
        k = bound.size
        return replace(self, rows=np.vstack([self.rows, rows]), bound=np.concatenate([self.bound, bound]),
                       hard=np.concatenate([self.hard, np.ones(k, bool)]),
                       worth=np.concatenate([self.worth, np.full(k, 1e3)]))


def _related(rows: Vector) -> NDArray[np.bool_]:
    """Which columns (n_control,) move any row noticeably."""
    size = np.abs(rows)
    most = size.max(axis=1, initial=0.0)
    return np.asarray((size > UNRELATED * most[:, None]).any(axis=0))
