"""Critics of the off-policy family: several value networks as one, and what their targets are made of.

Shapes: B rows of a batch, k networks, n_logit alternatives of all discrete parts of an action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from policies.description import CLOSED

Net = TypeVar("Net", bound=nn.Module)

#: The product before keeps its inputs only, so relu may overwrite it; silu's gradient needs what it was.
_BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {"relu": partial(F.relu, inplace=True), "silu": F.silu}


class Critics(nn.Module):
    """k independent networks of one form, evaluated together: a matrix product a layer for all of them.

    Answers (k, B), or (k, B, n_out) where `n_out` is above 1.  Weights are orthogonal, from torch's global generator.
    """

    def __init__(self, k: int, n_in: int, hidden: Sequence[int], n_out: int = 1, activation: str = "relu") -> None:
        super().__init__()
        self._between = _BETWEEN[activation]
        widths = (n_in, *hidden, n_out)
        self.k, self._depth, self._n_out = k, len(widths) - 1, n_out
        for i in range(self._depth):
            gain = math.sqrt(2) if i < self._depth - 1 else 1.0
            matrices = [nn.init.orthogonal_(torch.empty(widths[i + 1], widths[i]), gain).T for _ in range(k)]
            self.register_parameter(f"weight_{i}", nn.Parameter(torch.stack(matrices).contiguous()))
            self.register_parameter(f"bias_{i}", nn.Parameter(torch.zeros(k, 1, widths[i + 1])))

    def forward(self, x: Tensor) -> Tensor:
        """Values for inputs (B, n_in)."""
        x = x.expand(self.k, *x.shape)
        for i in range(self._depth):
            x = torch.baddbmm(self.get_parameter(f"bias_{i}"), x, self.get_parameter(f"weight_{i}"))
            if i < self._depth - 1:
                x = self._between(x)
        return x.squeeze(-1) if self._n_out == 1 else x


def frozen(module: Net) -> Net:
    """A copy that learns nothing: a target network."""
    return deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move the target's parameters the share `tau` towards the online network's; buffers are copied."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)
    for theirs, ours in zip(target.buffers(), online.buffers(), strict=True):
        theirs.copy_(ours)


def distance(values: Tensor, target: Tensor, weight: Tensor, huber: bool = False) -> Tensor:
    """Sum over networks of the mean over rows of weight · (value - target)², of values (k, B) and a target (B,).

    `huber`: of PyTorch's smooth L1 (quadratic within 1) instead.
    """
    error = values - target
    each = torch.where(error.abs() < 1, 0.5 * error * error, error.abs() - 0.5) if huber else error * error
    return (each * weight).sum(0).mean()


def taken(values: Tensor, rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Values (…, B, n_part) of the alternatives that rows (B, n_part) name, of values (…, B, n_logit)."""
    offsets = torch.tensor([sum(counts[:i]) for i in range(len(counts))], device=rows.device)
    index = (rows.long() + offsets).expand(*values.shape[:-1], len(counts))
    return values.gather(-1, index)


def best(values: Tensor, counts: Sequence[int], masks: Tensor | None) -> Tensor:
    """The best open alternative of every part (B, n_part), of values (B, n_logit) and masks (B, n_logit) or None."""
    if masks is not None:
        values = values.masked_fill(~masks, CLOSED)
    return torch.stack([part.argmax(-1) for part in torch.split(values, list(counts), -1)], -1)


def one_hot(rows: Tensor, n_continuous: int, counts: Sequence[int]) -> Tensor:
    """Action rows (…, width) as a critic reads them: the numbers, then a 1 at the alternative of each part."""
    parts = [F.one_hot(rows[..., n_continuous + k].long(), count).to(rows.dtype) for k, count in enumerate(counts)]
    return torch.cat([rows[..., :n_continuous], *parts], -1) if parts else rows
