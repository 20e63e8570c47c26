"""Capacitor banks, tap changers and breakers: delays, lockouts, counters and topology."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cosim.devices.breaker import Breaker, BreakerConfig
from cosim.devices.capacitor import Capacitor, CapacitorConfig
from cosim.devices.tap_changer import TapChanger, TapChangerConfig
from cosim.errors import PluginError
from cosim.plugins import Limit

from .fake_site import NAN, SECOND, FakeSite, limited, measured, setpoints, solve


def capacitor(**options: Any) -> Capacitor:
    place = {} if "element" in options else {"bus": "b1", "q_step_kvar": 100.0, "steps": 3}
    return Capacitor.build([CapacitorConfig(name="c", **(place | options))], FakeSite())


def test_capacitor_gives_q_with_the_square_of_voltage() -> None:
    """Two steps of 100 kvar at 0.95 pu."""
    assert solve(capacitor(), 0, v_pu=0.95, steps=2).q_kvar[0] == pytest.approx(200 * 0.95**2)


def test_capacitor_lockout() -> None:
    """After a step is switched off none is switched in for lockout_s; switching off further is free."""
    group = capacitor(lockout_s=300)
    solve(group, 0, steps=3)
    solve(group, 10 * SECOND, steps=2)
    group.advance(309 * SECOND)
    assert limited(group, "steps", steps=3) == (np.array([2.0]), [Limit.MIN_TIME.value])
    assert limited(group, "steps", steps=1) == (np.array([1.0]), [0])
    group.advance(310 * SECOND)
    assert limited(group, "steps", steps=3) == (np.array([3.0]), [0])
    assert measured(group)["operations"][0] == 4


def test_capacitor_rounds_to_whole_steps() -> None:
    """1.6 steps are two, and the change is noted."""
    group = capacitor()
    group.advance(0)
    assert limited(group, "steps", steps=1.6) == (np.array([2.0]), [Limit.CAPABILITY.value])


def test_capacitor_control_waits_its_delay() -> None:
    """Low voltage: a step after delay_s, asked for by its own timer; inside the band the timer stops."""
    group = capacitor(control="voltage", delay_s=60, deadband_pu=0.04)
    solve(group, 0, v_pu=0.97)
    assert group.next_us() == 60 * SECOND
    solve(group, 59 * SECOND, v_pu=0.97)
    assert measured(group)["steps_in"][0] == 0
    solve(group, 60 * SECOND, v_pu=0.97)
    assert measured(group)["steps_in"][0] == 1
    assert group.next_us() == 120 * SECOND
    solve(group, 100 * SECOND, v_pu=0.99)
    assert group.next_us() is None


def test_capacitor_control_waits_for_the_lockout() -> None:
    """Locked out it starts its delay only when the lockout is over."""
    group = capacitor(control="voltage", delay_s=10, lockout_s=100, steps_at_start=1)
    solve(group, 0, v_pu=1.05)
    solve(group, 10 * SECOND, v_pu=0.95)
    assert measured(group)["steps_in"][0] == 0
    assert group.next_us() is None
    solve(group, 110 * SECOND, v_pu=0.95)
    assert group.next_us() == 120 * SECOND


def test_capacitor_command_overrides_control() -> None:
    """While a command is in force the local control rests."""
    group = capacitor(control="voltage")
    solve(group, 0, v_pu=0.9, steps=1)
    assert group.next_us() is None


def test_capacitor_switches_a_shunt_of_the_network() -> None:
    """With `element` the topology changes and nothing is injected twice; the measurement shows the shunt's q."""
    group = capacitor(element="c0")
    topology = FakeSite().network.topology
    assert solve(group, 0, v_pu=1.1, steps=2).q_kvar[0] == 0
    assert group.positions(setpoints(group), topology).shunt_step.tolist() == [2, 0]
    assert measured(group)["q_kvar"][0] == pytest.approx(2 * 50 * 1.21)


def tap_changer(**options: Any) -> TapChanger:
    return TapChanger.build([TapChangerConfig(name="t", **({"trafo": "t0"} | options))], FakeSite())


def test_tap_changer_first_and_further_delays() -> None:
    """30 s to the first step, 5 s to each further one, each at its own time; the high-side tap goes down."""
    group = tap_changer()
    times, t_us = [], 0
    for _ in range(4):
        solve(group, t_us, v_pu=0.95)
        times.append(t_us // SECOND)
        t_us = group.next_us() or 0
    assert times == [0, 30, 35, 40]
    assert measured(group)["tap_position"][0] == -3
    assert measured(group)["operations"][0] == 3


def test_tap_changer_forgets_a_short_dip() -> None:
    """Back inside the band the delay starts anew."""
    group = tap_changer()
    solve(group, 0, v_pu=0.95)
    solve(group, 20 * SECOND, v_pu=1.0)
    assert group.next_us() is None
    solve(group, 25 * SECOND, v_pu=0.95)
    assert group.next_us() == 55 * SECOND


def test_tap_changer_changing_sides_waits_the_first_delay() -> None:
    """From too low to too high the timer starts anew, and the step goes the other way."""
    group = tap_changer()
    solve(group, 0, v_pu=0.95)
    solve(group, 20 * SECOND, v_pu=1.05)
    assert group.next_us() == 50 * SECOND
    solve(group, 50 * SECOND, v_pu=1.0)
    assert measured(group)["tap_position"][0] == 1


@pytest.mark.parametrize(("options", "position"), [
    ({"trafo": "t0"}, -1), ({"trafo": "t1"}, 1), ({"trafo": "t0", "bus": "b0"}, 1),
    ({"trafo": "t1", "reverse": True}, -1)])
def test_tap_direction_comes_from_the_ratio(options: dict[str, Any], position: int) -> None:
    """A low voltage raises or lowers the position by where the tap and the monitored bus are."""
    group = tap_changer(**options)
    solve(group, 0, v_pu=0.95)
    solve(group, 30 * SECOND, v_pu=0.95)
    assert measured(group)["tap_position"][0] == position


def test_tap_changer_stops_at_its_limit() -> None:
    """At the last position no timer runs."""
    group = tap_changer(tap_min=-1)
    for t_s in (0, 30, 35):
        solve(group, t_s * SECOND, v_pu=0.9)
    assert measured(group)["tap_position"][0] == -1
    assert group.next_us() is None


def test_tap_command_is_followed_in_manual_only() -> None:
    """In automatic the only possible position is the present one."""
    group = tap_changer()
    group.advance(0)
    assert limited(group, "tap", tap=5) == (np.array([0.0]), [Limit.CAPABILITY.value])
    assert limited(group, "tap", tap=5, auto=0) == (np.array([5.0]), [0])
    solve(group, 0, tap=5, auto=0, v_pu=0.9)
    assert measured(group)["tap_position"][0] == 5
    assert group.next_us() is None
    topology = FakeSite().network.topology
    assert group.positions(setpoints(group), topology).tap[:2].tolist() == [5, 0]


def test_tap_set_point_moves_the_band() -> None:
    """1.0 pu is low when 1.03 is wanted."""
    group = tap_changer()
    solve(group, 0, v_pu=1.0, v_set_pu=1.03)
    assert group.next_us() == 30 * SECOND


def test_tap_changer_without_voltage_waits() -> None:
    """A de-energised bus starts no timer."""
    group = tap_changer()
    solve(group, 0, v_pu=NAN)
    assert group.next_us() is None


def test_transformer_without_taps_is_refused() -> None:
    """The message names device and transformer."""
    with pytest.raises(PluginError, match=r"device 't': transformer 't2' has no tap changer"):
        tap_changer(trafo="t2")
    with pytest.raises(PluginError, match=r"position 20 at the start; expected -16\.\.16"):
        tap_changer(tap_at_start=20)


def breaker(**options: Any) -> Breaker:
    return Breaker.build([BreakerConfig(name="q", **options)], FakeSite())


@pytest.mark.parametrize(("table", "element", "field"), [
    ("line", "l1", "line_closed"), ("trafo", "t1", "trafo_closed"), ("gen", "g1", "gen_closed")])
def test_breaker_opens_its_element(table: str, element: str, field: str) -> None:
    """Without delay in the SOLVE of the order; the topology given is not written to."""
    group, topology = breaker(**{table: element}), FakeSite().network.topology
    group.advance(0)
    opened = group.positions(setpoints(group, closed=0), topology)
    assert not getattr(opened, field)[1]
    assert getattr(topology, field)[1]
    assert group.positions(setpoints(group, closed=0), opened) is opened
    solve(group, 0, closed=0)
    assert measured(group)["is_closed"][0] == 0
    assert measured(group)["operations"][0] == 1


def test_breaker_starts_as_the_network_has_it() -> None:
    """An open switch is open until it is ordered to close."""
    group = breaker(switch="s1")
    solve(group, 0)
    assert measured(group)["is_closed"][0] == 0
    solve(group, SECOND, closed=1)
    assert measured(group)["is_closed"][0] == 1


def test_breaker_operating_delay() -> None:
    """The contacts move delay_s after the order, in a SOLVE of their own, once."""
    group, topology = breaker(line="l0", delay_s=0.08), FakeSite().network.topology
    solve(group, 0, closed=0)
    assert group.positions(setpoints(group, closed=0), topology) is topology
    assert group.next_us() == 80_000
    solve(group, 50_000, closed=0)
    assert group.next_us() == 80_000
    solve(group, 80_000, closed=0)
    assert not group.positions(setpoints(group, closed=0), topology).line_closed[0]
    assert group.next_us() is None
    assert measured(group)["operations"][0] == 1


def test_breaker_order_withdrawn_in_time() -> None:
    """An order that is taken back before the delay is over does nothing."""
    group = breaker(line="l0", delay_s=1)
    solve(group, 0, closed=0)
    solve(group, SECOND // 2, closed=1)
    solve(group, 2 * SECOND, closed=1)
    assert measured(group)["operations"][0] == 0


def test_breaker_needs_exactly_one_element() -> None:
    """None or two are refused; two breakers on one line too."""
    with pytest.raises(ValidationError, match="exactly one of line, trafo, switch, gen; found none"):
        BreakerConfig(name="q")
    with pytest.raises(ValidationError, match="found line, gen"):
        BreakerConfig(name="q", line=1, gen=1)
    with pytest.raises(PluginError, match="device 'b': line 'l0' has the breaker 'a' already"):
        Breaker.build([BreakerConfig(name=name, line="l0") for name in ("a", "b")], FakeSite())
