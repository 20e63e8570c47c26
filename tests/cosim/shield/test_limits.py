"""Limits as scenario data: bands by bus and zone, loadings, exchange, reserve; hard, soft; margins; who overrides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim.commands import Authority
from cosim.grid import load_network
from cosim.shield import ShieldReason
from cosim.shield.limits import Bounds, Carriers, Limits, Watched, after_loss
from cosim.state import Dispatch
from tests.cosim.shield.shielded import BAND, GRID, PV, at, band, read, reasons, record, rung, shielded, told, volts

#: Two feeders from one substation; bus 4 is zone 2.  Each ends in enough reactance for 2 MW to matter.
ZONES = """function mpc = zones
mpc.version = '2';
mpc.baseMVA = 10;
mpc.bus = [
	1	3	0	0	0	0	1	1	0	12.66	1	1.1	0.9;
	2	1	0.1	0.05	0	0	1	1	0	12.66	1	1.1	0.9;
	3	1	0.1	0.05	0	0	1	1	0	12.66	1	1.1	0.9;
	4	1	0.1	0.05	0	0	1	1	0	12.66	2	1.1	0.9;
];
mpc.gen = [
	1	0	0	300	-300	1	100	1	250	-250;
];
mpc.branch = [
	1	2	0.01	0.01	0	0	0	0	0	0	1	-360	360;
	2	3	0.30	0.20	0	0	0	0	0	0	1	-360	360;
	2	4	0.30	0.20	0	0	0	0	0	0	1	-360	360;
];
"""


def limits(low: list[float], high: list[float], hard: list[bool] | None = None) -> Limits:
    """Voltage rows and nothing else."""
    n = len(low)
    rows = Bounds(tuple(f"bus.{i}.v_pu" for i in range(n)), ShieldReason.VOLTAGE, "pu", np.array(low), np.array(high),
                  np.full(n, 1e-3), np.array([True] * n if hard is None else hard), np.full(n, 127, np.int8), 0.01)
    return Limits(Watched(np.arange(n), np.empty(0, np.int64)), [rows])


# -- rows -------------------------------------------------------------------------------------------------------------


def test_excess_is_in_units_of_the_scale_and_nothing_where_there_is_no_voltage() -> None:
    """Over, under, inside, and a de-energised bus."""
    rows = limits([0.95] * 4, [1.05] * 4)
    assert rows.excess(np.array([1.07, 0.92, 1.0, np.nan])) == pytest.approx([2.0, 3.0, 0.0, 0.0])
    assert rows.keeps(np.array([1.05, 0.95, np.nan, 1.0]))
    assert not rows.keeps(np.array([1.0, 0.9499, 1.0, 1.0]))


def test_breaches_come_worst_first_and_say_what_is_left_of_them() -> None:
    """Name, bound, found, after, hard, overridden."""
    rows = limits([0.95] * 3, [1.05] * 3, [True, False, True])
    found = rows.breaches(np.array([1.06, 0.90, 1.0]), np.array([1.05, 0.96, 1.0]), 1)
    assert [(b.limit, b.bound, b.found, b.after, b.hard, b.overridden) for b in found] == [
        ("bus.1.v_pu", 0.95, 0.90, 0.96, False, False), ("bus.0.v_pu", 1.05, 1.06, 1.05, True, False)]
    assert found[1].excess == pytest.approx(0.01)


def test_the_limits_after_a_loss_say_so() -> None:
    """In the rows' names and reasons."""
    rows = after_loss(limits([0.9], [1.1]), "line.3")
    assert rows.names == ("bus.0.v_pu without line.3",)
    assert rows.reason.tolist() == [ShieldReason.CONTINGENCY]


# -- voltage ----------------------------------------------------------------------------------------------------------


def test_what_feeds_in_too_much_is_curtailed_to_the_band_and_not_further() -> None:
    """The highest voltage is at the limit but for the margin; the record says which limit."""
    simulation = told(shielded([PV]), 2, pv__p_set_kw=3000.0)
    assert 1.0495 < volts(simulation)[1] <= 1.05
    assert rung(simulation) == 1
    assert read(simulation, "shield.active") == 1.0
    assert ("pv.p_set_kw", "voltage", "bus.18.v_pu") in reasons(simulation)


def test_who_is_not_commanded_is_curtailed_too() -> None:
    """A plant without a command feeds in all it has: a limit does not ask who sent what."""
    simulation = at(shielded([PV]), 1)
    assert volts(simulation)[1] <= 1.05
    assert 1000 < read(simulation, "pv.p_kw") < 2000
    assert read(simulation, "shield.infeasible") == 0.0


def test_a_low_voltage_is_lifted() -> None:
    """A battery that is asked to charge at the end of the feeder does so only as far as the band lets it."""
    battery = {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 4000, "p_max_kw": 1000}
    simulation = told(shielded([battery], band(voltage=[{"v_min_pu": 0.93}])), 2, bat__p_set_kw=-1000.0)
    assert 0.93 <= volts(simulation)[0] < 0.9305
    assert -1000 < read(simulation, "bat.p_kw") < 0


def test_a_later_entry_replaces_an_earlier_one_at_its_buses() -> None:
    """Bus 18 keeps 1.02, its neighbours 1.05."""
    spec = band(voltage=[*BAND, {"buses": ["18"], "v_min_pu": 0.9, "v_max_pu": 1.02}])
    simulation = told(shielded([PV], spec), 2, pv__p_set_kw=3000.0)
    assert 1.0195 < read(simulation, "bus.18.v_pu") <= 1.02


def test_a_band_of_a_zone_binds_at_its_buses_alone(tmp_path: Path) -> None:
    """The same plant on two feeders: only that in the zone is curtailed."""
    (tmp_path / "zones.m").write_text(ZONES)
    plants = [{"kind": "pv", "name": f"pv{bus}", "bus": bus, "p_rated_kw": 2500} for bus in ("3", "4")]
    spec = band(voltage=[{"buses": ["zone:2"], "v_min_pu": 0.9, "v_max_pu": 1.05}])
    simulation = at(shielded(plants, spec, grid={"network": "zones.m"}, base_dir=tmp_path), 1)
    assert 1.0495 < read(simulation, "bus.4.v_pu") <= 1.05
    assert read(simulation, "bus.3.v_pu") > 1.05
    assert read(simulation, "pv3.p_kw") > 2450  # what the two have in common is a hundredth of the way
    assert read(simulation, "pv4.p_kw") < 2100


def test_a_request_within_the_limits_comes_back_to_the_bit() -> None:
    """Nothing is moved, and it costs no distance."""
    simulation = told(shielded([PV]), 2, pv__p_set_kw=1000.0 / 3)
    assert read(simulation, "pv.p_set_kw") == 1000.0 / 3
    assert (rung(simulation), read(simulation, "shield.distance_kva")) == (0, 0.0)


# -- loading, exchange, reserve ---------------------------------------------------------------------------------------


def test_a_branch_is_not_loaded_beyond_its_rating() -> None:
    """2 MW through a line rated 1.75 MVA, without any voltage limit."""
    grid = {**GRID, "ratings_ka": {"17-18": 0.08}}
    spec = {"voltage": [], "loading": [{"loading_max": 0.9}]}
    simulation = told(shielded([PV], spec, grid=grid), 2, pv__p_set_kw=3000.0)
    assert 0.895 < read(simulation, "line.17-18.loading") <= 0.9
    assert ("pv.p_set_kw", "loading", "line.17-18.loading") in reasons(simulation)


@pytest.mark.parametrize(("limit", "point", "bound"), [
    ({"p_min_kw": -500}, "grid.slack_p_kw", -500),
    ({"at": "line.5-6", "p_min_kw": -400}, "line.5-6.p_kw", -400),
])
def test_export_is_limited_where_the_scenario_says(limit: dict[str, object], point: str, bound: float) -> None:
    """At the point of common coupling, or in a branch against its direction."""
    simulation = told(shielded([PV], {"voltage": [], "loading": [], "exchange": [limit]}), 2, pv__p_set_kw=3000.0)
    assert bound <= read(simulation, point) < bound + 5
    assert rung(simulation) == 1
    assert {reason for _, reason, _ in reasons(simulation)} == {"exchange"}


def test_reactive_import_is_limited() -> None:
    """A battery asked for reactive power is held to what the connection may draw."""
    battery = {"kind": "battery", "name": "bat", "bus": "18", "e_rated_kwh": 4000, "p_max_kw": 1000}
    spec = {"voltage": [], "loading": [], "exchange": [{"q_max_kvar": 1500}]}
    simulation = told(shielded([battery], spec), 2, bat__q_set_kvar=-900.0)
    assert 1490 < read(simulation, "grid.slack_q_kvar") <= 1500


def test_generators_keep_their_reserve() -> None:
    """Two units of 500 kW, 300 kW of it kept together."""
    units = [{"kind": "generator", "name": f"g{i}", "bus": "6", "p_max_kw": 500, "p_kw": 100} for i in (1, 2)]
    spec = band(reserve=[{"devices": ["g*"], "up_kw": 300}])
    simulation = told(shielded(units, spec), 2, g1__p_set_kw=480.0, g2__p_set_kw=480.0)
    given = read(simulation, "g1.p_kw") + read(simulation, "g2.p_kw")
    assert 695 < given <= 700
    assert read(simulation, "g1.p_kw") == pytest.approx(read(simulation, "g2.p_kw"))  # both give way alike
    assert {reason for _, reason, _ in reasons(simulation)} == {"reserve"}


@pytest.mark.parametrize(("asked_kw", "most_kw"), [(99_000.0, 40_000.0), (30_000.0, 30_000.0)])
def test_a_regulating_generators_reserve_is_what_it_does_not_give(asked_kw: float, most_kw: float) -> None:
    """100 MW in place of a generator of the network, 60 MW of it kept: 40 may be given."""
    unit = {"kind": "generator", "name": "g", "element": "2", "p_max_kw": 100_000, "p_kw": 20_000}
    spec = {"voltage": [], "loading": [], "reserve": [{"devices": ["g"], "up_kw": 60_000}]}
    simulation = told(shielded([unit], spec, grid={"network": "case9"}), 2, g__p_set_kw=asked_kw)
    assert most_kw - 50 < read(simulation, "g.p_kw") <= most_kw


def test_a_unit_that_does_not_run_spins_no_reserve() -> None:
    """A PQ unit off, one on, a store idle, and two in place of generators, of which one is out."""
    grid = load_network("case9")
    topology = replace(grid.topology, gen_closed=np.array([True, False]))
    dispatch = Dispatch(np.array([0.0, 30.0, 0.0, 0.0, 0.0]), np.zeros(5), np.array([70.0, 70.0]), np.ones(2), topology)
    carriers = Carriers(np.arange(5), np.array([-1, -1, -1, 0, 1]), np.array([True, True, False, True, True]))
    assert carriers.up_kw(dispatch, np.full(5, 100.0)) == 70 + 100 + 30


# -- soft, margins, overrides -----------------------------------------------------------------------------------------


def test_a_soft_limit_alone_moves_nothing() -> None:
    """It is passed as asked."""
    simulation = told(shielded([PV], band(voltage=[{**BAND[0], "hard": False}])), 2, pv__p_set_kw=3000.0)
    assert read(simulation, "pv.p_kw") == 3000
    assert read(simulation, "shield.infeasible") == 0.0


def test_a_soft_limit_is_kept_where_a_hard_one_has_to_be_moved_for_anyhow() -> None:
    """Hard at 1.05 on bus 18, soft at 1.045 on bus 17: a little further, and both hold."""
    spec = band(voltage=[*BAND, {"buses": ["17"], "v_min_pu": 0.9, "v_max_pu": 1.045, "hard": False}])
    simulation = told(shielded([PV], spec), 2, pv__p_set_kw=3000.0)
    assert read(simulation, "bus.17.v_pu") <= 1.045
    assert read(simulation, "bus.18.v_pu") <= 1.05


def test_what_is_moved_keeps_the_margin_and_what_is_safe_is_not_moved_for_it() -> None:
    """A margin is room for our errors, not a second limit."""
    simulation = told(shielded([PV], band(margin_pu=0.005)), 2, pv__p_set_kw=3000.0)
    assert 1.044 < volts(simulation)[1] <= 1.0476
    told(simulation, 4, pv__p_set_kw=1400.0)  # 1.0496 pu: within the band, beyond the margin
    assert read(simulation, "pv.p_set_kw") == 1400.0
    assert volts(simulation)[1] > 1.049


def overridable(**more: object) -> dict[str, object]:
    """The band, that operators may override."""
    return band(voltage=[{**BAND[0], "override": "operator"}], **more)


def test_an_operator_may_pass_a_limit_that_says_so_and_it_is_told() -> None:
    """Applied as asked; the record names the limit."""
    simulation = told(shielded([PV], overridable()), 2, Authority.OPERATOR, pv__p_set_kw=2500.0)
    assert read(simulation, "pv.p_kw") == 2500
    told_of = record(simulation).events()
    assert "bus.18.v_pu" in set(told_of[told_of["kind"] == "shield.override"]["subject"])


def test_an_agent_may_not_pass_what_an_operator_may() -> None:
    """Authority counts, not that the limit can be overridden at all."""
    simulation = told(shielded([PV], overridable()), 2, Authority.AGENT, pv__p_set_kw=2500.0)
    assert volts(simulation)[1] <= 1.05


def test_an_operator_may_not_pass_what_nobody_may() -> None:
    """The default."""
    simulation = told(shielded([PV]), 2, Authority.OPERATOR, pv__p_set_kw=2500.0)
    assert volts(simulation)[1] <= 1.05


#: One operator's command anywhere, however harmless, and the limits that operators may override bind nobody: the


def test_an_operators_harmless_command_does_not_open_the_limit_for_agents() -> None:
    """What an agent asks is moved whatever else an operator has commanded somewhere."""
    load = {"kind": "load", "name": "ld", "bus": "5", "p_kw": 30, "q_kvar": 5}
    simulation = shielded([PV, load], overridable())
    told(simulation, 2, Authority.OPERATOR, ld__scale=1.0)
    told(simulation, 4, Authority.AGENT, pv__p_set_kw=2500.0)
    assert volts(simulation)[1] <= 1.05


def test_beside_an_operator_who_overrides_the_agent_alone_is_moved() -> None:
    """Both feed in too much together: the operator's plant stays as asked."""
    second = {**PV, "name": "pv2", "bus": "17"}
    simulation = shielded([PV, second], overridable())
    told(simulation, 2, Authority.OPERATOR, pv__p_set_kw=1000.0)
    told(simulation, 4, Authority.AGENT, pv2__p_set_kw=1000.0)
    assert read(simulation, "pv.p_kw") == 1000
    assert read(simulation, "pv2.p_kw") < 900
    assert volts(simulation)[1] <= 1.05
