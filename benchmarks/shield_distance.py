"""Figure 2 of `benchmarks.shield`: how much farther from the request than the AC-optimal projection.

Requests lie inside the devices' circles, so that the devices would do what is asked, and break a limit. The distance
is that of the inverters' effective powers, at the request and at what the shield applied. The optimum is
`optimal_projection.project` at the exact limits: the shield's margin counts against the shield. The optimiser also
starts from the shield's answer, so it never ends farther away unless it fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import in_processes
from benchmarks.optimal_projection import project
from benchmarks.projection_model import Problem
from benchmarks.shield_cases import FEEDERS, Inverters, Judge, Window, built, feeder_text, policy
from benchmarks.shield_trials import Seen, Watch
from cosim.points import Vector
from cosim.shield.decision import ShieldDecision

INSTANTS_A_STATE = 8
"""Scans looked at for each state wanted: at most that many are safe or by night."""


@dataclass(frozen=True, slots=True)
class Part:
    """`states` unsafe requests on a feeder, part `share` of `of` of the year."""

    feeder: str
    states: int
    share: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True)
class Compared:
    """One unsafe request: distances in kVA, and how to see it again."""

    shield_kva: float
    optimal_kva: float
    rung: str
    optimum: str
    where: str

    @property
    def ratio(self) -> float:
        return self.shield_kva / self.optimal_kva


def compare(part: Part) -> list[Compared]:
    """Collect unsafe requests through the engine, then project each offline."""
    feeder = FEEDERS[part.feeder]
    window = Window.of_year(part.states * part.of * INSTANTS_A_STATE, part.share, part.of)
    seed = 77_000 + part.share
    simulation = built(feeder_text(feeder, window, seed))
    inverters, judge = Inverters(simulation), Judge(simulation)
    unsafe: list[tuple[Problem, Vector, Vector, str, str]] = []

    def note(decision: ShieldDecision, seen: Seen, _ms: float, t_us: int) -> None:
        if judge(seen.trials[0].state) or decision.infeasible:
            return
        at, applied = inverters.devices, decision.trial.dispatch
        where = f"{part} at t_us = {t_us}, request q {np.round(seen.trials[0].dispatch.q_kvar[at], 3).tolist()}"
        unsafe.append((inverters.problem(seen.trials[0]), applied.p_kw[at], applied.q_kvar[at], decision.rung.name,
                       where))

    ask = policy("inside", inverters, judge, np.random.default_rng(seed))
    simulation.advance_to(0)
    simulation._shield = Watch(simulation._shield, note)
    for k in range(1, window.steps + 1):
        ask(simulation.grid.state)
        simulation.advance_to(k * round(window.step_s * 1e6))
    chosen = np.unique(np.linspace(0, len(unsafe) - 1, min(part.states, len(unsafe))).round().astype(int))
    return [_compared(*unsafe[i]) for i in chosen.tolist()]


def _compared(problem: Problem, p_kw: Vector, q_kvar: Vector, rung: str, where: str) -> Compared:
    best = project(problem, (p_kw, q_kvar))
    moved = np.concatenate([p_kw - problem.p_request_kw, q_kvar - problem.q_request_kvar])
    return Compared(float(np.sqrt(moved @ moved)), best.distance_kva if best.feasible else float("nan"), rung,
                    best.status, where)


def compare_all(parts: Sequence[Part], processes: int) -> dict[str, list[Compared]]:
    """Every part; what was found by feeder."""
    found: dict[str, list[Compared]] = {}
    for part, compared in zip(parts, in_processes(compare, parts, processes), strict=True):
        found.setdefault(part.feeder, []).extend(compared)
    return found
