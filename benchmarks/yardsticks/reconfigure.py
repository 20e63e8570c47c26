"""`scenarios/reconfigure_33.yaml`: losses as it is, of the walk there, and of the best of all trees.

The optimum is proven by trying all trees with a sweep of our own (`trees`), and the engine's power flow has to agree
with that sweep.  The best return is proven by dynamic programming over the trees that the task's choices can make, and
its exchanges are played in the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from benchmarks.yardsticks.played import BEGIN, acted, begun
from benchmarks.yardsticks.trees import Floats, Ints, case33bw, is_tree, losses_kw, trees
from cosim.grid import Grid, load_network
from cosim.scenario import load_scenario
from cosim.simulation.build import build

SCENARIO = "reconfigure_33"
AS_IT_IS = (33, 34, 35, 36, 37)
BEST = (7, 9, 14, 32, 37)
#: Best of the trees that the task's choices can make (`docs/data/make_choices.py`), by group of branches.
GROUPS = ((2, 18, 19, 20, 6, 7, 33), (12, 13, 14, 34), (8, 9, 10, 11, 21, 35), (15, 16, 17, 36, 32, 31, 30, 29),
          (3, 4, 5, 22, 23, 24, 37, 28, 27, 26, 25))


@dataclass(frozen=True, slots=True)
class Found:
    """The best of some trees: how many there are, open branches (numbers), losses; how many have no solution."""

    trees: int
    opened: tuple[int, ...]
    losses_kw: float
    unsolved: int


def engine_losses_kw(opened: Sequence[Sequence[int]]) -> Floats:
    """Losses (k,) of configurations given by their open branches, by the engine's power flow; NaN without a solution
    or with a bus that is not supplied."""
    grid = Grid(load_network("case33bw"), [])
    base = grid.dispatch0()
    out = np.empty(len(opened))
    for i, numbers in enumerate(opened):
        closed = np.ones_like(base.topology.line_closed)
        closed[np.array(numbers) - 1] = False
        state = grid.trial(replace(base, topology=replace(base.topology, line_closed=closed)))
        out[i] = state.losses_kw if state.converged and not state.unserved_kw else np.nan
    return out


def walk_kw() -> Floats:
    """Losses (5,) while the scenario's own timetable is carried out, an hour in all."""
    simulation = build(load_scenario(SCENARIO, overrides=("record.points=[]",)))
    place = simulation.points.id_of("grid.losses_kw")
    losses = []
    for t_s in (0, 600, 1200, 1800, 2400):
        simulation.advance_to((t_s + 300) * 1_000_000)
        losses.append(float(simulation.points.values[place]))
    return np.array(losses)


@dataclass(frozen=True, slots=True)
class Walk:
    """The exchanges of an hour that lose least, one a decision: open branches (numbers) after each, the losses (kW)
    meanwhile, and the return."""

    opened: tuple[tuple[int, ...], ...]
    losses_kw: tuple[float, ...]
    value: float


def best_walk() -> Walk:
    """The best return there is.

    A configuration is a place in a grid of five axes, the groups; a decision moves along one of them.  From the last
    decision back, the least that is still lost from each place on.
    """
    sizes = tuple(map(len, GROUPS))
    opened = np.sort(np.array(list(product(*GROUPS)), np.int64) - 1, axis=1)
    losses = np.nan_to_num(losses_kw(case33bw(), opened), nan=np.inf).reshape(sizes)
    scenario = load_scenario(SCENARIO).scenario
    period_s = scenario.agents[0].period_s
    assert period_s is not None
    n = round(scenario.duration_s / period_s)
    ahead = [losses]  # what is lost in an interval that begins here, and in all after it
    for _ in range(n - 1):
        ahead.insert(0, losses + np.min([_nearest(ahead[0], axis) for axis in range(len(sizes))], axis=0))
    places = [tuple(group.index(number) for group, number in zip(GROUPS, AS_IT_IS, strict=True))]
    for left in ahead:
        places.append(min(_neighbours(places[-1], sizes), key=left.__getitem__))
    walk = [tuple(sorted(group[k] for group, k in zip(GROUPS, place, strict=True))) for place in places[1:]]
    lost = tuple(float(losses[place]) for place in places[1:])
    return Walk(tuple(walk), lost, worth(sum(lost) * period_s / 3600))


def _nearest(left: Floats, axis: int) -> Floats:
    """The least of `left` that one move along an axis reaches, from everywhere."""
    return np.broadcast_to(left.min(axis=axis, keepdims=True), left.shape)


def _neighbours(place: tuple[int, ...], sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Places that one decision reaches, the same one first."""
    return [place, *((*place[:axis], k, *place[axis + 1:]) for axis, size in enumerate(sizes) for k in range(size))]


def worth(losses_kwh: float) -> float:
    """The return of an hour with these losses, by the task's own reward."""
    (reward,) = load_scenario(SCENARIO).scenario.learning.reward
    assert (reward["kind"], reward["per"]) == ("sum", "min")
    return float(reward["weight"]) * losses_kwh * 60


def played(opened: Sequence[Sequence[int]]) -> float:
    """The return of the task with these branches (numbers) open after each decision, in the engine."""
    simulation = begun(SCENARIO, BEGIN, external=["dispatcher"])
    closed = np.ones((len(opened), len(load_network("case33bw").line_names)))
    for row, numbers in zip(closed, opened, strict=True):
        row[np.array(numbers) - 1] = 0.0
    acted(simulation, {"dispatcher": closed})
    return worth(simulation.kpis().losses_kwh)


def timetable() -> float:
    """The return of the scenario's own timetable, in the engine."""
    simulation = begun(SCENARIO, BEGIN)
    simulation.advance_to(simulation.end_us)
    return worth(simulation.kpis().losses_kwh)


def best_of_all() -> Found:
    """The best of every tree there is: a minute."""
    return _best(np.concatenate(list(trees(case33bw()))))


def best_of_choices() -> Found:
    """The best of the trees that have one open branch in each group: seconds."""
    opened = np.sort(np.array(list(product(*GROUPS)), np.int64) - 1, axis=1)
    return _best(opened[is_tree(case33bw(), opened)])


def _best(opened: Ints) -> Found:
    losses = losses_kw(case33bw(), opened)
    at = int(np.nanargmin(losses))
    numbers = tuple(int(index) + 1 for index in np.sort(opened[at]))
    return Found(len(opened), numbers, float(losses[at]), int(np.isnan(losses).sum()))
