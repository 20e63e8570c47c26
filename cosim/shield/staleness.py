"""What a shield that sees the field through reports must allow for: ages, ramps, and commands under way.

A row's margin is the interval answer to what may have happened since: with S the row's sensitivity to every injection,
an injection of declared ramp r that was reported τ ago lies within ±r τ of its report (a capped one never above its
cap), so the row may be higher by Σ max(S Δ) over those intervals.  To that comes a share for the linearisation.
A command that the field has not acknowledged leaves its device anywhere between the old setpoint and the new one: the
row may be higher by Σ max(0, S (old - new)), device by device, whatever mix of them has arrived.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.plugins import Envelope
from cosim.points import Vector
from cosim.shield.controls import Controls, Kind
from cosim.shield.limits import Limits
from cosim.state import Directions, Dispatch, GridState

LINEARISATION = 0.1
"""Share of a margin added for what the linearisation leaves out."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """The field as last reported, arrays (n_injection,): powers, the powers it would have without any setpoint (`own`),
    age of the report in seconds (inf: never), and the setpoints (n_output,) that were in force there."""

    p_kw: Vector
    q_kvar: Vector
    own_p_kw: Vector
    own_q_kvar: Vector
    envelope: Envelope
    in_force: Vector
    age_s: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Ramps:
    """Fastest changes by themselves, (n_injection,)."""

    kw_per_s: Vector
    kvar_per_s: Vector


class Believed:
    """The dispatch that a shield believes in: reports for what nobody commands, setpoints for what somebody does."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        at = {kind: np.flatnonzero(controls.kind == kind) for kind in Kind}
        self._at = {kind: (index, controls.slot[index], controls.device[index], controls.gen[index])
                    for kind, index in at.items()}

    def dispatch(self, setpoints: Vector, report: Report, base: Dispatch) -> Dispatch:
        """What the field would inject at `setpoints`; `base` gives topology and generators nobody commands."""
        p, q = report.p_kw.copy(), report.q_kvar.copy()
        gen_p, gen_v = base.gen_p_kw.copy(), base.gen_v_pu.copy()
        limits = report.envelope
        _, slot, device, gen = self._at[Kind.P]
        asked = setpoints[slot]
        given, free = ~np.isnan(asked), gen < 0
        within = np.clip(asked, limits.p_min_kw[device], limits.p_max_kw[device])
        p[device[free]] = np.where(given, within, report.own_p_kw[device])[free]
        gen_p[gen[given & ~free]] = asked[given & ~free]
        _, slot, device, _ = self._at[Kind.CAP]
        p[device] = np.fmin(limits.p_max_kw[device], np.maximum(setpoints[slot], 0.0))  # NaN caps nothing
        _, slot, device, _ = self._at[Kind.Q]
        asked = setpoints[slot]
        within = np.clip(asked, limits.q_min_kvar[device], limits.q_max_kvar[device])
        q[device] = np.where(np.isnan(asked), report.own_q_kvar[device], within)
        _, slot, device, _ = self._at[Kind.SCALE]
        was, now = report.in_force[slot], setpoints[slot]
        ratio = np.where(np.isnan(now), 1.0, now) / np.maximum(np.where(np.isnan(was), 1.0, was), 1e-6)
        p[device], q[device] = p[device] * ratio, q[device] * ratio
        _, slot, _, gen = self._at[Kind.V]
        asked = setpoints[slot]
        gen_v[gen[~np.isnan(asked)]] = asked[~np.isnan(asked)]
        self._on_circle(p, q, limits.s_max_kva)
        return Dispatch(p, q, gen_p, gen_v, base.topology)

    def _on_circle(self, p: Vector, q: Vector, s_kva: Vector) -> None:
        device = self._at[Kind.CAP][2]
        p[device] = np.minimum(p[device], np.sqrt(np.maximum(s_kva[device] ** 2 - q[device] ** 2, 0.0)))
        device = self._at[Kind.P][2][self._at[Kind.P][3] < 0]
        room = np.sqrt(np.maximum(s_kva[device] ** 2 - p[device] ** 2, 0.0))
        q[device] = np.clip(q[device], -room, room)

    def spread(self, report: Report, dispatch: Dispatch, ramps: Ramps, ahead_s: float) -> tuple[Vector, Vector, Vector,
                                                                                               Vector]:
        """By how much each injection may be below and above `dispatch`: p low, p high, q low, q high (n_injection,)."""
        time_s = report.age_s + ahead_s
        with np.errstate(invalid="ignore"):
            p = np.nan_to_num(ramps.kw_per_s * time_s, nan=0.0, posinf=np.finfo(float).max / 1e6)
            q = np.nan_to_num(ramps.kvar_per_s * time_s, nan=0.0, posinf=np.finfo(float).max / 1e6)
        p_low, p_high, q_low, q_high = -p, p.copy(), -q, q.copy()
        _, slot, device, _ = self._at[Kind.CAP]
        cap = report.in_force[slot]
        p_high[device] = np.where(np.isnan(cap), p_high[device],
                                  np.minimum(p_high[device], np.maximum(cap - dispatch.p_kw[device], 0.0)))
        p_low[device] = np.maximum(p_low[device], -np.maximum(dispatch.p_kw[device], 0.0))
        _, slot, device, gen = self._at[Kind.P]
        held = device[(gen < 0)]
        p_low[held] = p_high[held] = 0.0  # what is commanded stays where it was commanded
        _, slot, device, _ = self._at[Kind.Q]
        held = device[~np.isnan(report.in_force[slot])]
        q_low[held] = q_high[held] = 0.0
        return p_low, p_high, q_low, q_high


def all_injections(count: int) -> Directions:
    """Active power of every injection, then reactive power of every one."""
    every = np.arange(count)
    one, none = np.ones(count), np.zeros(count)
    nobody = np.full(2 * count, -1)
    return Directions(np.concatenate([every, every]), np.concatenate([one, none]), np.concatenate([none, one]), nobody,
                      np.zeros(2 * count), np.zeros(2 * count))


def slopes(limits: Limits, state: GridState, count: int) -> Vector | None:
    """Sensitivity (n_row, 2 n_injection) of every row to every injection; None where the state has none."""
    found = state.sensitivity(all_injections(count))
    if found is None:
        return None
    devices = np.concatenate([np.arange(count), np.full(count, -1)])
    return limits.gradient(found, np.arange(len(limits)), devices, np.ones(2 * count))


def interval_margins(slope: Vector, low: Vector, high: Vector) -> tuple[Vector, Vector]:
    """How much lower and higher rows may be when injections lie in `low`..`high` (2 n_injection,) of their belief."""
    one, other = slope * low, slope * high
    return (1.0 + LINEARISATION) * -np.minimum(one, other).sum(axis=1), (
        1.0 + LINEARISATION) * np.maximum(one, other).sum(axis=1)


def mixture_margins(slope: Vector, new: Dispatch, old: Dispatch) -> tuple[Vector, Vector]:
    """How much lower and higher rows may be while any part of the devices still does the old thing."""
    n = new.p_kw.size
    change = slope[:, :n] * (old.p_kw - new.p_kw) + slope[:, n:] * (old.q_kvar - new.q_kvar)
    return -np.minimum(change, 0.0).sum(axis=1), np.maximum(change, 0.0).sum(axis=1)


def toward(wanted: Vector, last: Vector, goal: Vector) -> NDArray[np.bool_]:
    """Where `wanted` is no farther from `goal` than `last` is; a setpoint that is let go is not toward anything."""
    return np.asarray(np.abs(wanted - goal) <= np.abs(last - goal))

