"""`scenarios/arbitrage.yaml`: what three days earn without trade, by the rule, and with perfect foresight.

What is earned: the negative of `trade.cost`, and the worth of what the battery holds more at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from benchmarks.yardsticks.dispatch import Plan, Problem, cheapest
from benchmarks.yardsticks.microgrids import device, store
from benchmarks.yardsticks.played import NOBODY, acted, begun, value, watched
from cosim.simulation.engine import Simulation

SCENARIO = "arbitrage"
WORTH_PER_KWH = 0.06
SCANS_AN_HOUR = 2


@dataclass(frozen=True, slots=True)
class Episode:
    """Earnings of three days, EUR."""

    day: date
    nothing: float
    rule: float
    ahead: float
    """Planned anew every hour with the prices that the agent sees, those of 24 hours; worked out, not played."""
    best: float
    played: float
    """The optimum's schedule, played in the engine."""


def measured(day: date) -> Episode:
    """All yardsticks of an episode."""
    nothing = begun(SCENARIO, day, NOBODY)
    problem = read(nothing)
    plan = cheapest(problem)
    rule = begun(SCENARIO, day)
    rule.advance_to(rule.end_us)
    return Episode(day, earned(nothing), earned(rule), ahead(problem), -plan.cost, earned(played(day, plan)))


def earned(simulation: Simulation) -> float:
    """What the run earned so far, by the engine's own accounts."""
    options = device(simulation, "battery")
    stored = (value(simulation, "battery.soc") - float(options["soc_start"])) * float(options["e_rated_kwh"])
    return WORTH_PER_KWH * stored - value(simulation, "trade.cost")


def read(simulation: Simulation) -> Problem:
    """The episode as a program, hour by hour, from an idle run of it (which it brings to its end)."""
    _, seen = watched(simulation, ["trade.price_buy"])
    price = seen[::SCANS_AN_HOUR, 0]
    return Problem(1.0, 0.0 * price, price, price, (store(device(simulation, "battery")),),
                   worth_per_kwh=WORTH_PER_KWH)


def ahead(problem: Problem, hours: int = 24) -> float:
    """What planning anew at every hour with the next `hours` prices earns; nothing beyond the episode counts."""
    (battery,), energy, total = problem.stores, problem.stores[0].e_begin_kwh, 0.0
    for now in range(len(problem.buy)):
        window = slice(now, now + hours)
        plan = cheapest(replace(
            problem, own_kw=problem.own_kw[window], buy=problem.buy[window], sell=problem.sell[window],
            stores=(replace(battery, e_begin_kwh=energy),)))
        power = float(plan.store_kw[0, 0])
        stored = max(-power, 0.0) * battery.eta_charge - max(power, 0.0) / battery.eta_discharge
        energy = min(max(energy + stored, battery.e_min_kwh), battery.e_max_kwh)
        total += power * float(problem.buy[now])
    return total + problem.worth_per_kwh * (energy - battery.e_begin_kwh)


def played(day: date, plan: Plan) -> Simulation:
    """The episode with a plan's schedule."""
    simulation = begun(SCENARIO, day, external=["trader"])
    acted(simulation, {"trader": plan.store_kw})
    return simulation

