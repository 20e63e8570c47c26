"""Bundles carried over by name: what is in both acts as before, what is new does nothing yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cosim.encoding import LearnerSpec
from cosim.encoding.spec import ActionSpec, Feature, Setpoint
from policies.bundle import Bundle
from policies.numpy_actor import NumpyActor
from policies.transfer import NEW_LOG_STD, TransferError, transfer
from tests.policies.bundles import SPEC, group

V, P, T = Feature("v", "pu", 1.0, 0.1), Feature("p", "kW", 0.0, 50.0), Feature("t", "s", 0.0, 10.0)
Q, R, TAP = SPEC.action.setpoints[0], Setpoint("r", "kvar", 0.0, 5.0), SPEC.action.setpoints[1]


def spec(*features: Feature, setpoints: tuple[Setpoint, ...] = SPEC.action.setpoints, **changes: object) -> LearnerSpec:
    """Another learner."""
    return replace(SPEC, features=features, action=ActionSpec(setpoints), **changes)  # type: ignore[arg-type]


def carried(other: LearnerSpec, **network: object) -> tuple[NumpyActor, NumpyActor, dict[str, tuple[str, str]]]:
    """Actors before and after, and what became of every name as (fate, note)."""
    before = group(**network)
    after, moved = transfer(Bundle({"g": before}), {"g": [other]})
    found = after.group("g")
    return (NumpyActor(before.network, before.weights), NumpyActor(found.network, found.weights),
            {entry.name: (entry.fate, entry.note) for entry in moved})


def seen(names: tuple[str, ...], values: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Observations by name, noise where a name has no value."""
    rng = np.random.default_rng(5)
    return np.stack([values.get(name, rng.standard_normal(20).astype(np.float32)) for name in names], 1)


NETWORKS = [{}, {"normalise": False}, {"head": "tanh_gaussian", "activation": "relu"}, {"kind": "gru"},
            {"kind": "gru", "hidden": (7,)}, {"kind": "gru", "hidden": (7,), "normalise": False}, {"hidden": (5,)}]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_same_features_in_another_order_act_alike(network: dict[str, object]) -> None:
    """Features and setpoints reordered, one feature and one setpoint new: what was there answers as before."""
    other = spec(T, P, V, setpoints=(R, TAP, Q), extras=("age", "last_action"))
    before, after, fates = carried(other, **network)
    rng = np.random.default_rng(0)
    known = {name: rng.standard_normal(20).astype(np.float32) for name in SPEC.names}
    old = before.outputs(seen(SPEC.names, known))[0].copy()
    new = after.outputs(seen(other.names, known))[0]
    assert np.allclose(new[:, 1], old[:, 0], atol=1e-6)
    assert np.allclose(new[:, -3:], old[:, -3:], atol=1e-6)
    assert np.array_equal(new[:, 0], np.zeros(20))
    assert {name for name, (fate, _) in fates.items() if fate == "new"} == {"t", "t[-1]", "last.r", "r"}
    assert fates["v"] == fates["q"] == ("kept", "")


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_another_scale_keeps_the_value(network: dict[str, object]) -> None:
    """0.97 pu is 0.97 pu though the feature's range has changed: the same answer to the same voltage."""
    other = spec(Feature("v", "pu", 0.98, 0.05), P)
    before, after, fates = carried(other, **network)
    volts = np.linspace(0.9, 1.1, 20)
    common = {name: np.zeros(20, np.float32) for name in SPEC.names}
    old = before.outputs(seen(SPEC.names, common | {"v": ((volts - 1.0) / 0.1).astype(np.float32)}))[0].copy()
    shifted = common | {"v": ((volts - 0.98) / 0.05).astype(np.float32), "v[-1]": np.full(20, 0.4, np.float32)}
    new = after.outputs(seen(other.names, shifted))[0]
    assert np.allclose(new, old, atol=1e-5)
    assert fates["v"][0] == fates["v[-1]"][0] == "rescaled"


def test_powers_keep_their_share_of_the_range() -> None:
    """A plant twice as large is read and commanded per unit, and the table says so."""
    larger = replace(Q, low=-20.0, high=20.0)
    before, after, fates = carried(spec(V, Feature("p", "kW", 0.0, 100.0), setpoints=(larger, TAP)))
    x = seen(SPEC.names, {})
    assert np.array_equal(before.outputs(x)[0], after.outputs(x)[0])
    assert "same share" in fates["p"][1]
    assert "-10 to 10 is -20 to 20 kvar" in fates["q"][1]


def test_gone_is_dropped_and_new_levels_begin_even() -> None:
    """A feature less changes only its own part; of three levels two are left, and a new one is as likely as exp(0)."""
    before, after, fates = carried(spec(P, setpoints=(Q, replace(TAP, levels=(0.0, 2.0, 5.0)))))
    assert fates["v"][0] == fates["v[-1]"][0] == "gone"
    assert fates["tap = 1"][0] == "gone"
    assert fates["tap = 5"][0] == "new"
    head, old = after._weights["head/weight"], before._weights["head/weight"]
    assert np.array_equal(head[:3], old[[0, 1, 3]])
    assert not head[3].any()


def test_new_numbers_explore_like_a_new_network() -> None:
    """The log standard deviation of a new setpoint is the initial one; the others keep theirs."""
    before = group()
    after, _ = transfer(Bundle({"g": before}), {"g": [spec(V, P, setpoints=(R, Q, TAP))]})
    assert np.allclose(after.group("g").weights["log_std"], [NEW_LOG_STD, before.weights["log_std"][0]])


def test_the_same_learner_is_the_same_bundle() -> None:
    """Nothing changes where nothing differs."""
    before = group()
    after, moved = transfer(Bundle({"g": before}), {"other_name": [SPEC]})
    assert {entry.fate for entry in moved} == {"kept"}
    assert all(np.array_equal(after.group("other_name").weights[k], v) for k, v in before.weights.items())


def test_nothing_in_common_is_refused() -> None:
    """Groups that are not there, and learners that share nothing, are errors with the names."""
    two = Bundle({"g": group(), "h": group()})
    with pytest.raises(TransferError, match="group 'x' of the scenario is not in the bundle, which has g, h"):
        transfer(two, {"x": [SPEC]})
    with pytest.raises(TransferError, match="nothing that it does"):
        transfer(two, {"g": [spec(V, P, setpoints=(R,))]})
    with pytest.raises(TransferError, match="nothing that it sees"):
        transfer(two, {"g": [spec(T, extras=())]})


def test_the_result_is_a_bundle(tmp_path: object) -> None:
    """It can be saved and read, in a network of the new sizes."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    after, _ = transfer(Bundle({"g": group()}), {"g": [spec(V, T, setpoints=(R, Q))]})
    folder = tmp_path / "b"  # type: ignore[operator]
    after.save(folder)
    assert Bundle.load(folder).group("g").network == after.group("g").network
