"""Long vectors: a block of outputs gives what its values one by one would give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.arbiter import Block
from cosim.commands import NEVER_US, Authority, CommandInbox, CommandStatus
from cosim.kernel import Kernel
from cosim.points import Point, PointDatabase, PointKind
from tests.cosim.desk import AGENT, INTERLOCK, NAN, OPERATOR, Rows

#: Outputs of two agents: side by side, with a gap, and turned round; they share two.
BLOCKS: tuple[tuple[int, ...], ...] = ((0, 1, 2, 4, 5), (5, 3, 2))


class Counter:
    """Six analogue outputs; vectors go in as blocks, or (`whole` False) value by value."""

    def __init__(self, *, whole: bool = True, limit: int = 100_000) -> None:
        self.kernel, self.journal = Kernel(), Rows()
        self.woken: list[int] = []
        points = PointDatabase(Point(f"p{i}", PointKind.ANALOG_OUTPUT, low=-10, high=10) for i in range(6))
        self.inbox = CommandInbox(points, self.kernel, self.journal, wake=self.woken.append, limit=limit)
        self.blocks = {ids: self.inbox.block(ids) for ids in BLOCKS} if whole else {}

    def post(self, ids: tuple[int, ...], values: tuple[float, ...], authority: Authority = AGENT,
             expires_us: int = NEVER_US) -> CommandStatus:
        """One request of the inside."""
        block = self.blocks.get(ids)
        if block is None:
            return self.inbox.post(ids, values, f"by{authority}", authority, expires_us)
        return self.inbox.post_block(block, values, f"by{authority}", authority, expires_us)

    def drained(self, t_us: int) -> str:
        """Everything a drain at `t_us` tells."""
        self.kernel.advance_to(t_us)
        found = self.inbox.drain(t_us)
        sources = [self.inbox.source_in_force(slot) for slot in range(6)]
        return f"{found.values.tolist()} {found.authority.tolist()} {sources} {self.inbox.next_expiry_us}"


ACTS = st.one_of(
    st.tuples(st.just("block"), st.sampled_from(BLOCKS), st.sampled_from(Authority), st.integers(0, 12),
              st.sampled_from([None, None, None, 1, 5, 20])),
    st.tuples(st.just("one"), st.integers(0, 5), st.sampled_from(Authority), st.integers(0, 12),
              st.sampled_from([None, 3])),
    st.tuples(st.just("release"), st.integers(0, 5), st.sampled_from(Authority)),
    st.tuples(st.just("wait"), st.integers(1, 9)))


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTS, max_size=40))
def test_a_block_equals_its_values_one_by_one(acts: list[tuple[Any, ...]]) -> None:
    """Answers, rows, what is in force, whose it is and when it ends, whatever comes between."""
    desks, t_us = (Counter(), Counter(whole=False)), 0
    for act in acts:
        if act[0] == "wait":
            t_us += act[1]
            whole, single = (desk.drained(t_us) for desk in desks)
            assert whole == single
        elif act[0] == "release":
            for desk in desks:
                desk.inbox.post_release((act[1],), "t", act[2])
        else:
            _, which, authority, value, ttl_us = act
            ids = which if act[0] == "block" else (which,)
            values = tuple(float(value + i) / 1.1 for i in range(len(ids)))
            expires_us = NEVER_US if ttl_us is None else t_us + ttl_us
            answers = [desk.post(ids, values, authority, expires_us) for desk in desks]
            assert answers[0] is answers[1]
    assert desks[0].journal.rows == desks[1].journal.rows
    assert desks[0].woken == desks[1].woken


@pytest.mark.parametrize(("values", "status"), [
    ((1.0, 2.0, 3.0, 4.0, 10.0), CommandStatus.ACCEPTED), ((1.0, 2.0, 3.0, 4.0, 10.1), CommandStatus.OUT_OF_RANGE),
    ((1.0, NAN, 99.0, 4.0, 5.0), CommandStatus.NOT_A_NUMBER), ((1.0, 99.0, NAN, 4.0, 5.0), CommandStatus.OUT_OF_RANGE),
    ((-math.inf, 2.0, 3.0, 4.0, 5.0), CommandStatus.OUT_OF_RANGE)])
def test_a_block_is_refused_whole_for_its_first_mistake(values: tuple[float, ...], status: CommandStatus) -> None:
    """Also once the block is known to be in the sender's hands; what is refused changes nothing."""
    desk = Counter()
    desk.post(BLOCKS[0], (0.0,) * 5)
    desk.drained(1)
    before = desk.inbox.in_force.values.tolist()
    assert desk.post(BLOCKS[0], values) is status
    desk.drained(2)
    assert (str(desk.inbox.in_force.values.tolist()) == str(before)) is (status is not CommandStatus.ACCEPTED)


def test_an_interlock_on_one_output_blocks_the_block() -> None:
    """From the drain that puts it in force until it is released."""
    desk = Counter()
    desk.post(BLOCKS[0], (0.0,) * 5)
    desk.drained(1)
    desk.post((4,), (1.0,), INTERLOCK)
    desk.drained(2)
    assert desk.post(BLOCKS[0], (1.0,) * 5) is CommandStatus.BLOCKED
    desk.inbox.post_release((4,), "t", INTERLOCK)
    desk.drained(3)
    assert desk.post(BLOCKS[0], (1.0,) * 5) is CommandStatus.ACCEPTED


def test_a_block_waits_for_room_in_the_queue() -> None:
    """It counts as one command, as a vector does."""
    desk = Counter(limit=2)
    answers = [desk.post(BLOCKS[0], (0.0,) * 5) for _ in range(3)]
    assert answers == [CommandStatus.ACCEPTED] * 2 + [CommandStatus.QUEUE_FULL]


def test_what_was_in_force_is_never_written_again() -> None:
    """Whoever keeps the old vector keeps the old values."""
    desk = Counter()
    for t_us in (1, 2):
        desk.post(BLOCKS[0], (float(t_us),) * 5)
        desk.drained(t_us)
    old = desk.inbox.in_force
    desk.post(BLOCKS[0], (7.0,) * 5, OPERATOR)
    desk.drained(3)
    assert (old.values[0], old.authority[0]) == (2.0, AGENT)
    assert desk.inbox.in_force.authority[0] == OPERATOR


def test_only_analogue_outputs_make_a_block() -> None:
    """An input, a binary output, an unknown point or no point at all: none."""
    points = PointDatabase((Point("in", PointKind.ANALOG_INPUT), Point("cb", PointKind.BINARY_OUTPUT),
                            Point("p", PointKind.ANALOG_OUTPUT)))
    inbox = CommandInbox(points, Kernel(), Rows())
    assert [inbox.block(ids) is None for ids in ((0,), (1, 2), (2, 9), (), (2,))] == [True] * 4 + [False]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_runs_of_a_block_cover_it_in_order(slots: list[int]) -> None:
    """Written run by run, every slot gets its own value (the last one, of a slot that is named twice)."""
    expected, found = np.zeros(31), np.zeros(31)
    values = np.arange(1.0, len(slots) + 1)
    for slot, value in zip(slots, values, strict=True):
        expected[slot] = value
    for at, part, n in Block.of(slots).runs:
        assert n == part.stop - part.start
        found[at] = values[part]
    assert found.tolist() == expected.tolist()
