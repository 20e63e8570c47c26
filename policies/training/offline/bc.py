"""Behaviour cloning: the likeliest policy, given what was done; rewards are not looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from policies.description import Description
from policies.training.algorithm import GroupSetting, Options, TrainingError
from policies.training.offline.weighted import Weighted
from policies.training.offpolicy import Batch, Figures, OffPolicyOptions, step


class BcOptions(OffPolicyOptions):
    """Hyperparameters of behaviour cloning."""

    deterministic: bool = Field(False, description=(
        "A squashed policy without noise (least squares), for td3, ddpg and maddpg to go on from; numbers only."))


class Bc(Weighted):
    """Maximum likelihood of the recorded actions."""

    Options: ClassVar[type[Options]] = BcOptions
    options: BcOptions

    def describe(self, setting: GroupSetting, options: BcOptions) -> Description:
        """As IQL's and AWAC's, or a squashed one."""
        found = super().describe(setting, options)
        if not options.deterministic:
            return found
        if found.counts:
            raise TrainingError(f"group {setting.name}: bc: deterministic: found a {setting.spec.action.kind} action; "
                                f"expected a continuous one")
        return replace(found, head="tanh")

    def build(self) -> None:
        """An optimiser of the actor; no critics."""
        self.optimisers = {"actor": self.adam(self.actor.parameters())}

    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step."""
        if self.options.deterministic:
            distance = ((self.actor(batch.obs).mode() - batch.action) ** 2).sum(-1)
        else:
            distance = -self.actor(batch.obs, batch.mask).log_prob(batch.action)
        loss = (distance * batch.weight).mean()
        step(self.optimisers["actor"], loss)
        return {"loss_actor": loss}, torch.ones_like(distance)
