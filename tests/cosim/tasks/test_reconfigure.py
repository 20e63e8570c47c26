"""case33bw's reconfiguration: the published losses, and the choices that a learner has."""

from __future__ import annotations

import importlib.util
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.yardsticks import reconfigure
from benchmarks.yardsticks.trees import case33bw, is_tree, losses_kw
from cosim.scenario import load_scenario

#: Baran and Wu's feeder as it is and at its best, kW: the values of the literature, to all digits that are given.
PUBLISHED_KW = (202.677, 139.551)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/data/make_choices.py."""
    file = Path(__file__).parents[3] / "docs" / "data" / "make_choices.py"
    spec = importlib.util.spec_from_file_location("make_choices", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_losses_are_the_published_ones() -> None:
    """202.677 kW as it is, 139.551 kW open at 7, 9, 14, 32 and 37, by the engine and by a sweep of our own."""
    configurations = [reconfigure.AS_IT_IS, reconfigure.BEST]
    np.testing.assert_allclose(reconfigure.engine_losses_kw(configurations), PUBLISHED_KW, atol=1e-3)
    np.testing.assert_allclose(losses_kw(case33bw(), np.array(configurations) - 1), PUBLISHED_KW, atol=1e-3)


def test_the_timetable_walks_from_one_to_the_other() -> None:
    """The scenario's own run starts at the one, ends at the other, and loses less at every step."""
    walk = reconfigure.walk_kw()
    np.testing.assert_allclose(walk[[0, -1]], PUBLISHED_KW, atol=1e-3)
    assert (np.diff(walk) < 0).all()


def test_engine_and_sweep_agree() -> None:
    """On 60 configurations chosen at random the two power flows differ by less than a milliwatt."""
    rng = np.random.default_rng(33)
    opened = np.array([[rng.choice(group) for group in reconfigure.GROUPS] for _ in range(60)])
    swept = losses_kw(case33bw(), np.sort(opened, axis=1) - 1)
    known = ~np.isnan(swept)
    assert known.sum() > 50
    np.testing.assert_allclose(reconfigure.engine_losses_kw(opened[known]), swept[known], atol=1e-6)


def test_every_combination_of_choices_is_a_tree(script: ModuleType) -> None:
    """No choice cuts anybody off, whatever was chosen before: 14,784 trees; another grouping would not do."""
    assert tuple(script.GROUPS.values()) == reconfigure.GROUPS
    opened = np.sort(np.array(list(product(*reconfigure.GROUPS))) - 1, axis=1)
    assert len(opened) == 14_784
    assert is_tree(case33bw(), opened).all()
    assert not is_tree(case33bw(), np.array([[5, 6, 13, 31, 36]])).any()  # 6 and 7 are one chain


def test_no_single_choice_betters_the_best() -> None:
    """From the optimum, each of the 36 choices loses more, or leaves it as it is."""
    at_best = dict(zip(range(5), (7, 14, 9, 32, 37), strict=True))
    neighbours = [tuple({**at_best, k: branch}.values()) for k, group in enumerate(reconfigure.GROUPS)
                  for branch in group]
    losses = reconfigure.engine_losses_kw(neighbours)
    assert len(losses) == 36
    assert np.nanmin(losses) == pytest.approx(139.551, abs=1e-3)
    assert (losses < 139.56).sum() == 5  # the five that choose what is chosen


@pytest.mark.slow
def test_the_best_of_all_choices_is_the_published_one() -> None:
    """Of all 14,784 configurations that the choices can make, open 7, 9, 14, 32, 37 loses least."""
    found = reconfigure.best_of_choices()
    assert found.opened == reconfigure.BEST
    assert found.losses_kw == pytest.approx(139.551, abs=1e-3)


def test_the_script_wrote_the_scenario(script: ModuleType) -> None:
    """Breakers and timetable stand in the scenario as the script writes them, and choices name its points."""
    scenario = load_scenario("reconfigure_33")
    assert "\n".join([*script.breakers(), ""]) in scenario.text
    assert "\n".join([*script.timetable(), ""]) in scenario.text
    names = [device["name"] for device in scenario.scenario.devices]
    assert len(names) == 37
    assert len(script.choices()) == 36
    assert all(script.named(branch) in names for group in reconfigure.GROUPS for branch in group)
