"""TorchRL's learning steps, as its examples write them, for `benchmarks.learner_updates`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torch import nn
from torchrl.modules import (
    MLP,
    IndependentNormal,
    ProbabilisticActor,
    QValueActor,
    TanhNormal,
    ValueOperator,
)
from torchrl.objectives import ClipPPOLoss, DQNLoss, SACLoss, SoftUpdate, TD3Loss

from benchmarks.learner_updates import BATCH, GAMMA, HIDDEN, N_ACTION, N_ALTERNATIVE, N_OBS


def network(n_in: int, n_out: int, hidden: tuple[int, ...] = HIDDEN) -> MLP:
    """Layers with ReLU."""
    return MLP(in_features=n_in, out_features=n_out, num_cells=list(hidden), activation_class=nn.ReLU)


def batch(*, discrete: bool = False) -> TensorDict:
    """A batch of random decisions."""
    over = torch.zeros(BATCH, 1, dtype=torch.bool)
    action = torch.randint(0, N_ALTERNATIVE, (BATCH,)) if discrete else torch.rand(BATCH, N_ACTION) * 1.9 - 0.95
    following = {"observation": torch.randn(BATCH, N_OBS), "reward": torch.randn(BATCH, 1), "done": over,
                 "terminated": over}
    return TensorDict({"observation": torch.randn(BATCH, N_OBS), "action": action, "next": following}, [BATCH])


def gaussian(kind: Any, hidden: tuple[int, ...] = HIDDEN) -> ProbabilisticActor:
    """A stochastic actor."""
    net = nn.Sequential(network(N_OBS, 2 * N_ACTION, hidden), NormalParamExtractor())
    return ProbabilisticActor(TensorDictModule(net, ["observation"], ["loc", "scale"]), in_keys=["loc", "scale"],
                              distribution_class=kind, return_log_prob=True)


def stepped(loss: Any, data: TensorDict, *, follows: bool = True) -> Callable[[], None]:
    """Losses, one Adam over everything, soft targets."""
    if not isinstance(loss, ClipPPOLoss):
        loss.make_value_estimator(gamma=GAMMA)
    optimiser = torch.optim.Adam(loss.parameters(), 3e-4)
    updater = SoftUpdate(loss, eps=0.995) if follows else None

    def step() -> None:
        found = loss(data)
        total = sum(value for key, value in found.items() if str(key).startswith("loss"))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        if updater is not None:
            updater.step()

    return step


def sac() -> Callable[[], None]:
    """SACLoss."""
    q = ValueOperator(network(N_OBS + N_ACTION, 1), ["observation", "action"])
    return stepped(SACLoss(gaussian(TanhNormal), q, target_entropy=-float(N_ACTION), loss_function="l2"), batch())


def td3() -> Callable[[], None]:
    """TD3Loss; its actor learns at every step here, ours at every second."""
    actor = TensorDictModule(nn.Sequential(network(N_OBS, N_ACTION), nn.Tanh()), ["observation"], ["action"])
    q = ValueOperator(network(N_OBS + N_ACTION, 1), ["observation", "action"])
    return stepped(TD3Loss(actor, q, bounds=(-1.0, 1.0), loss_function="l2"), batch())


def dqn() -> Callable[[], None]:
    """DQNLoss, double."""
    actor = QValueActor(network(N_OBS, N_ALTERNATIVE), in_keys=["observation"], action_space="categorical")
    return stepped(DQNLoss(actor, action_space="categorical", delay_value=True, double_dqn=True), batch(discrete=True))


def ppo() -> Callable[[], None]:
    """ClipPPOLoss on a minibatch whose advantages are known."""
    actor = gaussian(IndependentNormal, (64, 64))
    data = batch()
    with torch.no_grad():
        data["action_log_prob"] = actor.get_dist(data).log_prob(data["action"])
    data["advantage"], data["value_target"] = torch.randn(BATCH, 1), torch.randn(BATCH, 1)
    critic = ValueOperator(network(N_OBS, 1, (64, 64)), ["observation"])
    return stepped(ClipPPOLoss(actor, critic), data, follows=False)


STEPS: dict[str, Callable[[], Callable[[], None]]] = {"sac": sac, "td3": td3, "dqn": dqn, "ppo": ppo}

