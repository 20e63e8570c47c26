"""Networks in torch: actors (`policies.description` says which), values and action values, and what they answer.

Shapes: ``(..., n)`` takes any leading axes.  An action is a row (..., width): the continuous numbers, then an index a
discrete part.  A mask is (..., n_logit) bool over the alternatives of all discrete parts, True where one may be taken.
Initial weights are drawn from torch's global generator: seed it before (`torch.manual_seed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log, pi, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from policies.description import CLOSED, LOG_STD_MAX, LOG_STD_MIN, NORM_CLIP, Description, NetworkError

Weights = dict[str, NDArray[np.float32]]

_HALF_LOG_2PI = 0.5 * log(2 * pi)
_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class RunningNorm(nn.Module):
    """Observations by the mean and standard deviation of all seen so far, cut off at ±10.

    `update` learns them (Chan, Golub & LeVeque 1983, merging of two samples), `forward` applies them; call `update`
    once per batch collected, never inside a loss.  Buffers: mean, std (n,), count ().
    """

    mean: Tensor
    std: Tensor
    count: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, observations: Tensor) -> None:
        """Take in observations (..., n)."""
        x = observations.reshape(-1, observations.shape[-1]).double()
        n = len(x)
        if not n:
            return
        mean, spread = x.mean(0), x.var(0, unbiased=False)
        count = float(self.count)
        total = count + n
        old_mean, old_spread = self.mean.double(), (self.std.double() ** 2 if count else torch.zeros_like(mean))
        delta = mean - old_mean
        merged = (old_spread * count + spread * n + delta ** 2 * count * n / total) / total
        self.mean.copy_(old_mean + delta * n / total)
        # Features come scaled to about ±1: one that never moved in training must not shout when it first does.
        self.std.copy_(merged.sqrt().clamp_min(1e-2))
        self.count.fill_(total)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (..., n)."""
        return ((x - self.mean) / self.std).clamp(-NORM_CLIP, NORM_CLIP)


class ActionDistribution:
    """What an actor answers: a distribution of action rows.

    `mean`, `log_std` (..., n_continuous; before tanh; log_std of a ``tanh`` head is meaningless), `logits` one
    (..., count) per discrete part, masked; of a ``q`` head they are the values.
    """

    def __init__(self, description: Description, outputs: Tensor, log_std: Tensor | None,
                 masks: Tensor | None) -> None:
        n = description.n_continuous
        self.description = description
        self.mean = outputs[..., :n]
        if description.head == "tanh_gaussian":
            self.log_std = outputs[..., n:2 * n].clamp(LOG_STD_MIN, LOG_STD_MAX)
        else:
            self.log_std = torch.zeros_like(self.mean) if log_std is None else log_std.expand_as(self.mean)
        flat = outputs[..., description.n_mean:]
        if masks is not None and description.counts:
            flat = flat.masked_fill(~masks, CLOSED)
        self.logits: list[Tensor] = list(torch.split(flat, list(description.counts), -1)) if description.counts else []
        self._squashed = description.head in ("tanh_gaussian", "tanh")

    def mode(self) -> Tensor:
        """The best row (..., width): means and most likely alternatives; differentiable in the continuous part."""
        numbers = torch.tanh(self.mean) if self._squashed else self.mean
        return torch.cat([numbers, *(part.argmax(-1, keepdim=True).to(numbers.dtype) for part in self.logits)], -1)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random row (..., width)."""
        return self.rsample(generator)[0]

    def rsample(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """A random row, differentiable in its continuous part (reparameterised), and its log-probability (...)."""
        if self.description.head in ("tanh", "q"):
            raise NetworkError(f"head '{self.description.head}' has no distribution; take mode()")
        noise = torch.randn(self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        raw = self.mean + self.log_std.exp() * noise
        numbers, logp = (torch.tanh(raw) if self._squashed else raw), self._logp_raw(raw)
        indices: list[Tensor] = []
        for part in self.logits:
            logs = F.log_softmax(part, -1)
            flat = logs.detach().exp().reshape(-1, part.shape[-1])
            index = torch.multinomial(flat, 1, generator=generator).reshape(*part.shape[:-1], 1)
            indices.append(index.to(numbers.dtype))
            logp = logp + logs.gather(-1, index).squeeze(-1)
        return torch.cat([numbers, *indices], -1), logp

    def log_prob(self, rows: Tensor) -> Tensor:
        """Log-probability (...) of rows (..., width)."""
        n = self.description.n_continuous
        numbers = rows[..., :n]
        logp = self._logp_raw(torch.atanh(numbers.clamp(-1 + 1e-6, 1 - 1e-6)) if self._squashed else numbers)
        for k, part in enumerate(self.logits):
            index = rows[..., n + k:n + k + 1].long()
            logp = logp + F.log_softmax(part, -1).gather(-1, index).squeeze(-1)
        return logp

    def entropy(self) -> Tensor:
        """Entropy (...), nats; of a ``tanh_gaussian`` that of the Gaussian before tanh."""
        total = (self.log_std + 0.5 + _HALF_LOG_2PI).sum(-1)
        for part in self.logits:
            logs = F.log_softmax(part, -1)
            total = total - (logs.exp() * logs).sum(-1)
        return total

    def _logp_raw(self, raw: Tensor) -> Tensor:
        """Of the continuous part, before tanh."""
        z = (raw - self.mean) * (-self.log_std).exp()
        logp = (-0.5 * z * z - self.log_std - _HALF_LOG_2PI).sum(-1)
        if self._squashed:
            logp = logp - (2 * (log(2) - raw - F.softplus(-2 * raw))).sum(-1)
        return logp


class Actor(nn.Module):
    """An actor by its description (a `Description` or its dict); names of parameters as there, ``.`` for ``/``.

    ``actor(obs)`` gives the `ActionDistribution`.  With memory (``gru``): ``actor.step(obs, hidden)`` for one step,
    ``actor.unroll(obs, hidden, first)`` over time.
    """

    def __init__(self, description: Mapping[str, Any] | Description, log_std: float = -0.5) -> None:
        super().__init__()
        d = description if isinstance(description, Description) else Description.of(description)
        self.description = d
        self.norm = RunningNorm(d.n_in) if d.normalise else None
        widths = d.hidden[:-1] if d.kind == "gru" else d.hidden
        self.body = _layers(d.n_in, widths)
        self.activation = _ACTIVATIONS[d.activation]()
        last = widths[-1] if widths else d.n_in
        self.gru = _cell(last, d.hidden[-1]) if d.kind == "gru" else None
        self.head = _linear(d.hidden[-1], d.n_mean + d.n_logit, 1.0 if d.head == "q" else 0.01)
        self.log_std = nn.Parameter(torch.full((d.n_continuous,), log_std)) if "log_std" in d.shapes else None
        if d.explores:
            self.register_buffer("explore", torch.tensor(0.1))

    def forward(self, observations: Tensor, masks: Tensor | None = None,
                hidden: Tensor | None = None) -> ActionDistribution:
        """The distribution for observations (..., n_in); `hidden` None: memory at its beginning."""
        return self.step(observations, hidden, masks)[0]

    def step(self, observations: Tensor, hidden: Tensor | None = None,
             masks: Tensor | None = None) -> tuple[ActionDistribution, Tensor | None]:
        """The distribution, and the memory (..., n_hidden) after it (None without a ``gru``)."""
        outputs, hidden = self.outputs(observations, hidden)
        return ActionDistribution(self.description, outputs, self.log_std, masks), hidden

    def unroll(self, observations: Tensor, hidden: Tensor | None, first: Tensor,
               masks: Tensor | None = None) -> ActionDistribution:
        """The distribution over time: observations (time, n, n_in), memory before it (n, n_hidden) or None.

        `first` (time, n) bool: where an episode begins, the memory is at its beginning.
        """
        x = self._features(observations)
        if self.gru is None:
            return ActionDistribution(self.description, self.head(x), self.log_std, masks)
        if hidden is None:
            hidden = x.new_zeros(x.shape[1], self.description.n_hidden)
        states = []
        for t in range(len(x)):
            hidden = _recall(self.gru, x[t], torch.where(first[t, :, None], torch.zeros_like(hidden), hidden))
            states.append(hidden)
        return ActionDistribution(self.description, self.head(torch.stack(states)), self.log_std, masks)

    def outputs(self, observations: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The head's plain numbers (..., n_mean + n_logit) and the memory: what is exported."""
        x = self._features(observations)
        if self.gru is not None:
            if hidden is None:
                hidden = x.new_zeros(*x.shape[:-1], self.description.n_hidden)
            x = hidden = _recall(self.gru, x, hidden)
        return self.head(x), hidden

    def _features(self, observations: Tensor) -> Tensor:
        x = observations if self.norm is None else self.norm(observations)
        for layer in self.body:
            x = self.activation(layer(x))
        return x


class ValueNet(nn.Module):
    """A value (..., ) of what is seen (..., n_in); `n_out` > 1 gives (..., n_out), say a value per cost."""

    def __init__(self, n_in: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh", n_out: int = 1, *,
                 normalise: bool = False) -> None:
        super().__init__()
        self.norm = RunningNorm(n_in) if normalise else None
        self.body = _layers(n_in, hidden)
        self.activation = _ACTIVATIONS[activation]()
        self.head = _linear(hidden[-1], n_out, 1.0)
        self._n_out = n_out

    def forward(self, x: Tensor) -> Tensor:
        """Values (...,) or (..., n_out)."""
        x = x if self.norm is None else self.norm(x)
        for layer in self.body:
            x = self.activation(layer(x))
        values: Tensor = self.head(x)
        return values.squeeze(-1) if self._n_out == 1 else values


class QNet(nn.Module):
    """A value (...,) of observation (..., n_in) and continuous action (..., n_action), both normalised before."""

    def __init__(self, n_in: int, n_action: int, hidden: Sequence[int] = (256, 256), activation: str = "relu") -> None:
        super().__init__()
        self.net = ValueNet(n_in + n_action, hidden, activation)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Values (...,)."""
        values: Tensor = self.net(torch.cat([observations, actions], -1))
        return values


class TwinQ(nn.Module):
    """Two independent `QNet`; ``twin(obs, actions)`` gives both, ``twin.least`` the smaller (TD3, SAC)."""

    def __init__(self, n_in: int, n_action: int, hidden: Sequence[int] = (256, 256), activation: str = "relu") -> None:
        super().__init__()
        self.first = QNet(n_in, n_action, hidden, activation)
        self.second = QNet(n_in, n_action, hidden, activation)

    def forward(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Both values (...,)."""
        return self.first(observations, actions), self.second(observations, actions)

    def least(self, observations: Tensor, actions: Tensor) -> Tensor:
        """The smaller value (...,)."""
        return torch.minimum(*self(observations, actions))


def weights_of(module: nn.Module) -> Weights:
    """Copies of all parameters and buffers, float32, by name with ``/``: what bundles and `NumpyActor` take."""
    return {name.replace(".", "/"): tensor.detach().to("cpu", torch.float32).numpy().copy()
            for name, tensor in module.state_dict().items()}


def set_weights(module: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Put arrays by name into a module; raises NetworkError when names or shapes differ."""
    state = module.state_dict()
    mine = {name.replace(".", "/"): tuple(tensor.shape) for name, tensor in state.items()}
    theirs = {name: tuple(array.shape) for name, array in weights.items()}
    if mine != theirs:
        names = [name for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
        listed = "; ".join(f"{name}: {mine.get(name)} and {theirs.get(name)}" for name in names[:8])
        raise NetworkError(f"weights do not fit the network: {listed}")
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.from_numpy(np.array(weights[name.replace(".", "/")])))


def _layers(n_in: int, widths: Sequence[int]) -> nn.ModuleList:
    sizes = (n_in, *widths)
    return nn.ModuleList(_linear(a, b, sqrt(2)) for a, b in pairwise(sizes))


def _linear(n_in: int, n_out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _cell(n_in: int, n_hidden: int) -> nn.GRUCell:
    cell = nn.GRUCell(n_in, n_hidden)
    for weight in (cell.weight_ih, cell.weight_hh):
        nn.init.orthogonal_(weight)
    for bias in (cell.bias_ih, cell.bias_hh):
        nn.init.zeros_(bias)
    return cell


def _recall(cell: nn.GRUCell, x: Tensor, hidden: Tensor) -> Tensor:
    """One step of the cell with any leading axes."""
    after: Tensor = cell(x.reshape(-1, x.shape[-1]), hidden.reshape(-1, hidden.shape[-1]))
    return after.reshape(*x.shape[:-1], -1)
