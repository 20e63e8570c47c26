"""The barrier on stored energy: what is allowed now does not take away the way out later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.plugins import Role, StoredEnergy
from cosim.shield import ShieldReason
from cosim.shield.capability import Limited
from cosim.shield.energy import Barrier, EnergyBarrier, power_row
from cosim.simulation import Simulation
from tests.cosim.shield.shielded import at, read, record, shielded, told


class Store:
    """Stores of 100 kWh with 80 % efficiency each way."""

    def __init__(self, *e_kwh: float) -> None:
        self.names = tuple(f"s{i}" for i in range(len(e_kwh)))
        self.e_kwh = np.array(e_kwh)

    def energy(self) -> StoredEnergy:
        """What is held."""
        one = np.ones_like(self.e_kwh)
        return StoredEnergy(self.e_kwh, 100 * one, 0.8 * one, 0.8 * one)


def limited(store: Store, wanted: list[float], *, gamma: float = 1.0, soc_min: float | None = 0.2,
            reserve_kwh: tuple[float, float] = (0.0, 0.0)) -> tuple[list[float], list[int]]:
    """What is left of `wanted` with a window of 20..80 % and scans of an hour."""
    n = len(store.names)
    row = np.ones(n)
    barrier = Barrier(store, slice(1, 1 + n), row * (np.nan if soc_min is None else soc_min), row * 0.8, row * gamma,
                      row * reserve_kwh[0], row * reserve_kwh[1], 1.0)
    asked = np.array([7.0, *wanted])
    found = EnergyBarrier([barrier]).limit(Limited(asked, np.zeros(n + 1, np.uint8)), asked)
    assert np.array_equal(asked, [7.0, *wanted], equal_nan=True)  # the request itself is not written
    return found.setpoints[1:].tolist(), found.reason[1:].tolist()


def test_power_is_what_the_distance_to_the_edge_gives_in_one_scan() -> None:
    """30 kWh above the edge give 24 kW for an hour at 80 %; 30 kWh below the other take 37.5 kW."""
    assert limited(Store(50), [60]) == ([pytest.approx(24)], [ShieldReason.ENERGY_RESERVE])
    assert limited(Store(50), [-60]) == ([pytest.approx(-37.5)], [ShieldReason.ENERGY_RESERVE])


def test_of_the_distance_at_most_gamma_is_used() -> None:
    """A barrier of rate 0.25."""
    assert limited(Store(50), [60], gamma=0.25)[0] == [pytest.approx(6)]


def test_the_window_is_narrowed_by_what_the_backup_would_take() -> None:
    """16 kWh at the grid take 20 out of the store; 25 kWh from the grid bring 20 in."""
    assert limited(Store(50), [60], reserve_kwh=(0, 16))[0] == [pytest.approx(8)]
    assert limited(Store(50), [-60], reserve_kwh=(25, 0))[0] == [pytest.approx(-12.5)]


def test_beyond_the_edge_nothing_more_goes_out_and_anything_comes_in() -> None:
    """A store that was drained by its own losses or by a repair."""
    assert limited(Store(10), [5])[0] == [0.0]
    assert limited(Store(10), [-5]) == ([-5], [0])


def test_what_is_within_the_barrier_and_what_is_not_asked_stays() -> None:
    """NaN is nothing asked; another store's limit is another's."""
    found, why = limited(Store(50, 50, 50), [10, np.nan, 60])
    assert found[0] == 10
    assert np.isnan(found[1])
    assert why == [0, 0, ShieldReason.ENERGY_RESERVE]


def test_without_a_barrier_nothing_is_limited() -> None:
    """NaN `soc_min`: a store of the group that no entry names."""
    assert limited(Store(50), [60], soc_min=None) == ([60], [0])


def test_the_row_of_active_power_is_found_among_the_setpoints() -> None:
    """None where a group has none."""

    class Point:
        def __init__(self, role: Role) -> None:
            self.role = role

    class Group:
        names = ("a", "b")
        setpoints: Any = (Point(Role.Q_KVAR), Point(Role.P_KW))

    assert power_row(Group(), slice(10, 14)) == slice(12, 14)  # type: ignore[arg-type]  # a fake
    Group.setpoints = (Point(Role.Q_KVAR),)
    assert power_row(Group(), slice(10, 12)) is None  # type: ignore[arg-type]  # a fake


# -- in a run ---------------------------------------------------------------------------------------------------------

#: 40 kWh that somebody sells as fast as the battery can, ten minutes before they are needed.
BATTERY = {"kind": "battery", "name": "bat", "bus": "6", "e_rated_kwh": 40, "p_max_kw": 300, "soc_start": 0.9,
           "soc_min": 0.05, "soc_max": 0.95}
MOST_KW = 2150


def peak(energy: list[dict[str, Any]]) -> Simulation:
    """An agent that discharges all it has, and a peak of 400 kW above what may be imported, from 600 s to 900 s."""
    seller = {"name": "seller", "period_s": 10, "policy": {"kind": "constant", "values": [300.0]},
              "observe": ["bat.soc"], "actuate": ["bat.p_set_kw"]}
    spec = {"voltage": [], "loading": [], "exchange": [{"p_max_kw": MOST_KW}], "energy": energy}
    return shielded([BATTERY], spec, step_s=10, duration_s=1200, agents=[seller], disturbances=[
        {"kind": "load_step", "bus": "6", "p_kw": 400, "at_s": 600, "duration_s": 300}])


def test_without_a_reserve_the_policy_drains_the_way_out() -> None:
    """At the peak nothing is left: no setpoints keep the limit, and that is told."""
    simulation = at(peak([]), 1200)
    result = record(simulation)
    begun = result.events()[result.events()["kind"] == "shield.infeasible.begin"]
    assert len(begun) == 1
    assert 600e6 <= begun["t_us"].iloc[0] < 900e6
    assert result.samples(["grid.slack_p_kw"])["grid.slack_p_kw"].max() > MOST_KW + 100


def test_with_a_reserve_there_is_always_a_way_out() -> None:
    """300 kW for the length of the peak are kept: the policy gets the rest, and the limit holds throughout."""
    simulation = at(peak([{"discharge_reserve_kw": 300, "look_ahead_s": 300}]), 1200)
    result = record(simulation)
    assert "shield.infeasible.begin" not in set(result.events()["kind"])
    frame = result.samples(["grid.slack_p_kw", "bat.soc", "bat.p_kw"])
    assert frame["grid.slack_p_kw"].max() <= MOST_KW
    before = frame[frame.index < 600]
    assert before["bat.p_kw"].max() == pytest.approx(300)  # sold what is not kept
    assert before["bat.soc"].iloc[-1] == pytest.approx(300 * 300 / 3600 / 0.95 / 40, abs=1e-3)
    assert "energy_reserve" in set(result.decisions()["reason"])


def test_a_barrier_holds_only_where_it_is_declared() -> None:
    """Another battery is drained to its own window."""
    other = {**BATTERY, "name": "other", "bus": "20"}
    spec = {"voltage": [], "loading": [], "energy": [{"devices": ["bat"], "soc_min": 0.5}]}
    simulation = shielded([BATTERY, other], spec, step_s=10)
    told(simulation, 10, bat__p_set_kw=300.0, other__p_set_kw=300.0)
    at(simulation, 1200)
    assert read(simulation, "bat.soc") == pytest.approx(0.5)
    assert read(simulation, "other.soc") < 0.06
