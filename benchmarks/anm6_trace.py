"""Writes gym-anm's own answers over 100 random steps to `tests/cases/anm6_easy.csv`, and reads them back.

    python -m benchmarks.anm6_trace          (needs gym-anm 2.0.1)

So equality with gym-anm is tested where gym-anm is not installed. A row is a state: its episode, the action that led to
it (MW, Mvar; the first of an episode: none, but quarter, state of charge and reactive powers it starts from), and the
columns of `benchmarks.anm6_pair.COLUMNS`, 13 significant digits.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from benchmarks.anm6_pair import COLUMNS, Peer, Start
from benchmarks.harness import ROOT
from cosim.points import Vector

TRACE = ROOT / "tests" / "cases" / "anm6_easy.csv"
ACTIONS = ("a_pv_p", "a_wind_p", "a_pv_q", "a_wind_q", "a_store_p", "a_store_q")
SEEDS, STEPS = (1, 11), 50


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """`actions` (n, 6) in MW and Mvar, and gym-anm's `rows` (n + 1, 32), the first before any action."""

    start: Start
    actions: Vector
    rows: Vector


def episodes() -> Iterator[Episode]:
    """The episodes of the file."""
    with TRACE.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for _, group in groupby(table, key=lambda row: row["episode"]):
        states = list(group)
        actions = np.array([[float(row[name]) for name in ACTIONS] for row in states])
        quarter, soc, pv_q, wind_q = actions[0, :4].tolist()
        yield Episode(Start(round(quarter), soc, pv_q, wind_q), actions[1:],
                      np.array([[float(row[name]) for name in COLUMNS] for row in states]))


def recorded(seed: int, steps: int) -> Iterator[list[float]]:
    """Action and state of each row of an episode that does not collapse; RuntimeError where it does."""
    peer, rng = Peer(exact=True), np.random.default_rng(seed)
    start, first = peer.reset(seed)
    yield [start.quarter, start.soc, start.pv_q_kvar, start.wind_q_kvar, 0.0, 0.0, *first.row().tolist()]
    for step in range(steps):
        action = np.round(peer.sample(rng), 6)
        seen = peer.step(action)
        if seen.collapsed:
            raise RuntimeError(f"seed {seed}: gym-anm collapsed at step {step + 1}; choose another seed")
        yield [*action.tolist(), *seen.row().tolist()]


def main() -> None:
    """Write the file."""
    rows = [[str(seed), *(f"{value:.13g}" for value in row)] for seed in SEEDS for row in recorded(seed, STEPS)]
    with TRACE.open("w", encoding="utf-8", newline="") as file:
        file.write("# Output of gym-anm 2.0.1 (MIT licence, (c) 2020 Robin Henry), by benchmarks/anm6_trace.py\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["episode", *ACTIONS, *COLUMNS], *rows])


if __name__ == "__main__":
    main()
