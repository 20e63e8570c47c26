"""The policies that need no learning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cosim.agents.policies import VOLT_VAR_CATEGORY_B, Constant, Droop, Random, Schedule
from cosim.errors import PluginError, ScenarioError
from tests.cosim.simulation.worlds import agent, commands, ended, loaded, world


@dataclass
class FakeSituation:
    """One observed and one actuated point unless told otherwise."""

    observed: tuple[str, ...] = ("x",)
    actuated: tuple[str, ...] = ("y",)
    low: Any = field(default_factory=lambda: np.array([-10.0]))
    high: Any = field(default_factory=lambda: np.array([10.0]))
    name: str = "a"
    peers: tuple[str, ...] = ()

    def rng(self, name: str) -> np.random.Generator:
        """A fixed stream."""
        return np.random.default_rng(7)


def two() -> FakeSituation:
    """Two of each."""
    return FakeSituation(("x1", "x2"), ("y1", "y2"), np.array([-1.0, 0.0]), np.array([1.0, 5.0]))


def answers(kind: Any, situation: Any, seen: list[float], t_s: float = 0.0, **options: Any) -> list[float] | None:
    """What a policy of that kind and options answers."""
    policy = kind.build(kind.Config(**options), situation)
    answer = policy.act(np.array(seen), round(t_s * 1e6))
    return None if answer is None else [float(value) for value in answer]


def test_constant_one_value_for_all_or_one_each() -> None:
    """One value serves every actuated point; as many as points go one to one."""
    assert answers(Constant, two(), [0, 0], values=[3.0]) == [3.0, 3.0]
    assert answers(Constant, two(), [0, 0], values=[3.0, 4.0]) == [3.0, 4.0]


def test_constant_of_a_wrong_length() -> None:
    """Any other number of values is an error that says what to give."""
    with pytest.raises(PluginError, match="3 values for 2 actuated points; give 1 or 2"):
        answers(Constant, two(), [0, 0], values=[1.0, 2.0, 3.0])


@pytest.mark.parametrize(("t_s", "expected"), [(0, None), (0.999999, None), (1, [2.0]), (4.999999, [2.0]), (5, [-1.0]),
                                               (1e6, [-1.0])])
def test_schedule_rows_hold_from_their_time_on(t_s: float, expected: list[float] | None) -> None:
    """Before the first row there is nothing to say; then the last row that began is in force."""
    assert answers(Schedule, FakeSituation(), [0], t_s, rows=[(1, 2), (5, -1)]) == expected


@pytest.mark.parametrize("options", [
    {}, {"rows": [[0, 1]], "profiles": [{"file": "p.csv", "column": "x"}]}, {"rows": []}, {"rows": [[]]},
    {"rows": [[1, 1], [0, 1]]}, {"rows": [[0, 1], [0, 2]]}, {"rows": [[0, float("nan")]]},
])
def test_schedules_that_are_none(options: dict[str, Any]) -> None:
    """Rows out of order, repeated or empty, both sources or none, and NaN are refused."""
    with pytest.raises(ValidationError):
        Schedule.Config(**options)


def test_schedule_rows_of_a_wrong_length() -> None:
    """The first row with too few or too many values is named."""
    with pytest.raises(PluginError, match="row 1 has 2 values for 1 actuated points"):
        answers(Schedule, FakeSituation(), [0], rows=[(0, 1), (1, 1, 1)])


def test_schedule_from_a_profile(tmp_path: Path) -> None:
    """Profile columns are setpoints over time."""
    (tmp_path / "p.csv").write_text("t_s,up,down\n0,0.1,0.9\n5,0.5,0.6\n10,0.5,0.6\n")
    policy = {"kind": "schedule", "profiles": [{"file": "p.csv", "column": "up"}]}
    asked = commands(ended(world(agents=[agent(policy=policy)], base_dir=tmp_path)), "a")
    assert [value for _, _, value in asked] == pytest.approx([0.1] * 5 + [0.5] * 6)


def test_schedule_with_too_few_profiles() -> None:
    """As many profiles as actuated points are expected."""
    with pytest.raises(PluginError, match="1 profiles for 2 actuated points"):
        answers(Schedule, two(), [0, 0], profiles=[{"file": "p.csv", "column": "x"}])


@pytest.mark.parametrize(("v", "q"), [(0.5, 0.44), (0.92, 0.44), (0.95, 0.22), (0.98, 0.0), (1.0, 0.0), (1.02, 0.0),
                                      (1.05, -0.22), (1.08, -0.44), (1.5, -0.44)])
def test_droop_is_the_category_b_curve_by_default(v: float, q: float) -> None:
    """IEEE 1547-2018 table 8, category B, times the point's upper bound (10)."""
    assert answers(Droop, FakeSituation(), [v]) == pytest.approx([10 * q], abs=1e-9)


@given(st.floats(0.8, 1.2), st.floats(0.8, 1.2))
def test_droop_never_rises_and_agrees_with_interpolation(a: float, b: float) -> None:
    """The default curve is monotone, and equal to NumPy's interpolation of its points."""
    at = [answers(Droop, FakeSituation(), [v], base=1.0) for v in (a, b)]
    assert (at[0][0] - at[1][0]) * (a - b) <= 1e-12  # type: ignore[index]
    x, y = np.array(VOLT_VAR_CATEGORY_B).T
    assert at[0] == pytest.approx([np.interp(a, x, y)], abs=1e-12)


def test_droop_of_several_points() -> None:
    """One observation serves all actuated points, or each has its own."""
    line = [(0.0, 0.0), (1.0, 1.0)]
    assert answers(Droop, two(), [0.5, 1.0], curve=line) == [0.5, 5.0]
    shared = FakeSituation(("x",), ("y1", "y2"), np.zeros(2), np.array([1.0, 5.0]))
    assert answers(Droop, shared, [0.5], curve=line) == [0.5, 2.5]


def test_droop_leaves_alone_what_it_cannot_see() -> None:
    """NaN in, NaN out, for that point only; smoothing goes on from the last known value."""
    assert np.isnan(answers(Droop, two(), [np.nan, 1.0])[0])  # type: ignore[index]
    policy = Droop.build(Droop.Config(curve=((0.0, 0.0), (1.0, 1.0)), base=1.0, smoothing=0.5), FakeSituation())
    told = [policy.act(np.array([x]), 0)[0] for x in (1.0, np.nan, 1.0)]
    np.testing.assert_allclose(told, [0.5, np.nan, 0.75])


@pytest.mark.parametrize("curve", [[(1, 0)], [(1, 0), (1, 1)], [(2, 0), (1, 1)]])
def test_droop_curves_that_are_none(curve: Any) -> None:
    """A curve needs two points with increasing abscissae."""
    with pytest.raises(ValidationError):
        Droop.Config(curve=curve)


def test_droop_that_does_not_fit() -> None:
    """As many observations as actuated points, or one; and a bound or a base."""
    with pytest.raises(PluginError, match="observes 2 points and actuates 1"):
        answers(Droop, FakeSituation(("x1", "x2")), [0, 0])
    with pytest.raises(PluginError, match="no upper bound; give `base`"):
        answers(Droop, FakeSituation(high=np.array([np.inf])), [0])


def test_random_stays_within_bounds_and_is_its_agents_own() -> None:
    """Draws lie within each point's bounds, or those given; the same stream gives the same draws."""
    policy = Random.build(Random.Config(), two())
    drawn = np.array([policy.act(np.zeros(2), 0) for _ in range(1000)])
    assert (drawn >= [-1, 0]).all()
    assert (drawn <= [1, 5]).all()
    assert drawn.std(axis=0) == pytest.approx([2 / np.sqrt(12), 5 / np.sqrt(12)], rel=0.1)
    assert answers(Random, two(), [0, 0], low=4, high=4) == [4, 4]
    assert answers(Random, two(), [0, 0]) == list(drawn[0])


def test_random_without_bounds() -> None:
    """Points without bounds need `low` and `high`; low above high is refused."""
    with pytest.raises(PluginError, match="no bounds; give `low` and `high`"):
        answers(Random, FakeSituation(high=np.array([np.inf])), [0])
    with pytest.raises(ValidationError, match="must not exceed"):
        Random.Config(low=2, high=1)


def test_one_agents_draws_do_not_depend_on_the_others() -> None:
    """Another random agent beside it does not change what an agent draws."""
    def draws(*names: str) -> list[tuple[float, str, float]]:
        agents = [agent(name, policy={"kind": "random", "low": 0, "high": 2}) for name in names]
        return commands(ended(world(agents=agents)), "a")

    assert draws("a") == draws("b", "a")


def test_each_makes_an_agent_of_every_device() -> None:
    """`each` fills {} in name, observe, actuate and policy."""
    devices = [{"kind": "load", "name": f"l{i}", "bus": str(5 + i), "p_kw": 10} for i in range(3)]
    simulation = world(devices=devices, agents=[
        agent("ctl_{}", each="l[02]", observe=["{}.p_kw"], actuate=["{}.scale"], policy={"kind": "random", "high": 2})])
    assert list(simulation.crew.agents) == ["ctl_l0", "ctl_l2"]
    names = simulation.points.names
    assert [names[i] for a in simulation.crew.agents.values() for i in (*a.observed, *a.actuated)] == [
        "l0.p_kw", "l0.scale", "l2.p_kw", "l2.scale"]
    result = ended(simulation)
    assert commands(result, "ctl_l0") != commands(result, "ctl_l2")


@pytest.mark.parametrize(("policy", "message"), [
    ({"kind": "drop"}, "did you mean 'droop'"),
    ({"kind": "constant"}, "values"),
    ({"kind": "constant", "values": [1], "value": 2}, "did you mean 'values'"),
    ({"kind": "random", "low": "much"}, "low"),
])
def test_wrong_options_are_problems_with_a_line(policy: dict[str, Any], message: str) -> None:
    """Unknown kinds, missing, unknown and mistyped options are found when the file is read."""
    with pytest.raises(ScenarioError) as caught:
        loaded(agents=[agent(policy=policy)])
    assert message in str(caught.value)
    assert caught.value.problems[0].line > 0
