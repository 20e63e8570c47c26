"""The shield that knows the network: no command reaches the grid unverified.

Theory of operation
-------------------
What is in force is first brought to what the devices can follow, what their energy barriers and the switching rules
allow.  Its power flow is then judged against every limit.  Where all hard limits hold, that is the answer, to the bit,
and the solve that judged it is the solve that is committed.  Where one does not, `Repair` goes down the fallback chain.

Asked twice, `filter` answers the same: what has to be remembered (what was applied, operations, heating, emergency
actions) is taken over in `settled`, which belongs to the `filter` before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cosim.plugins import Envelope
from cosim.points import Vector, differs
from cosim.shield.assess import Assessed, Assessor, Attempt, Case
from cosim.shield.capability import Limited
from cosim.shield.controls import Kind
from cosim.shield.decision import Asked, Breach, Reasons, Rung, ShieldDecision, ShieldReason
from cosim.shield.emergency import Standing
from cosim.shield.energy import EnergyBarrier
from cosim.shield.limits import NOBODY_OVERRIDES, Limits
from cosim.shield.repair import Means, Repair, Repaired, Situation, effective_distance
from cosim.shield.thermal import Heating

_SWITCHING = np.uint8(ShieldReason.SWITCHING)
_STOP, _RECOVERY = np.uint8(ShieldReason.EMERGENCY_STOP), np.uint8(ShieldReason.RECOVERY)


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """The request as the devices, barriers and rules let it through, and with emergency actions in force."""

    limited: Limited
    wish: Vector
    """Without the last emergency action: what would be applied if it were taken back."""
    stopped: bool
    rules: tuple[str, ...] = ()
    """Switching rules that refused something."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """What `settled` will take over if this answer is applied."""

    standing: Standing = field(default_factory=Standing)
    well: bool = False


class NetworkShield:
    """`cosim.shield.Shield` over the network's limits."""

    def __init__(self, means: Means, cases: Sequence[Case], barrier: EnergyBarrier, *, enforce: bool,
                 heating: Heating | None = None) -> None:
        self.means, self._cases, self._barrier, self._enforce = means, tuple(cases), barrier, enforce
        self._reported: Envelope | None = None
        self._heating = heating
        n_output = means.capability.no_reason.size
        self._last: Vector = np.full(n_output, np.nan)
        self._last_safe: Vector = self._last
        self._pending = _Pending()
        self._needs_envelope = any(case.limits.watched.reserve for case in self._cases)
        self._no_power = np.empty(0)

    @property
    def limits(self) -> Limits:
        """Of the grid as it stands."""
        return self._cases[0].limits

    def using(self, reported: Envelope | None) -> None:
        """Take the devices' envelope from a report instead of from the devices (None: from the devices again)."""
        self._reported = reported

    def backup_goal(self, envelope: Envelope, v_pu: Vector) -> Vector:
        """The setpoints (n_output,) that the backup would go to at device voltages `v_pu` (n_device,), NaN where it
        has none: full droop against the voltage, and no power that need not be."""
        controls, droop = self.means.controls, self.means.droop
        goal = np.full(self._last.size, np.nan)
        kind, device = controls.kind, controls.device
        effort = np.zeros(controls.n_device) if droop is None else droop.effort(v_pu)
        reach = np.where(effort > 0, envelope.q_max_kvar[: effort.size], -envelope.q_min_kvar[: effort.size])
        goal[controls.slot[kind == Kind.Q]] = (effort * reach)[device[kind == Kind.Q]]
        goal[controls.slot[(kind == Kind.P) | (kind == Kind.CAP)]] = 0.0
        return goal

    def _envelope(self) -> Envelope:
        return self.means.controls.envelope() if self._reported is None else self._reported

    # -- the answer ----------------------------------------------------------------------------------------------------

    def filter(self, asked: Asked, attempt: Attempt) -> ShieldDecision:
        """What may be applied, and the power flow that verified it.  Total: never raises on values."""
        prepared = self._prepared(asked)
        assess = self._assessor(asked, attempt)
        requested = assess(prepared.limited.setpoints)
        spoilt = "" if prepared.stopped else self._spoils(requested, assess, prepared)
        bounds = [(case.limits.low, case.limits.high) for case in self._cases]
        try:
            repaired = self._answer(asked, prepared, requested, assess, spoilt=spoilt)
        finally:
            for case, (low, high) in zip(self._cases, bounds, strict=True):
                case.limits.low, case.limits.high = low, high
        self._pending = _Pending(Standing(repaired.taken, -1, prepared.stopped, asked.reset), repaired.well)
        if spoilt:
            prepared = replace(prepared, rules=(*prepared.rules, f"no {spoilt}s"))
        decision = self._decision(asked, prepared, requested, repaired, assess)
        return decision if self._enforce else self._observed(asked, attempt, requested, decision)

    def _answer(self, asked: Asked, prepared: _Prepared, requested: Assessed, assess: Assessor, *,
                spoilt: str) -> Repaired:
        """The request if it is safe and no switching rule is `spoilt`, else what the chain makes of it."""
        taken = self.means.emergency.standing.taken
        if prepared.stopped:  # nothing is moved any more, whatever the limits say: they are only told of
            return Repaired(requested, Rung.EMERGENCY, taken)
        if requested.safe and not spoilt:
            rung = Rung.EMERGENCY if taken else Rung.REQUEST
            return Repaired(requested, rung, taken, taken > 0 and assess(prepared.wish).safe)
        situation = Situation(requested, self._last, self._last_safe, asked.authority, taken, asked.t_us)
        if assess.may_override and not spoilt:
            kept = Repair(self.means, assess, situation, self._envelope()).nearest()
            if kept is not None:
                return replace(kept, well=self._well(asked, prepared, assess))
            # Whoever may break these limits insists, and the others cannot make up for it.
            self._overrule(asked, requested, assess)
            requested = assess.again(requested)
            if requested.safe:
                return Repaired(requested, Rung.EMERGENCY if taken else Rung.REQUEST, taken)
            situation = replace(situation, requested=requested)
        repaired = Repair(self.means, assess, situation, self._envelope()).run()
        return replace(repaired, well=repaired.found.safe and self._well(asked, prepared, assess))

    def _well(self, asked: Asked, prepared: _Prepared, assess: Assessor) -> bool:
        """Whether all would be well with one emergency action fewer."""
        taken = self.means.emergency.standing.taken
        if not taken:
            return False
        wish = assess(prepared.wish)
        if wish.safe:
            return True
        situation = Situation(wish, self._last, self._last_safe, asked.authority, taken - 1, asked.t_us)
        return Repair(self.means, assess, situation, self._envelope()).nearest() is not None

    def _overrule(self, asked: Asked, requested: Assessed, assess: Assessor) -> None:
        """Widen what those in force may override, as far as their own commands take it."""
        least = min(int(case.limits.override.min(initial=NOBODY_OVERRIDES)) for case in self._cases)
        theirs = asked.authority >= least
        limit = self.means.capability.limit
        alone = limit(np.where(theirs, requested.setpoints, self._last)).setpoints
        # Without them: their powers at nothing, and all else where it stands.
        released = limit(np.where(theirs, self.means.emergency.halted(self._last), self._last)).setpoints
        assess.overrule(assess(alone), assess(released))

    def _observed(self, asked: Asked, attempt: Attempt, requested: Assessed,
                  decision: ShieldDecision) -> ShieldDecision:
        """What a shield that only observes says: the devices' own limits are all that is applied."""
        self._pending = _Pending()
        plain = self.means.capability.limit(asked.values)
        same = plain.setpoints.tobytes() == requested.setpoints.tobytes()
        trial = requested.trial if same else attempt(plain.setpoints)
        advised = None if decision.applied.tobytes() == plain.setpoints.tobytes() else decision.applied
        return replace(decision, applied=plain.setpoints, trial=trial, advised=advised)

    def settled(self, decision: ShieldDecision, t_us: int) -> None:
        """What was applied: the only place where the shield's memory changes."""
        pending, means = self._pending, self.means
        means.switching.note(decision.applied, self._last, t_us)
        self._last = decision.applied
        if not decision.infeasible and decision.trial.state.converged:
            self._last_safe = decision.applied
        means.emergency.standing = means.emergency.after(pending.standing, well=pending.well, t_us=t_us)
        means.switching.begin(decision.trial.dispatch.topology)
        if self._heating is not None:
            state = decision.trial.state
            limits = self._cases[0].limits
            p_max = self._envelope().p_max_kw if self._needs_envelope else self._no_power
            self._heating.settled(limits.values(state, decision.trial.dispatch, p_max) if state.converged else None,
                                  t_us)

    # -- before the grid is looked at ----------------------------------------------------------------------------------

    def _prepared(self, asked: Asked) -> _Prepared:
        means, standing = self.means, self.means.emergency.standing
        if not (asked.stop or standing.stopped or standing.taken):  # as nearly always
            limited = self._limited(asked.values, asked)
            return _Prepared(limited, limited.setpoints, stopped=False, rules=self._rules(limited, asked))
        stopped = means.emergency.stops(stop=asked.stop, reset=asked.reset)
        values = means.emergency.halted(self._last) if stopped else asked.values
        acted = means.emergency.acted(values, standing.taken)
        limited = means.capability.limit(acted) if stopped else self._limited(acted, asked)
        wish = limited.setpoints
        if standing.taken and not stopped:
            wish = self._limited(means.emergency.acted(values, standing.taken - 1), asked).setpoints
        reason = limited.reason
        if stopped or standing.taken:
            reason = reason.copy()
            reason[differs(acted, values)] = _RECOVERY
            reason[differs(values, asked.values)] = _STOP
        return _Prepared(Limited(limited.setpoints, reason), wish, stopped, self._rules(limited, asked))

    def _rules(self, limited: Limited, asked: Asked) -> tuple[str, ...]:
        """Which switching rules refused something."""
        if limited.reason is self.means.capability.no_reason:
            return ()
        refused = np.flatnonzero(limited.reason == _SWITCHING).tolist()
        against = self.means.switching.rule_against
        return tuple(dict.fromkeys(against(slot, float(asked.values[slot]), asked.t_us) for slot in refused))

    def _limited(self, values: Vector, asked: Asked) -> Limited:
        """Within what devices, energy barriers and switching rules allow."""
        means = self.means
        limited = self._barrier.limit(means.capability.limit(values), values)
        changed = means.switching.changed(limited.setpoints, self._last)
        refused = means.switching.refused(limited.setpoints, changed, asked.t_us)
        if not refused:
            return limited
        setpoints, reason = limited.setpoints.copy(), limited.reason.copy()
        setpoints[refused], reason[refused] = self._last[refused], _SWITCHING
        return Limited(setpoints, reason)

    def _assessor(self, asked: Asked, attempt: Attempt) -> Assessor:
        p_max = self._envelope().p_max_kw if self._needs_envelope else self._no_power
        return Assessor(self._cases, attempt, p_max, int(asked.authority.max(initial=-1)))

    def _spoils(self, requested: Assessed, assess: Assessor, prepared: _Prepared) -> str:
        """"loop" or "island" where a change of position makes one that the rules forbid."""
        switching = self.means.switching
        setpoints = prepared.limited.setpoints
        if not switching.looks_at_grid or not switching.changed(setpoints, self._last).size:
            return ""
        held = assess(self.means.capability.limit(self._last).setpoints)
        return switching.spoils(held.trial, requested.headed) if held.solved else ""

    # -- what is said of it --------------------------------------------------------------------------------------------

    def _decision(self, asked: Asked, prepared: _Prepared, requested: Assessed, repaired: Repaired,
                  assess: Assessor) -> ShieldDecision:
        limited, found = prepared.limited, repaired.found
        if found is requested and requested.clean and limited.setpoints is asked.values:
            return ShieldDecision(asked.values, found.setpoints, limited.reason, 0.0, found.trial, repaired.rung)
        breaches = self._breaches(requested, found, assess)
        distance = self.means.capability.distance(asked.values, limited.setpoints)
        reason = limited.reason
        if found is not requested:
            distance = float(np.hypot(distance, effective_distance(self.means.controls, requested, found)))
            reason = self._reasons(requested, found, limited, breaches)
        nothing = float("nan")
        breaches = (*breaches, *(Breach(rule, ShieldReason.SWITCHING, nothing, nothing, nothing, "", True)
                                 for rule in prepared.rules))
        infeasible = not found.safe
        return ShieldDecision(asked.values, found.setpoints, reason, distance, found.trial, repaired.rung, breaches,
                              infeasible)

    def _breaches(self, requested: Assessed, found: Assessed, assess: Assessor) -> tuple[Breach, ...]:
        """Limits that the request would have broken, over all cases, the worst first."""
        if requested.clean:
            return ()
        if not requested.solved:
            return (Breach("grid.converged", ShieldReason.DIVERGENCE, 1.0, 0.0, float(found.solved), "", True),)
        broken: list[Breach] = []
        for k, limits, values in assess.solutions(requested):
            after = found.of(k)
            unknown = np.full(values.size, np.nan)
            broken += limits.breaches(values, unknown if after is None else after, assess.overriding)
        return tuple(broken)

    def _reasons(self, requested: Assessed, found: Assessed, limited: Limited, breaches: tuple[Breach, ...]) -> Reasons:
        reason = limited.reason.copy()
        moved = differs(found.setpoints, limited.setpoints)
        hard = next((breach for breach in breaches if breach.hard and not breach.overridden), None)
        why = ShieldReason.DIVERGENCE if not requested.solved else (
            hard.reason if hard is not None else ShieldReason.SWITCHING)
        reason[moved] = np.uint8(why)
        return reason
