"""Off-policy learners: targets by time, pace, exploration, exact continuation, tiny problems with known solutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from policies.numpy_actor import NumpyActor
from policies.training.algorithm import TrainingError
from policies.training.dqn import Dqn
from policies.training.offline.cql import ContinuousCql
from policies.training.offpolicy import OffPolicy
from policies.training.sac import Sac
from policies.training.td3 import Td3
from policies.training.transitions import Transitions

SMALL = {"hidden": (32, 32), "batch": 64, "warmup": 0}
KINDS = [(Sac, 2, ()), (Sac, 0, (3, 2)), (Td3, 2, ()), (Dqn, 0, (4,)), (Dqn, 0, (3, 2))]


def made(make: Any, kind: type[OffPolicy], spec: Any, **options: Any) -> Any:
    """A small learner."""
    changes = {key: options.pop(key) for key in ("gamma", "per_s", "seed") if key in options}
    return kind(make.setting(spec, **changes), kind.Options(**{**SMALL, **options}))


def test_targets_are_discounted_by_the_time_that_passed(make: Any) -> None:
    """R + γ^(Δt / per_s) V, by hand, at irregular Δt; 0 behind the end of a life."""
    spec = make.spec(3, 1)
    learner = made(make, Td3, spec, gamma=0.8, per_s=5.0, batch=200)
    learner.remember(make.rows(spec, 200, dt_s=None))
    drawn = learner.replay.draw(200)
    value = np.linspace(-3, 3, 200)
    target = learner.batch(drawn).target(torch.from_numpy(value)).numpy()
    rows = drawn.columns
    expected = [rows["reward"][i] + (0.0 if rows["terminated"][i] else 0.8 ** (rows["dt_s"][i] / 5.0)) * value[i]
                for i in range(200)]
    np.testing.assert_allclose(target, expected, atol=1e-6)
    assert rows["terminated"].any()


@pytest.mark.parametrize(("kind", "n", "counts"), KINDS)
def test_going_on_from_a_saved_state_is_exact(make: Any, kind: type[OffPolicy], n: int,
                                              counts: tuple[int, ...]) -> None:
    """Weights after two more fragments are bit for bit those of the learner that was never saved."""
    spec = make.spec(4, n, counts)
    options = {"priority": 0.6, "n_step": 2, "normalise": True, "updates_per_row": 0.07}
    learner, copy = made(make, kind, spec, **options), made(make, kind, spec, seed=9, **options)
    learner.update(make.rows(spec, 150, seed=1))
    copy.load_state_dict(learner.state_dict())
    for seed in (2, 3):
        rows = make.rows(spec, 100, seed=seed)
        assert learner.update(rows) == copy.update(rows)
    mine, theirs = learner.state_dict(), copy.state_dict()
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not np.array_equal(mine[name], theirs[name])] == []


@pytest.mark.parametrize(("kind", "n", "counts"), KINDS)
def test_a_seed_decides_everything(make: Any, kind: type[OffPolicy], n: int, counts: tuple[int, ...]) -> None:
    """Equal seeds and rows give equal weights, whatever torch drew before; another seed others."""
    spec = make.spec(4, n, counts)
    found = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.rand(noise)
        learner = made(make, kind, spec, seed=seed, updates_per_row=0.1)
        learner.update(make.rows(spec, 100))
        found.append(learner.actor_weights()["body/0/weight"])
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_nothing_is_learned_before_the_warm_up(make: Any) -> None:
    """99 rows of 100 change nothing; then as many batches are learned as rows came in, times the ratio."""
    spec = make.spec(4, 2)
    learner = made(make, Td3, spec, warmup=100, updates_per_row=0.25)
    before = learner.actor_weights()
    learner.update(make.rows(spec, 99))
    assert learner.done == 0
    assert all(np.array_equal(array, learner.actor_weights()[name]) for name, array in before.items())
    for _ in range(3):
        learner.update(make.rows(spec, 6))
    assert learner.done == 4  # 18 rows x 0.25 = 4.5


@pytest.mark.parametrize(("schedule", "shares"), [("constant", [1, 1, 1, 1]), ("linear", [1, 0.75, 0.5, 0.25])])
def test_the_learning_rate_follows_its_schedule(make: Any, schedule: str, shares: list[float]) -> None:
    """Of four updates: even, or down to 0 after the last, actor and critics at their own; going on goes on with it."""
    spec = make.spec(4, 2)

    def learner() -> Any:
        return Td3(make.setting(spec, updates=4), Td3.Options(**SMALL, lr=0.01, actor_lr=0.004, lr_schedule=schedule))

    learns, seen = learner(), []
    for k in range(4):
        if k == 2:
            saved, learns = learns.state_dict(), learner()
            learns.load_state_dict(saved)
        learns.update(make.rows(spec, 4, seed=k))
        seen.append({name: group["lr"] for name, optimiser in learns.optimisers.items()
                     for group in optimiser.param_groups})
    assert seen == [{"critics": 0.01 * share, "actor": 0.004 * share} for share in shares]


def test_critics_may_learn_before_the_actor(make: Any) -> None:
    """Ten batches move critics and their targets alone; the thirteenth moves the actor."""
    spec = make.spec(4, 2)
    learner = made(make, Td3, spec, actor_after=11)
    learner.remember(make.rows(spec, 100))
    before, acted = learner.state_dict(), learner.actor_weights()
    learner.learn_many(10)
    after = learner.state_dict()
    moved = {name for name in before if before[name].dtype == np.float32
             and not np.array_equal(before[name], after[name])}
    assert any(name.startswith("module/critics/") for name in moved)
    assert any(name.startswith("module/targets/") for name in moved)
    assert not any(name.startswith(("module/actor/", "module/target_actor/")) for name in moved)
    learner.learn_many(3)
    assert not np.array_equal(learner.actor_weights()["head/weight"], acted["head/weight"])


def test_exploration_is_a_weight(make: Any) -> None:
    """ε falls from 1 to its last value; the noise of TD3 is 1 during the warm-up, then its own."""
    spec = make.spec(4, 0, (3,))
    learner = made(make, Dqn, spec, warmup=50, epsilon=0.1, epsilon_rows=100, updates_per_row=0.01)
    shown = [float(learner.actor_weights()["explore"])]
    for n in (49, 51, 50, 500):
        learner.update(make.rows(spec, n))
        shown.append(float(learner.actor_weights()["explore"]))
    np.testing.assert_allclose(shown, [1.0, 1.0, 0.55, 0.1, 0.1], atol=1e-6)
    spec = make.spec(4, 1)
    noisy = made(make, Td3, spec, warmup=50, noise=0.3, updates_per_row=0.01)
    assert float(noisy.actor_weights()["explore"]) == 1.0
    noisy.update(make.rows(spec, 60))
    assert float(noisy.actor_weights()["explore"]) == pytest.approx(0.3)


@pytest.mark.parametrize(("kind", "n", "counts", "says"), [
    (Sac, 1, (2,), "expected one sort"), (Td3, 0, (2,), "expected a continuous"), (Dqn, 1, (), "expected choices")])
def test_what_it_cannot_learn_is_refused(make: Any, kind: type[OffPolicy], n: int, counts: tuple[int, ...],
                                         says: str) -> None:
    """With the sort of action that was found and that is expected."""
    with pytest.raises(TrainingError, match=says):
        made(make, kind, make.spec(4, n, counts))


def test_a_loss_that_is_no_number_ends_it(make: Any) -> None:
    """TrainingError names the loss."""
    spec = make.spec(4, 1)
    learner = made(make, Sac, spec, updates_per_row=0.1)
    rows = make.rows(spec, 100)
    rows.columns["reward"][:] = np.nan
    with pytest.raises(TrainingError, match="loss_critic"):
        learner.update(rows)


@pytest.mark.parametrize(("kind", "n", "counts", "options"), [
    (Sac, 2, (), {}), (Td3, 2, (), {}), (Dqn, 0, (3, 2), {}), (Dqn, 0, (4,), {"dueling": True})])
def test_it_goes_on_from_another_ones_actor(make: Any, kind: type[OffPolicy], n: int, counts: tuple[int, ...],
                                            options: dict[str, Any]) -> None:
    """`adopt` acts as the other did, and so does its target where there is one."""
    spec = make.spec(4, n, counts)
    first, second = made(make, kind, spec, **options), made(make, kind, spec, seed=7, **options)
    first.update(make.rows(spec, 30))
    second.adopt(first.actor_weights())
    x = torch.from_numpy(make.rows(spec, 9)["obs"])
    expected = first.actor.outputs(x)[0].detach()
    np.testing.assert_allclose(second.actor.outputs(x)[0].detach(), expected, atol=1e-6)
    target = second.modules.get("target_actor") or (second.modules["targets"] if kind is Dqn else None)
    if target is not None:
        np.testing.assert_allclose(target.outputs(x)[0].detach(), expected, atol=1e-6)
    if kind is Dqn:
        np.testing.assert_allclose(second.values(x).detach(), expected, atol=1e-6)


# -- solutions that are known -----------------------------------------------------------------------------------------

GAMMA = 0.9
#: Enough for the chain.
QUICK: dict[str, Any] = {"hidden": (32,), "batch": 32, "lr": 1e-2, "tau": 0.1}
#: Reward, seconds and successor of (state, action); state 2 ends with its second action.
REWARD = np.array([[1.0, 2.5], [0.0, 0.5], [0.2, 5.0]])
SECONDS = np.array([[1.0, 4.0], [0.5, 2.0], [3.0, 1.0]])
NEXT = np.array([[0, 0], [0, 2], [1, 2]])
ENDS = np.array([[False, False], [False, False], [False, True]])


def best_values() -> np.ndarray:
    """Q* (3, 2) of the chain by value iteration: γ^Δt is the discount of each step."""
    q = np.zeros((3, 2))
    for _ in range(2000):
        q = REWARD + GAMMA ** SECONDS * np.where(ENDS, 0.0, q.max(1)[NEXT])
    return q


def chain_rows(make: Any, spec: Any, n: int) -> Transitions:
    """All pairs of state and action of the first part; further parts do nothing."""
    rows = make.rows(spec, n)
    rng = np.random.default_rng(4)
    state, action = rng.integers(0, 3, n), rows["action"][:, 0].astype(int)
    eye = np.eye(3, dtype=np.float32)
    return Transitions({**rows.columns, "obs": eye[state], "next_obs": eye[NEXT[state, action]],
                        "reward": REWARD[state, action], "dt_s": SECONDS[state, action],
                        "terminated": ENDS[state, action]})


@pytest.mark.parametrize("options", [{}, {"dueling": True}, {"priority": 0.6, "double": False}])
def test_dqn_finds_the_values_of_a_chain(make: Any, options: dict[str, Any]) -> None:
    """Q* at irregular Δt within 1 %; in state 0 a discount per step, not per second, would choose wrongly."""
    spec = make.spec(3, 0, (2,))
    learner = made(make, Dqn, spec, gamma=GAMMA, **QUICK, huber=False, **options)
    learner.remember(chain_rows(make, spec, 500))
    learner.learn_many(700)
    values = torch.cat(learner.actor(torch.eye(3)).logits, -1).detach().numpy()
    np.testing.assert_allclose(values, best_values(), rtol=0.01, atol=0.02)
    assert best_values()[0].argmax() == 0
    assert REWARD[0].argmax() == 1  # what stays in state 0 for ever is chosen by its reward where steps count alike


def test_branches_find_the_best_of_each_part(make: Any) -> None:
    """Rewards of one step that add up over two parts: every branch finds its own best alternative in every state."""
    spec = make.spec(3, 0, (2, 3))
    rows = chain_rows(make, spec, 500)
    rows.columns["reward"] = rows["reward"] - 3 * np.abs(rows["action"][:, 1] - rows["obs"].argmax(1))
    rows.columns["terminated"] = np.ones(500, bool)
    learner = made(make, Dqn, spec, gamma=GAMMA, **QUICK, huber=False)
    learner.remember(rows)
    learner.learn_many(400)
    weights = {**learner.actor_weights(), "explore": np.zeros((), np.float32)}
    acted = NumpyActor(learner.actor_description(), weights).act(np.eye(3, dtype=np.float32), np.random.default_rng(0))
    assert (acted[0] == [[1, 0], [1, 1], [1, 2]]).all()


def test_closed_alternatives_are_not_in_targets(make: Any) -> None:
    """With the first, better alternative closed at every next state its value never enters a target."""
    spec = make.spec(3, 0, (2,))
    rows = chain_rows(make, spec, 500)
    mask = np.ones((500, 2), bool)
    mask[:, 0] = False
    rows.columns.update({"mask": np.ones((500, 2), bool), "next_mask": mask})
    learner = made(make, Dqn, spec, gamma=GAMMA, **QUICK, huber=False)
    learner.remember(rows)
    learner.learn_many(700)
    limited = np.zeros((3, 2))
    for _ in range(2000):
        limited = REWARD + GAMMA ** SECONDS * np.where(ENDS, 0.0, limited[:, 1][NEXT])
    values = torch.cat(learner.actor(torch.eye(3)).logits, -1).detach().numpy()
    np.testing.assert_allclose(values, limited, rtol=0.01, atol=0.02)
    assert (limited + 1 < best_values()).any()


def best_gain() -> float:
    """K of a = -K x for x' = 0.9 x + 0.5 a, cost x² + a², discount 0.9 (Riccati, iterated)."""
    p = 1.0
    for _ in range(1000):
        gain = GAMMA * p * 0.5 * 0.9 / (1.0 + GAMMA * p * 0.25)
        p = 1.0 + gain ** 2 + GAMMA * p * (0.9 - 0.5 * gain) ** 2
    return float(gain)


def control_rows(make: Any, spec: Any, n: int) -> Transitions:
    """Random decisions of the linear problem."""
    rows = make.rows(spec, n)
    x = np.random.default_rng(4).uniform(-1, 1, (n, 1)).astype(np.float32)
    a = rows["action"]
    return Transitions({**rows.columns, "obs": x, "next_obs": 0.9 * x + 0.5 * a, "terminated": np.zeros(n, bool),
                        "reward": -(x ** 2 + a ** 2)[:, 0].astype(float)})


@pytest.mark.parametrize(("kind", "options"), [
    (Td3, {}), (Td3, {"twin": False}), (Td3, {"critic_activation": "silu"}),
    (Sac, {"target_entropy": -3.0, "alpha": 0.1})])
def test_control_finds_the_optimal_gain(make: Any, kind: type[OffPolicy], options: dict[str, Any]) -> None:
    """The actor is the Riccati solution's -K x within 0.1 over the range."""
    spec = make.spec(1, 1)
    learner = made(make, kind, spec, gamma=GAMMA, lr=3e-3, tau=0.05, **options)
    learner.remember(control_rows(make, spec, 2000))
    learner.learn_many(500)
    x = torch.linspace(-0.9, 0.9, 19)[:, None]
    acted = learner.actor(x).mode().detach().numpy()
    assert 0.4 < best_gain() < 0.9
    np.testing.assert_allclose(acted, -best_gain() * x.numpy(), atol=0.1)


@pytest.mark.parametrize("kind", [Sac, ContinuousCql])
def test_the_actors_gradient_is_that_of_its_loss(make: Any, kind: Any) -> None:
    """It leads through the critics as they were when the loss was taken, not as their own step leaves them."""
    spec = make.spec(3, 2)
    rows = make.rows(spec, 64)
    learner, copy = made(make, kind, spec, lr=0.5), made(make, kind, spec, lr=0.5)
    for each in (learner, copy):
        each.remember(rows)
    batch, same = learner.batch(learner.replay.draw(64)), copy.batch(copy.replay.draw(64))
    learner.learn(batch)
    if kind is Sac:
        copy.critic_loss(same)  # draws as many numbers
    else:
        copy.backup_loss(same)
        copy.penalty(same)
    parameters = list(copy.actor.parameters())
    expected = torch.autograd.grad(copy.actor_loss(same)[0], parameters)
    for parameter, gradient in zip(learner.actor.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)


def test_centralised_critics_find_rows_of_other_widths(make: Any) -> None:
    """The own row is cut out where `joint_action_at` says it lies; without, other numbers there are refused."""
    spec = make.spec(1, 1)
    rows = make.rows(spec, 20)
    joint_action = np.concatenate([np.full((20, 2), 0.25, np.float32), rows["action"]], 1)
    columns = {**rows.columns, "agent": np.ones(20, np.int32), "joint_action": joint_action,
               "joint": np.zeros((20, 2), np.float32), "next_joint": np.zeros((20, 2), np.float32)}
    for at, seen in (({1: 2}, [0.25, 0.25, 0.0]), ({}, None)):
        setting = make.setting(spec, members=(1,), n_joint=2, n_joint_action=3, joint_action_at=at)
        learner = Td3(setting, Td3.Options(**SMALL, centralised=True))
        if seen is None:
            with pytest.raises(TrainingError, match="joint_action_at"):
                learner.remember(Transitions(columns))
        else:
            learner.remember(Transitions(columns))
            assert (learner.replay.draw(5).columns["others"][:, 2:5] == seen).all()


def test_centralised_critics_see_what_the_others_do(make: Any) -> None:
    """Reward -(a + b - x)², b of the other agent at random: only with joint actions the critic explains it."""
    spec = make.spec(1, 1)
    rng, n = np.random.default_rng(2), 1500
    rows = make.rows(spec, n)
    other = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
    reward = -(rows["action"] + other - rows["obs"]) ** 2
    columns = {**rows.columns, "reward": reward[:, 0].astype(float), "terminated": np.ones(n, bool),
               "joint": np.concatenate([rows["obs"], other * 0], 1), "agent": np.ones(n, np.int32),
               "next_joint": np.zeros((n, 2), np.float32), "joint_action": np.concatenate([other, rows["action"]], 1)}
    losses = []
    for centralised in (False, True):
        setting = make.setting(spec, members=(1,), n_joint=2, n_joint_action=2)
        learner = Td3(setting, Td3.Options(**SMALL, lr=2e-3, centralised=centralised))
        learner.remember(Transitions(columns))
        learner.learn_many(200)
        losses.append(learner.learn_many(50)["loss_critic"])
    assert losses[1] < 0.2 * losses[0]
