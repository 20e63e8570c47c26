"""`check_device`: a device kind put through the contract of `cosim.plugins.DeviceGroup`, for plugin authors' tests.

::

    def test_heater_keeps_the_contract():
        check_device(Heater, [HeaterConfig(name="h1", kind="heater", bus="b1")], site)

where `site` is any `cosim.plugins.Site`, for example a `cosim.simulation.site.RunSite` of a small network.  It builds
the group twice, plays 40 SOLVEs at irregular times with commands inside and outside the ranges, missing and infinite
ones, voltages from 0.85 to 1.15 and none, and reports every breach at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from cosim.errors import PluginError
from cosim.plugins import DeviceGroup, Injection, PluginConfig, Site
from cosim.points import PointKind, Vector
from cosim.state import Topology

N_SOLVE = 40
UNWRITTEN = -1.2345678e300
TOLERANCE = 1e-6


def check_device(kind: Any, configs: Sequence[Any], site: Site) -> DeviceGroup:
    """The group, played to the end; raises PluginError that lists every breach of the contract found."""
    check = _Check()
    check.kind(kind)
    check.stop()
    group, twin = kind.build(configs, site), kind.build(configs, site)
    check.that(isinstance(group, DeviceGroup), "build: the group lacks attributes or methods of DeviceGroup")
    check.stop()
    check.shape(group, configs, site)
    check.stop()
    _play(check, group, twin, site)
    check.stop()
    return group  # type: ignore[no-any-return]  # checked above


def _play(check: _Check, group: DeviceGroup, twin: DeviceGroup, site: Site) -> None:
    rng = np.random.Generator(np.random.PCG64(7))
    t_us, topology = 0, site.network.topology
    for turn in range(N_SOLVE):
        for each in (group, twin):
            each.advance(t_us)
        wanted = _requests(group, rng, turn)
        possible = check.limit(group, wanted)
        check.envelope(group)
        v_pu = np.where(rng.random(len(group.names)) < 0.1, np.nan, rng.uniform(0.85, 1.15, len(group.names)))
        v_pu.flags.writeable = False  # as in a run
        injection = check.apply(group, possible, v_pu)
        topology = check.positions(group, possible, topology)
        group.settle(possible, injection, v_pu, t_us)
        twin.settle(possible, twin.apply(possible, v_pu), v_pu, t_us)
        check.measure(group, twin)
        timer = group.next_us()
        check.that(timer is None or timer > t_us, f"next_us: {timer} at {t_us} us; expected a later time or None")
        t_us += int(rng.integers(1, 2 * site.step_us))
        t_us = t_us if timer is None else min(t_us, timer)


def _requests(group: DeviceGroup, rng: np.random.Generator, turn: int) -> Vector:
    """Commands (n_setpoint, n): inside and around the range, whole numbers, NaN and infinities."""
    low = np.array([setpoint.low for setpoint in group.setpoints]).reshape(len(group.setpoints), len(group.names))
    high = np.array([setpoint.high for setpoint in group.setpoints]).reshape(low.shape)
    low, high = np.maximum(low, -1e6), np.minimum(high, 1e6)
    spread = 0.0 if turn % 3 else 0.5 * (high - low) + 1.0
    wanted = rng.uniform(low - spread, high + spread)
    wanted = np.where(rng.random(low.shape) < 0.3, np.rint(wanted), wanted)
    wanted = np.where(rng.random(low.shape) < 0.2, np.nan, wanted)
    if turn % 5 == 4:
        wanted = np.where(rng.random(low.shape) < 0.5, np.inf, -np.inf)
    return wanted


class _Check:
    """Collects breaches; each method looks at one part of the contract."""

    def __init__(self) -> None:
        self.breaches: dict[str, None] = {}

    def that(self, holds: bool, breach: str) -> None:
        """Note a breach once, and at most twenty."""
        if not holds and len(self.breaches) < 20:
            self.breaches[breach] = None

    def stop(self) -> None:
        """Raise PluginError when there are breaches."""
        if self.breaches:
            raise PluginError("the device kind breaks its contract:\n- " + "\n- ".join(self.breaches))

    def kind(self, kind: Any) -> None:
        """The class that the entry point names."""
        name = getattr(kind, "__name__", repr(kind))
        self.that(getattr(kind, "family", None) == "device", f"{name}.family: expected 'device'")
        self.that(isinstance(getattr(kind, "kind", None), str), f"{name}.kind: expected a string")
        self.that(isinstance(getattr(kind, "summary", None), str), f"{name}.summary: expected one line of text")
        config = getattr(kind, "Config", None)
        self.that(isinstance(config, type) and issubclass(config, PluginConfig),
                  f"{name}.Config: expected a class derived from cosim.plugins.DeviceConfig")
        self.that(callable(getattr(kind, "build", None)), f"{name}.build: expected a class method")

    def shape(self, group: DeviceGroup, configs: Sequence[Any], site: Site) -> None:
        """What the group declares."""
        n = len(configs)
        self.that(group.names == tuple(c.name for c in configs), f"names: {group.names}; expected the configs' order")
        place, n_bus = group.placement, len(site.network.bus_names)
        self.that(place.bus.shape == place.gen.shape == (n,), f"placement: expected bus and gen of shape ({n},)")
        self.that(bool(((place.bus >= -1) & (place.bus < n_bus)).all()), f"placement.bus: expected -1..{n_bus - 1}")
        suffixes = [s.suffix for s in group.setpoints] + [m.suffix for m in group.measurements]
        twice = sorted({s for s in suffixes if suffixes.count(s) > 1})
        self.that(not twice, f"suffixes of setpoints and measurements must differ; found twice: {', '.join(twice)}")
        for point in group.setpoints:
            fits = point.low.shape == point.high.shape == (n,) and bool((point.low <= point.high).all())
            self.that(fits, f"setpoint '{point.suffix}': expected low <= high, each of shape ({n},)")
        for shown in group.measurements:
            self.that(not shown.kind.writable, f"measurement '{shown.suffix}': expected an input or a counter")

    def envelope(self, group: DeviceGroup) -> None:
        """Ordered and without NaN."""
        e = group.envelope()
        ordered = (e.p_min_kw <= e.p_max_kw) & (e.q_min_kvar <= e.q_max_kvar) & (e.s_max_kva >= 0)
        self.that(ordered.shape == (len(group.names),) and bool(ordered.all()),
                  "envelope: expected min <= max and s_max_kva >= 0, each of shape (n,), no NaN")

    def limit(self, group: DeviceGroup, wanted: Vector) -> Vector:
        """Total, in range, minimal, idempotent; returns what is possible."""
        before = wanted.copy()
        try:
            possible, reason = group.limit(wanted)
            again, reason_again = group.limit(possible)
        except Exception as error:
            self.that(False, f"limit: raised {type(error).__name__}: {error}; it must accept any numbers")
            self.stop()
            raise
        self.that(np.array_equal(wanted, before, equal_nan=True), "limit: changed its argument")
        self.that(possible.shape == reason.shape == wanted.shape and reason.dtype == np.uint8,
                  f"limit: expected two arrays of shape {wanted.shape}, reasons uint8")
        self.stop()
        self.that(np.array_equal(np.isnan(possible), np.isnan(wanted)),
                  "limit: NaN must stay NaN, and nothing become NaN")
        same = (possible == wanted) | np.isnan(wanted)
        self.that(np.array_equal(same, reason == 0), "limit: a reason exactly where the value was changed")
        self.that(np.array_equal(again, possible, equal_nan=True) and not reason_again.any(),
                  "limit: not idempotent; what is possible must come back bit for bit, without a reason")
        for row, point in zip(possible, group.setpoints, strict=True):
            inside = np.isnan(row) | ((row >= point.low) & (row <= point.high))
            self.that(bool(inside.all()), f"limit: '{point.suffix}' left its static range")
        return possible

    def apply(self, group: DeviceGroup, setpoints: Vector, v_pu: Vector) -> Injection:
        """Pure, finite, nothing without voltage, within the envelope; returns the injection."""
        n, state = len(group.names), _measured(group)
        inputs = setpoints.copy(), v_pu.copy()
        first, second = group.apply(setpoints, v_pu), group.apply(setpoints, v_pu)
        unchanged = [np.array_equal(a, b, equal_nan=True) for a, b in zip(inputs, (setpoints, v_pu), strict=True)]
        self.that(all(unchanged), "apply: changed its arguments")
        self.that(_same(first, second) and np.array_equal(state, _measured(group), equal_nan=True),
                  "apply: not pure; called twice it must give the same and change nothing")
        self.that(first.p_kw.shape == first.q_kvar.shape == (n,), f"apply: expected p_kw and q_kvar of shape ({n},)")
        self.stop()
        decided = group.placement.gen >= 0
        finite = np.isfinite(first.p_kw) & (np.isfinite(first.q_kvar) | decided)
        self.that(bool(finite.all()), "apply: expected finite powers (q may be NaN for a regulating generator)")
        dead = np.isnan(v_pu)
        p, q = first.p_kw[dead], first.q_kvar[dead]
        self.that(not ((p > 0) | ((p == 0) & (q != 0))).any(),
                  "apply: feeds in without voltage (v_pu NaN); only demand may stay")
        if not group.voltage_dependent:
            other = group.apply(setpoints, np.where(dead, np.nan, 1.0))
            self.that(_same(first, other), "apply: depends on v_pu though voltage_dependent is False")
        self.within(group, group.apply(setpoints, np.ones(n)))
        return first

    def within(self, group: DeviceGroup, at_rated: Injection) -> None:
        """At rated voltage nobody injects more than the envelope says."""
        e, p, q = group.envelope(), at_rated.p_kw, np.nan_to_num(at_rated.q_kvar)
        slack = TOLERANCE * (1.0 + np.abs(p) + np.abs(q))
        inside = (p >= e.p_min_kw - slack) & (p <= e.p_max_kw + slack) & (np.hypot(p, q) <= e.s_max_kva + slack)
        inside &= (q >= e.q_min_kvar - slack) & (q <= e.q_max_kvar + slack)
        self.that(bool(inside.all()), "apply: injects outside its envelope at 1 pu")

    def positions(self, group: DeviceGroup, setpoints: Vector, topology: Topology) -> Topology:
        """The same object when nothing moves; never a change in place."""
        before = Topology(*(getattr(topology, field.name).copy() for field in fields(topology)))
        moved = group.positions(setpoints, topology)
        self.that(topology.same_as(before), "positions: changed the topology it was given; expected a new one")
        self.that(moved is topology or not moved.same_as(topology), "positions: a new object though nothing moved")
        self.that(group.positions(setpoints, moved) is moved, "positions: asked again with its own answer, it must "
                                                              "return that object")
        return moved

    def measure(self, group: DeviceGroup, twin: DeviceGroup) -> None:
        """Every value written; counters never fall; the same history gives the same values."""
        out, other = _measured(group), _measured(twin)
        self.that(not (out == UNWRITTEN).any(), "measure: left values unwritten")
        self.that(np.array_equal(out, other, equal_nan=True), "two groups with one history measure different values")
        counters = np.array([m.kind is PointKind.COUNTER for m in group.measurements], bool)
        falls = self.counted is not None and bool((out[counters] < self.counted - TOLERANCE).any())
        self.that(not falls, "measure: a counter fell")
        self.counted = out[counters]

    counted: Vector | None = None


def _same(first: Injection, second: Injection) -> bool:
    v_same = (first.v_set_pu is None) == (second.v_set_pu is None) and (
        first.v_set_pu is None or second.v_set_pu is None
        or np.array_equal(first.v_set_pu, second.v_set_pu, equal_nan=True))
    return (np.array_equal(first.p_kw, second.p_kw) and np.array_equal(first.q_kvar, second.q_kvar, equal_nan=True)
            and v_same)


def _measured(group: DeviceGroup) -> Vector:
    out = np.full((len(group.measurements), len(group.names)), UNWRITTEN)
    group.measure(out)
    return out
