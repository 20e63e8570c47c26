"""Points to features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.encoding import ActionSpec, Encoder, Feature, LearnerSpec, Senses
from cosim.encoding.features import DAY_US
from cosim.encoding.spec import Setpoint

V = Feature("{}.v_pu", "pu", 1.0, 0.1)
P = Feature("{}.p_kw", "kW", 0.0, 50.0)
ACTION = ActionSpec((Setpoint("{}.q_set_kvar", "kvar", -10.0, 10.0),))
PLAIN = LearnerSpec("a", "g", 10.0, (V, P), 1, (), 3.0, ACTION)


def senses(n: int, **changes: object) -> Senses:
    """Nothing special about `n` learners."""
    return replace(Senses(np.zeros(n), np.ones(n, bool), np.zeros(n)), **changes)  # type: ignore[arg-type]  # by name


def test_values_are_scaled_to_their_range() -> None:
    """The ends of a range are -1 and 1."""
    found = Encoder([PLAIN]).encode(np.array([1.1, -50.0]), senses(1))
    np.testing.assert_allclose(found, [1.0, -1.0], atol=1e-6)
    assert found.dtype == np.float32


def test_what_is_missing_is_zero_and_what_is_far_is_cut_off() -> None:
    """NaN (nothing received, de-energised) is the middle of the range; the clip bounds the space."""
    assert Encoder([PLAIN]).encode(np.array([np.nan, 1e9]), senses(1)).tolist() == [0.0, 3.0]
    assert Encoder([PLAIN]).encode(np.array([np.nan, -np.inf]), senses(1)).tolist() == [0.0, -3.0]


def test_extras_stand_where_their_names_say() -> None:
    """Every number of an encoded observation has a name, in order."""
    spec = replace(PLAIN, extras=("last_action", "quality", "age", "due", "dt", "clock.day"))
    found = Encoder([spec]).encode(np.array([1.0, 0.0]), Senses(
        np.array([5.0]), np.array([True]), np.array([20.0]), np.array([0, 4], np.uint8), np.array([0.25]), DAY_US // 4))
    shown = dict(zip(spec.names, found.tolist(), strict=True))
    assert shown["last.{}.q_set_kvar"] == 0.25
    assert (shown["bad.{}.v_pu"], shown["bad.{}.p_kw"]) == (0.0, 1.0)
    assert (shown["age"], shown["due"], shown["dt"]) == (0.5, 1.0, 2.0)
    assert shown["clock.day.sin"] == pytest.approx(1.0)
    assert shown["clock.day.cos"] == pytest.approx(0.0, abs=1e-6)


def test_an_age_that_nobody_knows_is_the_oldest() -> None:
    """Nothing has been received yet."""
    spec = replace(PLAIN, extras=("age",))
    found = Encoder([spec]).encode(np.zeros(2), senses(1, age_s=np.array([np.nan])))
    assert found[-1] == 3.0


def test_history_holds_what_was_seen_at_the_agents_own_decisions() -> None:
    """Newest first; at the beginning the present stands for the past; a learner that is not due keeps its frames."""
    spec = replace(PLAIN, features=(V,), history=3)
    encoder = Encoder([spec, replace(spec, agent="b")])
    sight = senses(2)
    first = encoder.encode(np.array([1.1, 0.9]), sight)
    np.testing.assert_allclose(first, [1, 1, 1, -1, -1, -1], atol=1e-6)
    encoder.remember(np.array([1.1, 0.9]), np.array([True, False]))
    encoder.encode(np.array([1.0, 1.0]), sight)
    encoder.remember(np.array([1.0, 1.0]), np.array([True, True]))
    np.testing.assert_allclose(encoder.encode(np.array([1.05, 1.05]), sight), [0.5, 0, 1, 0.5, 0, 0], atol=1e-6)


def test_forgetting_leaves_no_past() -> None:
    """A reset: no frame of the last episode is seen."""
    encoder = Encoder([replace(PLAIN, features=(V,), history=2)])
    encoder.encode(np.array([1.1]), senses(1))
    encoder.remember(np.array([1.1]), np.array([True]))
    encoder.forget()
    np.testing.assert_allclose(encoder.encode(np.array([0.9]), senses(1)), [-1, -1], atol=1e-6)


def test_many_learners_are_encoded_as_each_alone() -> None:
    """Bit for bit: what an environment shows is what a trained policy sees in a run."""
    rng = np.random.default_rng(1)
    specs = [replace(PLAIN, extras=("age", "due", "dt", "clock.week")),
             replace(PLAIN, features=(V, P, V), extras=("last_action", "dt"), period_s=3.0),
             replace(PLAIN, features=(), extras=("due",))]
    raw, shown = rng.normal(size=5), np.array([0.1, 0.2, 0.3])
    age, dt = rng.uniform(0, 9, 3), rng.uniform(0, 9, 3)
    together = Encoder(specs)
    flat = together.encode(raw, Senses(age, np.array([True, False, True]), dt, None, shown, 12345))
    starts = [0, 2, 5, 5]
    for i, spec in enumerate(specs):
        alone = Encoder([spec]).encode(raw[starts[i]:starts[i + 1]], Senses(
            age[i:i + 1], np.array([True, False, True])[i:i + 1], dt[i:i + 1], None, shown[i:i + 1], 12345))
        assert flat[together.slices[i]].tobytes() == alone.tobytes()


def test_a_specification_survives_json() -> None:
    """to_dict and from_dict are inverse."""
    import json

    spec = replace(PLAIN, extras=("age",), action=ActionSpec(
        (Setpoint("x", "", 0, 1, (0.0, 1.0)),), choice_names=("go",), choices=((None,),)))
    assert LearnerSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_differences_are_named() -> None:
    """Fields, with what stands here and there; another agent's name is no difference."""
    other = replace(PLAIN, agent="b", features=(replace(V, center=1.05), Feature("{}.soc", "1", 0.5, 0.5)),
                    history=2, action=ActionSpec((Setpoint("{}.q_set_kvar", "kvar", -20.0, 10.0),)))
    found = "\n".join(PLAIN.differences(other))
    assert PLAIN.differences(replace(PLAIN, agent="b")) == []
    for words in ("feature {}.p_kw: only here", "feature {}.soc: only there", "feature {}.v_pu: scale",
                  "history: 1 and 2", "setpoint {}.q_set_kvar: range -10 to 10 and -20 to 10 kvar"):
        assert words in found


def test_the_past_begins_with_a_learners_own_first_decision() -> None:
    """As in a run, where its policy is first asked then: what others were shown before is no past of its own."""
    early, late = (replace(PLAIN, agent=name, features=(P,), history=2) for name in ("early", "late"))
    together, alone = Encoder([early, late]), Encoder([late])
    together.encode(np.array([50.0, 100.0]), senses(2))
    together.remember(np.array([50.0, 100.0]), np.array([True, False]))
    seen = together.encode(np.array([0.0, -50.0]), senses(2))
    assert seen[together.slices[1]].tolist() == alone.encode(np.array([-50.0]), senses(1)).tolist() == [-1.0, -1.0]
    assert seen[together.slices[0]].tolist() == [0.0, 1.0]
