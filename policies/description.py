"""What an actor network looks like, as plain data: enough to build it in torch, NumPy or ONNX and to check its weights.

Arrays of an actor, by name (``/`` separates; float32; n_in, n_out as below, h the widths in `hidden`):

* ``norm/mean``, ``norm/std`` (n_in,), ``norm/count`` (): running statistics of observations, where `normalise`;
* ``body/<i>/weight`` (h[i], h[i-1] or n_in), ``body/<i>/bias``: the layers, each followed by the activation; of a
  ``gru`` all but the last of `hidden`, which is the cell: ``gru/weight_ih`` (3h, in), ``gru/weight_hh`` (3h, h),
  ``gru/bias_ih``, ``gru/bias_hh`` (3h,), rows in torch's order reset, update, new;
* ``head/weight`` (n_out, h[-1]), ``head/bias``: means, then (tanh_gaussian) log standard deviations, then the logits or
  values of every discrete part;
* ``log_std`` (n_continuous,): where the head is ``gaussian``;
* ``explore`` (): how much a ``tanh`` head adds as noise (standard deviation), and how often a ``q`` head takes any
  alternative, while collecting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from cosim.errors import GridloopError

#: What is accepted.
KINDS = ("mlp", "gru")
ACTIVATIONS = ("tanh", "relu")
HEADS = ("gaussian", "tanh_gaussian", "tanh", "categorical", "q")

#: Normalised observations are cut off at ± this.
NORM_CLIP = 10.0
#: Bounds of a log standard deviation that a network answers.
LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
#: Logit of an alternative that a mask closes.
CLOSED = -1e8

_MAX_LAYERS, _MAX_WIDTH, _MAX_NUMBERS = 16, 16_384, 1_000_000


class NetworkError(GridloopError):
    """A description of a network, or weights for it, that will not do."""


@dataclass(frozen=True)
class Description:
    """One actor network; `counts` are the alternatives of every discrete part of the action.

    Heads: ``gaussian`` (mean from the network, standard deviation beside it, not squashed), ``tanh_gaussian`` (both
    from the network, squashed by tanh), ``tanh`` (deterministic); the discrete parts beside them are categorical.
    ``categorical`` and ``q`` (a value an alternative) have no continuous part.
    """

    n_in: int
    n_continuous: int
    counts: tuple[int, ...] = ()
    kind: str = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    head: str = "gaussian"
    normalise: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _among("kind", self.kind, KINDS)
        _among("activation", self.activation, ACTIVATIONS)
        _among("head", self.head, HEADS)
        _whole("n_in", self.n_in, 1, _MAX_NUMBERS)
        _whole("n_continuous", self.n_continuous, 0, _MAX_NUMBERS)
        for i, width in enumerate(self.hidden):
            _whole(f"hidden[{i}]", width, 1, _MAX_WIDTH)
        for i, count in enumerate(self.counts):
            _whole(f"counts[{i}]", count, 2, _MAX_NUMBERS)
        if not 1 <= len(self.hidden) <= _MAX_LAYERS:
            raise NetworkError(f"network: hidden has {len(self.hidden)} layers; expected 1 to {_MAX_LAYERS}")
        if self.n_continuous + len(self.counts) == 0:
            raise NetworkError("network: neither n_continuous nor counts: it would answer nothing")
        if self.head in ("categorical", "q") and self.n_continuous:
            raise NetworkError(f"network: head '{self.head}' answers discrete actions only; found "
                               f"{self.n_continuous} continuous numbers; expected gaussian, tanh_gaussian or tanh")

    @property
    def width(self) -> int:
        """Numbers in an action row: the continuous ones, then an index a discrete part."""
        return self.n_continuous + len(self.counts)

    @property
    def n_logit(self) -> int:
        """Alternatives of all discrete parts; the length of a mask."""
        return sum(self.counts)

    @property
    def n_mean(self) -> int:
        """Continuous outputs of the head."""
        return self.n_continuous * (2 if self.head == "tanh_gaussian" else 1)

    @property
    def n_hidden(self) -> int:
        """Length of the memory of one agent (0: it has none)."""
        return self.hidden[-1] if self.kind == "gru" else 0

    @property
    def explores(self) -> bool:
        """Whether its exploration is a weight of its own."""
        return self.head in ("tanh", "q")

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array, by name."""
        found: dict[str, tuple[int, ...]] = {}
        if self.normalise:
            found |= {"norm/mean": (self.n_in,), "norm/std": (self.n_in,), "norm/count": ()}
        width = self.n_in
        for i, h in enumerate(self.hidden[:-1] if self.kind == "gru" else self.hidden):
            found |= {f"body/{i}/weight": (h, width), f"body/{i}/bias": (h,)}
            width = h
        if self.kind == "gru":
            h = self.hidden[-1]
            found |= {"gru/weight_ih": (3 * h, width), "gru/weight_hh": (3 * h, h), "gru/bias_ih": (3 * h,),
                      "gru/bias_hh": (3 * h,)}
            width = h
        n_out = self.n_mean + self.n_logit
        found |= {"head/weight": (n_out, width), "head/bias": (n_out,)}
        if self.head == "gaussian" and self.n_continuous:
            found["log_std"] = (self.n_continuous,)
        if self.explores:
            found["explore"] = ()
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "hidden": list(self.hidden), "counts": list(self.counts)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From `to_dict`; raises NetworkError for what is no description."""
        try:
            return cls(**{**data, "hidden": tuple(data["hidden"]), "counts": tuple(data.get("counts", ()))})
        except (TypeError, KeyError, AttributeError) as error:
            raise NetworkError(f"network: not a description ({type(error).__name__}: {error}); expected n_in, "
                               f"n_continuous, counts, kind, hidden, activation, head, normalise") from None


def _among(field: str, found: Any, known: tuple[str, ...]) -> None:
    if found not in known:
        raise NetworkError(f"network: {field} is {found!r:.40}; expected one of {', '.join(known)}")


def _whole(field: str, found: Any, low: int, high: int) -> None:
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise NetworkError(f"network: {field} is {found!r:.40}; expected a whole number from {low} to {high}")
