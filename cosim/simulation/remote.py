"""A shield in the control centre: it knows the field by reports, and its setpoints travel to it.

Theory of operation
-------------------
Every period each device reports (powers, what it could do, the setpoints in force at it, the latest order it heard)
over the channel's up direction.  At every SOLVE the shield decides on what it *believes*: the last reports, aged, in
its own model of the network, with every limit narrowed by what may have happened since.  What it decides is sent over
the channel's down direction, again and again until a report confirms it.  The field does what arrived last.

============ ================================= ====================================================================
device       nothing known for                 what passes
============ ================================= ====================================================================
known        up to `hold_age_s`                what the shield finds safe with margins for age and for orders under way
stale        longer                            only changes toward the backup; else the last setpoint stays
lost         longer than `lost_age_s`          nothing: it is taken to have fallen back to its own function
============ ================================= ====================================================================

The device keeps the same time: when it has heard nothing for `lost_age_s` it lets go of its setpoints.  "Known" takes
both directions: a report that is young, and a young order that the device confirms in it (where it has orders at all).

What is claimed, and why it holds
---------------------------------
While every device is known, an order may stay in force for `hold_age_s` after it was sent, because nobody can promise
that the next one arrives.  So margins reach `hold_age_s` ahead, and an order passes only as far as every mixture of
what devices may be doing keeps the limits (`_Pace`).  Then at any time what the field does is such a mixture, within
the ramps.  Whatever is outside of that is flagged: a device that is not known, and (`_doubt`) rows that some mixture
could break already now, which is what a broken assumption looks like from here.

What a device can follow (state of charge, ramps, minimum times) it enforces itself and is taken as known, and so is the
topology; the honest claim excludes errors in either.  A position may be under way, too: an order that moves one must
keep the limits with the positions before and after it, else its parts go one after the other.

Not covered: limits after the loss of a branch have no margins for age; devices' answers to voltage are taken from
reports (they work against a change of voltage, so a voltage's margin is not made too small by that).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.agents.telemetry import size_bytes
from cosim.channel import Channel
from cosim.grid import Grid
from cosim.kernel import Kernel, Phase
from cosim.plugins import Injection
from cosim.points import Vector, differs
from cosim.shield import Asked, Breach, NetworkShield, ShieldDecision, ShieldReason
from cosim.shield.decision import Trial
from cosim.shield.limits import Limits
from cosim.shield.staleness import Believed, Ramps, Report, toward
from cosim.shield.underway import Worst
from cosim.simulation.exchange import FIELDS, Account, CentreEnd, FieldEnds, Order
from cosim.simulation.pacing import Pace, UnderWay
from cosim.simulation.trial import Attempts, SolvedTrial
from cosim.state import Dispatch, Response

_STALE = np.uint8(ShieldReason.STALE)


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """The scenario's `shield.telemetry`, times in microseconds; `ramps` (n_injection,).  Without `enforce` all that is
    asked is sent."""

    channel: Channel
    period_us: int
    hold_age_us: int
    lost_age_us: int
    step_us: int
    ramps: Ramps
    enforce: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """`cosim.shield.assess.Attempt` on believed injections; every candidate is solved once."""

    model: Believed
    report: Report
    grid: Grid
    real: Attempts
    repositioned: Any
    solved: dict[bytes, SolvedTrial] = field(default_factory=dict)

    def __call__(self, setpoints: Vector) -> SolvedTrial:
        """The grid as it is believed to stand, at these setpoints."""
        key = setpoints.tobytes()
        if key not in self.solved:
            self.solved[key] = self.of(self.dispatch(setpoints))
        return self.solved[key]

    def ahead(self, setpoints: Vector) -> None:
        """Orders that take their time are judged where they arrive."""

    def without(self, setpoints: Vector, branch: int) -> SolvedTrial:
        """The same after the loss of a branch."""
        lost = self.real.without(setpoints, branch).dispatch.topology
        return self.of(replace(self.dispatch(setpoints), topology=lost))

    def response(self, setpoints: Vector, trial: Trial) -> Response | None:  # noqa: ARG002 - the interface has them
        """Reports do not say how devices answer to voltage."""
        return None

    def dispatch(self, setpoints: Vector) -> Dispatch:
        """What would be injected.  Where a position would be another one, topology and powers of what moves are taken
        as known: they are the devices' own laws, as their capability is."""
        base = self.grid.dispatch
        moved = self.repositioned(setpoints, self.report.in_force)
        if not moved.any():
            return self.model.dispatch(setpoints, self.report, base)
        there = self.real(setpoints).dispatch
        found = self.model.dispatch(setpoints, self.report, replace(base, topology=there.topology))
        found.p_kw[: moved.size][moved] = there.p_kw[: moved.size][moved]
        found.q_kvar[: moved.size][moved] = there.q_kvar[: moved.size][moved]
        return found

    def of(self, dispatch: Dispatch) -> SolvedTrial:
        """The power flow of a dispatch."""
        nothing: tuple[Injection, ...] = ()
        return SolvedTrial(dispatch, self.grid.trial(dispatch), nothing, self.grid.dispatch.topology)


class RemoteShield:
    """`cosim.shield.Shield` at a distance: `inner` decides on belief, the field does what has arrived."""

    def __init__(self, inner: NetworkShield, kernel: Kernel, grid: Grid, options: RemoteOptions) -> None:
        self._inner, self._kernel, self._grid, self._options = inner, kernel, grid, options
        controls = inner.means.controls
        self._n = grid.injection_bus.size
        self._device_of = controls.device_of_output
        self._model = Believed(controls, options.ramps, grid.dispatch.gen_p_kw.size)
        self.centre = CentreEnd(self._device_of, self._n)
        self.field = FieldEnds(self._device_of, self._n, options.lost_age_us)
        self._slots = [np.flatnonzero(self._device_of == device) for device in range(self._n)]
        self._obeys = [device for device, slots in enumerate(self._slots) if slots.size]
        self._nothing: Vector = np.full(self._device_of.size, np.nan)
        self._sent = self._nothing
        self._decided: ShieldDecision | None = None
        self._attempt: Attempts | None = None
        kernel.every(options.period_us, self._wake)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def filter(self, asked: Asked, attempt: Attempts) -> ShieldDecision:
        """What the field does now, verified on the grid as it is; what is decided for it is sent by `settled`."""
        report, silence_s = self.centre.report(asked.t_us), self.centre.silence_s(asked.t_us)
        self._attempt = attempt
        belief = Belief(self._model, report, self._grid, attempt, self._inner.means.controls.repositioned)
        held = self._held(asked, report, silence_s)
        decided, doubt = self._decide(replace(asked, values=held(asked.values)), belief, held)
        self._decided = decided
        in_field = self._inner.means.capability.limit(self.field.in_force)
        reason = np.where(differs(held(asked.values), asked.values), _STALE,
                          np.maximum(decided.reason, in_field.reason))
        flags = (*self._too_old(silence_s), *doubt)
        return replace(decided, requested=asked.values, reason=reason, trial=attempt(in_field.setpoints),
                       breaches=(*flags, *decided.breaches), infeasible=decided.infeasible or bool(flags),
                       in_field=in_field.setpoints)

    def settled(self, decision: ShieldDecision, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        """Send what was decided, and remember it."""
        assert self._decided is not None, "settled comes after filter"
        self._inner.settled(self._decided, t_us)
        self._sent = self._decided.applied
        self._send(changed_only=True)
        self.field.fall_back(t_us)

    def _too_old(self, silence_s: Vector) -> tuple[Breach, ...]:
        hold_s, oldest = self._options.hold_age_us / 1e6, float(silence_s.max(initial=0.0))
        if oldest <= hold_s and not self.centre.has_forgotten:
            return ()
        return (Breach("shield.age_s", ShieldReason.STALE, hold_s, oldest, oldest, "s", True),)

    def _held(self, asked: Asked, report: Report, silence_s: Vector) -> _Held:
        silent_us = silence_s[self._device_of] * 1e6
        lost = silent_us > self._options.lost_age_us
        stale = (silent_us > self._options.hold_age_us) & ~lost
        if not self._options.enforce or self._stops(asked):
            lost, stale = np.zeros_like(lost), np.zeros_like(stale)
        goal = self._inner.backup_goal(report.envelope, self._believed_v()) if stale.any() else self._nothing
        return _Held(lost, stale, self._sent, goal)

    def _stops(self, asked: Asked) -> bool:
        """An emergency stop goes wherever it gets, at once."""
        return self._inner.means.emergency.stops(stop=asked.stop, reset=asked.reset)

    def _believed_v(self) -> Vector:
        """Voltages (n_device,) of the last belief; nominal before there is one."""
        bus = self._inner.means.device_bus
        if self._decided is None or not self._decided.trial.state.converged:
            return np.ones(bus.size)
        return np.where(bus < 0, 1.0, self._decided.trial.state.v_pu[np.maximum(bus, 0)])

    def _decide(self, asked: Asked, belief: Belief, held: _Held) -> tuple[ShieldDecision, tuple[Breach, ...]]:
        """The inner shield's decision with limits narrowed for age, as far as orders under way let it pass."""
        limits, inner, report = self._inner.limits, self._inner, belief.report
        low, high = limits.low, limits.high
        here = belief(self._sent)
        slope = self._model.powers.slopes(limits, here.state) if here.state.converged else None
        pace = None
        try:
            inner.using(report.envelope)
            if slope is not None:
                binding = limits.hard & (limits.override > int(asked.authority.max(initial=-1)))
                value = limits.values(here.state, here.dispatch, report.envelope.p_max_kw)
                worst = Worst(limits, self._model.powers, slope, (value, self._model.powers.vector(here.dispatch)))
                hold_s, step_s = self._options.hold_age_us / 1e6, self._options.step_us / 1e6
                pace = Pace(limits, binding, worst, UnderWay(self._model, belief, tuple(self.centre.under_way()),
                                                             self._sent, (max(hold_s, step_s), step_s)))
                _narrow(limits, *pace.margins())
            decided = inner.filter(asked, belief)
        finally:
            inner.using(None)
            limits.low, limits.high = low, high
        if pace is None:
            return replace(decided, infeasible=True), ()
        doubt = pace.doubt()
        if not self._options.enforce or self._stops(asked):
            return decided, doubt
        return self._passed(decided, pace.passed(held(decided.applied)), belief), doubt

    def _passed(self, decided: ShieldDecision, setpoints: Vector, belief: Belief) -> ShieldDecision:
        """The decision as far as it passes."""
        short = differs(setpoints, decided.applied)
        if not short.any():
            return decided
        followed = self._inner.means.capability.limit(setpoints).setpoints
        distance = self._inner.means.capability.distance(decided.requested, followed)
        return replace(decided, applied=followed, reason=np.where(short, _STALE, decided.reason),
                       distance_kva=distance, trial=belief(followed))

    # -- messages ------------------------------------------------------------------------------------------------------

    def _wake(self, now_us: int) -> None:
        self._kernel.at(now_us, self._report, None, Phase.REPORT)

    def _report(self, _: Any) -> None:
        """Every device reports; and the centre lets every device hear from it."""
        assert self._attempt is not None, "the first SOLVE is before any report"
        now_us, dispatch = self._kernel.now_us, self._grid.dispatch
        own = self._attempt(self._nothing).dispatch  # what each device would do by itself: it knows, and reports it
        powers = np.array([dispatch.p_kw, dispatch.q_kvar, own.p_kw, own.q_kvar])
        limits, n_device = self._inner.means.controls.envelope(), self._inner.means.controls.n_device
        bounds = np.zeros((len(FIELDS), self._n))
        bounds[:, :n_device] = [getattr(limits, name) for name in FIELDS]
        send = self._options.channel.up.send
        for device, slots in enumerate(self._slots):
            account = Account(device, now_us, int(self.field.confirmed_us[device]), slots, powers[:, device],
                              bounds[:, device], self.field.in_force[slots])
            send(size_bytes(len(powers) + len(bounds) + slots.size + 1), self._heard, account)
        self._send(changed_only=False)

    def _heard(self, payload: Any) -> None:
        if isinstance(payload, Account):  # a corrupted one is thrown away by its checksum
            self.centre.hear(payload)

    def _send(self, *, changed_only: bool) -> None:
        now_us, send, sent = self._kernel.now_us, self._options.channel.down.send, self._sent
        self.centre.sending(sent, now_us)
        to = self._obeys
        if changed_only:
            settled = self.centre.settled(sent)
            to = [device for device in to if not settled[device]]
        for device in to:
            slots = self._slots[device]
            send(size_bytes(slots.size), self._arrived, Order(device, now_us, slots, sent[slots]))

    def _arrived(self, payload: Any) -> None:
        if isinstance(payload, Order):
            self.field.hear(payload, self._kernel.now_us)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """What passes to devices little is known of: outputs (n_output,) that are `lost` or `stale`, what was `sent` last,
    and the backup's `goal`."""

    lost: NDArray[np.bool_]
    stale: NDArray[np.bool_]
    sent: Vector
    goal: Vector

    def __call__(self, values: Vector) -> Vector:
        """Stale devices only move toward the backup, lost ones let go; the very object where nothing is held."""
        if not (self.lost.any() or self.stale.any()):
            return values
        passes = toward(values, self.sent, self.goal) | (np.isnan(values) & np.isnan(self.sent))
        return np.where(self.lost, np.nan, np.where(self.stale & ~passes, self.sent, values))



def _narrow(limits: Limits, low_by: Vector, high_by: Vector) -> None:
    """Narrow the limits; where nothing is left between them, the middle is all there is."""
    low, high = limits.low + low_by, limits.high - high_by
    crossed = low > high
    middle = np.where(crossed, 0.5 * (low + high), 0.0)
    limits.low, limits.high = np.where(crossed, middle, low), np.where(crossed, middle, high)
