"""The command inbox: when requests enter, and the journal."""

from __future__ import annotations

import numpy as np

from cosim.commands import NEVER_US, CommandKind, CommandStatus
from cosim.kernel import Phase
from tests.cosim.desk import AGENT, INTERLOCK, NAN, OPERATOR, Desk

# -- when it enters ---------------------------------------------------------------------------------------------------


def test_a_request_enters_after_the_last_finished_instant() -> None:
    """max(last + 1 us, at), with an `at` in the past counting for nothing."""
    desk = Desk()
    desk.kernel.advance_to(100)
    for at_us in (None, 0, -5, 100, 101):
        desk.submit(1.0, at_us=at_us)
    desk.submit(2.0, at_us=250)
    desk.kernel.advance_to(300)
    assert [row.t_us for row in desk.journal.rows] == [101] * 5 + [250]


def test_a_request_stamped_far_ahead_holds_up_nobody() -> None:
    """Each enters at its own time; those of one time in the order in which they came."""
    desk = Desk()
    for value, at_us in ((1.0, 50), (2.0, 20), (3.0, None), (4.0, 20)):
        desk.submit(value, at_us=at_us)
    assert desk.pv(60) == 1.0
    assert [(row.t_us, row.values) for row in desk.journal.rows] == [
        (1, (3.0,)), (20, (2.0,)), (20, (4.0,)), (50, (1.0,))]


def test_requests_enter_between_drive_and_solve() -> None:
    """In DECIDE: an interlock of the same instant's DRIVE is there already, the SOLVE sees both."""
    desk = Desk()
    seen: list[float] = []
    desk.submit(1.0, at_us=10)
    desk.kernel.at(10, lambda _: seen.append(len(desk.journal.rows)))
    desk.kernel.at(10, lambda _: seen.append(desk.inbox.drain(10).values[0]), phase=Phase.SOLVE)
    desk.kernel.advance_to(10)
    assert seen == [0, 1.0]


def test_while_a_decision_is_due_requests_enter_that_very_instant() -> None:
    """The deciding window lies before SOLVE of the instant that stands."""
    desk = Desk()
    solved: list[float] = []
    desk.kernel.at(10, lambda _: desk.kernel.stop_for_decision())
    desk.kernel.at(10, lambda _: solved.append(desk.inbox.drain(10).values[0]), phase=Phase.SOLVE)
    assert desk.kernel.advance_to_decision(100) == 10
    desk.inbox.deciding = True
    desk.submit(4.0)
    desk.inbox.deciding = False
    assert desk.kernel.advance_to_decision(100) is None
    assert solved == [4.0]
    assert desk.journal.rows[0].t_us == 10


def test_whoever_enters_wakes_the_simulation() -> None:
    """With the time; a refused request wakes nobody."""
    desk = Desk()
    desk.submit(1.0, at_us=7)
    desk.submit(NAN, at_us=8)
    desk.kernel.advance_to(10)
    desk.inbox.post((1,), (2.0,), "a", AGENT)
    desk.inbox.post((1,), (99.0,), "a", AGENT)
    desk.inbox.post_release((1,), "a", AGENT)
    assert desk.woken == [7, 10, 10]


# -- the journal ------------------------------------------------------------------------------------------------------


def test_every_request_is_a_row_refused_or_not() -> None:
    """Except for a name that no point has: there is no id to write."""
    desk = Desk()
    desk.submit(1.0)
    desk.submit(99.0)
    desk.submit(1.0, point="nobody")
    desk.inbox.release([1], "t")
    desk.inbox.release([0], "t")
    desk.kernel.advance_to(10)
    assert [(row.kind.name, row.status.name, row.external) for row in desk.journal.rows] == [
        ("SET", "ACCEPTED", True), ("SET", "OUT_OF_RANGE", True), ("RELEASE", "ACCEPTED", True),
        ("RELEASE", "NOT_WRITABLE", True)]


def test_requests_from_inside_are_marked_so() -> None:
    """They are recorded at once, and are not external."""
    desk = Desk()
    desk.inbox.post((1,), (2.0,), "a", AGENT, 50)
    desk.inbox.post_release((1,), "a", AGENT)
    assert [(row.t_us, row.external, row.expires_us) for row in desk.journal.rows] == [
        (0, False, 50), (0, False, NEVER_US)]


def test_an_action_goes_to_whoever_takes_actions_on() -> None:
    """One row, no slot of its own."""
    desk, taken = Desk(), []
    desk.inbox.on_action = taken.append
    desk.inbox.submit_actions([("learner", (1, 2), np.array([1.0, NAN]))])
    assert all(v != v for v in desk.drain(10))
    assert [(row.kind, row.source) for row in desk.journal.rows] == [(CommandKind.ACTION, "learner")]
    assert taken == desk.journal.rows


def test_a_journal_reentered_gives_the_same_run() -> None:
    """Times, order and status as recorded: also a refusal, which the fresh inbox might not have made."""
    first = Desk()
    first.submit(1.0, INTERLOCK, at_us=3)
    first.drain(5)
    first.submit(9.0, OPERATOR, at_us=7)
    first.submit(2.0, OPERATOR, point="ev.p", ttl_s=1.0)
    values = first.drain(20)
    again = Desk()
    for row in first.journal.rows:
        again.inbox.reenter(row)
    assert str(again.drain(20)) == str(values)
    assert again.journal.rows == first.journal.rows
    assert CommandStatus.BLOCKED in [row.status for row in again.journal.rows]
