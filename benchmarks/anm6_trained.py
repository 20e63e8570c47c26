"""A policy trained in Gridloop's re-model of ANM6-Easy, played in gym-anm itself and beside it in the re-model.

    python -m benchmarks.anm6_trained BUNDLE [BUNDLE ...] [--ours-only] [--quick] [--json FILE]

gym-anm is left as it comes: its simulator, its solver, its reward.  Discounted with γ = 0.995 per step from the first
decision, as Henry and Ernst (Energy and AI 5, 2021, 100092) report returns: PPO -93.6 ± 15.3, SAC -56.1 ± 26.8, model
predictive control with constant forecasts -129.1 ± 0.4, with perfect ones -14.7 ± 0.2.  After 700 steps what is left
weighs 3 %; gym-anm does some 25 steps a second.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks import harness
from benchmarks.anm6_pair import GAMMA, TO_PU, Peer
from benchmarks.exchange import PeerMissingError
from benchmarks.harness import Row
from cosim.encoding import Senses
from cosim.env import EventEnv
from cosim.points import Vector

#: Raw points (18,) in our units -> setpoints (6,) in kW and kvar.
Play = Callable[[Vector], Vector]
#: A penalty above this is a violating step.
VIOLATION = 1e-6
PUBLISHED_SAC, PUBLISHED_VIOLATING = -56.1, 7.9


def player(bundle: Path, env: EventEnv) -> Play:
    """The bundle's best action."""
    from policies.bundle import Bundle
    from policies.numpy_actor import NumpyActor

    group = Bundle.load(bundle).group(env.specs[0].group)
    actor, rng = NumpyActor(group.network, group.weights), np.random.default_rng(0)
    always = Senses(np.zeros(1), np.ones(1, bool), np.zeros(1))

    def play(raw: Vector) -> Vector:
        rows, _, _ = actor.act(env.encoder.encode(raw, always)[None], rng, deterministic=True)
        return env.codecs[0].decode(np.asarray(rows[0], float))

    return play


def in_peer(play: Play, peer: Any, seed: int, steps: int) -> tuple[float, float]:
    """Discounted return and share of violating steps in gym-anm."""
    _, seen = peer.reset(seed)
    total, worth, violating = 0.0, 1.0, 0
    for k in range(steps):
        seen = peer.step(play(seen.state / TO_PU) / 1000.0)
        total, worth = total + worth * seen.reward, worth * GAMMA
        violating += seen.penalty > VIOLATION
        if seen.collapsed:
            return total, violating / (k + 1)
    return total, violating / steps


def in_ours(play: Play, env: EventEnv, seed: int, steps: int) -> tuple[float, float]:
    """The same in the re-model."""
    decision = env.reset(seed)
    total, worth, violating = 0.0, 1.0, 0
    for k in range(steps):
        agent = env.simulation.crew.agents[env.names[0]]
        env.commit_setpoints({0: play(agent.look())})
        decision = env.advance()
        total, worth = total + worth * float(decision.reward[0]), worth * GAMMA
        violating += env.breakdown(0)["penalty"] < -VIOLATION
        if decision.ended:
            return total, violating / (k + 1)
    return total, violating / steps


def rows_of(name: str, found: Sequence[tuple[float, float]], *, judged: bool) -> Iterator[Row]:
    """Two rows: mean return over the episodes, and the share of violating steps; a few steps are not `judged`."""
    returns = np.array([total for total, _ in found])
    mean, violating = float(returns.mean()), 100 * float(np.mean([share for _, share in found]))
    yield Row(f"{name}: discounted return (± {returns.std():.1f})", mean, "", f"SAC as published, {PUBLISHED_SAC}",
              mean / PUBLISHED_SAC, f">= {PUBLISHED_SAC}", mean >= PUBLISHED_SAC if judged else None)
    yield Row(f"{name}: violating steps", violating, "%", f"MPC with perfect forecasts, {PUBLISHED_VIOLATING} %",
              violating / PUBLISHED_VIOLATING, f"< {PUBLISHED_VIOLATING} %",
              violating < PUBLISHED_VIOLATING if judged else None)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Rows of every bundle on both sides, gym-anm's where it is installed."""
    env, peer = EventEnv("anm6_easy"), None
    episodes, steps = (1, 50) if options.quick else (options.episodes, options.steps)
    if not options.ours_only:
        try:
            peer = Peer(exact=False)
        except PeerMissingError as missing:
            print(f"gym-anm is missing: {missing}")
    for bundle in options.bundles:
        play = player(bundle, env)
        ours = [in_ours(play, env, seed, steps) for seed in range(episodes)]
        yield from rows_of(f"{bundle} in gridloop", ours, judged=not options.quick)
        if peer is not None:
            theirs = [in_peer(play, peer, seed, steps) for seed in range(episodes)]
            yield from rows_of(f"{bundle} in gym-anm", theirs, judged=not options.quick)


def main() -> int:
    """The command line."""
    assert __doc__ is not None
    parser = harness.command_line(__doc__)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--ours-only", action="store_true", help="leave gym-anm out")
    options = parser.parse_args()
    return harness.report(options, measure(options))


if __name__ == "__main__":
    sys.exit(main())
