"""Behaviour cloning: the likeliest policy, given what was done; rewards are not looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.training.offline.weighted import Weighted
from policies.training.offpolicy import Batch, Figures, step


class Bc(Weighted):
    """Maximum likelihood of the recorded actions."""

    def build(self) -> None:
        """An optimiser of the actor; no critics."""
        self.optimisers = {"actor": self.adam(self.actor.parameters())}

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step."""
        logp = self.actor(batch.obs, batch.mask).log_prob(batch.action)
        loss = -(logp * batch.weight).mean()
        step(self.optimisers["actor"], loss)
        return {"loss_actor": loss}, torch.ones_like(logp)
