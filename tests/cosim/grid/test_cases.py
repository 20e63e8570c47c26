"""The networks as read, solved, against independent solvers."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.grid import Grid, load_network
from tests.cosim.grid.oracles import (
    assert_matches_pandapower,
    example_net,
    pypower_case,
    run,
    solved_by_pandapower,
    solved_by_pypower,
)

PANDAPOWER_TEMPLATES = ("cigre_mv", "cigre_mv_pv_wind", "cigre_mv_all", "cigre_lv", "mv_oberrhein", "kerber_dorfnetz",
                        "four_loads_with_branches_out", "kerber_landnetz_freileitung_1", "kerber_landnetz_kabel_1",
                        "kerber_vorstadtnetz_kabel_1")


@pytest.mark.parametrize("number", [9, 14, 24, 30, 39, 57, 118, 300])
def test_matpower_cases_agree_with_pypower(number: int) -> None:
    """Voltages, angles, generator and branch powers are PYPOWER's."""
    result = solved_by_pypower(pypower_case(number))
    network = load_network(f"case{number}")
    state = Grid(network, []).state
    assert state.converged
    assert np.abs(state.v_pu - result["bus"][:, 7]).max() < 1e-9
    assert np.abs(state.angle_deg - result["bus"][:, 8]).max() < 1e-7
    np.testing.assert_allclose(state.gen_p_kw, result["gen"][:, 1] * 1e3, rtol=0, atol=1e-3)
    np.testing.assert_allclose(state.gen_q_kvar, result["gen"][:, 2] * 1e3, rtol=0, atol=1e-3)
    is_trafo = (result["branch"][:, 8] != 0) | (result["branch"][:, 9] != 0)
    flows = np.concatenate([result["branch"][~is_trafo, 13], result["branch"][is_trafo, 13]]) * 1e3
    np.testing.assert_allclose(state.p_from_kw, flows, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", PANDAPOWER_TEMPLATES)
def test_pandapower_templates_agree_with_runpp(name: str) -> None:
    """Open switches, several infeeds and transformer groups mean what they mean to pandapower."""
    network = load_network(name)
    grid = Grid(network, [])
    assert grid.solver == "lightsim2grid"
    assert_matches_pandapower(grid.state, solved_by_pandapower(network))


def test_case33bw_agrees_with_pandapower() -> None:
    """The feeder shipped as MATPOWER text is pandapower's case33bw."""
    net = run(example_net("case33bw"))
    state = Grid(load_network("case33bw"), []).state
    assert np.abs(state.v_pu - net.res_bus.vm_pu.to_numpy()).max() < 1e-10
    assert state.losses_kw == pytest.approx(202.677, abs=1e-3)  # Baran and Wu's 202.7 kW


@pytest.mark.parametrize("name", ["case14", "case57", "case118", "case300", "case33bw"])
def test_placeholder_ratings_are_no_ratings(name: str) -> None:
    """No loading is published against a dummy rating."""
    network = load_network(name)
    assert np.isnan(network.rating_kva).all()
    assert np.isnan(Grid(network, []).state.loading).all()


def test_matpower_loading_is_apparent_power_over_rating() -> None:
    """case30's ratings are MVA: its loadings are the larger end's apparent power over them."""
    result = solved_by_pypower(pypower_case(30))["branch"]
    s = np.maximum(np.hypot(result[:, 13], result[:, 14]), np.hypot(result[:, 15], result[:, 16]))
    state = Grid(load_network("case30"), []).state
    np.testing.assert_allclose(state.loading, s / result[:, 5], rtol=0, atol=1e-9)


@pytest.mark.parametrize(("number", "stuck"), [(14, 0), (30, 0), (57, 0), (118, 6), (300, 10)])
def test_reactive_limits_are_kept_and_the_rest_is_pypower(number: int, stuck: int) -> None:
    """Generators hold their voltage or stand at a limit; PYPOWER, told which ones stand there, finds the same state."""
    grid = Grid(load_network(f"case{number}"), [], enforce_q_limits=True)
    gens, state = grid.network.gens, grid.state
    free = np.flatnonzero(~gens.slack)
    assert (state.gen_q_kvar[free] <= gens.q_max_kvar[free] + 1e-2).all()
    assert (state.gen_q_kvar[free] >= gens.q_min_kvar[free] - 1e-2).all()
    at_limit = free[np.abs(state.v_pu[gens.bus[free]] - gens.v_pu[free]) > 1e-9]
    assert at_limit.size == stuck
    case = pypower_case(number)
    case["bus"][gens.bus[at_limit], 1] = 1
    case["gen"][at_limit, 2] = state.gen_q_kvar[at_limit] / 1e3
    assert np.abs(state.v_pu - solved_by_pypower(case)["bus"][:, 7]).max() < 1e-8
