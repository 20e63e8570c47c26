"""The environment's benchmark measures what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pettingzoo", reason="PettingZoo is not installed (pip install .[env])")

from benchmarks.environment import Case118, EndedError, Exchange
from benchmarks.learner_case118 import N_ACTUATED, N_OBSERVED


def test_the_learner_on_case118_has_the_size_that_is_named(tmp_path: Path) -> None:
    """618 points seen (and three features of time), 145 numbers answered; its steps have a power flow."""
    case = Case118(tmp_path)
    assert case.core.specs[0].size == N_OBSERVED + 3
    assert case.env.action_space("agent").shape == (N_ACTUATED,)
    assert case.through_parallel(5) > 0
    assert case.core.stats.actions == 5


def test_steps_after_the_end_are_no_rate(tmp_path: Path) -> None:
    """They cost a microsecond: the benchmark says so instead of counting them."""
    case = Case118(tmp_path)
    case.core.simulation.end_us = 3_000_000
    with pytest.raises(EndedError, match=r"at t = 3\.0 s"):
        case.through_parallel(5)


def test_both_sides_of_the_exchange_do_as_many_decisions(tmp_path: Path) -> None:
    """The environment's agents decide as often as the run's; spread ones in instants of their own."""
    for exchange in (Exchange(3, 4), Exchange(3, 4, jitter_s=0.4), Exchange(3, 4, jitter_s=0.4, together_s=0.1)):
        assert exchange.as_environment(tmp_path)() > 0
        assert exchange.as_run(tmp_path)() > 0
        assert exchange.loaded(tmp_path).scenario.agents[0].jitter_s == exchange.jitter_s
