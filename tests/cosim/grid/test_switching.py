"""After every kind of switching, the state is that of an independent solver which was told the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.grid import Grid, Network, load_network
from cosim.grid.pandapower_network import network_of_pandapower
from cosim.state import Topology
from tests.cosim.grid.oracles import (
    assert_matches_pandapower,
    example_net,
    pypower_case,
    run,
    solved_by_pandapower,
    solved_by_pypower,
)


def solved(network: Network, topology: Topology) -> Grid:
    """A grid committed in its initial topology and then in this one, so that the start is warm."""
    grid = Grid(network, [])
    dispatch = replace(grid.dispatch0(), topology=topology)
    grid.commit(grid.trial(dispatch), dispatch)
    return grid


@pytest.fixture(scope="module")
def cigre_mv() -> Network:
    return load_network("cigre_mv")


@pytest.fixture(scope="module")
def multi() -> Network:
    """A network with lines, transformers with taps on either side, shunts, generators and all switch kinds."""
    net = example_net("example_simple")
    net.trafo.loc[net.trafo.index[0], ["tap_side", "tap_neutral", "tap_pos", "tap_step_percent"]] = ["lv", 0, 1, 1.5]
    pp.create_shunt(net, bus=net.bus.index[4], q_mvar=-1.2, p_mw=0.01, step=1, max_step=3, vn_kv=21.0)
    pp.create_sgen(net, bus=net.bus.index[5], p_mw=1.0, q_mvar=0.2)
    return network_of_pandapower(net, "multi", "test")


def test_every_line_of_cigre_mv_opened(cigre_mv: Network) -> None:
    """Opening any line agrees with runpp, islands included."""
    for line in range(len(cigre_mv.line_names)):
        topology = cigre_mv.topology.with_line(line, False)
        assert_matches_pandapower(solved(cigre_mv, topology).state, solved_by_pandapower(cigre_mv, topology))


def test_every_switch_of_cigre_mv_moved(cigre_mv: Network) -> None:
    """Moving any line or transformer switch agrees with runpp: one-sided lines keep their charging."""
    for switch in range(len(cigre_mv.switch_names)):
        moved = not cigre_mv.topology.switch_closed[switch]
        topology = cigre_mv.topology.with_switch(switch, moved)
        assert_matches_pandapower(solved(cigre_mv, topology).state, solved_by_pandapower(cigre_mv, topology))


def test_every_bus_switch_of_cigre_lv_opened() -> None:
    """Opening a bus-bus switch de-energises what it fed, as in runpp."""
    network = load_network("cigre_lv")
    for switch in range(len(network.switch_names)):
        topology = network.topology.with_switch(switch, False)
        state = solved(network, topology).state
        assert np.isnan(state.v_pu).any()
        assert_matches_pandapower(state, solved_by_pandapower(network, topology))


def test_transformer_out(cigre_mv: Network) -> None:
    """A transformer out of service takes its feeder with it; both out leave the external grid alone."""
    for trafo in (0, 1):
        topology = cigre_mv.topology.with_trafo(trafo, False)
        assert_matches_pandapower(solved(cigre_mv, topology).state, solved_by_pandapower(cigre_mv, topology))
    both = cigre_mv.topology.with_trafo(0, False).with_trafo(1, False)
    state = solved(cigre_mv, both).state
    assert np.isnan(state.v_pu).sum() == len(cigre_mv.bus_names) - 1
    assert state.unserved_kw == pytest.approx(-cigre_mv.loads.p_kw[cigre_mv.loads.bus != 0].sum())


@pytest.mark.parametrize("tap", [-2.0, 0.0, 2.0])
def test_taps(multi: Network, cigre_mv: Network, tap: float) -> None:
    """A tap on the low-voltage side (ratio and impedance move) and an assumed one agree with runpp."""
    for network in (multi, cigre_mv):
        topology = network.topology.with_tap(0, tap)
        assert_matches_pandapower(solved(network, topology).state, solved_by_pandapower(network, topology))


@pytest.mark.parametrize("step", [0.0, 2.0, 3.0])
def test_shunt_steps(multi: Network, step: float) -> None:
    """Shunt steps, referred to another rated voltage than the bus's, agree with runpp."""
    last = len(multi.shunt_names) - 1
    topology = multi.topology.with_shunt(last, step)
    assert_matches_pandapower(solved(multi, topology).state, solved_by_pandapower(multi, topology))


def test_generator_out(multi: Network) -> None:
    """A generator out of service no longer holds its voltage, as in runpp."""
    topology = multi.topology.with_gen(0, False)
    state = solved(multi, topology).state
    assert state.gen_p_kw[0] == state.gen_q_kvar[0] == 0.0
    assert_matches_pandapower(state, solved_by_pandapower(multi, topology))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_positions(multi: Network, data: st.DataObject) -> None:
    """Any combination of positions agrees with runpp."""
    t = multi.topology
    bits = st.booleans()
    topology = Topology(
        *(np.array(data.draw(st.lists(bits, min_size=a.size, max_size=a.size)), dtype=bool)
          for a in (t.line_closed, t.trafo_closed, t.gen_closed, t.switch_closed)),
        np.array(data.draw(st.lists(st.integers(-2, 2), min_size=t.tap.size, max_size=t.tap.size)), dtype=float),
        t.shunt_step)
    assert_matches_pandapower(solved(multi, topology).state, solved_by_pandapower(multi, topology))


def test_case118_branch_and_generator_outages_agree_with_pypower() -> None:
    """Line, transformer and generator outages of case118 agree with PYPOWER."""
    network = load_network("case118")
    rows = pypower_case(118)["branch"]
    is_trafo = rows[:, 8] != 0
    for kind, position in (("line", 0), ("line", 100), ("trafo", 2), ("gen", 5)):
        case = pypower_case(118)
        t = network.topology
        if kind == "gen":
            case["gen"][position, 7] = 0
            topology = t.with_gen(position, False)
        else:
            row = np.flatnonzero(is_trafo if kind == "trafo" else ~is_trafo)[position]
            case["branch"][row, 10] = 0
            topology = t.with_trafo(position, False) if kind == "trafo" else t.with_line(position, False)
        state = solved(network, topology).state
        assert np.abs(state.v_pu - solved_by_pypower(case)["bus"][:, 7]).max() < 1e-9


def test_losing_the_slack_machine_is_an_outage() -> None:
    """The largest remaining generator becomes the reference; without any, everything is de-energised."""
    network = load_network("case9")
    without = network.topology.with_gen(0, False)
    state = solved(network, without).state
    assert state.converged
    assert state.gen_p_kw[0] == 0.0
    assert state.slack_p_kw == pytest.approx(315e3 + state.losses_kw - 85e3, rel=1e-6)
    dark = solved(network, without.with_gen(1, False).with_gen(2, False)).state
    assert dark.converged
    assert np.isnan(dark.v_pu).all()
    assert dark.unserved_kw == pytest.approx(315e3)


def test_several_infeeds_with_other_voltages_agree_with_runpp() -> None:
    """External grids that differ in magnitude and angle, in one island, need no other solver."""
    net = example_net("create_cigre_network_mv", with_der=False)
    net.switch["closed"] = True
    pp.create_ext_grid(net, bus=14, vm_pu=1.01, va_degree=-31.0, name="second")
    pp.create_ext_grid(net, bus=6, vm_pu=0.99, va_degree=-31.5, name="third")
    network = network_of_pandapower(net, "fed from three sides", "test")
    grid = Grid(network, [])
    assert grid.solver == "lightsim2grid"
    assert_matches_pandapower(grid.state, solved_by_pandapower(network))


def test_returning_to_the_old_positions_returns_the_old_state(cigre_mv: Network) -> None:
    """Opening and closing a line leaves nothing behind."""
    grid = Grid(cigre_mv, [])
    before = grid.state
    opened = replace(grid.dispatch0(), topology=cigre_mv.topology.with_line(3, False))
    grid.commit(grid.trial(opened), opened)
    again = grid.trial(grid.dispatch0())
    np.testing.assert_allclose(again.v_pu, before.v_pu, rtol=0, atol=1e-11)


@pytest.mark.parametrize("bus", [0, 12, 14])
def test_buses_out_of_service_agree_with_runpp(bus: int) -> None:
    """A bus out of service is dark, and lines that end there hang on their other end."""
    net = example_net("create_cigre_network_mv", with_der=False)
    net.bus.loc[bus, "in_service"] = False
    state = Grid(network_of_pandapower(net, "bus out", "test"), []).state
    assert np.isnan(state.v_pu[bus])
    if bus:  # without its infeed the network is dark, which runpp calls an error
        assert_matches_pandapower(state, run(net))


def test_slack_generator_instead_of_an_external_grid() -> None:
    """A pandapower generator marked slack is the reference."""
    net = example_net("create_cigre_network_mv", with_der=False)
    net.ext_grid = net.ext_grid.iloc[:0]
    pp.create_gen(net, 0, p_mw=0.0, vm_pu=1.03, slack=True)
    pp.create_gen(net, 5, p_mw=1.0, vm_pu=1.0)
    state = Grid(network_of_pandapower(net, "slack generator", "test"), []).state
    run(net)
    assert np.abs(state.v_pu - net.res_bus.vm_pu.to_numpy()).max() < 1e-10
    np.testing.assert_allclose(state.gen_q_kvar, net.res_gen.q_mvar * 1e3, rtol=0, atol=1e-3)


def test_switching_where_pandapower_solves() -> None:
    """The pandapower solver follows positions too."""
    net = example_net("example_multivoltage")
    network = network_of_pandapower(net, "multivoltage", "test")
    topology = network.topology.with_line(2, False).with_tap(0, 1.0).with_switch(5, False)
    state = solved(network, topology).state
    expected = solved_by_pandapower(network, topology).res_bus.vm_pu.to_numpy()
    np.testing.assert_allclose(state.v_pu, expected, rtol=0, atol=1e-9)
