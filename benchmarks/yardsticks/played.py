"""Runs of a shipped task on a given day, read scan by scan, with its own policies or with actions worked out before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from cosim.scenario import load_scenario
from cosim.simulation.build import BuildOptions, build
from cosim.simulation.engine import Simulation

Floats = NDArray[np.float64]
Overrides = Sequence[str]

BEGIN, DAYS_OF_2016 = date(2016, 6, 15), 366
"""`start` of the scenarios, and how many days their profiles hold."""

NOBODY = ("agents=[]",)
"""Overrides for a run without control."""


def held_out(every: int = 30) -> list[date]:
    """Days on which nothing is trained: every 30th from the scenarios' `start`, once around the year 2016."""
    days = [BEGIN + timedelta(days=offset) for offset in range(0, DAYS_OF_2016 - 30, every)]
    return [day if day.year == BEGIN.year else day - timedelta(days=DAYS_OF_2016) for day in days]


def begun(scenario: str, day: date, overrides: Overrides = (), external: Sequence[str] = ()) -> Simulation:
    """The task at t = 0 of a day, midnight in winter time; `external` agents are decided by the caller."""
    changes = (f'start="{day.isoformat()}T00:00:00+01:00"', "record.points=[]", *overrides)
    return build(load_scenario(scenario, overrides=changes), BuildOptions(external=tuple(external)))


def watched(simulation: Simulation, patterns: Sequence[str]) -> tuple[list[int], Floats]:
    """Times (k,) in µs and values (k, n) of points as they hold from each scan to the next, to the end of the run."""
    ids = simulation.points.ids_of(patterns)
    simulation.points.require(ids)
    step_us = round(simulation.scenario.step_s * 1e6)
    times = list(range(0, simulation.end_us, step_us))
    values = np.empty((len(times), len(ids)))
    for k, t_us in enumerate(times):
        simulation.advance_to(t_us)
        values[k] = simulation.points.take(ids)
    simulation.advance_to(simulation.end_us)
    return times, values


def acted(simulation: Simulation, actions: Mapping[str, Floats]) -> None:
    """Play actions (n_decision, n_actuated) of external agents to the end; the last is left in force."""
    turn = dict.fromkeys(actions, 0)
    while due := simulation.advance_to_decision():
        rows: dict[str, Sequence[float]] = {}
        for name in due:
            rows[name] = actions[name][min(turn[name], len(actions[name]) - 1)].tolist()
            turn[name] += 1
        simulation.commit(rows)


def value(simulation: Simulation, point: str) -> float:
    """A point's value now."""
    return float(simulation.points.values[simulation.points.id_of(point)])
