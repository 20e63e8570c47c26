"""Actions of learners to setpoints and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.encoding import ActionCodec, ActionSpec
from cosim.encoding.batch import ActionBatch
from cosim.encoding.spec import Setpoint

Q = Setpoint("q", "kvar", -100.0, 300.0)
P = Setpoint("p", "kW", 0.0, 50.0)
STEPS = Setpoint("steps", "1", 0.0, 3.0, (0.0, 1.0, 2.0, 3.0))
BREAKER = Setpoint("closed", "", 0.0, 1.0, (0.0, 1.0))


@pytest.mark.parametrize(("setpoints", "kind", "width", "counts"), [
    ((Q, P), "continuous", 2, ()),
    ((STEPS,), "discrete", 1, (4,)),
    ((STEPS, BREAKER), "multi_discrete", 2, (4, 2)),
    ((STEPS, Q, BREAKER), "mixed", 3, (4, 2)),
])
def test_the_kind_follows_from_the_setpoints(setpoints: tuple[Setpoint, ...], kind: str, width: int,
                                             counts: tuple[int, ...]) -> None:
    """Levels make an action discrete; both together make it mixed."""
    spec = ActionSpec(setpoints)
    assert (spec.kind, spec.width, spec.counts) == (kind, width, counts)


@pytest.mark.parametrize(("number", "q_kvar"), [(-1.0, -100.0), (0.0, 100.0), (1.0, 300.0), (7.0, 300.0),
                                                (-np.inf, -100.0)])
def test_normalised_numbers_span_the_range(number: float, q_kvar: float) -> None:
    """-1 and 1 are its ends; what lies beyond is brought to them."""
    assert ActionCodec(ActionSpec((Q,))).decode(np.array([number])).tolist() == [q_kvar]


def test_engineering_numbers_are_taken_as_they_are() -> None:
    """Within the range; beyond it they are brought to its end."""
    codec = ActionCodec(ActionSpec((Q, P), is_normalised=False))
    assert codec.decode(np.array([12.5, 90.0])).tolist() == [12.5, 50.0]


def test_a_mixed_row_is_numbers_then_indices() -> None:
    """Continuous numbers first, then an index for each discrete setpoint, in the order of the setpoints."""
    codec = ActionCodec(ActionSpec((STEPS, Q, BREAKER)))
    assert codec.decode(np.array([0.5, 2, 1])).tolist() == [2.0, 200.0, 1.0]


@pytest.mark.parametrize("index", [np.nan, -1.0, 4.0, 1.5, np.inf])
def test_an_index_that_does_not_exist_leaves_the_setpoint_alone(index: float) -> None:
    """NaN in the answer: that setpoint is held."""
    assert np.isnan(ActionCodec(ActionSpec((STEPS,))).decode(np.array([index]))).all()


def test_nan_leaves_one_setpoint_alone_and_not_the_others() -> None:
    """A policy that breaks down for one setpoint still moves the rest."""
    found = ActionCodec(ActionSpec((Q, P))).decode(np.array([np.nan, 1.0]))
    assert np.isnan(found[0])
    assert found[1] == 50.0


def test_a_choice_sets_what_it_names() -> None:
    """The others are left alone."""
    spec = ActionSpec((Q, P), choice_names=("rest", "full"), choices=((None, None), (300.0, None)))
    codec = ActionCodec(spec)
    assert spec.kind == "discrete"
    assert np.isnan(codec.decode(np.array([0.0]))).all()
    assert codec.decode(np.array([1.0]))[0] == 300.0
    assert np.isnan(codec.decode(np.array([2.0]))).all()


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=2), st.integers(0, 3), st.integers(0, 1))
def test_encode_undoes_decode(numbers: list[float], steps: int, closed: int) -> None:
    """What another policy did becomes the row that does it again."""
    codec = ActionCodec(ActionSpec((STEPS, Q, BREAKER, P)))
    row = np.array([*numbers, steps, closed])
    np.testing.assert_allclose(codec.encode(codec.decode(row)), row, atol=1e-12)


def test_last_action_is_shown_over_the_range() -> None:
    """-1 and 1 at its ends, 0 where nothing was decided."""
    codec = ActionCodec(ActionSpec((Q, P)))
    assert codec.shown(np.array([300.0, np.nan])).tolist() == [1.0, 0.0]
    assert codec.shown(np.array([3000.0, -1e9])).tolist() == [1.0, -1.0]
    assert codec.shown(np.array([-np.inf, np.inf])).tolist() == [-1.0, 1.0]


def test_many_actions_are_decoded_as_each_alone_and_never_beyond_a_range() -> None:
    """Bit for bit; a last bit beyond an end would have the point refuse the whole command."""
    rng = np.random.default_rng(3)
    ends = np.sort(np.round(rng.uniform(-100, 100, (200, 2)), 2), axis=1)
    codecs = [ActionCodec(ActionSpec((Setpoint("p", "kW", low, high),))) for low, high in ends.tolist()]
    batch = ActionBatch(codecs)
    for rows in (np.full(200, 1.0), np.full(200, -1.0), rng.uniform(-1.5, 1.5, 200), np.full(200, np.nan)):
        together = batch.decode({i: rows[i:i + 1] for i in range(200)})
        assert all(np.array_equal(together[i], codecs[i].decode(rows[i:i + 1]), equal_nan=True) for i in range(200))
        values = np.concatenate(list(together.values()))
        assert not ((values < ends[:, 0]) | (values > ends[:, 1])).any()
