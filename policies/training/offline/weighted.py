"""What policies that imitate the good part of a data set share: a policy of any action, critics that read its rows.

The policy is an unsquashed Gaussian for numbers (recorded actions often lie at an end of their range, where a squashed
one has no density) and a categorical for each discrete part; critics read numbers and a 1 at each alternative taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from policies.description import Description
from policies.training.algorithm import GroupSetting
from policies.training.critics import Critics, frozen, one_hot
from policies.training.offpolicy import OffPolicy, OffPolicyOptions

#: Bound of the weight exp(advantage / temperature) of a row (Kostrikov et al. 2021; Nair et al. 2020 use none).
MOST_WEIGHT = 100.0


class Weighted(OffPolicy):
    """Base of IQL, AWAC and BC."""

    options: OffPolicyOptions

    def describe(self, setting: GroupSetting, options: Any) -> Description:
        """A Gaussian, categoricals, or both."""
        action = setting.spec.action
        n = len(action.continuous)
        return Description(setting.spec.size, n, action.counts, "mlp", options.hidden, options.activation,
                           "gaussian" if n else "categorical", options.normalise)

    def as_acted(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The Gaussian is not squashed: what it drew beyond the range was carried out at the range's end."""
        n = self.description.n_continuous
        return np.concatenate([rows[:, :n].clip(-1.0, 1.0), rows[:, n:]], 1)

    def build_critics(self) -> None:
        """Twin critics of observation and action, and their targets."""
        width = self.description.n_continuous + self.description.n_logit
        self.critics = Critics(2, self.n_state + width, self.options.hidden).to(self.device)
        self.targets = frozen(self.critics)
        self.modules |= {"critics": self.critics, "targets": self.targets}

    def read(self, state: Tensor, rows: Tensor) -> Tensor:
        """What critics read: the state, and an action row with a 1 at each alternative."""
        return torch.cat([state, one_hot(rows, self.description.n_continuous, self.description.counts)], -1)

    @staticmethod
    def weigh(logp: Tensor, advantage: Tensor, temperature: float) -> Tensor:
        """Minus the mean of log pi(a|s) · exp(advantage / temperature), bounded."""
        weight = torch.exp(advantage / temperature).clamp_max(MOST_WEIGHT)
        return -(weight * logp).mean()
