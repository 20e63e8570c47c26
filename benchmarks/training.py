"""PPO end to end on case118: decisions per second of a training, and what of it is collecting and what is learning.

    python -m benchmarks.training [--quick] [--json FILE]

The task is `benchmarks.learner_case118` (618 observed points, 145 continuous setpoints, AC, shield off); networks have
two layers of 64, a fragment is 2,048 decisions, ten passes over it in minibatches of 256, nothing stops early.  The
figure to reach is 2,500 decisions per second, so that a million take less than seven minutes; a million steps are timed
whole without --quick.  A rate on a shared machine says little; beside it stands the environment alone on the same
machine, one process, in the same minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks import harness, learner_case118
from benchmarks.harness import Row

FRAGMENT, REACH, WHOLE = 2048, 2500.0, 1_000_000
#: (name, worker processes, slots, whether the next fragment is collected while the learner updates).
WAYS = (("one process", 0, 1, False), ("two workers", 2, 2, False), ("two workers, a fragment ahead", 2, 2, True))


def write_task(folder: Path) -> Path:
    """The scenario as a file, with its profiles; episodes of 2,000 decisions."""
    learner_case118.write_profiles(folder / "loads.csv")
    path = folder / "case118.yaml"
    text = learner_case118.scenario_text(2_000)
    path.write_text(text.replace("\nrecord:", f"{_ranges()}\nrecord:"), encoding="utf-8")
    return path


def _ranges() -> str:
    """Actions about the operating point: over the whole ranges a policy that tries things out meets no solution."""
    from cosim.grid import load_network

    network = load_network("case118", Path())
    gens = network.gens
    near = {f"gen{name}.p_set_kw": (0.95 * p_kw, 1.05 * p_kw) for name, p_kw, slack in zip(
        network.gen_names, gens.p_kw.tolist(), gens.slack.tolist(), strict=True) if not slack and p_kw > 0}
    near["*.scale"] = (0.9, 1.1)
    listed = ", ".join(f"'{name}': [{low:.1f}, {high:.1f}]" for name, (low, high) in near.items())
    return f"\n    learn: {{act: {{range: {{{listed}}}}}}}"


def trained(task: Path, workers: int, slots: int, *, ahead: bool, iterations: int) -> tuple[float, float, float]:
    """Decisions per second, and seconds of collecting and of learning, without the first two iterations; collecting a
    fragment ahead also without the last, which has nothing left to collect."""
    from policies.training.config import load_config
    from policies.training.loop import train
    from policies.training.progress import Progress

    config = load_config(scenario=str(task), steps=FRAGMENT * iterations, options={"target_kl": None}, collection={
        "workers": workers, "slots": slots, "fragment": FRAGMENT // slots, "pipeline": ahead})
    seen: list[Progress] = []
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as out:
        train(config, Path(out) / "training", seen.append)
    counted = seen[2:-1] if ahead else seen[2:]
    collect_s, update_s = sum(p.collect_s for p in counted), sum(p.update_s for p in counted)
    return len(counted) * FRAGMENT / (collect_s + update_s), collect_s, update_s


def alone(task: Path, n: int) -> float:
    """Steps per second of the environment alone."""
    from cosim.env import EventEnv

    env = EventEnv(task)
    env.reset(seed=1)
    rows = [env.codecs[0].encode(row) for row in learner_case118.actions(env.simulation, 200)]
    begun_s = perf_counter()
    for k in range(n):
        if env.last.ended:
            env.reset()
        env.step({0: rows[k % 200]})
    return n / (perf_counter() - begun_s)


def measure(quick: bool) -> Iterator[Row]:
    """A row for each way of collecting, and a million steps in the last of them."""
    with tempfile.TemporaryDirectory(prefix="gridloop-bench-") as scratch:
        task = write_task(Path(scratch))
        for name, workers, slots, ahead in WAYS:
            rate, collect_s, update_s = trained(task, workers, slots, ahead=ahead, iterations=6 if quick else 13)
            env_rate = alone(task, 500 if quick else 2_000)
            against = (f"environment alone, one process ({env_rate:,.0f}); collecting {collect_s:.1f} s, learning "
                       f"{update_s:.1f} s")
            yield Row(f"PPO on case118, {name}", rate, "steps/s", against, rate / env_rate, f">= {REACH:,.0f} steps/s",
                      rate >= REACH)
        if not quick:
            yield _whole(task)


def _whole(task: Path) -> Row:
    begun_s = perf_counter()
    trained(task, 2, 2, ahead=True, iterations=-(-WHOLE // FRAGMENT))
    minutes = (perf_counter() - begun_s) / 60
    return Row("PPO on case118, a million steps", minutes, "min", "ten minutes", minutes / 10, "<= 1", minutes <= 10)


def main() -> int:
    """The command line."""
    assert __doc__ is not None
    return harness.main(__doc__.splitlines()[0], measure)


if __name__ == "__main__":
    sys.exit(main())
