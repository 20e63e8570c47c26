"""Feeders that are lost and come back, generators whose reactive power the grid decides, elements with one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cosim.errors import Problem, ScenarioError
from cosim.scenario.loader import load_text
from cosim.simulation import build
from tests.cosim.simulation.worlds import BASE, world

#: On Baran and Wu's feeder beyond line 28-29, which has 740 kW of its own demand.
FAR = [{"kind": "battery", "name": "bat", "bus": "33", "e_rated_kwh": 100, "p_max_kw": 180, "eta_discharge": 1.0},
       {"kind": "load", "name": "ld", "bus": "32", "p_kw": 72, "q_kvar": 10},
       {"kind": "capacitor", "name": "cap", "bus": "31", "q_step_kvar": 50, "steps_at_start": 1}]
PV = {"kind": "pv", "name": "pv", "bus": "33", "p_rated_kw": 360, "s_rated_kva": 400}
OUTAGE = {"kind": "line_outage", "line": "28-29", "at_s": 2.25, "duration_s": 3.5}
ON_S = 10 - 3.5
GEN = {"kind": "generator", "name": "g", "element": "33", "p_min_kw": 0}


@pytest.mark.parametrize("mode", ["unity", "volt_var"])
def test_a_lost_feeder_feeds_and_takes_nothing(mode: str) -> None:
    """From the very SOLVE that loses it to the one that finds it again, with and without voltage dependence."""
    simulation = world(devices=[*FAR, PV | ({} if mode == "unity" else {"mode": mode})], disturbances=[OUTAGE])
    simulation.submit("bat.p_set_kw", 180, "test")
    seen = []
    for t_us in (2_000_000, 2_250_000, 4_000_000, 5_750_000):
        simulation.advance_to(t_us)
        read = simulation.points.read
        seen.append([round(read(name)) for name in ("pv.p_kw", "bat.p_kw", "ld.p_kw", "grid.unserved_kw")])
    assert seen == [[360, 180, -72, 0], [0, 0, 0, 812], [0, 0, 0, 812], [360, 180, -72, 0]]


@pytest.mark.parametrize("mode", ["unity", "volt_var"])
def test_energies_of_a_lost_feeder(mode: str) -> None:
    """Devices' own counters and the KPIs agree: power times the time with voltage; demand without it is unserved."""
    simulation = world(devices=[*FAR, PV | ({} if mode == "unity" else {"mode": mode})], disturbances=[OUTAGE])
    simulation.submit("bat.p_set_kw", 180, "test")  # takes effect at the scan at 1 s
    simulation.advance_to(simulation.end_us)
    kpis, read = simulation.kpis(), simulation.points.read
    energy = {"pv": 360 * ON_S / 3600, "bat": 180 * (ON_S - 1) / 3600, "ld": -72 * ON_S / 3600, "cap": 0.0}
    assert kpis.device_kwh == pytest.approx(energy, abs=1e-6 if mode == "volt_var" else 1e-9)
    assert [read("pv.e_kwh"), read("bat.e_kwh_discharged"), read("ld.e_kwh")] == pytest.approx(
        [energy["pv"], energy["bat"], -energy["ld"]], abs=1e-6 if mode == "volt_var" else 1e-9)
    assert read("bat.soc") == pytest.approx(0.5 - energy["bat"] / 100, abs=1e-8)
    assert kpis.unserved_kwh == pytest.approx(812 * 3.5 / 3600, abs=1e-9)


def test_a_regulating_generator_is_told_its_reactive_power() -> None:
    """What the power flow found, as at the network's own point of that generator; no NaN."""
    simulation = world(grid={"network": "case39"}, devices=[GEN])
    simulation.advance_to(2_000_000)
    read = simulation.points.read
    assert read("g.q_kvar") == read("gen.33.q_kvar") != 0
    assert read("g.p_kw") == pytest.approx(read("gen.33.p_kw"))


def test_a_generator_that_is_out_gives_nothing() -> None:
    """Its outage is no order to it: it wants to run, and neither counter nor KPI takes that for energy."""
    simulation = world(grid={"network": "case39"}, devices=[GEN], disturbances=[
        {"kind": "generator_outage", "gen": "33", "at_s": 3, "duration_s": 4}])
    simulation.advance_to(4_000_000)
    read = simulation.points.read
    assert [read("g.p_kw"), read("g.q_kvar")] == [0, 0]
    simulation.advance_to(simulation.end_us)
    assert simulation.kpis().device_kwh["g"] == pytest.approx(632e3 * 6 / 3600)
    assert read("g.e_kwh") == pytest.approx(632e3 * 6 / 3600)


def refused(network: str, devices: list[dict[str, Any]]) -> tuple[Problem, ...]:
    """The problems of a scenario with these devices."""
    text = yaml.safe_dump({**BASE, "grid": {"network": network}, "devices": devices}, sort_keys=False)
    with pytest.raises(ScenarioError) as caught:
        build(load_text(text, path=Path("t.yaml")))
    return caught.value.problems


@pytest.mark.parametrize(("network", "devices", "words"), [
    ("case39", [GEN, {"kind": "breaker", "name": "cb", "gen": "33"}], "device 'cb': gen '33' belongs to device 'g'"),
    ("cigre_mv_pv_wind", [{"kind": "pv", "name": "a", "element": "PV_3", "p_rated_kw": 1},
                          {"kind": "wind", "name": "b", "element": "PV_3", "p_rated_kw": 1}],
     "device 'b': sgen 'PV_3' belongs to device 'a'"),
    ("cigre_mv_pv_wind", [{"kind": "battery", "name": "a", "element": "PV_3", "e_rated_kwh": 1, "p_max_kw": 1},
                          {"kind": "pv", "name": "b", "element": "PV_3", "p_rated_kw": 1}],
     "device 'b': sgen 'PV_3' belongs to device 'a'"),
])
def test_an_element_has_one_device(network: str, devices: list[dict[str, Any]], words: str) -> None:
    """Two kinds that take over or move one element are refused, with both names and the line of the second."""
    (problem,) = refused(network, devices)
    assert problem.message == f"{words} already; each element can have one device"
    assert (problem.path, problem.line) != ("", 0)


def test_taps_and_breaker_of_one_transformer_are_two_things() -> None:
    """A tap changer and a breaker may share a transformer."""
    trafo = "HV/MV_Transformer_0"
    simulation = world(grid={"network": "mv_oberrhein"}, devices=[
        {"kind": "breaker", "name": "cb", "trafo": trafo}, {"kind": "tap_changer", "name": "tc", "trafo": trafo}])
    simulation.advance_to(1_000_000)
    assert simulation.points.read("cb.is_closed") == 1
