"""`hil.floor`: the null loop beside a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

from hil.floor import NoiseFloor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cores of a process are read from Linux")


@pytest.fixture
def cores() -> Iterator[set[int]]:
    """Those of this process, which get them back."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def cores_of(pid: int) -> set[int]:
    """The cores a process may use, once it has said so itself; at most five seconds."""
    for _ in range(500):
        found = os.sched_getaffinity(pid)
        if len(found) > 1:
            break
        time.sleep(0.01)
    return found


def test_it_measures_the_machine_and_not_the_run(cores: set[int]) -> None:
    """A run that keeps to one core leaves its floor all the others too."""
    if len(cores) < 2:
        pytest.skip("one core only")
    os.sched_setaffinity(0, {min(cores)})
    floor = NoiseFloor(10_000, cores)
    assert floor._child is not None
    assert cores_of(floor._child.pid) == cores
    floor.stop()


def test_it_tells_both_of_its_figures() -> None:
    """A timer's lateness and a wake-up, in a second or so."""
    floor = NoiseFloor(10_000, os.sched_getaffinity(0))
    time.sleep(1.0)
    found = floor.stop()
    assert found["lateness"]["count"] > 5
    assert found["wakeup"]["count"] > 5
    assert floor.stop() == {}
