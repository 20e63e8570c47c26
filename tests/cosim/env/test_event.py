"""The core's small print: shares of reward and cost, what is refused, what environments share, what is drawn anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.env import EnvOptions, EventEnv
from cosim.env.faces import Faces
from cosim.errors import GridloopError, PluginError, RecordError, ReplayError, ScenarioError
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.simulation.kept import Kept
from cosim.simulation.session import resume_run
from tests.cosim.env.worlds import BASE, LOSSES, learner, loaded, made, networks_read, played

MOVES = {"kind": "change", "name": "moves", "points": ["bat1.p_kw"], "weight": -1.0}
CHOICES = [{"name": name, "set": {"bat1.p_set_kw": value}} for name, value in (("charge", -100), ("wait", 0))]


# -- rewards and costs -----------------------------------------------------------------------------------------------


def test_a_cost_may_be_called_as_a_reward_is() -> None:
    """Neither hides the other, nor is added to it: in the breakdown and in infos."""
    env = made(learning={"reward": [LOSSES], "costs": [{**LOSSES, "weight": 1.0}]})
    env.reset(1)
    decision = env.step({})
    reward, cost = decision.reward[0], decision.cost[0, 0]
    assert cost == pytest.approx(-100 * reward, rel=1e-12)
    assert env.breakdown(0) == {"losses": reward, "cost.losses": cost}
    faces = Faces(env)
    info = faces.infos(decision, faces.places)["agent_1"]
    assert (info["term.losses"], info["cost.losses"]) == (reward, cost)


def test_what_is_kept_within_bounds_is_a_decisions_and_adds_up() -> None:
    """Nobody is paid a bound before its first decision, or when it is not due; the breakdown is what was paid."""
    env = made(learner(1), learner(2, period_s=10), learning={"reward": [{**LOSSES, "within": [-100.0, -50.0]}],
                                                              "costs": [{**LOSSES, "weight": 1.0}]})
    rewards = [decision.reward.tolist() for decision in played(env, 1)[:3]]
    assert rewards == [[0.0, 0.0], [-50.0, 0.0], [-50.0, -50.0]]
    assert env.breakdown(0)["losses"] == -50.0
    assert env.last.cost[0, 0] > 0  # of the same name, and not bounded


@pytest.mark.parametrize("records", [False, True])
def test_the_first_move_counts(tmp_path: Path, *, records: bool) -> None:
    """What a term watches has a value from the start, whether or not somebody else reads it."""
    env = made(learner(1), learning={"reward": [MOVES]},
               options=EnvOptions(record=tmp_path / "episodes" if records else None),
               **({"record": {"points": ["*"]}} if records else {}))
    env.reset(1)
    assert env.step({0: [0.5]}).reward.tolist() == [-50.0]
    env.close()


# -- actions ---------------------------------------------------------------------------------------------------------


def test_an_index_that_does_not_exist_is_counted() -> None:
    """As NaN is; a choice that leaves setpoints alone is none of either."""
    hold = {"name": "hold", "set": {}}
    env = made(learner(1, learn={"act": {"choices": [*CHOICES, hold]}}))
    env.reset(1)
    for row, held in ((2.0, 0), (3.0, 1), (np.nan, 2), (0.0, 2)):
        env.step({0: [row]})
        assert env.stats.held_nan == held, row


def test_a_closed_choice_is_held_and_counted() -> None:
    """It may not be taken; setpoints from elsewhere are none of the learner's choices."""
    masks = [{"choices": ["charge"], "closed_when": {"point": "bat1.soc", "above": 0.1}}]
    env = made(learner(1, learn={"act": {"choices": CHOICES, "masks": masks}}))
    env.reset(1)

    def asked() -> float:
        return float(env.simulation.points.read("bat1.p_set_kw"))

    for row, held, p_kw in ((0.0, 1, np.nan), (1.0, 1, 0.0), (0.0, 2, 0.0)):
        env.step({0: [row]})
        assert (env.stats.held_nan, asked()) == (held, pytest.approx(p_kw, nan_ok=True))
    env.commit_setpoints({0: np.array([-100.0])})
    env.advance()
    assert (env.stats.held_nan, asked()) == (2, -100.0)


def test_last_action_stays_in_its_space() -> None:
    """Another policy may command more than the learner's own range."""
    env = made(learner(1, policy={"kind": "constant", "values": [90.0]}, learn={
        "observe": {"last_action": True}, "act": {"range": {"bat1.p_set_kw": [-40, 40]}}}))
    env.reset(1)
    env.commit_setpoints(env.scripted())
    assert env.advance().observation[3] == 1.0


def test_actions_enter_in_the_learners_order(tmp_path: Path) -> None:
    """Whatever the caller's: the journal, and so the digest, does not depend on it."""
    for k, order in enumerate(((0, 1, 2), (2, 0, 1))):
        env = made(options=EnvOptions(record=tmp_path / str(k)))
        env.reset(1)
        env.step({i: [0.1 * i] for i in order})
        env.commit_setpoints({i: np.array([i]) for i in order})
        env.advance()
        env.close()
    digests = [RunResult.load(tmp_path / str(k) / "episode-000000").digest for k in range(2)]
    assert digests[0] == digests[1]


def test_a_record_says_how_many_numbers_were_held(tmp_path: Path) -> None:
    """Each episode its own, in the manifest; nothing where every number was one."""
    env = made(options=EnvOptions(record=tmp_path))
    for k, action in enumerate((0.0, np.nan, np.nan)):
        env.reset(1)
        env.step({0: [action], 1: [np.nan if k == 2 else 0.0]})
    env.close()
    found = [RunResult.load(tmp_path / f"episode-{k:06d}").manifest["summary"] for k in range(3)]
    assert [summary.get("held_numbers") for summary in found] == [None, 1, 2]


def test_an_instant_is_remembered_once() -> None:
    """A second commit at one instant is no second decision."""
    once, twice = (made(learner(1, learn={"observe": {"history": 3}})) for _ in range(2))
    for env in (once, twice):
        env.reset(1)
        env.step({0: [1.0]})
        env.commit({0: [-1.0]})
    twice.commit({})
    assert once.advance().observation.tolist() == twice.advance().observation.tolist()


@pytest.mark.parametrize(("doing", "words"), [
    (lambda env: env.step({}), r"no episode has begun; call reset\(\)"),
    (lambda env: env.advance(), r"no episode has begun; call reset\(\)"),
    (lambda env: env.reset(-1), "reset: seed -1; expected a whole number from 0 on"),
    (lambda env: env.reset(1.5), "reset: seed 1.5; expected a whole number from 0 on"),
    (lambda env: (env.reset(), env.step({0: "abc"})), "found {0: 'abc'}; expected .* numbers"),
    (lambda env: (env.reset(), env.step({0: np.array(["a"])})), "expected a mapping of learners' names or indices"),
    (lambda env: (env.reset(), env.step([0.0])), r"actions: found \[0.0\]; expected a mapping"),
    (lambda env: (env.reset(), env.close(), env.step({})), "the episode has ended"),
    (lambda env: (env.reset(), env.step({7: [0.0]})),
     "unknown agent 7; learners are 0 to 2: agent_1, agent_2, agent_3"),
    (lambda env: (env.reset(), env.step({-1: [0.0]})), "unknown agent -1"),
])
def test_what_makes_no_sense_is_refused(doing: Any, words: str) -> None:
    """With one clear message each."""
    with pytest.raises(GridloopError, match=words):
        doing(made())


@pytest.mark.parametrize(("options", "words"), [
    (EnvOptions(duration_s=-5.0), "EnvOptions.duration_s: found -5.0: Input should be greater than 0"),
    (EnvOptions(duration_s=float("nan")), "EnvOptions.duration_s: found nan"),
    (EnvOptions(offset_s=-100.0), "EnvOptions.offset_s: found -100.0"),
])
def test_options_are_checked_as_the_scenario_is(options: EnvOptions, words: str) -> None:
    """Before anything is built."""
    with pytest.raises(GridloopError, match=words):
        made(options=options)


@pytest.mark.parametrize(("act", "words"), [
    ({"choices": [{"name": "much", "set": {"bat1.p_set_kw": 101}}]},
     "choice 'much' sets 'bat1.p_set_kw' to 101; the point takes -100 to 100 kW"),
    ({"choices": [{"name": "odd", "set": {"bat1.p_kw": 1}}]}, "learn.act.choices 'odd' has 'bat1.p_kw', which none"),
    ({"range": {"bat1.p_set": [0, 1]}},
     "learn.act.range has 'bat1.p_set', which none of its 1 actuated points is called; did you mean 'bat1.p_set_kw'"),
    ({"choices": CHOICES, "masks": [{"choices": ["charg"], "closed_when": {"point": "bat1.soc", "above": 0.9}}]},
     "learn.act.masks close 'charg', which none of its 2 choices is called; did you mean 'charge'"),
])
def test_an_action_that_cannot_be_taken_is_refused_at_once(act: dict[str, Any], words: str) -> None:
    """A value that the point would refuse every time, and patterns that mean nothing."""
    with pytest.raises(PluginError, match=words):
        made(learner(1, learn={"act": act}))


@pytest.mark.parametrize(("changes", "words"), [
    ({"learning": {"ends_when": [{"point": "bat1.soc", "below": 0}, {"point": "bat1.sox", "below": 0}]}},
     "^learning.ends_when.1.point: unknown point 'bat1.sox'; did you mean bat1.soc"),
    ({"agents": [learner(1, learn={"dies_when": [{"point": "nope", "below": 0}]})]},
     "^agent 'agent_1': learn.dies_when.0.point: unknown point 'nope'"),
])
def test_a_condition_on_no_point_says_which_it_is(changes: dict[str, Any], words: str) -> None:
    """Among many, the one to mend."""
    with pytest.raises(PluginError, match=words):
        made(**changes)


# -- building --------------------------------------------------------------------------------------------------------


def test_a_learners_trained_policy_need_not_exist_yet() -> None:
    """Training is about to make it; that of an agent that only takes part does."""
    unborn = learner(1, policy={"kind": "numpy", "bundle": "not/yet"})
    env = made(unborn, learner(2))
    assert env.names == ("agent_1", "agent_2")
    env.reset(1)
    with pytest.raises(GridloopError, match="not/yet"):
        EventEnv(loaded(unborn, learner(2)), agents=("agent_2",))


def test_environments_of_one_process_share_what_they_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is read once for all of them, whatever their `grid:` makes of it; nothing is mixed up."""
    read = networks_read(monkeypatch)
    kept = Kept()
    plain = EventEnv(loaded(), kept=kept)
    double = EventEnv(loaded(grid={"network": "case33bw", "load_scale": 2.0}), kept=kept)
    losses = []
    for env in (plain, double, plain, double):
        env.reset(1)
        losses.append(env.simulation.points.read("grid.losses_kw"))
    assert read == ["case33bw"]
    assert losses[0] == losses[2]
    assert losses[1] == losses[3] > 3 * losses[0]


# -- what is drawn anew ----------------------------------------------------------------------------------------------


def test_text_that_is_drawn_is_replayed_as_text(tmp_path: Path) -> None:
    """Even where YAML would read something else in it."""
    vary = [{"path": "agents.0.learn.subject", "choices": ["on"]}]
    env = made(learning={"reward": [LOSSES], "episode": {"vary": vary}}, options=EnvOptions(record=tmp_path))
    env.reset(1)
    env.step({0: [0.5]})
    env.close()
    assert replay(tmp_path / "episode-000000").same


def test_what_is_drawn_must_not_change_actions() -> None:
    """A smaller battery would refuse full power; with a range that holds for all of them it may be drawn."""
    vary = {"reward": [LOSSES], "episode": {"vary": [{"path": "devices.1.p_max_kw", "low": 50, "high": 60}]}}
    with pytest.raises(GridloopError, match=r"learning.episode.vary: the action of agent 'agent_1' is another one in "
                                            r"this episode: setpoint bat1.p_set_kw: range -100 to 100 and -"):
        made(learning=vary).reset(1)
    env = made(learner(1, learn={"act": {"range": {"bat1.p_set_kw": [-40, 40]}}}), learning=vary)
    env.reset(1)
    env.step({0: [1.0]})
    assert env.simulation.points.read("bat1.p_set_kw") == 40.0


def test_what_could_not_begin_is_not_closed(tmp_path: Path) -> None:
    """A reset that fails leaves no episode behind: neither to go on with, nor one that `close` would finish."""
    options = EnvOptions(record=tmp_path)
    foreign = tmp_path / "episode-000001" / "manifest.json"
    foreign.parent.mkdir()
    foreign.write_text("{}")
    env, late = made(options=options), made(options=options)
    env.reset(1)
    env.step({0: [0.5]})
    with pytest.raises(RecordError, match="holds a result already"):
        late.reset(1)
    assert late.close() is None
    with pytest.raises(RecordError, match="holds a result already"):
        env.reset()
    with pytest.raises(GridloopError, match=r"the episode has ended; call reset\(\)"):
        env.step({0: [0.5]})
    assert env.close() is None
    assert foreign.read_text() == "{}"
    assert replay(tmp_path / "episode-000000").same


def test_a_killed_episode_says_that_it_was(tmp_path: Path) -> None:
    """It can be neither compared nor gone on with, and neither command sends to the other."""
    env = made(options=EnvOptions(record=tmp_path))
    env.reset(1)
    env.step({0: [0.5]})
    env.simulation.recorder.abandon()
    folder = tmp_path / "episode-000000"
    with pytest.raises(ReplayError, match=r"its environment ended before `reset` or `close` could finish it"):
        replay(folder)
    with pytest.raises(RecordError, match=r"\(an environment's episode\); it cannot go on by itself"):
        resume_run(folder)


def test_profiles_must_reach_as_far_as_episodes_may_begin(tmp_path: Path) -> None:
    """An environment says so when it is made, not after a thousand episodes."""
    (tmp_path / "day.csv").write_text("t_s,p_kw\n" + "".join(f"{900 * k},{k}\n" for k in range(97)))
    load = {"kind": "load", "name": "profiled", "bus": "6", "p_kw": 1, "profile": {"file": "day.csv", "column": "p_kw"}}
    for last_s, fits in ((3600.0, True), (86400.0, False)):
        scenario = loaded(devices=[*BASE["devices"], load],
                          learning={"reward": [LOSSES], "episode": {"offset_s": [0, last_s], "duration_s": 4000}})
        scenario = replace(scenario, base_dir=tmp_path)
        if fits:
            EventEnv(scenario).reset(1)
            continue
        with pytest.raises(ScenarioError, match="'wrap: true' to repeat it"):
            EventEnv(scenario)
