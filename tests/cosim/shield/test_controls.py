"""What may be moved: effective powers of the devices, and set points only where those have to change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.shield.controls import Controls, Frame, Kind
from cosim.simulation import Simulation
from tests.cosim.shield.shielded import PV, at, shielded, told

PLANT = {**PV, "p_rated_kw": 1000, "s_rated_kva": 1000, "q_max_pu": 0.6}
BATTERY = {"kind": "battery", "name": "bat", "bus": "25", "e_rated_kwh": 4000, "p_max_kw": 200}
LOAD = {"kind": "load", "name": "ld", "bus": "5", "p_kw": 30, "q_kvar": 5}
NAN = np.nan


class World:
    """A run without a shield, and the controls of its devices around what is applied."""

    def __init__(self, *devices: dict[str, Any], **setpoints: float) -> None:
        self.simulation: Simulation = told(at(shielded(devices, "off"), 1), 2, **setpoints)
        fleet = self.simulation._fleet
        names = self.simulation.points.points
        self.outputs = [names[i].name for i in self.simulation.inbox.point_ids]
        self.asked = self.simulation.inbox.in_force.values[: fleet.n_output]
        self.controls = Controls(fleet.groups, fleet.output_slices, np.ones((2, fleet.n_device)))
        self.dispatch = self.simulation.grid.dispatch
        self.envelope = self.controls.envelope()

    def frame(self, **changes: Any) -> Frame:
        """Around what is asked."""
        v_pu = changes.pop("v_pu", np.ones(self.controls.n_device))
        return self.controls.frame(self.asked, self.dispatch, self.envelope, v_pu)

    def named(self, frame: Frame) -> dict[str, tuple[float, float, float]]:
        """(at, low, high) by the output's name."""
        return {self.outputs[slot]: (float(frame.at[k]), float(frame.low[k]), float(frame.high[k]))
                for k, slot in enumerate(self.controls.slot[frame.index])}

    def written(self, frame: Frame, x: np.ndarray) -> dict[str, float]:
        """The set points that differ from what is asked when the devices are to do `x`."""
        standing = self.controls.read(self.asked, self.dispatch)[frame.index]
        out = self.controls.setpoints(self.asked, frame, x, standing)
        differ = (out != self.asked) & ~(np.isnan(out) & np.isnan(self.asked))
        return {self.outputs[slot]: float(out[slot]) for slot in np.flatnonzero(differ)}


def test_a_plant_without_a_command_stands_at_what_it_feeds_in_and_may_go_down() -> None:
    """NaN is no cap: its range goes to what the sun gives."""
    world = World(PLANT)
    assert world.named(world.frame())["pv.p_set_kw"] == (1000, 0, 1000)


def test_a_cap_is_not_passed() -> None:
    """Who asked for 300 kW at most is not given more."""
    world = World(PLANT, pv__p_set_kw=300.0)
    assert world.named(world.frame())["pv.p_set_kw"] == (300, 0, 300)


def test_a_battery_may_go_either_way_whatever_is_asked() -> None:
    """A target is no cap."""
    world = World(BATTERY, bat__p_set_kw=50.0)
    found = world.named(world.frame())
    assert found["bat.p_set_kw"] == (50, -200, 200)
    assert found["bat.q_set_kvar"] == (0, -200, 200)


def test_a_load_may_be_moved_only_back_toward_one_and_only_if_commanded() -> None:
    """Shedding is for emergencies."""
    assert "ld.scale" not in World(LOAD).named(World(LOAD).frame())
    for scale, low, high in ((2.0, 1.0, 2.0), (0.5, 0.5, 1.0)):
        world = World(LOAD, ld__scale=scale)
        assert world.named(world.frame())["ld.scale"] == (scale, low, high)


def test_who_has_no_voltage_is_left_alone() -> None:
    """Behind an open breaker nothing helps."""
    world = World(PLANT, BATTERY)
    found = world.named(world.frame(v_pu=np.array([NAN, 1.0])))
    assert all(name.startswith("bat.") for name in found)


def test_active_and_reactive_power_of_a_device_share_its_rating() -> None:
    """Each knows the other, and the circle."""
    world = World(PLANT)
    frame = world.frame()
    assert frame.partner.tolist() == [1, 0]
    assert frame.radius_kva.tolist() == [1000, 1000]
    assert world.controls.kind[frame.index].tolist() == [Kind.CAP, Kind.Q]


def test_only_what_changes_is_written() -> None:
    """Nothing where nothing moves, to the very object; one set point where one does."""
    world = World(PLANT, BATTERY, bat__p_set_kw=50.0)
    frame = world.frame()
    standing = world.controls.read(world.asked, world.dispatch)[frame.index]
    assert world.controls.setpoints(world.asked, frame, standing, standing) is world.asked
    x = standing.copy()
    x[world.controls.slot[frame.index] == world.outputs.index("bat.p_set_kw")] = -20.0
    assert world.written(frame, x) == {"bat.p_set_kw": -20.0}


def test_a_cap_is_written_where_less_reactive_power_would_let_more_active_through() -> None:
    """Reactive power first: 600 kvar hold the plant at 800 kW; with 100 kvar it would feed in 995."""
    world = World(PLANT, pv__q_set_kvar=600.0)
    frame = world.frame()
    assert frame.at == pytest.approx([800, 600])
    assert world.written(frame, np.array([800.0, 100.0])) == {"pv.p_set_kw": pytest.approx(800),
                                                             "pv.q_set_kvar": 100.0}
    assert world.written(frame, np.array([800.0, 600.0])) == {}


def test_positions_that_are_asked_to_differ_are_found_by_device() -> None:
    """For the distance over what devices do."""
    world = World({"kind": "capacitor", "name": "cap", "bus": "18", "q_step_kvar": 100, "steps": 4}, PLANT)
    other = world.asked.copy()
    other[0] = 2.0
    assert world.controls.repositioned(world.asked, other).tolist() == [True, False]
    assert not world.controls.repositioned(world.asked, world.asked.copy()).any()
