"""The terms that rewards and costs are made of.

Every term is a sum over points of a function of their values.  Points of all terms of a kind stand side by side in one
vector; a term is a segment of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from cosim.plugins.terms import TermConfig, TermSite, TermView
from cosim.points import Ids, Vector, span
from cosim.profile_ref import ProfileRef

Shape = Literal["linear", "square", "count"]
Shaped = Callable[[Vector], Vector]


class _Segments:
    """Points of several terms side by side; `sum` adds up each term's part of a vector over all of them."""

    def __init__(self, patterns: Sequence[Sequence[str]], site: TermSite) -> None:
        found = [site.ids(each) for each in patterns]
        self.ids: Ids = np.concatenate(found)
        self._at = span(self.ids)
        lengths = [len(ids) for ids in found]
        self.starts = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
        self.lengths = np.array(lengths)
        self._single = len(lengths) == len(self.ids)
        self._gaps = False
        """Whether a value was NaN the last time: who looks for them first then works out no sum in vain."""

    def spread(self, values: Sequence[float]) -> Vector:
        """One value a term, repeated for its points."""
        return np.repeat(np.array(values, float), self.lengths)

    def of(self, view: TermView) -> Vector:
        """The points' values (n_point,), not to be written into."""
        return view.values[self._at]

    def sum(self, values: Vector) -> Vector:
        """Sums of terms (n_term,); what is NaN (no such value now) adds nothing."""
        total = values
        if not self._gaps:
            total = values if self._single else np.add.reduceat(values, self.starts)
            self._gaps = not isfinite(total.dot(total))  # finite only where nothing was NaN
        if self._gaps:
            missing = np.isnan(values)
            n_missing = np.count_nonzero(missing)
            self._gaps = bool(n_missing)
            if n_missing == len(values):  # branches without ratings
                return np.zeros(len(self.lengths))
            known: Vector = np.where(missing, 0.0, values)
            total = known if self._single else np.add.reduceat(known, self.starts)
        return total


def _shapes(kinds: Sequence[Shape], segments: _Segments) -> Shaped:
    """The function of an excess (n_point,), ≥ 0: itself, its square, or whether there is one."""
    each = np.repeat(np.array([("linear", "square", "count").index(kind) for kind in kinds]), segments.lengths)
    if not each.any():
        return lambda excess: excess
    return lambda excess: np.select([each == 0, each == 1], [excess, excess * excess], (excess > 0).astype(float))


class _Kind:
    """What the kinds here have in common; a subclass has a Config, and takes all terms of its kind at once."""

    family: ClassVar[str] = "term"
    impulse: ClassVar[bool] = False

    def __init__(self, configs: Sequence[Any], site: TermSite) -> None:
        self._segments = _Segments([config.points for config in configs], site)

    @classmethod
    def build(cls, configs: Sequence[Any], site: TermSite) -> Self:
        """All terms of this kind."""
        return cls(configs, site)


class _MeanConfig(TermConfig):
    """Options of terms that may be means."""

    mean: bool = Field(False, description="Divide by the number of points.")


class _ExcessConfig(_MeanConfig):
    """Options of terms that are an excess over a bound."""

    shape: Shape = Field("linear", description="Of the excess: itself, its square, or 1 where there is one.")


class Sum(_Kind):
    """The sum of some points, or of their absolute values or squares."""

    kind: ClassVar[str] = "sum"
    summary: ClassVar[str] = "the sum of points: losses, unserved power, the shield's distance, anything published"

    class Config(_MeanConfig):
        """Options of `sum`."""

        kind: Literal["sum"] = "sum"
        points: tuple[str, ...] = Field(min_length=1, description="Points and patterns.")
        of: Literal["value", "absolute", "square", "positive", "negative"] = Field("value", description=(
            "What is added up: the values, their absolute values, their squares, their positive parts, or the "
            "absolute values of their negative parts."))

    def __init__(self, configs: Sequence[Config], site: TermSite) -> None:
        super().__init__(configs, site)
        n = self._segments.lengths
        self._share = _shares([config.mean for config in configs], self._segments)
        self._of = np.repeat(np.array([("value", "absolute", "square", "positive", "negative").index(config.of)
                                       for config in configs]), n)
        self._differ = bool(self._of.any())

    def rates(self, view: TermView) -> Vector:
        """Sums (n,)."""
        x = self._segments.of(view)
        if self._differ:
            x = np.select([self._of == k for k in range(4)], [x, np.abs(x), x * x, np.maximum(x, 0.0)],
                          np.maximum(-x, 0.0))
        total: Vector = self._segments.sum(x) * self._share
        return total


class Band(_Kind):
    """How far points are outside a band."""

    kind: ClassVar[str] = "band"
    summary: ClassVar[str] = "how far points are outside a band: voltages, states of charge, exchanges"

    class Config(_ExcessConfig):
        """Options of `band`."""

        kind: Literal["band"] = "band"
        points: tuple[str, ...] = Field(min_length=1, description="Points and patterns.")
        low: float | None = Field(None, description="Lower end (none: open).")
        high: float | None = Field(None, description="Upper end (none: open).")

        @model_validator(mode="after")
        def _an_end(self) -> Self:
            if self.low is None and self.high is None:
                raise ValueError("needs `low`, `high` or both")
            if self.low is not None and self.high is not None and self.low > self.high:
                raise ValueError(f"low {self.low} must not exceed high {self.high}")
            return self

    def __init__(self, configs: Sequence[Any], site: TermSite) -> None:
        super().__init__(configs, site)
        segments = self._segments
        bounds = [self._bounds(config, site) for config in configs]
        self._low = segments.spread([-np.inf if low is None else low for low, _ in bounds])
        self._has_low = any(low is not None for low, _ in bounds)
        self._high = segments.spread([np.inf if high is None else high for _, high in bounds])
        self._shaped = _shapes([config.shape for config in configs], segments)
        self._share = _shares([config.mean for config in configs], segments)

    @staticmethod
    def _bounds(config: Any, site: TermSite) -> tuple[float | None, float | None]:  # noqa: ARG004  # others read it
        """Lower and upper end of one term (None: open)."""
        return config.low, config.high

    def rates(self, view: TermView) -> Vector:
        """Excess (n,), in the points' unit (or its square, or a number of points)."""
        x = self._segments.of(view)
        away = x - self._high
        if self._has_low:
            np.maximum(self._low - x, away, out=away)
        excess = np.maximum(away, 0.0, out=away)
        return self._segments.sum(self._shaped(excess)) * self._share


class Voltage(Band):
    """How far bus voltages are outside the scenario's limits."""

    kind: ClassVar[str] = "voltage"
    summary: ClassVar[str] = "how far bus voltages are outside the limits, pu"

    class Config(_ExcessConfig):
        """Options of `voltage`."""

        kind: Literal["voltage"] = "voltage"
        points: tuple[str, ...] = Field(("bus.*.v_pu",), min_length=1, description="Voltages: points and patterns.")
        low: float | None = Field(None, description="Lower limit, pu (default: limits.v_min_pu).")
        high: float | None = Field(None, description="Upper limit, pu (default: limits.v_max_pu).")

    @staticmethod
    def _bounds(config: Any, site: TermSite) -> tuple[float | None, float | None]:
        return (site.v_min_pu if config.low is None else config.low,
                site.v_max_pu if config.high is None else config.high)


class Overload(Band):
    """How far branch loadings are above the scenario's limit."""

    kind: ClassVar[str] = "overload"
    summary: ClassVar[str] = "how far branch loadings are above the limit, 1.0 = rating"

    class Config(_ExcessConfig):
        """Options of `overload`."""

        kind: Literal["overload"] = "overload"
        points: tuple[str, ...] = Field(("*.loading",), min_length=1, description="Loadings: points and patterns.")
        limit: float | None = Field(None, description="Limit (default: limits.loading_max).")

    @staticmethod
    def _bounds(config: Any, site: TermSite) -> tuple[float | None, float | None]:
        return None, site.loading_max if config.limit is None else config.limit


class Deviation(_Kind):
    """How far points are from a target."""

    kind: ClassVar[str] = "deviation"
    summary: ClassVar[str] = "how far points are from a target value, or from another point"

    class Config(_MeanConfig):
        """Options of `deviation`."""

        kind: Literal["deviation"] = "deviation"
        points: tuple[str, ...] = Field(min_length=1, description="Points and patterns.")
        target: float | str = Field(description="A value, or the name of a point.")
        of: Literal["absolute", "square"] = Field("absolute", description="What is added up.")

    def __init__(self, configs: Sequence[Config], site: TermSite) -> None:
        super().__init__(configs, site)
        n = self._segments.lengths
        self._constant = self._segments.spread([0.0 if isinstance(c.target, str) else c.target for c in configs])
        self._moving = np.repeat(np.array([isinstance(c.target, str) for c in configs]), n)
        aim = [site.ids([c.target])[0] if isinstance(c.target, str) else 0 for c in configs]
        self._aim = np.repeat(np.array(aim, np.int64), n)
        self._square = np.repeat(np.array([c.of == "square" for c in configs]), n)
        self._share = _shares([config.mean for config in configs], self._segments)

    def rates(self, view: TermView) -> Vector:
        """Deviations (n,), in the points' unit or its square."""
        target = np.where(self._moving, view.values[self._aim], self._constant)
        away = np.abs(self._segments.of(view) - target)
        return self._segments.sum(np.where(self._square, away * away, away)) * self._share


class EnergyCost(_Kind):
    """What energy costs, bought and sold at different prices."""

    kind: ClassVar[str] = "energy_cost"
    summary: ClassVar[str] = "energy bought and sold at two prices, a profile or a number each (per: h)"

    class Config(TermConfig):
        """Options of `energy_cost`.  With `per: h` and prices per kWh the term is money per hour."""

        kind: Literal["energy_cost"] = "energy_cost"
        points: tuple[str, ...] = Field(("grid.slack_p_kw",), min_length=1, description=(
            "Powers whose sum is bought where positive (the external grid's import), kW."))
        negate: bool = Field(False, description="Bought where the sum is negative (the injection of a customer).")
        buy: float | ProfileRef = Field(description="Price of a kWh bought.")
        sell: float | ProfileRef | None = Field(None, description="Price of a kWh sold (default: as bought).")

    def __init__(self, configs: Sequence[Config], site: TermSite) -> None:
        super().__init__(configs, site)
        self._sign = np.array([-1.0 if config.negate else 1.0 for config in configs])
        self._buy = _prices([config.buy for config in configs], site)
        self._sell = _prices([config.buy if config.sell is None else config.sell for config in configs], site)

    def rates(self, view: TermView) -> Vector:
        """Money per hour (n,): positive is spent."""
        p_kw = self._segments.sum(self._segments.of(view)) * self._sign
        spent: Vector = np.where(p_kw > 0, self._buy(view.t_us), self._sell(view.t_us)) * p_kw
        return spent


class Change(_Kind):
    """How much points moved at a publish: operations, steps, wear."""

    kind: ClassVar[str] = "change"
    summary: ClassVar[str] = "how much points move: switching operations, tap steps, jumps of setpoints"
    impulse: ClassVar[bool] = True

    class Config(TermConfig):
        """Options of `change`: an amount each time, so `per` has no meaning."""

        kind: Literal["change"] = "change"
        points: tuple[str, ...] = Field(min_length=1, description="Points and patterns.")
        of: Literal["absolute", "count"] = Field("absolute", description="How far, or how many moved.")

    def __init__(self, configs: Sequence[Config], site: TermSite) -> None:
        super().__init__(configs, site)
        self._count = np.repeat(np.array([config.of == "count" for config in configs]), self._segments.lengths)
        self._last: Vector | None = None

    def rates(self, view: TermView) -> Vector:
        """Amounts of this publish (n,); a point that had no value has not moved."""
        now = view.values[self._segments.ids]
        last, self._last = now if self._last is None else self._last, now
        moved = np.abs(now - last)
        return self._segments.sum(np.where(self._count, (moved > 0).astype(float), moved))


class Intervention(_Kind):
    """How far the shield holds setpoints from what was asked."""

    kind: ClassVar[str] = "intervention"
    summary: ClassVar[str] = "how far setpoints in force are from what was asked (the shield's work), 1.0 = range"

    class Config(TermConfig):
        """Options of `intervention`."""

        kind: Literal["intervention"] = "intervention"
        points: tuple[str, ...] = Field(min_length=1, description="Output points and patterns.")

    def __init__(self, configs: Sequence[Config], site: TermSite) -> None:
        super().__init__(configs, site)
        self._slots = site.slots(self._segments.ids)
        span = site.range_of(self._segments.ids)
        self._gain = np.where(np.isfinite(span) & (span > 0), 1.0 / np.where(span > 0, span, 1.0), 1.0)

    def rates(self, view: TermView) -> Vector:
        """Sums of distances (n,), each in the range of its setpoint."""
        away = np.abs(self._segments.of(view) - view.asked[self._slots])
        return self._segments.sum(away * self._gain)


def _shares(mean: Sequence[bool], segments: _Segments) -> Vector:
    return np.where(mean, 1.0 / np.maximum(segments.lengths, 1), 1.0)


def _prices(prices: Sequence[float | ProfileRef], site: TermSite) -> Callable[[int], Vector]:
    """A sampler t_us -> (n,): numbers stand still."""
    constant = np.array([price if isinstance(price, float | int) else 1.0 for price in prices])
    refs = [None if isinstance(price, float | int) else price for price in prices]
    if not any(refs):
        return lambda _: constant
    sample = site.profile(refs)
    return lambda t_us: constant * sample(t_us)
