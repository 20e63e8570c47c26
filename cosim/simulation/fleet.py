"""All device groups of a run side by side: one setpoint vector in, one dispatch out.

Outputs of a group are a block (n_setpoint, n) of the output vector; its devices are a block of the injection vector.
Devices that stand in for a regulating generator of the network write that generator's set points instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from cosim.errors import PluginError, Problem, ScenarioError
from cosim.plugins import DelayedGroup, DeviceGroup, Injection, MeteringGroup
from cosim.points import Ids, Vector, span
from cosim.state import Dispatch, GridState, Topology


@dataclass(frozen=True, slots=True)
class _Part:
    group: DeviceGroup
    outputs: slice
    """Of the output vector."""
    shape: tuple[int, int]
    """(n_setpoint, n)."""
    devices: slice
    """Of the injection vector."""
    bus: Ids
    """(n,), 0 where there is none."""
    nowhere: np.ndarray[tuple[int], np.dtype[np.bool_]] | None
    """(n,) True where there is no bus; None when all have one."""
    pq: np.ndarray[tuple[int], np.dtype[np.bool_]] | None
    """(n,) True where the device injects as PQ; None when all do."""
    any_pq: bool
    gen: Ids
    """Generators of the network that devices stand in for, and which devices (`gen_device`)."""
    gen_device: Ids
    all_gen: bool
    """Whether every device stands in for a generator."""
    gen_at: slice | Ids
    """`gen`, as a slice where they lie side by side."""


class Fleet:
    """Every device of the run, in group order.  `extra_bus` are injections of disturbances, after the devices'."""

    def __init__(self, groups: Sequence[DeviceGroup], extra_bus: Sequence[int] = ()) -> None:
        self.groups = tuple(groups)
        self._parts = tuple(_parts(self.groups))
        self._split: tuple[Vector, tuple[Vector, ...]] = (np.empty(0), ())
        self._seen: tuple[Vector, tuple[Vector, ...]] = (np.empty(0), ())
        self._delayed = tuple((part, part.group) for part in self._parts if isinstance(part.group, DelayedGroup))
        self.delays = bool(self._delayed)
        """Whether any device carries out orders later than it gets them."""
        self.names = tuple(name for group in self.groups for name in group.names)
        self.n_device = len(self.names)
        self.n_output = sum(len(group.setpoints) * len(group.names) for group in self.groups)
        buses = [part.bus for part in self._parts] + [np.array(extra_bus, np.int64)]
        self.injection_bus: Ids = np.concatenate(buses).astype(np.int64)
        self.extra = slice(self.n_device, self.n_device + len(extra_bus))
        self.extra_p_kw, self.extra_q_kvar = np.zeros(len(extra_bus)), np.zeros(len(extra_bus))
        self.device_p_kw: Vector = np.zeros(self.n_device)
        """What each device injected at the last SOLVE, regulating generators included; 0 where there is no voltage."""
        self._regulates = any(part.gen.size for part in self._parts)
        self.voltage_dependent = any(group.voltage_dependent for group in self.groups)
        self.output_slices = tuple(part.outputs for part in self._parts)
        self.device_slices = tuple(part.devices for part in self._parts)
        self._meters = tuple(group for group in self.groups if isinstance(group, MeteringGroup))
        for meter in self._meters:
            try:
                meter.watch(self.names)
            except PluginError as error:
                raise ScenarioError((Problem(str(error), "devices"),)) from None

    @property
    def owned_loads(self) -> tuple[int, ...]:
        """Network loads whose injection devices have taken over."""
        return tuple(i for group in self.groups for i in group.placement.owned_loads)

    @property
    def owned_sgens(self) -> tuple[int, ...]:
        """Network static generators whose injection devices have taken over."""
        return tuple(i for group in self.groups for i in group.placement.owned_sgens)

    def set_extra(self, place: int, p_kw: float, q_kvar: float) -> None:
        """What a disturbance injects from now on."""
        self.extra_p_kw[place], self.extra_q_kvar[place] = p_kw, q_kvar

    def advance(self, t_us: int) -> None:
        """Move every device's inner state to `t_us`."""
        for group in self.groups:
            group.advance(t_us)

    def apply(self, setpoints: Vector, v_pu: Vector, base: Dispatch) -> tuple[Dispatch, tuple[Injection, ...]]:
        """Dispatch at `setpoints` (n_output,) and bus voltages (n_bus,); `base` gives what no device decides."""
        n = len(self.injection_bus)
        p_kw, q_kvar = np.empty(n), np.empty(n)
        if self.extra_p_kw.size:
            p_kw[self.extra], q_kvar[self.extra] = self.extra_p_kw, self.extra_q_kvar
        gen_p_kw, gen_v_pu = base.gen_p_kw, base.gen_v_pu
        injections: list[Injection] = []
        for part, asked, voltages in zip(self._parts, self._asked(setpoints), self._voltages(v_pu), strict=True):
            injection = part.group.apply(asked, voltages)
            injections.append(injection)
            if part.pq is None:
                p_kw[part.devices], q_kvar[part.devices] = injection.p_kw, injection.q_kvar
                continue
            if part.any_pq:
                p_kw[part.devices] = np.where(part.pq, injection.p_kw, 0.0)
                q_kvar[part.devices] = np.where(part.pq, injection.q_kvar, 0.0)
            else:
                p_kw[part.devices] = q_kvar[part.devices] = 0.0
            if part.gen.size:
                gen_p_kw, gen_v_pu = _regulated(part, injection, gen_p_kw, gen_v_pu)
        return Dispatch(p_kw, q_kvar, gen_p_kw, gen_v_pu, base.topology), tuple(injections)

    def positions(self, setpoints: Vector, topology: Topology) -> Topology:
        """Topology as the devices now stand; the same object when none moved."""
        for part, asked in zip(self._parts, self._asked(setpoints), strict=True):
            topology = part.group.positions(asked, topology)
        return topology

    def heading(self, setpoints: Vector, topology: Topology) -> Topology:
        """Topology once every order that takes its time is carried out; the same object when none is under way."""
        for part, group in self._delayed:
            topology = group.heading(setpoints[part.outputs].reshape(part.shape), topology)
        return topology

    def solved(self, injections: Sequence[Injection], state: GridState, topology: Topology) -> Sequence[Injection]:
        """`injections` with what the power flow decided: a regulating generator's q, and nothing where it is out."""
        if not self._regulates:  # whoever asks for the state's flows pays for them
            return injections
        return [_decided(part, injection, state, topology) if part.gen.size else injection
                for part, injection in zip(self._parts, injections, strict=True)]

    def settle(self, setpoints: Vector, injections: Sequence[Injection], v_pu: Vector, t_us: int) -> None:
        """Tell every group what was applied and solved."""
        # A new array: what held until now was handed out.
        self.device_p_kw = np.concatenate([i.p_kw for i in injections]) if injections else self.device_p_kw
        if not isfinite(v_pu.dot(v_pu)):  # somewhere there is no voltage: what is asked for there is not served
            dead = np.isnan(v_pu[self.injection_bus[:self.n_device]])
            self.device_p_kw = np.where(dead, 0.0, self.device_p_kw)
        for part, asked, injection, voltages in zip(self._parts, self._asked(setpoints), injections,
                                                    self._voltages(v_pu), strict=True):
            part.group.settle(asked, injection, voltages, t_us)
        for meter in self._meters:
            meter.read(self.device_p_kw)

    def _asked(self, setpoints: Vector) -> tuple[Vector, ...]:
        """Each group's part of the setpoints (n_setpoint, n); a SOLVE asks several times for the same."""
        if setpoints is not self._split[0]:
            self._split = setpoints, tuple(setpoints[part.outputs].reshape(part.shape) for part in self._parts)
        return self._split[1]

    def _voltages(self, v_pu: Vector) -> tuple[Vector, ...]:
        """Voltages (n,) at each group's devices; those of one SOLVE are those that the next one starts from."""
        if v_pu is not self._seen[0]:
            self._seen = v_pu, tuple(_voltages(part, v_pu) for part in self._parts)
        return self._seen[1]

    def next_us(self) -> int | None:
        """The earliest time at which a group wants a SOLVE of its own."""
        times = [t_us for group in self.groups if (t_us := group.next_us()) is not None]
        return min(times, default=None)


def _voltages(part: _Part, v_pu: Vector) -> Vector:
    v = v_pu[part.bus]
    if part.nowhere is not None:
        v[part.nowhere] = np.nan
    v.flags.writeable = False  # kept for the next that asks
    return v


def _regulated(part: _Part, injection: Injection, gen_p_kw: Vector, gen_v_pu: Vector) -> tuple[Vector, Vector]:
    """The generators' set points with what the devices decide; the same object where voltages stay as they are."""
    gen_p_kw = gen_p_kw.copy()
    gen_p_kw[part.gen_at] = injection.p_kw if part.all_gen else injection.p_kw[part.gen_device]
    if injection.v_set_pu is not None:
        v_set = injection.v_set_pu if part.all_gen else injection.v_set_pu[part.gen_device]
        now = gen_v_pu[part.gen_at]
        if now.tobytes() != v_set.tobytes():
            gen_v_pu = gen_v_pu.copy()
            gen_v_pu[part.gen_at] = np.where(np.isnan(v_set), now, v_set)
    return gen_p_kw, gen_v_pu


def _decided(part: _Part, injection: Injection, state: GridState, topology: Topology) -> Injection:
    if part.all_gen:
        return Injection(injection.p_kw * topology.gen_closed[part.gen_at], state.gen_q_kvar[part.gen],
                         injection.v_set_pu)
    p_kw, q_kvar = injection.p_kw.copy(), injection.q_kvar.copy()
    p_kw[part.gen_device] *= topology.gen_closed[part.gen]
    q_kvar[part.gen_device] = state.gen_q_kvar[part.gen]
    return Injection(p_kw, q_kvar, injection.v_set_pu)


def _parts(groups: Iterable[DeviceGroup]) -> Iterable[_Part]:
    output, device = 0, 0
    for group in groups:
        n, n_setpoint = len(group.names), len(group.setpoints)
        placement = group.placement
        nowhere = placement.bus < 0
        has_gen = placement.gen >= 0
        gen_device = np.flatnonzero(has_gen)
        pq = ~(nowhere | has_gen)
        yield _Part(group, slice(output, output + n * n_setpoint), (n_setpoint, n), slice(device, device + n),
                    np.where(nowhere, 0, placement.bus).astype(np.int64), nowhere if nowhere.any() else None,
                    None if pq.all() else pq, bool(pq.any()), gen := placement.gen[gen_device].astype(np.int64),
                    gen_device, bool(has_gen.all()), span(gen))
        output, device = output + n * n_setpoint, device + n
