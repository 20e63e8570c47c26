"""Building: every problem at once, each with its place, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import Problem, ScenarioError
from cosim.scenario.loader import load_text
from cosim.simulation import BuildOptions, build
from cosim.simulation.session import run_scenario
from tests.cosim.simulation.worlds import agent, loaded, registry, scripted, world

HEAD = """\
name: t
duration_s: 10
grid: {network: case33bw}
"""


def problems(text: str, options: BuildOptions | None = None) -> tuple[Problem, ...]:
    """What building a scenario text complains about."""
    with pytest.raises(ScenarioError) as caught:
        build(load_text(HEAD + text, path=Path("t.yaml"), registry=registry()), options)
    return caught.value.problems


def placed(found: tuple[Problem, ...]) -> list[tuple[int, int, str]]:
    """(line, column, path) of each."""
    assert all(problem.file == "t.yaml" for problem in found)
    return [(problem.line, problem.column, problem.path) for problem in found]


def test_everything_wrong_is_reported_at_once_in_file_order() -> None:
    """Devices, agents, disturbances and record patterns are all looked at before giving up."""
    found = problems("""\
devices:
  - {kind: load, name: good, bus: "5", p_kw: 1}
  - {kind: load, name: lost, bus: nowhere, p_kw: 1}
  - kind: load
    name: lost2
    element: "999"
agents:
  - name: a
    period_s: 1
    policy: {kind: constant, values: [1]}
    observe: [bus.5.v_pu, bus.55.v_pu]
    actuate:
      - good.scael
      - good.p_kw
  - name: b
    period_s: 1
    policy: {kind: constant, values: [1, 2]}
    actuate: [good.scale]
disturbances:
  - {kind: line_outage, line: 3-99, at_s: 1}
  - {kind: load_step, bus: "77", p_kw: 1, at_s: 1}
  - kind: point_freeze
    at_s: 1
    points: [nothing.*]
record:
  points: [grid.*, gird.*]
""")
    assert placed(found) == [
        (6, 35, "devices.1.bus"), (9, 14, "devices.2.element"), (14, 27, "agents.0.observe.1"),
        (16, 9, "agents.0.actuate.0"), (17, 9, "agents.0.actuate.1"), (20, 13, "agents.1.policy"),
        (23, 31, "disturbances.0.line"), (24, 28, "disturbances.1.bus"), (25, 5, "disturbances.2"),
        (29, 20, "record.points.1")]
    said = [problem.message for problem in found]
    assert "did you mean" in said[0] or "it has 33" in said[0]
    assert "did you mean good.scale" in said[3]
    assert said[4] == "point 'good.p_kw' cannot be commanded; it is an input"
    assert "give 1 or 1" in said[5] or "2 values for 1" in said[5]


def test_what_only_echoes_a_missing_device_is_not_reported() -> None:
    """An agent of a device that cannot be built is no second problem."""
    found = problems("""\
devices:
  - {kind: load, name: lost, bus: nowhere, p_kw: 1}
agents:
  - {name: a, period_s: 1, policy: {kind: constant, values: [1]}, observe: [lost.p_kw], actuate: ["lost.*scale"]}
disturbances:
  - {kind: load_step, device: lost, p_kw: 1, at_s: 1}
""")
    assert [problem.path for problem in found] == ["devices.0.bus"]


def test_two_devices_that_stand_in_for_one_element() -> None:
    """Two loads that take over the same network load are refused, and so are two of different kinds."""
    found = problems("""\
devices:
  - {kind: load, name: a, element: "19"}
  - {kind: load, name: b, element: "19"}
""")
    assert len(found) == 1
    assert "19" in found[0].message
    assert found[0].line > 0


@pytest.mark.parametrize(("text", "path", "word"), [
    ("grid: {network: case34bw}", "grid.network", "case33bw"),
    ("grid: {network: case33bw, ratings_ka: {9-99: 1}}", "grid.ratings_ka.9-99", "no line '9-99'"),
])
def test_a_wrong_network_or_line_rating(text: str, path: str, word: str) -> None:
    """Networks and lines that do not exist are named at their place."""
    with pytest.raises(ScenarioError) as caught:
        build(load_text(f"name: t\nduration_s: 10\n{text}\n", path=Path("t.yaml"), registry=registry()))
    assert [(problem.line, problem.path) for problem in caught.value.problems] == [(3, path)]
    assert word in str(caught.value)


def test_a_breaker_that_does_not_exist_or_is_none() -> None:
    """A breaker operation on something else says what is missing, at the device's name."""
    found = problems("""\
devices: [{kind: load, name: ld, bus: "5", p_kw: 1}]
disturbances:
  - kind: breaker
    device: ld
    at_s: 1
""")
    assert placed(found) == [(7, 13, "disturbances.0.device")]
    assert "ld.closed" in found[0].message


def test_a_profile_that_does_not_exist() -> None:
    """The file's name is where the problem is."""
    found = problems("""\
devices:
  - kind: load
    name: ld
    bus: "5"
    p_kw: 1
    profile: {file: none.csv, column: x}
""")
    assert len(found) == 1
    assert found[0].line == 9
    assert "none.csv" in found[0].message


def test_an_external_agent_that_does_not_exist() -> None:
    """Agents decided outside must be in the scenario."""
    scenario = loaded(agents=[agent("a")])
    with pytest.raises(ScenarioError, match="agent 'z' is to be decided outside; the scenario has: a"):
        build(scenario, BuildOptions(external=("z",)))


def test_a_scenario_that_cannot_be_built_leaves_nothing_on_disk(tmp_path: Path) -> None:
    """No result folder is made before everything has been checked."""
    for wrong in ({"disturbances": [{"kind": "line_outage", "line": "x", "at_s": 1}]},
                  {"agents": [agent(observe=["bus.99.v_pu"])]}, {"record": {"points": ["x*"]}}):
        with pytest.raises(ScenarioError):
            run_scenario(loaded(**wrong), tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


def test_only_the_points_asked_for_are_sampled(tmp_path: Path) -> None:
    """`record.points` takes names and patterns; each point once, in database order."""
    simulation = world(record={"points": ["ld.*", "bus.5.v_pu", "ld.p_kw"]})
    simulation.advance_to(3_000_000)
    simulation.recorder.close("done")
    frame = simulation.recorder.result().samples()
    names = simulation.points.names
    assert list(frame.columns) == [name for name in names if name == "bus.5.v_pu" or name.startswith("ld.")]
    assert frame.index.tolist() == [0, 1, 2, 3]


def test_no_points_at_all() -> None:
    """`record.points: []` samples nothing, and events and commands are still there."""
    simulation = world(record={"points": []}, agents=[agent()])
    simulation.advance_to(3_000_000)
    simulation.recorder.close("done")
    assert simulation.recorder.result().samples().empty
    assert len(simulation.recorder.result().commands()) == 4


def test_a_built_simulation_is_solved_and_published() -> None:
    """Before time moves the points hold the solution at t = 0, so that whoever wakes first sees a grid."""
    seen: list[float] = []
    spy = scripted("spy", [], lambda observation, t_us: seen.append(float(observation[0])))
    simulation = world(plugins=[spy], agents=[agent(policy={"kind": "spy"})])
    assert simulation.now_us == 0
    assert simulation.points.t_us == 0
    assert simulation.points.read("grid.converged") == 1
    simulation.advance_to(0)
    assert seen == [simulation.points.read("bus.5.v_pu")]


def test_ratings_and_scales_of_the_scenario() -> None:
    """`ratings_ka` and `load_scale` change the network that is solved."""
    plain, scaled = (world(grid={"network": "case33bw", **changes}, devices=[])
                     for changes in ({}, {"load_scale": 0.5, "ratings_ka": {"1-2": 0.2}}))
    assert scaled.points.read("grid.slack_p_kw") == pytest.approx(plain.points.read("grid.slack_p_kw") / 2, rel=0.05)
    current_ka = plain.grid.state.slack_p_kw
    assert current_ka > 0
    assert 0 < scaled.points.read("line.1-2.loading") < 1
