"""Losses equal TorchRL's on the same weights, batch and random numbers, to 1e-5 (constant discount)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("torchrl", reason="TorchRL is not installed (pip install .[rl])")

from tensordict import TensorDict
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from tensordict.nn import TensorDictModule as Module
from torchrl.objectives import DiscreteSACLoss, DQNLoss, SACLoss, TD3Loss

from policies.training.dqn import Dqn
from policies.training.offpolicy import Batch, OffPolicy
from policies.training.sac import Sac
from policies.training.td3 import Td3
from tests.policies.training.torchrl_modules import Acts, Logits, as_stacked, gaussian, named, put, q_actor, q_operator

GAMMA, N, TOLERANCE = 0.9, 64, 1e-5


def prepared(make: Any, kind: type[OffPolicy], spec: Any, **options: Any) -> tuple[Any, Batch, TensorDict]:
    """An algorithm whose targets differ from what it learns, a batch, and the same as TorchRL's."""
    algorithm = kind(make.setting(spec, gamma=GAMMA), kind.Options(hidden=(32, 32), batch=N, warmup=0, **options))
    algorithm.remember(make.rows(spec, 200))
    with torch.no_grad():
        for name, module in algorithm.modules.items():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape) * (0.1 if name != "temperature" else 0.3))
    drawn = algorithm.replay.draw(N)
    batch = algorithm.batch(drawn)
    over = torch.from_numpy(drawn.columns["terminated"])[:, None]
    action = batch.action if spec.action.continuous else batch.action[:, 0].long()
    data = TensorDict({"observation": batch.obs, "action": action, "next": {
        "observation": batch.next_obs, "reward": batch.reward[:, None], "done": over, "terminated": over}}, [N])
    return algorithm, batch, data



def same(mine: Tensor, theirs: Tensor) -> None:
    """Equal to 1e-5."""
    np.testing.assert_allclose(float(mine.detach()), float(theirs.detach()), rtol=TOLERANCE, atol=TOLERANCE)


def test_sac(make: Any) -> None:
    """Critics', actor's and temperature's losses of SACLoss."""
    spec = make.spec(5, 2)
    sac, batch, data = prepared(make, Sac, spec)
    theirs = SACLoss(gaussian(sac.actor), q_operator(7), loss_function="l2", target_entropy=-2.0)
    theirs.make_value_estimator(gamma=GAMMA)
    put(theirs.qvalue_network_params, as_stacked(sac.critics))
    put(theirs.target_qvalue_network_params, as_stacked(sac.targets))
    theirs.log_alpha.data.copy_(sac.log_alpha.data)
    torch.manual_seed(3)
    expected = theirs(data)
    torch.manual_seed(3)
    sac.draws = torch.default_generator
    critic, error = sac.critic_loss(batch)
    actor, logp = sac.actor_loss(batch)
    same(critic, expected["loss_qvalue"])
    same(actor, expected["loss_actor"])
    same(sac.alpha_loss(logp), expected["loss_alpha"])
    np.testing.assert_allclose(error, data["td_error"], rtol=1e-4, atol=1e-5)


def test_discrete_sac(make: Any) -> None:
    """DiscreteSACLoss for a single part."""
    spec = make.spec(5, 0, (4,))
    sac, batch, data = prepared(make, Sac, spec, target_entropy=0.7)
    actor = ProbabilisticTensorDictSequential(
        Module(Logits(sac.actor), ["observation"], ["logits"]),
        ProbabilisticTensorDictModule(["logits"], ["action"], distribution_class=torch.distributions.Categorical,
                                      return_log_prob=True))
    theirs = DiscreteSACLoss(actor, q_operator(5, 4, keys=("observation",), out="action_value"),
                             action_space="categorical", num_actions=4, loss_function="l2", target_entropy=0.7)
    theirs.make_value_estimator(gamma=GAMMA)
    put(theirs.qvalue_network_params, as_stacked(sac.critics))
    put(theirs.target_qvalue_network_params, as_stacked(sac.targets))
    theirs.log_alpha.data.copy_(sac.log_alpha.data)
    expected = theirs(data)
    critic, _ = sac.critic_loss(batch)
    loss, _ = sac.actor_loss(batch)
    same(critic, expected["loss_qvalue"])
    same(loss, expected["loss_actor"])


def test_td3(make: Any) -> None:
    """Critics' and actor's losses of TD3Loss, with its smoothing noise."""
    spec = make.spec(5, 2)
    td3, batch, data = prepared(make, Td3, spec)
    theirs = TD3Loss(Module(Acts(td3.actor), ["observation"], ["action"]), q_operator(7), bounds=(-1.0, 1.0),
                     policy_noise=0.2, noise_clip=0.5, loss_function="l2")
    theirs.make_value_estimator(gamma=GAMMA)
    put(theirs.qvalue_network_params, as_stacked(td3.critics))
    put(theirs.target_qvalue_network_params, as_stacked(td3.targets))
    put(theirs.target_actor_network_params, named(td3.target_actor))
    torch.manual_seed(3)
    expected = theirs(data)
    torch.manual_seed(3)
    td3.draws = torch.default_generator
    critic, _ = td3.critic_loss(batch)
    same(critic, expected["loss_qvalue"])
    same(td3.actor_loss(batch), expected["loss_actor"])


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("huber", [True, False])
def test_dqn(make: Any, double: bool, huber: bool) -> None:
    """DQNLoss, plain and double, both distances."""
    spec = make.spec(5, 0, (4,))
    dqn, batch, data = prepared(make, Dqn, spec, double=double, huber=huber)
    theirs = DQNLoss(q_actor(dqn.actor), action_space="categorical", delay_value=True, double_dqn=double,
                     loss_function="smooth_l1" if huber else "l2")
    theirs.make_value_estimator(gamma=GAMMA)
    put(theirs.target_value_network_params, named(dqn.targets))
    expected = theirs(data)
    loss, _, _ = dqn.value_loss(batch)
    same(loss, expected["loss"])

