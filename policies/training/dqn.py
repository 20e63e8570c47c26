"""Deep Q-learning for discrete and multi-discrete actions: double, optionally dueling, a branch a part.

van Hasselt et al., "Deep reinforcement learning with double Q-learning" (2016): the online network chooses, the target
values.  Wang et al., "Dueling network architectures" (2016).  Tavakoli et al., "Action branching architectures" (2018):
a part of the action has its own values, all parts learn towards one target, the mean of the branches' best.

With dueling the last layer is learned as a value and advantages; Q = V + A - mean A is linear in both, so what acts
(and is exported) stays an ordinary ``q`` head.  Acting takes any alternative with chance ``explore``: 1 in warm-up,
then falling to `epsilon` over `epsilon_rows`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call

from policies.description import Description
from policies.networks import Weights
from policies.training.algorithm import GroupSetting, Options, TrainingError
from policies.training.critics import best, distance, follow, frozen, taken
from policies.training.offpolicy import Batch, Figures, OffPolicy, OffPolicyOptions, step


class DqnOptions(OffPolicyOptions):
    """Hyperparameters of DQN."""

    double: bool = Field(True, description="The online network chooses what the target network values.")
    dueling: bool = Field(False, description="Value and advantages apart in the last layer.")
    huber: bool = Field(True, description="Smooth L1 instead of squared errors.")
    epsilon: float = Field(0.05, ge=0, le=1, description="Share of random alternatives, at last.")
    epsilon_rows: int = Field(10_000, ge=1, description="Rows after warm-up over which it falls from 1.")


class Dueling(nn.Module):
    """A last layer as one value and an advantage an alternative; branches share the value."""

    def __init__(self, n_in: int, counts: tuple[int, ...]) -> None:
        super().__init__()
        self.counts = list(counts)
        self.value = nn.Linear(n_in, 1)
        self.advantage = nn.Linear(n_in, sum(counts))

    def folded(self) -> dict[str, Tensor]:
        """The same as the weights of an ordinary head: V + A - mean A of each branch."""
        return {"head.weight": self.value.weight + self._centred(self.advantage.weight),
                "head.bias": self.value.bias + self._centred(self.advantage.bias)}

    @torch.no_grad()
    def take(self, head: nn.Linear) -> None:
        """Be what this ordinary head of one part is."""
        self.advantage.load_state_dict(head.state_dict())
        self.value.weight.copy_(head.weight.mean(0, keepdim=True))
        self.value.bias.copy_(head.bias.mean(0, keepdim=True))

    def _centred(self, rows: Tensor) -> Tensor:
        return torch.cat([part - part.mean(0, keepdim=True) for part in torch.split(rows, self.counts, 0)])


class Dqn(OffPolicy):
    """DQN; the actor is the online network."""

    Options: ClassVar[type[Options]] = DqnOptions
    options: DqnOptions

    def describe(self, setting: GroupSetting, options: DqnOptions) -> Description:
        """A value an alternative."""
        action = setting.spec.action
        if action.continuous:
            raise TrainingError(f"group {setting.name}: dqn: found a {action.kind} action; expected choices or levels "
                                f"for every setpoint; sac, td3 and ppo take continuous actions")
        if options.centralised:
            raise TrainingError(f"group {setting.name}: dqn: found centralised: true; its network acts, and sees only "
                                f"what the agent sees; expected false")
        return Description(setting.spec.size, 0, action.counts, "mlp", options.hidden, options.activation, "q",
                           options.normalise)

    def build(self) -> None:
        """Target network, dueling layer, optimiser."""
        self.counts = self.description.counts
        self.dueling = Dueling(self.options.hidden[-1], self.counts).to(self.device) if self.options.dueling else None
        learned = list(self.actor.parameters())
        if self.dueling is not None:
            self.modules["dueling"] = self.dueling
            head = [p for name, p in self.actor.named_parameters() if name.startswith("head.")]
            learned = [p for p in learned if all(p is not other for other in head)] + list(self.dueling.parameters())
            self._fold()
        self.targets = frozen(self.actor)
        self.modules["targets"] = self.targets
        self.optimisers = {"values": self.adam(iter(learned))}

    def adopt(self, weights: Weights) -> None:
        """Begin with these values; a dueling layer takes up those of a single part exactly."""
        if self.dueling is not None and len(self.counts) > 1:
            raise TrainingError(f"group {self.setting.name}: dqn: found dueling with {len(self.counts)} parts; "
                                f"expected dueling: false to go on from a bundle")
        super().adopt(weights)
        if self.dueling is not None:
            self.dueling.take(self.actor.head)

    def exploration(self) -> float:
        """The share of random alternatives, by the rows collected since the warm-up."""
        share = min((self.replay.added - self.options.warmup) / self.options.epsilon_rows, 1.0)
        return 1.0 + share * (self.options.epsilon - 1.0)

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step of the values and their target."""
        loss, error, values = self.value_loss(batch)
        step(self.optimisers["values"], loss)
        if self.dueling is not None:
            self._fold()
        follow(self.targets, self.actor, self.options.tau)
        return {"loss_q": loss, "q": values.detach().mean()}, error

    def values(self, obs: Tensor) -> Tensor:
        """Values (B, n_logit) of all alternatives by the online network, differentiable."""
        folded = self.dueling.folded() if self.dueling is not None else {}
        return torch.cat(functional_call(self.actor, folded, (obs,)).logits if folded else self.actor(obs).logits, -1)

    def value_loss(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Mean over branches of the distance to one target; errors (B,); all values (B, n_logit)."""
        values = self.values(batch.obs)
        chosen = taken(values, batch.action, self.counts)
        target = self.target(batch)
        parts = [distance(chosen[None, :, k], target, batch.weight, self.options.huber)
                 for k in range(len(self.counts))]
        return torch.stack(parts).mean(), (chosen.detach() - target[:, None]).abs().mean(-1), values

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        """R + γ^(Δt / per_s) · mean over branches of the target's value of the best open alternative (B,)."""
        there = torch.cat(self.targets(batch.next_obs).logits, -1)
        by = self.values(batch.next_obs) if self.options.double else there
        return batch.target(taken(there, best(by, self.counts, batch.next_mask), self.counts).mean(-1))

    @torch.no_grad()
    def _fold(self) -> None:
        """Put the dueling layer into the head that acts."""
        assert self.dueling is not None
        for name, value in self.dueling.folded().items():
            self.actor.get_parameter(name).copy_(value)
