"""Advantages over decisions that take time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.scenario.learning import Discount
from policies.training.gae import advantages, gammas, next_values
from policies.training.slot import Rows, Slot, SlotSetting
from policies.training.transitions import Shape, Transitions, empty
from tests.policies.training.fakes import Targets

DISCOUNT = Discount(gamma=0.9, per_s=2.0)


def chains(n: int, n_agent: int = 2, seed: int = 0) -> Transitions:
    """n rows of some agents of two slots, mixed up, with ends of both kinds."""
    rng = np.random.default_rng(seed)
    slot, agent = rng.integers(0, 2, n), rng.integers(0, n_agent, n)
    order = np.zeros(n, np.int64)
    for key in {(int(s), int(a)) for s, a in zip(slot, agent, strict=True)}:
        mine = (slot == key[0]) & (agent == key[1])
        order[mine] = np.arange(mine.sum())
    over = rng.random(n)
    return Transitions({"reward": rng.normal(size=n), "dt_s": rng.uniform(0.1, 5, n), "slot": slot, "agent": agent,
                        "order": order, "terminated": over < 0.1, "truncated": over > 0.9})


def estimate(rows: Transitions, values: Any, after: Any, decay: float) -> Any:
    """Advantages as the learner computes them."""
    worth = gammas(rows["dt_s"], DISCOUNT)
    following = next_values(rows, values, after)
    return advantages(rows, rows["reward"] + worth * following - values, worth * decay)


def test_advantages_are_those_of_a_plain_loop() -> None:
    """Row by row, each agent's chain backwards: V(s') after a truncation or at the end of the rows, 0 after a death."""
    rows = chains(200)
    rng = np.random.default_rng(1)
    values, after = rng.normal(size=200), rng.normal(size=200)
    found = estimate(rows, values, after, 0.8)
    place = {(int(rows["slot"][i]), int(rows["agent"][i]), int(rows["order"][i])): i for i in range(200)}

    def expected(i: int) -> float:
        worth = 0.9 ** (rows["dt_s"][i] / 2.0)
        j = place.get((int(rows["slot"][i]), int(rows["agent"][i]), int(rows["order"][i]) + 1))
        if rows["terminated"][i]:
            return float(rows["reward"][i] - values[i])
        if rows["truncated"][i] or j is None:
            return float(rows["reward"][i] + worth * after[i] - values[i])
        return float(rows["reward"][i] + worth * values[j] - values[i] + worth * 0.8 * expected(j))

    np.testing.assert_allclose(found, [expected(i) for i in range(200)], rtol=1e-12)


def test_each_column_has_its_own_advantage() -> None:
    """Reward and costs side by side are what they are alone."""
    rows = chains(60)
    deltas = np.random.default_rng(2).normal(size=(60, 3))
    decays = np.full(60, 0.7)
    together = advantages(rows, deltas, decays)
    assert np.array_equal(together[:, 1], advantages(rows, deltas[:, 1], decays))


def test_advantages_are_torchrls() -> None:
    """With a discount of its own for each step, as a tensor."""
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")
    functional = pytest.importorskip("torchrl.objectives.value.functional",
                                     reason="TorchRL is not installed (pip install .[rl])")
    n, rng = 50, np.random.default_rng(3)
    rows = chains(n, 1, seed=4)
    rows = Transitions({**rows.columns, "slot": np.zeros(n, int), "order": np.arange(n)})
    values, after = rng.normal(size=n), rng.normal(size=n)
    follows = rows.follows()
    seen_next = np.where(follows >= 0, values[follows], after)

    def column(array: Any) -> Any:
        return torch.from_numpy(np.asarray(array)).unsqueeze(-1)

    done = rows["terminated"] | rows["truncated"]
    expected, _ = functional.vec_generalized_advantage_estimate(
        column(gammas(rows["dt_s"], DISCOUNT)), 0.8, column(values), column(seen_next), column(rows["reward"]),
        column(done), column(rows["terminated"]))
    np.testing.assert_allclose(estimate(rows, values, after, 0.8), expected.squeeze(-1).numpy(), atol=1e-9)


def test_a_constant_rate_is_worth_r_over_beta() -> None:
    """At irregular decision times, with rewards discounted within their interval: V -> r / β, β = -ln γ / per_s."""
    env, rate = Targets((1.0, 2.7), jitter=0.9, duration_s=400.0, rate=3.0), 3.0
    slot = Slot(env, SlotSetting(0, 1, {"all": Shape(3, 1, 1)}))
    rows = Rows(empty(Shape(3, 1, 1), 2000))
    slot.run(0, 300, {"all": Still()}, {"all": rows})
    taken = rows.taken()
    beta = -np.log(DISCOUNT.gamma) / DISCOUNT.per_s
    inside = rate * (1 - np.exp(-beta * taken["dt_s"])) / beta  # the environment integrates so where it discounts
    discounted = Transitions({**taken.columns, "reward": inside})
    zero = np.zeros(len(taken))
    values = estimate(discounted, zero, np.full(len(taken), rate / beta), 1.0)
    assert np.unique(np.round(taken["dt_s"], 3)).size > 50
    np.testing.assert_allclose(values, rate / beta, rtol=1e-9)


class Still:
    """Does nothing."""

    def act(self, observations: Any, rng: Any, *, masks: Any = None, hidden: Any = None) -> Any:
        """Zeros."""
        return np.zeros((len(observations), 1), np.float32), np.zeros(len(observations), np.float32), None
