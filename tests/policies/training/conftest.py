"""Groups and decisions for tests of learners, without an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cosim.encoding.spec import ActionSpec, Feature, LearnerSpec, Setpoint
from cosim.scenario.learning import Discount
from policies.training.algorithm import GroupSetting
from policies.training.transitions import Transitions


def a_spec(n_obs: int, n_continuous: int = 0, counts: tuple[int, ...] = ()) -> LearnerSpec:
    """A specification with that many features, continuous setpoints and levels."""
    setpoints = [Setpoint(f"p{i}", "kW", -1.0, 1.0) for i in range(n_continuous)]
    setpoints += [Setpoint(f"d{i}", "", 0.0, n - 1.0, tuple(float(k) for k in range(n))) for i, n in enumerate(counts)]
    return LearnerSpec("a", "g", 1.0, tuple(Feature(f"x{i}", "", 0.0, 1.0) for i in range(n_obs)), 1, (), 10.0,
                       ActionSpec(tuple(setpoints)))


def a_setting(spec: LearnerSpec, **changes: Any) -> GroupSetting:
    """A group of one learner; `gamma` and `per_s` make its discount."""
    discount = Discount(gamma=changes.pop("gamma", 0.9), per_s=changes.pop("per_s", 1.0))
    fields: dict[str, Any] = {"name": "g", "spec": spec, "members": (0,), "cost_names": (), "discount": discount,
                              "seed": 1, "n_joint": 0, "n_joint_action": 0, "updates": 1}
    return GroupSetting(**{**fields, **changes})


def some_rows(spec: LearnerSpec, n: int, seed: int = 0, dt_s: float | None = 1.0) -> Transitions:
    """Random decisions; `dt_s` None: of random lengths."""
    rng = np.random.default_rng(seed)
    action = spec.action
    discrete = [rng.integers(0, count, n) for count in action.counts]
    rows = np.concatenate([rng.uniform(-1, 1, (n, len(action.continuous))),
                           np.array(discrete, float).reshape(len(action.counts), n).T], 1)
    columns = {"obs": rng.normal(size=(n, spec.size)).astype(np.float32), "action": rows.astype(np.float32),
               "logp": np.zeros(n, np.float32), "reward": rng.normal(size=n), "cost": np.zeros((n, 0)),
               "dt_s": rng.uniform(0.1, 3.0, n) if dt_s is None else np.full(n, dt_s),
               "next_obs": rng.normal(size=(n, spec.size)).astype(np.float32), "terminated": rng.random(n) < 0.2,
               "truncated": np.zeros(n, bool), "agent": np.zeros(n, np.int32), "slot": np.zeros(n, np.int32),
               "order": np.arange(n)}
    return Transitions(columns)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks on a shared machine: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make() -> Any:
    """The makers above: `spec`, `setting`, `rows`."""
    makers: dict[str, Callable[..., Any]] = {"spec": a_spec, "setting": a_setting, "rows": some_rows}
    return SimpleNamespace(**makers)


@pytest.fixture
def oracle() -> Any:
    """Makers of TorchRL's modules; skips where it is not installed."""
    pytest.importorskip("torchrl", reason="TorchRL is not installed (pip install .[rl])")
    from tests.policies.training import torchrl_modules

    return torchrl_modules
