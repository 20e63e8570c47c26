"""PettingZoo's and Gymnasium's own tests, on every shipped scenario."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pettingzoo", reason="PettingZoo is not installed (pip install .[env])")

from gymnasium.utils.env_checker import check_env
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
    state_test,
)

import cosim.env.event
from cosim.env import EnvOptions, EventEnv, aec_env, parallel_env, single_agent, vector_env
from cosim.env.faces import RENDER_MODES
from cosim.errors import GridloopError, PluginError, ScenarioError
from cosim.points import Point, PointDatabase, PointKind
from cosim.scenario.loader import LoadedScenario, load_scenario
from cosim.scenario.schema import Agent as AgentSpec
from cosim.scenario.schema import Trigger
from cosim.simulation.kept import Kept
from cosim.simulation.learners import Bases, learner_spec
from tests.cosim.env.worlds import learner, loaded

SHIPPED = tuple(sorted(path.stem for path in (Path(__file__).parents[3] / "scenarios").glob("*.yaml")))
#: Nobody in them commands anything.
WITHOUT_LEARNERS = ("sunspec_feeder",)
WITH_LEARNERS = tuple(name for name in SHIPPED if name not in WITHOUT_LEARNERS)
#: An episode is so long that this many decisions fall into it.
DECISIONS = 4
#: In this one agents come once a day; here they come every minute, one after the other.
HASTE = {"hostile_operator": tuple(f"agents.{i}.{key}={value}" for i in range(8)
                                   for key, value in (("period_s", 60), ("offset_s", 7 * i)))}

_KEPT: dict[str, Kept] = {}
_SCENARIOS: dict[str, LoadedScenario] = {}


@pytest.fixture
def scenario(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LoadedScenario:
    """A shipped scenario; all environments of it share its network, which may take seconds to read."""
    name = str(request.param)
    kept = _KEPT.setdefault(name, Kept())
    monkeypatch.setattr(cosim.env.event, "Kept", lambda: kept)
    if name not in _SCENARIOS:
        _SCENARIOS[name] = load_scenario(name, overrides=HASTE.get(name, ()))
    return _SCENARIOS[name]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the tests only recommend (names like ``player_0``, spaces of one size) is no failure."""
    with warnings.catch_warnings():
        for module in ("pettingzoo", "gymnasium"):
            warnings.filterwarnings("ignore", module=rf"{module}\..*")
        yield


def short(scenario: LoadedScenario, agent: str | None = None) -> EnvOptions:
    """Options for an episode with `DECISIONS` decisions, of the named agent or of all together."""
    specs = EventEnv(scenario, None if agent is None else (agent,)).agents
    times = sorted((spec.offset_s + k * (spec.period_s or scenario.scenario.step_s)) for spec in specs
                   for k in range(DECISIONS + 1))
    return EnvOptions(duration_s=min(times[DECISIONS] + scenario.scenario.step_s, scenario.scenario.duration_s))


def on_shipped(test: Any) -> Any:
    """Once for every shipped scenario with learners."""
    return pytest.mark.parametrize("scenario", WITH_LEARNERS, indirect=True)(test)


@on_shipped
def test_parallel(scenario: LoadedScenario) -> None:
    """The parallel environment has PettingZoo's interface, and its seeds decide everything."""
    make = partial(parallel_env, scenario, options=short(scenario))
    parallel_api_test(make(), 40)
    parallel_seed_test(make, 10)
    state_test(aec_env(scenario), make())


@on_shipped
def test_aec(scenario: LoadedScenario) -> None:
    """The environment in event order has PettingZoo's interface, and its seeds decide everything."""
    make = partial(aec_env, scenario, options=short(scenario))
    api_test(make(), 20)
    seed_test(make, 4)


@on_shipped
def test_single(scenario: LoadedScenario) -> None:
    """Every kind of learner alone has Gymnasium's interface, the others on their own policies."""
    names: dict[str, str] = {}
    for spec in EventEnv(scenario).specs:
        names.setdefault(spec.action.kind, spec.agent)
    for name in names.values():
        check_env(single_agent(scenario, name, options=short(scenario, name)), skip_render_check=True)


@on_shipped
def test_seeds_make_whole_episodes(scenario: LoadedScenario) -> None:
    """PettingZoo's test looks at one step; here every step of two episodes is the same, bit for bit."""
    options = short(scenario)
    one, other = (_episode(parallel_env(scenario, options=options)) for _ in range(2))
    assert one == other


def _episode(env: Any) -> list[Any]:
    observations, infos = env.reset(seed=11)
    found = [({name: seen.tolist() for name, seen in observations.items()}, infos)]
    for i, name in enumerate(env.possible_agents):
        env.action_space(name).seed(i)
    while env.agents:
        observations, *rest = env.step({name: env.action_space(name).sample() for name in env.agents})
        found.append(({name: seen.tolist() for name, seen in observations.items()}, *rest))
    return found


@pytest.mark.parametrize("scenario", ["anm6_easy", "arbitrage", "microgrids3"], indirect=True)
def test_a_reset_in_mid_episode_leaves_nothing_behind(scenario: LoadedScenario) -> None:
    """The episode after one that was left half done is, bit for bit, that of an environment that has seen nothing."""
    options = EnvOptions(duration_s=3 * (short(scenario).duration_s or 0.0))
    fresh, used = (parallel_env(scenario, options=options) for _ in range(2))
    used.reset(seed=5)
    for name in used.possible_agents:
        used.action_space(name).seed(99)
    for _ in range(2):
        used.step({name: used.action_space(name).sample() for name in used.agents})
    assert used.agents, "the episode is to be left in its middle"
    assert _episode(used) == _episode(fresh)


@on_shipped
def test_episodes_end_in_time(scenario: LoadedScenario) -> None:
    """An episode is as long as it is to be, and everybody is truncated at its end unless it was over before."""
    options = short(scenario)
    env = parallel_env(scenario, options=options)
    env.reset(seed=1)
    over: dict[str, bool] = {}
    while env.agents:
        _, _, terminations, truncations, _ = env.step({})
        over |= {name: terminations[name] or truncations[name] for name in terminations}
    assert over == dict.fromkeys(env.possible_agents, True)
    assert options.duration_s is not None
    assert env.core.last.t_us == round(options.duration_s * 1e6) or env.core.last.terminated.all()


@on_shipped
def test_rendering(scenario: LoadedScenario, capsys: pytest.CaptureFixture[str]) -> None:
    """Every mode gives what PettingZoo expects of it; the metadata name them and a frame rate."""
    options = short(scenario)
    env = aec_env(scenario, options=options)
    assert env.metadata["render_modes"] == list(RENDER_MODES)
    assert env.metadata["render_fps"] > 0
    render_test(lambda render_mode: aec_env(scenario, options=options, render_mode=render_mode))
    assert scenario.scenario.name in capsys.readouterr().out


@on_shipped
def test_max_cycles(scenario: LoadedScenario) -> None:
    """Where all learners share a period, an episode of n periods has n steps; each agent comes n + 1 times in turn."""
    specs = EventEnv(scenario).agents
    if len(dict.fromkeys((spec.period_s, spec.offset_s) for spec in specs)) > 1 or any(
            spec.jitter_s or spec.trigger is not Trigger.PERIOD for spec in specs):
        pytest.skip("its learners decide at times of their own: steps are not cycles")
    period_s, offset_s = specs[0].period_s, specs[0].offset_s
    assert period_s is not None

    def options(max_cycles: int) -> EnvOptions:
        return EnvOptions(duration_s=offset_s + max_cycles * period_s)

    max_cycles_test(SimpleNamespace(
        parallel_env=lambda max_cycles: seeded(parallel_env(scenario, options=options(max_cycles))),
        env=lambda max_cycles: seeded(aec_env(scenario, options=options(max_cycles)))))


def seeded(env: Any) -> Any:
    """With the same random actions every time: ANM6-Easy collapses, and ends, under one in some hundred of them."""
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(i)
    return env


# -- what is no environment -------------------------------------------------------------------------------------------

MAKERS = (EventEnv, parallel_env, aec_env, single_agent, partial(vector_env, n=2))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("name", WITHOUT_LEARNERS)
def test_a_shipped_scenario_without_learners_is_refused(name: str, make: Any) -> None:
    """With one message that says what would do."""
    with pytest.raises(ScenarioError, match="has no learners: nobody of its 0 agents actuates anything"):
        make(name)


def test_agents_that_only_look_are_no_learners() -> None:
    """The message counts them."""
    with pytest.raises(ScenarioError, match="nobody of its 2 agents actuates anything; an environment needs an agent"):
        EventEnv(loaded(learner(1, actuate=[]), learner(2, actuate=[])))


def test_a_space_without_bounds_is_refused() -> None:
    """With the setpoint, and the key that would bound it."""
    points = PointDatabase([Point("plug.p_set_kw", PointKind.ANALOG_OUTPUT, "kW", low=-np.inf, high=np.inf)])
    agent = AgentSpec.model_validate(learner(1, observe=[], actuate=["plug.p_set_kw"]))
    one = np.array([0])
    with pytest.raises(PluginError, match=r"'plug.p_set_kw' runs from -inf to inf kW.* give its range: learn: "):
        learner_spec(agent, one, one, points, bases=Bases(1.0, {}), step_s=1.0)
    given = learner(1, learn={"act": {"range": {"plug.*": [-5, 5]}}})
    spec = learner_spec(AgentSpec.model_validate(given), one, one, points, bases=Bases(1.0, {}), step_s=1.0)
    assert (spec.action.setpoints[0].low, spec.action.setpoints[0].high) == (-5.0, 5.0)


def test_several_learners_are_no_gymnasium_environment() -> None:
    """The message names them; with one named it is."""
    for make in (single_agent, partial(vector_env, n=2)):
        with pytest.raises(GridloopError, match="takes one learner; scenario 'three' has 3: name one of agent_1"):
            make(loaded())
    assert single_agent(loaded(), "agent_2").agent == "agent_2"


def test_an_unknown_render_mode_is_refused() -> None:
    """With those that exist."""
    for make in (parallel_env, aec_env, single_agent):
        with pytest.raises(GridloopError, match="render_mode 'video' is unknown; expected one of: human, ansi"):
            make(loaded(learner(1)), render_mode="video")


def test_others_keep_their_policies() -> None:
    """A single agent's neighbours do what the scenario has them do, as if nobody learned."""
    droop = learner(2, policy={"kind": "constant", "values": [-40.0]})
    env = single_agent(loaded(learner(1), droop), "agent_1")
    env.reset(seed=1)
    env.step(np.array([0.3], np.float32))
    assert env.core.simulation.points.read("bat1.p_set_kw") == pytest.approx(30)
    assert env.core.simulation.points.read("bat2.p_set_kw") == -40.0
