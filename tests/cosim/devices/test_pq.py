"""Sources and stores with a region: curtailment, the energy window, and what is recorded of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cosim.devices.pq_source import PQSource, PQSourceConfig
from cosim.devices.pq_store import PQStore, PQStoreConfig
from cosim.plugins import Limit

from .fake_site import HOUR, NAN, SECOND, FakeSite, limited, measured, solve

SOURCE = ((0, -30), (20, -30), (30, -15), (30, 15), (20, 30), (0, 30))
STORE = ((-50, -25), (-30, -50), (30, -50), (50, -25), (50, 25), (30, 50), (-30, 50), (-50, 25))
CAPABILITY, ENERGY = Limit.CAPABILITY.value, Limit.ENERGY.value


def source(offers: float, **options: Any) -> PQSource:
    given = {"bus": "b1", "region": SOURCE, "profile": {"file": "s", "column": "sun"}, "profile_unit": "kw"} | options
    return PQSource.build([PQSourceConfig(name="s", **given)], FakeSite(900.0, sun=lambda _: offers))


def store(soc: float = 0.5, **options: Any) -> PQStore:
    given = {"bus": "b1", "region": STORE, "e_rated_kwh": 100, "soc_start": soc, "soc_min": 0, "soc_max": 1,
             "eta_charge": 0.9, "eta_discharge": 0.9} | options
    return PQStore.build([PQStoreConfig(name="b", **given)], FakeSite(900.0))


def flows(group: Any, **setpoints: float) -> tuple[float, float]:
    injection = solve(group, 0, **setpoints)
    return float(injection.p_kw[0]), float(injection.q_kvar[0])


def test_a_source_feeds_in_what_it_is_offered() -> None:
    """Without a command: all there is, at the default reactive power, cut to the region; pu is per its top."""
    assert flows(source(12.0, q_default_kvar=-3)) == (12.0, -3.0)
    assert flows(source(99.0, q_default_kvar=-3)) == (30.0, -3.0)
    assert flows(source(0.5, profile_unit="pu")) == (15.0, 0.0)
    assert flows(source(0.0, profile=None, profile_unit="pu")) == (30.0, 0.0)


def test_a_source_is_curtailed_and_cut() -> None:
    """A set point is a cap; what lies outside of the region comes to its nearest point."""
    group = source(28.0)
    assert flows(group, p_set_kw=11, q_set_kvar=4) == (11.0, 4.0)
    assert flows(group, p_set_kw=30, q_set_kvar=4) == (28.0, 4.0)
    assert flows(group, p_set_kw=30, q_set_kvar=30) == pytest.approx((23.076923076923077, 25.384615384615383))
    assert flows(group, p_set_kw=5, q_set_kvar=30) == (5.0, 30.0)
    assert measured(group)["p_available_kw"][0] == 28.0


def test_a_cap_above_what_is_available_is_no_limit() -> None:
    """The record names a reason only where the region moves something."""
    group = source(28.0)
    group.advance(0)
    assert limited(group, "p_set_kw", p_set_kw=30.0, q_set_kvar=4.0)[1] == [0]
    p, why = limited(group, "p_set_kw", p_set_kw=30.0, q_set_kvar=30.0)
    assert (p[0], why) == (pytest.approx(23.076923076923077), [CAPABILITY])
    assert limited(group, "q_set_kvar", p_set_kw=5.0, q_set_kvar=29.0)[1] == [0]


def test_a_source_counts_its_energy_and_dies_with_its_bus() -> None:
    """kWh are power times time; without voltage nothing flows."""
    group = source(28.0)
    solve(group, 0, p_set_kw=8)
    solve(group, HOUR // 2, v_pu=NAN)
    group.advance(HOUR)
    assert measured(group)["e_kwh"][0] == pytest.approx(4.0)
    assert measured(group)["p_kw"][0] == 0.0


def test_a_source_does_not_take_power() -> None:
    """A region with negative active power is a store's."""
    with pytest.raises(ValidationError, match="does not take active power"):
        source(1.0, region=STORE)


@pytest.mark.parametrize(("soc", "asked", "found", "why"), [
    (0.5, (20.0, 10.0), (20.0, 10.0), [0, 0]),
    (0.5, (50.0, 50.0), (37.80487804878049, 40.24390243902439), [CAPABILITY, CAPABILITY]),
    (0.05, (40.0, 10.0), (18.0, 10.0), [ENERGY, 0]),
    (0.05, (40.0, 50.0), (18.0, 50.0), [ENERGY, 0]),
    (0.95, (-50.0, 45.0), (-5 / 0.225, 45.0), [ENERGY, 0]),
    (0.92, (-50.0, -50.0), (-8 / 0.225, -43.05555555555556), [ENERGY, CAPABILITY]),
])
def test_a_store_is_cut_by_region_and_energy(
        soc: float, asked: tuple[float, float], found: tuple[float, float], why: list[int]) -> None:
    """The nearest point of the region that a quarter of an hour's energy allows, and which of the two it was."""
    group = store(soc)
    group.advance(0)
    setpoints = dict(zip(("p_set_kw", "q_set_kvar"), asked, strict=True))
    reasons = [limited(group, suffix, **setpoints)[1][0] for suffix in setpoints]
    assert flows(group, **setpoints) == pytest.approx(found, abs=1e-12)
    assert reasons == why


def test_half_a_request_is_held_to_the_energy() -> None:
    """An active power alone is limited by what is stored; a reactive power alone is not."""
    group = store(0.05)
    group.advance(0)
    assert limited(group, "p_set_kw", p_set_kw=40.0) == (pytest.approx([18.0]), [ENERGY])
    assert limited(group, "q_set_kvar", q_set_kvar=-50.0) == (pytest.approx([-50.0]), [0])
    assert flows(store(q_default_kvar=7)) == (0.0, 7.0)


def test_a_store_tells_what_it_will_hold() -> None:
    """The energy one scan ahead is what the store then holds; losses are a battery's."""
    group = store(0.5)
    solve(group, 0, p_set_kw=-40)
    ahead = measured(group)["e_kwh_ahead"][0]
    assert ahead == pytest.approx(50 + 40 * 0.9 / 4)
    group.advance(900 * SECOND)
    assert measured(group)["soc"][0] * 100 == pytest.approx(ahead, abs=1e-12)
    solve(group, 900 * SECOND, p_set_kw=40)
    assert measured(group)["e_kwh_ahead"][0] == pytest.approx(59 - 10 / 0.9)


def test_a_store_ends_at_the_edge_of_its_window() -> None:
    """Asked for more than it holds for a scan, it gives all of it and is empty, exactly."""
    group = store(0.05)
    solve(group, 0, p_set_kw=50)
    group.advance(900 * SECOND)
    assert measured(group)["soc"][0] == pytest.approx(0.0, abs=1e-15)
    assert measured(group)["e_kwh_excess"][0] == pytest.approx(0.0, abs=1e-12)
    assert np.array_equal(group.energy().rated_kwh, [100.0])


@pytest.mark.parametrize(("options", "says"), [
    ({"soc_min": 0.9, "soc_max": 0.2}, "soc_min < soc_max"), ({"soc_min": 0.6}, r"expected soc_min..soc_max"),
])
def test_a_window_must_be_one(options: dict[str, float], says: str) -> None:
    """The window and where it starts are checked."""
    with pytest.raises(ValidationError, match=says):
        store(**options)
