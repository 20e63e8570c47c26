"""What a trial power flow costs beside the bare solver it stands on, in one process and side by side.

A grid trial takes a dispatch of 100 changed injections and gives every result (voltages, flows, generators, losses).
The bare solver is lightsim2grid's `LSGrid` of the same case with 99 changed loads, `change_p_load` and
`change_q_load` called for each, then `ac_pf` warm-started; its results are computed but not read.
Rates vary with the machine's state; compare the ratio. Peers missing are named; nothing is installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cosim.grid import Grid, load_network
from cosim.state import Dispatch

REACH = 1.6


def fastest_us(run: Callable[[int], object], repeats: int, rounds: int) -> float:
    """The best mean time of one call in microseconds over `rounds` rounds of `repeats` calls."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for i in range(repeats):
            run(i)
        best = min(best, (time.perf_counter() - begin) / repeats)
    return best * 1e6


def grid_trial(case: str, factors: np.ndarray) -> tuple[Callable[[int], object], Grid]:
    """A committed trial with 100 injections that stand for the case's loads, scaled by row i of `factors`."""
    network = load_network(case)
    loads = network.loads
    spare = np.zeros(factors.shape[1] - len(loads.names), dtype=np.int64)
    grid = Grid(network, np.concatenate([loads.bus, spare]), owned_loads=range(len(loads.names)))
    p, q = (np.concatenate([values, np.full(spare.size, -1.0)]) for values in (loads.p_kw, loads.q_kvar))
    start = grid.dispatch0()
    dispatches = [Dispatch(p * row, q * row, start.gen_p_kw, start.gen_v_pu, start.topology) for row in factors]

    def run(i: int) -> object:
        dispatch = dispatches[i % len(dispatches)]
        state = grid.trial(dispatch)
        grid.commit(state, dispatch)
        return state

    return run, grid


def bare_solver(case: str, factors: np.ndarray, tolerance: float) -> Callable[[int], object] | None:
    """The same exchange by hand on `LSGrid`; None where PYPOWER (the case data) is not installed."""
    try:
        import pypower.api
        from lightsim2grid.network import init_from_matpower
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid = init_from_matpower(getattr(pypower.api, case)())
    elements = list(grid.get_loads())
    p, q = np.array([e.target_p_mw for e in elements]), np.array([e.target_q_mvar for e in elements])
    count = p.size
    rows = [((p * row[:count]).tolist(), (q * row[:count]).tolist()) for row in factors]
    voltage = [np.ones(grid.total_bus(), dtype=np.complex128)]

    def run(i: int) -> object:
        p_mw, q_mvar = rows[i % len(rows)]
        for load in range(count):
            grid.change_p_load(load, p_mw[load])
            grid.change_q_load(load, q_mvar[load])
        voltage[0] = grid.ac_pf(voltage[0], 30, tolerance)
        return voltage[0]

    return run


def measure(quick: bool) -> list[dict[str, Any]]:
    """The rows of the table."""
    factors = np.random.default_rng(0).normal(1.0, 0.02, (50, 100))
    rounds, repeats = (7, 200) if quick else (25, 400)
    trial, _ = grid_trial("case118", factors)
    rows = []
    for tolerance in (1e-8, 1e-10):
        bare = bare_solver("case118", factors, tolerance)
        if bare is None:
            print("peer missing: PYPOWER (case data for the bare solver)", file=sys.stderr)
            continue
        pairs = [(fastest_us(trial, repeats, 1), fastest_us(bare, repeats, 1)) for _ in range(rounds)]
        ours, theirs = (min(column) for column in zip(*pairs, strict=True))
        ratio = ours / theirs
        rows.append({"name": f"case118 trial, 100 changed injections, bare solver at {tolerance:g} pu",
                     "value": round(ours, 1), "unit": "us", "against": round(theirs, 1), "ratio": round(ratio, 3),
                     "reach": REACH, "ok": ratio <= REACH})
    return rows


def main() -> int:
    """Measure, print and, if asked, write the rows; 1 where a figure is not reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    rows = measure(arguments.quick)
    for row in rows:
        print(f"{row['name']}: {row['value']} {row['unit']} against {row['against']}: {row['ratio']}"
              f" (reach {row['reach']}) {'ok' if row['ok'] else 'NOT REACHED'}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
