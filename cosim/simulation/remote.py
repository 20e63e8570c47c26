"""A shield in the control centre: it knows the field by reports, and its setpoints travel to it.

Theory of operation
-------------------
Every period each device reports (powers, what it could do, the setpoints in force at it) over the channel's up
direction.  At every SOLVE the shield decides on what it *believes*: the last reports, aged, in its own model of the
network, with every limit narrowed by what may have happened since (`cosim.shield.staleness`).  What it decides is sent
over the channel's down direction, again and again until a report acknowledges it.  The field does what arrived last.

============ ================================= ====================================================================
device       its report is                     what passes
============ ================================= ====================================================================
known        younger than `hold_age_s`         what the shield finds safe with margins for age and for commands under
                                               way
stale        older                             only changes toward the backup; else the last setpoint stays
lost         older than `lost_age_s`           nothing: it is taken to have fallen back to its own function
============ ================================= ====================================================================

The device keeps the same time: when it has heard nothing for `lost_age_s` it lets go of its setpoints.

What a device can follow (state of charge, ramps, minimum times) it enforces itself and is taken as known, and so is the
topology; the honest claim excludes errors in either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosim.agents.telemetry import size_bytes
from cosim.channel import Channel
from cosim.grid import Grid
from cosim.kernel import Kernel, Phase
from cosim.plugins import Envelope, Injection
from cosim.points import Ids, Vector
from cosim.shield import Asked, Breach, NetworkShield, ShieldDecision, ShieldReason
from cosim.shield.decision import Trial
from cosim.shield.limits import Limits
from cosim.shield.staleness import (
    Believed,
    Ramps,
    Report,
    interval_margins,
    mixture_margins,
    slopes,
    toward,
)
from cosim.simulation.trial import Attempts, SolvedTrial
from cosim.state import Dispatch, Response

#: Rounds in which the margin for commands under way is fitted to the decision that causes it.
ROUNDS = 3
_FIELDS = ("p_min_kw", "p_max_kw", "q_min_kvar", "q_max_kvar", "s_max_kva")
_STALE = np.uint8(ShieldReason.STALE)


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """The scenario's `shield.telemetry`, times in microseconds; `ramps` (n_injection,)."""

    channel: Channel
    period_us: int
    hold_age_us: int
    lost_age_us: int
    step_us: int
    ramps: Ramps


class FieldEnds:
    """The devices' side: what has arrived there, and since when nothing has.  `device_of` (n_output,) are devices."""

    def __init__(self, device_of: Ids, n_device: int, lost_age_us: int) -> None:
        self._device_of, self._lost_us = device_of, lost_age_us
        self.in_force: Vector = np.full(device_of.size, np.nan)
        self._heard_us = np.zeros(n_device, np.int64)
        self._sent_us = np.full(n_device, -1, np.int64)

    def hear(self, order: tuple[int, int, Ids, Vector]) -> None:
        """An order has arrived: (device, sent, outputs, values).  One that was overtaken by a later one is ignored."""
        device, sent_us, slots, values = order
        if sent_us >= self._sent_us[device]:
            self._sent_us[device] = sent_us
            self.in_force = self.in_force.copy()
            self.in_force[slots] = values

    def touch(self, device: int, t_us: int) -> None:
        """Something has arrived at a device."""
        self._heard_us[device] = t_us

    def fall_back(self, t_us: int) -> None:
        """Devices that have heard nothing for too long let go of their setpoints."""
        silent = np.flatnonzero(t_us - self._heard_us > self._lost_us)
        if silent.size:
            let_go = np.isin(self._device_of, silent) & ~np.isnan(self.in_force)
            if let_go.any():
                self.in_force = np.where(let_go, np.nan, self.in_force)


class _Centre:
    """The control centre's side: the last report of every device."""

    def __init__(self, n_injection: int, n_output: int) -> None:
        self.powers = np.zeros((4, n_injection))
        """Active and reactive power, and what both would be without setpoints."""
        self.limits = np.zeros((len(_FIELDS), n_injection))
        self.in_force: Vector = np.full(n_output, np.nan)
        self.t_us = np.full(n_injection, -1, np.int64)
        self.delay_us = 0

    def hear(self, report: tuple[int, int, Ids, tuple[Vector, ...]], now_us: int) -> None:
        """(device, measured at, outputs, (p, q, limits, setpoints))."""
        device, t_us, slots, (powers, limits, in_force) = report
        if t_us < self.t_us[device]:
            return
        self.t_us[device], self.delay_us = t_us, now_us - t_us
        self.powers[:, device] = powers
        self.limits[:, device] = limits
        self.in_force[slots] = in_force

    def report(self, now_us: int) -> Report:
        """What is known now."""
        age_s = np.where(self.t_us >= 0, (now_us - self.t_us) / 1e6, np.inf)
        p, q, own_p, own_q = self.powers.copy()
        return Report(p, q, own_p, own_q, Envelope(*self.limits.copy()), self.in_force.copy(), age_s)


@dataclass(frozen=True, slots=True, eq=False)
class _Belief:
    """`cosim.shield.assess.Attempt` on believed injections."""

    model: Believed
    report: Report
    grid: Grid
    real: Attempts

    def __call__(self, setpoints: Vector) -> SolvedTrial:
        """The grid as it is believed to stand, at these setpoints."""
        return self._solved(setpoints, self.grid.dispatch)

    def without(self, setpoints: Vector, branch: int) -> SolvedTrial:
        """The same after the loss of a branch."""
        lost = self.real.without(setpoints, branch).dispatch.topology
        return self._solved(setpoints, replace(self.grid.dispatch, topology=lost))

    def response(self, setpoints: Vector, trial: Trial) -> Response | None:  # noqa: ARG002 - the interface has them
        """Reports do not say how devices answer to voltage."""
        return None

    def _solved(self, setpoints: Vector, base: Dispatch) -> SolvedTrial:
        dispatch = self.model.dispatch(setpoints, self.report, base)
        nothing: tuple[Injection, ...] = ()
        return SolvedTrial(dispatch, self.grid.trial(dispatch), nothing, base.topology)


class RemoteShield:
    """`cosim.shield.Shield` at a distance: `inner` decides on belief, the field does what has arrived."""

    def __init__(self, inner: NetworkShield, kernel: Kernel, grid: Grid, options: RemoteOptions) -> None:
        self._inner, self._kernel, self._grid, self._options = inner, kernel, grid, options
        controls = inner.means.controls
        n_output = inner.means.capability.no_reason.size
        self._n = grid.injection_bus.size
        self._device_of = controls.device_of_output
        self._model = Believed(controls)
        self._centre = _Centre(self._n, n_output)
        self.field = FieldEnds(self._device_of, controls.n_device, options.lost_age_us)
        self._slots = [np.flatnonzero(self._device_of == device) for device in range(controls.n_device)]
        self._nothing: Vector = np.full(n_output, np.nan)
        self._sent = self._nothing
        self._decided: ShieldDecision | None = None
        self._own: Dispatch | None = None
        kernel.every(options.period_us, self._wake)

    # -- deciding ------------------------------------------------------------------------------------------------------

    def filter(self, asked: Asked, attempt: Attempts) -> ShieldDecision:
        """What the field does now, verified on the grid as it is; what is decided for it is sent by `settled`."""
        report = self._centre.report(asked.t_us)
        self._own = attempt(self._nothing).dispatch  # what each device would do by itself: it knows, and reports it
        wanted, stale = self._admitted(asked, report)
        belief = _Belief(self._model, report, self._grid, attempt)
        decided = self._decide(replace(asked, values=wanted), belief, report)
        self._decided = decided
        capability = self._inner.means.capability
        limited = capability.limit(self.field.in_force)
        reason = np.where(stale, _STALE, np.maximum(decided.reason, limited.reason))
        breaches = decided.breaches
        aged = report.age_s[: self._inner.means.controls.n_device]
        oldest = float(aged.max(initial=0.0))
        if oldest > self._options.hold_age_us / 1e6:
            hold_s = self._options.hold_age_us / 1e6
            breaches = (Breach("shield.age_s", ShieldReason.STALE, hold_s, oldest, oldest, "s", True), *breaches)
        return ShieldDecision(asked.values, decided.applied, reason, decided.distance_kva,
                              attempt(limited.setpoints), decided.rung, breaches,
                              decided.infeasible or oldest > self._options.hold_age_us / 1e6, decided.advised,
                              limited.setpoints)

    def settled(self, decision: ShieldDecision, t_us: int) -> None:  # noqa: ARG002 - the interface has it
        """Send what was decided, and remember it."""
        assert self._decided is not None, "settled comes after filter"
        self._inner.settled(self._decided, t_us)
        self._sent = self._decided.applied
        self._send(changed_only=True)
        self.field.fall_back(t_us)

    def _believed_v(self) -> Vector:
        """Voltages (n_device,) of the last belief; nominal before there is one."""
        bus = self._inner.means.device_bus
        if self._decided is None or not self._decided.trial.state.converged:
            return np.ones(bus.size)
        return np.where(bus < 0, 1.0, self._decided.trial.state.v_pu[np.maximum(bus, 0)])

    def _admitted(self, asked: Asked, report: Report) -> tuple[Vector, Any]:
        """What of the request may be looked at: stale devices only move toward the backup, lost ones not at all."""
        options = self._options
        age_us = np.where(self._device_of >= 0, report.age_s[np.maximum(self._device_of, 0)] * 1e6, 0.0)
        lost = age_us > options.lost_age_us
        stale = (age_us > options.hold_age_us) & ~lost
        values = asked.values
        if not (lost.any() or stale.any()):
            return values, lost
        goal = self._inner.backup_goal(report.envelope, self._believed_v())
        passes = toward(values, self._sent, goal) | (np.isnan(values) & np.isnan(self._sent))
        kept = np.where(stale & ~passes, self._sent, values)
        return np.where(lost, np.nan, kept), lost | (stale & ~passes)

    def _decide(self, asked: Asked, belief: _Belief, report: Report) -> ShieldDecision:
        """The inner shield's decision with limits narrowed for age, then for its own commands under way."""
        limits = self._inner.limits
        base_low, base_high = limits.low, limits.high
        here = belief(self._sent)
        slope = slopes(limits, here.state, self._n) if here.state.converged else None
        ahead_s = (self._centre.delay_us + self._options.step_us) / 1e6
        known = replace(report, age_s=np.where(np.isfinite(report.age_s), report.age_s, 0.0))
        low_by, high_by = np.zeros(len(limits)), np.zeros(len(limits))
        if slope is not None:
            p_low, p_high, q_low, q_high = self._model.spread(known, here.dispatch, self._options.ramps, ahead_s)
            low_by, high_by = interval_margins(slope, np.concatenate([p_low, q_low]), np.concatenate([p_high, q_high]))
        mix_low, mix_high = np.zeros(len(limits)), np.zeros(len(limits))
        try:
            self._inner.using(report.envelope)
            for _ in range(ROUNDS):
                _narrow(limits, base_low + low_by + mix_low, base_high - high_by - mix_high)
                decided = self._inner.filter(asked, belief)
                if slope is None or not self._mixed(belief, decided, slope, (mix_low, mix_high)):
                    return decided
            return decided
        finally:
            self._inner.using(None)
            limits.low, limits.high = base_low, base_high

    def _mixed(self, belief: _Belief, decided: ShieldDecision, slope: Vector, mix: tuple[Vector, Vector]) -> bool:
        """Whether the margins for commands under way had to grow (in place); rows that are broken already as things
        stand are left out: whatever is sent can only help them."""
        limits = self._inner.limits
        old = belief(self._centre.in_force)
        if not old.state.converged or not decided.trial.state.converged:
            return False
        p_max = np.zeros(self._n)
        before = limits.values(old.state, old.dispatch, p_max)
        after = limits.values(decided.trial.state, decided.trial.dispatch, p_max)
        fine = (before <= limits.high + mix[1]) & (before >= limits.low - mix[0])
        low_by, high_by = mixture_margins(slope, decided.trial.dispatch, old.dispatch)
        short_high = fine & (after + high_by > limits.high + mix[1] + 1e-9)
        short_low = fine & (after - low_by < limits.low - mix[0] - 1e-9)
        mix[1][short_high], mix[0][short_low] = high_by[short_high], low_by[short_low]
        return bool(short_high.any() or short_low.any())

    # -- messages ------------------------------------------------------------------------------------------------------

    def _wake(self, now_us: int) -> None:
        self._kernel.at(now_us, self._report, None, Phase.REPORT)

    def _report(self, _: Any) -> None:
        """Every device reports; and the centre lets every device hear from it."""
        now_us, dispatch = self._kernel.now_us, self._grid.dispatch
        own = dispatch if self._own is None else self._own
        limits = self._inner.means.controls.envelope()
        each = np.array([getattr(limits, field) for field in _FIELDS])
        send, n_device = self._options.channel.up.send, self._inner.means.controls.n_device
        for device in range(self._n):
            slots = self._slots[device] if device < n_device else np.empty(0, np.int64)
            bounds = each[:, device] if device < n_device else np.zeros(len(_FIELDS))
            powers = np.array([dispatch.p_kw[device], dispatch.q_kvar[device], own.p_kw[device], own.q_kvar[device]])
            payload = (device, now_us, slots, (powers, bounds, self.field.in_force[slots]))
            send(size_bytes(powers.size + bounds.size + slots.size), self._heard, payload)
        self._send(changed_only=False)

    def _heard(self, payload: Any) -> None:
        if isinstance(payload, tuple):  # a corrupted one is thrown away by its checksum
            self._centre.hear(payload, self._kernel.now_us)

    def _send(self, *, changed_only: bool) -> None:
        now_us, send = self._kernel.now_us, self._options.channel.down.send
        for device, slots in enumerate(self._slots):
            if not slots.size:
                continue
            values = self._sent[slots]
            if changed_only and np.array_equal(values, self._centre.in_force[slots], equal_nan=True):
                continue
            send(size_bytes(slots.size), self._arrived, (device, now_us, slots, values))

    def _arrived(self, payload: Any) -> None:
        if isinstance(payload, tuple):
            self.field.touch(payload[0], self._kernel.now_us)
            self.field.hear(payload)


def _narrow(limits: Limits, low: Vector, high: Vector) -> None:
    """Narrow the limits; where nothing is left between them, the middle is all there is."""
    crossed = low > high
    middle = np.where(crossed, 0.5 * (low + high), 0.0)
    limits.low, limits.high = np.where(crossed, middle, low), np.where(crossed, middle, high)

