"""`hil.spans`: the way of a write through a served run."""

from __future__ import annotations

from hil.spans import MAX_FOLLOWED, Spans
from hil.timing import Span, Timing


def tracked() -> tuple[Spans, Timing]:
    """Spans and where they are recorded."""
    timing = Timing([("scan", 100_000, 0)])
    return Spans(timing), timing


def test_a_write_is_followed_to_the_value_read_back() -> None:
    """Arrived at 1,000 ns, in the kernel at 1,500, solved at 9,000, read at 9,700."""
    spans, timing = tracked()
    spans.taken(3, 1_000, 250_001)
    spans.processed(250_001, 200_000, 1_500)
    assert not spans.waiting
    spans.processed(300_000, 300_000, 9_000)
    assert spans.waiting
    spans.answered(3, 9_700)
    assert [timing.spans[span].max_ns for span in Span] == [500, 700, 8_700]
    assert not spans.waiting


def test_an_answer_before_the_scan_is_not_the_value_read_back() -> None:
    """The response to the write itself, and to another session, end nothing."""
    spans, timing = tracked()
    spans.taken(3, 1_000, 250_001)
    spans.answered(3, 1_100)
    spans.processed(250_001, 200_000, 1_500)
    spans.processed(300_000, 300_000, 9_000)
    spans.answered(4, 9_100)
    assert timing.spans[Span.CLOSED_LOOP].count == 0
    assert spans.waiting


def test_a_master_that_leaves_is_forgotten() -> None:
    """Nobody reads it back: nothing waits for ever."""
    spans, timing = tracked()
    spans.taken(3, 1_000, 1)
    spans.processed(100_000, 100_000, 2_000)
    spans.left(3)
    assert not spans.waiting
    assert timing.spans[Span.CLOSED_LOOP].count == 0


def test_a_flood_is_bounded() -> None:
    """More writes than are followed are carried out all the same, and cost no memory."""
    spans, timing = tracked()
    for i in range(10 * MAX_FOLLOWED):
        spans.taken(i, 0, 5)
    spans.processed(5, 0, 1)
    assert timing.spans[Span.INGRESS_TO_KERNEL].count == MAX_FOLLOWED


def test_masters_that_leave_before_the_scan_are_forgotten_too() -> None:
    """Write and hang up, as command-line tools do: a thousand of them do not keep the next one from being measured."""
    spans, timing = tracked()
    for session in range(1, MAX_FOLLOWED + 1):
        spans.taken(session, 0, session)
        spans.left(session)
        spans.processed(session, session, 10)
    assert not spans.waiting
    spans.taken(5_000, 0, 5_000)
    spans.processed(5_000, 5_000, 10)
    spans.answered(5_000, 20)
    assert timing.spans[Span.CLOSED_LOOP].count == 1
