"""Implicit Q-learning: values of the best recorded actions without asking for any other.

Kostrikov et al., "Offline reinforcement learning with implicit Q-learning" (2021): V is an upper expectile of the
critics' least at recorded actions, critics learn towards R + γ^(Δt / per_s) V(s'), the policy imitates rows by
exp((Q - V) / temperature).  Losses equal TorchRL's `IQLLoss` and `DiscreteIQLLoss` (tests); there the temperature is
its inverse.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from policies.networks import ValueNet
from policies.training.algorithm import Options
from policies.training.critics import distance, follow
from policies.training.offline.weighted import Weighted
from policies.training.offpolicy import Batch, Figures, OffPolicyOptions, step


class IqlOptions(OffPolicyOptions):
    """Hyperparameters of IQL."""

    expectile: float = Field(0.7, ge=0.5, lt=1, description="Which expectile V is; 0.5 is the mean.")
    temperature: float = Field(1 / 3, gt=0, description="Of the weights: small follows the best rows only.")


class Iql(Weighted):
    """IQL for any action."""

    Options: ClassVar[type[Options]] = IqlOptions
    options: IqlOptions

    def build(self) -> None:
        """Critics with targets, a value, three optimisers."""
        self.build_critics()
        self.value = ValueNet(self.n_state, self.options.hidden, "relu").to(self.device)
        self.modules["value"] = self.value
        self.optimisers = {"critics": self.adam(self.critics.parameters()),
                           "value": self.adam(self.value.parameters()), "actor": self.adam(self.actor.parameters())}

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of value, critics, policy and targets."""
        with torch.no_grad():
            least = self.targets(self.read(batch.state, batch.action)).amin(0)
        value_loss, advantage = self.value_loss(batch, least)
        actor_loss = self.weigh(self.actor(batch.obs, batch.mask).log_prob(batch.action), advantage,
                                self.options.temperature)
        critic_loss, error = self.critic_loss(batch)
        step(self.optimisers["value"], value_loss)
        step(self.optimisers["critics"], critic_loss)
        step(self.optimisers["actor"], actor_loss)
        follow(self.targets, self.critics, self.options.tau)
        return {"loss_value": value_loss, "loss_critic": critic_loss, "loss_actor": actor_loss}, error

    def value_loss(self, batch: Batch, least: Tensor) -> tuple[Tensor, Tensor]:
        """Expectile loss of V, and the advantage (B,) without gradient."""
        difference = least - self.value(batch.state)
        weight = torch.where(difference > 0, self.options.expectile, 1 - self.options.expectile)
        return (weight * difference ** 2 * batch.weight).mean(), difference.detach()

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of the critics, and the larger error (B,)."""
        with torch.no_grad():
            target = batch.target(self.value(batch.next_state))
        values = self.critics(self.read(batch.state, batch.action))
        return distance(values, target, batch.weight), (values.detach() - target).abs().amax(0)
