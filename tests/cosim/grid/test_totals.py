"""Figures of many states at once are those of each state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosim.grid import Grid, load_network
from cosim.state import Flows, GridState, totals


def states(name: str, n: int, *, switch: bool) -> tuple[Grid, list[GridState]]:
    """`n` converged states of a network at random injections; with `switch` a line is out in every third."""
    network = load_network(name, ".")
    rng = np.random.default_rng(5)
    buses = rng.integers(0, len(network.bus_names), 12)
    grid = Grid(network, buses)
    found = []
    for i in range(n):
        dispatch = replace(grid.dispatch0(), p_kw=rng.normal(0, 50, 12), q_kvar=rng.normal(0, 20, 12))
        if switch and i % 3 == 2:
            dispatch = replace(dispatch, topology=network.topology.with_line(len(network.line_names) // 2, False))
        found.append(grid.trial(dispatch))
    assert all(state.converged for state in found)
    return grid, found


@pytest.mark.parametrize("switch", [False, True])
@pytest.mark.parametrize("name", ["case14", "case33bw", "case118", "cigre_mv", "cigre_lv"])
def test_totals_are_those_of_each_state(name: str, switch: bool) -> None:
    """Losses, slack power and loadings, also with lines out and buses dead."""
    _, found = states(name, 10, switch=switch)
    covered = 0
    for part, figures in totals(found):
        own = found[part]
        covered += len(own)
        np.testing.assert_allclose(figures.losses_kw, [state.losses_kw for state in own], rtol=1e-10, atol=1e-7)
        np.testing.assert_allclose(figures.slack_p_kw, [state.slack_p_kw for state in own], rtol=1e-10, atol=1e-7)
        loading = np.array([state.loading for state in own])
        if figures.loading is None:
            assert np.isnan(loading).all()
        else:
            np.testing.assert_allclose(figures.loading, loading, rtol=1e-10, equal_nan=True)
    assert covered == len(found)
    assert len(totals(found)) == (7 if switch else 1)


def test_no_states_have_no_totals() -> None:
    """An empty run is no error."""
    assert totals([]) == []


@pytest.mark.parametrize("name", ["case33bw", "case118", "cigre_mv"])
def test_each_part_of_the_flows_is_the_same_whoever_asked_before(name: str) -> None:
    """Worked out alone, and in two orders with all the others: the same bits."""
    _, (state, *_) = states(name, 3, switch=True)
    forth, back = (state.solution.flows(state) for _ in range(2))
    once = {part: np.asarray(getattr(state.solution.flows(state), part)).tobytes() for part in Flows._fields}
    assert {part: np.asarray(getattr(forth, part)).tobytes() for part in Flows._fields} == once
    assert {part: np.asarray(getattr(back, part)).tobytes() for part in reversed(Flows._fields)} == once
