"""Partitions: set windows, and blocks at run time."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.channel import Fate
from cosim.errors import ScenarioError

LATE = {"kind": "latency", "distribution": "constant", "delay_ms": 10}


def _partition(*windows, **options):
    return {"kind": "partition", "windows": [list(window) for window in windows], **options}


def test_windows_are_half_open(line):
    """[start, end) is down: the sender is told, and nothing else is lost."""
    out = line([_partition((1, 2), (2, 3), (5, 6))]).send_at(np.arange(8) * 1_000_000)
    assert [i for _, i in out.arrived] == [0, 3, 4, 6, 7]
    assert out.answers == [i in (0, 3, 4, 6, 7) for i in range(8)]
    assert (out.link.dropped_partition, out.link.lost) == (3, 0)


def test_in_flight_when_the_partition_stands_first(line):
    """[partition, latency]: what was sent before the window is under way and arrives, unless it is dropped."""
    times_us = [980_000, 990_000, 995_000, 1_500_000, 2_000_000]
    kept = line([_partition((1, 2)), LATE]).send_at(times_us)
    assert kept.arrived == [(990_000, 0), (1_000_000, 1), (1_005_000, 2), (2_010_000, 4)]
    cut = line([_partition((1, 2), drop_in_flight=True), LATE]).send_at(times_us)
    assert cut.arrived == [(990_000, 0), (2_010_000, 4)]
    assert cut.link.dropped_partition == 3
    assert cut.answers == [True, True, True, False, True]


def test_block_until(line):
    """block(until) refuses what is sent before `until`; what is under way arrives."""
    out = line([LATE])
    out.send("before")
    out.link.block(5_000)
    out.send("blocked")
    out.send_at([4_999, 5_000])
    assert out.answers == [True, False, False, True]
    assert out.arrived == [(10_000, "before"), (15_000, 1)]


def test_overlapping_blocks_end_with_the_later(line):
    """Two blocks end with the later one; open_ ends them at once."""
    out = line([])
    out.link.block(5_000)
    out.link.block(3_000)
    out.send_at([4_000, 5_000])
    assert out.answers == [False, True]
    out.link.set_partition(True)
    out.send("down")
    out.link.set_partition(False)
    out.send("up")
    assert out.answers[2:] == [False, True]


def test_block_can_take_what_is_in_flight(line):
    """drop_in_flight counts at once; the observer hears of each when it would have arrived."""
    out = line([LATE])
    fates = []
    out.link.on_fate = lambda *fate: fates.append((out.kernel.now_us, *fate))
    out.send("a")
    out.send("b")
    out.link.block(1_000, drop_in_flight=True)
    assert (out.link.in_flight, out.link.dropped_partition) == (0, 2)
    out.send_at([2_000])
    assert out.arrived == [(12_000, 0)]
    assert fates == [(10_000, 0, -1, Fate.PARTITIONED, 100, "a"), (10_000, 0, -1, Fate.PARTITIONED, 100, "b"),
                     (12_000, 2_000, 12_000, Fate.DELIVERED, 100, 0)]


def test_channel_blocks_both_directions(channels):
    """Channel.block and open_ act on up and down."""
    _, built = channels({"name": "wan"})
    wan = built["wan"]
    wan.block(10)
    assert [t.send(1, print, None) for t in wan.directions] == [False, False]
    wan.open_()
    assert [t.send(1, print, None) for t in wan.directions] == [True, True]


@pytest.mark.parametrize(("windows", "message"), [
    ([], "at least 1 item"),
    ([[2, 1]], r"window \[2, 1\): expected start_s < end_s"),
    ([[1, 3], [2, 4]], r"window \[2, 4\): .* do not overlap"),
    ([[0.0000001, 1]], "not a whole number of microseconds"),
    ([[-1, 1]], "zero or more"),
])
def test_wrong_windows(line, windows, message):
    """Windows out of order, overlapping or off the microsecond raster are refused."""
    with pytest.raises(ScenarioError, match=message):
        line([{"kind": "partition", "windows": windows}])
