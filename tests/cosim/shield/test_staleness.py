"""What a shield believes of the field is what the field does, and what the field can do is within reach of that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cosim.plugins import Envelope
from cosim.points import Vector
from cosim.shield import NetworkShield
from cosim.shield.staleness import ANYTHING, Believed, Ramps, Reach, Report, toward
from cosim.simulation import Simulation
from cosim.state import Dispatch
from tests.cosim.shield.shielded import shielded

#: A plant that a cap bounds, a store, a demand that can be scaled, and a generator of the network.
DEVICES: list[dict[str, Any]] = [
    {"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 900, "s_rated_kva": 1000, "q_max_pu": 0.8},
    {"kind": "battery", "name": "bat", "bus": "25", "e_rated_kwh": 500, "p_max_kw": 300, "soc_start": 0.5},
    {"kind": "load", "name": "ld", "bus": "5", "p_kw": 60, "q_kvar": 20},
    {"kind": "wind", "name": "wt", "bus": "22", "p_rated_kw": 300}]
RAMP_KW, RAMP_KVAR = 2.0, 0.5


@dataclass(frozen=True)
class Place:
    """A built world, its model, what its devices report, and where each set point stands in the output vector."""

    simulation: Simulation
    model: Believed
    report: Report
    slot: dict[str, int]

    def setpoints(self, **values: float) -> Vector:
        """Those given, NaN elsewhere (``pv__q_set_kvar=3``)."""
        out = np.full(len(self.slot), np.nan)
        for name, value in values.items():
            out[self.slot[name.replace("__", ".")]] = value
        return out

    def field(self, setpoints: Vector) -> Dispatch:
        """What the field itself would do."""
        return self.simulation._attempt(setpoints, -1).dispatch

    def reach(self, setpoints: Vector, report: Report | None = None, ahead_s: float = 0.0) -> Reach:
        """Of one order that everybody follows."""
        report = report or self.report
        everybody = np.ones(report.age_s.size, bool)
        dispatch = self.model.dispatch(setpoints, report, self.simulation.grid.dispatch)
        return self.model.reach(dispatch, setpoints, report, ahead_s, everybody)


@cache
def place() -> Place:
    """The same for all tests: nothing of it is changed."""
    simulation = shielded(DEVICES)
    shield = simulation._shield
    assert isinstance(shield, NetworkShield)
    controls = shield.means.controls
    n = simulation.grid.injection_bus.size
    n_output = controls.device_of_output.size
    names = [simulation.points.names[i] for i in simulation.inbox.point_ids[:n_output]]
    own = simulation._attempt(np.full(n_output, np.nan), -1).dispatch
    report = Report(own.p_kw, own.q_kvar, own.p_kw, own.q_kvar, controls.envelope(), np.full(n_output, np.nan),
                    np.zeros(n))
    model = Believed(controls, Ramps(np.full(n, RAMP_KW), np.full(n, RAMP_KVAR)), own.gen_p_kw.size)
    return Place(simulation, model, report, {name: i for i, name in enumerate(names)})


def maybe(low: float, high: float) -> st.SearchStrategy[float]:
    """A set point, or none."""
    return st.one_of(st.just(np.nan), st.floats(low, high))


ORDERS = st.fixed_dictionaries({
    "pv__p_set_kw": maybe(0, 900), "pv__q_set_kvar": maybe(-800, 800), "bat__p_set_kw": maybe(-300, 300),
    "bat__q_set_kvar": maybe(-300, 300), "ld__scale": maybe(0, 2), "wt__p_set_kw": maybe(0, 300)})


@given(ORDERS)
@settings(max_examples=60, deadline=None)
def test_what_is_believed_at_young_reports_is_what_the_field_does(order: dict[str, float]) -> None:
    """Caps, circles, defaults and scales, for any mix of commanded and uncommanded devices."""
    here = place()
    setpoints = here.setpoints(**order)
    believed = here.model.dispatch(setpoints, here.report, here.simulation.grid.dispatch)
    field = here.field(setpoints)
    assert np.allclose(believed.p_kw, field.p_kw, atol=1e-9)
    assert np.allclose(believed.q_kvar, field.q_kvar, atol=1e-9)


def test_a_demand_that_was_shed_is_believed_to_come_back() -> None:
    """Its report says zero; what it would take by itself says more."""
    here = place()
    shed = replace(here.report, p_kw=here.report.p_kw * 0, q_kvar=here.report.q_kvar * 0,
                   in_force=here.setpoints(ld__scale=0.0))
    believed = here.model.dispatch(here.setpoints(), shed, here.simulation.grid.dispatch)
    assert believed.p_kw[2] == pytest.approx(-60.0)


@given(ORDERS, st.floats(0, 100), st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=100, deadline=None)
def test_whatever_the_ramps_bring_about_is_within_reach(order: dict[str, float], age_s: float, sun: float, p: float,
                                                        q: float) -> None:
    """Sun, wind and demand have moved by anything up to ramp times age; the set points stood still."""
    here = place()
    setpoints, report = here.setpoints(**order), replace(here.report, age_s=np.full(4, age_s / 2))
    reach = here.reach(setpoints, report, age_s / 2)
    moved = sun * RAMP_KW * age_s
    offered = report.envelope.p_max_kw + np.array([moved, 0.0, 0.0, moved])
    own_p = report.own_p_kw + np.array([0.0, 0.0, p * RAMP_KW * age_s, 0.0])
    own_q = report.own_q_kvar + np.array([0.0, 0.0, q * RAMP_KVAR * age_s, 0.0])
    then = replace(report, own_p_kw=own_p, own_q_kvar=own_q,
                   envelope=replace(report.envelope, p_max_kw=np.maximum(offered, 0.0)))
    found = here.model.powers.vector(here.model.dispatch(setpoints, then, here.simulation.grid.dispatch))
    assert (found >= reach.low - 1e-9).all()
    assert (found <= reach.high + 1e-9).all()


def test_a_cap_bounds_from_one_side_only() -> None:
    """A plant at its cap cannot give more however much sun comes; less only once the sun offers less than the cap."""
    here = place()
    report = replace(here.report, age_s=np.full(4, 60.0))
    capped = here.reach(here.setpoints(pv__p_set_kw=700.0), report)
    free = here.reach(here.setpoints(), report)
    assert (capped.low[0], capped.high[0]) == (700.0, 700.0)
    assert (free.low[0], free.high[0]) == (900.0 - 60 * RAMP_KW, 900.0 + 60 * RAMP_KW)


def test_what_is_commanded_does_not_move_by_itself() -> None:
    """However old the report of the store and of the plant's reactive power."""
    here = place()
    report = replace(here.report, age_s=np.full(4, 1e6))
    reach = here.reach(here.setpoints(bat__p_set_kw=100.0, bat__q_set_kvar=10.0, pv__q_set_kvar=5.0), report)
    held = [1, 4, 5]  # the store's powers and the plant's reactive one
    assert np.array_equal(reach.low[held], reach.high[held])


def test_a_device_that_follows_slowly_is_between_where_it_is_and_where_it_goes() -> None:
    """Its report says that it can give 20 kW in this scan; it was told 100."""
    here = place()
    limits = here.report.envelope
    slow = replace(here.report, envelope=replace(limits, p_max_kw=np.where(np.arange(4) == 1, 20.0, limits.p_max_kw)))
    reach = here.reach(here.setpoints(bat__p_set_kw=100.0), slow)
    assert (reach.low[1], reach.at[1], reach.high[1]) == (20.0, 20.0, 100.0)


def test_of_a_device_that_never_reported_anything_is_possible() -> None:
    """Endless age, finite numbers."""
    here = place()
    reach = here.reach(here.setpoints(), replace(here.report, age_s=np.full(4, np.inf)))
    assert reach.high[2] == reach.at[2] + ANYTHING
    assert np.isfinite(reach.low).all()


@given(ORDERS, ORDERS, st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=4, max_size=4))
@example({"pv__p_set_kw": float("nan"), "pv__q_set_kvar": 436.0},
         {"pv__p_set_kw": float("nan"), "pv__q_set_kvar": -436.0}, [0.5] * 4)
@settings(max_examples=60, deadline=None)
def test_on_the_way_between_two_orders_every_power_is_between_theirs(one: dict[str, float], other: dict[str, float],
                                                                     share: list[float]) -> None:
    """Device by device; none and all of the way give the orders back to the bit."""
    here = place()
    old, new = here.setpoints(**one), here.setpoints(**other)
    part = np.array(share)
    found = here.model.between((old, here.reach(old)), (new, here.reach(new)), part)
    device_of = here.simulation._shield.means.controls.device_of_output
    for share_of, expected in ((0.0, old), (1.0, new)):
        mine = part[device_of] == share_of
        assert np.array_equal(found[mine], expected[mine], equal_nan=True)
    reach, ends = here.reach(found), (here.reach(old), here.reach(new))
    # On its way from one sign to the other reactive power passes zero, where the kVA circle leaves most room.
    zero = {name: 0.0 for name in one if "q_set" in name and one[name] * other[name] < 0}
    widest = [here.reach(here.setpoints(**{**order, **zero})).high for order in (one, other)]
    highest = np.max([ends[0].high, ends[1].high, *widest], axis=0)
    assert (reach.high[:4] <= highest[:4] + 1e-9).all()
    demand = [2, 6]
    assert (reach.low[demand] >= np.minimum(ends[0].low, ends[1].low)[demand] - 1e-9).all()


def test_toward_is_no_farther_than_before() -> None:
    """A set point that is let go, or was never there, is not toward anything."""
    goal, last = np.array([0.0, 0.0, 0.0, 0.0]), np.array([5.0, -5.0, 5.0, np.nan])
    assert toward(np.array([5.0, 4.9, np.nan, 0.0]), last, goal).tolist() == [True, True, False, False]


def test_a_generator_of_the_network_belongs_to_its_device() -> None:
    """Its power and its voltage set point are powers like any other."""
    # As in the network, so that it is taken over: bus 2 of the nine-bus case.
    simulation = shielded([{"kind": "load", "name": "ld", "bus": "5", "p_kw": 1},
                           {"kind": "generator", "name": "gen", "element": "2"}],
                          {"voltage": [], "loading": []}, grid={"network": "case9"})
    controls = simulation._shield.means.controls
    dispatch = simulation.grid.dispatch
    model = Believed(controls, Ramps(np.zeros(2), np.zeros(2)), dispatch.gen_p_kw.size)
    vector = model.powers.vector(dispatch)
    back = model.powers.dispatch(vector, dispatch)
    assert np.array_equal(back.gen_v_pu, dispatch.gen_v_pu)
    terms = np.zeros((1, vector.size))
    terms[0, 4 + int(controls.gen.max())] = 7.0
    assert model.powers.by_device(terms).tolist() == [[0.0, 7.0]]


def test_an_envelope_is_kept_by_the_belief() -> None:
    """A commanded store gives what it reported it can, no more."""
    here = place()
    empty = Envelope(*(np.zeros(4) for _ in range(4)), here.report.envelope.s_max_kva)
    believed = here.model.dispatch(here.setpoints(bat__p_set_kw=300.0), replace(here.report, envelope=empty),
                                   here.simulation.grid.dispatch)
    assert believed.p_kw[1] == 0.0
