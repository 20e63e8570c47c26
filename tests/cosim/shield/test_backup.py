"""The backup controller: its curve, its targets, the gain of its loop."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.shield.backup import Droop, loop_gain, target
from cosim.shield.controls import Frame, Kind
from cosim.state import Directions

DROOP = Droop(0.02, 0.06, 0.5)


def frame(kinds: list[Kind], at: list[float], low: list[float], high: list[float]) -> tuple[Frame, np.ndarray]:
    """A control for each device."""
    n = len(kinds)
    every, one, none = np.arange(n), np.ones(n), np.full(n, -1)
    directions = Directions(every, one, one, none, one, one)
    return Frame(every, np.array(at), np.array(low), np.array(high), one, one, none, np.full(n, np.inf), every, one,
                 one, directions), np.array(kinds, np.int64)


@pytest.mark.parametrize(("v_pu", "effort"), [
    (1.0, 0.0), (1.019, 0.0), (0.981, 0.0), (1.04, -0.5), (0.96, 0.5), (1.06, -1.0), (1.2, -1.0), (0.9, 1.0)])
def test_effort_grows_from_the_deadband_to_full(v_pu: float, effort: float) -> None:
    """Against the voltage, and never more than all."""
    assert DROOP.effort(np.array([v_pu])) == pytest.approx([effort])


def test_a_bus_without_voltage_is_left_alone() -> None:
    """NaN is no voltage to hold."""
    assert DROOP.effort(np.array([np.nan])).tolist() == [0.0]


def test_a_high_voltage_is_met_by_absorbing_charging_and_curtailing() -> None:
    """All of it, low-passed by half."""
    controls, kinds = frame([Kind.Q, Kind.P, Kind.CAP], [0, 0, 80], [-40, -50, 0], [40, 50, 100])
    found = target(DROOP, controls, kinds, np.full(3, 1.1), np.array([0.0, 0.0, 80.0]))
    assert found == pytest.approx([-20, -25, 40])


def test_a_low_voltage_is_met_by_injecting_and_discharging_and_a_cap_stays() -> None:
    """Nobody can be asked for more sun."""
    controls, kinds = frame([Kind.Q, Kind.P, Kind.CAP], [0, 0, 80], [-40, -50, 0], [40, 50, 100])
    found = target(DROOP, controls, kinds, np.full(3, 0.9), np.array([0.0, 0.0, 80.0]))
    assert found == pytest.approx([20, 25, 80])


def test_in_the_deadband_it_goes_back_to_what_is_asked() -> None:
    """Active powers half the way, reactive power toward none."""
    controls, kinds = frame([Kind.Q, Kind.P], [30, 40], [-40, -50], [40, 50])
    found = target(DROOP, controls, kinds, np.ones(2), np.array([30.0, 0.0]))
    assert found == pytest.approx([15, 20])


def test_the_loops_gain_is_the_spectral_radius_of_slope_times_sensitivity() -> None:
    """Two inverters of 40 kvar over 0.04 pu: slope 1000 kvar/pu; dV/dQ as given."""
    change = np.array([[2e-4, 1e-4], [1e-4, 2e-4]])
    assert loop_gain(DROOP, np.array([40.0, 40.0]), change) == pytest.approx(0.3)
    assert loop_gain(DROOP, np.array([40.0, 0.0]), change) == pytest.approx(0.2)


def test_without_reactive_power_there_is_no_loop() -> None:
    """Gain 0."""
    assert loop_gain(DROOP, np.empty(0), np.empty((0, 0))) == 0.0
