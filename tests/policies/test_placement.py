"""Who learns in a scenario, and a bundle put in their place without editing its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import ScenarioError
from policies.placement import bundle_overrides, learner_entries
from tests.cosim.env.worlds import learner, loaded


def test_learners_actuate_and_are_named() -> None:
    """Agents that actuate nothing, or that learning.agents leaves out, are none; templates fit by their fixed parts."""
    each = learner(1, name="store_{}", each="bat*", observe=["{}.soc"], actuate=["{}.p_set_kw"])
    watcher = {**learner(2), "name": "watcher", "actuate": []}
    scenario = loaded(each, watcher, learner(3)).scenario
    assert learner_entries(scenario) == (0, 2)
    for pattern, entries in (("agent_*", (2,)), ("store_*", (0,)), ("store_bat1", (0,)), ("agent_3", (2,))):
        chosen = loaded(each, watcher, learner(3), learning={"agents": [pattern]}).scenario
        assert learner_entries(chosen) == entries, pattern


def test_nobody_learns_is_an_error() -> None:
    """A scenario without learners says so, with how many agents there are and what was looked for."""
    with pytest.raises(ScenarioError, match=r"'three' has no learners: none of its 1 agents has `actuate`"):
        learner_entries(loaded({**learner(1), "actuate": []}).scenario)


def test_overrides_are_one_policy_a_learner() -> None:
    """Every learner's entry gets the bundle by its absolute path; names with spaces and quotes survive."""
    changes = bundle_overrides(loaded(learner(1), learner(2)).scenario, Path("a b'c"), "onnx")
    assert [change.partition("=")[0] for change in changes] == ["agents.0.policy", "agents.1.policy"]
    assert all(f'"bundle": "{Path.cwd() / "a b"}' in change and '"kind": "onnx"' in change for change in changes)
