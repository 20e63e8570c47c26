"""Trying setpoints on a real feeder: pure, consistent, and honest when it does not settle."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.grid import Grid, load_network
from cosim.plugins import Injection
from cosim.simulation.settling import MOST, RESIDUAL_PU
from cosim.simulation.trial import Apply, SolvedTrial, Trials
from cosim.state import Dispatch

BUS = 17
NONE = np.zeros(0)


@pytest.fixture
def grid() -> Grid:
    """Baran and Wu's feeder with one injection at its far end."""
    return Grid(load_network("case33bw"), [BUS])


def device(p_kw: float, slope_kvar: float = 0.0) -> Apply:
    """A device that holds `p_kw` and answers voltage with `slope_kvar` per unit of deviation from 1."""
    def apply(setpoints: np.ndarray, v_pu: np.ndarray, base: Dispatch) -> tuple[Dispatch, tuple[Injection, ...]]:
        q_kvar = np.nan_to_num(np.array([slope_kvar * (1.0 - v_pu[BUS])]))
        injection = Injection(np.array([p_kw]), q_kvar)
        return Dispatch(injection.p_kw, q_kvar, base.gen_p_kw, base.gen_v_pu, base.topology), (injection,)
    return apply


def solved(grid: Grid, apply: Apply, *, voltage_dependent: bool = True) -> SolvedTrial:
    """One candidate with the network as it stands."""
    trials = Trials(grid, voltage_dependent)
    topology = grid.dispatch.topology
    return trials.solve(NONE, topology, topology, grid.dispatch, apply)


def test_a_trial_has_no_effect(grid: Grid) -> None:
    """Neither the state nor the dispatch committed is another one afterwards."""
    state, dispatch = grid.state, grid.dispatch
    before = state.v_pu.copy()
    solved(grid, device(-500.0, 2000.0))
    assert grid.state is state
    assert grid.dispatch is dispatch
    assert state.v_pu.tobytes() == before.tobytes()


def test_voltage_and_injection_agree(grid: Grid) -> None:
    """What the device injects is what it says at the voltage that results, and the state is that power flow."""
    trial = solved(grid, device(-200.0, 3000.0))
    v = trial.state.v_pu[BUS]
    assert trial.settled
    assert 2 <= trial.iterations <= MOST
    assert trial.dispatch.q_kvar[0] == pytest.approx(3000.0 * (1.0 - v), abs=RESIDUAL_PU * grid.network.base_mva * 2e3)
    assert grid.trial(trial.dispatch).v_pu == pytest.approx(trial.state.v_pu, abs=1e-12)
    assert trial.injections[0].q_kvar[0] == pytest.approx(trial.dispatch.q_kvar[0], abs=1e-3)


def test_without_voltage_dependence_there_is_one_power_flow(grid: Grid) -> None:
    """And it equals the iterated one."""
    once = solved(grid, device(-200.0), voltage_dependent=False)
    again = solved(grid, device(-200.0))
    assert (once.iterations, once.residual) == (1, 0.0)
    assert once.state.v_pu == pytest.approx(again.state.v_pu, abs=1e-12)


def test_the_committed_state_is_not_solved_again(grid: Grid) -> None:
    """To the bit: the same object, while the dispatch is the same."""
    trial = solved(grid, device(-200.0), voltage_dependent=False)
    grid.commit(trial.state, trial.dispatch)
    assert solved(grid, device(-200.0), voltage_dependent=False).state is trial.state
    assert solved(grid, device(-200.1), voltage_dependent=False).state is not trial.state


def test_a_load_beyond_the_nose_is_a_result(grid: Grid) -> None:
    """Not converged, with a diagnosis that names what changed; and the next possible one recovers."""
    trial = solved(grid, device(-1e6))
    assert not trial.state.converged
    assert "injection 0" in trial.state.diagnosis
    assert trial.settled
    grid.commit(trial.state, trial.dispatch)
    back = solved(grid, device(-200.0, 1000.0))
    assert back.state.converged
    assert back.settled


def test_when_it_does_not_settle_residual_and_state_belong_together(grid: Grid) -> None:
    """The best point tried, with its own residual, not the last one with another's."""
    base_kva = grid.network.base_mva * 1e3

    def apply(setpoints: np.ndarray, v_pu: np.ndarray, base: Dispatch) -> tuple[Dispatch, tuple[Injection, ...]]:
        # No fixed point: the answer jumps across the voltage it causes.
        q_kvar = np.array([1500.0 if v_pu[BUS] < 0.95 else -1500.0])
        injection = Injection(np.zeros(1), q_kvar)
        return Dispatch(np.zeros(1), q_kvar, base.gen_p_kw, base.gen_v_pu, base.topology), (injection,)

    trial = solved(grid, apply)
    assert not trial.settled
    answer, _ = apply(NONE, trial.state.v_pu, grid.dispatch)
    assert np.abs(answer.q_kvar - trial.dispatch.q_kvar).max() / base_kva == pytest.approx(trial.residual)
    assert grid.trial(trial.dispatch).v_pu == pytest.approx(trial.state.v_pu, abs=1e-9)


def test_an_opened_line_is_in_the_trial_alone(grid: Grid) -> None:
    """The topology asked for is the dispatch's, and the far end is dead there."""
    topology = grid.dispatch.topology.with_line(16, False)
    trial = Trials(grid, voltage_dependent=False).solve(NONE, topology, topology, grid.dispatch, device(-10.0))
    assert trial.dispatch.topology is topology
    assert np.isnan(trial.state.v_pu[BUS])
    assert not np.isnan(grid.state.v_pu[BUS])


@pytest.mark.parametrize("voltage_dependent", [False, True])
def test_a_bus_that_dies_or_comes_back_is_so_in_the_same_solve(grid: Grid, *, voltage_dependent: bool) -> None:
    """A device that needs voltage stops in the SOLVE that takes it away, and feeds in the one that brings it back."""
    def apply(setpoints: np.ndarray, v_pu: np.ndarray, base: Dispatch) -> tuple[Dispatch, tuple[Injection, ...]]:
        p_kw = np.where(np.isnan(v_pu[[BUS]]), 0.0, 100.0)
        return Dispatch(p_kw, np.zeros(1), base.gen_p_kw, base.gen_v_pu, base.topology), (Injection(p_kw, np.zeros(1)),)

    trials, whole, fed = Trials(grid, voltage_dependent), grid.dispatch.topology, []
    for topology in (whole, whole.with_line(16, False), whole):
        trial = trials.solve(NONE, topology, topology, grid.dispatch, apply)
        grid.commit(trial.state, trial.dispatch)
        fed.append((trial.injections[0].p_kw[0], trial.dispatch.p_kw[0], bool(np.isnan(trial.state.v_pu[BUS]))))
    assert fed == [(100.0, 100.0, False), (0.0, 0.0, True), (100.0, 100.0, False)]
