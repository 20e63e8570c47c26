"""Deterministic policy gradients: TD3, DDPG (one critic, no smoothing) and MADDPG (centralised critics).

Fujimoto et al., "Addressing function approximation error in actor-critic methods" (TD3, 2018): the smaller of two
critics, noise on the target's action, an actor that learns every second batch.  Lowe et al., "Multi-agent actor-critic
for mixed cooperative-competitive environments" (MADDPG, 2017): critics see what all learners see and do, actors only
their own.  Here agents decide at their own times, so the others' actions beside the target are the rows in force at the
own next decision, as they were taken, instead of the others' target policies.  Members of a group share one actor and
its critics, which are told who decides; agents in groups of their own share nothing.

Acting adds Gaussian noise: its standard deviation is the actor's ``explore`` (`noise`; 1 during warm-up).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from policies.description import Description
from policies.training.algorithm import GroupSetting, Options, TrainingError
from policies.training.critics import Critics, distance, follow, frozen
from policies.training.offpolicy import ActorCriticOptions, Batch, Figures, OffPolicy, step


class Td3Options(ActorCriticOptions):
    """Hyperparameters of TD3, DDPG and MADDPG."""

    twin: bool = Field(True, description="Two critics, smoothed targets and a delayed actor (TD3); else DDPG.")
    noise: float = Field(0.1, ge=0, le=2, description="Deviation of the noise on actions while collecting.")
    target_noise: float = Field(0.2, ge=0, le=2, description="Deviation of the noise on the targets' actions.")
    noise_clip: float = Field(0.5, ge=0, le=2, description="Bound of that noise.")
    delay: int = Field(2, ge=1, le=100, description="Batches between steps of the actor.")
    actor_after: int = Field(0, ge=0, description=(
        "Batches that critics learn before the actor does: new critics would lead astray one that begins well."))


class Td3(OffPolicy):
    """TD3 and its relatives for continuous actions."""

    Options: ClassVar[type[Options]] = Td3Options
    options: Td3Options

    def describe(self, setting: GroupSetting, options: Td3Options) -> Description:
        """A deterministic actor squashed by tanh."""
        action = setting.spec.action
        if action.counts:
            raise TrainingError(f"group {setting.name}: td3, ddpg, maddpg: found a {action.kind} action; expected a "
                                f"continuous one; dqn, sac and ppo take discrete actions")
        return Description(setting.spec.size, action.width, (), "mlp", options.hidden, options.activation, "tanh",
                           options.normalise)

    def build(self) -> None:
        """Critics, targets of critics and actor, two optimisers."""
        k = 2 if self.options.twin else 1
        self.critics = Critics(k, self.n_state + self.description.n_continuous, self.options.hidden,
                               activation=self.options.critic_activation).to(self.device)
        self.targets, self.target_actor = frozen(self.critics), frozen(self.actor)
        self.modules |= {"critics": self.critics, "targets": self.targets, "target_actor": self.target_actor}
        self.optimisers = {"critics": self.adam(self.critics.parameters()),
                           "actor": self.adam(self.actor.parameters(), lr=self.options.actor_lr)}

    def exploration(self) -> float:
        """The noise on actions."""
        return self.options.noise

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of the critics, and every `delay`-th time of the actor and the targets."""
        critic_loss, error = self.critic_loss(batch)
        step(self.optimisers["critics"], critic_loss)
        figures = {"loss_critic": critic_loss}
        if self.done % (self.options.delay if self.options.twin else 1) == 0:
            if self.done >= self.options.actor_after:
                figures["loss_actor"] = loss = self.actor_loss(batch)
                step(self.optimisers["actor"], loss)
            follow(self.targets, self.critics, self.options.tau)
            follow(self.target_actor, self.actor, self.options.tau)
        return figures, error

    def critic_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss, and the larger error (B,)."""
        with torch.no_grad():
            action = self.target_actor(batch.next_obs).mode()
            if self.options.twin:
                noise = torch.randn(action.shape, generator=self.draws, device=self.device) * self.options.target_noise
                action = (action + noise.clamp(-self.options.noise_clip, self.options.noise_clip)).clamp(-1.0, 1.0)
            target = batch.target(self.targets(torch.cat([batch.next_state, action], -1)).amin(0))
        values = self.critics(torch.cat([batch.state, batch.action], -1))
        return distance(values, target, batch.weight), (values.detach() - target).abs().amax(0)

    def actor_loss(self, batch: Batch) -> Tensor:
        """Minus the first critic's value of what the actor does."""
        action = self.actor(batch.obs).mode()
        values: Tensor = self.critics(torch.cat([batch.state, action], -1))[0]
        return -(values * batch.weight).mean()
