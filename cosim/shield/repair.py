"""What to do about an unsafe request: the fallback chain, in its order.

1. the nearest safe setpoints (`Projection`), from several starts, with and without the request's changes of position;
2. the discrete neighbourhood: taps and capacitor steps one position away;
3. the last verified-safe setpoints, or the farthest point on the way from them to the request that is safe;
4. the backup controller;
5. the emergency actions that the scenario allows, each followed by a projection;
6. what does the least harm and is no worse than staying: flagged infeasible.

Whatever is answered has been through an AC power flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cosim.plugins import Envelope
from cosim.points import Ids, Vector, differs
from cosim.shield.assess import Assessed, Assessor
from cosim.shield.backup import Droop, target
from cosim.shield.capability import Capability
from cosim.shield.controls import Controls, Kind
from cosim.shield.decision import Rung
from cosim.shield.emergency import Emergency
from cosim.shield.positions import Positions
from cosim.shield.projection import KEPT_MARGIN, Projection, Request
from cosim.shield.switching import Switching

#: Positions that may be put back in every combination; beyond, one by one and all.
COMBINED_MOST = 3
BISECTIONS = 8
STRETCHED = 1.5
"""Ratio of distance found to distance promised from which another way is looked at."""
BACKUP_ROUNDS = 6
NEIGHBOUR_ROUNDS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """What the chain works with; the same for every call.  `device_bus` (n_device,) are buses."""

    controls: Controls
    capability: Capability
    switching: Switching
    positions: Positions
    emergency: Emergency
    droop: Droop | None
    device_bus: Ids


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """One unsafe request: the candidate it makes, what was applied last, what was verified safe last, the authority
    (n_output,) behind it, and how many emergency actions are in force."""

    requested: Assessed
    last: Vector
    last_safe: Vector
    authority: NDArray[np.int8]
    taken: int
    t_us: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """The answer: a candidate, its rung, and how many emergency actions it takes."""

    found: Assessed
    rung: Rung
    taken: int
    well: bool = False
    """Whether all would be well with one emergency action fewer."""


class Repair:
    """One call's way down the chain."""

    def __init__(self, means: Means, assess: Assessor, situation: Situation, envelope: Envelope) -> None:
        self._means, self._assess, self._situation = means, assess, situation
        self._hold: Assessed | None = None
        self._envelope = envelope

    def run(self) -> Repaired:
        """The first rung that is safe, else what does the least harm."""
        taken = self._situation.taken
        for rung, candidates in ((Rung.PROJECTION, self._projected()), (Rung.PROJECTION, self._neighbours()),
                                 (Rung.LAST_SAFE, self._last_safe()), (Rung.BACKUP, self._backup())):
            for found in map(self._followed, candidates):
                if self._assess.spent and not found.safe:
                    break
                if found.safe and not self._spoils(found):
                    return Repaired(found, Rung.EMERGENCY if taken else rung, taken)
        for acted, count in self._emergency():
            found = self._followed(acted)
            if found.safe and not self._spoils(found):
                return Repaired(found, Rung.EMERGENCY, count)
        return self._least_harm()

    def _spoils(self, one: Assessed) -> bool:
        """Whether a candidate closes a loop or leaves an island that the rules forbid."""
        switching = self._means.switching
        return switching.looks_at_grid and bool(switching.spoils(self.hold.trial, one.headed))

    def _followed(self, one: Assessed) -> Assessed:
        """The candidate as setpoints that the devices can follow, so that it comes back untouched when asked for."""
        setpoints = self._means.capability.limit(one.setpoints).setpoints
        return one if setpoints is one.setpoints else self._assess(setpoints)

    def nearest(self) -> Repaired | None:
        """A safe candidate near the request that leaves positions as they are asked to be; None where there is none."""
        found = self._project(self._situation.requested)
        taken = self._situation.taken
        if found is None or self._spoils(found):
            return None
        return Repaired(found, Rung.EMERGENCY if taken else Rung.PROJECTION, taken)

    @property
    def hold(self) -> Assessed:
        """Staying with what was applied last."""
        if self._hold is None:
            setpoints = self._means.capability.limit(self._situation.last).setpoints
            requested = self._situation.requested
            same = setpoints.tobytes() == requested.setpoints.tobytes()
            self._hold = requested if same else self._assess(setpoints)
        return self._hold

    # -- 1: projection -------------------------------------------------------------------------------------------------

    def _projected(self) -> Iterator[Assessed]:
        requested = self._situation.requested
        changed = self._means.switching.changed(requested.setpoints, self._situation.last)
        found = self._project(requested) if not changed.size else None
        if found is not None:
            yield found
        if changed.size:
            yield from self._with_positions(requested, changed)

    def _with_positions(self, requested: Assessed, changed: Ids) -> Iterator[Assessed]:
        """With positions put back where they were: a change that cannot stand is refused before others pay for it."""
        for back in _subsets(changed):
            setpoints = self._put_back(requested.setpoints, back)
            found = self._assess(setpoints)
            if found.safe and not self._spoils(found):
                yield found
        # As asked first: a distance in kVA does not see a position that is refused, nor whom it drags along.
        if not self._spoils(requested):
            found_ = self._project(requested)
            if found_ is not None:
                yield found_
        found_ = self._project(self._assess(self._put_back(requested.setpoints, changed)))
        if found_ is not None:
            yield found_

    def _put_back(self, setpoints: Vector, slots: Ids) -> Vector:
        out = setpoints.copy()
        out[slots] = self._situation.last[slots]
        return out

    def distance(self, one: Assessed, other: Assessed) -> float:
        """Distance (kVA) between what the devices do at two candidates, over devices asked for different things."""
        return effective_distance(self._means.controls, one, other)

    def _project(self, requested: Assessed) -> Assessed | None:
        """The nearest safe candidate to `requested`, from the first start that leads to one."""
        request = self._request(requested)
        if request is None:
            return None
        for start in self._starts(requested, request):
            if self._assess.spent:
                return None
            projected = Projection(self._means.controls, self._assess, request).run(start)
            if projected.best is not None:
                return self._nearer(requested, projected.best, projected.distance / max(projected.hoped, 1e-9))
        return None

    def _nearer(self, requested: Assessed, found: Assessed, stretch: float) -> Assessed:
        """`found`, or a point on the way from where we stand where that is nearer: looked at when the projection ended
        much farther (`stretch`) than its first programme promised."""
        if stretch < STRETCHED or not self.hold.safe:
            return found
        between = self._bisected(requested, self.hold)
        if between is None or self.distance(requested, between) >= self.distance(requested, found):
            return found
        return between

    def _request(self, requested: Assessed) -> Request | None:
        controls = self._means.controls
        v_pu = self._voltages(requested if requested.solved else self.hold)
        # What an emergency action holds stays where it holds it.
        held = self._means.emergency.slots(self._situation.taken)
        frame = controls.frame(requested.setpoints, requested.trial.dispatch, self._envelope, v_pu, held)
        if not frame.at.size:
            return None
        standing = controls.read(requested.setpoints, requested.trial.dispatch)[frame.index]
        return Request(requested.setpoints, frame, standing, self._situation.authority[controls.slot[frame.index]])

    def _voltages(self, one: Assessed) -> Vector:
        """At every device (n_device,); nominal where there is no solution to look at."""
        bus = self._means.device_bus
        v_pu = one.trial.state.v_pu[np.maximum(bus, 0)] if one.solved else np.ones(bus.size)
        return np.where(bus < 0, 1.0, v_pu)

    def _starts(self, requested: Assessed, request: Request) -> Iterator[Assessed]:
        """Where to linearise: at the request if it has a solution, where we stand, and from ever less."""
        if requested.solved:
            yield requested
        if self.hold.solved and self.hold is not requested:
            yield self.hold
        frame = request.frame
        kinds = self._means.controls.kind[frame.index]
        nothing = np.minimum(np.maximum(0.0, frame.low), frame.high)
        is_q, is_p = kinds == Kind.Q, (kinds == Kind.P) | (kinds == Kind.CAP)
        for share in (1.0, 0.5, 0.0):
            x = np.where(is_q, nothing, np.where(is_p, nothing + share * (frame.at - nothing), frame.at))
            start = self._at(request, x)
            if start.solved:
                yield start

    def _at(self, request: Request, x: Vector) -> Assessed:
        setpoints = self._means.controls.setpoints(request.setpoints, request.frame, x, request.standing)
        return self._assess(setpoints)

    # -- 2: neighbours -------------------------------------------------------------------------------------------------

    def _neighbours(self) -> Iterator[Assessed]:
        """Taps and steps one position away, the best first; then a projection from there."""
        setpoints = self._situation.requested.setpoints
        for _ in range(NEIGHBOUR_ROUNDS):
            allowed = self._means.switching
            tried = [self._assess(option) for option in self._means.positions.neighbours(setpoints)
                     if not self._assess.spent and not allowed.refused(
                         option, allowed.changed(option, self._situation.last), self._situation.t_us)]
            solved = [one for one in tried if one.solved and not self._spoils(one)]
            if not solved:
                return
            best = min(solved, key=lambda one: one.harm)
            if best.harm >= self._situation.requested.harm:
                return
            yield best
            found = self._project(best)
            if found is not None:
                yield found
            setpoints = best.setpoints

    # -- 3 and 4: last safe, backup ------------------------------------------------------------------------------------

    def _last_safe(self) -> Iterator[Assessed]:
        safe = self.hold
        if not safe.safe:
            setpoints = self._means.capability.limit(self._situation.last_safe).setpoints
            safe = self._assess(setpoints)
        if not safe.safe:
            safe = self._nearest_tried() or safe
        if not safe.safe:
            return
        nearer = self._bisected(self._situation.requested, safe)
        yield safe if nearer is None else nearer

    def _nearest_tried(self) -> Assessed | None:
        """The safe candidate nearest to the request that a projection began at or passed through."""
        found = [one for one in self._assess.tried
                 if self._assess.keeps_margin(one, KEPT_MARGIN) and not self._spoils(one)]
        return min(found, key=lambda one: self.distance(self._situation.requested, one), default=None)

    def _bisected(self, requested: Assessed, safe: Assessed) -> Assessed | None:
        """The farthest candidate on the way from `safe` to a request that bisection finds."""
        controls = self._means.controls
        request = self._request(requested)
        if request is None:
            return None
        frame, end = request.frame, request.standing
        begin = controls.read(safe.setpoints, safe.trial.dispatch)[frame.index]
        best, low, high = None, 0.0, 1.0
        for _ in range(BISECTIONS):
            share = 0.5 * (low + high)
            found = self._at(request, begin + share * (end - begin))
            if self._assess.keeps_margin(found, KEPT_MARGIN):
                best, low = found, share
            else:
                high = share
        return best

    def _backup(self) -> Iterator[Assessed]:
        """The droop's answer to the voltage, scan after scan within this one."""
        droop, controls, point = self._means.droop, self._means.controls, self.hold
        if droop is None or not point.solved:
            return
        for _ in range(BACKUP_ROUNDS):
            frame = controls.frame(point.setpoints, point.trial.dispatch, self._envelope, self._voltages(point))
            standing = controls.read(point.setpoints, point.trial.dispatch)[frame.index]
            x = target(droop, frame, controls.kind[frame.index], self._voltages(point), standing)
            authority = self._situation.authority[controls.slot[frame.index]]
            point = self._at(Request(point.setpoints, frame, standing, authority),
                             np.clip(x, frame.low, frame.high))
            if not point.solved:
                return
            yield point

    # -- 5 and 6: emergency, least harm --------------------------------------------------------------------------------

    def _emergency(self) -> Iterator[tuple[Assessed, int]]:
        setpoints = self._situation.requested.setpoints
        for count, acted in self._means.emergency.further(setpoints, self._situation.taken):
            limited = self._means.capability.limit(acted).setpoints
            one = self._assess(limited)
            if not one.safe:
                one = self._project(one) or one
            yield one, count

    def _least_harm(self) -> Repaired:
        """Among all that was tried, the least harm that is no worse than staying in any limit."""
        hold, taken = self.hold, self._situation.taken
        held = self._means.emergency.slots(len(self._means.emergency.actions))
        candidates = [one for one in self._assess.tried
                      if one.solved and (one is hold or not (hold.solved and self._spoils(one)))]
        admitted = [one for one in candidates if self._assess.no_worse(one, hold)] or [hold]
        best = min(admitted, key=lambda one: (one.harm, self.distance(self._situation.requested, one)))
        if held.size and best.solved:
            most = len(self._means.emergency.actions)
            while most > taken and not np.array_equal(
                    best.setpoints, self._means.emergency.acted(best.setpoints, most), equal_nan=True):
                most -= 1
            taken = most
        return Repaired(best, Rung.LEAST_HARM, taken)


def effective_distance(controls: Controls, one: Assessed, other: Assessed) -> float:
    """Distance (kVA) over the powers of devices whose setpoints differ between two candidates."""
    changed = np.zeros(controls.n_device, bool)
    changed[controls.device[differs(one.setpoints[controls.slot], other.setpoints[controls.slot])]] = True
    changed |= controls.repositioned(one.setpoints, other.setpoints)
    first, second = one.trial.dispatch, other.trial.dispatch
    n = controls.n_device
    p, q = (first.p_kw - second.p_kw)[:n][changed], (first.q_kvar - second.q_kvar)[:n][changed]
    gen = first.gen_p_kw * first.topology.gen_closed - second.gen_p_kw * second.topology.gen_closed
    return float(np.sqrt(p @ p + q @ q + gen @ gen))


def _subsets(slots: Ids) -> Iterator[Ids]:
    """Fewest first; the whole last."""
    if slots.size <= COMBINED_MOST:
        for count in range(1, slots.size + 1):
            for chosen in combinations(slots.tolist(), count):
                yield np.array(chosen, np.int64)
        return
    yield from (np.array([slot], np.int64) for slot in slots.tolist())
    yield slots

