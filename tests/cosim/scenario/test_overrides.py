"""Changes from the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosim.errors import ScenarioError
from cosim.scenario.loader import LoadedScenario

Load = Callable[..., LoadedScenario]
Find = Callable[..., list[str]]

TWO = "devices:\n  - {kind: lamp, name: a}\n  - {kind: lamp, name: b}\n"


@pytest.mark.parametrize("override", ["devices.1.p_kw=3", "devices.b.p_kw=3", "devices.b.p_kw= 3.0"])
def test_by_index_and_by_name(load: Load, override: str) -> None:
    """An item of a list is meant by its index or its name."""
    devices = load(TWO, overrides=(override,)).scenario.devices
    assert [device.get("p_kw") for device in devices] == [None, 3]


def test_missing_parts_are_created(load: Load) -> None:
    """A part that the file leaves to its default can be set."""
    assert load(overrides=("limits.v_min_pu=0.9",)).scenario.limits.v_min_pu == 0.9


def test_flow_values(load: Load) -> None:
    """A value may be any YAML: lists and mappings too."""
    scenario = load(overrides=("record={points: [a, b], messages: false}",)).scenario
    assert (scenario.record.points, scenario.record.messages) == (("a", "b"), False)


def test_later_overrides_win(load: Load) -> None:
    """They are applied in order."""
    assert load(overrides=("seed=1", "seed=2")).scenario.seed == 2


@pytest.mark.parametrize(("override", "message"), [
    ("seed=x", "--set seed: seed: found the text 'x'; expected a whole number"),
    ("sed=1", "--set sed: sed: unknown key 'sed'; did you mean 'seed'?"),
    ("devices.c.p_kw=1", "--set devices.c.p_kw: no 'c' in 'devices'; it has 0 to 1: a, b"),
    ("devices.2.p_kw=1", "--set devices.2.p_kw: no '2' in 'devices'; it has 0 to 1: a, b"),
    ("devices.b.p_kw=-1", "--set devices.b.p_kw: devices.1.p_kw: found -1; expected at least 0 (kW)"),
    ("name.x=1", "--set name.x: 'name' is a single value and has no 'x'"),
    ("seed", "--set seed: expected PATH=VALUE, for instance agents.0.period_s=5"),
    ("=1", "--set =1: expected PATH=VALUE"), ("a..b=1", "--set a..b=1: expected PATH=VALUE"),
    ("seed=[", "--set seed:2:1: not valid YAML"), ("seed=yes", "--set seed: seed: yes is a yes/no value"),
    (".".join("a" * 30) + "=1", "--set a.a.a"),
])
def test_problems_name_the_override(problems: Find, override: str, message: str) -> None:
    """What is wrong with an override says which, and what exists."""
    (found,) = problems(TWO, overrides=(override,))
    assert found.startswith(message)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(override=st.one_of(st.text(max_size=40), st.builds("{}={}".format, st.sampled_from(
    ["devices", "devices.a", "devices.a.name", "grid", "grid.network", "agents", "name", "agents.0.each", "seed.1"]),
    st.text(max_size=10))))
def test_any_override_is_applied_or_refused(override: str, load: Load) -> None:
    """Whatever is given after --set, the answer is a scenario or a ScenarioError."""
    try:
        said = load(TWO, overrides=(override,)).scenario.name
    except ScenarioError as error:
        said = str(error)
    assert said
