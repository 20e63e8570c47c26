"""Collection in worker processes: the same rows whoever collects, and workers that are lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.description import Description
from policies.training.collect import Collector, Fragment, LocalCollector, ProcessCollector, WorkerLostError
from policies.training.transitions import Shape
from policies.training.worker import EnvRecipe, Plan
from tests.policies.training.fakes import recipe

DESCRIPTION = Description(3, 1, hidden=(8,), normalise=False)


def weights(seed: int = 0) -> dict[str, dict[str, Any]]:
    """Random ones."""
    rng = np.random.default_rng(seed)
    return {"all": {name: rng.normal(size=shape).astype(np.float32) * 0.3
                    for name, shape in DESCRIPTION.shapes.items()}}


def plan(made: EnvRecipe | None = None, slots: int = 3) -> Plan:
    """Three slots of two agents that share an actor."""
    made = made or recipe(periods=[1.0, 2.3], jitter=0.5, duration_s=15.0)
    return Plan(made, 5, slots, 20, {"all": Shape(3, 1, 1)}, {"all": 2}, {"all": DESCRIPTION.to_dict()},
                {"all": DESCRIPTION.shapes})


@contextmanager
def closing(collector: Any) -> Iterator[Any]:
    """Closed whatever happens."""
    try:
        yield collector
    finally:
        collector.close()


def rounds(collector: Collector, n: int = 3) -> list[Fragment]:
    """Rounds with weights that change."""
    found = []
    for k in range(n):
        collector.load(weights(k))
        collector.begin(k)
        found.append(collector.finish())
    return found


def assert_same(a: list[Fragment], b: list[Fragment]) -> None:
    """Bit for bit."""
    for mine, theirs in zip(a, b, strict=True):
        assert mine.episodes == theirs.episodes
        for name, column in mine.rows["all"].columns.items():
            assert np.array_equal(column, theirs.rows["all"][name]), name


@pytest.mark.slow
def test_the_number_of_workers_does_not_show() -> None:
    """One worker, two workers and none give the same rows and episodes, bit for bit; also from a saved state."""
    with closing(LocalCollector(plan())) as local:
        expected = rounds(local)
        states = local.snapshot()
        expected += rounds(local, 1)
    assert len(expected[0].rows["all"]) > 60
    assert sum(len(fragment.episodes) for fragment in expected) >= 3
    with closing(ProcessCollector(plan(), 1, 60.0)) as one:
        assert_same(rounds(one), expected[:3])
    with closing(ProcessCollector(plan(), 2, 60.0)) as two:
        assert_same(rounds(two), expected[:3])
        two.restore(states)
        assert_same(rounds(two, 1), expected[3:])


@pytest.mark.slow
def test_a_killed_worker_is_named(tmp_path: Path) -> None:
    """With its slots, the signal and its log."""
    made = recipe(periods=[1.0, 2.3], duration_s=5.0, kill_at=3)
    with closing(ProcessCollector(plan(made, slots=2), 2, 60.0, tmp_path)) as collector:
        collector.load(weights())
        collector.begin(0)
        with pytest.raises(WorkerLostError, match=r"worker (\d) \(slots \1\) was killed by signal 9.*worker-\1\.log"):
            collector.finish()


@pytest.mark.slow
def test_a_silent_worker_is_named(tmp_path: Path) -> None:
    """One that is stopped for longer than the timeout; closing gets rid of it."""
    with closing(ProcessCollector(plan(slots=1), 1, 60.0, tmp_path)) as collector:
        collector.load(weights())
        (worker,) = collector._workers
        os.kill(worker.process.pid, signal.SIGSTOP)
        collector._timeout_s = 0.2
        collector.begin(0)
        with pytest.raises(WorkerLostError, match=r"said nothing for 0\.2 s"):
            collector.finish()
        worker.process.kill()


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """With the error and the worker's own trace."""
    made = EnvRecipe("tests.policies.training.fakes:failing", {})
    with pytest.raises(WorkerLostError, match=r"(?s)failed: RuntimeError: no such grid.*worker-0\.log.*in failing"):
        ProcessCollector(plan(made, slots=1), 1, 60.0, tmp_path)


@pytest.mark.slow
def test_ray_collects_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remote actors give the rows of this process, also from a saved state (needs ray)."""
    pytest.importorskip("ray", reason="ray is optional (pip install ray)")
    from policies.training.ray_engine import RayCollector

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it would write a token into the home folder
    with closing(LocalCollector(plan())) as local:
        expected = rounds(local)
        states = local.snapshot()
        expected += rounds(local, 1)
    with closing(RayCollector(plan(), 2, 120.0)) as remote:
        assert_same(rounds(remote), expected[:3])
        remote.restore(states)
        assert_same(rounds(remote, 1), expected[3:])


def test_hosts_are_collectors_in_pieces() -> None:
    """What runs on a cluster's nodes, here: bytes in and out, the same rows (without ray)."""
    from safetensors.numpy import load, save

    from policies.training.ray_engine import SlotHost

    with closing(LocalCollector(plan())) as local:
        expected = rounds(local, 1)[0]
    hosts = [SlotHost(plan().to_json(), (0, 2)), SlotHost(plan().to_json(), (1,))]
    given = save({f"{group}|{name}": array for group, named in weights(0).items() for name, array in named.items()})
    rows = {key: column for host in hosts for key, column in load(host.collect(0, given)[0]).items()}
    for name, column in expected.rows["all"].columns.items():
        assert np.array_equal(np.concatenate([rows[f"{slot}|all|{name}"] for slot in range(3)]), column), name
    fresh = SlotHost(plan().to_json(), (0, 2))
    assert fresh.restore(hosts[0].snapshot()) == 2
    assert fresh.collect(1, given) == hosts[0].collect(1, given)
