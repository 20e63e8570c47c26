"""What `Grid` promises: trials without effect, diagnoses, precision, balance."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import GridError
from cosim.grid import Grid, load_network
from cosim.grid.pandapower_network import network_of_pandapower
from cosim.state import Dispatch
from tests.cosim.grid.oracles import example_net, run


@pytest.fixture
def feeder() -> Grid:
    """case33bw whose loads are all injections."""
    network = load_network("case33bw")
    return Grid(network, network.loads.bus, owned_loads=range(len(network.load_names)))


@pytest.fixture(scope="module")
def baran_wu() -> Any:
    """pandapower's case33bw."""
    return example_net("case33bw")


def injected(grid: Grid, p_kw: np.ndarray, q_kvar: np.ndarray) -> Dispatch:
    return replace(grid.dispatch0(), p_kw=p_kw, q_kvar=q_kvar)


def nominal(grid: Grid, factor: float = 1.0) -> Dispatch:
    return injected(grid, grid.network.loads.p_kw * factor, grid.network.loads.q_kvar * factor)


def test_owned_loads_leave_the_base(feeder: Grid) -> None:
    """With every load owned, nothing flows until devices inject; injecting the loads gives the network's own state."""
    assert feeder.state.v_pu == pytest.approx(np.ones(33), abs=1e-12)
    whole = Grid(feeder.network, []).state
    np.testing.assert_allclose(feeder.trial(nominal(feeder)).v_pu, whole.v_pu, rtol=0, atol=1e-12)


def test_a_trial_leaves_the_committed_state_alone(feeder: Grid) -> None:
    """Trials, also of other topologies and of failures, change neither the state nor its arrays."""
    feeder.commit(feeder.trial(nominal(feeder)), nominal(feeder))
    before, copy = feeder.state, feeder.state.v_pu.copy()
    feeder.trial(nominal(feeder, 1.7))
    feeder.trial(nominal(feeder, 50.0))
    feeder.trial(replace(nominal(feeder), topology=feeder.network.topology.with_line(20, False)))
    assert feeder.state is before
    assert np.array_equal(feeder.state.v_pu, copy)


def test_no_solution_is_a_value_with_a_diagnosis(feeder: Grid) -> None:
    """The diagnosis names buses with a mismatch and what changed; nothing stale is published."""
    feeder.commit(feeder.trial(nominal(feeder)), nominal(feeder))
    p = feeder.network.loads.p_kw.copy()
    p[16] *= 300.0
    topology = feeder.network.topology.with_line(32, True)
    state = feeder.trial(replace(injected(feeder, p, feeder.network.loads.q_kvar), topology=topology))
    assert not state.converged
    assert np.isnan(state.v_pu).all()
    assert np.isnan(state.slack_p_kw)
    bus = feeder.network.bus_names[feeder.network.loads.bus[16]]
    assert f"injection 16 at bus {bus} -" in state.diagnosis
    assert f"line {feeder.network.line_names[32]} closed" in state.diagnosis
    assert "mismatch at bus" in state.diagnosis


def test_the_grid_recovers_after_no_solution(feeder: Grid) -> None:
    """A committed failure does not poison what follows."""
    hopeless = nominal(feeder, 80.0)
    feeder.commit(feeder.trial(hopeless), hopeless)
    assert not feeder.state.converged
    assert feeder.trial(nominal(feeder)).converged


def test_a_change_of_a_billionth_is_felt(feeder: Grid) -> None:
    """Neither float32 nor the solver's change thresholds swallow 1e-9 of an injection."""
    feeder.commit(feeder.trial(nominal(feeder)), nominal(feeder))
    more = feeder.trial(nominal(feeder, 1.0 + 1e-6))
    little = feeder.trial(nominal(feeder, 1.0 + 1e-9))
    assert (more.v_pu - feeder.state.v_pu)[17] < -1e-8
    slope = (more.slack_p_kw - feeder.state.slack_p_kw) / 1e-6
    assert (little.slack_p_kw - feeder.state.slack_p_kw) / 1e-9 == pytest.approx(slope, rel=0.05)


def test_small_set_point_changes_are_felt() -> None:
    """A generator's voltage moves by exactly what was asked, however little."""
    grid = Grid(load_network("case14"), [])
    start = grid.dispatch0()
    for step in (1e-3, 3e-8, 1e-10):
        v = start.gen_v_pu.copy()
        v[1:] += step
        state = grid.trial(replace(start, gen_v_pu=v))
        np.testing.assert_allclose(state.v_pu[grid.network.gens.bus], v, rtol=0, atol=1e-14)


def test_the_low_voltage_root_is_not_accepted(feeder: Grid) -> None:
    """From a start near the low-voltage root the high-voltage solution is found all the same."""
    good = feeder.trial(nominal(feeder))
    low = good.warm_start.copy()
    low[10:18] *= 0.15
    found = feeder.trial(nominal(feeder), replace(good, warm_start=low))
    np.testing.assert_allclose(found.v_pu, good.v_pu, rtol=0, atol=1e-10)


def test_results_do_not_depend_on_the_start(feeder: Grid) -> None:
    """Warm or flat, the same dispatch gives the same voltages."""
    fresh = feeder.trial(nominal(feeder, 1.3))
    feeder.commit(feeder.trial(nominal(feeder, 0.2)), nominal(feeder, 0.2))
    np.testing.assert_allclose(feeder.trial(nominal(feeder, 1.3)).v_pu, fresh.v_pu, rtol=0, atol=1e-11)


def test_states_do_not_share_memory_with_the_solver(feeder: Grid) -> None:
    """A state kept by someone does not change when the grid goes on."""
    first = feeder.trial(nominal(feeder))
    kept = [getattr(first, name).copy() for name in ("v_pu", "p_from_kw", "gen_p_kw", "warm_start")]
    feeder.trial(nominal(feeder, 0.1))
    for name, value in zip(("v_pu", "p_from_kw", "gen_p_kw", "warm_start"), kept, strict=True):
        assert np.array_equal(getattr(first, name), value)


def test_de_energised_buses_are_nan_and_unserved(feeder: Grid) -> None:
    """Behind an opened line there is no voltage and no flow, and the demand there is reported."""
    topology = feeder.network.topology.with_line(feeder.network.line_names.index("6-7"), False)
    state = feeder.trial(replace(nominal(feeder), topology=topology))
    dark = [feeder.network.bus_names.index(str(number)) for number in range(7, 19)]
    assert np.flatnonzero(np.isnan(state.v_pu)).tolist() == dark
    loads = feeder.network.loads
    assert state.unserved_kw == pytest.approx(-loads.p_kw[np.isin(loads.bus, dark)].sum())
    assert (state.p_from_kw[6:17] == 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_injections_agree_with_pandapower(baran_wu: Any, seed: int) -> None:
    """Voltages of any injections into case33bw are runpp's, and power is balanced."""
    rng = np.random.default_rng(seed)
    network = load_network("case33bw")
    buses = rng.integers(0, 33, 40)
    grid = Grid(network, buses)
    p, q = rng.normal(0, 60, 40), rng.normal(0, 40, 40)
    state = grid.trial(injected(grid, p, q))
    net = deepcopy(baran_wu)
    pp.create_loads(net, buses, p_mw=-p / 1e3, q_mvar=-q / 1e3)
    run(net)
    assert np.abs(state.v_pu - net.res_bus.vm_pu.to_numpy()).max() < 1e-8
    assert state.slack_p_kw + p.sum() + network.loads.p_kw.sum() == pytest.approx(state.losses_kw, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_power_balances_in_case118(seed: int) -> None:
    """Generation, injections and base loads cover the losses, whatever is injected."""
    rng = np.random.default_rng(seed)
    network = load_network("case118")
    grid = Grid(network, rng.integers(0, 118, 20))
    p, q = rng.normal(0, 20e3, 20), rng.normal(0, 5e3, 20)
    state = grid.trial(injected(grid, p, q))
    assert state.converged
    assert state.gen_p_kw.sum() + p.sum() + network.loads.p_kw.sum() == pytest.approx(state.losses_kw, abs=1e-2)


def test_what_lightsim2grid_cannot_carry_goes_to_pandapower() -> None:
    """A net with three-winding transformers and wards is solved by pandapower, with the reason stated."""
    net = example_net("example_multivoltage")
    network = network_of_pandapower(net, "multivoltage", "test")
    grid = Grid(network, network.loads.bus[:3])
    assert grid.solver == "pandapower"
    assert "trafo3w" in grid.solver_reason
    run(net)
    assert np.abs(grid.state.v_pu - net.res_bus.vm_pu.to_numpy()).max() < 1e-9
    assert grid.state.slack_p_kw == pytest.approx(net.res_ext_grid.p_mw.sum() * 1e3, abs=1e-3)
    assert grid.state.p_from_kw.shape == (len(network.branch_names),)
    state = grid.trial(injected(grid, np.full(3, -1e9), np.zeros(3)))
    assert not state.converged
    assert "no solution" in state.diagnosis


def test_a_grid_without_injections_works() -> None:
    """Zero devices is a grid like any other."""
    assert Grid(load_network("case9"), []).state.converged


def test_wrong_dispatches_are_refused(feeder: Grid) -> None:
    """Wrong shapes, NaN and infinity are named."""
    good = nominal(feeder)
    with pytest.raises(GridError, match="expected \\(32,\\)"):
        feeder.trial(replace(good, p_kw=np.zeros(3)))
    bad = good.q_kvar.copy()
    bad[4] = np.nan
    with pytest.raises(GridError, match="q_kvar\\[4\\] is not finite"):
        feeder.trial(replace(good, q_kvar=bad))
    taps = replace(good.topology, shunt_step=np.zeros(2))
    with pytest.raises(GridError, match="shunt_step has shape \\(2,\\)"):
        feeder.trial(replace(good, topology=taps))
    with pytest.raises(GridError, match="bus position 33"):
        Grid(feeder.network, [0, 33])
    with pytest.raises(GridError, match="owned load 40"):
        Grid(feeder.network, [0], owned_loads=[40])


def test_two_buses_against_the_closed_form() -> None:
    """A line of r + jx with a load has the voltage of the quadratic equation, to rounding."""
    network = load_network("two_bus.m", Path(__file__).parents[2] / "cases")
    grid = Grid(network, [1])
    for p, q in ((0.0, 0.0), (0.3, 0.1), (0.9, 0.4), (-0.8, 0.2)):
        state = grid.trial(injected(grid, np.array([-p * 1e5]), np.array([-q * 1e5])))
        r, x = 0.02, 0.06
        half = 0.5 - (r * p + x * q)
        square = half + np.sqrt(half**2 - (r**2 + x**2) * (p**2 + q**2))
        assert state.v_pu[1] == pytest.approx(np.sqrt(square), abs=1e-13)
        assert state.losses_kw == pytest.approx(r * (p**2 + q**2) / square * 1e5, abs=1e-6)
