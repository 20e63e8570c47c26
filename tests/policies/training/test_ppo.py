"""PPO: its loss, and that it learns what can be known by heart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

import torch

from policies.numpy_actor import NumpyActor
from policies.training.algorithm import TrainingError
from policies.training.assembly import Assembly, assemble
from policies.training.collect import LocalCollector
from policies.training.config import load_config
from policies.training.loop import at_most
from policies.training.ppo import Ppo, PpoOptions, Values, clip_loss
from policies.training.sequences import padded, sequences
from tests.policies.training.fakes import recipe


def learned(n: int, algo: str = "ppo", options: dict[str, Any] | None = None, made: Any = None,
            **settings: Any) -> tuple[Assembly, list[dict[str, float]]]:
    """After n updates: the parts, and each update's figures with the return of the last episodes."""
    config = load_config(scenario="none", algo=algo, steps=1_000_000,
                         options={"lr": 3e-3, "log_std": -1.0} | (options or {}),
                         collection={"workers": 0, "slots": 1, "fragment": 256}, **settings)
    parts = assemble(config, made or recipe(duration_s=3.0))
    collector = LocalCollector(parts.plan)
    figures = []
    for k in range(n):
        collector.load({name: algorithm.actor_weights() for name, algorithm in parts.algorithms.items()})
        collector.begin(k)
        fragment = collector.finish()
        found: dict[str, float] = {}
        for name, algorithm in parts.algorithms.items():
            found |= algorithm.update(fragment.rows[name])
        returns = [episode.returns for episode in fragment.episodes]
        figures.append(found | {"return": float(np.mean(returns)) if returns else np.nan})
    return parts, figures


def answer(parts: Assembly, target: float, group: str = "all") -> float:
    """What the best action is for a target, x = 0."""
    algorithm = parts.algorithms[group]
    actor = NumpyActor(algorithm.actor_description(), algorithm.actor_weights())
    return float(actor.act(np.array([[target, 0.0, 1.0]], np.float32), deterministic=True)[0][0, 0])


def test_the_loss_is_torchrls() -> None:
    """Clipped objective, entropy and critic of `ClipPPOLoss` on the same distribution and advantages."""
    objectives = pytest.importorskip("torchrl.objectives", reason="TorchRL is not installed (pip install .[rl])")
    from tensordict import TensorDict
    from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential, TensorDictModule
    from torch.distributions import Independent, Normal

    torch.manual_seed(0)
    net, critic, log_std = torch.nn.Linear(4, 2), torch.nn.Linear(4, 1), torch.full((2,), -0.3)
    policy = ProbabilisticTensorDictSequential(
        TensorDictModule(lambda x: (net(x), log_std.exp().expand(len(x), 2)), ["observation"], ["loc", "scale"]),
        ProbabilisticTensorDictModule(["loc", "scale"], ["action"], return_log_prob=True,
                                      distribution_class=lambda loc, scale: Independent(Normal(loc, scale), 1)))
    value = TensorDictModule(critic, ["observation"], ["state_value"])
    loss = objectives.ClipPPOLoss(policy, value, clip_epsilon=0.2, entropy_bonus=False, loss_critic_type="l2")
    n = 64
    rows = TensorDict({"observation": torch.randn(n, 4), "action": torch.randn(n, 2),
                       "action_log_prob": torch.randn(n) - 3, "advantage": torch.randn(n, 1),
                       "value_target": torch.randn(n, 1)}, [n])
    theirs = loss(rows)
    logp = Independent(Normal(net(rows["observation"]), log_std.exp().expand(n, 2)), 1).log_prob(rows["action"])
    mine = clip_loss(logp, rows["action_log_prob"], rows["advantage"].squeeze(-1), 0.2).mean()
    assert mine.item() == pytest.approx(theirs["loss_objective"].item(), rel=1e-5)
    assert mine.item() != pytest.approx((-(logp - rows["action_log_prob"]).exp() * rows["advantage"].squeeze(-1))
                                        .mean().item(), rel=1e-3)


def test_the_first_step_sees_the_policy_that_acted() -> None:
    """NumPy's log-probabilities are torch's: in one full batch the ratio is 1, and the policy's loss 0."""
    _, figures = learned(1, options={"epochs": 1, "minibatch": 100_000})
    assert figures[0]["kl"] == pytest.approx(0.0, abs=1e-8)
    assert figures[0]["loss_policy"] == pytest.approx(0.0, abs=1e-4)


def test_it_learns_to_hold_the_target() -> None:
    """The action follows what is seen; the return comes near the best, 3."""
    parts, figures = learned(25)
    assert figures[-1]["return"] > 2.5 > figures[0]["return"]
    for target in (-0.6, 0.0, 0.6):
        assert answer(parts, target) == pytest.approx(target, abs=0.15)


def test_values_are_those_of_time() -> None:
    """A constant reward rate r (integrated plainly over 1 s steps) is worth r / (1 - γ)."""
    parts, _ = learned(12, made=recipe(rate=2.0, duration_s=10_000.0, periods=[1.0]),
                       options={"gae_lambda": 1.0, "lr": 1e-2}, discount={"gamma": 0.8, "per_s": 1.0})
    algorithm = parts.algorithms["all"]
    assert isinstance(algorithm, Ppo)
    found = algorithm.values(torch.zeros(1, 3))
    assert found.item() == pytest.approx(2.0 / 0.2, rel=0.1)


def test_a_limit_is_kept() -> None:
    """Where effort (mean |target| is 0.5) is limited to 0.2, the policy holds back; without a limit it does not."""
    _, figures = learned(40, cost_limits={"effort": 0.2}, options={"lagrangian": {"kp": 0.5, "ki": 0.2}})
    assert np.mean([f["cost_rate/effort"] for f in figures[-8:]]) <= at_most(0.2)
    assert figures[-1]["price/effort"] > 0
    free, _ = learned(25)
    assert abs(answer(free, 0.8)) > 0.55


@pytest.mark.parametrize(("algo", "options"), [("mappo", {}), ("ippo", {}), ("ppo", {"memory": True, "sequence": 8})])
def test_variants_learn(algo: str, options: dict[str, Any]) -> None:
    """Central critic; a network a group; memory."""
    shared = algo != "ippo"
    parts, figures = learned(20, algo, options, recipe(periods=[1.0, 2.0], duration_s=4.0, shared=shared))
    assert figures[-1]["return"] > figures[0]["return"] + 0.4
    for group in parts.algorithms:
        if algo != "ppo":
            assert answer(parts, 0.6, group) > answer(parts, -0.6, group) + 0.5


@pytest.mark.parametrize(("memory", "low", "high"), [(True, 0.85, 1.0), (False, -0.35, 0.35)])
def test_memory_keeps_what_was_seen_once(memory: bool, low: float, high: float) -> None:
    """A sign that is shown at the first of four decisions only and asked for at the last: with memory nearly the best
    return, 1; without it chance, 0."""
    _, figures = learned(24, options={"memory": memory, "sequence": 8, "hidden": [16, 16], "lr": 1e-2},
                         made=recipe(kind="cued", duration_s=4.0), discount={"gamma": 0.99, "per_s": 1.0})
    assert low <= np.mean([found["return"] for found in figures[-4:]]) <= high


def test_discrete_parts_are_learned_beside_numbers() -> None:
    """A mixed action: its probabilities agree with the worker's, masks included."""
    _, figures = learned(1, options={"epochs": 1, "minibatch": 100_000}, made=recipe(counts=[3]))
    assert figures[0]["kl"] == pytest.approx(0.0, abs=1e-8)


def test_memory_is_unrolled_as_it_was_lived() -> None:
    """With memory, too, the first batch over whole sequences has ratio 1."""
    _, figures = learned(1, options={"epochs": 1, "minibatch": 100_000, "memory": True, "sequence": 7},
                         made=recipe(periods=[1.0, 2.0]))
    assert figures[0]["kl"] == pytest.approx(0.0, abs=1e-8)


def test_sequences_hold_every_row_once() -> None:
    """Consecutive, of one agent and episode, no longer than asked; padding is told apart."""
    config = load_config(scenario="none", collection={"workers": 0, "slots": 2, "fragment": 60})
    collector = LocalCollector(assemble(config, recipe(periods=[1.0, 2.3], jitter=0.3)).plan)
    collector.load({name: algorithm.actor_weights() for name, algorithm in
                       assemble(config, recipe(periods=[1.0, 2.3])).algorithms.items()})
    collector.begin(0)
    rows = collector.finish().rows["all"]
    parts = sequences(rows, 6)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    assert max(map(len, parts)) == 6
    follows = rows.follows()
    assert all(follows[a] == b for part in parts for a, b in pairwise(part))
    index, real = padded(parts)
    assert real.sum() == len(rows)
    assert index.shape == real.shape == (6, len(parts))


def test_new_moments_leave_values_as_they_are() -> None:
    """PopArt: the critic's layer moves along."""
    torch.manual_seed(0)
    values = Values(3, PpoOptions(), 2)
    seen = torch.randn(50, 3)
    before = values(seen)
    values.adapt(torch.randn(100, 2) * 30 + 500)
    torch.testing.assert_close(values(seen), before, rtol=1e-4, atol=1e-4)
    assert values.mean.min() > 400


def test_a_loss_that_is_no_number_stops() -> None:
    """Before the step that would spoil the weights."""
    parts, _ = learned(1)
    algorithm = parts.algorithms["all"]
    before = algorithm.actor_weights()
    collector = LocalCollector(parts.plan)
    collector.load({"all": before})
    collector.begin(0)
    rows = collector.finish().rows["all"]
    rows["obs"][3] = np.nan
    with pytest.raises(TrainingError, match=r"group all: the loss is nan"):
        algorithm.update(rows)
    assert all(np.isfinite(array).all() for array in algorithm.actor_weights().values())


def test_ppo_is_for_one_group() -> None:
    """More need ippo or mappo."""
    with pytest.raises(TrainingError, match=r"found 2 \(a0, a1\); expected ippo or mappo"):
        learned(0, made=recipe(periods=[1.0, 1.0], shared=False))
