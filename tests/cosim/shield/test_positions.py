"""The discrete neighbourhood."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.plugins import Role, Setpoint
from cosim.shield.capability import Capability
from cosim.shield.positions import MOST, Positions

NAN = np.nan


class Stepped:
    """Devices with a power and a position 0..4; they stand as given."""

    restricts = True

    def __init__(self, *standing: float, binary: bool = False) -> None:
        n = len(standing)
        self.names = tuple(f"d{i}" for i in range(n))
        low, high = np.zeros(n), np.full(n, 4.0)
        self.setpoints = (Setpoint("p", "kW", Role.P_KW, low, high),
                          Setpoint("steps", "", Role.POSITION, low, high, binary=binary))
        self._standing = np.array([[NAN] * n, standing])

    def standing(self) -> np.ndarray:
        """As given."""
        return self._standing

    def limit(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions within 0..4."""
        possible = wanted.copy()
        possible[1] = np.clip(wanted[1], 0, 4)
        return possible, ((possible != wanted) & ~np.isnan(wanted)).astype(np.uint8)


def neighbours(group: Any, setpoints: list[float]) -> list[list[float]]:
    """All of them, positions only."""
    n = len(group.names)
    capability = Capability([group], [slice(0, 2 * n)], 2 * n)
    found = Positions([group], [slice(0, 2 * n)], capability).neighbours(np.array(setpoints))
    return [one[n:].tolist() for one in found]


def test_every_device_moves_alone_one_step_up_and_one_down() -> None:
    """From where it is asked to be."""
    assert neighbours(Stepped(0, 0), [NAN, NAN, 1, 2]) == [[2, 2], [0, 2], [1, 3], [1, 1]]


def test_who_is_not_asked_moves_from_where_it_stands_and_others_stay_unasked() -> None:
    """NaN stays NaN."""
    found = neighbours(Stepped(3, 1), [NAN, NAN, NAN, NAN])
    assert [[x for x in one if x == x] for one in found] == [[4], [2], [2], [0]]


def test_what_the_device_cannot_follow_is_no_neighbour() -> None:
    """At the ends of its range."""
    assert neighbours(Stepped(0), [NAN, 4]) == [[3]]
    assert neighbours(Stepped(0), [NAN, 0]) == [[1]]


def test_a_device_that_stands_nowhere_has_no_neighbours() -> None:
    """NaN where a position means nothing."""
    assert neighbours(Stepped(NAN), [NAN, NAN]) == []


def test_switches_are_not_tried() -> None:
    """Breakers, and starting and stopping, are for people."""
    assert neighbours(Stepped(0, 1, binary=True), [NAN] * 4) == []


def test_so_many_are_tried_and_no_more() -> None:
    """Each costs a power flow."""
    n = MOST
    assert len(neighbours(Stepped(*[2.0] * n), [NAN] * (2 * n))) == MOST
