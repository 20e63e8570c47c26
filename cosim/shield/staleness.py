"""What a shield that sees the field through reports believes of it, and how far the field may be from that.

An injection of declared ramp r that was reported τ ago lies within ±r τ of its report, a capped one never above its
cap.  A device does any of what it may have been told: what it last confirmed, or anything sent to it since.  A `Reach`
is where all powers may be under one such order; `cosim.shield.underway` puts reaches together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.plugins import Envelope
from cosim.points import Ids, Vector, differs
from cosim.shield.controls import Controls, Kind
from cosim.shield.limits import Limits
from cosim.state import Directions, Dispatch, GridState

#: Bound of a power nothing is known of, kW: beyond any device, and finite, so that zero slope times it is zero.
ANYTHING = 1e9


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


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Where one order lets every power be, (n_power,) as `Powers` orders them: believed `at`, from `low` to `high`;
    `possible` (n_injection,) are the devices that may be doing it."""

    at: Vector
    low: Vector
    high: Vector
    possible: NDArray[np.bool_]


class Powers:
    """A dispatch as one vector: p_kw | q_kvar (n_injection,), then gen_p_kw | gen_v_pu (n_gen,).

    `gen_device` (n_gen,) says whose a generator is, -1 nobody's (then it does not move).
    """

    def __init__(self, n_injection: int, gen_device: Ids) -> None:
        n, g = self.n, self.g = n_injection, gen_device.size
        self._gen_device = np.maximum(gen_device, 0)
        every, gens = np.arange(n), np.arange(g)
        parts = np.repeat(np.arange(4), (n, n, g, g))
        is_p, is_q, is_gen_p, is_gen_v = ((parts == k).astype(np.float64) for k in range(4))
        self._directions = Directions(np.concatenate([every, every, np.full(2 * g, -1)]), is_p, is_q,
                                      np.concatenate([np.full(2 * n, -1), gens, gens]), is_gen_p, is_gen_v)
        self._devices = np.where(parts == 0, np.concatenate([every, every, gens, gens]), -1)

    def vector(self, dispatch: Dispatch) -> Vector:
        """All of a dispatch but its topology."""
        return np.concatenate([dispatch.p_kw, dispatch.q_kvar, dispatch.gen_p_kw, dispatch.gen_v_pu])

    def dispatch(self, vector: Vector, base: Dispatch) -> Dispatch:
        """The other way round, switched as `base`."""
        n, g = self.n, self.g
        p, q, gen_p, gen_v = np.split(vector, (n, 2 * n, 2 * n + g))
        return Dispatch(p, q, gen_p, gen_v, base.topology)

    def slopes(self, limits: Limits, state: GridState) -> Vector | None:
        """Sensitivity (n_row, n_power) of every row to every power; None where the state has none."""
        found = state.sensitivity(self._directions, None)
        if found is None:
            return None
        return limits.gradient(found, np.arange(len(limits)), self._devices, np.ones(self._devices.size))

    def by_device(self, terms: Vector) -> Vector:
        """Sum of terms (n_row, n_power) of each device's powers, (n_row, n_injection)."""
        n, g = self.n, self.g
        out = terms[:, :n] + terms[:, n:2 * n]
        if g:
            np.add.at(out.T, self._gen_device, (terms[:, 2 * n:2 * n + g] + terms[:, 2 * n + g:]).T)
        return out

    def of_devices(self, chosen: Ids) -> Ids:
        """A choice made for each device (n_injection,), for each power."""
        gens = chosen[self._gen_device]
        return np.concatenate([chosen, chosen, gens, gens])


class Believed:
    """The dispatch that a shield believes in: reports for what nobody commands, setpoints for what somebody does."""

    def __init__(self, controls: Controls, ramps: Ramps, n_gen: int = 0) -> None:
        self._controls, self._ramps = controls, ramps
        at = {kind: np.flatnonzero(controls.kind == kind) for kind in Kind}
        self._at = {kind: (index, controls.slot[index], controls.device[index], controls.gen[index])
                    for kind, index in at.items()}
        gen_device = np.full(n_gen, -1, np.int64)
        for kind in (Kind.P, Kind.V):
            _, _, device, gen = self._at[kind]
            gen_device[gen[gen >= 0]] = device[gen >= 0]
        continuous = np.zeros(controls.device_of_output.size, bool)
        continuous[controls.slot] = True
        self.positions = np.flatnonzero(~continuous)
        """Outputs that are no powers."""
        self.powers = Powers(ramps.kw_per_s.size, gen_device)

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
        scale = np.where(np.isnan(setpoints[slot]), 1.0, setpoints[slot])
        p[device], q[device] = report.own_p_kw[device] * scale, report.own_q_kvar[device] * scale
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

    def reach(self, dispatch: Dispatch, setpoints: Vector, report: Report, ahead_s: float,
              possible: NDArray[np.bool_]) -> Reach:
        """Where powers may be from now to `ahead_s` from now, while devices that do `dispatch` follow `setpoints`."""
        time_s = report.age_s + ahead_s
        # Scaled demand changes with the scale; a scale below 1 is not counted on to slow it.
        faster = np.ones(self.powers.n)
        _, slot, device, _ = self._at[Kind.SCALE]
        faster[device] = np.fmax(setpoints[slot], 1.0)
        p_by, q_by = _changed(self._ramps.kw_per_s * faster, time_s), _changed(self._ramps.kvar_per_s * faster, time_s)
        p_low, p_high, q_low, q_high = -p_by, p_by.copy(), -q_by, q_by.copy()
        self._capped(p_low, p_high, dispatch, setpoints, report)
        _, slot, device, gen = self._at[Kind.P]
        asked, free = setpoints[slot], gen < 0
        # What is commanded goes where it was commanded, at once or as fast as the device can follow.
        to_go = asked - dispatch.p_kw[device]
        held = free & ~np.isnan(asked)
        p_low[device[held]], p_high[device[held]] = np.minimum(to_go, 0.0)[held], np.maximum(to_go, 0.0)[held]
        _, slot, device, _ = self._at[Kind.Q]
        held = ~np.isnan(setpoints[slot])
        q_low[device[held]] = q_high[device[held]] = 0.0
        gens = np.zeros(2 * self.powers.g)
        at = self.powers.vector(dispatch)
        return Reach(at, at + np.concatenate([p_low, q_low, gens]), at + np.concatenate([p_high, q_high, gens]),
                     possible)

    def _capped(self, p_low: Vector, p_high: Vector, dispatch: Dispatch, setpoints: Vector, report: Report) -> None:
        """Sources under a cap: not above it, and not below it before what is offered is."""
        _, slot, device, _ = self._at[Kind.CAP]
        p, cap = dispatch.p_kw[device], setpoints[slot]
        room = np.where(np.isnan(cap), np.inf, np.maximum(np.fmax(cap, 0.0) - p, 0.0))
        p_high[device] = np.minimum(p_high[device], room)
        offered = report.envelope.p_max_kw[device] + p_low[device]
        p_low[device] = np.maximum(np.minimum(offered - p, 0.0), -np.maximum(p, 0.0))

    def between(self, one: tuple[Vector, Reach], other: tuple[Vector, Reach], share: Vector) -> Vector:
        """Setpoints on the way from `one` to `other` (each with where it leads), for each device (n_injection,) its
        share of it: 0 and 1 give either back to the bit, positions go with 1 only."""
        (old, at_old), (new, at_new) = one, other
        of_output = self._controls.device_of_output
        part = np.where(of_output >= 0, share[np.maximum(of_output, 0)], 1.0)
        out = np.where(part >= 1.0, new, old)
        n, g = self.powers.n, self.powers.g
        for kind, index in ((kind, entry[0]) for kind, entry in self._at.items()):
            slot, device, gen = (entry[:] for entry in self._at[kind][1:])
            middle = (part[slot] > 0.0) & (part[slot] < 1.0) & differs(old[slot], new[slot])
            if not index.size or not middle.any():
                continue
            place = np.where(gen < 0, device, 2 * n + gen) if kind is Kind.P else (
                device if kind is Kind.CAP else n + device if kind is Kind.Q else 2 * n + g + gen)
            if kind is Kind.SCALE:
                begin, end = (np.where(np.isnan(v[slot]), 1.0, v[slot]) for v in (old, new))
            else:  # a cap is what bounds its device from above
                begin, end = ((at_old.high, at_new.high) if kind is Kind.CAP else (at_old.at, at_new.at))
                begin, end = begin[place], end[place]
            out[slot[middle]] = (begin + part[slot] * (end - begin))[middle]
        return out


def toward(wanted: Vector, last: Vector, goal: Vector) -> NDArray[np.bool_]:
    """Where `wanted` is no farther from `goal` than `last` is; a setpoint that is let go is not toward anything."""
    return np.asarray(np.abs(wanted - goal) <= np.abs(last - goal))


def _changed(per_s: Vector, time_s: Vector) -> Vector:
    """Change within a time that may be endless; nothing changes at no rate."""
    with np.errstate(invalid="ignore"):
        return np.minimum(np.where(per_s > 0.0, per_s * time_s, 0.0), ANYTHING)
