"""Actors in torch, and the same actors in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.description import CLOSED, Description, NetworkError
from policies.numpy_actor import NumpyActor
from tests.policies.bundles import weights

torch = pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

#: Every head with what it may answer.
HEADS = [("gaussian", 3, ()), ("gaussian", 2, (2, 4)), ("tanh_gaussian", 3, (3,)), ("tanh", 2, ()),
         ("categorical", 0, (5, 3)), ("q", 0, (5, 3))]
KINDS = [("mlp", "tanh"), ("mlp", "relu"), ("gru", "tanh")]


def description(head: str, n: int, counts: tuple[int, ...], kind: str = "mlp", activation: str = "tanh",
                **changes: Any) -> Description:
    """Seven observations, two layers."""
    return Description(7, n, counts, kind, (16, 12), activation, head, **changes)


def actor(d: Description, seed: int = 0) -> Any:
    """In torch, with random weights."""
    from policies.networks import Actor, set_weights

    made = Actor(d)
    set_weights(made, weights(d, seed))
    return made


def observations(n: int, seed: int = 3) -> Any:
    """Some far out of what was normal."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, 7)) * rng.choice([0.3, 3.0, 30.0], (n, 1))).astype(np.float32)


@pytest.mark.parametrize(("head", "n", "counts"), HEADS)
@pytest.mark.parametrize(("kind", "activation"), KINDS)
def test_numpy_computes_what_torch_does(head: str, n: int, counts: tuple[int, ...], kind: str, activation: str) -> None:
    """Outputs, best actions and memory over three steps are equal to 1e-5."""
    d = description(head, n, counts, kind, activation)
    both, fast = actor(d), NumpyActor(d.to_dict(), weights(d))
    memory, theirs = None, None
    for t in range(3):
        x = observations(40, t)
        with torch.no_grad():
            outputs = both.outputs(torch.from_numpy(x), theirs)[0]
            answer, theirs = both.step(torch.from_numpy(x), theirs)
        rows, logp, after = fast.act(x, deterministic=True, hidden=memory)
        assert np.abs(fast.outputs(x, memory)[0] - outputs.numpy()).max() < 1e-5
        assert np.abs(rows - answer.mode().numpy()).max() < 1e-5
        assert (logp == 0).all()
        memory = after
        assert (memory is None) == (kind == "mlp")
        if memory is not None:
            assert np.abs(memory - theirs.numpy()).max() < 1e-5


@pytest.mark.parametrize(("head", "n", "counts"), [item for item in HEADS if item[0] not in ("tanh", "q")])
def test_log_probabilities_agree(head: str, n: int, counts: tuple[int, ...]) -> None:
    """What NumPy draws has the log-probability that torch gives it; torch's own draws, too."""
    d = description(head, n, counts)
    both, fast, x = actor(d), NumpyActor(d, weights(d)), observations(200)
    masks = np.random.default_rng(1).random((200, d.n_logit)) < 0.7 if counts else None
    rows, logp, _ = fast.act(x, np.random.default_rng(0), masks=masks)
    with torch.no_grad():
        answer = both(torch.from_numpy(x), None if masks is None else torch.from_numpy(masks))
        inside = np.abs(rows[:, :n]).max(1, initial=0) < 0.999 if head == "tanh_gaussian" else np.ones(200, bool)
        assert inside.sum() > 50
        assert np.abs(answer.log_prob(torch.from_numpy(rows)).numpy() - logp)[inside].max() < 1e-3
        drawn, theirs = answer.rsample(torch.Generator().manual_seed(0))
        inside = np.abs(drawn[:, :n].numpy()).max(1, initial=0) < 0.999 if head == "tanh_gaussian" else inside
        assert (answer.log_prob(drawn) - theirs).abs().numpy()[inside].max() < 1e-3


@pytest.mark.parametrize(("head", "n", "counts"), [item for item in HEADS if item[0] in ("gaussian", "categorical")])
def test_entropy_is_minus_the_mean_log_probability(head: str, n: int, counts: tuple[int, ...]) -> None:
    """By Monte Carlo, 20,000 draws."""
    d = description(head, n, counts)
    with torch.no_grad():
        answer = actor(d)(torch.from_numpy(observations(1)).expand(20_000, -1))
        _, logp = answer.rsample(torch.Generator().manual_seed(0))
        entropy = float(answer.entropy()[0])
    assert float(-logp.mean()) == pytest.approx(entropy, abs=0.05)


def test_gaussian_log_probability_is_torchs_own() -> None:
    """Against torch.distributions, squashed and not."""
    from torch import distributions as ds

    x = torch.from_numpy(observations(50))
    plain = actor(description("gaussian", 3, ()))(x)
    rows = plain.sample()
    expected = ds.Independent(ds.Normal(plain.mean, plain.log_std.exp()), 1).log_prob(rows)
    assert torch.allclose(plain.log_prob(rows), expected, atol=1e-5)
    squashed = actor(description("tanh_gaussian", 3, ()))(x)
    rows, logp = squashed.rsample()
    inside = rows.abs().max(1).values < 0.99
    base = ds.Normal(squashed.mean, squashed.log_std.exp())
    expected = ds.Independent(ds.TransformedDistribution(base, ds.TanhTransform()), 1).log_prob(rows)
    assert torch.allclose(logp[inside], expected[inside], atol=1e-3)


def test_masks_close_alternatives() -> None:
    """A closed alternative is neither best, nor drawn, nor explored."""
    for head in ("categorical", "q"):
        d = description(head, 0, (4,))
        mine = weights(d)
        if head == "q":
            mine["explore"] = np.array(1.0, np.float32)
        x, masks = observations(500), np.array([[True, False, True, False]] * 500)
        fast = NumpyActor(d, mine)
        for rows in (fast.act(x, deterministic=True, masks=masks)[0],
                     fast.act(x, np.random.default_rng(0), masks=masks)[0]):
            assert set(rows[:, 0].tolist()) == {0.0, 2.0}
        answer = actor(d)(torch.from_numpy(x), torch.from_numpy(masks))
        assert set(answer.mode()[:, 0].tolist()) <= {0.0, 2.0}
        assert float(answer.logits[0][0, 1].detach()) == CLOSED


def test_numpy_draws_with_the_right_frequencies() -> None:
    """Categories by their probabilities, numbers by mean and deviation."""
    d = description("gaussian", 1, (3,))
    x = np.repeat(observations(1), 40_000, 0)
    rows, _, _ = NumpyActor(d, weights(d)).act(x, np.random.default_rng(0))
    with torch.no_grad():
        answer = actor(d)(torch.from_numpy(x[:1]))
    expected = torch.softmax(answer.logits[0][0], 0).numpy()
    assert np.abs(np.bincount(rows[:, 1].astype(int), minlength=3) / 40_000 - expected).max() < 0.01
    assert rows[:, 0].mean() == pytest.approx(float(answer.mean[0, 0]), abs=0.02)
    assert rows[:, 0].std() == pytest.approx(float(answer.log_std.detach().exp()[0, 0]), rel=0.02)


def test_exploration_is_a_weight() -> None:
    """A ``tanh`` head adds noise of that size, a ``q`` head takes anything that often."""
    d = description("tanh", 2, ())
    x = observations(20_000)
    fast = NumpyActor(d, {**weights(d), "explore": np.array(0.0, np.float32)})
    assert np.array_equal(fast.act(x, np.random.default_rng(0))[0], fast.act(x, deterministic=True)[0])
    d = description("q", 0, (4,))
    fast = NumpyActor(d, {**weights(d), "explore": np.array(0.4, np.float32)})
    same = fast.act(x, np.random.default_rng(0))[0] == fast.act(x, deterministic=True)[0]
    assert same.mean() == pytest.approx(0.6 + 0.4 / 4, abs=0.02)


def test_numbers_that_are_none_stay_none() -> None:
    """NaN in the weights of a discrete head is NaN in the row, not alternative 0."""
    d = description("categorical", 0, (3,))
    broken = {**weights(d), "head/bias": np.array([0, np.nan, 0], np.float32)}
    fast = NumpyActor(d, broken)
    assert np.isnan(fast.act(observations(4), deterministic=True)[0]).all()
    assert np.isnan(fast.act(observations(4), np.random.default_rng(0))[0]).all()


def test_unroll_is_step_by_step() -> None:
    """Over time, with an episode that begins in between."""
    d = description("gaussian", 2, (3,), "gru")
    both = actor(d)
    x = torch.from_numpy(observations(5 * 4).reshape(5, 4, 7))
    first = torch.zeros(5, 4, dtype=torch.bool)
    first[2, 1] = True
    whole = both.unroll(x, None, first)
    hidden = torch.zeros(4, d.n_hidden)
    for t in range(5):
        hidden = torch.where(first[t, :, None], torch.zeros_like(hidden), hidden)
        answer, hidden = both.step(x[t], hidden)
        assert torch.allclose(answer.mean, whole.mean[t], atol=1e-6)
        assert torch.allclose(answer.logits[0], whole.logits[0][t], atol=1e-6)


def test_running_norm_is_mean_and_deviation_of_all_seen() -> None:
    """In whatever batches."""
    from policies.networks import RunningNorm

    x = torch.from_numpy(observations(300)) + 100
    norm = RunningNorm(7)
    for part in (x[:7], x[7:200], x[200:200], x[200:].reshape(10, 10, 7)):
        norm.update(part)
    assert torch.allclose(norm.mean, x.mean(0), rtol=1e-5)
    assert torch.allclose(norm.std, x.std(0, unbiased=False), rtol=1e-4)
    assert float(norm.count) == 300
    constant = RunningNorm(7)
    constant.update(torch.ones(5, 7))
    assert float(constant(torch.full((1, 7), 2.0)).max()) == 10.0


def test_values_and_action_values() -> None:
    """Shapes, and the smaller of twins."""
    from policies.networks import QNet, TwinQ, ValueNet

    x, a = torch.ones(3, 5, 7), torch.ones(3, 5, 2)
    assert ValueNet(7)(x).shape == (3, 5)
    assert ValueNet(7, (8,), "relu", 4, normalise=True)(x).shape == (3, 5, 4)
    assert QNet(7, 2)(x, a).shape == (3, 5)
    twin = TwinQ(7, 2)
    one, two = twin(x, a)
    assert torch.equal(twin.least(x, a), torch.minimum(one, two))
    assert not torch.equal(one, two)


def test_weights_go_out_and_in() -> None:
    """`weights_of` has the described names and shapes; what does not fit is named."""
    from policies.networks import Actor, set_weights, weights_of

    for head, n, counts in HEADS:
        for kind, activation in KINDS:
            d = description(head, n, counts, kind, activation)
            assert {name: array.shape for name, array in weights_of(actor(d)).items()} == d.shapes
    d = description("gaussian", 2, ())
    mine = weights(d)
    assert all(np.array_equal(mine[name], array) for name, array in weights_of(actor(d)).items())
    with pytest.raises(NetworkError, match=r"log_std: \(2,\) and \(3,\)"):
        set_weights(Actor(d), {**mine, "log_std": np.zeros(3, np.float32)})
    with pytest.raises(NetworkError, match=r"body/0/bias is missing; expected \(16,\)"):
        NumpyActor(d, {name: array for name, array in mine.items() if name != "body/0/bias"})
    with pytest.raises(NetworkError, match=r"norm/mean is of shape \(8,\); expected \(7,\)"):
        NumpyActor(d, {**mine, "norm/mean": np.zeros(8)})


def test_heads_without_a_distribution_say_so() -> None:
    """Nothing is drawn from a deterministic head."""
    with pytest.raises(NetworkError, match=r"head 'q' has no distribution; take mode\(\)"):
        actor(description("q", 0, (3,)))(torch.zeros(1, 7)).sample()


@pytest.mark.parametrize(("changes", "message"), [
    ({"kind": "cnn"}, "kind is 'cnn'; expected one of mlp, gru"),
    ({"activation": "gelu"}, "activation is 'gelu'"),
    ({"head": "beta"}, "head is 'beta'"),
    ({"hidden": []}, "hidden has 0 layers; expected 1 to 16"),
    ({"hidden": [64, 0]}, r"hidden\[1\] is 0"),
    ({"hidden": ["64"]}, r"hidden\[0\] is '64'"),
    ({"hidden": 3}, "not a description"),
    ({"n_in": 0}, "n_in is 0"),
    ({"n_in": True}, "n_in is True"),
    ({"counts": [1]}, r"counts\[0\] is 1"),
    ({"n_continuous": 0}, "it would answer nothing"),
    ({"head": "q"}, "head 'q' answers discrete actions only"),
    ({"depth": 3}, "not a description"),
])
def test_descriptions_that_will_not_do(changes: dict[str, Any], message: str) -> None:
    """One message each, with what would be accepted."""
    good = Description(7, 2).to_dict()
    assert Description.of(good) == Description(7, 2)
    with pytest.raises(NetworkError, match=message):
        Description.of({**good, **changes})


def test_first_weights_follow_the_seed() -> None:
    """The same seed, the same weights."""
    from policies.networks import Actor, weights_of

    d = description("gaussian", 2, (3,), "gru")
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(weights_of(Actor(d))["head/weight"])
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
