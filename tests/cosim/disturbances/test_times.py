"""When disturbances begin and end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.errors import ScenarioError
from tests.cosim.simulation.worlds import agent, ended, events, loaded, world

OUT = {"kind": "line_outage", "line": "3-4"}


def happened(*disturbances: dict[str, Any], **changes: Any) -> list[str]:
    """The disturbance events of a run."""
    return [line for line in events(ended(world(disturbances=list(disturbances), **changes)))
            if ".begin" in line or ".end" in line]


def begins(lines: list[str], kind: str) -> list[float]:
    """Times at which disturbances of a kind began."""
    return [float(line.split()[0]) for line in lines if f"{kind}.begin" in line]


def test_begin_and_end_are_events_of_their_own_instants() -> None:
    """Each edge is written at its time, between scans too."""
    assert happened({**OUT, "at_s": 2.25, "duration_s": 3.5}) == [
        "2.250000 line_outage.begin line.3-4: out of service", "5.750000 line_outage.end line.3-4: back in service"]


def test_without_duration_it_lasts_to_the_end() -> None:
    """No `duration_s`: no end."""
    assert happened({**OUT, "at_s": 2}) == ["2.000000 line_outage.begin line.3-4: out of service"]


def test_several_times() -> None:
    """A list of times is a list of occurrences."""
    assert [" ".join(line.split()[:2]) for line in happened({**OUT, "at_s": [1, 4], "duration_s": 1})] == [
        "1.000000 line_outage.begin", "2.000000 line_outage.end", "4.000000 line_outage.begin",
        "5.000000 line_outage.end"]


@pytest.mark.parametrize(("at_s", "end"), [([1, 3], 5.0), ([1, 2], 4.0), ([1, 1.5, 2.5], 4.5)])
def test_occurrences_that_touch_or_overlap_are_one(at_s: list[float], end: float) -> None:
    """What begins again before (or when) it ends lasts until the last occurrence ends."""
    lines = happened({**OUT, "at_s": at_s, "duration_s": 2})
    assert [line.split()[:2] for line in lines] == [
        ["1.000000", "line_outage.begin"], [f"{end:.6f}", "line_outage.end"]]


RANDOM = {**OUT, "random": {"per_hour": 600}, "duration_s": 1}


def test_random_times_are_reproducible_and_follow_the_seed() -> None:
    """Same seed, same times; another seed, others."""
    first, again, other = (happened(RANDOM, duration_s=200, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert len(begins(first, "line_outage")) > 10
    assert first != other


def test_random_times_have_the_stated_rate() -> None:
    """At 3600 an hour about one a second begins: 2000 +- 3 sigma in 2000 s, those that merge aside."""
    lines = happened({**OUT, "random": {"per_hour": 3600}, "duration_s": 0.001}, duration_s=2000, step_s=100,
                     record={"points": []})
    assert abs(len(begins(lines, "line_outage")) - 2000) < 3 * np.sqrt(2000)


def test_random_times_lie_in_their_window() -> None:
    """`start_s` and `end_s` bound them."""
    lines = happened({**OUT, "random": {"per_hour": 3600, "start_s": 50, "end_s": 70}, "duration_s": 0.1},
                     duration_s=100)
    times = begins(lines, "line_outage")
    assert times
    assert 50 < min(times) <= max(times) <= 70


def test_random_times_are_independent_of_everything_else() -> None:
    """Another disturbance before it, agents and devices do not move the times of a disturbance."""
    alone = begins(happened(RANDOM, duration_s=200), "line_outage")
    step = {"kind": "load_step", "bus": "9", "p_kw": 10, "random": {"per_hour": 300}, "duration_s": 2}
    beside = happened(step, RANDOM, duration_s=200, agents=[agent(policy={"kind": "random", "low": 0, "high": 2})])
    assert begins(beside, "line_outage") == alone
    assert begins(beside, "load_step") != []


def test_two_of_a_kind_on_one_element_have_times_of_their_own() -> None:
    """Entries that hit the same element do not share their draws."""
    lines = happened({**RANDOM, "duration_s": 0.01}, {**RANDOM, "duration_s": 0.01}, duration_s=200)
    times = begins(lines, "line_outage")
    assert len(dict.fromkeys(times)) == len(times)


@pytest.mark.parametrize(("options", "message"), [
    ({"at_s": 1, "random": {"per_hour": 1}, "duration_s": 1}, "either `at_s` or `random"),
    ({}, "either `at_s` or `random"),
    ({"random": {"per_hour": 1}}, "need `duration_s`"),
    ({"at_s": -1}, "at_s"),
    ({"at_s": 0.0000001}, "whole number of microseconds"),
    ({"at_s": 1, "duration_s": 0}, "duration_s"),
    ({"at_s": 1, "duration_s": 0.0000015}, "whole number of microseconds"),
])
def test_wrong_times_are_refused(options: dict[str, Any], message: str) -> None:
    """Missing, double, negative and unrepresentable times are problems with a line."""
    with pytest.raises(ScenarioError) as caught:
        loaded(disturbances=[{**OUT, **options}])
    assert message in str(caught.value)
    assert all(problem.line for problem in caught.value.problems)
