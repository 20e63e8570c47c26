"""Key figures: exact sums over held intervals, against a naive reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cosim.objective import KpiAccumulator, KpiSummary
from cosim.state import Flows, GridState, KnownFlows

BUSES, BRANCHES, DEVICES = ("b1", "b2", "b3"), ("l1", "l2"), ("pv", "ev")
LIMITS = (0.95, 1.05, 1.0)


def state(v_pu: Any = (1.0, 1.0, 1.0), loading: Any = (0.5, 0.5), losses_kw: float = 1.0, slack_p_kw: float = 10.0,
          unserved_kw: float = 0.0, *, converged: bool = True) -> GridState:
    """A grid state with what KPIs look at."""
    nan = np.full(2, np.nan)
    flows = Flows(np.zeros(3), nan, nan, np.array(loading, float), np.zeros(0), np.zeros(0), slack_p_kw, 0.0, losses_kw)
    return GridState(converged, np.array(v_pu, float), 1, "", "fake", KnownFlows(flows), unserved_kw)


def kpis(*held: tuple[GridState, Any, float], cost_per_kwh: float = 0.0) -> KpiSummary:
    """The figures of intervals (state, p_kw, seconds)."""
    found = KpiAccumulator(BUSES, BRANCHES, DEVICES, LIMITS, cost_per_kwh)
    for held_state, p_kw, dt_s in held:
        found.hold(held_state, np.array(p_kw, float), dt_s)
    return found.summary()


ZERO = (0.0, 0.0)


def test_minutes_of_violation_are_by_bus() -> None:
    """Strictly outside the limits, each bus for itself; a bus on the limit is inside."""
    found = kpis((state((0.94, 0.95, 1.0)), ZERO, 60), (state((0.90, 1.05, 1.06)), ZERO, 30), (state(), ZERO, 600))
    assert found.undervoltage_minutes == {"b1": 1.5}
    assert found.overvoltage_minutes == {"b3": 0.5}
    assert found.violation_bus_minutes == 2.0
    assert (found.v_min_pu, found.v_min_bus, found.v_max_pu, found.v_max_bus) == (0.90, "b1", 1.06, "b3")
    assert found.duration_s == 690


def test_overload_is_by_branch_and_a_branch_without_rating_has_none() -> None:
    """Loading above the limit; NaN (no rating) compares false."""
    found = kpis((state(loading=(1.01, np.nan)), ZERO, 120), (state(loading=(1.0, np.nan)), ZERO, 60))
    assert found.overload_minutes == {"l1": 2.0}


def test_import_and_export_do_not_cancel() -> None:
    """Each direction has its own energy; the cost is of the balance."""
    found = kpis((state(slack_p_kw=36.0), ZERO, 100), (state(slack_p_kw=-18.0), ZERO, 100), cost_per_kwh=0.25)
    assert found.import_kwh == pytest.approx(1.0)
    assert found.export_kwh == pytest.approx(0.5)
    assert found.cost == pytest.approx(0.125)


def test_a_dead_bus_is_unserved_and_not_undervoltage() -> None:
    """NaN voltage: counted by what was not served, and left out of the extremes."""
    found = kpis((state((np.nan, 1.0, 1.02), unserved_kw=60.0), ZERO, 60))
    assert found.undervoltage_minutes == {}
    assert found.unserved_kwh == pytest.approx(1.0)
    assert (found.v_min_bus, found.v_max_bus) == ("b2", "b3")
    assert found.dead_minutes == 0.0


def test_time_without_power_flow_is_counted_apart() -> None:
    """Its NaNs spoil no figure."""
    nan = np.nan
    dead = state((nan, nan, nan), (nan, nan), nan, nan, nan, converged=False)
    found = kpis((state(), (1.0, 2.0), 60), (dead, ZERO, 30), (state(), (1.0, 2.0), 60))
    assert found.dead_minutes == 0.5
    assert found.duration_s == 150
    assert found.losses_kwh == pytest.approx(120 / 3600)
    assert found.device_kwh == {"pv": pytest.approx(120 / 3600), "ev": pytest.approx(240 / 3600)}


def test_time_outside_counts_every_instant_once() -> None:
    """However many buses and branches are outside; loadings only among all limits; no power flow is outside of all."""
    nan = np.nan
    found = KpiAccumulator(BUSES, BRANCHES, DEVICES, LIMITS, 0.0)
    none = state((nan,) * 3, (nan, nan), nan, nan, nan, converged=False)
    for held, dt_s in ((state(), 1), (state((0.9, 1.1, 1.0), loading=(1.2, 1.3)), 2), (state(loading=(1.2, nan)), 4),
                       (state((nan, 1.0, 1.0)), 8), (none, 16)):
        found.hold(held, np.zeros(2), dt_s)
    assert found.outside_s() == (18.0, 22.0)
    found.hold(state((0.9, 1.0, 1.0)), np.zeros(2), 32)
    assert found.outside_s() == (50.0, 54.0)


def test_figures_may_be_asked_for_at_any_time() -> None:
    """Asking changes nothing, and what is held afterwards counts on top."""
    found = KpiAccumulator(BUSES, BRANCHES, DEVICES, LIMITS, 0.0)
    assert found.summary().duration_s == 0.0
    for _ in range(3):
        found.hold(state(), np.ones(2), 60)
        assert found.summary() == found.summary()
    assert found.summary().device_kwh["pv"] == pytest.approx(3 / 60)


def reference(held: list[tuple[GridState, np.ndarray, float]]) -> dict[str, float]:
    """The same figures, one interval after the other."""
    sums = dict.fromkeys(("under", "over", "overload", "losses", "import", "export", "unserved", "dead", "pv"), 0.0)
    for now, p_kw, dt_s in held:
        sums["pv"] += p_kw[0] * dt_s / 3600
        if not now.converged:
            sums["dead"] += dt_s / 60
            continue
        sums["unserved"] += now.unserved_kw * dt_s / 3600
        sums["losses"] += now.losses_kw * dt_s / 3600
        sums["import" if now.slack_p_kw > 0 else "export"] += abs(now.slack_p_kw) * dt_s / 3600
        for v in now.v_pu.tolist():
            sums["under"] += dt_s / 60 if v < LIMITS[0] else 0.0
            sums["over"] += dt_s / 60 if v > LIMITS[1] else 0.0
        sums["overload"] += sum(dt_s / 60 for x in now.loading.tolist() if x > LIMITS[2])
    return sums


@pytest.mark.parametrize("n", [1, 63, 64, 65, 1000])
def test_sums_equal_a_naive_reference(n: int) -> None:
    """Random states with dead buses, unrated branches and times without solution, over uneven intervals."""
    rng = np.random.default_rng(n)
    held = []
    for _ in range(n):
        v = np.where(rng.random(3) < 0.1, np.nan, rng.uniform(0.9, 1.1, 3))
        loading = np.where(rng.random(2) < 0.1, np.nan, rng.uniform(0.5, 1.5, 2))
        held.append((state(v, loading, *rng.normal(0, 50, 2), rng.random(), converged=rng.random() > 0.1),
                     rng.normal(size=2), float(rng.uniform(1e-6, 900))))
    found, wanted = kpis(*held), reference(held)
    assert found.violation_bus_minutes == pytest.approx(wanted["under"] + wanted["over"], rel=1e-12)
    assert sum(found.undervoltage_minutes.values()) == pytest.approx(wanted["under"], rel=1e-12)
    assert sum(found.overload_minutes.values()) == pytest.approx(wanted["overload"], rel=1e-12)
    for name, value in (("losses", found.losses_kwh), ("import", found.import_kwh), ("export", found.export_kwh),
                        ("unserved", found.unserved_kwh), ("dead", found.dead_minutes),
                        ("pv", found.device_kwh["pv"])):
        assert value == pytest.approx(wanted[name], rel=1e-9, abs=1e-12), name
    assert found.duration_s == pytest.approx(math.fsum(dt_s for _, _, dt_s in held), rel=1e-12)
