"""What a trial power flow costs beside the bare solver it stands on.

    python -m benchmarks.grid [--quick] [--json FILE]

A grid trial takes a dispatch of 100 changed injections and gives every result (voltages, flows, generators, losses).
The bare solver is lightsim2grid's `LSGrid` of the same case with its 99 loads changed by `change_p_load` and
`change_q_load`, then `ac_pf` warm-started at the same tolerance (1e-8 MVA = 1e-10 pu); its results are computed but
not read. The rates are solves a second; a trial may take 1.6 times as long, so 0.625 of the rate is to be reached.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks import harness
from benchmarks.exchange import PeerMissingError
from benchmarks.harness import Comparison, Rate, Reach, Row
from cosim.grid import Grid, load_network
from cosim.state import Dispatch, Flows

REACH = Reach(at_least=True, bound=0.625)
SOLVER_TOLERANCE_MVA = 1e-8


def rate_of(step: Callable[[int], object], repeats: int) -> Rate:
    """The rate of `step`, called with 0, 1, 2 …"""

    def run() -> float:
        begin = time.perf_counter()
        for i in range(repeats):
            step(i)
        return repeats / (time.perf_counter() - begin)

    return run


def grid_trial(case: str, factors: np.ndarray) -> Callable[[int], object]:
    """A committed trial with 100 injections that stand for the case's loads, scaled by row i of `factors`."""
    network = load_network(case)
    loads = network.loads
    spare = np.zeros(factors.shape[1] - len(loads.names), dtype=np.int64)
    grid = Grid(network, np.concatenate([loads.bus, spare]), owned_loads=range(len(loads.names)))
    p, q = (np.concatenate([values, np.full(spare.size, -1.0)]) for values in (loads.p_kw, loads.q_kvar))
    start = grid.dispatch0()
    dispatches = [Dispatch(p * row, q * row, start.gen_p_kw, start.gen_v_pu, start.topology) for row in factors]

    def step(i: int) -> object:
        dispatch = dispatches[i % len(dispatches)]
        state = grid.trial(dispatch)
        assert all(getattr(state.flows, name) is not None for name in Flows._fields)  # worked out when asked for
        grid.commit(state, dispatch)
        return state

    return step


def bare_solver(case: str, factors: np.ndarray) -> Callable[[int], object]:
    """The same exchange by hand on `LSGrid`; the case data are PYPOWER's."""
    try:
        import pypower.api
        from lightsim2grid.network import init_from_matpower
    except ImportError as error:
        raise PeerMissingError(str(error)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = init_from_matpower(getattr(pypower.api, case)())
    elements = list(grid.get_loads())
    p, q = np.array([e.target_p_mw for e in elements]), np.array([e.target_q_mvar for e in elements])
    rows = [((p * row[: p.size]).tolist(), (q * row[: p.size]).tolist()) for row in factors]
    voltage = [np.ones(grid.total_bus(), dtype=np.complex128)]

    def step(i: int) -> object:
        p_mw, q_mvar = rows[i % len(rows)]
        for load in range(len(p_mw)):
            grid.change_p_load(load, p_mw[load])
            grid.change_q_load(load, q_mvar[load])
        voltage[0] = grid.ac_pf(voltage[0], 30, SOLVER_TOLERANCE_MVA)
        return voltage[0]

    return step


def measure(quick: bool) -> Iterator[Row]:
    """The rows of the table."""
    factors = np.random.default_rng(0).normal(1.0, 0.02, (50, 100))
    repeats, pairs = (300, 15) if quick else (1000, 31)
    yield _row("case118", factors, (repeats, pairs), REACH)
    yield _row("case300", np.tile(factors, 3), (repeats, pairs), None)


def _row(case: str, factors: np.ndarray, effort: tuple[int, int], reach: Reach | None) -> Row:
    """Both sides of one case."""
    repeats, pairs = effort
    bare: list[Rate] = []

    def theirs() -> float:
        if not bare:
            bare.append(rate_of(bare_solver(case, factors), repeats))
        return bare[0]()

    name = f"{case}: trial of {factors.shape[1]} changed injections, all results read"
    ours = rate_of(grid_trial(case, factors), repeats)
    return Comparison(name, "1/s", "LSGrid by hand, every load written", ours, theirs, reach).row(pairs)


if __name__ == "__main__":
    sys.exit(harness.main(__doc__.splitlines()[0], measure))
