"""Rules that lose, copy or damage messages by chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from cosim.channel.rule import Drawn, Fate, Forking, Judged, Rule, RuleConfig, RuleSite, Verdicts, uniforms
from cosim.channel.traffic import corrupted
from cosim.kernel import MICROSECONDS

_LOST = int(Fate.LOST)


class LossConfig(RuleConfig):
    """Options of `loss`."""

    kind: str = "loss"
    probability: float = Field(ge=0, le=1, description="Chance that a message is lost, 0 to 1.")


class Loss(Drawn):
    """Bernoulli loss: each message on its own."""

    kind: ClassVar[str] = "loss"
    summary: ClassVar[str] = "each message is lost with a probability"
    Config: ClassVar[type[RuleConfig]] = LossConfig

    def __init__(self, probability: float, rng: np.random.Generator, fate: Fate = Fate.LOST) -> None:
        self._probability, self._rng, self._fate = probability, rng, int(fate)

    @classmethod
    def build(cls, config: LossConfig, site: RuleSite) -> Loss:
        """The rule."""
        return cls(config.probability, site.rng)

    def draw(self, n: int) -> Verdicts:
        """0 or the fate, shape (n,)."""
        return np.where(self._rng.random(n) < self._probability, self._fate, 0)


class GilbertElliottConfig(RuleConfig):
    """Options of `gilbert_elliott`.

    The state changes either at each message, with probability `p` (good to bad) and `r` (bad to good), or in time,
    staying `mean_good_s` and `mean_bad_s` on average.  A message is lost with `loss_good` or `loss_bad`.
    """

    kind: str = "gilbert_elliott"
    p: float | None = Field(None, gt=0, le=1, description="Chance at each message to turn from good to bad; with `r`.")
    r: float | None = Field(None, gt=0, le=1, description="Chance at each message to turn from bad to good; with `p`.")
    mean_good_s: float | None = Field(None, gt=0, description="Mean stay in the good state, instead of `p` and `r`.")
    mean_bad_s: float | None = Field(None, gt=0, description="Mean stay in the bad state, instead of `p` and `r`.")
    loss_good: float = Field(0.0, ge=0, le=1, description="Chance of loss in the good state.")
    loss_bad: float = Field(1.0, ge=0, le=1, description="Chance of loss in the bad state.")

    @model_validator(mode="after")
    def _one_law(self) -> GilbertElliottConfig:
        by_message = self.p is not None and self.r is not None and self.mean_good_s is None and self.mean_bad_s is None
        in_time = self.p is None and self.r is None and self.mean_good_s is not None and self.mean_bad_s is not None
        if not (by_message or in_time):
            raise ValueError("expected either p and r (state changes at each message) or mean_good_s and mean_bad_s "
                             "(in time)")
        return self


class GilbertElliott(Judged):
    """Bursts of loss: a chain of two states that starts in its stationary law.

    E. N. Gilbert, "Capacity of a burst-noise channel", 1960; E. O. Elliott, "Estimates of error rates for codes on
    burst-noise channels", 1963.  Stationary P(bad) = p / (p + r); with loss 0 and 1, bursts are geometric, mean 1/r.
    """

    kind: ClassVar[str] = "gilbert_elliott"
    summary: ClassVar[str] = "bursts of loss: good and bad states"
    Config: ClassVar[type[RuleConfig]] = GilbertElliottConfig

    def __init__(self, config: GilbertElliottConfig, rng: np.random.Generator) -> None:
        assert config.p is not None
        assert config.r is not None
        self._uniforms = uniforms(rng)
        self._leave = (config.p, config.r)
        self._loss = (config.loss_good, config.loss_bad)
        self._bad = next(self._uniforms) < config.p / (config.p + config.r)

    @classmethod
    def build(cls, config: GilbertElliottConfig, site: RuleSite) -> Judged:
        """The rule: by message, or in time."""
        return cls(config, site.rng) if config.p is not None else GilbertElliottInTime(config, site.rng)

    def judge(self, t_us: int, size_bytes: int) -> int:  # noqa: ARG002 - the chain knows neither
        """0 or LOST; then the state changes."""
        bad = self._bad
        if next(self._uniforms) < self._leave[bad]:
            self._bad = not bad
        return _LOST if next(self._uniforms) < self._loss[bad] else 0


class GilbertElliottInTime(Judged):
    """The same chain in continuous time, drawn exactly at the times of the messages.

    P(bad at t + d | state) = s + (now bad - s) exp(-d / T) with s = bad / (good + bad), 1/T = 1/good + 1/bad.
    """

    ordered = True

    def __init__(self, config: GilbertElliottConfig, rng: np.random.Generator) -> None:
        good_s, bad_s = config.mean_good_s, config.mean_bad_s
        assert good_s is not None
        assert bad_s is not None
        self._uniforms = uniforms(rng)
        self._stationary = bad_s / (good_s + bad_s)
        self._memory_us = MICROSECONDS / (1 / good_s + 1 / bad_s)
        self._loss = (config.loss_good, config.loss_bad)
        self._bad = next(self._uniforms) < self._stationary
        self._at_us = 0

    def judge(self, t_us: int, size_bytes: int) -> int:  # noqa: ARG002 - size plays no part
        """0 or LOST, in the state at `t_us`."""
        kept = exp(-(t_us - self._at_us) / self._memory_us)
        self._at_us = t_us
        bad = self._bad = next(self._uniforms) < self._stationary + (self._bad - self._stationary) * kept
        return _LOST if next(self._uniforms) < self._loss[bad] else 0


class DuplicationConfig(RuleConfig):
    """Options of `duplication`: the copy goes on `extra_delay_ms` after the original."""

    kind: str = "duplication"
    probability: float = Field(ge=0, le=1, description="Chance that a message is sent twice, 0 to 1.")
    extra_delay_ms: float = Field(0.0, ge=0, description="How long after the original the copy goes on.")


class Duplication(Forking):
    """A copy now and then; the rules that follow judge each on its own."""

    kind: ClassVar[str] = "duplication"
    summary: ClassVar[str] = "a message is sent twice with a probability"
    Config: ClassVar[type[RuleConfig]] = DuplicationConfig

    def __init__(self, probability: float, extra_us: int, rng: np.random.Generator) -> None:
        self._probability, self._extra_us, self._uniforms = probability, extra_us, uniforms(rng)
        self.reorders = extra_us > 0

    @classmethod
    def build(cls, config: DuplicationConfig, site: RuleSite) -> Duplication:
        """The rule."""
        return cls(config.probability, int(config.extra_delay_ms * 1000 + 0.5), site.rng)

    def fork(self, payload: Any) -> Sequence[tuple[int, Any]] | None:
        """The message and its copy, or nothing new."""
        if next(self._uniforms) >= self._probability:
            return None
        return (0, payload), (self._extra_us, payload)


class CorruptionConfig(RuleConfig):
    """Options of `corruption`: the receiver's checksum discards the message, unless `deliver`."""

    kind: str = "corruption"
    probability: float = Field(ge=0, le=1, description="Chance that a message is damaged, 0 to 1.")
    deliver: bool = Field(False, description="Hand the damaged message to the receiver, marked as invalid, instead of "
                                             "discarding it (as a checksum would).")


class Corruption(Forking):
    """Damage that no checksum finds: the receiver is handed a `Corrupted` payload."""

    kind: ClassVar[str] = "corruption"
    summary: ClassVar[str] = "a message is damaged with a probability: discarded, or delivered as invalid"
    Config: ClassVar[type[RuleConfig]] = CorruptionConfig

    def __init__(self, probability: float, rng: np.random.Generator) -> None:
        self._probability, self._uniforms = probability, uniforms(rng)

    @classmethod
    def build(cls, config: CorruptionConfig, site: RuleSite) -> Rule:
        """The rule; with a checksum it is a loss under another name."""
        if config.deliver:
            return cls(config.probability, site.rng)
        return Loss(config.probability, site.rng, Fate.CORRUPTED)

    def fork(self, payload: Any) -> Sequence[tuple[int, Any]] | None:
        """The damaged message, or nothing new."""
        return ((0, corrupted(payload)),) if next(self._uniforms) < self._probability else None
