"""The AC-optimal projection against pandapower, a closed form, differences; states without safe set points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from benchmarks import optimal_projection as op
from benchmarks.optimal_projection import Problem, least_violation, project
from benchmarks.projection_model import Model
from cosim.errors import GridError
from cosim.grid import Grid, Network, load_network
from cosim.grid.pandapower_network import network_of_pandapower
from cosim.state import Dispatch, FloatArray

FEEDER_BUSES = ("13", "18", "22", "25", "29", "33")


def _problem(network: Network, buses: tuple[str, ...], p_kw: FloatArray, q_kvar: FloatArray, s_kva: float) -> Problem:
    """Devices that ask for these powers, free to curtail to zero, in a band of 0.95 to 1.05 and loading 1."""
    n_bus, n = len(network.bus_names), len(buses)
    base_p, base_q = np.zeros(n_bus), np.zeros(n_bus)
    for element in (network.loads, network.sgens, network.fixed):
        np.add.at(base_p, element.bus, element.p_kw)
        np.add.at(base_q, element.bus, element.q_kvar)
    return Problem(network, network.topology, base_p, base_q, np.array([network.bus_names.index(b) for b in buses]),
                   np.zeros(n), np.maximum(p_kw, 0.0), np.full(n, s_kva), p_kw, q_kvar, np.full(n_bus, 0.95),
                   np.full(n_bus, 1.05), np.ones(len(network.branch_names)))


def _feeder(seed: int, load: float) -> Problem:
    """case33bw with 8.75 MW of inverters in full sun and random reactive requests."""
    q = np.random.default_rng(seed).uniform(-0.8, 0.8, 6) * 1750.0
    problem = _problem(load_network("case33bw"), FEEDER_BUSES, np.full(6, 1458.0), q, 1750.0)
    return replace(problem, base_p_kw=load * problem.base_p_kw, base_q_kvar=load * problem.base_q_kvar)


def _two_buses(r_ohm: float, x_ohm: float) -> Network:
    """A reference at 1.0 pu and one bus behind an impedance, 10 kV."""
    net = pp.create_empty_network(sn_mva=1.0)
    here, there = pp.create_bus(net, 10.0, name="a"), pp.create_bus(net, 10.0, name="b")
    pp.create_ext_grid(net, here)
    pp.create_line_from_parameters(net, here, there, 1.0, r_ohm, x_ohm, 0.0, max_i_ka=10.0)
    return network_of_pandapower(net, "two_buses", "test")


@pytest.mark.parametrize("seed", [1, 2])
def test_pandapower_confirms_the_feeder(seed: int) -> None:
    """pandapower's own case33bw has the optimum's voltages at its injections: within the band, and at its edge."""
    load = 0.4
    best = project(_feeder(seed, load))
    net = pn.case33bw()
    net.load[["p_mw", "q_mvar"]] *= load
    for bus, p, q in zip(FEEDER_BUSES, best.p_kw, best.q_kvar, strict=True):
        pp.create_sgen(net, int(bus) - 1, p / 1e3, q / 1e3)
    pp.runpp(net, tolerance_mva=1e-10, numba=False)
    v_pu = net.res_bus.vm_pu.to_numpy()
    assert best.feasible
    assert best.distance_kva > 100.0
    assert v_pu == pytest.approx(best.v_pu, abs=1e-8)
    assert v_pu.max() == pytest.approx(1.05, abs=1e-7)
    assert np.hypot(best.p_kw, best.q_kvar).max() <= 1750.0 + 1e-3


def test_pandapower_confirms_loadings() -> None:
    """On CIGRE MV the optimum uses up a branch rating, and pandapower finds the same loadings."""
    network = load_network("cigre_mv")
    buses = ("Bus_5", "Bus_8", "Bus_11", "Bus_14")
    problem = _problem(network, buses, np.full(4, 5000.0), np.array([900.0, -400.0, 0.0, 1200.0]), 6000.0)
    best = project(problem)
    net = network.pandapower_net
    for bus, p, q in zip(problem.device_bus, best.p_kw, best.q_kvar, strict=True):
        pp.create_sgen(net, net.bus.index[bus], p / 1e3, q / 1e3)
    pp.runpp(net, tolerance_mva=1e-10, numba=False, calculate_voltage_angles=True)
    loading = np.concatenate([net.res_line.loading_percent, net.res_trafo.loading_percent]) / 100.0
    assert best.feasible
    assert loading == pytest.approx(best.loading, abs=1e-7)
    assert loading.max() == pytest.approx(1.0, abs=1e-6)
    assert net.res_bus.vm_pu.to_numpy() == pytest.approx(best.v_pu, abs=1e-8)


def test_power_ratings_and_held_voltages() -> None:
    """With generators and ratings in apparent power (case9) the engine's own power flow finds the rating used up."""
    network = load_network("case9")
    free = _problem(network, ("5", "7"), np.array([150e3, 120e3]), np.array([0.0, 30e3]), 200e3)
    free = replace(free, v_min_pu=np.full(9, 0.9), v_max_pu=np.full(9, 1.1))
    at_request = project(replace(free, loading_max=np.full(9, 10.0)))
    problem = replace(free, loading_max=np.full(9, 0.8 * float(np.nanmax(at_request.loading))))
    best = project(problem)
    grid = Grid(network, problem.device_bus)
    state = grid.trial(replace(grid.dispatch0(), p_kw=best.p_kw, q_kvar=best.q_kvar))
    assert at_request.distance_kva == 0.0
    assert best.feasible
    assert not network.rating_is_current
    assert state.loading == pytest.approx(best.loading, abs=1e-9)
    assert np.nanmax(state.loading) == pytest.approx(problem.loading_max[0], abs=1e-6)


def test_nothing_nearer_is_safe() -> None:
    """Of random points about the optimum, none nearer to the request keeps the band; some of the others do."""
    problem = _feeder(3, 0.6)
    problem = replace(problem, q_request_kvar=0.6 * problem.q_request_kvar)  # within the ratings: only voltages bind
    best = project(problem)
    loads = 0.6 * problem.network.loads.p_kw, 0.6 * problem.network.loads.q_kvar
    grid = Grid(problem.network, np.concatenate([problem.device_bus, problem.network.loads.bus]),
                owned_loads=range(len(problem.network.load_names)))
    zero, rng = grid.dispatch0(), np.random.default_rng(0)
    nearer = safe = 0
    for _ in range(3000):
        size, away = 10.0 ** rng.uniform(-2, 2), rng.uniform(-0.5, 1.0)
        off = (best.p_kw - problem.p_request_kw, best.q_kvar - problem.q_request_kvar)
        p, q = (at + size * (away * by / best.distance_kva + rng.normal(0, 0.3, 6))
                for at, by in zip((best.p_kw, best.q_kvar), off, strict=True))
        p = np.clip(p, 0.0, problem.p_max_kw)
        room = np.sqrt(problem.s_max_kva**2 - p**2)
        q = np.clip(q, -room, room)
        state = grid.trial(Dispatch(np.concatenate([p, loads[0]]), np.concatenate([q, loads[1]]), zero.gen_p_kw,
                                    zero.gen_v_pu, zero.topology))
        kept = state.v_pu.max() <= 1.05 and state.v_pu.min() >= 0.95
        distance = np.hypot(np.linalg.norm(p - problem.p_request_kw), np.linalg.norm(q - problem.q_request_kvar))
        if distance < best.distance_kva * (1.0 - 1e-9):
            nearer += 1
            assert not kept
        safe += bool(kept)
    assert nearer > 300
    assert safe > 100


def test_starts_agree_and_short_distances_are_exact() -> None:
    """A request a thousandth of the way from the optimum is projected back by exactly that thousandth."""
    problem = _feeder(4, 0.5)
    best = project(problem, start=(np.full(6, 700.0), np.full(6, -900.0)))
    p = best.p_kw + 1e-3 * (problem.p_request_kw - best.p_kw)
    q = best.q_kvar + 1e-3 * (problem.q_request_kvar - best.q_kvar)
    near = project(replace(problem, p_request_kw=p, q_request_kvar=q))
    assert "4 of 4 starts" in best.status
    assert near.distance_kva == pytest.approx(1e-3 * best.distance_kva, rel=1e-6)


def test_a_safe_request_is_the_answer() -> None:
    """Where the request keeps every limit, it comes back bit for bit."""
    problem = _feeder(1, 0.5)
    q = np.array([-100.0, -50.0, 0.0, 10.0, 20.0, -30.0])
    small = replace(problem, p_request_kw=np.full(6, 123.4), q_request_kvar=q)
    wide = replace(problem, v_max_pu=np.full(33, np.nan), s_max_kva=np.full(6, np.inf))
    assert project(small).distance_kva == 0.0
    assert np.array_equal(project(small).p_kw, small.p_request_kw)
    assert np.array_equal(project(wide).q_kvar, wide.q_request_kvar)


@pytest.mark.parametrize(("p_kw", "q_kvar"), [(9000.0, 0.0), (7000.0, 3000.0), (9000.0, -2000.0)])
def test_two_buses_in_closed_form(p_kw: float, q_kvar: float) -> None:
    """Behind one impedance, |V| = v_max is a circle in (p, q), and the projection is the nearest point on it."""
    network, v = _two_buses(1.0, 0.6), 1.04
    problem = _problem(network, ("b",), np.array([p_kw]), np.array([q_kvar]), np.inf)
    best = project(replace(problem, v_max_pu=np.full(2, v)))
    # |V1|^2 |V2|^2 = |V2^2 - Z conj(S)|^2: a circle about conj(V2^2 / Z)* with radius V1 V2 / |Z|.
    z = (1.0 + 0.6j) / 100.0
    request, centre = complex(p_kw, q_kvar) / 1e3, v**2 * np.conj(1.0 / z)
    on = centre + v / abs(z) * (request - centre) / abs(request - centre)
    assert best.p_kw[0] == pytest.approx(1e3 * on.real, abs=1e-2)
    assert best.q_kvar[0] == pytest.approx(1e3 * on.imag, abs=1e-2)
    assert best.distance_kva == pytest.approx(1e3 * abs(on - request), rel=1e-8)


def test_weights_choose_what_moves() -> None:
    """Reactive power a thousand times cheaper: active power is curtailed less than with equal weights."""
    problem = _feeder(1, 0.8)
    cheap_q = project(replace(problem, weight_q=np.full(6, 1e-3)))
    assert cheap_q.feasible
    assert cheap_q.p_kw.sum() > project(problem).p_kw.sum() + 100.0


def test_a_state_without_safe_setpoint_is_recognised() -> None:
    """Units that must run at full power at unity power factor lift the voltage whatever is asked; freed, they can."""
    problem = _feeder(1, 0.3)
    none = np.zeros(6)
    stuck = replace(problem, p_min_kw=problem.p_max_kw, q_min_kvar=none, q_max_kvar=none + 100.0)
    assert not project(stuck).feasible
    best = least_violation(stuck)
    assert not best.feasible
    assert best.violation_pu > 0.01
    assert "3 of 3" in best.status
    assert best.q_kvar == pytest.approx(none, abs=0.01)
    found = least_violation(problem)
    assert found.feasible
    assert found.violation_pu < 1e-9


def test_the_least_violation_is_no_more_than_anywhere() -> None:
    """Random set points of an infeasible state violate by more than the least violation."""
    problem = replace(_feeder(2, 0.3), p_min_kw=np.full(6, 1458.0), q_min_kvar=np.full(6, -200.0))
    least, model, rng = least_violation(problem), Model(problem), np.random.default_rng(0)
    for _ in range(50):
        other = op.judged(model, problem.p_max_kw, rng.uniform(-200.0, 900.0, 6), "random")
        assert other.violation_pu > least.violation_pu
    assert least.violation_pu > 0


@pytest.mark.parametrize("case", ["case9", "cigre_mv", "case33bw"])
@pytest.mark.parametrize("elastic", [False, True])
def test_derivatives(case: str, elastic: bool) -> None:
    """Gradients of all constraints and the Hessian of the Lagrangian are those of central differences."""
    network, rng = load_network(case), np.random.default_rng(0)
    count = len(network.bus_names)
    problem = _problem(network, network.bus_names[2:4], np.array([500.0, 800.0]), np.array([100.0, -50.0]), 1e3)
    nlp = op._Nlp(Model(problem), elastic)
    x = rng.normal(0.0, 0.05, nlp.size) + np.r_[np.ones(nlp.n_v // 2), np.zeros(nlp.size - nlp.n_v // 2)]
    h, g, dh, dg = nlp.constraints(x)
    multipliers = {"eqnonlin": rng.normal(size=g.size), "ineqnonlin": rng.normal(size=h.size)}
    assert h.size > count - 2

    def slope(at: FloatArray) -> FloatArray:
        _, _, of_h, of_g = nlp.constraints(at)
        return 2.0 * nlp.cost(at)[1] + of_h @ multipliers["ineqnonlin"] + of_g @ multipliers["eqnonlin"]

    hessian = nlp.hessian(x, multipliers, 2.0).toarray()
    for i in range(nlp.size):
        step = np.zeros(nlp.size)
        step[i] = 1e-5
        ahead, behind = nlp.constraints(x + step), nlp.constraints(x - step)
        assert dh[[i]].toarray().ravel() == pytest.approx((ahead[0] - behind[0]) / 2e-5, rel=1e-5, abs=1e-4)
        assert dg[[i]].toarray().ravel() == pytest.approx((ahead[1] - behind[1]) / 2e-5, rel=1e-5, abs=1e-4)
        assert hessian[i] == pytest.approx((slope(x + step) - slope(x - step)) / 2e-5, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("case", ["case30", "case300", "cigre_mv_all", "mv_oberrhein"])
def test_power_flow_is_the_engines(case: str) -> None:
    """The independent power flow has the engine's voltages and loadings."""
    network = load_network(case)
    problem = _problem(network, network.bus_names[:1], np.zeros(1), np.zeros(1), 1e3)
    at_rest = op.judged(Model(problem), np.zeros(1), np.zeros(1), "")
    state = Grid(network, [0]).state
    assert at_rest.v_pu == pytest.approx(state.v_pu, abs=1e-10, nan_ok=True)
    assert at_rest.loading == pytest.approx(state.loading, abs=1e-9, nan_ok=True)


def test_requests_that_are_no_numbers_are_refused() -> None:
    """A NaN in the request is named."""
    problem = _feeder(1, 0.5)
    with pytest.raises(GridError, match="q_request_kvar"):
        project(replace(problem, q_request_kvar=np.full(6, np.nan)))
