"""What centralised critics are for: values that only the joint view explains, and a task that is done together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

import torch

from policies.training.assembly import Assembly, assemble
from policies.training.collect import Fragment, LocalCollector
from policies.training.config import load_config
from policies.training.td3 import Td3
from policies.training.transitions import Transitions, joined
from tests.policies.training.fakes import recipe

#: Actor-critic options for the small problems here.
QUICK: dict[str, Any] = {"hidden": [32, 32], "lr": 3e-3, "batch": 128, "warmup": 200, "capacity": 10_000}


def trained(algo: str, made: Any, n: int, fragment: int, options: dict[str, Any],
            **settings: Any) -> tuple[Assembly, list[dict[str, dict[str, float]]], list[float], Any]:
    """After n updates: the parts, figures of each update by group, mean returns of each fragment, and the collector."""
    config = load_config(scenario="none", algo=algo, steps=n * fragment, options=options,
                         collection={"workers": 0, "slots": 1, "fragment": fragment}, **settings)
    parts = assemble(config, made)
    collector = LocalCollector(parts.plan)
    figures, returns = [], []
    for k in range(n):
        found = collected(parts, collector, k)
        figures.append({name: algorithm.update(found.rows[name]) for name, algorithm in parts.algorithms.items()})
        returns.append(float(np.mean([episode.returns for episode in found.episodes])))
    return parts, figures, returns, collector


def collected(parts: Assembly, collector: LocalCollector, k: int) -> Fragment:
    """A fragment, acted with the weights of now."""
    collector.load({name: algorithm.actor_weights() for name, algorithm in parts.algorithms.items()})
    collector.begin(k)
    return collector.finish()


def explained(learner: Td3, rows: Transitions) -> float:
    """Share of the variance of these rows' rewards that the first critic's values explain."""
    reader = Td3(learner.setting, learner.options)  # its memory holds these rows alone
    reader.remember(rows)
    batch = reader.batch(reader.replay.draw(4 * len(rows)))
    with torch.no_grad():
        values = learner.critics(torch.cat([batch.state, batch.action], -1))[0]
    return float(1 - (batch.reward - values).var() / batch.reward.var())


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("algo", "low", "high"), [("mappo", 0.8, 1.0), ("ppo", -1.0, 0.3)])
def test_only_a_central_value_explains_what_the_other_sees(algo: str, low: float, high: float, shared: bool) -> None:
    """Where each agent is paid by what the other one alone sees, MAPPO's values explain over 80 % of the returns'
    variance, before learning from them; those of PPO (a network each: IPPO) below 30 %."""
    algo = "ippo" if algo == "ppo" and not shared else algo
    _, figures, _, _ = trained(algo, recipe(kind="swapped", periods=[1.0, 1.0], shared=shared), 12, 256,
                               {"lr": 1e-2, "log_std": -1.5, "minibatch": 128},
                               discount={"gamma": 0.05, "per_s": 1.0})
    for found in figures[-1].values():
        assert low <= found["explained_variance"] <= high


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("algo", "low", "high"), [("maddpg", 0.8, 1.0), ("td3", -1.0, 0.3)])
def test_only_a_central_q_explains_what_the_other_sees(algo: str, low: float, high: float, shared: bool) -> None:
    """The same for MADDPG's Q of the own action and the joint view, on decisions it has not learned from, and TD3's."""
    options = {**QUICK, "twin": True, "updates_per_row": 0.5, "noise": 0.5}
    parts, _, _, collector = trained(algo, recipe(kind="swapped", periods=[1.0, 1.0], shared=shared), 10, 100, options,
                                     discount={"gamma": 0.01, "per_s": 1.0})
    fresh = [collected(parts, collector, k).rows for k in range(10, 14)]
    for name, learner in parts.algorithms.items():
        assert isinstance(learner, Td3)
        assert low <= explained(learner, joined([rows[name] for rows in fresh])) <= high


@pytest.mark.parametrize("shared", [True, False])
def test_maddpg_learns_to_do_it_together(shared: bool) -> None:
    """Paid alike for the sum of what both do, of which each sees its own part: 9/10 of the best return, 4."""
    _, _, returns, _ = trained("maddpg", recipe(kind="together", periods=[1.0, 1.0], shared=shared, duration_s=4.0),
                               15, 100, {**QUICK, "noise": 0.1, "updates_per_row": 0.5})
    assert returns[0] < 2.0
    assert np.mean(returns[-3:]) > 3.6
