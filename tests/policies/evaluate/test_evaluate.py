"""Evaluations: figures that are the run's own, controllers that do what they say, and no dependence on order."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml

from cosim.env import EnvOptions, EventEnv
from cosim.errors import GridloopError
from cosim.scenario.learning import Discount
from cosim.scenario.loader import LoadedScenario
from cosim.simulation.session import run_scenario
from policies.evaluate import Evaluation, Plan, Source, evaluate, named, qualities, yardsticks
from policies.evaluate.controllers import Controller, ControllerError
from policies.evaluate.evaluation import FIGURES
from policies.evaluate.picture import svg
from policies.evaluate.plan import EvaluationError
from policies.evaluate.yardstick import Yardstick, YardstickError
from tests.cosim.env.worlds import learner, loaded
from tests.policies.bundles import bundle_for

PV = {"kind": "pv", "name": "sun", "bus": "18", "p_rated_kw": 300, "s_rated_kva": 400}
#: A battery that is always charged, and an inverter that is left alone: episodes differ by where the battery begins.
VARIED = {"reward": [{"kind": "sum", "name": "losses", "points": ["grid.losses_kw"], "weight": -0.01}],
          "costs": [{"kind": "voltage", "name": "volts", "weight": 1.0}],
          "episode": {"vary": [{"path": "devices.1.soc_start", "low": 0.2, "high": 0.8}]}}


def scene(**changes: Any) -> LoadedScenario:
    """Two batteries with policies of their own."""
    agents = [learner(1, policy={"kind": "constant", "values": [-60.0]}), learner(2, period_s=7)]
    return loaded(*agents, **{"learning": VARIED, **changes})


def plan(found: LoadedScenario, *controllers: str, seeds: tuple[int, ...] = (1, 2), **changes: Any) -> Plan:
    """A plan for a loaded scenario."""
    return Plan(Source.of(found), tuple(map(named, controllers)), seeds, **changes)


def test_figures_are_those_of_the_run() -> None:
    """The scenario's own policies, played as learners, give the key figures of ``gridloop run`` to the last digit."""
    found = scene(learning={"reward": VARIED["reward"]})
    (episode,) = evaluate(plan(found, "as_is", seeds=(found.scenario.seed,))).episodes
    run = run_scenario(found, None)
    same = ("violation_bus_minutes", "losses_kwh", "import_kwh", "v_min_pu", "v_max_pu")
    assert {name: episode.figures[name] for name in same} == {name: run.kpis[name] for name in same}
    assert episode.figures["interventions"] == run.shield["interventions"]


def test_returns_are_sums_of_rewards() -> None:
    """The return is what the environment paid; the discounted one weighs every reward by when it was decided."""
    found = scene()
    discount = Discount(gamma=0.9, per_s=10)
    (episode,) = evaluate(plan(found, "none", seeds=(3,), discount=discount)).episodes
    env = EventEnv(found, options=EnvOptions(discount=discount))
    decision, plain, worth = env.reset(seed=3), np.zeros(2), np.zeros(2)
    while not decision.ended:
        decision = env.step({})
        plain += decision.reward
        worth += decision.reward * 0.9 ** ((decision.t_us / 1e6 - decision.dt_s) / 10)
    assert episode.figures["return"] == pytest.approx(plain.mean(), rel=1e-12)
    assert episode.figures["discounted_return"] == pytest.approx(worth.mean(), rel=1e-12)
    assert list(episode.agents.values()) == pytest.approx(plain.tolist(), rel=1e-12)
    assert episode.terms["losses"] == pytest.approx(plain.mean(), rel=1e-9)
    assert list(episode.costs) == ["volts"]


def test_time_in_band_is_the_share_without_violation() -> None:
    """In band and bus-minutes of violations agree: nothing out is a whole day in band, and the other way round."""
    wide, narrow = ({"limits": {"v_min_pu": low, "v_max_pu": 1.1}} for low in (0.8, 0.995))
    for limits, in_band in ((wide, 1.0), (narrow, 0.0)):
        (episode,) = evaluate(plan(scene(**limits), "none", seeds=(1,))).episodes
        assert episode.figures["in_band"] == in_band
        assert episode.figures["violating"] == 1.0 - in_band
        assert (episode.figures["violation_bus_minutes"] == 0.0) is (in_band == 1.0)


def test_workers_and_order_do_not_matter() -> None:
    """Two processes give the episodes of one, in the plan's order; so does another order of seeds."""
    found = plan(scene(), "as_is", "random", seeds=(5, 6, 7), qualities=qualities("ideal,delay=2s+loss=0.3"))
    alone, together = evaluate(found), evaluate(found, workers=2)
    assert alone.episodes == together.episodes
    assert [(e.quality, e.controller, e.seed) for e in alone.episodes][:4] == [
        ("ideal", "as_is", 5), ("ideal", "as_is", 6), ("ideal", "as_is", 7), ("ideal", "random", 5)]
    backwards = evaluate(plan(scene(), "random", seeds=(7, 6, 5), qualities=qualities("ideal")))
    assert backwards.episodes[::-1] == tuple(alone.of("random", "ideal"))
    assert len({e.figures["return"] for e in backwards.episodes}) == 3


def test_a_bundle_acts_as_in_a_run(tmp_path: Path) -> None:
    """A bundle played beside the scenario, the scenario with that bundle as its policies, and a run: one outcome."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    bundle_for(scene(), tmp_path / "b", hidden=(8,))
    trained = {"policy": {"kind": "numpy", "bundle": str(tmp_path / "b")}}
    within = loaded(learner(1, **trained), learner(2, period_s=7, **trained), learning={"reward": VARIED["reward"]})
    seed = within.scenario.seed
    beside = evaluate(plan(scene(learning={"reward": VARIED["reward"]}), str(tmp_path / "b"), seeds=(seed,)))
    inside = evaluate(plan(within, "as_is", "none", seeds=(seed,)))
    run = run_scenario(within, None)
    assert beside.episodes[0].figures == inside.episodes[0].figures != inside.episodes[1].figures
    assert inside.episodes[0].figures["losses_kwh"] == pytest.approx(run.kpis["losses_kwh"], rel=1e-12)
    assert beside.controllers[0].endswith("/b")


def test_memory_begins_anew(tmp_path: Path) -> None:
    """A recurrent bundle gives the same episode whatever was played before it."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    bundle_for(scene(), tmp_path / "b", kind="gru", hidden=(6,))
    found = evaluate(plan(scene(), str(tmp_path / "b"), seeds=(1, 2)))
    again = evaluate(plan(scene(), str(tmp_path / "b"), seeds=(2,)))
    assert found.episodes[1:] == again.episodes


def test_a_bundle_for_others_is_refused(tmp_path: Path) -> None:
    """What differs is named before anything is played."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    bundle_for(scene(), tmp_path / "b", hidden=(8,))
    other = loaded(learner(1, observe=["bat1.soc", "ld.v_pu"]), learner(2, period_s=7))
    with pytest.raises(ControllerError, match=r"agent 'agent_1' .*feature bat1.v_pu: only here"):
        evaluate(plan(other, str(tmp_path / "b")))


def test_droop_is_the_standards_curve() -> None:
    """Category B between 0.92 and 0.98 pu: a share of 0.44 of the largest reactive power; the rest is left alone."""
    agent = learner(1, observe=["sun.v_pu", "sun.p_kw"], actuate=["sun.p_set_kw", "sun.q_set_kvar"])
    env = EventEnv(loaded(agent, devices=[PV]))
    at_work = named("droop").at_work(env)
    env.reset(1)
    seen = env.simulation.points.values[env.simulation.points.id_of("sun.v_pu")]
    p_kw, q_kvar = at_work.decide()[0]
    assert np.isnan(p_kw)
    assert q_kvar == pytest.approx(np.interp(seen, [0.92, 0.98], [0.44, 0.0]) * env.specs[0].action.setpoints[1].high)
    assert 0 < q_kvar < 0.44 * env.specs[0].action.setpoints[1].high
    with pytest.raises(ControllerError, match="no learner commands"):
        named("droop").at_work(EventEnv(scene()))


def test_random_takes_open_choices_only() -> None:
    """Chance chooses among what a mask leaves open."""
    act = {"choices": [{"name": "in", "set": {"bat1.p_set_kw": -50}}, {"name": "out", "set": {"bat1.p_set_kw": 50}}],
           "masks": [{"choices": ["out"], "closed_when": {"point": "bat1.soc", "above": -1.0}}]}
    env = EventEnv(loaded(learner(1, learn={"act": act})))
    at_work = named("random").at_work(env)
    env.reset(1)
    at_work.begin(1)
    assert {float(at_work.decide()[0][0]) for _ in range(20)} == {-50.0}


def test_a_plan_that_will_not_do_is_refused(tmp_path: Path) -> None:
    """Unknown controllers, equal names, too many episodes or processes: one message each."""
    with pytest.raises(ControllerError, match="neither one of as_is, none, droop, random nor a folder with a bundle"):
        named("best")
    twice = Plan(Source.of(scene()), (Controller("x", "none"), Controller("x", "random")), (1,))
    with pytest.raises(EvaluationError, match="'x' is named twice"):
        evaluate(twice)
    with pytest.raises(EvaluationError, match="0 episodes"):
        evaluate(plan(scene(), "none", seeds=()))
    with pytest.raises(EvaluationError, match="workers: found 0"):
        evaluate(plan(scene(), "none"), workers=0)


def test_stopping_keeps_what_is_done() -> None:
    """After the second episode nothing more is played; the rest is still an evaluation."""
    done: list[int] = []
    found = evaluate(plan(scene(), "none", seeds=(1, 2, 3)), on_episode=lambda _, k, n: done.append(k),
                     should_stop=lambda: len(done) == 2)
    assert (len(found.episodes), found.complete, done) == (2, False, [1, 2])


def test_outcome_as_data_and_table(tmp_path: Path) -> None:
    """JSON holds every cell and episode; CSV a row an episode; differences are from the first controller."""
    found = evaluate(plan(scene(), "none", "random", seeds=(1, 2, 3)))
    data = json.loads(json.dumps(found.to_dict()))
    assert [cell["controller"] for cell in data["cells"]] == ["none", "random"]
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [float(row["return"]) for row in rows] == [e.figures["return"] for e in found.episodes]
    ours, theirs = ([e.figures["return"] for e in found.of(name, "scenario")] for name in ("random", "none"))
    random = found.cells()[1]
    assert random.against["return"].mean == pytest.approx(np.mean(np.subtract(ours, theirs)))
    assert found.cells()[0].against == {}
    assert set(found.episodes[0].figures) <= set(FIGURES)
    assert all(e.latency_ms for e in found.episodes)


def test_picture_has_a_mark_for_every_cell() -> None:
    """Well-formed SVG: a mark and a whisker a cell, a legend, a dashed line for what is known; names are escaped."""
    episodes = evaluate(plan(scene(), "none", "random", seeds=(1, 2))).episodes
    known = Yardstick(name="best <known>", figure="return", value=-0.1, source="here")
    picture = ET.fromstring(svg(Evaluation("a & b", ("none", "random"), ("scenario",), (1, 2), episodes,
                                                    (known,))))
    tags = [element.tag.rpartition("}")[2] for element in picture.iter()]
    words = [element.text for element in picture.iter() if element.text]
    assert tags.count("circle") == 4
    assert "best <known>" in words
    assert any(word.startswith("a & b: return") for word in words)


def test_yardsticks_are_read_and_checked(tmp_path: Path) -> None:
    """A list of names, figures, values and sources; anything else is one message with the place."""
    file = tmp_path / "y.json"
    file.write_text(json.dumps([{"name": "MPC", "figure": "return", "value": -14.7, "source": "a paper"}]))
    assert yardsticks(file)[0].value == -14.7
    for text, says in (("{", "not JSON"), ('[{"name": "a"}]', "0.figure: Field required"),
                       ('[{"name":"a","figure":"b","value":NaN,"source":"c"}]', "not finite")):
        file.write_text(text)
        with pytest.raises(YardstickError, match=says):
            yardsticks(file)
    with pytest.raises(YardstickError, match="cannot be read"):
        yardsticks(tmp_path / "none.json")


def test_the_environment_may_be_shorter() -> None:
    """`duration_s` shortens every episode; `agents` chooses who learns."""
    found = evaluate(plan(scene(), "random", seeds=(1,), duration_s=20.0, agents=("agent_2",)))
    assert found.episodes[0].figures["length_s"] == 20.0
    assert list(found.episodes[0].agents) == ["agent_2"]
    assert EventEnv(scene(), ("agent_2",), options=EnvOptions(duration_s=20.0)).names == ("agent_2",)


def test_errors_of_the_scenario_come_first() -> None:
    """A quality that the scenario cannot have is refused before anything is played."""
    text = yaml.safe_dump({**yaml.safe_load(scene().text), "agents": []})
    with pytest.raises(GridloopError, match="no learners"):
        evaluate(Plan(Source(text, Path("x.yaml"), Path(), ()), (named("none"),), (1,)))
