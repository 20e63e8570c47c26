"""Advantage-weighted actor-critic: imitation of what was better than the policy's own choice.

Nair et al., "AWAC: accelerating online reinforcement learning with offline datasets" (2020): critics learn towards the
policy's own next action, the policy imitates rows by exp((Q(s, a) - Q(s, a_pi)) / temperature), a_pi a sample of it.
It may go on online: its `update` is that of every off-policy algorithm.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from policies.training.algorithm import Options
from policies.training.critics import distance, follow
from policies.training.offline.weighted import Weighted
from policies.training.offpolicy import Batch, Figures, OffPolicyOptions, step


class AwacOptions(OffPolicyOptions):
    """Hyperparameters of AWAC."""

    temperature: float = Field(1.0, gt=0, description="Of the weights: small follows the best rows only.")


class Awac(Weighted):
    """AWAC for any action."""

    Options: ClassVar[type[Options]] = AwacOptions
    options: AwacOptions

    def build(self) -> None:
        """Critics with targets, two optimisers."""
        self.build_critics()
        self.optimisers = {"critics": self.adam(self.critics.parameters()),
                           "actor": self.adam(self.actor.parameters())}

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of critics, policy and targets."""
        critic_loss, error = self.critic_loss(batch)
        actor_loss = self.actor_loss(batch)
        step(self.optimisers["critics"], critic_loss)
        step(self.optimisers["actor"], actor_loss)
        follow(self.targets, self.critics, self.options.tau)
        return {"loss_critic": critic_loss, "loss_actor": actor_loss}, error

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss of the critics, and the larger error (B,)."""
        with torch.no_grad():
            rows = self._own(batch.next_obs, batch.next_mask)
            target = batch.target(self.targets(self.read(batch.next_state, rows)).amin(0))
        values = self.critics(self.read(batch.state, batch.action))
        return distance(values, target, batch.weight), (values.detach() - target).abs().amax(0)

    def actor_loss(self, batch: Batch) -> Tensor:
        """Imitation weighted by the advantage over one of the policy's own samples."""
        policy = self.actor(batch.obs, batch.mask)
        with torch.no_grad():
            own = self._within(policy.sample(self.draws))
            there = self.critics(self.read(batch.state, batch.action)).amin(0)
            advantage = there - self.critics(self.read(batch.state, own)).amin(0)
        return self.weigh(policy.log_prob(batch.action), advantage, self.options.temperature)

    def _own(self, obs: Tensor, mask: Tensor | None) -> Tensor:
        return self._within(self.actor(obs, mask).sample(self.draws))

    def _within(self, rows: Tensor) -> Tensor:
        """Samples as they would be acted: numbers within [-1, 1]."""
        n = self.description.n_continuous
        return torch.cat([rows[:, :n].clamp(-1.0, 1.0), rows[:, n:]], -1)
