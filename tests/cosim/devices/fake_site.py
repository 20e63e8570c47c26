"""A six-bus network and profiles written as functions of time, for the device tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from cosim.errors import PluginError
from cosim.points import Vector
from cosim.profile_ref import ProfileRef
from cosim.state import Topology

SECOND = 1_000_000
HOUR = 3600 * SECOND
NAN = float("nan")


class FixedTaps:
    """Transformers whose ratio changes by `step` (n,) a position; 0 for none."""

    def __init__(self, step: Vector) -> None:
        self.step = step

    def at(self, tap: Vector) -> Any:
        """Only the ratio is asked for."""
        return SimpleNamespace(ratio=(1.0 + self.step * tap).astype(complex))


def injections(names: tuple[str, ...], bus: list[int], p: list[float], q: list[float]) -> Any:
    return SimpleNamespace(names=names, bus=np.array(bus), p_kw=np.array(p), q_kvar=np.array(q))


def make_network() -> Any:
    """Buses b0..b5; two lines, three transformers (the third without taps), two switches, two gens, two shunts."""
    topology = Topology(np.ones(2, bool), np.ones(3, bool), np.ones(3, bool), np.array([True, False]),
                        np.zeros(3), np.array([1.0, 0.0]))
    gens = injections(("g0", "g1", "slack"), [1, 2, 0], [300.0, 50.0, 0.0], [0.0, 0.0, 0.0])
    gens.__dict__.update(v_pu=np.array([1.02, 1.01, 1.0]), p_min_kw=np.array([100.0, 0.0, 0.0]),
                         p_max_kw=np.array([500.0, 80.0, 1e4]), q_min_kvar=np.array([-200.0, -30.0, -1e4]),
                         q_max_kvar=np.array([200.0, 30.0, 1e4]), regulates=np.array([True, True, True]),
                         slack=np.array([False, False, True]))
    shunts = injections(("c0", "c1"), [3, 4], [0.0, 0.0], [50.0, 25.0])
    shunts.max_step = np.array([2.0, 4.0])
    branches = SimpleNamespace(from_bus=np.array([0, 1, 0, 2, 3]), to_bus=np.array([1, 2, 1, 4, 5]),
                               tap_min=np.array([-16.0, -8.0, 0.0]), tap_max=np.array([16.0, 8.0, 0.0]),
                               taps=FixedTaps(np.array([0.00625, -0.0125, 0.0])))
    return SimpleNamespace(
        bus_names=tuple(f"b{i}" for i in range(6)), line_names=("l0", "l1"), trafo_names=("t0", "t1", "t2"),
        switch_names=("s0", "s1"), load_names=("house", "shop"), sgen_names=("roof", "park"),
        gen_names=gens.names, shunt_names=shunts.names, branches=branches, gens=gens, shunts=shunts,
        loads=injections(("house", "shop"), [3, 4], [-4.0, -20.0], [-1.0, -5.0]),
        sgens=injections(("roof", "park"), [3, 5], [10.0, 60.0], [0.0, 0.0]), topology=topology)


class FakeSite:
    """What a device kind may ask of a run; profiles are functions t_s -> value, by column name."""

    start_us = 0
    duration_us = 24 * HOUR

    def __init__(self, step_s: float = 1.0, **columns: Callable[[float], float]) -> None:
        self.step_us = round(step_s * SECOND)
        self.network = make_network()
        self._columns = columns

    def bus(self, name: str | int) -> int:
        return self._find(self.network.bus_names, "bus", name)

    def element(self, table: str, name: str | int) -> int:
        return self._find(getattr(self.network, f"{table}_names"), table, name)

    def _find(self, names: tuple[str, ...], table: str, name: str | int) -> int:
        if isinstance(name, int) and 0 <= name < len(names):
            return name
        if name not in names:
            raise PluginError(f"unknown {table} '{name}'; known: {', '.join(names)}")
        return names.index(str(name))

    def profile(self, specs: Sequence[ProfileRef | None]) -> Callable[[int], Vector]:
        def sample(t_us: int) -> Vector:
            return np.array([1.0 if spec is None else spec.scale * self._columns[spec.column](t_us / SECOND)
                             for spec in specs])
        return sample

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng(len(name))


def setpoints(group: Any, **values: float | Sequence[float]) -> Vector:
    """Setpoint array (n_setpoint, n) by suffix; NaN for what is not named."""
    suffixes = [point.suffix for point in group.setpoints]
    out = np.full((len(suffixes), len(group.names)), np.nan)
    for suffix, value in values.items():
        out[suffixes.index(suffix)] = value
    return out


def solve(group: Any, t_us: int, v_pu: float | Sequence[float] = 1.0, **values: float | Sequence[float]) -> Any:
    """One SOLVE as the simulation does it; returns what is injected."""
    group.advance(t_us)
    possible, _ = group.limit(setpoints(group, **values))
    v = np.broadcast_to(np.asarray(v_pu, float), (len(group.names),)).copy()
    injection = group.apply(possible, v)
    group.settle(possible, injection, v, t_us)
    return injection


def limited(group: Any, suffix: str, **values: float | Sequence[float]) -> tuple[Vector, list[int]]:
    """What `limit` leaves of one setpoint, and the reasons."""
    possible, reason = group.limit(setpoints(group, **values))
    row = [point.suffix for point in group.setpoints].index(suffix)
    return possible[row], reason[row].tolist()


def measured(group: Any) -> dict[str, Vector]:
    """Measurements by suffix."""
    out = np.full((len(group.measurements), len(group.names)), -1e99)
    group.measure(out)
    return {point.suffix: row for point, row in zip(group.measurements, out, strict=True)}
