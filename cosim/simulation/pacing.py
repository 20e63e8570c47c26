"""How far an order may go at once: no mixture of it and what may be in force elsewhere may break a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cosim.points import Vector
from cosim.shield import Breach, ShieldReason
from cosim.shield.decision import Trial
from cosim.shield.limits import Limits
from cosim.shield.staleness import Believed, Reach, Report
from cosim.shield.underway import Terms, Worst, mixed, shares
from cosim.state import Dispatch

#: Rounds in which what an AC power flow of the worst mixtures finds beyond the linear worst is taken off the room.
ROUNDS = 3
#: Mixtures are solved where less room is left than this share of what they add.
NEAR = 0.25
#: What the AC power flow finds too much is taken off with this much more.
EXTRA = 1.1
#: What a row without solution passes its bound by.
ENDLESS = 1e9


class Model(Protocol):
    """What is believed of the field."""

    @property
    def report(self) -> Report: ...
    def __call__(self, setpoints: Vector) -> Trial: ...
    def dispatch(self, setpoints: Vector) -> Dispatch: ...
    def of(self, dispatch: Dispatch) -> Trial: ...


@dataclass(frozen=True, slots=True, eq=False)
class UnderWay:
    """What may be in force: `orders` are setpoints and the devices (n_injection,) that may follow them; `sent` is the
    last.  `ahead_s` are how long an order must do, and the time to the next SOLVE."""

    model: Believed
    belief: Model
    orders: Sequence[tuple[Vector, NDArray[np.bool_]]]
    sent: Vector
    ahead_s: tuple[float, float]

    def reaches(self, ahead_s: float) -> list[Reach]:
        """Of what the devices reported they do, and of every order; the last sent is the last."""
        report, base = self.belief.report, self.belief(self.sent).dispatch
        reported = Dispatch(report.p_kw, report.q_kvar, base.gen_p_kw, base.gen_v_pu, base.topology)
        known = np.isfinite(report.age_s)
        parts = [(reported, report.in_force, known)]
        parts += [(self.belief.dispatch(values), values, possible) for values, possible in self.orders]
        return [self.model.reach(dispatch, values, report, ahead_s, possible) for dispatch, values, possible in parts]

    def reach(self, setpoints: Vector) -> Reach:
        """Of an order that all devices follow."""
        everybody = np.ones(self.belief.report.age_s.size, bool)
        return self.model.reach(self.belief.dispatch(setpoints), setpoints, self.belief.report, self.ahead_s[0],
                                everybody)


class Pace:
    """One SOLVE's orders.  `binding` (n_row,) are the rows that matter."""

    def __init__(self, limits: Limits, binding: NDArray[np.bool_], worst: Worst, under_way: UnderWay) -> None:
        self._worst, self._under_way, self._limits = worst, under_way, limits
        self._low = np.where(binding, limits.low, -np.inf)
        self._high = np.where(binding, limits.high, np.inf)
        self._sent = under_way.reach(under_way.sent)

    @cached_property
    def _reaches(self) -> list[Reach]:
        return [*self._under_way.reaches(self._under_way.ahead_s[0]), self._sent]

    @cached_property
    def _before(self) -> Terms:
        return mixed([self._worst.terms(reach) for reach in self._reaches])

    def margins(self) -> tuple[Vector, Vector]:
        """How much lower and higher rows may get by themselves while what was sent last is all in force."""
        low, high = self._worst.rows(self._worst.terms(self._sent))
        return self._worst.value - low, high - self._worst.value

    def doubt(self) -> tuple[Breach, ...]:
        """The row that may be broken already now, if any: the worst mixtures say so, and their AC power flow, too."""
        if not self._near(self._before):
            return ()  # not even within all the time that orders must do
        reaches = self._under_way.reaches(self._under_way.ahead_s[1])
        now = mixed([self._worst.terms(reach) for reach in reaches])
        for row, high in self._near(now):
            below, above = self._solved(row, high, reaches)
            beyond = np.fmax(below, above) * self._limits.per_scale
            if (beyond > 0.0).any():
                return (self._breach(int(np.argmax(beyond)), below, above),)
        return ()

    def _near(self, terms: Terms) -> list[tuple[int, bool]]:
        """The row nearest to its upper bound (True), and to its lower (False), in the linear worst; none where a bound
        is so far that what the linearisation leaves out cannot reach it."""
        low, high = self._worst.rows(terms)
        value, found = self._worst.value, []
        for room, added, is_high in ((self._high - high, high - value, True), (low - self._low, value - low, False)):
            near = np.flatnonzero(room < NEAR * added)
            if near.size:
                found.append((int(near[np.argmin((room * self._limits.per_scale)[near])]), is_high))
        return found

    def _breach(self, row: int, below: Vector, above: Vector) -> Breach:
        bound = self._high[row] if above[row] > 0.0 else self._low[row]
        return Breach(self._limits.names[row], ShieldReason.STALE, float(bound), float(bound + above[row] - below[row]),
                      float(self._worst.value[row]), self._limits.units[row], True)

    def passed(self, wanted: Vector) -> Vector:
        """The setpoints on the way from what was sent to `wanted` that may be sent now."""
        way = self._under_way
        wanted = self._staged(wanted)
        if np.array_equal(wanted, way.sent, equal_nan=True):
            return wanted
        target = way.reach(wanted)
        order = self._worst.terms(target)
        low, high = self._worst.rows(self._before)
        below, above = low - self._low, self._high - high
        for _ in range(ROUNDS):
            share = shares(self._worst, self._before, order, (below, above))
            setpoints = way.model.between((way.sent, self._sent), (wanted, target), share)
            more_below, more_above = self._beyond(way.reach(setpoints))
            if not (more_below.any() or more_above.any()):
                return setpoints
            below, above = below - EXTRA * more_below, above - EXTRA * more_above
        return way.sent

    def _staged(self, wanted: Vector) -> Vector:
        """`wanted`, or only its powers, or only its positions: one may arrive without the other."""
        sent, positions = self._under_way.sent, self._under_way.model.positions
        if np.array_equal(wanted[positions], sent[positions], equal_nan=True):
            return wanted
        powers_only, positions_only = wanted.copy(), sent.copy()
        powers_only[positions], positions_only[positions] = sent[positions], wanted[positions]
        first, second = self._keeps(powers_only), self._keeps(positions_only)
        return wanted if first and second else powers_only if first else positions_only if second else sent

    def _keeps(self, setpoints: Vector) -> bool:
        """Whether no row is broken at `setpoints` further than as things stand."""
        trial = self._under_way.belief(setpoints)
        if not trial.state.converged:
            return False
        values = self._limits.values(trial.state, trial.dispatch, self._under_way.belief.report.envelope.p_max_kw)
        value = self._worst.value
        return not ((values > np.maximum(self._high, value)) | (values < np.minimum(self._low, value))).any()

    def _beyond(self, reach: Reach) -> tuple[Vector, Vector]:
        """By how much rows pass their bounds in the worst mixtures by AC power flow, below and above (n_row,)."""
        reaches = [*self._reaches, reach]
        nothing = np.zeros(self._low.size)
        more = [nothing, nothing]
        for row, high in self._near(mixed([self._before, self._worst.terms(reach)])):
            found = self._solved(row, high, reaches)
            if found[0].any() or found[1].any():
                # What was so before is not this order's doing, and to hold it back mends nothing.
                already = self._solved(row, high, self._reaches)
                found = (np.fmax(found[0] - already[0], 0.0), np.fmax(found[1] - already[1], 0.0))
            more = [np.maximum(a, b) for a, b in zip(more, found, strict=True)]
        return more[0], more[1]

    def _solved(self, row: int, high: bool, reaches: Sequence[Reach]) -> tuple[Vector, Vector]:
        way = self._under_way
        corner = way.model.powers.dispatch(self._worst.corner(row, high, reaches), way.belief(way.sent).dispatch)
        state = way.belief.of(corner).state
        if not state.converged:
            nothing, endless = np.zeros(self._low.size), np.zeros(self._low.size)
            endless[row] = ENDLESS
            return (nothing, endless) if high else (endless, nothing)
        values = self._limits.values(state, corner, way.belief.report.envelope.p_max_kw)
        return np.fmax(self._low - values, 0.0), np.fmax(values - self._high, 0.0)
