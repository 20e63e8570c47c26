"""`scenarios/microgrids3.yaml`: what a day costs without dispatch, by the rule, and at best.

A day's cost is what the contract and the engines cost, less the worth of what the batteries hold more at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from benchmarks.yardsticks.dispatch import Engine, Plan, Problem, Store, cheapest
from benchmarks.yardsticks.played import NOBODY, Floats, acted, begun, value, watched
from cosim.simulation.engine import Simulation

SCENARIO = "microgrids3"
NAMES = ("village", "farm", "shops")
WORTH_PER_KWH = 0.15


@dataclass(frozen=True, slots=True)
class Day:
    """Costs of one day, EUR; `best` is the mixed-integer optimum, `relaxed` its linear relaxation (a lower bound)."""

    day: date
    nothing: float
    rule: float
    best: float
    relaxed: float
    played: float
    """The optimum's schedule, played in the engine."""


def measured(day: date) -> Day:
    """All yardsticks of a day."""
    nothing = begun(SCENARIO, day, NOBODY)
    problem = read(nothing)
    plan = cheapest(problem)
    rule = begun(SCENARIO, day)
    rule.advance_to(rule.end_us)
    return Day(day, cost(nothing), cost(rule), plan.cost, cheapest(problem, relaxed=True).cost,
               cost(played(day, plan)))


def cost(simulation: Simulation) -> float:
    """What the run cost so far, by the engine's own accounts."""
    stored = sum(stored_kwh(simulation, name) for name in NAMES)
    engines = sum(value(simulation, f"{name}_engine.cost") for name in NAMES)
    return value(simulation, "contract.cost") + engines - WORTH_PER_KWH * stored


def stored_kwh(simulation: Simulation, name: str) -> float:
    """What a battery holds more than at the start."""
    options = device(simulation, f"{name}_battery")
    return (value(simulation, f"{name}_battery.soc") - float(options["soc_start"])) * float(options["e_rated_kwh"])


def device(simulation: Simulation, name: str) -> dict[str, Any]:
    """The options of a device, as the scenario has them."""
    return next(dict(entry) for entry in simulation.scenario.devices if entry["name"] == name)


def read(simulation: Simulation) -> Problem:
    """The day as a program, from an idle run of it (which it brings to its end)."""
    points = [f"{name}_{what}.p_kw" for name in NAMES for what in ("load", "sun")]
    _, seen = watched(simulation, [*points, "contract.price_buy", "contract.price_sell"])
    stores = tuple(store(device(simulation, f"{name}_battery")) for name in NAMES)
    engines = tuple(engine(device(simulation, f"{name}_engine")) for name in NAMES)
    return Problem(simulation.scenario.step_s / 3600, seen[:, :-2].sum(axis=1), seen[:, -2], seen[:, -1], stores,
                   engines, WORTH_PER_KWH)


def store(options: dict[str, Any]) -> Store:
    """A battery of the scenario."""
    rated = float(options["e_rated_kwh"])
    return Store(options["p_max_kw"], options["soc_min"] * rated, options["soc_max"] * rated,
                 options["soc_start"] * rated, options["eta_charge"], options["eta_discharge"])


def engine(options: dict[str, Any]) -> Engine:
    """A generating set of the scenario."""
    return Engine(options["p_min_kw"], options["p_max_kw"], options["cost_b_per_kwh"], options["cost_c_per_h"],
                  options["start_cost"])


def played(day: date, plan: Plan) -> Simulation:
    """The day with a plan's schedule."""
    simulation = begun(SCENARIO, day, external=NAMES)
    acted(simulation, {name: actions(plan, i) for i, name in enumerate(NAMES)})
    return simulation


def actions(plan: Plan, i: int) -> Floats:
    """(T, 3) of one microgrid: battery, engine, whether the engine runs."""
    return np.column_stack([plan.store_kw[:, i], plan.engine_kw[:, i], plan.runs[:, i]])
