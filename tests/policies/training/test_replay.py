"""The replay memory: what is kept, how it is drawn, how it is saved, and what n-step folding computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import GridloopError
from policies.training.replay import Priorities, Replay, SumTree, fold, generator_state, restore_generator


def numbered(first: int, n: int) -> dict[str, np.ndarray]:
    """Rows that carry their number."""
    return {"x": np.arange(first, first + n), "y": np.arange(first, first + n)[:, None] * np.ones((1, 3), np.float32)}


def test_the_oldest_rows_give_way() -> None:
    """A ring of five holds the last five of eight rows, whatever pieces they came in."""
    replay = Replay(5, np.random.default_rng(0))
    for first, n in ((0, 3), (3, 4), (7, 1)):
        replay.add(numbered(first, n))
    assert len(replay) == 5
    assert replay.added == 8
    drawn = replay.draw(200).columns
    assert set(drawn["x"]) == {3, 4, 5, 6, 7}
    assert (drawn["y"][:, 2] == drawn["x"]).all()


def test_more_rows_than_fit_leave_the_last() -> None:
    """One piece larger than the ring is as its last rows."""
    replay = Replay(4, np.random.default_rng(0))
    replay.add(numbered(0, 11))
    assert set(replay.draw(100).columns["x"]) == {7, 8, 9, 10}


def test_a_seed_decides_the_draws() -> None:
    """Equal generators draw equally, others do not."""
    first, again, other = (Replay(50, np.random.default_rng(seed), Priorities()) for seed in (3, 3, 4))
    for replay in (first, again, other):
        replay.add(numbered(0, 50))
    assert (first.draw(64).index == again.draw(64).index).all()
    assert (first.draw(64).index != other.draw(64).index).any()


@pytest.mark.parametrize("priorities", [None, Priorities(0.7, 0.5)])
def test_a_saved_memory_goes_on_bit_for_bit(priorities: Priorities | None) -> None:
    """Draws, weights and later additions after `load_state` are those of the memory that was never saved."""
    replay = Replay(40, np.random.default_rng(5), priorities)
    replay.add(numbered(0, 60))
    drawn = replay.draw(16)
    replay.prioritise(drawn.index, np.linspace(0, 2, 16))
    copy = Replay(40, np.random.default_rng(99), priorities)
    copy.load_state(replay.state())
    for memory in (replay, copy):
        memory.add(numbered(60, 7))
    a, b = replay.draw(64), copy.draw(64)
    assert (a.index == b.index).all()
    assert (a.weight == b.weight).all()
    assert all((a.columns[name] == b.columns[name]).all() for name in a.columns)


def test_priorities_decide_how_often() -> None:
    """Frequencies follow p^alpha, and weights are (N P)^-beta over their largest."""
    replay = Replay(4, np.random.default_rng(0), Priorities(alpha=0.5, beta=1.0))
    replay.add(numbered(0, 4))
    replay.prioritise(np.arange(4), np.array([1.0, 4.0, 9.0, 16.0]))
    drawn = replay.draw(100_000)
    share = np.bincount(drawn.index, minlength=4) / 100_000
    np.testing.assert_allclose(share, np.array([1, 2, 3, 4]) / 10, atol=2e-3)
    weight = np.array([drawn.weight[drawn.index == k][0] for k in range(4)])
    np.testing.assert_allclose(weight, 1 / np.array([1, 2, 3, 4]), rtol=1e-5)


def test_new_rows_have_the_highest_priority() -> None:
    """A row that nobody has learned from is preferred."""
    replay = Replay(10, np.random.default_rng(0), Priorities(1.0, 0.4))
    replay.add(numbered(0, 5))
    replay.prioritise(np.arange(5), np.array([0.1, 0.1, 0.1, 0.1, 50.0]))
    replay.add(numbered(5, 1))
    share = np.bincount(replay.draw(4000).index, minlength=6) / 4000
    assert share[5] == pytest.approx(share[4], rel=0.1)
    assert share[5] > 0.45


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=70).filter(lambda numbers: sum(numbers) > 1e-3),
       st.integers(0, 2**32))
def test_the_tree_finds_what_a_running_sum_finds(numbers: list[float], seed: int) -> None:
    """Every mass falls into the place that a cumulative sum says, never into one of 0."""
    tree, values = SumTree(len(numbers)), np.array(numbers)
    tree.set(np.arange(len(values)), values)
    assert tree.total == pytest.approx(values.sum())
    mass = np.random.default_rng(seed).random(50) * tree.total
    found = tree.find(mass)
    assert (values[found] > 0).all()
    edges = np.concatenate([[0.0], np.cumsum(values)])
    slack = 1e-9 * tree.total
    assert ((edges[found] - slack <= mass) & (mass <= edges[found + 1] + slack)).all()


def test_a_generator_is_saved_exactly() -> None:
    """Also in the middle of a 64-bit draw."""
    rng, other = np.random.default_rng(7), np.random.default_rng(8)
    rng.integers(0, 100, 3, dtype=np.uint32)
    restore_generator(other, generator_state(rng))
    assert (rng.integers(0, 1000, 9, dtype=np.uint32) == other.integers(0, 1000, 9, dtype=np.uint32)).all()
    assert (rng.random(5) == other.random(5)).all()


def test_what_cannot_be_kept_is_refused() -> None:
    """Other shapes, other columns, unequal lengths, no rows: each says what was found and expected."""
    replay = Replay(4, np.random.default_rng(0))
    with pytest.raises(GridloopError, match="nothing was added"):
        replay.draw(1)
    replay.add(numbered(0, 2))
    with pytest.raises(GridloopError, match="columns y: found"):
        replay.add({"x": np.arange(2), "y": np.zeros((2, 4), np.float32)})
    with pytest.raises(GridloopError, match="different lengths"):
        replay.add({"x": np.arange(2), "y": np.zeros((3, 3), np.float32)})
    with pytest.raises(GridloopError, match="capacity"):
        Replay(0, np.random.default_rng(0))


def chain() -> dict[str, np.ndarray]:
    """Two agents; agent 1 ends after its second row, agent 0 goes on; rows interleaved as they ended."""
    rows = [(0, 0, 1.0, 0.5, False), (1, 0, 10.0, 2.0, False), (0, 1, 2.0, 1.5, False), (1, 1, 20.0, 1.0, True),
            (0, 2, 4.0, 1.0, False), (1, 2, 40.0, 1.0, False), (0, 3, 8.0, 2.0, False)]
    agent, order, reward, dt_s, over = (np.array(column) for column in zip(*rows, strict=True))
    return {"agent": agent, "order": order, "reward": reward, "dt_s": dt_s, "terminated": over,
            "truncated": np.zeros(7, bool), "slot": np.zeros(7, int), "obs": agent * 10.0 + order,
            "next_obs": agent * 10.0 + order + 1}


def test_folding_discounts_by_the_time_that_passed() -> None:
    """Three own decisions: Σ γ^(t/per_s) r at irregular Δt, cut at an end and where rows are missing."""
    folded = fold(chain(), 3, 0.5, 2.0)
    where = {float(obs): i for i, obs in enumerate(folded["obs"])}
    g = 0.5 ** 0.5  # a second
    first = where[0.0]
    assert folded["reward"][first] == pytest.approx(1 + g**0.5 * 2 + g**2.0 * 4)
    assert folded["dt_s"][first] == pytest.approx(3.0)
    assert folded["next_obs"][first] == 3.0
    ends = where[10.0]
    assert folded["reward"][ends] == pytest.approx(10 + g**2 * 20)
    assert folded["terminated"][ends]
    after = where[12.0]
    assert folded["reward"][after] == 40.0
    late = where[2.0]
    assert folded["reward"][late] == pytest.approx(4 + g * 8)
    assert folded["next_obs"][late] == 4.0


def test_folding_by_one_changes_nothing() -> None:
    """The rows, sorted by slot, agent and order."""
    folded = fold(chain(), 1, 0.5, 2.0)
    assert sorted(folded["reward"]) == sorted(chain()["reward"])
    assert (folded["agent"][:4] == 0).all()
