"""Latency: a delay drawn for every message on its own."""

from __future__ import annotations

import csv
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cosim.channel.rule import Drawn, RuleConfig, RuleSite, Verdicts, whole_delays_us
from cosim.errors import PluginError

Milliseconds = NDArray[np.float64]
Sampler = Callable[[int], Milliseconds]

#: Longest trace accepted.
TRACE_MAX = 10_000_000
#: The mean may lie at most so many standard deviations under `min_ms`: beyond, almost every draw would be redrawn.
TAIL_STDS = 2.5


class Distribution(Enum):
    """Laws of the delay."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    NORMAL = "normal"
    LOGNORMAL = "lognormal"
    GAMMA = "gamma"
    TRACE = "trace"


class Order(Enum):
    """How a trace is read."""

    RANDOM = "random"
    """Each delay drawn on its own from the values."""
    SEQUENCE = "sequence"
    """One after the other."""


#: Options of each law: every one of the first, exactly one of the second (if any), any of the third.
_OPTIONS: dict[Distribution, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    Distribution.CONSTANT: (("delay_ms",), (), ()),
    Distribution.UNIFORM: (("low_ms", "high_ms"), (), ()),
    Distribution.NORMAL: (("mean_ms", "std_ms"), (), ("min_ms",)),
    Distribution.LOGNORMAL: (("sigma",), ("mean_ms", "median_ms"), ()),
    Distribution.GAMMA: (("shape",), ("mean_ms", "scale_ms"), ()),
    Distribution.TRACE: ((), ("file", "values_ms"), ("order", "cycle")),
}


class LatencyConfig(RuleConfig):
    """Options of `latency`; each distribution takes its own (an option of another one is an error).

    constant: delay_ms · uniform: low_ms, high_ms · normal: mean_ms, std_ms, truncated below min_ms (0) ·
    lognormal: sigma and mean_ms or median_ms · gamma: shape and mean_ms or scale_ms ·
    trace: file (CSV, one column of milliseconds, a heading allowed) or values_ms; order random or sequence, and
    with ``cycle: false`` a sequence ends in its last value.
    """

    kind: str = "latency"
    distribution: Distribution = Field(description="Law of the delay; each takes options of its own.")
    delay_ms: float | None = Field(None, ge=0, description="Delay (constant).")
    low_ms: float | None = Field(None, ge=0, description="Shortest delay (uniform).")
    high_ms: float | None = Field(None, ge=0, description="Longest delay (uniform).")
    mean_ms: float | None = Field(None, ge=0, description="Mean delay (normal; lognormal or gamma).")
    median_ms: float | None = Field(None, gt=0, description="Median delay (lognormal, instead of `mean_ms`).")
    std_ms: float | None = Field(None, gt=0, description="Standard deviation (normal).")
    min_ms: float | None = Field(None, ge=0, description="Shortest delay: drawn again below it (normal; default 0).")
    sigma: float | None = Field(None, gt=0, le=10, description="Standard deviation of ln(delay) (lognormal).")
    shape: float | None = Field(None, gt=0, description="Shape, often called k (gamma).")
    scale_ms: float | None = Field(None, gt=0, description="Scale, often called theta (gamma, instead of `mean_ms`).")
    file: Path | None = Field(None, description="CSV of delays in ms (trace), relative to the scenario file.")
    values_ms: tuple[float, ...] | None = Field(None, description="Delays in a list (trace, not `file`).")
    order: Order | None = Field(None, description="`random` (default): each drawn on its own; `sequence`: one by one "
                                                   "(trace).")
    cycle: bool | None = Field(None, description="Whether a sequence begins again at its end (default) or stays there.")

    @model_validator(mode="after")
    def _fits(self) -> LatencyConfig:
        needed, one_of, optional = _OPTIONS[self.distribution]
        given = [name for name in type(self).model_fields
                 if name not in ("kind", "distribution") and getattr(self, name) is not None]
        accepted = _accepted(self.distribution)
        foreign = [name for name in given if name not in (*needed, *one_of, *optional)]
        if foreign:
            raise ValueError(f"{', '.join(foreign)} does not belong to {accepted}")
        missing = [name for name in needed if name not in given]
        if missing:
            raise ValueError(f"{', '.join(missing)} missing: {accepted}")
        if one_of and sum(name in given for name in one_of) != 1:
            raise ValueError(f"give exactly one of {' and '.join(one_of)}: {accepted}")
        self._check_values()
        return self

    def _check_values(self) -> None:
        if self.low_ms is not None and self.high_ms is not None and self.high_ms < self.low_ms:
            raise ValueError(f"high_ms {self.high_ms:g} is below low_ms {self.low_ms:g}")
        if self.mean_ms == 0 and self.distribution in (Distribution.LOGNORMAL, Distribution.GAMMA):
            raise ValueError("mean_ms 0: expected more than 0")
        if self.distribution is Distribution.NORMAL:
            assert self.mean_ms is not None
            assert self.std_ms is not None
            floor_ms = self.min_ms or 0.0
            if floor_ms > self.mean_ms + TAIL_STDS * self.std_ms:
                raise ValueError(f"min_ms {floor_ms:g} cuts off nearly everything: expected at most mean_ms + "
                                 f"{TAIL_STDS:g} std_ms = {self.mean_ms + TAIL_STDS * self.std_ms:g}")
        if self.values_ms is not None and (not 1 <= len(self.values_ms) <= TRACE_MAX or min(self.values_ms) < 0):
            raise ValueError(f"values_ms: expected 1 to {TRACE_MAX} values, each zero or more")
        if self.cycle is not None and self.order is not Order.SEQUENCE:
            raise ValueError("cycle belongs to order: sequence (values drawn at random have no end)")


def _accepted(distribution: Distribution) -> str:
    needed, one_of, optional = _OPTIONS[distribution]
    words = [*needed, *([" or ".join(one_of)] if one_of else []), *(f"[{name}]" for name in optional)]
    return f"distribution {distribution.value}, which takes {', '.join(words)}"


class Latency(Drawn):
    """A delay drawn for every message on its own."""

    kind: ClassVar[str] = "latency"
    summary: ClassVar[str] = "delay: constant, uniform, normal, lognormal, gamma or from a trace"
    Config: ClassVar[type[RuleConfig]] = LatencyConfig

    def __init__(self, sample: Sampler, *, reorders: bool) -> None:
        self._sample, self.reorders = sample, reorders

    @classmethod
    def build(cls, config: LatencyConfig, site: RuleSite) -> Latency:
        """The rule; raises PluginError for a trace that cannot be read."""
        return cls(_SAMPLERS[config.distribution](config, site),
                   reorders=config.distribution is not Distribution.CONSTANT)

    def draw(self, n: int) -> Verdicts:
        """The next `n` delays in microseconds, shape (n,)."""
        return whole_delays_us(self._sample(n))


def _constant(config: Any, _: RuleSite) -> Sampler:
    return lambda n: np.full(n, config.delay_ms, np.float64)


def _uniform(config: Any, site: RuleSite) -> Sampler:
    return lambda n: site.rng.uniform(config.low_ms, config.high_ms, n)


def _normal(config: Any, site: RuleSite) -> Sampler:
    floor_ms = config.min_ms or 0.0

    def sample(n: int) -> Milliseconds:
        # Truncated by redrawing: the law is the normal one given that it is at least floor_ms (no mass piles up there).
        delay_ms = site.rng.normal(config.mean_ms, config.std_ms, n)
        while (low := np.flatnonzero(delay_ms < floor_ms)).size:
            delay_ms[low] = site.rng.normal(config.mean_ms, config.std_ms, low.size)
        return delay_ms

    return sample


def _lognormal(config: Any, site: RuleSite) -> Sampler:
    # The mean of exp(N(mu, sigma^2)) is exp(mu + sigma^2 / 2), its median exp(mu).
    mu = np.log(config.median_ms) if config.median_ms else np.log(config.mean_ms) - config.sigma**2 / 2
    return lambda n: site.rng.lognormal(mu, config.sigma, n)


def _gamma(config: Any, site: RuleSite) -> Sampler:
    scale_ms = config.scale_ms or config.mean_ms / config.shape
    return lambda n: site.rng.gamma(config.shape, scale_ms, n)


def _trace(config: Any, site: RuleSite) -> Sampler:
    values_ms = np.array(config.values_ms) if config.values_ms else read_trace_ms(site.folder / config.file)
    if config.order is not Order.SEQUENCE:
        return lambda n: site.rng.choice(values_ms, n)
    position = 0

    def sample(n: int) -> Milliseconds:
        nonlocal position
        index = np.arange(position, position + n)
        position += n
        last = len(values_ms) - 1
        return values_ms[np.minimum(index, last) if config.cycle is False else index % (last + 1)]

    return sample


_SAMPLERS: dict[Distribution, Callable[[Any, RuleSite], Sampler]] = {
    Distribution.CONSTANT: _constant,
    Distribution.UNIFORM: _uniform,
    Distribution.NORMAL: _normal,
    Distribution.LOGNORMAL: _lognormal,
    Distribution.GAMMA: _gamma,
    Distribution.TRACE: _trace,
}


def read_trace_ms(file: Path) -> Milliseconds:
    """Delays of a CSV file with one column of milliseconds, shape (n,); a heading in the first line is skipped.

    Raises PluginError naming file, line, what was found and what is expected.
    """
    values: list[float] = []
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                values.extend(_values_of(row, file, number))
                if len(values) > TRACE_MAX:
                    raise PluginError(f"{file}: more than {TRACE_MAX} delays")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PluginError(f"{file}: latency trace cannot be read: {error}") from error
    if not values:
        raise PluginError(f"{file}: latency trace holds no value; expected one column of milliseconds")
    return np.array(values)


def _values_of(row: list[str], file: Path, number: int) -> list[float]:
    cells = [cell.strip() for cell in row if cell.strip()]
    if not cells:
        return []
    found = _number(cells[0])
    if found is None and number == 1 and len(cells) == 1:
        return []  # a heading
    if len(cells) != 1 or found is None or not 0 <= found < np.inf:
        raise PluginError(f"{file}:{number}: found '{','.join(row):.60}'; expected one delay "
                          "in milliseconds, zero or more")
    return [found]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
