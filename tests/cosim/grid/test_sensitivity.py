"""The linearisation by the solver's own Jacobian is what central finite differences of the power flow say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest

from cosim.grid import Grid, Network, load_network
from cosim.grid.pandapower_network import network_of_pandapower
from cosim.state import Directions, Dispatch, FloatArray, GridState, Response, Sensitivity
from tests.cosim.grid.oracles import example_net

STEP_KW, STEP_PU = 0.2, 1e-5


def switched_net() -> Network:
    """Lines, taps on either side, shunts, generators, and buses fused by closed bus-bus switches."""
    net = example_net("example_simple")
    net.trafo.loc[net.trafo.index[0], ["tap_side", "tap_neutral", "tap_pos", "tap_step_percent"]] = ["lv", 0, 1, 1.5]
    pp.create_shunt(net, bus=net.bus.index[4], q_mvar=-1.2, p_mw=0.01, step=1, max_step=3, vn_kv=21.0)
    return network_of_pandapower(net, "switched", "test")


def two_references() -> Network:
    """A chain between two external grids of different voltages and angles, with a branch that is dead."""
    net = pp.create_empty_network(sn_mva=10.0)
    buses = [pp.create_bus(net, 20.0) for _ in range(7)]
    pp.create_ext_grid(net, buses[0], vm_pu=1.02)
    pp.create_ext_grid(net, buses[4], vm_pu=0.99, va_degree=-1.5)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (2, 5)):
        pp.create_line_from_parameters(net, buses[a], buses[b], 4.0, 0.3, 0.35, 10.0, 0.3)
    pp.create_line_from_parameters(net, buses[5], buses[6], 4.0, 0.3, 0.35, 10.0, 0.3, in_service=False)
    pp.create_load(net, buses[2], 3.0, 1.0)
    return network_of_pandapower(net, "two", "test")


def tapped(name: str) -> Callable[[], Network]:
    """A template with every transformer off its neutral tap."""
    def made() -> Network:
        network = load_network(name)
        topology = network.topology
        taps = np.where(np.arange(topology.tap.size) % 2 == 0, 1.0, -2.0)
        return replace(network, topology=replace(topology, tap=taps))
    return made


NETWORKS: dict[str, Callable[[], Network]] = {
    "case33bw": lambda: load_network("case33bw"), "case118": tapped("case118"), "cigre_mv": tapped("cigre_mv"),
    "switched": switched_net, "two_references": two_references,
}


def everywhere(network: Network) -> tuple[Grid, Dispatch]:
    """A grid with an injection at every bus, and a dispatch of some power at each."""
    count = len(network.bus_names)
    grid = Grid(network, np.arange(count))
    rng = np.random.default_rng(7)
    size = 20.0 if network.name != "case118" else 500.0
    return grid, replace(grid.dispatch0(), p_kw=rng.normal(0, size, count), q_kvar=rng.normal(0, size, count))


def directions(network: Network) -> Directions:
    """Both powers of some injections, a mixture, and power and set point of regulating generators."""
    count = len(network.bus_names)
    some = np.unique(np.linspace(0, count - 1, min(count, 9)).astype(np.int64))
    gens = [i for i in range(len(network.gen_names)) if network.gens.regulates[i] and not network.gens.slack[i]][:4]
    k, g = some.size, len(gens)
    none = np.full(2 * g, -1)
    return Directions(
        np.concatenate([some, some, some, none]), np.concatenate([np.ones(k), np.zeros(k), np.full(k, 2.0),
                                                                  np.zeros(2 * g)]),
        np.concatenate([np.zeros(k), np.ones(k), np.full(k, -0.7), np.zeros(2 * g)]),
        np.concatenate([np.full(3 * k, -1), gens, gens]).astype(np.int64),
        np.concatenate([np.zeros(3 * k), np.ones(g), np.zeros(g)]),
        np.concatenate([np.zeros(3 * k + g), np.ones(g)]))


def moved(dispatch: Dispatch, along: Directions, k: int, by: float) -> Dispatch:
    """The dispatch `by` of direction `k` on."""
    p, q, gen_p, gen_v = (part.copy() for part in (dispatch.p_kw, dispatch.q_kvar, dispatch.gen_p_kw,
                                                   dispatch.gen_v_pu))
    if along.injection[k] >= 0:
        p[along.injection[k]] += by * along.p_kw[k]
        q[along.injection[k]] += by * along.q_kvar[k]
    if along.gen[k] >= 0:
        gen_p[along.gen[k]] += by * along.gen_p_kw[k]
        gen_v[along.gen[k]] += by * along.gen_v_pu[k]
    return replace(dispatch, p_kw=p, q_kvar=q, gen_p_kw=gen_p, gen_v_pu=gen_v)


def figures(state: GridState) -> list[FloatArray]:
    """What a sensitivity speaks of: voltages, loadings, branch powers, slack powers; nothing where there is none."""
    assert state.converged, state.diagnosis
    return [np.nan_to_num(part) for part in (state.v_pu, state.loading, state.p_from_kw, state.q_from_kvar)] + [
        np.array([state.slack_p_kw, state.slack_q_kvar])]


def linear(found: Sensitivity, state: GridState, k: int) -> list[FloatArray]:
    """The same figures' change along direction `k`, as the linearisation has it."""
    branches = np.arange(state.loading.size)
    p_kw, q_kvar = found.branch_power(branches)
    slack_p, slack_q = found.slack()
    return [np.nan_to_num(part) for part in (found.v_pu(np.arange(state.v_pu.size))[:, k],
                                             found.loading(branches)[:, k], p_kw[:, k], q_kvar[:, k])] + [
        np.array([slack_p[k], slack_q[k]])]


@pytest.mark.parametrize("name", NETWORKS)
def test_agrees_with_finite_differences(name: str) -> None:
    """Every figure along every direction, to a share of 1e-5 of the largest."""
    network = NETWORKS[name]()
    grid, dispatch = everywhere(network)
    state, along = grid.trial(dispatch), directions(network)
    found = state.sensitivity(along)
    assert found is not None
    for k in range(along.injection.size):
        step = STEP_PU if along.gen_v_pu[k] else STEP_KW
        up, down = (figures(grid.trial(moved(dispatch, along, k, way * step))) for way in (1.0, -1.0))
        for have, high, low in zip(linear(found, state, k), up, down, strict=True):
            want = (high - low) / (2.0 * step)
            noise = 1e-9 * float(np.abs(high).max(initial=1.0)) / step
            np.testing.assert_allclose(have, want, rtol=0, atol=1e-5 * float(np.abs(want).max(initial=0.0)) + noise,
                                       err_msg=f"direction {k}")


def test_ratings_are_by_current_or_by_apparent_power() -> None:
    """The networks above rate both ways, so that both have been compared."""
    assert load_network("cigre_mv").rating_is_current
    assert not load_network("case33bw").rating_is_current


def test_what_is_dead_does_not_move() -> None:
    """Injecting at a de-energised bus changes nothing, and nothing changes its voltage."""
    network = two_references()
    grid, dispatch = everywhere(network)
    state = grid.trial(dispatch)
    assert np.isnan(state.v_pu[6])
    along = Directions(np.array([6, 2]), np.ones(2), np.zeros(2), np.full(2, -1), np.zeros(2), np.zeros(2))
    found = state.sensitivity(along)
    assert found is not None
    assert not found.v_pu(np.arange(7))[:, 0].any()
    assert not found.v_pu(np.array([6])).any()
    assert found.v_pu(np.array([2]))[0, 1] > 0
    assert found.slack()[0][0] == 0.0


def test_fused_buses_move_together() -> None:
    """Whichever of two fused buses is fed, both rise alike."""
    network = switched_net()
    grid, dispatch = everywhere(network)
    state = grid.trial(dispatch)
    fused = [(int(bus), int(element)) for kind, bus, element, closed in zip(
        network.switches.kind, network.switches.bus, network.switches.element, network.topology.switch_closed,
        strict=True) if kind == "bus" and closed]
    assert fused
    for one, other in fused:
        along = Directions(np.array([one, other]), np.zeros(2), np.ones(2), np.full(2, -1), np.zeros(2), np.zeros(2))
        found = state.sensitivity(along)
        assert found is not None
        change = found.v_pu(np.array([one, other]))
        np.testing.assert_array_equal(change, np.full((2, 2), change[0, 0]))


def test_devices_that_answer_to_voltage_are_counted_in() -> None:
    """With a volt-var and a voltage-dependent load, the change is that of the equilibrium of both."""
    network = load_network("case33bw")
    grid, dispatch = everywhere(network)
    slope_p, slope_q = np.zeros(33), np.zeros(33)
    slope_q[[17, 24]], slope_p[[30, 17]] = -8000.0, (-600.0, -300.0)

    def settled(given: Dispatch) -> GridState:
        state = grid.trial(given)
        for _ in range(100):
            off = state.v_pu - 0.95
            state = grid.trial(replace(given, p_kw=given.p_kw + slope_p * off, q_kvar=given.q_kvar + slope_q * off))
        return state

    state = settled(dispatch)
    along = Directions(np.array([17, 17, 30, 5]), np.array([1.0, 0, 1, 0]), np.array([0, 1.0, 0, 1]), np.full(4, -1),
                       np.zeros(4), np.zeros(4))
    answering = state.sensitivity(along, Response(slope_p, slope_q))
    stiff = state.sensitivity(along)
    assert answering is not None
    assert stiff is not None
    for k in range(4):
        want = (settled(moved(dispatch, along, k, 5.0)).v_pu - settled(moved(dispatch, along, k, -5.0)).v_pu) / 10.0
        have = answering.v_pu(np.arange(33))[:, k]
        np.testing.assert_allclose(have, want, rtol=0, atol=1e-4 * float(np.abs(want).max()))
        assert np.abs(stiff.v_pu(np.arange(33))[:, k] - want).max() > 0.05 * np.abs(want).max()


def test_a_state_without_solution_has_no_linearisation() -> None:
    """Nothing to linearise about."""
    grid = Grid(load_network("case33bw"), [17])
    state = grid.trial(replace(grid.dispatch0(), p_kw=np.array([-1e6])))
    assert not state.converged
    assert state.sensitivity(Directions(np.array([0]), np.ones(1), np.zeros(1), np.array([-1]), np.zeros(1),
                                        np.zeros(1))) is None


def test_a_network_of_references_alone_moves_nothing() -> None:
    """Every bus is held: no unknown is left, and the slack takes what is injected."""
    net = pp.create_empty_network()
    bus = pp.create_bus(net, 20.0)
    pp.create_ext_grid(net, bus)
    grid = Grid(network_of_pandapower(net, "one", "test"), [0])
    state = grid.trial(replace(grid.dispatch0(), p_kw=np.array([5.0])))
    found = state.sensitivity(Directions(np.array([0]), np.ones(1), np.full(1, 0.5), np.array([-1]), np.zeros(1),
                                         np.zeros(1)))
    assert found is not None
    assert found.v_pu(np.array([0])).tolist() == [[0.0]]
    np.testing.assert_allclose(np.array(found.slack()).ravel(), [-1.0, -0.5])
