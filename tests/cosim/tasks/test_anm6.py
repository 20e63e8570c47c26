"""ANM6-Easy in our engine is gym-anm's ANM6-Easy: network, devices, cycle and every step."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.anm6_pair import COLUMNS, Ours, Start, compared
from benchmarks.anm6_trace import Episode, episodes
from cosim.datasets import load_profile
from cosim.datasets.registry import SHIPPED
from cosim.grid import load_network

ROOT = Path(__file__).resolve().parents[3]
CLOSE = 1e-6
gym_anm = pytest.mark.skipif(importlib.util.find_spec("gym_anm") is None, reason="gym-anm is not installed")


@pytest.mark.parametrize("episode", tuple(episodes()), ids=lambda episode: f"quarter {episode.start.quarter}")
def test_the_trace_of_gym_anm_is_followed(episode: Episode) -> None:
    """Gym-anm's recorded answers to 50 random actions: every value of every state, loss, penalty and reward to 1e-6."""
    ours = Ours(episode.start, len(episode.actions))
    assert np.abs(ours.seen().row()[:-3] - episode.rows[0][:-3]).max() < CLOSE
    for action, expected in zip(episode.actions, episode.rows[1:], strict=True):
        apart = np.abs(ours.step(action).row() - expected)
        assert apart.max() < CLOSE, COLUMNS[int(apart.argmax())]
    assert (episode.rows[1:, COLUMNS.index("penalty")] > 0).any()


@gym_anm
def test_random_steps_equal_gym_anm() -> None:
    """300 random steps beside gym-anm, collapses included; its solvers go on to tight stops, its model is its own."""
    found = compared(300, seed=1, exact=True)
    assert found.apart == 0
    assert found.collapses[0] > 0
    assert {name: x for name, x in zip(COLUMNS, found.largest, strict=True) if not x < CLOSE} == {}


@gym_anm
def test_gym_anm_as_it_comes_is_followed() -> None:
    """With its own stop at 1e-5 pu, gym-anm is followed as closely as it knows its own answer."""
    found = compared(60, seed=2, exact=False)
    assert found.apart == 0
    assert found.of("store_e", "pv_p", "wind_p", "store_p", "store_q") < CLOSE
    assert found.of("slack", "v_", "s_", "loss") < 1e-4


@gym_anm
def test_profile_and_network_are_gym_anms() -> None:
    """Every cell of the profile to the bit, every branch and limit."""
    from gym_anm.envs import ANM6Easy

    env = ANM6Easy()
    profile = load_profile(SHIPPED / "anm6_easy.csv")
    theirs = np.vstack((-env.P_loads, env.P_maxs)).T / [10, 30, 30, 30, 50]
    assert np.array_equal(profile.values[:, :5], theirs)
    assert np.array_equal(profile.values[:, 5] * 96, np.arange(96))
    network = load_network("grids/anm6.m", ROOT / "scenarios")
    assert network.bus_names == tuple(map(str, env.simulator.buses))
    branches = {(int(f), int(t)): rate for f, t, rate in zip(
        network.branches.from_bus, network.branches.to_bus, network.branches.rating_from_kva, strict=True)}
    assert branches == {ends: branch.rate * 1e5 for ends, branch in env.simulator.branches.items()}


def test_a_collapse_is_told() -> None:
    """All reactive power at one extreme has no power flow: the state is marked, and the reward is gym-anm's -20,000."""
    ours = Ours(Start(0, 0.5, 0.0, 0.0), 3)
    seen = ours.step(np.array([0.0, 0.0, -30.0, -50.0, -50.0, -50.0]))
    assert seen.collapsed
    assert seen.reward == pytest.approx(-20_000.0)
