"""What lies over the true state: outages over positions, sensor faults over values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.points import Quality
from cosim.simulation.outages import Branch, Outages
from cosim.simulation.sensors import Sensors
from cosim.state import Topology

NAN = np.nan


def topology(line: Any = (True, True, False)) -> Topology:
    """Three lines (the last open), a transformer, a generator, a switch."""
    one = np.array([True])
    return Topology(np.array(line), one, one, one, np.zeros(1), np.zeros(0))


# -- outages ----------------------------------------------------------------------------------------------------------


def test_without_outages_positions_pass_untouched() -> None:
    """The very object, before any and after all."""
    now = topology()
    outages = Outages(now)
    assert outages.over(now) is now
    outages.begin(Branch.LINE, 0)
    outages.end(Branch.LINE, 0)
    assert outages.over(now) is now


def test_what_is_out_is_open_whatever_its_position() -> None:
    """Only that element, only while it lasts, and the positions themselves are not written."""
    now = topology()
    outages = Outages(now)
    outages.begin(Branch.LINE, 1)
    outages.begin(Branch.TRAFO, 0)
    seen = outages.over(now)
    assert seen.line_closed.tolist() == [True, False, False]
    assert seen.trafo_closed.tolist() == [False]
    assert seen.gen_closed.tolist() == seen.switch_closed.tolist() == [True]
    assert now.line_closed.tolist() == [True, True, False]


def test_the_same_topology_gives_the_same_object() -> None:
    """The grid compares by identity: a new object would mean a new factorisation."""
    now = topology()
    outages = Outages(now)
    outages.begin(Branch.LINE, 0)
    first = outages.over(now)
    assert outages.over(now) is first
    assert outages.over(topology()) is not first
    outages.begin(Branch.LINE, 1)
    assert outages.over(now).line_closed.tolist() == [False, False, False]


def test_overlapping_outages_both_have_to_end() -> None:
    """Counted per element."""
    now = topology()
    outages = Outages(now)
    outages.begin(Branch.GEN, 0)
    outages.begin(Branch.GEN, 0)
    outages.end(Branch.GEN, 0)
    assert not outages.over(now).gen_closed[0]
    outages.end(Branch.GEN, 0)
    assert outages.over(now).gen_closed[0]
    with pytest.raises(AssertionError, match="outage of GEN 0 ended without having begun"):
        outages.end(Branch.GEN, 0)


def test_an_outage_does_not_close_what_a_device_opened() -> None:
    """When it ends, the position is where the devices put it."""
    outages = Outages(topology())
    outages.begin(Branch.LINE, 2)
    outages.end(Branch.LINE, 2)
    assert not outages.over(topology()).line_closed[2]


# -- sensors ----------------------------------------------------------------------------------------------------------


def adding(amount: float, quality: Quality = Quality.SUBSTITUTED) -> Any:
    """A biased sensor."""
    def fault(values: np.ndarray, t_us: int) -> Quality:
        values += amount
        return quality
    return fault


def measured(sensors: Sensors, t_us: int = 0) -> tuple[list[float], list[int]]:
    """0, 1, 2, 3 as the sensors give them."""
    values, quality = np.arange(4.0), np.array([0, 0, 0, Quality.INVALID], np.uint8)
    sensors.measure(values, quality, t_us)
    return values.tolist(), quality.tolist()


def test_faults_apply_in_the_order_they_began_and_add_their_flags() -> None:
    """Only at their points; the flags that stood there stay."""
    sensors = Sensors()

    def double(values: np.ndarray, t_us: int) -> Quality:
        values *= 2
        return Quality.STALE

    sensors.begin(np.array([1, 3]), adding(10))
    sensors.begin(np.array([1]), double)
    assert sensors.active
    assert measured(sensors) == ([0, 22, 2, 13], [0, Quality.SUBSTITUTED | Quality.STALE, 0,
                                                  Quality.INVALID | Quality.SUBSTITUTED])


def test_ending_a_fault_ends_that_one() -> None:
    """Also one of two equal faults, and ending twice is harmless."""
    sensors = Sensors()
    fault = adding(1)
    end = sensors.begin(np.array([0]), fault)
    other = sensors.begin(np.array([0]), fault)
    end()
    end()
    assert measured(sensors)[0][0] == 1.0
    other()
    assert not sensors.active
    assert measured(sensors) == ([0, 1, 2, 3], [0, 0, 0, Quality.INVALID])


def test_a_fault_is_told_the_time() -> None:
    """For drifts and noise."""
    sensors, times = Sensors(), []
    sensors.begin(np.array([0]), lambda values, t_us: times.append(t_us) or Quality.GOOD)
    measured(sensors, 42)
    assert times == [42]
