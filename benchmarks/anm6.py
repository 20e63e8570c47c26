"""ANM6-Easy in our engine against gym-anm 2.0.1: the same steps, and how fast.

    python -m benchmarks.anm6 [--quick] [--json FILE]

Equality: 10,000 random steps of both (quick: 300), from the same starts with the same actions, ending episodes where
the power flow collapses; the rows show the largest difference of any value of any step. Twice: with gym-anm's solvers
going on to tight stops (its Newton to 1e-11 pu), which compares the models, and as it comes (2,000 steps), where its
Newton's stop at 1e-5 pu is what differs. (Penalty and reward by gym-anm's formula from our states; that the scenario's
own terms say the same is tested: tests/cosim/tasks.) Speed: steps/s of both environments in turn, with observation,
reward and end, resets included.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np

from benchmarks.anm6_pair import ACTION_KW, Differences, Peer, compared
from benchmarks.exchange import PeerMissingError
from benchmarks.harness import Comparison, Reach, Row, main
from cosim.env import EventEnv
from cosim.points import Vector

STEPS, AS_IT_COMES_STEPS, QUICK_STEPS = 10_000, 2_000, 300
OURS_STEPS, THEIRS_STEPS, QUICK_SHARE = 4_000, 200, 4
#: Actions of this share of the range do not collapse the network within an episode.
CALM = 0.5
#: What is compared, and the columns of it.
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("device P and Q, external grid", ("slack", "homes", "pv", "industry", "wind", "ev", "store_p", "store_q")),
    ("stored energy", ("store_e",)), ("bus voltages", ("v_",)), ("branch powers", ("s_",)),
    ("energy loss", ("loss",)), ("penalty and reward", ("penalty", "reward")))


def difference_rows(steps: int, *, exact: bool) -> Iterator[Row]:
    """Largest differences, pu (the reward as it is): to reach 1e-6 with equal stops."""
    try:
        found = compared(steps, seed=1000, exact=exact)
    except PeerMissingError as missing:
        yield Row(f"largest difference over {steps:,} steps", None, "pu", f"gym-anm (peer missing: {missing})", None,
                  "<= 1e-06", None)
        return
    against = "gym-anm with tight stops" if exact else "gym-anm as it comes"
    yield from _rows(found, against, Reach(at_least=False, bound=1e-6) if exact else None)


def _rows(found: Differences, against: str, reach: Reach | None) -> Iterator[Row]:
    for what, columns in PARTS:
        value = found.of(*columns)
        yield Row(f"{found.steps:,} random steps, largest difference: {what}", value, "pu", against, None,
                  str(reach or ""), reach.met(value) if reach else None)
    theirs, ours = found.collapses
    yield Row(f"collapses in {found.episodes} episodes", ours, "", f"{against} ({theirs}, {found.apart} apart)", None,
              "0 apart", found.apart == 0)


class Speed:
    """Both sides at random calm actions, for so many steps each time; an episode that ends starts anew."""

    def __init__(self, share: int) -> None:
        self._ours, self._theirs = OURS_STEPS // share, THEIRS_STEPS // share
        self._peer: Peer | None = None
        self._env: EventEnv | None = None

    def ours(self) -> float:
        """Steps/s of the scenario's environment."""
        env = self._env = self._env or EventEnv("anm6_easy")
        rows = [env.codecs[0].encode(action) for action in _actions(self._ours) * ACTION_KW]
        env.reset(1)
        begun_s = perf_counter()
        for row in rows:
            if env.step({0: row}).ended:
                env.reset()
        return self._ours / (perf_counter() - begun_s)

    def theirs(self) -> float:
        """Steps/s of gym-anm."""
        self._peer = self._peer or Peer(exact=False)
        self._peer.reset(1)
        begun_s = perf_counter()
        for action in _actions(self._theirs):
            if self._peer.bare_step(action):
                self._peer.reset(1)
        return self._theirs / (perf_counter() - begun_s)


def _actions(count: int) -> Vector:
    low, high = np.array([0.0, 0.0, -30.0, -50.0, -50.0, -50.0]), np.array([30.0, 50.0, 30.0, 50.0, 50.0, 50.0])
    return np.random.default_rng(5).uniform(low, high, (count, 6)) * CALM


def measure(quick: bool) -> Iterator[Row]:
    """All rows."""
    yield from difference_rows(QUICK_STEPS if quick else STEPS, exact=True)
    yield from difference_rows(QUICK_STEPS if quick else AS_IT_COMES_STEPS, exact=False)
    speed = Speed(QUICK_SHARE if quick else 1)
    yield Comparison("ANM6-Easy, one process", "steps/s", "gym-anm 2.0.1", speed.ours, speed.theirs,
                     Reach(at_least=True, bound=40.0)).row(pairs=3 if quick else 7)


def run(argv: Sequence[str] | None = None) -> int:
    """The command."""
    return main("ANM6-Easy in our engine against gym-anm", measure, argv)


if __name__ == "__main__":
    sys.exit(run())
