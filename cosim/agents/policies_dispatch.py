"""Rule-based dispatch of a microgrid: what a plain energy management system does without forecast or learning.

First come, first served: what the microgrid's own sun and load leave over goes into the battery; a deficit is taken
from the battery while it lasts, then from the generating set where that is cheaper than buying, then bought.  The rule
sees no price but the present one, keeps no energy for later, and knows nothing of its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from cosim.errors import PluginError
from cosim.plugins import PluginConfig, Situation
from cosim.points import Vector

NAN = float("nan")


class DispatchRuleConfig(PluginConfig):
    """Options of `dispatch_rule`: which points mean what, and what the devices are."""

    kind: Literal["dispatch_rule"] = "dispatch_rule"
    own: tuple[str, ...] = Field(min_length=1, max_length=10_000, description=(
        "Observed powers that it serves, kW into the grid: its loads and its sun."))
    soc: str = Field(description="Observed state of charge of its battery.")
    price: str = Field(description="Observed price of what is bought now.")
    battery: str = Field(description="Actuated power of the battery.")
    e_rated_kwh: float = Field(gt=0, description="Energy content of the battery.")
    soc_min: float = Field(0.1, ge=0, le=1, description="State of charge down to which it discharges.")
    eta_discharge: float = Field(0.95, gt=0, le=1, description="Energy fed in per energy taken from the battery.")
    genset: str | None = Field(None, description="Actuated power of the generating set (default: there is none).")
    genset_on: str | None = Field(None, description="Actuated switch of the generating set.")
    genset_min_kw: float = Field(0.0, ge=0, description="Least power of the generating set: for less it is not run.")
    genset_cost_per_kwh: float = Field(0.0, ge=0, description="What a kWh of the generating set costs.")
    genset_cost_per_h: float = Field(0.0, ge=0, description="What it costs per hour besides: it runs while buying the "
                                                            "same would cost more than both.")
    hold_s: float = Field(900.0, gt=0, description="How long a decision holds: no more is taken from the battery than "
                                                   "it can give for so long.")


class _Places(NamedTuple):
    """Where what is named stands: `own`, `soc` and `price` in the observation, the others in the answer (or -1)."""

    own: tuple[int, ...]
    soc: int
    price: int
    battery: int
    genset: int
    genset_on: int


class DispatchRule:
    """Self-consumption first, then the cheaper of generating set and grid."""

    family: ClassVar[str] = "policy"
    kind: ClassVar[str] = "dispatch_rule"
    summary: ClassVar[str] = "microgrid rule: battery first, then generating set or grid, whichever is cheaper"

    Config = DispatchRuleConfig

    def __init__(self, config: DispatchRuleConfig, places: _Places, high: Vector) -> None:
        self._config, self._places, self._n = config, places, len(high)
        self._battery_kw = float(high[places.battery])
        self._genset_kw = float(high[places.genset]) if places.genset >= 0 else 0.0

    @classmethod
    def build(cls, config: DispatchRuleConfig, situation: Situation) -> Self:
        """The policy of one agent."""
        seen, acted = situation.observed, situation.actuated
        return cls(config, _Places(
            tuple(_find("own", name, seen) for name in config.own), _find("soc", config.soc, seen),
            _find("price", config.price, seen), _find("battery", config.battery, acted),
            _find("genset", config.genset, acted), _find("genset_on", config.genset_on, acted)), situation.high)

    def act(self, observation: Vector, t_us: int) -> Sequence[float]:  # noqa: ARG002  # the Policy interface
        """Setpoints; NaN (left alone) for what the rule has nothing to do with, and for all where it sees nothing."""
        at, config = self._places, self._config
        answer = [NAN] * self._n
        surplus_kw = float(sum(observation[i] for i in at.own))
        soc, price = float(observation[at.soc]), float(observation[at.price])
        if surplus_kw + soc + price != surplus_kw + soc + price:
            return answer
        stored_kw = max(soc - config.soc_min, 0.0) * config.e_rated_kwh * config.eta_discharge * 3600 / config.hold_s
        battery_kw = -min(surplus_kw, self._battery_kw) if surplus_kw > 0 else min(
            -surplus_kw, self._battery_kw, stored_kw)
        answer[at.battery] = battery_kw
        missing_kw = -surplus_kw - battery_kw if surplus_kw < 0 else 0.0
        genset_kw = min(missing_kw, self._genset_kw)
        runs = genset_kw >= max(config.genset_min_kw, 1e-9) and (
            price - config.genset_cost_per_kwh) * genset_kw > config.genset_cost_per_h
        if at.genset >= 0:
            answer[at.genset] = genset_kw if runs else 0.0
        if at.genset_on >= 0:
            answer[at.genset_on] = 1.0 if runs else 0.0
        return answer


def _find(option: str, name: str | None, names: Sequence[str]) -> int:
    """Place of a named point, -1 for None; raises PluginError that lists what there is."""
    if name is None:
        return -1
    if name not in names:
        raise PluginError(f"policy dispatch_rule: `{option}` is '{name}'; expected one of: {', '.join(names)}")
    return list(names).index(name)
