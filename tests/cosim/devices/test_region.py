"""Regions of active and reactive power: what is refused, and the nearest point."""

from __future__ import annotations

from math import cos, hypot, pi, sin

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cosim.devices.region import Point, Region, Regions

REGION: TypeAdapter[tuple[Point, ...]] = TypeAdapter(Region)
CHAMFERED = ((0.0, -30.0), (20.0, -30.0), (30.0, -15.0), (30.0, 15.0), (20.0, 30.0), (0.0, 30.0))


def nearest(corners: tuple[Point, ...], p: float, q: float, low: float = -1e9, high: float = 1e9) -> Point:
    at = Regions([corners]).nearest(*(np.array([x]) for x in (p, q, low, high)))
    return float(at[0][0]), float(at[1][0])


@pytest.mark.parametrize(("corners", "says"), [
    (((0, 0), (1, 0)), "3 to 64 corners"),
    (((0, 0), (1, 0), (1, 0), (0, 1)), "appears twice"),
    (((0, 0), (4, 0), (1, 1), (0, 4)), "once around a convex region"),
    (((0, 0), (1, 0), (2, 0)), "with an area"),
    (((-1, -1), (1, 1), (-1, 1), (1, -1)), "with an area"),
    (((1, 1), (2, 1), (2, 2)), r"must contain \[0, 0\]"),
])
def test_what_is_no_region_is_refused(corners: tuple[Point, ...], says: str) -> None:
    """Each refusal says what a region is."""
    with pytest.raises(ValidationError, match=says):
        REGION.validate_python(corners)


def test_a_pentagram_is_no_region() -> None:
    """Corners that go around twice turn left everywhere and are not convex."""
    star = tuple((cos(4 * pi * k / 5), sin(4 * pi * k / 5)) for k in range(5))
    with pytest.raises(ValidationError, match="once around"):
        REGION.validate_python(star)


def test_either_way_around_is_one_region() -> None:
    """Corners may go around clockwise or not, and may lie on a straight edge."""
    clockwise = REGION.validate_python(CHAMFERED[::-1])
    assert clockwise == REGION.validate_python(clockwise)
    assert REGION.validate_python(((-1, 0), (0, 0), (1, 0), (0, 1))) == ((-1, 0), (0, 0), (1, 0), (0, 1))


@pytest.mark.parametrize(("asked", "high", "found"), [
    ((10.0, 20.0), 1e9, (10.0, 20.0)), ((30.0, 30.0), 1e9, (23.076923076923077, 25.384615384615383)),
    ((40.0, 0.0), 1e9, (30.0, 0.0)), ((30.0, 30.0), 5.0, (5.0, 30.0)), ((30.0, 30.0), 22.0, (22.0, 27.0)),
    ((10.0, -99.0), 0.0, (0.0, -30.0)), ((-4.0, 3.0), 1e9, (0.0, 3.0)),
])
def test_nearest_points_by_hand(asked: Point, high: float, found: Point) -> None:
    """Inside stays; a chamfer takes from both powers; a cut comes before the chamfer."""
    assert nearest(CHAMFERED, *asked, high=high) == pytest.approx(found, abs=1e-12)


angles = st.lists(st.floats(0, 2 * pi), min_size=3, max_size=12, unique=True)


@settings(max_examples=200, deadline=None)
@given(angles, st.floats(0.1, 1e6), st.tuples(st.floats(-2, 2), st.floats(-2, 2)), st.tuples(st.floats(0, 1.1),
                                                                                              st.floats(0, 1.1)))
def test_nearest_is_inside_idempotent_and_nearest(
        around: list[float], size: float, asked: Point, strip: tuple[float, float]) -> None:
    """The answer lies in the cut region, comes back to the bit, and no point of the region is nearer."""
    corners = tuple((size * cos(a), size * sin(a)) for a in sorted(around))
    try:
        corners = REGION.validate_python(corners)
    except ValidationError:
        assume(False)
    p, q, low, high = size * asked[0], size * asked[1], -size * strip[0], size * strip[1]
    here = nearest(corners, p, q, low, high)
    assert nearest(corners, *here, low, high) == here
    assert low <= here[0] <= high
    assert Regions([corners]).holds(*(np.array([x]) for x in here))[0]
    away = (p - here[0], q - here[1])
    for a, b in zip(corners, (*corners[1:], corners[0]), strict=True):
        for share in np.linspace(0, 1, 11):
            other = (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
            if low <= other[0] <= high:
                turn = away[0] * (other[0] - here[0]) + away[1] * (other[1] - here[1])
                assert turn <= 1e-9 * size * max(hypot(*away), size)


def test_what_is_nowhere_stands_still() -> None:
    """NaN is answered with no power rather than with NaN."""
    assert nearest(CHAMFERED, float("nan"), 3.0) == (0.0, 0.0)


def test_devices_of_many_corners_and_few_stand_side_by_side() -> None:
    """Regions of a group may differ in their number of corners; each device gets its own."""
    regions = Regions([CHAMFERED, ((-1.0, -1.0), (1.0, -1.0), (0.0, 2.0))])
    p, q = regions.nearest(np.array([30.0, 0.0]), np.array([30.0, 9.0]), np.full(2, -99.0), np.full(2, 99.0))
    assert p == pytest.approx([23.076923076923077, 0.0])
    assert q == pytest.approx([25.384615384615383, 2.0])
    assert regions.s_max_kva == pytest.approx([hypot(20, 30), 2.0])
