"""The command inbox: answers, authority, time to live."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.commands import NEVER_US, Authority, CommandStatus
from tests.cosim.desk import AGENT, INTERLOCK, NAN, OPERATOR, SCHEDULE, Desk

# -- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("point", "value", "status"), [
    ("pv.p", 10.0, CommandStatus.ACCEPTED), ("pv.p", -10.0, CommandStatus.ACCEPTED),
    ("cb", 1.0, CommandStatus.ACCEPTED),
    ("free", -1e300, CommandStatus.ACCEPTED), ("nobody", 1.0, CommandStatus.UNKNOWN_POINT),
    ("bus.v_pu", 1.0, CommandStatus.NOT_WRITABLE), ("pv.p", NAN, CommandStatus.NOT_A_NUMBER),
    ("free", NAN, CommandStatus.NOT_A_NUMBER), ("cb", NAN, CommandStatus.NOT_A_NUMBER),
    ("pv.p", 10.000001, CommandStatus.OUT_OF_RANGE), ("pv.p", math.inf, CommandStatus.OUT_OF_RANGE),
    ("free", math.inf, CommandStatus.OUT_OF_RANGE), ("free", -math.inf, CommandStatus.OUT_OF_RANGE),
    ("cb", 0.5, CommandStatus.OUT_OF_RANGE), ("cb", 2.0, CommandStatus.OUT_OF_RANGE)])
def test_the_answer_is_immediate(point: str, value: float, status: CommandStatus) -> None:
    """Every refusal of one value, and the edges of what is accepted; only what is accepted comes into force."""
    desk = Desk()
    assert desk.submit(value, point=point) is status
    asked = [v for v in desk.drain(10) if v == v]
    assert asked == ([value] if status is CommandStatus.ACCEPTED else [])


@pytest.mark.parametrize("point_id", [-1, 5, 10**12])
def test_ids_that_no_point_has_are_unknown(point_id: int) -> None:
    """Also for a release, and never an index from the end."""
    desk = Desk()
    assert desk.inbox.submit_many([point_id], [0.0], "t") is CommandStatus.UNKNOWN_POINT
    assert desk.inbox.release([point_id], "t") is CommandStatus.UNKNOWN_POINT
    assert desk.inbox.release([0], "t") is CommandStatus.NOT_WRITABLE


def test_an_interlock_blocks_whoever_is_below() -> None:
    """BLOCKED while it is in force, for that point only and not for another interlock."""
    desk = Desk()
    desk.submit(0.0, INTERLOCK)
    desk.drain(10)
    assert desk.submit(5.0, OPERATOR) is CommandStatus.BLOCKED
    assert desk.submit(5.0, OPERATOR, point="ev.p") is CommandStatus.ACCEPTED
    assert desk.submit(1.0, INTERLOCK) is CommandStatus.ACCEPTED
    desk.inbox.release([1], "t", INTERLOCK)
    desk.drain(20)
    assert desk.submit(5.0, OPERATOR) is CommandStatus.ACCEPTED


@pytest.mark.parametrize(("ttl_s", "status"), [
    (NAN, CommandStatus.NOT_A_NUMBER), (-1.0, CommandStatus.OUT_OF_RANGE), (0.0, CommandStatus.OUT_OF_RANGE),
    (-math.inf, CommandStatus.OUT_OF_RANGE), (1e-9, CommandStatus.OUT_OF_RANGE), (math.inf, CommandStatus.ACCEPTED),
    (1e300, CommandStatus.ACCEPTED), (1e-6, CommandStatus.ACCEPTED)])
def test_a_time_to_live_that_is_none_is_refused(ttl_s: float, status: CommandStatus) -> None:
    """It would never be in force; it must not be called accepted, nor crash.  Beyond all time is for ever."""
    desk = Desk()
    assert desk.submit(5.0, ttl_s=ttl_s) is status
    desk.drain(10)
    row = desk.journal.rows[0]
    assert row.status is status
    assert isinstance(row.expires_us, int)
    assert row.t_us <= row.expires_us <= NEVER_US
    if ttl_s >= 1e300:
        assert desk.pv(10**15) == 5.0


def test_the_first_refusal_in_order_is_the_answer() -> None:
    """Of a vector with several mistakes."""
    inbox = Desk().inbox
    assert inbox.submit_many([1, 2, 3], [0.0, 99.0, NAN], "t") is CommandStatus.OUT_OF_RANGE
    assert inbox.submit_many([1, 3, 2], [0.0, NAN, 99.0], "t") is CommandStatus.NOT_A_NUMBER


# -- the queue's limit ------------------------------------------------------------------------------------------------


def test_the_queue_is_bounded_before_and_after_entering() -> None:
    """What waits to enter counts, so that a flood within one instant is bounded too; a drain makes room."""
    desk = Desk(limit=3)
    answers = [desk.submit(float(i)) for i in range(5)]
    assert answers == [CommandStatus.ACCEPTED] * 3 + [CommandStatus.QUEUE_FULL] * 2
    assert desk.inbox.release([1], "t") is CommandStatus.QUEUE_FULL
    desk.kernel.advance_to(5)
    assert desk.submit(0.0) is CommandStatus.QUEUE_FULL
    assert desk.inbox.post((1,), (0.0,), "a", AGENT) is CommandStatus.QUEUE_FULL
    assert desk.pv(6) == 2.0
    assert desk.submit(0.0) is CommandStatus.ACCEPTED


def test_refusals_do_not_fill_the_queue() -> None:
    """Nonsense from outside cannot shut out sense."""
    desk = Desk(limit=2)
    for _ in range(100):
        desk.submit(NAN)
    assert desk.submit(1.0) is CommandStatus.ACCEPTED


# -- authority --------------------------------------------------------------------------------------------------------


def test_the_highest_live_authority_is_in_force() -> None:
    """Whatever the order of arrival, for every subset."""
    for mask in range(1, 16):
        who = [authority for authority in Authority if mask >> authority & 1]
        for order in (who, who[::-1]):
            desk = Desk()
            for authority in order:
                assert desk.submit(float(authority), authority) is CommandStatus.ACCEPTED
            assert desk.pv(10) == float(max(who))
            assert desk.inbox.in_force.authority[0] == max(who)


def test_the_lower_command_resumes_on_release() -> None:
    """Step by step down to nobody."""
    desk = Desk()
    for authority in Authority:
        desk.submit(float(authority), authority)
    seen = [desk.pv(10)]
    for i, authority in enumerate(reversed(Authority)):
        desk.inbox.release([1], "t", authority)
        seen.append(desk.pv(20 + 10 * i))
    assert seen[:4] == [3.0, 2.0, 1.0, 0.0]
    assert math.isnan(seen[4])
    assert desk.inbox.in_force.authority[0] == -1


def test_equal_authority_replaces_also_its_time_to_live() -> None:
    """The later command, with or without an end, takes the slot."""
    desk = Desk()
    desk.submit(1.0, ttl_s=1e-5)
    desk.submit(2.0)
    assert desk.pv(5) == 2.0
    assert desk.pv(1000) == 2.0


def test_releasing_what_is_not_held_is_harmless() -> None:
    """Accepted, and nothing changes for others."""
    desk = Desk()
    desk.submit(1.0, AGENT)
    assert desk.inbox.release([1, 2], "t", OPERATOR) is CommandStatus.ACCEPTED
    assert desk.pv(5) == 1.0


def test_a_lower_command_sent_meanwhile_resumes() -> None:
    """It waits under the higher one and is in force when that ends."""
    desk = Desk()
    desk.submit(1.0, OPERATOR, ttl_s=2e-5)
    desk.drain(5)
    assert desk.inbox.post((1,), (7.0,), "a", AGENT) is CommandStatus.ACCEPTED
    assert desk.pv(10) == 1.0
    assert desk.pv(30) == 7.0


# -- time to live -----------------------------------------------------------------------------------------------------


def test_a_command_ends_exactly_at_its_expiry() -> None:
    """In force a microsecond before, not at the expiry itself; the next expiry is told meanwhile."""
    desk = Desk()
    desk.submit(3.0, ttl_s=10e-6)
    assert desk.pv(1) == 3.0
    assert desk.inbox.next_expiry_us == 11
    assert desk.pv(10) == 3.0
    assert math.isnan(desk.pv(11))
    assert desk.inbox.next_expiry_us == NEVER_US


def test_a_command_that_ends_before_the_scan_is_never_in_force() -> None:
    """Accepted, journalled, and over."""
    desk = Desk()
    assert desk.submit(3.0, ttl_s=5e-6) is CommandStatus.ACCEPTED
    assert math.isnan(desk.pv(100))


def test_expiries_are_found_in_order() -> None:
    """Several ends at several authorities: each takes effect at its own time."""
    desk = Desk()
    for authority, ttl_us in ((INTERLOCK, 10), (OPERATOR, 30), (AGENT, 20)):
        desk.submit(float(authority), authority, ttl_s=ttl_us * 1e-6)
    assert [desk.pv(t_us) for t_us in (5, 11, 25, 30)] == [3.0, 2.0, 2.0, 2.0]
    assert math.isnan(desk.pv(31))


# -- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[1.0, 99.0], [99.0, 1.0], [1.0, NAN]])
def test_a_vector_is_applied_whole_or_not_at_all(values: list[float]) -> None:
    """One refusal refuses all, as one row."""
    desk = Desk()
    assert desk.inbox.submit_many([1, 2], values, "t") is not CommandStatus.ACCEPTED
    assert all(v != v for v in desk.drain(10))
    assert [len(row.ids) for row in desk.journal.rows] == [2]


def test_a_vector_is_one_row_of_plain_numbers() -> None:
    """Arrays are taken; what is journalled are ints and floats."""
    desk = Desk()
    assert desk.inbox.submit_many(np.array([1, 2]), np.array([1.5, 2.5]), "t") is CommandStatus.ACCEPTED
    assert desk.drain(10)[:2] == [1.5, 2.5]
    (row,) = desk.journal.rows
    assert (row.ids, row.values) == ((1, 2), (1.5, 2.5))
    assert {type(x) for x in row.ids + row.values} == {int, float}


def test_a_vector_of_unequal_lengths_is_our_mistake() -> None:
    """Never silently cut."""
    with pytest.raises(ValueError, match="2 points and 1 values"):
        Desk().inbox.submit_many([1, 2], [1.0], "t")


# -- draining ---------------------------------------------------------------------------------------------------------


def test_draining_without_a_change_gives_the_same_object() -> None:
    """So a caller may compare by identity; a change gives a new one and leaves the old as it was."""
    desk = Desk()
    desk.submit(1.0, ttl_s=1e-4)
    desk.drain(10)
    before = desk.inbox.drain(10)
    assert desk.inbox.drain(50) is before
    assert desk.inbox.in_force is before
    desk.submit(2.0)
    desk.drain(60)
    assert desk.inbox.drain(60) is not before
    assert before.values[0] == 1.0


def test_who_asked_is_known_while_it_is_in_force() -> None:
    """The source of the command in force on each slot: of the winner, of the next one when it ends, "" of nobody."""
    desk = Desk()
    desk.inbox.submit("pv.p", 1.0, "schedule", SCHEDULE)
    desk.inbox.submit("pv.p", 2.0, "sun_god", AGENT, ttl_s=5e-5)
    desk.inbox.submit("cb", 1.0, "operator")
    assert desk.inbox.source_in_force(0) == ""
    desk.drain(10)
    assert [desk.inbox.source_in_force(slot) for slot in range(4)] == ["sun_god", "", "operator", ""]
    desk.inbox.submit("pv.p", 3.0, "other", AGENT)
    assert desk.inbox.source_in_force(0) == "sun_god"
    desk.drain(20)
    assert desk.inbox.source_in_force(0) == "other"
    desk.inbox.release([1], "other", AGENT)
    desk.inbox.release([3], "operator")
    desk.drain(30)
    assert [desk.inbox.source_in_force(slot) for slot in range(4)] == ["schedule", "", "", ""]


ACTS = st.one_of(
    st.tuples(st.just("set"), st.integers(1, 3), st.sampled_from(Authority), st.sampled_from([0.0, 1.0]),
              st.sampled_from([None, 1, 2, 5, 20])),
    st.tuples(st.just("release"), st.integers(1, 3), st.sampled_from(Authority)),
    st.tuples(st.just("wait"), st.integers(1, 12)))


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTS, max_size=40))
def test_arbitration_equals_a_naive_model(acts: list[tuple[Any, ...]]) -> None:
    """Any sequence of commands, ends and releases: the last live command of the highest authority, per point."""
    desk, t_us = Desk(), 0
    slots: dict[tuple[int, Authority], tuple[float, float]] = {}

    def expected(point: int) -> tuple[float, int]:
        live = [(a, slots[point, a][0]) for a in Authority if slots.get((point, a), (0, -1))[1] > t_us]
        return (live[-1][1], int(live[-1][0])) if live else (NAN, -1)

    blocked: set[int] = set()
    for act in acts:
        if act[0] == "wait":
            t_us += act[1]
            found = desk.inbox.drain(t_us) if desk.kernel.advance_to(t_us) else None
            wanted = [expected(point) for point in (1, 2, 3)]
            assert str(found.values[:3].tolist()) == str([value for value, _ in wanted])
            assert found.authority[:3].tolist() == [authority for _, authority in wanted]
            blocked = {point for point in (1, 2, 3) if wanted[point - 1][1] == INTERLOCK}
        elif act[0] == "release":
            desk.inbox.post_release((act[1],), "t", act[2])
            slots.pop((act[1], act[2]), None)
        else:
            _, point, authority, value, ttl_us = act
            status = desk.inbox.post((point,), (value,), "t", authority, NEVER_US if ttl_us is None else t_us + ttl_us)
            refuse = point in blocked and authority < INTERLOCK
            assert status is (CommandStatus.BLOCKED if refuse else CommandStatus.ACCEPTED)
            if not refuse:
                slots[point, authority] = (value, math.inf if ttl_us is None else t_us + ttl_us)
