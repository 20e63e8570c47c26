"""Perfect foresight: the cheapest dispatch of stores and engines under one contract, as a mixed-integer linear program.

Per step of h hours, for every store charging c, discharging d (kW at the grid side) and energy e (kWh), for every
engine power g, whether it runs u and whether it starts y, and for all together what is bought b and sold s:

    minimise  Σ h (buy b - sell s) + Σ h (g cost_per_kwh + u cost_per_h) + y start_cost - worth (e_end - e_begin)
    with      e' = e + h (η_c c - d / η_d),   e_min ≤ e ≤ e_max
              p_min u ≤ g ≤ p_max u,   y ≥ u - u_before,   u and y whole
              b - s = -(own + Σ d - c + g)

That is the engine's own model (`cosim.devices.battery`, `generator`, `meter`), so a solution can be played in it and
must cost the same.  Charging and discharging at once is not excluded: at prices of zero and above it only loses energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GAP, LIMIT_S = 1e-4, 60.0


@dataclass(frozen=True, slots=True)
class Store:
    """A battery; energies in kWh, powers at the grid side."""

    p_max_kw: float
    e_min_kwh: float
    e_max_kwh: float
    e_begin_kwh: float
    eta_charge: float
    eta_discharge: float


@dataclass(frozen=True, slots=True)
class Engine:
    """A generating set, standing at the beginning."""

    p_min_kw: float
    p_max_kw: float
    cost_per_kwh: float
    cost_per_h: float
    start_cost: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything that is known beforehand; `own_kw` (T,) is what loads and sun feed in, prices (T,) are per kWh."""

    hours: float
    own_kw: Floats
    buy: Floats
    sell: Floats
    stores: tuple[Store, ...]
    engines: tuple[Engine, ...] = ()
    worth_per_kwh: float = 0.0
    """Of what is stored at the end and was not at the beginning."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The optimum: `cost`, and a proven lower `bound` of it; powers into the grid (T, n), `runs` (T, n_engine)."""

    cost: float
    bound: float
    store_kw: Floats
    engine_kw: Floats
    runs: Floats


class _Program:
    """Columns (variables) and rows (constraints) of the program, in blocks of T."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.cost: list[Floats] = []
        self.low: list[Floats] = []
        self.high: list[Floats] = []
        self.whole: list[Floats] = []
        self._entries: list[tuple[Floats, Ints, Ints]] = []
        self._row_low: list[Floats] = []
        self._row_high: list[Floats] = []

    def column(self, cost: Floats | float, low: float, high: float, *, whole: bool = False) -> int:
        """A variable for each step; returns its block."""
        for into, value in ((self.cost, cost), (self.low, low), (self.high, high), (self.whole, float(whole))):
            into.append(np.broadcast_to(np.asarray(value, float), (self.steps,)).copy())
        return len(self.cost) - 1

    def rows(self, terms: Sequence[tuple[int, float, int]], low: Floats | float, high: Floats | float) -> None:
        """low ≤ Σ factor · block(t - lag) ≤ high for each step; (block, factor, lag), nothing before the first step."""
        first, steps = len(self._row_low) * self.steps, self.steps
        for block, factor, lag in terms:
            t = np.arange(lag, steps, dtype=np.int64)
            self._entries.append((np.full(len(t), factor), first + t, block * steps + t - lag))
        for into, value in ((self._row_low, low), (self._row_high, high)):
            into.append(np.broadcast_to(np.asarray(value, float), (steps,)).copy())

    def solve(self, *, relaxed: bool) -> tuple[Floats, float, float]:
        """(values by block (n_block, T), cost, lower bound); `relaxed` lets whole numbers be any."""
        factors = np.concatenate([entry[0] for entry in self._entries])
        rows, columns = (np.concatenate([entry[k] for entry in self._entries]) for k in (1, 2))
        shape = (len(self._row_low) * self.steps, len(self.cost) * self.steps)
        matrix = coo_matrix((factors, (rows, columns)), shape=shape).tocsr()
        found = milp(
            np.concatenate(self.cost),
            integrality=None if relaxed else np.concatenate(self.whole),
            bounds=Bounds(np.concatenate(self.low), np.concatenate(self.high)),
            constraints=LinearConstraint(matrix, np.concatenate(self._row_low), np.concatenate(self._row_high)),
            options={"mip_rel_gap": GAP, "time_limit": LIMIT_S},
        )
        if found.x is None:
            raise ArithmeticError(f"the program has no solution: {found.message}")
        bound = found.fun if relaxed or found.mip_dual_bound is None else found.mip_dual_bound
        return found.x.reshape(len(self.cost), self.steps), float(found.fun), float(bound)


def cheapest(problem: Problem, *, relaxed: bool = False) -> Plan:
    """The optimum; `relaxed` (engines may run in part) is a lower bound on it, and cheaper to find."""
    steps, hours = len(problem.own_kw), problem.hours
    program = _Program(steps)
    stores = [_store(program, store, problem) for store in problem.stores]
    engines = [_engine(program, engine, hours) for engine in problem.engines]
    most_kw = float(np.abs(problem.own_kw).max() + sum(s.p_max_kw for s in problem.stores)
                    + sum(e.p_max_kw for e in problem.engines))
    bought = program.column(hours * problem.buy, 0.0, most_kw)
    sold = program.column(-hours * problem.sell, 0.0, most_kw)
    balance = [(bought, 1.0, 0), (sold, -1.0, 0), *((d, 1.0, 0) for _, d in stores), *((c, -1.0, 0) for c, _ in stores),
               *((g, 1.0, 0) for g, _ in engines)]
    program.rows(balance, -problem.own_kw, -problem.own_kw)
    x, cost, bound = program.solve(relaxed=relaxed)
    # The worth of the stores' first energy is a constant that the program leaves out.
    constant = problem.worth_per_kwh * sum(store.e_begin_kwh for store in problem.stores)
    # The solver keeps bounds to 1e-7; what is commanded must keep them exactly.
    store_max = np.array([store.p_max_kw for store in problem.stores])
    engine_min, engine_max = (np.array([getattr(e, f"p_{end}_kw") for e in problem.engines]) for end in ("min", "max"))
    runs = np.rint(_table(x, [(u, None) for _, u in engines]))
    return Plan(cost + constant, bound + constant,
                np.clip(_table(x, [(d, c) for c, d in stores]), -store_max, store_max),
                np.clip(_table(x, [(g, None) for g, _ in engines]), runs * engine_min, runs * engine_max), runs)


def _table(x: Floats, blocks: Sequence[tuple[int, int | None]]) -> Floats:
    """(T, n): the first block less the second."""
    columns = [x[plus] if minus is None else x[plus] - x[minus] for plus, minus in blocks]
    return np.column_stack(columns) if columns else np.zeros((x.shape[1], 0))


def _store(program: _Program, store: Store, problem: Problem) -> tuple[int, int]:
    """Charging and discharging blocks of a store."""
    hours, steps = problem.hours, program.steps
    charge = program.column(0.0, 0.0, store.p_max_kw)
    discharge = program.column(0.0, 0.0, store.p_max_kw)
    last = np.zeros(steps)
    last[-1] = -problem.worth_per_kwh
    energy = program.column(last, store.e_min_kwh, store.e_max_kwh)
    begin = np.zeros(steps)
    begin[0] = store.e_begin_kwh
    program.rows([(energy, 1.0, 0), (energy, -1.0, 1), (charge, -hours * store.eta_charge, 0),
                  (discharge, hours / store.eta_discharge, 0)], begin, begin)
    return charge, discharge


def _engine(program: _Program, engine: Engine, hours: float) -> tuple[int, int]:
    """Power and running blocks of an engine."""
    power = program.column(hours * engine.cost_per_kwh, 0.0, engine.p_max_kw)
    runs = program.column(hours * engine.cost_per_h, 0.0, 1.0, whole=True)
    starts = program.column(engine.start_cost, 0.0, 1.0, whole=True)
    program.rows([(power, 1.0, 0), (runs, -engine.p_max_kw, 0)], -np.inf, 0.0)
    program.rows([(power, 1.0, 0), (runs, -engine.p_min_kw, 0)], 0.0, np.inf)
    program.rows([(starts, 1.0, 0), (runs, -1.0, 0), (runs, 1.0, 1)], 0.0, np.inf)
    return power, runs
