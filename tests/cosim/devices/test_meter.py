"""Revenue meters: netting, prices, and what the counters say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosim.devices.meter import Meter, MeterConfig
from cosim.errors import PluginError, ScenarioError
from cosim.scenario.loader import load_text
from cosim.simulation.build import build

from .fake_site import HOUR, FakeSite, measured

PRICE = {"file": "price.csv", "column": "price"}
DEVICES = ("roof", "house", "shop")


def meter(*configs: dict[str, object], price: float = 0.2) -> Meter:
    """A group that has been told of three devices; the price doubles after an hour."""
    group = Meter.build([MeterConfig(name=f"m{i}", **options) for i, options in enumerate(configs)],  # type: ignore[arg-type]
                        FakeSite(3600.0, price=lambda t_s: price * (2 if t_s >= 3600 else 1)))
    group.watch(DEVICES)
    group.advance(0)
    return group


def test_neighbours_are_netted_before_anything_is_bought() -> None:
    """One feeds in 5 kW, one takes 3: the contract over both sells 2, the one over each buys 3 and sells 5."""
    group = meter({"of": ["roof", "house"], "buy": PRICE, "sell_add_per_kwh": 0.1},
                  {"of": ["house"], "buy": PRICE}, {"of": ["ro*"], "sell_add_per_kwh": 0.1})
    group.read(np.array([5.0, -3.0, -7.0]))
    assert measured(group)["p_kw"].tolist() == [2.0, -3.0, 5.0]
    group.advance(HOUR)
    shown = measured(group)
    np.testing.assert_allclose(shown["cost"], [-0.2, 0.6, -0.5])
    np.testing.assert_allclose(shown["e_kwh_import"], [0, 3, 0])
    np.testing.assert_allclose(shown["e_kwh_export"], [2, 0, 5])


def test_a_price_holds_until_the_next_solve() -> None:
    """An hour at the first price, then half an hour at the second; a constant part comes on top of a profile."""
    group = meter({"of": ["shop"], "buy": PRICE, "buy_add_per_kwh": 0.1})
    group.read(np.array([0.0, 0.0, -10.0]))
    group.advance(HOUR)
    assert measured(group)["price_buy"].tolist() == [0.5]
    assert measured(group)["cost_per_h"].tolist() == [5.0]
    group.advance(HOUR + HOUR // 2)
    np.testing.assert_allclose(measured(group)["cost"], [10 * 0.3 + 5 * 0.5])


def test_a_pattern_without_a_device_is_refused() -> None:
    """The message names the meter, the pattern and what there is; in a scenario it stops the build."""
    group = Meter.build([MeterConfig(name="m", of=("batt*",))], FakeSite())
    words = r"device 'm': `of` has 'batt\*', which matches no device; known: roof, house"
    with pytest.raises(PluginError, match=words):
        group.watch(DEVICES)
    text = """
name: metered
duration_s: 60
grid: {network: case33bw}
devices: [{kind: meter, name: m, of: ["batt*"]}]
"""
    with pytest.raises(ScenarioError, match=r"'batt\*', which matches no device"):
        build(load_text(text, path=Path("metered.yaml")))


def test_a_run_is_metered() -> None:
    """In a run the meter shows what its devices inject now, and counts it: 60 kW for 60 s cost 1 kWh's price."""
    text = """
name: metered
duration_s: 60
grid: {network: case33bw}
devices:
  - {kind: meter, name: m, of: [works], buy_add_per_kwh: 0.3}
  - {kind: load, name: works, bus: "2", p_kw: 60}
"""
    simulation = build(load_text(text, path=Path("metered.yaml")))
    simulation.advance_to(simulation.end_us)
    points = simulation.points
    assert points.values[points.id_of("m.p_kw")] == -60.0
    assert points.values[points.id_of("m.cost")] == pytest.approx(0.3)
    assert points.values[points.id_of("m.e_kwh_import")] == pytest.approx(1.0)
