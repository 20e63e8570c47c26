"""Soft actor-critic: a stochastic policy that is paid for its entropy, with a temperature that finds itself.

Haarnoja et al., "Soft actor-critic algorithms and applications" (2018): twin critics, squashed Gaussian, temperature
alpha driven to a target entropy.  For discrete and multi-discrete actions Christodoulou, "Soft actor-critic for
discrete action settings" (2019): expectations over alternatives instead of samples; a part of a multi-discrete action
has its own branch of values, and the value of a state is the branches' mean.

Losses of one batch are taken at the same weights, then all networks step; they equal TorchRL's `SACLoss` and
`DiscreteSACLoss` (tests), at a fraction of the time: one batched network for the twins, one Adam kernel a family.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from policies.description import Description
from policies.training.algorithm import GroupSetting, Options, TrainingError
from policies.training.critics import Critics, distance, follow, frozen, taken
from policies.training.offpolicy import ActorCriticOptions, Batch, Figures, OffPolicy, step


class SacOptions(ActorCriticOptions):
    """Hyperparameters of SAC."""

    alpha: float = Field(1.0, gt=0, description="Temperature at the beginning.")
    learn_alpha: bool = Field(True, description="Whether the temperature follows the target entropy.")
    target_entropy: float | None = Field(None, description=(
        "Entropy aimed at, nats; default: -1 a continuous number, `entropy_share` of the largest a discrete part."))
    entropy_share: float = Field(0.5, gt=0, le=1, description="Share of the largest entropy of a discrete part.")


class Sac(OffPolicy):
    """SAC for continuous, or for discrete and multi-discrete, actions."""

    Options: ClassVar[type[Options]] = SacOptions
    options: SacOptions

    def describe(self, setting: GroupSetting, options: SacOptions) -> Description:
        """A squashed Gaussian, or a categorical a part."""
        action = setting.spec.action
        n = len(action.continuous)
        if n and action.counts:
            raise TrainingError(f"group {setting.name}: sac: found continuous and discrete setpoints in one action; "
                                f"expected one sort; ppo, iql and awac take both")
        return Description(setting.spec.size, n, action.counts, "mlp", options.hidden, options.activation,
                           "tanh_gaussian" if n else "categorical", options.normalise)

    def build(self) -> None:
        """Twin critics with targets, temperature, two optimisers."""
        description = self.description
        n_action = description.n_continuous
        self.critics = Critics(2, self.n_state + n_action, self.options.hidden, max(description.n_logit, 1),
                               self.options.critic_activation)
        self.critics.to(self.device)
        self.targets = frozen(self.critics)
        self.log_alpha = nn.Parameter(torch.tensor(log(self.options.alpha), device=self.device))
        temperature = nn.Module()
        temperature.register_parameter("log_alpha", self.log_alpha)
        self.modules |= {"critics": self.critics, "targets": self.targets, "temperature": temperature}
        self.entropy_aim = self._entropy_aim()
        self.actor_loss, self.critic_loss = _losses_of(self)
        self.optimisers = {"critics": self.adam(self.critics.parameters()),
                           "actor": self.adam(self.actor.parameters(), self.log_alpha, lr=self.options.actor_lr)}

    def _entropy_aim(self) -> float:
        if self.options.target_entropy is not None:
            return self.options.target_entropy
        if self.description.n_continuous:
            return -float(self.description.n_continuous)
        return self.options.entropy_share * sum(log(count) for count in self.description.counts)

    def alpha(self) -> Tensor:
        """The temperature, without gradient."""
        return self.log_alpha.detach().exp()

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of critics, actor, temperature and targets."""
        critic_loss, error = self.critic_loss(batch)
        actor_loss, logp = self.actor_loss(batch)
        alpha_loss = self.alpha_loss(logp)
        # The actor's loss leads through the critics: a fused optimiser changes their weights under it without a word.
        step(self.optimisers["actor"], actor_loss + alpha_loss)
        step(self.optimisers["critics"], critic_loss)
        follow(self.targets, self.critics, self.options.tau)
        figures = {"loss_critic": critic_loss, "loss_actor": actor_loss, "alpha": self.alpha(), "entropy": -logp.mean()}
        return figures, error

    def alpha_loss(self, logp: Tensor) -> Tensor:
        """-log alpha · (log pi + target entropy), the mean; 0 (of log alpha) where the temperature is fixed."""
        return -self.log_alpha * (logp.detach() + self.entropy_aim).mean() * float(self.options.learn_alpha)


Loss = Callable[[Batch], tuple[Tensor, Tensor]]


def _losses_of(sac: Any) -> tuple[Loss, Loss]:
    """Actor's and critics' losses for the action at hand; each gives the loss and log pi or errors (B,)."""
    losses = _Continuous(sac) if sac.description.n_continuous else _Discrete(sac)
    return losses.actor, losses.critics


class _Continuous:
    """Losses by reparameterised samples."""

    def __init__(self, sac: Sac) -> None:
        self.sac = sac

    def critics(self, batch: Batch) -> tuple[Tensor, Tensor]:
        sac = self.sac
        with torch.no_grad():
            action, logp = sac.actor(batch.next_obs).rsample(sac.draws)
            least = sac.targets(torch.cat([batch.next_state, action], -1)).amin(0)
            target = batch.target(least - sac.alpha() * logp)
        values = sac.critics(torch.cat([batch.state, batch.action], -1))
        return distance(values, target, batch.weight), (values.detach() - target).abs().amax(0)

    def actor(self, batch: Batch) -> tuple[Tensor, Tensor]:
        sac = self.sac
        action, logp = sac.actor(batch.obs).rsample(sac.draws)
        least = sac.critics(torch.cat([batch.state, action], -1)).amin(0)
        return ((sac.alpha() * logp - least) * batch.weight).mean(), logp.detach()


class _Discrete:
    """Losses by expectation over the alternatives of every part."""

    def __init__(self, sac: Sac) -> None:
        self.sac = sac
        self.counts = list(sac.description.counts)

    def _policy(self, obs: Tensor, mask: Tensor | None) -> tuple[list[Tensor], list[Tensor]]:
        logs = [F.log_softmax(part, -1) for part in self.sac.actor(obs, mask).logits]
        return [part.exp() for part in logs], logs

    def _soft(self, values: Tensor, chances: list[Tensor], logs: list[Tensor]) -> Tensor:
        """Mean over parts of the expectation of Q - alpha log pi (B,)."""
        parts = torch.split(values, self.counts, -1)
        alpha = self.sac.alpha()
        each = [(p * (q - alpha * lp)).sum(-1) for q, p, lp in zip(parts, chances, logs, strict=True)]
        return torch.stack(each).mean(0)

    def critics(self, batch: Batch) -> tuple[Tensor, Tensor]:
        sac = self.sac
        with torch.no_grad():
            least = sac.targets(batch.next_state).amin(0)
            target = batch.target(self._soft(least, *self._policy(batch.next_obs, batch.next_mask)))
        values = taken(sac.critics(batch.state), batch.action, self.counts)
        loss = sum((distance(values[..., k], target, batch.weight) for k in range(len(self.counts))),
                   torch.zeros(())) / len(self.counts)
        return loss, (values.detach() - target[:, None]).abs().mean(-1).amax(0)

    def actor(self, batch: Batch) -> tuple[Tensor, Tensor]:
        sac = self.sac
        with torch.no_grad():
            least = sac.critics(batch.state).amin(0)
        chances, logs = self._policy(batch.obs, batch.mask)
        logp = torch.stack([(p * lp).sum(-1) for p, lp in zip(chances, logs, strict=True)]).sum(0)
        return -(self._soft(least, chances, logs) * batch.weight).mean(), logp.detach()
