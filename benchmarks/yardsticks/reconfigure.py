"""`scenarios/reconfigure_33.yaml`: losses as it is, of the walk there, and of the best of all trees.

The optimum is proven by trying all trees with a sweep of our own (`trees`), and the engine's power flow has to agree
with that sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

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
