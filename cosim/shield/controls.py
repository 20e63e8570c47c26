"""What the shield may move: the devices' continuous setpoints, as effective powers.

A setpoint is not what flows: a cap above what the sun gives does nothing, and a device nobody commands feeds in all it
has.  So the projection works on the *effective* powers (what the device does at the request), and afterwards writes
setpoints only where those have to change; what stays as asked stays to the bit.

A control is one column of the linearisation: a device's active power, reactive power, voltage set point (a regulating
generator's) or scale (of a load that somebody has commanded to be scaled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from cosim.plugins import DeviceGroup, Envelope, Role
from cosim.points import Ids, Vector, differs
from cosim.state import Directions, Dispatch

#: kVA that moving a voltage set point by 1 pu counts for, per kVA of the unit: 1 % of voltage as 10 % of rating.
V_KVA = 10.0
#: Smaller differences of power (kW, kvar) than this, per unit of a control's size, are no difference.
SAME = 1e-7


class Kind(IntEnum):
    """What a control moves."""

    P = 0
    CAP = 1
    Q = 2
    V = 3
    SCALE = 4


_KINDS = {Role.P_KW: Kind.P, Role.P_CAP_KW: Kind.CAP, Role.Q_KVAR: Kind.Q, Role.V_PU: Kind.V, Role.SCALE: Kind.SCALE}
_NOBODY = -1
_NO_SLOTS: Ids = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The controls of one moment, arrays (n_control,), in their own units (kW, kvar, pu, 1).

    `at` is where the effective request stands, `low` and `high` what each could be, `weight` kVA per unit (dearness
    included), `size` what counts as a whole unit of it.  `radius_kva` (n_control,) is the apparent power limit shared
    with `partner` (a control's index, -1 without).  `device` (n_control,) are injections, `p_per` their kW per unit.
    """

    index: Ids
    at: Vector
    low: Vector
    high: Vector
    weight: Vector
    size: Vector
    partner: Ids
    radius_kva: Vector
    device: Ids
    p_per: Vector
    q_per: Vector
    directions: Directions


class Controls:
    """All controls of a run.  `weights` (2, n_device) are the dearness of active and reactive power."""

    def __init__(self, groups: Sequence[DeviceGroup], slices: Sequence[slice], weights: Vector) -> None:
        self._groups = tuple(groups)
        columns: list[tuple[int, int, int, int, float, float]] = []  # slot, device, kind, generator, range
        device = 0
        for group, part in zip(groups, slices, strict=True):
            n = len(group.names)
            for row, setpoint in enumerate(group.setpoints):
                kind = _KINDS.get(setpoint.role)
                if kind is not None:
                    columns += [(part.start + row * n + i, device + i, kind, int(group.placement.gen[i]),
                                 float(setpoint.low[i]), float(setpoint.high[i])) for i in range(n)
                                if kind is not Kind.V or group.placement.gen[i] >= 0]
            device += n
        table = np.array(columns, np.float64).reshape(len(columns), 6)
        self.slot, self.device, self.kind, self.gen = (table[:, k].astype(np.int64) for k in range(4))
        self._bottom, self._top = table[:, 4], table[:, 5]
        self._position_slot, self._position_device = _positions(groups, slices)
        self._is = {kind: self.kind == kind for kind in Kind}
        self._dear = np.sqrt(np.where(self._is[Kind.Q], weights[1][self.device], weights[0][self.device]))
        self._partner = self._partners()
        self.n_device = device
        self.device_of_output = _devices(groups)

    def _partners(self) -> Ids:
        """For each active power the reactive power of the same device, and the other way round."""
        active = np.flatnonzero(self._is[Kind.P] | self._is[Kind.CAP])
        reactive = {int(self.device[c]): c for c in np.flatnonzero(self._is[Kind.Q]).tolist()}
        partner = np.full(self.slot.size, _NOBODY, np.int64)
        for c in active.tolist():
            other = reactive.get(int(self.device[c]))
            if other is not None and self.gen[c] < 0:
                partner[c], partner[other] = other, c
        return partner

    def repositioned(self, one: Vector, other: Vector) -> NDArray[np.bool_]:
        """Devices (n_device,) whose positions are asked to differ between two output vectors."""
        out = np.zeros(self.n_device, bool)
        out[self._position_device[differs(one[self._position_slot], other[self._position_slot])]] = True
        return out

    def envelope(self) -> Envelope:
        """Of all devices, each array (n_device,)."""
        each = [group.envelope() for group in self._groups]
        fields = ("p_min_kw", "p_max_kw", "q_min_kvar", "q_max_kvar", "s_max_kva")
        if not each:
            return Envelope(*(np.empty(0) for _ in fields))
        return Envelope(*(np.concatenate([getattr(one, field) for one in each]) for field in fields))

    def reactive(self) -> tuple[Ids, Vector]:
        """Devices with reactive power of their own, and the most of it by their static range (n,), kvar."""
        mine = self._is[Kind.Q] & (self.gen < 0)
        return self.device[mine], np.maximum(np.abs(self._bottom[mine]), np.abs(self._top[mine]))

    def read(self, setpoints: Vector, dispatch: Dispatch) -> Vector:
        """Where every control stands in a dispatch (n_all,): what the devices do, not what they were asked."""
        out = np.zeros(self.slot.size)
        on_gen = self.gen >= 0
        active = self._is[Kind.P] | self._is[Kind.CAP]
        out[active] = dispatch.p_kw[self.device[active]]
        reactive = self._is[Kind.Q]
        out[reactive] = dispatch.q_kvar[self.device[reactive]]
        gen_p, gen_v = active & on_gen, self._is[Kind.V]
        if on_gen.any():
            out[gen_p] = dispatch.gen_p_kw[self.gen[gen_p]]
            out[gen_v] = dispatch.gen_v_pu[self.gen[gen_v]]
        scaled = self._is[Kind.SCALE]
        if scaled.any():
            asked = setpoints[self.slot[scaled]]
            out[scaled] = np.where(np.isnan(asked), 1.0, asked)
        return out

    def frame(self, setpoints: Vector, dispatch: Dispatch, envelope: Envelope, v_pu: Vector,
              held: Ids = _NO_SLOTS) -> Frame:
        """The controls that can move, around a request and what the devices would do at it; outputs `held` stay.

        `v_pu` (n_device,) are voltages at the devices: one without voltage is left alone.
        """
        at = self.read(setpoints, dispatch)
        low, high = self._range(setpoints, at, envelope)
        p_per, q_per = self._per_unit(envelope)
        rating = np.maximum(self._ratings(envelope), 1e-3)
        size = np.where(self._is[Kind.V] | self._is[Kind.SCALE], 1.0, rating)
        movable = (high - low > SAME * size) & ~np.isnan(v_pu[self.device])
        runs = np.ones(self.slot.size, bool)
        on_gen = self.gen >= 0
        runs[on_gen] = dispatch.topology.gen_closed[self.gen[on_gen]] if on_gen.any() else True
        movable &= runs & ~(self._is[Kind.Q] & on_gen)
        if held.size:
            movable &= ~np.isin(self.slot, held)
        index = np.flatnonzero(movable)
        number = np.full(self.slot.size + 1, _NOBODY, np.int64)
        number[index] = np.arange(index.size)
        per_unit = np.select([self._is[Kind.V], self._is[Kind.SCALE]], [V_KVA * rating, np.hypot(p_per, q_per)], 1.0)
        radius = np.where(self._partner >= 0, envelope.s_max_kva[self.device], np.inf)
        at = np.minimum(np.maximum(at, low), high)
        take = index
        return Frame(take, at[take], low[take], high[take], np.maximum(per_unit * self._dear, 1e-9)[take], size[take],
                     number[self._partner[take]], radius[take], self.device[take], p_per[take], q_per[take],
                     self._directions(take, p_per, q_per))

    def setpoints(self, base: Vector, frame: Frame, x: Vector, standing: Vector) -> Vector:
        """`base` (n_output,) with the setpoints that make the devices do `x` (n_control,).

        `standing` (n_control,) is what they do at `base`: what need not change is not written.  A cap is written where
        the device would otherwise feed in more once its reactive power no longer stands in the way.
        """
        moved = np.abs(x - standing) > SAME * frame.size
        partner = frame.partner
        with_partner = partner >= 0
        beside = np.zeros(x.size, bool)
        beside[with_partner] = moved[partner[with_partner]]
        q_beside = np.where(with_partner, x[partner], 0.0)
        room = np.sqrt(np.maximum(frame.radius_kva**2 - q_beside**2, 0.0))
        caps = self.kind[frame.index] == Kind.CAP
        freed = caps & beside & (x < np.minimum(frame.high, room) - SAME * frame.size)
        write = moved | freed
        if not write.any():
            return base
        out = base.copy()
        out[self.slot[frame.index[write]]] = x[write]
        return out

    def _range(self, setpoints: Vector, at: Vector, envelope: Envelope) -> tuple[Vector, Vector]:
        device = self.device
        asked = setpoints[self.slot]
        low, high = at.copy(), at.copy()
        active, reactive = self._is[Kind.P] | self._is[Kind.CAP], self._is[Kind.Q]
        low[active], high[active] = envelope.p_min_kw[device[active]], envelope.p_max_kw[device[active]]
        low[reactive], high[reactive] = envelope.q_min_kvar[device[reactive]], envelope.q_max_kvar[device[reactive]]
        caps = self._is[Kind.CAP]
        high[caps] = np.fmin(high[caps], np.maximum(asked[caps], low[caps]))  # a cap is not passed; NaN is none
        volts = self._is[Kind.V]
        low[volts], high[volts] = self._bottom[volts], self._top[volts]
        scaled = self._is[Kind.SCALE]
        low[scaled], high[scaled] = np.minimum(at[scaled], 1.0), np.maximum(at[scaled], 1.0)
        return low, np.maximum(low, high)

    def _per_unit(self, envelope: Envelope) -> tuple[Vector, Vector]:
        """kW and kvar that one unit of each control injects."""
        active, reactive, scaled = self._is[Kind.P] | self._is[Kind.CAP], self._is[Kind.Q], self._is[Kind.SCALE]
        p_per, q_per = active.astype(np.float64), reactive.astype(np.float64)
        if scaled.any():
            device, top = self.device[scaled], np.maximum(self._top[scaled], 1e-9)
            p_per[scaled] = (envelope.p_min_kw[device] + envelope.p_max_kw[device]) / top
            q_per[scaled] = (envelope.q_min_kvar[device] + envelope.q_max_kvar[device]) / top
        return p_per, q_per

    def _ratings(self, envelope: Envelope) -> Vector:
        """Largest power of each control's device, kVA."""
        largest: Vector = np.maximum.reduce([np.abs(envelope.p_min_kw), np.abs(envelope.p_max_kw),
                                             np.abs(envelope.q_min_kvar), np.abs(envelope.q_max_kvar)])
        return largest[self.device]

    def _directions(self, take: Ids, p_per: Vector, q_per: Vector) -> Directions:
        gen, kind = self.gen[take], self.kind[take]
        on_gen = gen >= 0
        is_v, is_p = kind == Kind.V, (kind == Kind.P) | (kind == Kind.CAP)
        return Directions(np.where(on_gen, _NOBODY, self.device[take]), np.where(on_gen, 0.0, p_per[take]),
                          np.where(on_gen, 0.0, q_per[take]), gen, (on_gen & is_p).astype(np.float64),
                          is_v.astype(np.float64))


def _positions(groups: Sequence[DeviceGroup], slices: Sequence[slice]) -> tuple[Ids, Ids]:
    """Outputs that are positions, and their devices."""
    slots: list[int] = []
    devices: list[int] = []
    first = 0
    for group, part in zip(groups, slices, strict=True):
        n = len(group.names)
        for row, setpoint in enumerate(group.setpoints):
            if setpoint.role is Role.POSITION:
                slots += range(part.start + row * n, part.start + (row + 1) * n)
                devices += range(first, first + n)
        first += n
    return np.array(slots, np.int64), np.array(devices, np.int64)


def _devices(groups: Sequence[DeviceGroup]) -> Ids:
    """The device of every output (n_output,)."""
    found: list[int] = []
    first = 0
    for group in groups:
        n = len(group.names)
        found += list(range(first, first + n)) * len(group.setpoints)
        first += n
    return np.array(found, np.int64)
