"""What one learning step costs: our losses and optimisers beside TorchRL's, on the same sizes, one thread.

    python -m benchmarks.learner_updates [--quick] [--json FILE]

A step is everything between a batch and changed weights: losses, gradients, optimisers, target networks.  Ours draws
its batch from the replay memory besides (PPO: 256 rows of a fragment).  Sizes: 18 observations, 6 actions (or one of 5
alternatives), batch 256, two hidden layers of 256 (PPO: 64).  TorchRL's side is its loss module, `SoftUpdate` and Adam
as in its examples; its TD3 moves the actor at every step, ours at every second.  For SAC the multiplications alone are
0.5 GFLOP in single precision: 3.2 ms on a core that does 160 GFLOP/s.  Where others use the machine, compare ratios.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

if __package__ in (None, ""):  # run as a file: the repository root is not on the path
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.exchange import PeerMissingError
from benchmarks.harness import Comparison, NotBuiltError, Row, main
from cosim.encoding.spec import ActionSpec, Feature, LearnerSpec, Setpoint

N_OBS, N_ACTION, N_ALTERNATIVE, BATCH, HIDDEN = 18, 6, 5, 256, (256, 256)
GAMMA = 0.99

Step = Callable[[], None]


def a_spec(*, discrete: bool) -> LearnerSpec:
    """What the learner sees and does."""
    levels = tuple(float(k) for k in range(N_ALTERNATIVE))
    setpoints = (Setpoint("d", "", 0.0, levels[-1], levels),) if discrete else tuple(
        Setpoint(f"p{i}", "kW", -1.0, 1.0) for i in range(N_ACTION))
    return LearnerSpec("a", "g", 1.0, tuple(Feature(f"x{i}", "", 0.0, 1.0) for i in range(N_OBS)), 1, (), 10.0,
                       ActionSpec(setpoints))


def rows_of(spec: LearnerSpec, n: int) -> Any:
    """Random decisions of one agent."""
    from policies.training.transitions import Transitions

    rng = np.random.default_rng(0)
    action = rng.integers(0, N_ALTERNATIVE, (n, 1)) if spec.action.counts else rng.uniform(-1, 1, (n, N_ACTION))
    return Transitions({
        "obs": rng.normal(size=(n, N_OBS)).astype(np.float32), "action": action.astype(np.float32),
        "logp": np.full(n, -5.0, np.float32), "reward": rng.normal(size=n), "cost": np.zeros((n, 0)),
        "dt_s": np.ones(n), "next_obs": rng.normal(size=(n, N_OBS)).astype(np.float32), "terminated": np.zeros(n, bool),
        "truncated": np.zeros(n, bool), "agent": np.zeros(n, np.int32), "slot": np.zeros(n, np.int32),
        "order": np.arange(n)})


def setting_of(spec: LearnerSpec) -> Any:
    """A group of one."""
    from cosim.scenario.learning import Discount
    from policies.training.algorithm import GroupSetting

    return GroupSetting("g", spec, (0,), (), Discount(gamma=GAMMA, per_s=1.0), 1, 0, 0, 100)


def ours(name: str) -> Step:
    """One of our steps."""
    try:
        from policies.training.algorithm import algorithm_class
    except ImportError as error:
        raise NotBuiltError(str(error)) from None
    spec = a_spec(discrete=name == "dqn")
    kind = algorithm_class(name)
    if name == "ppo":
        return our_ppo(kind, spec)
    learner = kind(setting_of(spec), kind.Options(hidden=HIDDEN, batch=BATCH, warmup=0))
    learner.remember(rows_of(spec, 20_000))
    return lambda: learner.learn_many(1)


def our_ppo(kind: Any, spec: LearnerSpec) -> Step:
    """One minibatch of PPO; a fragment of ten of them is learned from at a time."""
    learner = kind(setting_of(spec), kind.Options(epochs=1, minibatch=BATCH, target_kl=None))
    rows = rows_of(spec, 10 * BATCH)
    return lambda: learner.update(rows)


def theirs(name: str) -> Step:
    """TorchRL's step of the same."""
    try:
        from benchmarks.torchrl_updates import STEPS
    except ImportError as error:
        raise PeerMissingError(f"{error}; pip install '.[rl]'") from None
    return STEPS[name]()


def rate(make: Callable[[str], Step], name: str, n: int) -> Callable[[], float]:
    """Steps a second; the learner is made once."""
    steps: list[Step] = []

    def measured() -> float:
        import torch

        torch.set_num_threads(1)
        if not steps:
            steps.append(make(name))
        step, per_call = steps[0], 10 if make is ours and name == "ppo" else 1
        calls = max(n // per_call, 1)
        begun_s = perf_counter()
        for _ in range(calls):
            step()
        return calls * per_call / (perf_counter() - begun_s)

    return measured


def measure(quick: bool) -> Iterator[Row]:
    """A row an algorithm, in steps a second."""
    n, pairs = (40, 3) if quick else (200, 7)
    for name in ("sac", "td3", "dqn", "ppo"):
        yield Comparison(f"{name.upper()} step", "steps/s", "TorchRL", rate(ours, name, n), rate(theirs, name, n)).row(
            pairs)


if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0] if __doc__ else "", measure))
