"""Points: names, samples, snapshots, and who hears of a change."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.errors import GridloopError
from cosim.points import Point, PointDatabase, PointKind, Quality, match, span

NAMES = ("grid.p_kw", "bus.1.v_pu", "bus.2.v_pu", "bus.10.v_pu", "pv.p_set_kw", "pv.closed")


def database(deadband: float = 0.0) -> PointDatabase:
    """Six points, the last two outputs."""
    kinds = [PointKind.ANALOG_INPUT] * 4 + [PointKind.ANALOG_OUTPUT, PointKind.BINARY_OUTPUT]
    return PointDatabase(Point(name, kind, deadband=deadband) for name, kind in zip(NAMES, kinds, strict=True))


def publish(points: PointDatabase, *values: float, t_us: int = 0) -> None:
    """Publish good values."""
    points.publish(np.array(values, float), np.zeros(len(values), np.uint8), t_us)


def test_points_start_unpublished() -> None:
    """NaN, RESTART, and a time before the first instant."""
    points = database()
    assert np.isnan(points.values).all()
    assert (points.quality == Quality.RESTART).all()
    assert points.t_us == -1
    assert len(points) == 6


def test_only_outputs_are_writable() -> None:
    """Two of the five kinds."""
    assert [kind.name for kind in PointKind if kind.writable] == ["ANALOG_OUTPUT", "BINARY_OUTPUT"]


def test_equal_names_are_refused_and_named() -> None:
    """The first five that are found twice are in the message, sorted; ten thousand points do not take minutes."""
    names = [f"p{i}" for i in range(10_000)] * 2
    with pytest.raises(GridloopError, match=r"must be unique; found twice: p0, p1, p10, p100, p1000$"):
        PointDatabase(Point(name, PointKind.COUNTER) for name in names)


def test_an_unknown_name_gets_a_suggestion() -> None:
    """Close matches, else how many points there are."""
    with pytest.raises(GridloopError, match=r"unknown point 'bus\.3\.v_pu'; did you mean bus\.2\.v_pu"):
        database().id_of("bus.3.v_pu")
    with pytest.raises(GridloopError, match="there are 6 points"):
        database().id_of("zzz")


def test_patterns_keep_the_order_asked_and_the_database_order_within() -> None:
    """Names and patterns mix; a pattern's matches come in database order; overlap gives a point twice."""
    points = database()
    assert points.ids_of(["pv.closed", "bus.*"]).tolist() == [5, 1, 2, 3]
    assert points.ids_of(["bus.1.v_pu", "bus.1*"]).tolist() == [1, 1, 3]
    assert points.ids_of([]).tolist() == []
    with pytest.raises(GridloopError, match=r"pattern 'gen\.\*' matches none of the 6 points"):
        points.ids_of(["gen.*"])


@pytest.mark.parametrize(("pattern", "found"), [
    ("*", [0, 1, 2, 3]), ("a.*", [0, 1]), ("*.p", [0, 2]), ("a*p", [0]), ("a.p", [0]), ("A.*", []), ("a.", []),
    ("a?p", []), ("[ab].p", []), ("**.q", [1, 3])])
def test_a_star_matches_any_characters_and_nothing_else_is_special(pattern: str, found: list[int]) -> None:
    """Dots, brackets and question marks are themselves; the whole name must match."""
    assert match(pattern, ["a.p", "a.q", "bap.p", "c.q"]) == found


def test_reading_gives_what_was_published() -> None:
    """One by name, several in the order asked."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6)
    assert points.read("bus.2.v_pu") == 3.0
    assert points.read_vector(["pv.closed", "bus.*"]).tolist() == [6.0, 2.0, 3.0, 4.0]


def test_a_vector_read_is_a_copy() -> None:
    """Writing into it does not reach the database."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6)
    points.read_vector(["bus.*"])[:] = 99
    assert points.values.tolist() == [1, 2, 3, 4, 5, 6]


def test_only_publishing_writes() -> None:
    """Values and qualities that the database shows cannot be written through."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6)
    for shown in (points.values, points.published, points.quality):
        with pytest.raises(ValueError, match="read-only"):
            shown[0] = 9


def test_what_is_not_required_is_worked_out_when_somebody_asks() -> None:
    """`complete` is called once, on the first look; required points and subscribers never need it."""
    points, calls = database(), []

    def complete(values: np.ndarray) -> None:
        calls.append(1)
        values[3] = 42.0

    points.require(np.array([0]))
    told = heard(points, [1])
    points.publish(np.array([1.0, 2, 3, np.nan, 5, 6]), np.zeros(6, np.uint8), 0, complete)
    assert points.take(np.array([0])).tolist() == [1.0]
    assert np.isnan(points.published[3])
    assert (told, calls) == ([([1], 0)], [])
    assert [points.values[3], points.read("bus.10.v_pu"), points.snapshot().values[3]] == [42.0] * 3
    assert calls == [1]
    assert points.required(slice(0, 3))
    assert not points.required(slice(2, 6))


def test_requiring_a_point_later_loses_nothing() -> None:
    """What was left to be worked out is worked out first."""
    points = database()
    points.publish(np.full(6, np.nan), np.zeros(6, np.uint8), 0, lambda values: values.fill(7.0))
    points.require(np.array([5]))
    assert points.take(np.array([5])).tolist() == [7.0]


def test_a_snapshot_is_immutable_and_stays_as_it_was() -> None:
    """It cannot be written, and the next publish does not change it."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6, t_us=10)
    snapshot = points.snapshot()
    with pytest.raises(ValueError, match="read-only"):
        snapshot.values[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        snapshot.quality[0] = 1
    publish(points, 7, 7, 7, 7, 7, 7, t_us=20)
    assert (snapshot.t_us, snapshot.values.tolist()) == (10, [1, 2, 3, 4, 5, 6])
    assert points.snapshot().t_us == 20


def test_a_snapshot_is_made_once_an_instant() -> None:
    """However often it is asked for."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6)
    assert points.snapshot() is points.snapshot()


def test_publishing_copies() -> None:
    """What the writer does to its arrays afterwards is not seen."""
    points = database()
    values = np.arange(6.0)
    points.publish(values, np.zeros(6, np.uint8), 0)
    values[:] = -1
    assert points.values.tolist() == [0, 1, 2, 3, 4, 5]


def test_time_of_publishing_never_decreases() -> None:
    """Equal is fine (two solves of one instant), earlier is a mistake of ours."""
    points = database()
    publish(points, 1, 2, 3, 4, 5, 6, t_us=10)
    publish(points, 1, 2, 3, 4, 5, 6, t_us=10)
    with pytest.raises(AssertionError, match="t = 9 us after 10 us"):
        publish(points, 1, 2, 3, 4, 5, 6, t_us=9)


# -- subscribers ------------------------------------------------------------------------------------------------------


def heard(points: PointDatabase, ids: list[int], deadband: float | None = None) -> list[tuple[list[int], int]]:
    """What a subscriber is told."""
    told: list[tuple[list[int], int]] = []
    points.subscribe(np.array(ids, np.int64), lambda changed, t_us: told.append((changed.tolist(), t_us)), deadband)
    return told


def test_subscribers_hear_changed_ids_and_the_time() -> None:
    """First everything, then what changed, then nothing."""
    points = database()
    told = heard(points, [1, 2, 4])
    publish(points, 0, 1, 1, 0, 5, 0, t_us=1)
    publish(points, 9, 1, 2, 9, 6, 9, t_us=2)
    publish(points, 8, 1, 2, 8, 6, 8, t_us=3)
    assert told == [([1, 2, 4], 1), ([2, 4], 2)]


def test_a_subscriber_reads_the_new_values() -> None:
    """The database is written before anyone is told."""
    points, read = database(), []
    points.subscribe(np.array([0]), lambda ids, _: read.append(points.values[ids].tolist()))
    publish(points, 3, 0, 0, 0, 0, 0)
    assert read == [[3.0]]


def test_a_change_counts_from_what_was_told_last() -> None:
    """Creeping within the deadband is told once it has added up; exactly the deadband is not beyond it."""
    points = database(deadband=1.0)
    told = heard(points, [0])
    for t_us, value in enumerate([0.0, 0.75, 1.0, 1.25, 2.0, 0.25]):
        publish(points, value, 0, 0, 0, 0, 0, t_us=t_us)
    assert [t_us for _, t_us in told] == [0, 3]


def test_a_subscribers_own_deadband_wins() -> None:
    """Given at subscription, it takes the place of the points' own."""
    points = database(deadband=100.0)
    told = heard(points, [0], deadband=0.0)
    publish(points, 0, 0, 0, 0, 0, 0, t_us=0)
    publish(points, 1e-9, 0, 0, 0, 0, 0, t_us=1)
    assert len(told) == 2


def test_turning_nan_and_back_are_changes() -> None:
    """A value that goes away is told once, and so is one that comes back, deadband or not."""
    points = database(deadband=1000.0)
    told = heard(points, [0])
    for t_us, value in enumerate([np.nan, 1.0, np.nan, np.nan, 1.0, 1.0]):
        publish(points, value, 0, 0, 0, 0, 0, t_us=t_us)
    assert [t_us for _, t_us in told] == [1, 2, 4]


def test_subscribers_are_told_in_the_order_of_subscribing() -> None:
    """Order is fixed."""
    points, order = database(), []
    for name in "bca":
        points.subscribe(np.array([0]), lambda *_, name=name: order.append(name))
    publish(points, 1, 0, 0, 0, 0, 0)
    assert order == ["b", "c", "a"]


def test_leaving_inside_a_callback_takes_effect_at_once() -> None:
    """One's own leaving is safe, and another who is thrown out is not told any more in that publish."""
    points, told, ways_out = database(), [], []

    def first(*_: object) -> None:
        told.append("first")
        for leave in ways_out:
            leave()

    ways_out.append(points.subscribe(np.array([0]), first))
    ways_out.append(points.subscribe(np.array([0]), lambda *_: told.append("second")))
    points.subscribe(np.array([0]), lambda *_: told.append("third"))
    publish(points, 1, 0, 0, 0, 0, 0, t_us=0)
    publish(points, 2, 0, 0, 0, 0, 0, t_us=1)
    assert told == ["first", "third", "third"]
    ways_out[0]()


def test_joining_inside_a_callback_hears_from_the_next_publish() -> None:
    """Not in the one that is going on."""
    points, told = database(), []

    def first(_: object, t_us: int) -> None:
        if t_us == 0:
            points.subscribe(np.array([0]), lambda _, t_us: told.append(t_us))

    points.subscribe(np.array([0]), first)
    publish(points, 1, 0, 0, 0, 0, 0, t_us=0)
    publish(points, 1, 0, 0, 0, 0, 0, t_us=1)
    assert told == [1]


def test_an_empty_subscription_is_never_told() -> None:
    """No ids, no calls."""
    points = database()
    told = heard(points, [])
    publish(points, 1, 0, 0, 0, 0, 0)
    assert told == []


def test_neighbours_are_a_slice_and_others_stay_as_they_are() -> None:
    """A block is read without copying; a gap, another order or nothing at all is no block."""
    values = np.arange(9.0)
    for ids in ([3, 4, 5], [7], [3, 5], [4, 3], [2, 2], []):
        at = span(np.array(ids, np.int64))
        assert isinstance(at, slice) == (ids in ([3, 4, 5], [7]))
        assert values[at].tolist() == ids
