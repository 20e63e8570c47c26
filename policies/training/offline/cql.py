"""Conservative Q-learning: SAC or DQN whose values of what was never done are pushed down.

Kumar et al., "Conservative Q-learning for offline reinforcement learning" (2020), CQL(H).  Continuous: the soft maximum
over `n_random` uniform actions and as many of the policy's at this and the next observation, weighted by their density,
minus the value of the recorded action; targets are without entropy.  Discrete: the soft maximum over all alternatives
of each part.  This is as the paper's code has it: TorchRL 0.14's `CQLLoss` takes the soft maximum over three values at
a time instead of all, and values the next actions at the next observation (tests show the rest equal).
"""

from __future__ import annotations

from math import log
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from policies.training.algorithm import GroupSetting, Options
from policies.training.critics import distance, follow, taken
from policies.training.dqn import Dqn, DqnOptions
from policies.training.offpolicy import Batch, Figures, step
from policies.training.sac import Sac, SacOptions


class CqlOptions(SacOptions, DqnOptions):
    """Hyperparameters of CQL; those of SAC count for continuous, those of DQN for discrete actions."""

    conservative: float = Field(1.0, ge=0, description="Weight of the penalty.")
    n_random: int = Field(10, ge=1, le=1000, description="Actions of each sort in the soft maximum.")


class ContinuousCql(Sac):
    """SAC with conservative critics."""

    Options: ClassVar[type[Options]] = CqlOptions
    options: CqlOptions

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of critics, actor, temperature and targets."""
        critic_loss, error = self.backup_loss(batch)
        penalty = self.penalty(batch)
        actor_loss, logp = self.actor_loss(batch)
        step(self.optimisers["actor"], actor_loss + self.alpha_loss(logp))  # before the critics that it leads through
        step(self.optimisers["critics"], critic_loss + self.options.conservative * penalty)
        follow(self.targets, self.critics, self.options.tau)
        return {"loss_critic": critic_loss, "penalty": penalty, "loss_actor": actor_loss, "alpha": self.alpha()}, error

    def backup_loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Distance to R + γ^(Δt / per_s) min Q(s', a'), and the larger error (B,)."""
        with torch.no_grad():
            action, _ = self.actor(batch.next_obs).rsample(self.draws)
            target = batch.target(self.targets(torch.cat([batch.next_state, action], -1)).amin(0))
        values = self.critics(torch.cat([batch.state, batch.action], -1))
        return distance(values, target, batch.weight), (values.detach() - target).abs().amax(0)

    def penalty(self, batch: Batch) -> Tensor:
        """Sum over critics of the mean of log sum exp Q(s, ·) - Q(s, a)."""
        n, (rows, width) = self.options.n_random, batch.action.shape
        with torch.no_grad():
            anywhere = torch.empty(rows * n, width, device=self.device).uniform_(-1.0, 1.0, generator=self.draws)
            here, logp_here = self.actor(batch.obs.repeat_interleave(n, 0)).rsample(self.draws)
            there, logp_there = self.actor(batch.next_obs.repeat_interleave(n, 0)).rsample(self.draws)
            density = torch.cat([torch.full_like(logp_here, width * log(0.5)), logp_there, logp_here])
        state = batch.state.repeat_interleave(n, 0).repeat(3, 1)
        values = self.critics(torch.cat([state, torch.cat([anywhere, there, here])], -1)) - density
        # (k, 3, B, n): of each row all three sorts together
        soft = torch.logsumexp(values.reshape(-1, 3, rows, n).transpose(1, 2).flatten(2), -1)
        taken_values: Tensor = self.critics(torch.cat([batch.state, batch.action], -1))
        return (soft - taken_values).mean(-1).sum()


class DiscreteCql(Dqn):
    """DQN with conservative values."""

    Options: ClassVar[type[Options]] = CqlOptions
    options: CqlOptions

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of the values and their target."""
        loss, error, values = self.value_loss(batch)
        penalty = self.penalty(values, batch)
        step(self.optimisers["values"], loss + self.options.conservative * penalty)
        if self.dueling is not None:
            self._fold()
        follow(self.targets, self.actor, self.options.tau)
        return {"loss_q": loss, "penalty": penalty}, error

    def penalty(self, values: Tensor, batch: Batch) -> Tensor:
        """Mean over rows and parts of log sum exp Q(s, ·) - Q(s, a)."""
        parts = torch.split(values, list(self.counts), -1)
        soft = torch.stack([torch.logsumexp(part, -1) for part in parts], -1)
        return (soft - taken(values, batch.action, self.counts)).mean()


class Cql:
    """CQL for the action at hand: `ContinuousCql` or `DiscreteCql`, made as any algorithm."""

    Options: ClassVar[type[Options]] = CqlOptions
    on_policy: ClassVar[bool] = False

    def __new__(cls, setting: GroupSetting, options: CqlOptions) -> Any:
        """The one that learns this sort of action."""
        kind = ContinuousCql if setting.spec.action.continuous else DiscreteCql
        return kind(setting, options)
