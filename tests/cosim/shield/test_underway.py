"""The worst over all mixtures of orders is the worst: in the linear rows exactly, in the AC ones nearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.points import Vector
from cosim.shield import ShieldReason
from cosim.shield.limits import Bounds, Limits, Watched
from cosim.shield.staleness import Powers, Reach
from cosim.shield.underway import LINEARISATION, Terms, Worst, mixed, shares
from tests.cosim.shield.test_staleness import ORDERS, Place, place

BITS = st.lists(st.floats(0, 1), min_size=8, max_size=8)
#: What the AC power flow may be beyond the bound, pu.
CLOSE = 1e-6
CHOICES = st.lists(st.integers(0, 2), min_size=4, max_size=4)


def worst_of(here: Place) -> Worst:
    """Around what the devices do by themselves."""
    dispatch, state = here.simulation.grid.dispatch, here.simulation.grid.state
    limits = here.simulation._shield.limits
    slope = here.model.powers.slopes(limits, state)
    assert slope is not None
    value = limits.values(state, dispatch, here.report.envelope.p_max_kw)
    return Worst(limits, here.model.powers, slope, (value, here.model.powers.vector(dispatch)))


def mixture(reaches: list[Reach], choice: list[int], place_in: list[float]) -> Vector:
    """Every device follows the order chosen for it, somewhere within its reach."""
    of = np.array(choice + choice)
    low = np.array([reach.low[:8] for reach in reaches])[of, np.arange(8)]
    high = np.array([reach.high[:8] for reach in reaches])[of, np.arange(8)]
    return low + np.array(place_in) * (high - low)


@given(st.lists(ORDERS, min_size=3, max_size=3), CHOICES, BITS, st.floats(0, 60))
@settings(max_examples=80, deadline=None)
def test_no_mixture_of_orders_is_beyond_the_worst(orders: list[dict[str, float]], choice: list[int],
                                                  within: list[float], ahead_s: float) -> None:
    """Whatever subset of the commands has arrived and whatever the ramps did: linear rows, and the AC power flow."""
    here, worst = place(), worst_of(place())
    own = here.reach(here.setpoints())
    reaches = [here.reach(here.setpoints(**order), ahead_s=ahead_s) for order in orders]
    low, high = worst.rows(mixed([worst.terms(reach) for reach in (own, *reaches)]))
    found = own.at.copy()
    found[:8] = mixture(reaches, choice, within)
    linear = worst.value + (worst._up + worst._down) @ (found - own.at)
    assert (linear <= high + 1e-12).all()
    assert (linear >= low - 1e-12).all()
    dispatch = here.model.powers.dispatch(found, here.simulation.grid.dispatch)
    state = here.simulation.grid.trial(dispatch)
    values = here.simulation._shield.limits.values(state, dispatch, np.zeros(4))
    assert (values <= high + CLOSE).all()
    assert (values >= low - CLOSE).all()


@given(st.lists(ORDERS, min_size=2, max_size=2), st.integers(0, 32), st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_corner_is_where_a_row_is_worst(orders: list[dict[str, float]], row: int, high: bool) -> None:
    """The linear row there is the bound, its share for the linearisation apart."""
    here, worst = place(), worst_of(place())
    reaches = [here.reach(here.setpoints()), *(here.reach(here.setpoints(**order), ahead_s=30.0) for order in orders)]
    terms = mixed([worst.terms(reach) for reach in reaches])
    bound = worst.rows(terms)[int(high)][row] + (-1 if high else 1) * worst.curve(terms[2])[row]
    corner = worst.corner(row, high, reaches)
    change = float((worst._up + worst._down)[row] @ (corner - here.model.powers.vector(here.simulation.grid.dispatch)))
    assert worst.value[row] + (1.0 + LINEARISATION) * change == pytest.approx(bound, abs=1e-9)


def test_an_order_that_a_device_cannot_be_following_adds_nothing() -> None:
    """It has confirmed a later one."""
    here, worst = place(), worst_of(place())
    own, much = here.reach(here.setpoints()), here.reach(here.setpoints(pv__q_set_kvar=700.0))
    gone = Reach(much.at, much.low, much.high, np.array([False, True, True, True]))
    alone = worst.rows(mixed([worst.terms(own)]))
    assert np.array_equal(worst.rows(mixed([worst.terms(own), worst.terms(gone)])), alone)
    assert (worst.rows(mixed([worst.terms(own), worst.terms(much)]))[1] > alone[1] + 1e-3).any()


TERMS = st.lists(st.floats(-0.02, 0.05), min_size=12, max_size=12)


def three(rows: int) -> Worst:
    """Of as many voltages, whose slopes do not matter."""
    nothing = np.empty(0)
    band = Bounds(tuple("abc"[:rows]), ShieldReason.VOLTAGE, "pu", np.full(rows, 0.9), np.full(rows, 1.1),
                  np.zeros(rows), np.ones(rows, bool), np.zeros(rows, np.int8), 0.01)
    limits = Limits(Watched(np.arange(rows), np.empty(0, np.int64)),
                    [band, Bounds.none(ShieldReason.LOADING, "pu", 0.1)])
    return Worst(limits, Powers(0, np.empty(0, np.int64)), np.zeros((rows, 0)), (np.ones(rows), nothing))


def terms_of(values: list[float]) -> Terms:
    """Three rows, four devices; the least is below the most."""
    up = np.array(values).reshape(3, 4)
    return up, up - 0.01, np.abs(up)


@given(TERMS, st.lists(st.floats(-0.02, 0.1), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_an_order_passes_so_far_that_no_row_is_worse_than_its_room(order: list[float], room: list[float]) -> None:
    """What devices add along the way is at most in proportion; a row without room is not made worse."""
    worst, before, new = three(3), (np.zeros((3, 4)), np.full((3, 4), -0.1), np.zeros((3, 4))), terms_of(order)
    share = shares(worst, before, new, (np.full(3, np.inf), np.array(room)))
    assert ((share >= 0.0) & (share <= 1.0)).all()
    added = (np.maximum(new[0], 0.0) * share).sum(axis=1) * (1.0 + LINEARISATION)
    curved = np.where(np.array(room) > 0.0, worst.curve(new[2] * share), 0.0)
    assert (added + curved <= np.maximum(room, 0.0) + 1e-8).all()


def test_who_makes_nothing_worse_goes_all_the_way_at_once() -> None:
    """Row 0 has no room: the device that raises it waits, the one that lowers it does not."""
    before = (np.zeros((1, 2)), np.full((1, 2), -0.1), np.zeros((1, 2)))
    order = (np.array([[0.02, -0.05]]), np.array([[0.02, -0.05]]), np.array([[0.02, 0.05]]))
    share = shares(three(1), before, order, (np.array([np.inf]), np.array([-0.01])))
    assert share.tolist() == [0.0, 1.0]
