"""All groups side by side: one setpoint vector in, one dispatch out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from cosim.plugins import Injection, Placement, Role, Setpoint
from cosim.simulation.fleet import Fleet
from cosim.simulation.layout import Layout, agent_blocks, device_blocks
from cosim.state import Dispatch, Topology

NOTHING = np.zeros(0, bool)
TOPOLOGY = Topology(np.ones(2, bool), NOTHING, np.ones(2, bool), NOTHING, np.zeros(0), np.zeros(0))
BASE = Dispatch(np.zeros(0), np.zeros(0), np.array([100.0, 200.0]), np.array([1.01, 1.02]), TOPOLOGY)


@dataclass
class Echo:
    """Injects its first row as p, its second (if any) as q, plus a thousand times the voltage it sees."""

    names: tuple[str, ...]
    bus: list[int]
    gen: list[int] = field(default_factory=list)
    n_row: int = 2
    v_set_pu: np.ndarray | None = None
    voltage_dependent: bool = False
    restricts: bool = True
    wants_us: int | None = None
    kind: str = "echo"
    measurements: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.names)
        self.placement = Placement(np.array(self.bus, np.int64), np.array(self.gen or [-1] * n, np.int64))
        low, high = -np.arange(1.0, n + 1), np.arange(1.0, n + 1)
        self.setpoints = (Setpoint("p_kw", "kW", Role.P_KW, low, high),
                          Setpoint("on", "", Role.POSITION, low * 0, high * 0 + 1, binary=True))[:self.n_row]
        self.seen: list[tuple[list[Any], list[float]]] = []
        self.settled: list[Any] = []

    def advance(self, t_us: int) -> None:
        """Remember."""
        self.settled.append(("advanced", t_us))

    def apply(self, setpoints: np.ndarray, v_pu: np.ndarray) -> Injection:
        """Echo."""
        self.seen.append((setpoints.tolist(), v_pu.tolist()))
        rows = [*setpoints, *np.zeros((2, len(self.names)))]
        return Injection(rows[0] + 0.0, rows[1] + 1000 * np.nan_to_num(v_pu), self.v_set_pu)

    def positions(self, setpoints: np.ndarray, topology: Topology) -> Topology:
        """Open line 0 where asked."""
        return topology.with_line(0, False) if self.n_row > 1 and (setpoints[1] == 0).any() else topology

    def settle(self, setpoints: np.ndarray, injection: Injection, v_pu: np.ndarray, t_us: int) -> None:
        """Remember."""
        self.settled.append((setpoints.tolist(), injection.p_kw.tolist(), t_us))

    def next_us(self) -> int | None:
        """As told."""
        return self.wants_us


def fleet(*groups: Echo, extra: tuple[int, ...] = ()) -> Fleet:
    """A fleet of fakes."""
    return Fleet(groups, extra)  # type: ignore[arg-type]  # fakes


def test_outputs_and_injections_are_blocks_in_group_order() -> None:
    """Setpoints row by row within a group, devices one after the other, disturbances last."""
    first, second = Echo(("a", "b"), [3, 4]), Echo(("c",), [5], n_row=1)
    ours = fleet(first, second, extra=(1, 2))
    assert ours.names == ("a", "b", "c")
    assert (ours.n_output, ours.n_device) == (5, 3)
    assert ours.output_slices == (slice(0, 4), slice(4, 5))
    assert ours.device_slices == (slice(0, 2), slice(2, 3))
    assert ours.injection_bus.tolist() == [3, 4, 5, 1, 2]
    ours.set_extra(1, 7.0, 8.0)
    dispatch, injections = ours.apply(np.array([10.0, 20, 0.5, 0.25, 30]), np.arange(6) / 1000, BASE)
    assert dispatch.p_kw.tolist() == [10, 20, 30, 0, 7]
    assert dispatch.q_kvar.tolist() == pytest.approx([3.5, 4.25, 5, 0, 8])
    assert first.seen == [([[10, 20], [0.5, 0.25]], [0.003, 0.004])]
    assert [injection.p_kw.tolist() for injection in injections] == [[10, 20], [30]]
    assert dispatch.gen_p_kw is BASE.gen_p_kw
    assert dispatch.topology is TOPOLOGY


def test_outputs_stand_as_the_points_do() -> None:
    """Point i of the block ``outputs`` is output i of the fleet, with its range and kind."""
    groups = (Echo(("a", "b"), [0, 0]), Echo(("c",), [0], n_row=1))
    layout = Layout()
    device_blocks(layout, groups)  # type: ignore[arg-type]  # fakes
    agent_blocks(layout, ())
    points = layout.points[layout.blocks["outputs"]]
    assert [point.name for point in points] == ["a.p_kw", "b.p_kw", "a.on", "b.on", "c.p_kw"]
    assert [(point.low, point.high) for point in points] == [(-1, 1), (-2, 2), (0, 1), (0, 1), (-1, 1)]
    assert [point.kind.name for point in points] == ["ANALOG_OUTPUT"] * 2 + ["BINARY_OUTPUT"] * 2 + ["ANALOG_OUTPUT"]
    assert layout.blocks["targets"].start == layout.blocks["outputs"].stop


def test_a_device_in_the_place_of_a_generator_sets_that() -> None:
    """Its power and voltage go to the generator and not into the injections; the base is not written."""
    group = Echo(("a", "g"), [3, 4], gen=[-1, 1], n_row=1, v_set_pu=np.array([np.nan, 1.05]))
    dispatch, _ = fleet(group).apply(np.array([10.0, 20.0]), np.ones(6), BASE)
    assert dispatch.p_kw.tolist() == [10, 0]
    assert dispatch.q_kvar.tolist() == [1000, 0]
    assert dispatch.gen_p_kw.tolist() == [100, 20]
    assert dispatch.gen_v_pu.tolist() == [1.01, 1.05]
    assert (BASE.gen_p_kw.tolist(), BASE.gen_v_pu.tolist()) == ([100, 200], [1.01, 1.02])


def test_a_generator_without_a_voltage_keeps_the_networks() -> None:
    """NaN, or none given at all."""
    for v_set in (np.array([np.nan]), None):
        group = Echo(("g",), [4], gen=[0], n_row=1, v_set_pu=v_set)
        dispatch, _ = fleet(group).apply(np.array([5.0]), np.ones(6), BASE)
        assert dispatch.gen_v_pu.tolist() == [1.01, 1.02]
        assert dispatch.gen_p_kw.tolist() == [5, 200]


def test_a_device_at_no_bus_injects_nothing_and_sees_no_voltage() -> None:
    """A breaker, a tap changer: NaN voltage, no power."""
    group = Echo(("cb", "a"), [-1, 2], n_row=1)
    ours = fleet(group)
    dispatch, _ = ours.apply(np.array([5.0, 6.0]), np.full(6, 1.0), BASE)
    assert dispatch.p_kw.tolist() == [0, 6]
    assert np.isnan(group.seen[0][1][0])
    assert ours.injection_bus.tolist() == [0, 2]


def test_applying_changes_nothing() -> None:
    """Twice the same, to the bit, and no device is told to settle."""
    group = Echo(("a", "b"), [3, 4])
    ours, setpoints, v = fleet(group, extra=(1,)), np.array([1.0, 2, 1, 1]), np.linspace(0.9, 1.1, 6)
    first, second = (ours.apply(setpoints, v, BASE)[0] for _ in range(2))
    assert first.p_kw.tobytes() == second.p_kw.tobytes()
    assert first.q_kvar.tobytes() == second.q_kvar.tobytes()
    assert group.settled == []
    assert ours.device_p_kw.tolist() == [0, 0]


def test_settling_tells_every_group_and_keeps_what_was_handed_out() -> None:
    """Power of devices is a new vector each time: what held before is still what held."""
    group, other = Echo(("a",), [0], n_row=1), Echo(("b",), [1], n_row=1)
    ours, v = fleet(group, other), np.ones(2)
    held = []
    for t_us, setpoints in ((1, np.array([1.0, 2.0])), (2, np.array([3.0, 4.0]))):
        ours.settle(setpoints, ours.apply(setpoints, v, BASE)[1], v, t_us)
        held.append(ours.device_p_kw)
    assert [p_kw.tolist() for p_kw in held] == [[1, 2], [3, 4]]
    assert other.settled == [([[2.0]], [2.0], 1), ([[4.0]], [4.0], 2)]


def test_positions_pass_from_group_to_group() -> None:
    """The very object while nothing moves."""
    ours = fleet(Echo(("a",), [0]), Echo(("b",), [0]))
    assert ours.positions(np.array([1.0, 1, 1, 1]), TOPOLOGY) is TOPOLOGY
    assert ours.positions(np.array([1.0, 1, 1, 0]), TOPOLOGY).line_closed.tolist() == [False, True]


def test_the_earliest_wish_for_a_solve_counts() -> None:
    """None when nobody has one."""
    assert fleet(Echo(("a",), [0])).next_us() is None
    assert fleet(Echo(("a",), [0], wants_us=9), Echo(("b",), [0], wants_us=4), Echo(("c",), [0])).next_us() == 4


def test_advancing_reaches_every_group_once() -> None:
    """With the time."""
    groups = [Echo(("a",), [0]), Echo(("b",), [0])]
    fleet(*groups).advance(7)
    assert [group.settled for group in groups] == [[("advanced", 7)]] * 2


def test_a_fleet_of_nothing_dispatches_nothing() -> None:
    """A run without devices."""
    empty = fleet()
    dispatch, injections = empty.apply(np.zeros(0), np.ones(6), BASE)
    empty.settle(np.zeros(0), injections, np.ones(6), 0)
    assert dispatch.p_kw.size == empty.device_p_kw.size == 0
    assert not empty.voltage_dependent
