"""Actors in NumPy, for a few observations at a time: what collecting workers and runs without torch decide with.

The same numbers as `policies.networks.Actor` to 1e-5.  `Answers` turns a network's plain outputs into action rows and
is shared by everything that acts (NumPy, torch, ONNX); `NumpyActor` is a whole actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.description import CLOSED, LOG_STD_MAX, LOG_STD_MIN, NORM_CLIP, Description, NetworkError

Floats = NDArray[np.float32]
Masks = NDArray[np.bool_]

_HALF_LOG_2PI = np.float32(0.5 * log(2 * pi))
_LOG_2 = np.float32(log(2))


class Answers:
    """Outputs of a head (n, n_out) to action rows (n, width), at best or at random.

    `log_std` (n_continuous,) for a ``gaussian`` head; `explore` for ``tanh`` (deviation of the noise added) and ``q``
    (chance of any open alternative).  An output that is NaN gives NaN in the row, in a discrete part too.
    """

    def __init__(self, description: Description, log_std: Floats | None = None, explore: float = 0.0) -> None:
        d = description
        ends = list(accumulate(d.counts, initial=0))
        self.explore = explore
        self.log_std = log_std
        self.width = d.width
        self._n, self._n_mean, self._head = d.n_continuous, d.n_mean, d.head
        self._parts = [slice(a, b) for a, b in pairwise(ends)]
        self._squashed = d.head in ("tanh", "tanh_gaussian")

    def best(self, outputs: Floats, masks: Masks | None = None) -> Floats:
        """Means and most likely (or most valuable) alternatives."""
        rows = np.empty((len(outputs), self.width), np.float32)
        means = outputs[:, :self._n]
        rows[:, :self._n] = np.tanh(means) if self._squashed else means
        if self._parts:
            self._best_parts(self._logits(outputs, masks), rows)
        return rows

    def drawn(self, outputs: Floats, rng: np.random.Generator, masks: Masks | None = None) -> tuple[Floats, Floats]:
        """Random rows, and the log-probability (n,) of each (0 where the head has no distribution)."""
        rows = np.empty((len(outputs), self.width), np.float32)
        logp = np.zeros(len(outputs), np.float32)
        if self._n:
            self._draw_numbers(outputs, rng, rows, logp)
        if self._parts and self._head == "q":
            self._explore_parts(self._logits(outputs, masks), rng, rows)
        elif self._parts:
            self._draw_parts(self._logits(outputs, masks), rng, rows, logp)
        return rows, logp

    def _logits(self, outputs: Floats, masks: Masks | None) -> Floats:
        logits = outputs[:, self._n_mean:]
        return logits if masks is None else np.where(masks, logits, np.float32(CLOSED))

    def _draw_numbers(self, outputs: Floats, rng: np.random.Generator, rows: Floats, logp: Floats) -> None:
        n = self._n
        mean = outputs[:, :n]
        noise = rng.standard_normal(mean.shape, np.float32)
        if self._head == "tanh":
            rows[:, :n] = np.clip(np.tanh(mean) + np.float32(self.explore) * noise, -1.0, 1.0)
            return
        if self._head == "tanh_gaussian":
            log_std = np.clip(outputs[:, n:2 * n], LOG_STD_MIN, LOG_STD_MAX)
        else:
            assert self.log_std is not None
            log_std = np.broadcast_to(self.log_std, mean.shape)
        raw = mean + np.exp(log_std) * noise
        logp -= (0.5 * noise * noise + log_std).sum(1) + n * _HALF_LOG_2PI
        if self._squashed:
            logp -= (2 * (_LOG_2 - raw - np.logaddexp(np.float32(0), -2 * raw))).sum(1)
            raw = np.tanh(raw)
        rows[:, :n] = raw

    def _best_parts(self, logits: Floats, rows: Floats) -> None:
        for k, part in enumerate(self._parts, self._n):
            rows[:, k] = _index_of_best(logits[:, part])

    def _draw_parts(self, logits: Floats, rng: np.random.Generator, rows: Floats, logp: Floats) -> None:
        """The alternative of the largest logit with Gumbel noise is one of its distribution (Gumbel 1954)."""
        for k, part in enumerate(self._parts, self._n):
            mine = logits[:, part]
            noise = rng.random(mine.shape, np.float32)
            # A draw of exactly 0 would put an open alternative below a closed one.
            index = _index_of_best(mine - np.log(-np.log(np.maximum(noise, np.float32(1e-12)))))
            rows[:, k] = index
            most = mine.max(1)
            chosen = mine[np.arange(len(mine)), np.nan_to_num(index).astype(np.int64)]
            logp += chosen - most - np.log(np.exp(mine - most[:, None]).sum(1))

    def _explore_parts(self, logits: Floats, rng: np.random.Generator, rows: Floats) -> None:
        """Epsilon-greedy: all parts of a row explore together."""
        self._best_parts(logits, rows)
        free = rng.random(len(logits)) < self.explore
        for k, part in enumerate(self._parts, self._n):
            mine = logits[:, part]
            order = np.where(mine == np.float32(CLOSED), np.float32(-1), rng.random(mine.shape, np.float32))
            rows[:, k] = np.where(free & ~np.isnan(rows[:, k]), order.argmax(1), rows[:, k])


def _index_of_best(values: Floats) -> Floats:
    """Indices (n,) of the largest, NaN where any is NaN."""
    best = values.max(1)
    index: Floats = values.argmax(1).astype(np.float32)
    index[best != best] = np.nan
    return index


@dataclass(slots=True)
class _Room:
    """Arrays for one number of observations."""

    x: Floats
    layers: list[Floats]
    head: Floats


class NumpyActor:
    """An actor by its description and weights (`policies.description` names them; others are left alone).

    Raises NetworkError for weights that are missing or of another shape.  Not for use from several threads: it computes
    in its own arrays.
    """

    def __init__(self, description: Mapping[str, Any] | Description, weights: Mapping[str, NDArray[Any]]) -> None:
        self.description = description if isinstance(description, Description) else Description.of(description)
        d = self.description
        self._rooms: dict[int, _Room] = {}
        self._widths = d.hidden[:-1] if d.kind == "gru" else d.hidden
        self._weights = {name: np.empty(shape, np.float32) for name, shape in d.shapes.items()}
        w = self._weights
        # Views, transposed once: `load` writes new numbers under them.
        self._body = [(w[f"body/{i}/weight"].T, w[f"body/{i}/bias"]) for i in range(len(self._widths))]
        self._activate = np.tanh if d.activation == "tanh" else _relu
        self.answers = Answers(d, w.get("log_std"))
        self.load(weights)

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Put new weights in place of the old ones."""
        for name, mine in self._weights.items():
            found = weights.get(name)
            if found is None or np.shape(found) != mine.shape:
                what = "missing" if found is None else f"of shape {np.shape(found)}"
                raise NetworkError(f"weights of the actor: {name} is {what}; expected {mine.shape}")
            mine[...] = found
        if "explore" in self._weights:
            self.answers.explore = float(self._weights["explore"])

    def act(self, observations: Floats, rng: np.random.Generator | None = None, deterministic: bool = False,
            masks: Masks | None = None, hidden: Floats | None = None) -> tuple[Floats, Floats, Floats | None]:
        """Rows (n, width), their log-probabilities (n,) and the memory after them, for observations (n, n_in).

        `rng` may be None where `deterministic`.  `masks` (n, n_logit), True where an alternative may be taken; `hidden`
        (n, n_hidden), None at the beginning; without memory it stays None.
        """
        outputs, hidden = self.outputs(observations, hidden)
        if deterministic:
            return self.answers.best(outputs, masks), np.zeros(len(outputs), np.float32), hidden
        assert rng is not None
        rows, logp = self.answers.drawn(outputs, rng, masks)
        return rows, logp, hidden

    def outputs(self, observations: Floats, hidden: Floats | None = None) -> tuple[Floats, Floats | None]:
        """Numbers of the head (n, n_out) and the memory (n, n_hidden); the first is overwritten by the next call."""
        room = self._room(len(observations))
        x: Floats = observations
        if self.description.normalise:
            w = self._weights
            x = np.subtract(x, w["norm/mean"], out=room.x)
            np.divide(x, w["norm/std"], out=x)
            # np.clip costs three times as much on few numbers.
            np.minimum(np.maximum(x, -NORM_CLIP, out=x), NORM_CLIP, out=x)
        for (weight, bias), out in zip(self._body, room.layers, strict=True):
            np.matmul(x, weight, out=out)
            np.add(out, bias, out=out)
            x = self._activate(out, out=out)
        if self.description.kind == "gru":
            x = hidden = self._recall(x, hidden)
        np.matmul(x, self._weights["head/weight"].T, out=room.head)
        return np.add(room.head, self._weights["head/bias"], out=room.head), hidden

    def _recall(self, x: Floats, hidden: Floats | None) -> Floats:
        """One step of the gated recurrent unit, in torch's form (reset applied after the matrix)."""
        w, h = self._weights, self.description.n_hidden
        if hidden is None:
            hidden = np.zeros((len(x), h), np.float32)
        inward = x @ w["gru/weight_ih"].T + w["gru/bias_ih"]
        memory = hidden @ w["gru/weight_hh"].T + w["gru/bias_hh"]
        gates = _sigmoid(inward[:, :2 * h] + memory[:, :2 * h])
        new = np.tanh(inward[:, 2 * h:] + gates[:, :h] * memory[:, 2 * h:])
        after: Floats = new + gates[:, h:] * (hidden - new)
        return after

    def _room(self, n: int) -> _Room:
        room = self._rooms.get(n)
        if room is None:
            d = self.description
            if len(self._rooms) >= 64:
                self._rooms.clear()
            room = _Room(np.empty((n, d.n_in), np.float32), [np.empty((n, h), np.float32) for h in self._widths],
                         np.empty((n, d.n_mean + d.n_logit), np.float32))
            self._rooms[n] = room
        return room


def _relu(x: Floats, out: Floats) -> Floats:
    np.maximum(x, np.float32(0), out=out)
    return out


def _sigmoid(x: Floats) -> Floats:
    half: Floats = np.tanh(0.5 * x)
    return (1 + half) * np.float32(0.5)
