"""Bundles that come with the scenarios: they fit, they say how they were made, and they are worth what is claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")

from cosim.env import EnvOptions, EventEnv
from policies.bundle import Bundle, normalised
from policies.numpy_actor import NumpyActor

CHECKPOINTS = Path(__file__).resolve().parents[2] / "scenarios" / "checkpoints"
BUNDLES = tuple(sorted(path.parent for path in CHECKPOINTS.glob("*/bundle.json")))


def test_there_are_some() -> None:
    """The tests below look at real bundles."""
    assert BUNDLES


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_shipped_bundle_fits_its_scenario(folder: Path) -> None:
    """Features, scales and ranges are those of the scenario as it is shipped; its command is on record; it is small."""
    bundle = Bundle.load(folder)
    env = EventEnv(str(bundle.scenario["name"]))
    for name, members in env.groups.items():
        assert bundle.group(name).differences(normalised(env.specs[members[0]])) == []
    assert str(bundle.training["command"]).startswith("gridloop train ")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 500_000


def test_the_operator_of_anm6_is_better_than_what_was_published() -> None:
    """300 steps from three starts, discounted: well above SAC's -56.1 and PPO's -93.6, few steps violating."""
    group = Bundle.load(CHECKPOINTS / "anm6_easy_ppo").group("operator")
    actor, rng = NumpyActor(group.network, group.weights), np.random.default_rng(0)
    env = EventEnv("anm6_easy", options=EnvOptions(duration_s=900.0 * 302))
    returns, violating = [], 0
    for seed in range(3):
        decision, total, worth = env.reset(seed), 0.0, 1.0
        while not decision.ended:
            rows, _, _ = actor.act(decision.observation[None], rng, deterministic=True)
            decision = env.step({0: rows[0]})
            total, worth = total + worth * float(decision.reward[0]), worth * 0.995
            violating += env.breakdown(0)["penalty"] < -1e-6
        returns.append(total)
    assert np.mean(returns) > -40
    assert violating < 0.079 * 3 * 301
