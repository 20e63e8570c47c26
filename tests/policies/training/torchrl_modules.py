"""Our networks as TorchRL's modules, for tests that take its losses as the oracle (imported where it is installed)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from tensordict.nn import ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from tensordict.nn import TensorDictModule as Module
from torch import Tensor, nn
from torchrl.modules import IndependentNormal, QValueActor, TanhNormal

from policies.networks import Actor
from policies.training.critics import Critics


class OneQ(nn.Module):
    """One of the networks of `Critics`, as TorchRL wants it."""

    def __init__(self, n_in: int, hidden: tuple[int, ...], n_out: int = 1) -> None:
        super().__init__()
        widths = (n_in, *hidden, n_out)
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.net(torch.cat(inputs, -1))


class Located(nn.Module):
    """The actor's distribution as location and scale."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self.actor(obs)
        return distribution.mean, distribution.log_std.exp()


class Logits(nn.Module):
    """The actor's logits or values, of its one part."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: Tensor) -> Tensor:
        return self.actor(obs).logits[0]


class Acts(nn.Module):
    """The actor's best row."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, obs: Tensor) -> Tensor:
        return self.actor(obs).mode()


def as_stacked(critics: Critics) -> dict[str, Tensor]:
    """Weights by TorchRL's names, (k, out, in)."""
    found = {}
    for i in range(3):
        found[f"net.{2 * i}.weight"] = critics.get_parameter(f"weight_{i}").detach().transpose(1, 2).contiguous()
        found[f"net.{2 * i}.bias"] = critics.get_parameter(f"bias_{i}").detach()[:, 0]
    return found


def put(params: Any, weights: dict[str, Tensor]) -> None:
    """Into TorchRL's functional parameters, whatever module stands in front."""
    flat = params.data.flatten_keys(".")
    for name in list(flat.keys()):
        (match,) = (key for key in weights if str(name).endswith(key))
        flat.get(name).copy_(weights[match])


def gaussian(actor: Actor, *, squashed: bool = True) -> ProbabilisticTensorDictSequential:
    """Our Gaussian as TorchRL's."""
    kind, options = (TanhNormal, {"safe_tanh": False}) if squashed else (IndependentNormal, {})
    return ProbabilisticTensorDictSequential(
        Module(Located(actor), ["observation"], ["loc", "scale"]),
        ProbabilisticTensorDictModule(["loc", "scale"], ["action"], distribution_class=kind,
                                      distribution_kwargs=options, return_log_prob=True))


def q_operator(n_in: int, n_out: int = 1, *, keys: tuple[str, ...] = ("observation", "action"),
               out: str = "state_action_value") -> Any:
    """A value network of TorchRL's."""
    return Module(OneQ(n_in, (32, 32), n_out), list(keys), [out])


class Column(nn.Module):
    """Values (B, 1) of a network that gives (B,)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.net(*inputs).unsqueeze(-1)


def module(net: nn.Module, keys: list[str], out: str, *, column: bool = False) -> Module:
    """Any of our networks."""
    return Module(Column(net) if column else net, keys, [out])


def q_actor(actor: Actor) -> QValueActor:
    """A ``q`` head."""
    return QValueActor(Logits(actor), in_keys=["observation"], action_space="categorical")


def named(actor: Actor) -> dict[str, Tensor]:
    """An actor's weights by the names they have inside these modules."""
    return {f"actor.{name}": tensor for name, tensor in actor.state_dict().items()}
