"""Offline learners: losses equal to TorchRL's, policies better than what was recorded, from data set to bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.bundle import Bundle
from policies.datasets import Dataset, Episode
from policies.numpy_actor import NumpyActor
from policies.training.algorithm import TrainingError
from policies.training.offline import OFFLINE, OfflineConfig, train_offline
from policies.training.offline.awac import Awac
from policies.training.offline.bc import Bc
from policies.training.offline.cql import ContinuousCql, Cql, DiscreteCql
from policies.training.offline.iql import Iql
from policies.training.offpolicy import OffPolicy
from policies.training.td3 import Td3
from policies.training.transitions import Transitions

SMALL = {"hidden": (32,), "batch": 64, "warmup": 0, "lr": 5e-3, "tau": 0.05}


def bandit(make: Any, spec: Any, n: int = 600) -> Transitions:
    """One-step lives in one of two states: best are -0.5 (alternative 0) in state 0, 0.5 (the last one) in state 1."""
    rows = make.rows(spec, n)
    state = np.random.default_rng(8).integers(0, 2, n)
    obs = np.eye(2, dtype=np.float32)[state]
    action = rows["action"]
    if spec.action.continuous:
        reward = -(action[:, 0] - np.where(state, 0.5, -0.5)) ** 2
    else:
        reward = -np.abs(action[:, 0] - np.where(state, spec.action.counts[0] - 1, 0))
    return Transitions({**rows.columns, "obs": obs, "next_obs": obs, "reward": reward.astype(float),
                        "terminated": np.ones(n, bool)})


def best_rows(learner: Any) -> np.ndarray:
    """What the exported actor does in the two states, without noise."""
    weights = learner.actor_weights()
    if "explore" in weights:
        weights["explore"] = np.zeros((), np.float32)
    actor = NumpyActor(learner.actor_description(), weights)
    return actor.act(np.eye(2, dtype=np.float32), np.random.default_rng(0), deterministic=True)[0]


@pytest.mark.parametrize(("kind", "options"), [
    (Iql, {"temperature": 0.05}), (Awac, {"temperature": 0.05}), (Cql, {"n_random": 4, "target_entropy": -3.0})])
def test_numbers_better_than_recorded_are_found(make: Any, kind: Any, options: dict[str, Any]) -> None:
    """From uniformly random actions: near the best number in each state."""
    spec = make.spec(2, 1)
    learner = kind(make.setting(spec), kind.Options(**SMALL, **options))
    learner.remember(bandit(make, spec))
    learner.learn_many(300)
    np.testing.assert_allclose(best_rows(learner)[:, 0], [-0.5, 0.5], atol=0.15)


@pytest.mark.parametrize(("kind", "options"), [(Iql, {"temperature": 0.2}), (Awac, {"temperature": 0.2}),
                                               (Cql, {"conservative": 0.2})])
def test_alternatives_better_than_recorded_are_found(make: Any, kind: Any, options: dict[str, Any]) -> None:
    """From uniformly random actions: the best alternative in each state."""
    spec = make.spec(2, 0, (3,))
    learner = kind(make.setting(spec), kind.Options(**SMALL, **options))
    learner.remember(bandit(make, spec))
    learner.learn_many(200)
    assert best_rows(learner)[:, 0].tolist() == [0.0, 2.0]


def test_cloning_does_what_was_done(make: Any) -> None:
    """Rewards do not matter: mean of the numbers, most frequent alternative."""
    spec = make.spec(2, 1, (3,))
    rows = bandit(make, spec)
    rows.columns["action"][:, 0] = np.where(rows["obs"][:, 1] > 0, 0.3, -0.9)
    rows.columns["action"][:, 1] = np.where(rows["obs"][:, 1] > 0, 2, 1)
    learner = Bc(make.setting(spec), Bc.Options(**SMALL))
    learner.remember(rows)
    learner.learn_many(150)
    np.testing.assert_allclose(best_rows(learner), [[-0.9, 1], [0.3, 2]], atol=0.05)


def test_a_squashed_clone_is_one_that_td3_goes_on_from(make: Any) -> None:
    """Least squares: the mean of what was done in each state, in a network that TD3 begins with; numbers only."""
    spec = make.spec(2, 1)
    learner = Bc(make.setting(spec), Bc.Options(**SMALL, deterministic=True))
    rows = bandit(make, spec)
    state = rows["obs"][:, 1]
    done = (np.where(state, 0.6, -0.3) + np.random.default_rng(3).uniform(-0.2, 0.2, len(rows))).astype(np.float32)
    learner.remember(Transitions({**rows.columns, "action": done[:, None]}))
    learner.learn_many(300)
    np.testing.assert_allclose(best_rows(learner)[:, 0], [-0.3, 0.6], atol=0.03)
    goes_on = Td3(make.setting(spec), Td3.Options(**SMALL, activation="relu"))
    goes_on.adopt(learner.actor_weights())
    np.testing.assert_array_equal(best_rows(goes_on), best_rows(learner))
    with pytest.raises(TrainingError, match="bc: deterministic: found a discrete action; expected a continuous one"):
        Bc(make.setting(make.spec(2, 0, (3,))), Bc.Options(**SMALL, deterministic=True))


def test_numbers_beyond_the_range_are_remembered_as_they_were_acted(make: Any) -> None:
    """A Gaussian draws 1.7 while it goes on online; what was done is 1.  Alternatives are left alone."""
    spec = make.spec(3, 1, (4,))
    rows = make.rows(spec, 20)
    rows["action"][:] = [1.7, 3.0]
    learner = Awac(make.setting(spec), Awac.Options(hidden=(8,), warmup=0))
    learner.remember(rows)
    assert (learner.replay.draw(5).columns["action"] == [1.0, 3.0]).all()
    assert (rows["action"] == np.float32([1.7, 3.0])).all()


def test_the_penalty_pushes_down_what_was_not_done(make: Any) -> None:
    """Data with one alternative only: without the penalty the others keep what the network invents, with it they lie
    below."""
    spec = make.spec(2, 0, (3,))
    rows = bandit(make, spec)
    rows.columns["action"][:] = 1
    rows.columns["reward"][:] = -5.0
    best = []
    for conservative in (0.0, 1.0):
        learner = Cql(make.setting(spec), Cql.Options(**SMALL, conservative=conservative))
        learner.remember(rows)
        learner.learn_many(150)
        best.append(best_rows(learner)[:, 0].tolist())
    assert best[1] == [1.0, 1.0]
    assert best[0] != [1.0, 1.0]


# -- from data set to bundle ------------------------------------------------------------------------------------------


def a_dataset(make: Any, spec: Any, about: dict[str, Any] | None = None) -> Dataset:
    """The bandit's lives as episodes."""
    rows = bandit(make, spec, 200)
    episodes = tuple(Episode(0, np.stack([rows["obs"][i], rows["next_obs"][i]]), rows["action"][i:i + 1],
                             rows["reward"][i:i + 1], rows["dt_s"][i:i + 1], np.zeros((1, 0)), terminated=True)
                     for i in range(200))
    return Dataset("g", spec, (), episodes, about or {})


@pytest.mark.parametrize("algo", OFFLINE)
def test_a_data_set_becomes_a_bundle(make: Any, tmp_path: Path, algo: str) -> None:
    """The same twice bit for bit; with the data set's discount and scenario; readable without torch."""
    spec = make.spec(2, 1)
    about = {"discount": {"gamma": 0.8, "per_s": 2.0}, "scenario": {"name": "s", "digest": "d"}, "shield": {}}
    a_dataset(make, spec, about).save(tmp_path / "data", "s")
    config = OfflineConfig(algo=algo, options={"hidden": (8,), "batch": 16}, batches=20, report_every=15, seed=3)
    said: list[tuple[str, int]] = []
    for name in ("one", "two"):
        train_offline(config, tmp_path / "data", tmp_path / name, lambda group, n, _: said.append((group, n)))
    one, two = Bundle.load(tmp_path / "one"), Bundle.load(tmp_path / "two")
    mine, theirs = one.group("g").weights, two.group("g").weights
    assert all(np.array_equal(mine[key], theirs[key]) for key in mine)
    assert said == [("g", 15), ("g", 20)] * 2
    assert one.discount is not None
    assert (one.discount["gamma"], one.discount["per_s"]) == (0.8, 2.0)
    assert one.scenario == {"name": "s", "digest": "d"}
    assert one.training["algo"] == algo


def test_settings_that_do_not_fit_are_named(make: Any, tmp_path: Path) -> None:
    """Unknown algorithms and options; two data sets of one group."""
    a_dataset(make, make.spec(2, 1)).save(tmp_path, "s")
    with pytest.raises(TrainingError, match="expected one of cql, iql, awac, bc"):
        train_offline(OfflineConfig(algo="sarsa"), tmp_path, tmp_path / "out")
    with pytest.raises(TrainingError, match=r"options\.speed"):
        train_offline(OfflineConfig(options={"speed": 3}), tmp_path, tmp_path / "out")
    a_dataset(make, make.spec(2, 1)).save(tmp_path, "t")
    with pytest.raises(TrainingError, match="one a group"):
        train_offline(OfflineConfig(), tmp_path, tmp_path / "out")


# -- TorchRL as the oracle --------------------------------------------------------------------------------------------

N, GAMMA = 48, 0.9


def same(mine: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5."""
    np.testing.assert_allclose(float(mine.detach()), float(theirs.detach()), rtol=1e-5, atol=1e-5)


def prepared(make: Any, kind: type[OffPolicy], spec: Any, **options: Any) -> tuple[Any, Any, Any]:
    """A learner with disturbed weights, a batch, and the same for TorchRL."""
    tensordict = pytest.importorskip("tensordict", reason="TorchRL is not installed (pip install .[rl])")
    learner = kind(make.setting(spec, gamma=GAMMA), kind.Options(hidden=(32, 32), batch=N, warmup=0, **options))
    learner.remember(make.rows(spec, 200))
    torch.manual_seed(7)
    with torch.no_grad():
        for module in learner.modules.values():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    drawn = learner.replay.draw(N)
    batch = learner.batch(drawn)
    over = torch.from_numpy(drawn.columns["terminated"])[:, None]
    action = batch.action if spec.action.continuous else batch.action[:, 0].long()
    following = {"observation": batch.next_obs, "reward": batch.reward[:, None], "done": over, "terminated": over}
    data = tensordict.TensorDict({"observation": batch.obs, "action": action, "next": following}, [N])
    return learner, batch, data


def test_cql_equals_torchrl(make: Any, oracle: Any) -> None:
    """Backup, actor, and the penalty where it cannot differ: one random action, and the next observation being this one
    (TorchRL values the policy's next actions there, the paper's code here)."""
    objectives = pytest.importorskip("torchrl.objectives", reason="TorchRL is not installed (pip install .[rl])")
    cql, batch, data = prepared(make, ContinuousCql, make.spec(5, 2), n_random=1)
    theirs = objectives.CQLLoss(oracle.gaussian(cql.actor), oracle.q_operator(7), loss_function="l2", num_random=1,
                                target_entropy=-2.0)
    theirs.make_value_estimator(gamma=GAMMA)
    oracle.put(theirs.qvalue_network_params, oracle.as_stacked(cql.critics))
    oracle.put(theirs.target_qvalue_network_params, oracle.as_stacked(cql.targets))
    theirs.log_alpha.data.copy_(cql.log_alpha.data)
    cql.draws = torch.default_generator
    theirs.q_loss(data)
    still, still_data = replace(batch, next_obs=batch.obs), data.clone()
    still_data["next", "observation"] = batch.obs
    pairs = [(lambda: cql.backup_loss(batch)[0], lambda: theirs.q_loss(data)[0]),
             (lambda: cql.penalty(still), lambda: theirs.cql_loss(still_data)[0]),
             (lambda: cql.actor_loss(batch)[0], lambda: theirs.actor_loss(data)[0])]
    for mine, expected in pairs:
        torch.manual_seed(3)
        value = expected()
        torch.manual_seed(3)
        same(mine(), value)


def test_discrete_cql_equals_torchrl(make: Any, oracle: Any) -> None:
    """Penalty, and the backup up to TorchRL's factor of a half; its targets are the online network's."""
    objectives = pytest.importorskip("torchrl.objectives", reason="TorchRL is not installed (pip install .[rl])")
    cql, batch, data = prepared(make, DiscreteCql, make.spec(5, 0, (4,)), double=False, huber=False)
    theirs = objectives.DiscreteCQLLoss(oracle.q_actor(cql.actor), action_space="categorical", loss_function="l2")
    theirs.make_value_estimator(gamma=GAMMA)
    cql.targets.load_state_dict(cql.actor.state_dict())
    expected = theirs(data)
    loss, _, values = cql.value_loss(batch)
    same(cql.penalty(values, batch), expected["loss_cql"])
    same(loss, 2 * expected["loss_qvalue"])


def test_iql_equals_torchrl(make: Any, oracle: Any) -> None:
    """Value, critics, actor."""
    objectives = pytest.importorskip("torchrl.objectives", reason="TorchRL is not installed (pip install .[rl])")
    iql, batch, data = prepared(make, Iql, make.spec(5, 2), temperature=0.5, expectile=0.8)
    theirs = objectives.IQLLoss(oracle.gaussian(iql.actor, squashed=False), oracle.q_operator(7),
                                oracle.module(iql.value, ["observation"], "state_value", column=True),
                                loss_function="l2", temperature=2.0, expectile=0.8)
    theirs.make_value_estimator(gamma=GAMMA)
    oracle.put(theirs.qvalue_network_params, oracle.as_stacked(iql.critics))
    oracle.put(theirs.target_qvalue_network_params, oracle.as_stacked(iql.targets))
    expected = theirs(data)
    least = iql.targets(iql.read(batch.state, batch.action)).amin(0)
    value, advantage = iql.value_loss(batch, least)
    same(value, expected["loss_value"])
    same(iql.critic_loss(batch)[0], expected["loss_qvalue"])
    same(iql.weigh(iql.actor(batch.obs).log_prob(batch.action), advantage, 0.5), expected["loss_actor"])


def test_it_learns_where_it_can_and_leaves_torch_alone(tmp_path: Path) -> None:
    """A device that there is none of is refused before reading; torch's threads are those of before."""
    from tests.policies.test_datasets import lives

    lives(2, ()).save(tmp_path / "d", "tests")
    with pytest.raises(TrainingError, match="device: found 'banana'; expected cpu, or cuda"):
        train_offline(OfflineConfig(algo="bc", device="banana"), tmp_path / "d", tmp_path / "o")
    before = torch.get_num_threads()
    settings = OfflineConfig(algo="bc", batches=1, options={"hidden": [4]}, threads=before + 1)
    train_offline(settings, tmp_path / "d", tmp_path / "o")
    assert torch.get_num_threads() == before
