"""The microgrid rule: sun and battery first, then what is cheaper; and the curve that reads some of what is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cosim.agents.policies import Droop
from cosim.agents.policies_dispatch import DispatchRule, DispatchRuleConfig
from cosim.errors import PluginError

NAN = float("nan")
SEEN = ("load.p_kw", "sun.p_kw", "battery.soc", "price.value")
ACTED = ("battery.p_set_kw", "engine.p_set_kw", "engine.on")
OPTIONS: dict[str, Any] = {
    "own": ("load.p_kw", "sun.p_kw"), "soc": "battery.soc", "price": "price.value", "battery": "battery.p_set_kw",
    "genset": "engine.p_set_kw", "genset_on": "engine.on", "e_rated_kwh": 400.0, "soc_min": 0.1,
    "genset_min_kw": 40.0, "genset_cost_per_kwh": 0.1, "genset_cost_per_h": 5.0}


def rule(**options: Any) -> DispatchRule:
    """A rule for a battery of 100 kW and an engine of 80 kW."""
    situation = SimpleNamespace(observed=SEEN, actuated=ACTED, low=np.array([-100.0, 0.0, 0.0]),
                                high=np.array([100.0, 80.0, 1.0]))
    return DispatchRule.build(DispatchRuleConfig(**{**OPTIONS, **options}), situation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("load", "sun", "soc", "price", "expected"), [
    (-30, 90, 0.5, 0.5, [-60, 0, 0]),        # the sun's rest is stored
    (-30, 330, 0.5, 0.5, [-100, 0, 0]),      # as much as the battery takes
    (-60, 10, 0.5, 0.5, [50, 0, 0]),         # the battery serves what is missing
    (-160, 0, 0.5, 0.5, [100, 60, 1]),       # then the engine, where it is cheaper than the grid
    (-160, 0, 0.5, 0.12, [100, 0, 0]),       # 60 kW from it would cost 11, from the grid 7.2
    (-250, 0, 0.5, 0.5, [100, 80, 1]),       # as much as it gives
    (-120, 0, 0.5, 0.5, [100, 0, 0]),        # 20 kW are too little for it
    (-60, 0, 0.12, 0.0, [30.4, 0, 0]),       # 0.02 of 400 kWh, times 0.95, in a quarter of an hour
    (-60, 0, 0.05, 0.5, [0, 60, 1]),         # an empty battery gives nothing
])
def test_first_come_first_served(load: float, sun: float, soc: float, price: float, expected: list[float]) -> None:
    """Battery, engine and its switch, for what is seen."""
    np.testing.assert_allclose(rule().act(np.array([load, sun, soc, price]), 0), expected, atol=1e-9)


def test_where_nothing_is_seen_nothing_is_changed() -> None:
    """A missing value leaves every setpoint alone."""
    assert np.isnan(rule().act(np.array([NAN, 1.0, 0.5, 0.2]), 0)).all()


def test_it_works_without_an_engine() -> None:
    """What the rule does not know of stays as it is."""
    answer = rule(genset=None, genset_on=None).act(np.array([-160.0, 0.0, 0.5, 0.5]), 0)
    assert answer[0] == 100.0
    assert np.isnan(answer[1:]).all()


def test_an_unknown_point_is_named() -> None:
    """The message says which option, what it says, and what is seen."""
    with pytest.raises(PluginError, match=r"`soc` is 'soc'; expected one of: load\.p_kw, sun\.p_kw, battery\.soc"):
        rule(soc="soc")


def test_a_curve_reads_what_it_is_told_to() -> None:
    """`reads` picks points out of what the agent sees; one that it does not see is refused."""
    situation: Any = SimpleNamespace(observed=SEEN, actuated=ACTED[:1], low=np.array([-100.0]), high=np.array([100.0]))
    config = Droop.Config(reads=("price.value",), curve=((0.1, -1.0), (0.3, 1.0)))
    assert list(Droop.build(config, situation).act(np.array([9.0, 9.0, 9.0, 0.25]), 0)) == pytest.approx([50.0])
    with pytest.raises(PluginError, match=r"`reads` has 'soc'; expected one of: load\.p_kw"):
        Droop.build(Droop.Config(reads=("soc",)), situation)
    with pytest.raises(PluginError, match="observes 4 points and actuates 1"):
        Droop.build(Droop.Config(), situation)
