"""Trained policies in a run: they see what the environment shows, act alike in every kind, and fit or are refused."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cosim.cli.summary import summary_table
from cosim.encoding import ActionCodec
from cosim.env.event import EventEnv
from cosim.errors import ScenarioError
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.scenario.loader import LoadedScenario, load_scenario, load_text
from cosim.simulation import Simulation, build
from cosim.simulation.session import run_scenario
from policies import acting
from policies.bundle import Bundle, normalised, onnx_file
from policies.inference import Network
from policies.numpy_actor import NumpyActor
from tests.cosim.simulation.worlds import BASE, WAN, over
from tests.policies.bundles import bundle_for, weights

pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")

EVERYTHING = {"history": 3, "last_action": True, "acknowledged": True, "quality": True, "clock": ["day", "week"]}
#: Two inverters of one group over a channel, and a direct agent with levels beside a number.
TRAINED: Mapping[str, Any] = {
    **BASE, "name": "trained", "duration_s": 40, "start": "2016-06-13T11:59:00",
    "devices": [
        *BASE["devices"],
        {"kind": "pv", "name": "pv1", "bus": "18", "p_rated_kw": 300, "s_rated_kva": 330},
        {"kind": "pv", "name": "pv2", "bus": "33", "p_rated_kw": 200, "s_rated_kva": 260},
        {"kind": "battery", "name": "bat", "bus": "25", "e_rated_kwh": 2, "p_max_kw": 150},
        {"kind": "capacitor", "name": "cap", "bus": "30", "q_step_kvar": 100, "steps": 4}],
    "channels": [{"name": "wan", "rules": [*WAN["rules"], {"kind": "loss", "probability": 0.2}]}],
    "agents": [
        {"name": "vv_{}", "each": "pv*", "period_s": 2, "jitter_s": 0.4, "observe": ["{}.v_pu", "{}.p_kw"],
         "actuate": ["{}.q_set_kvar"], "telemetry": over(), "learn": {"observe": EVERYTHING},
         "policy": {"kind": "constant", "values": [0]}},
        {"name": "ems", "period_s": 5, "offset_s": 1, "observe": ["bat.soc", "bus.30.v_pu"],
         "actuate": ["bat.p_set_kw", "cap.steps"], "policy": {"kind": "constant", "values": [0]},
         "learn": {"observe": EVERYTHING, "act": {"levels": {"cap.steps": None}}}}],
}


def scenario(folder: Path, kind: str = "", **changes: Any) -> LoadedScenario:
    """`TRAINED` from a file; with a kind, its agents act by ``b`` beside that file."""
    data = {**TRAINED, **changes}
    if kind:
        policy = {"kind": kind, "bundle": "b"}
        data["agents"] = [{**agent, "policy": {**policy, **agent.get("trained", {})}} for agent in data["agents"]]
    data["agents"] = [{key: value for key, value in agent.items() if key != "trained"} for agent in data["agents"]]
    folder.mkdir(exist_ok=True)
    text = yaml.safe_dump(data, sort_keys=False)
    (folder / "trained.yaml").write_text(text)
    return load_text(text, path=folder / "trained.yaml")


def needs(kind: str) -> None:
    """Skip where the package is missing."""
    package = {"torch": "torch", "onnx": "onnxruntime"}.get(kind)
    if package:
        pytest.importorskip(package, reason=f"{package} is not installed (pip install .[rl,onnx])")


def exported(folder: Path, names: Any) -> None:
    """ONNX files beside the weights."""
    pytest.importorskip("onnx", reason="onnx is not installed (pip install .[rl])")
    from policies.export import graph_bytes

    found = Bundle.load(folder)
    for name in names:
        onnx_file(folder, name).write_bytes(graph_bytes(found.group(name).network, found.group(name).weights))


def outcome(folder: Path, kind: str, out: Path | None = None) -> RunResult | str:
    """A run's digest; with `out`, its result."""
    summary = run_scenario(scenario(folder, kind), out)
    assert summary.status == "done", summary.error
    return summary.digest if out is None else RunResult.load(out)


@pytest.mark.parametrize("changes", [{"kind": "mlp"}, {"kind": "gru", "activation": "relu"}])
def test_a_run_is_the_episode_that_was_trained_on(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Bit for bit: what a run's policies see is what the environment shows, as long as its actor decides alike."""
    made = bundle_for(scenario(tmp_path), tmp_path / "b", **changes)
    env = EventEnv(scenario(tmp_path))
    actors = {name: NumpyActor(mine.network, mine.weights) for name, mine in made.groups.items()}
    memory: dict[int, Any] = {}
    expected: dict[str, list[Any]] = {name: [] for name in env.names}
    decision = env.reset()
    while not decision.ended:
        rows = {}
        for i in np.flatnonzero(decision.due).tolist():
            seen = decision.observation[env.encoder.slices[i]]
            row, _, memory[i] = actors[env.specs[i].group].act(seen[None], deterministic=True, hidden=memory.get(i))
            rows[i] = row[0]
            expected[env.names[i]].append(seen.copy())
        decision = env.step(rows)
    simulation = build(scenario(tmp_path, "numpy"))
    shown = spied(simulation)
    simulation.advance_to(simulation.end_us)
    assert sum(map(len, expected.values())) > 40
    for name, seen in expected.items():
        # The last instant of an episode is carried out without anybody deciding in it.
        assert len(shown[name]) - len(seen) in (0, 1)
        assert np.array_equal(np.array(shown[name][:len(seen)]), np.array(seen))


def spied(simulation: Simulation) -> dict[str, list[Any]]:
    """What each agent's policy puts into its network, from now on."""
    seen: dict[str, list[Any]] = {}
    for name, agent in simulation.crew.agents.items():
        policy: Any = agent.policy
        seen[name] = []
        inner = policy._network

        def forward(x: Any, hidden: Any, log: list[Any] = seen[name], inner: Network = inner) -> Any:
            log.append(x[0].copy())
            return inner.forward(x, hidden)

        policy._network = Network(forward, inner.answers)
    return seen


@pytest.mark.parametrize("kind", ["torch", "numpy", "onnx"])
def test_a_run_with_a_bundle_repeats_and_replays(tmp_path: Path, kind: str) -> None:
    """The same digest twice, and once more from the result folder alone, with the bundle and the scenario gone."""
    needs(kind)
    home = tmp_path / "home"
    made = bundle_for(scenario(home), home / "b")
    if kind == "onnx":
        exported(home / "b", made.groups)
    (home / "b" / "notes.txt").write_text("not loaded, not kept")
    result = outcome(home, kind, tmp_path / "out")
    assert outcome(home, kind, tmp_path / "again").digest == result.digest
    assert len(result.commands()) > 40
    kept = sorted(file.name for file in (tmp_path / "out" / "inputs" / "b").iterdir())
    assert kept == sorted(file.name for file in (home / "b").iterdir() if file.name != "notes.txt")
    for file in sorted((home / "b").iterdir()):
        file.unlink()
    found = replay(tmp_path / "out")
    assert found.same, found


def test_onnx_needs_onnxruntime_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch nor safetensors, nor the weights."""
    needs("onnx")
    exported(tmp_path / "b", bundle_for(scenario(tmp_path), tmp_path / "b").groups)
    (tmp_path / "b" / "weights.safetensors").unlink()
    for package in ("torch", "onnx", "safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, package, None)
    assert run_scenario(scenario(tmp_path, "onnx"), None).status == "done"


def test_kinds_give_the_same_setpoints(tmp_path: Path) -> None:
    """Every command of torch, numpy and onnx equals to 1e-5 of the range, at the same instants."""
    needs("torch")
    needs("onnx")
    exported(tmp_path / "b", bundle_for(scenario(tmp_path), tmp_path / "b", kind="gru").groups)
    frames = [outcome(tmp_path, kind, tmp_path / f"out-{kind}").commands() for kind in ("torch", "numpy", "onnx")]
    for frame in frames[1:]:
        assert frame["t_us"].tolist() == frames[0]["t_us"].tolist()
        assert np.abs(frame["value"].to_numpy() - frames[0]["value"].to_numpy()).max() < 1e-5 * 330
    assert frames[0]["value"].std() > 0


def test_a_random_policy_draws_from_its_own_stream(tmp_path: Path) -> None:
    """Not deterministic: the same digest for the same seed, another for another, another than at best."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    agents = [{**agent, "trained": {"deterministic": False}} for agent in TRAINED["agents"]]
    digests = [run_scenario(scenario(tmp_path, "numpy", agents=agents, seed=seed), None).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] != outcome(tmp_path, "numpy")


@pytest.mark.parametrize("deterministic", [True, False])
def test_closed_choices_are_not_taken(tmp_path: Path, deterministic: bool) -> None:
    """A mask of the scenario holds in a run as in its environment: what it closes is never commanded."""
    choices = [{"name": f"to_{n}", "set": {"cap.steps": n}} for n in range(4)]
    agents = [{**TRAINED["agents"][1], "actuate": ["cap.steps"], "trained": {"deterministic": deterministic},
               "learn": {"observe": EVERYTHING, "act": {"choices": choices}}}]
    bundle_for(scenario(tmp_path, agents=agents), tmp_path / "b")
    run_scenario(scenario(tmp_path, "numpy", agents=agents), tmp_path / "free")
    free = RunResult.load(tmp_path / "free").commands()
    favourite = int(free["value"].mode()[0])
    masks = [{"choices": [f"to_{favourite}"], "closed_when": {"point": "bus.30.v_pu", "above": 0.5}}]
    agents[0]["learn"]["act"]["masks"] = masks
    run_scenario(scenario(tmp_path, "numpy", agents=agents), tmp_path / "masked")
    masked = RunResult.load(tmp_path / "masked").commands()
    assert len(masked) == len(free) > 0
    assert favourite not in masked["value"].tolist()
    masks[0]["closed_when"] = {"point": "bus.99.v_pu", "above": 0.5}
    with pytest.raises(ScenarioError, match=r"learn\.act\.masks: .*bus\.99\.v_pu"):
        run_scenario(scenario(tmp_path, "numpy", agents=agents), None)
    masks[0]["closed_when"] = {"point": "bus.30.v_pu", "above": 0.5}
    env = EventEnv(scenario(tmp_path, agents=agents))
    env.reset()
    assert [bool(is_open) for is_open in env.masks(0)[0]] == [n != favourite for n in range(4)]


def test_a_bundle_acts_in_a_shipped_scenario(tmp_path: Path) -> None:
    """Two hours of case33bw_volt_var with random weights; all six agents share one network."""
    short = ("duration_s=7200", "disturbances=[]")
    made = bundle_for(load_scenario("case33bw_volt_var", overrides=short), tmp_path / "b")
    assert list(made.groups) == ["volt_var"]
    policy = f"agents.0.policy={{kind: numpy, bundle: '{tmp_path / 'b'}'}}"
    summary = run_scenario(load_scenario("case33bw_volt_var", overrides=(*short, policy)), None)
    assert summary.status == "done", summary.error


@pytest.mark.parametrize(("learn", "expected"), [
    ({"observe": {**EVERYTHING, "history": 1}}, "history: 3 and 1"),
    ({"observe": {**EVERYTHING, "scale": {"bat.soc": [0, 2]}}}, r"scale \(0\.0, 1\.0\) and \(0\.0, 2\.0\)"),
    ({"observe": {**EVERYTHING, "quality": False}}, "extras: "),
    ({"observe": EVERYTHING, "act": {"range": {"bat.p_set_kw": [-50, 50]}}}, r"setpoint bat\.p_set_kw: range -150 to"),
])
def test_a_bundle_for_another_agent_is_refused(tmp_path: Path, learn: dict[str, Any], expected: str) -> None:
    """The scenario is told to be another one, with every differing field, at the agent's place in the file."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    learn = {"act": TRAINED["agents"][1]["learn"]["act"], **learn}
    if "range" in learn["act"]:
        learn["act"] = {**TRAINED["agents"][1]["learn"]["act"], **learn["act"]}
    agents = [TRAINED["agents"][0], {**TRAINED["agents"][1], "learn": learn}]
    with pytest.raises(ScenarioError, match=expected) as caught:
        run_scenario(scenario(tmp_path, "numpy", agents=agents), None)
    assert "was trained for another agent than 'ems'" in str(caught.value)
    assert all("trained.yaml" in str(problem) for problem in caught.value.problems)


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    """Features, extras and setpoints in one message."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    agents = [{**TRAINED["agents"][0], "trained": {"group": "ems"}}, TRAINED["agents"][1]]
    with pytest.raises(ScenarioError) as caught:
        run_scenario(scenario(tmp_path, "numpy", agents=agents), None)
    for line in ("feature bat.soc: only here", "feature {}.v_pu: only there", "setpoint {}.q_set_kvar: only there",
                 "period_s: 5.0 and 2.0"):
        assert line in str(caught.value)


def test_groups_of_a_bundle(tmp_path: Path) -> None:
    """A group that is not there is an error with those that are; the only one serves everybody."""
    made = bundle_for(scenario(tmp_path), tmp_path / "b")
    agents = [{**TRAINED["agents"][0], "trained": {"group": "x"}}, TRAINED["agents"][1]]
    with pytest.raises(ScenarioError, match="no group 'x'; it has vv, ems"):
        run_scenario(scenario(tmp_path, "numpy", agents=agents), None)
    Bundle({"other": made.group("ems"), "more": made.group("vv")}).save(tmp_path / "b")
    with pytest.raises(ScenarioError, match="group is 'ems', and the bundle has other, more; say which"):
        run_scenario(scenario(tmp_path, "numpy", agents=TRAINED["agents"][1:]), None)
    Bundle({"other": made.group("ems")}).save(tmp_path / "b")
    assert run_scenario(scenario(tmp_path, "numpy", agents=TRAINED["agents"][1:]), None).status == "done"


@pytest.mark.parametrize("kind", ["torch", "onnx", "numpy"])
def test_bundles_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    """A missing folder, cut off weights, no exported network: the scenario cannot be built, and says why."""
    needs(kind)
    with pytest.raises(ScenarioError, match=r"trained\.yaml:\d+.*policy: .*b/bundle.json: cannot be read"):
        run_scenario(scenario(tmp_path, kind), None)
    bundle_for(scenario(tmp_path), tmp_path / "b")
    if kind == "onnx":
        with pytest.raises(ScenarioError, match=r"actor\.vv\.onnx: there is none; write it with `gridloop export`"):
            run_scenario(scenario(tmp_path, kind), None)
        (tmp_path / "b" / "actor.vv.onnx").write_bytes(b"\x08\x07nonsense")
        with pytest.raises(ScenarioError, match=r"actor\.vv\.onnx: not a network for this bundle, or damaged"):
            run_scenario(scenario(tmp_path, kind), None)
        return
    file = tmp_path / "b" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ScenarioError, match="not weights, or cut off"):
        run_scenario(scenario(tmp_path, kind), None)


@pytest.mark.parametrize(("kind", "package", "extra"), [("torch", "torch", "rl"), ("onnx", "onnxruntime", "onnx")])
def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str,
                                                   package: str, extra: str) -> None:
    """What to install, not a traceback."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "policies.networks", raising=False)
    with pytest.raises(ScenarioError, match=rf"needs {package}.*pip install 'gridloop\[{extra}\]'"):
        run_scenario(scenario(tmp_path, kind), None)


def test_numbers_that_are_none_hold_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The setpoints stay, the count goes up, the log says it once."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    crew = build(scenario(tmp_path, "numpy")).crew
    policy: Any = crew.agents["ems"].policy
    inner = policy._network
    policy._network = Network(lambda x, hidden: (inner.forward(x, hidden)[0] * np.nan, hidden), inner.answers)
    with caplog.at_level(logging.WARNING):
        for t_us in (0, 5_000_000):
            answer = policy.act(np.zeros(4), t_us)
            assert np.isnan(answer).all()
    assert crew.held == {"ems": 2}
    assert [record.message for record in caplog.records].count(
        "agent ems: its trained policy answered numbers that are not finite; the setpoints are held") == 1


def test_held_actions_are_in_a_runs_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of the first by agent, all of them counted in the summary and the manifest; the same when run again.

    A run whose policies always give numbers has neither.
    """
    loaded = scenario(tmp_path, "numpy")
    bundle_for(scenario(tmp_path), tmp_path / "b")
    sound = run_scenario(loaded, tmp_path / "sound")
    assert (RunResult.load(tmp_path / "sound").events()["kind"] == "action_held").sum() == 0
    assert (sound.held_actions, "held_actions" in RunResult.load(tmp_path / "sound").manifest["summary"]) == ({}, False)
    known, asked = acting.network_of, []

    def failing(*key: Any) -> Network:
        inner = known(*key)

        def forward(x: Any, hidden: Any) -> Any:
            outputs, after = inner.forward(x, hidden)
            asked.append(1)
            return (outputs * np.nan if key[2] == "ems" and len(asked) % 100 > 20 else outputs), after

        asked.clear()
        return Network(forward, inner.answers)

    monkeypatch.setattr(acting, "network_of", failing)
    summary = run_scenario(loaded, tmp_path / "run")
    result = RunResult.load(tmp_path / "run")
    events = result.events()
    (said,) = events[events["kind"] == "action_held"].to_dict("records")
    assert (said["subject"], said["detail"]) == (
        "ems", "its trained policy answered numbers that are not finite; held: bat.p_set_kw, cap.steps")
    assert list(summary.held_actions) == ["ems"]
    assert 1 < summary.held_actions["ems"] < 8
    assert result.manifest["summary"]["held_actions"] == summary.held_actions
    assert summary.digest != sound.digest
    assert run_scenario(loaded, tmp_path / "again").digest == summary.digest
    words = f"no numbers, held    {summary.held_actions['ems']} actions of ems"
    assert " ".join(words.split()) in " ".join(summary_table(summary.to_dict()).split())


def test_another_shield_is_told_not_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for all agents, with the settings that differ; none where they are the same."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    with caplog.at_level(logging.WARNING, "policies.acting"):
        run_scenario(scenario(tmp_path, "numpy"), None)
        assert caplog.records == []
        run_scenario(scenario(tmp_path, "numpy", shield={"mode": "observe"}, duration_s=3), None)
    assert len(caplog.records) == 1
    assert "trained behind another shield" in caplog.text
    assert "mode: off and observe" in caplog.text


def test_a_changed_bundle_is_read_anew(tmp_path: Path) -> None:
    """Nothing old is remembered under the same name."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    first = outcome(tmp_path, "numpy")
    made = Bundle.load(tmp_path / "b")
    Bundle({name: replace(mine, weights=weights(mine.network, 9)) for name, mine in made.groups.items()}).save(
        tmp_path / "b")
    assert outcome(tmp_path, "numpy") != first


def test_engineering_units_are_no_matter_to_a_network(tmp_path: Path) -> None:
    """A scenario whose environment speaks kW runs the bundle of one that speaks [-1, 1], to the same digest."""
    bundle_for(scenario(tmp_path), tmp_path / "b")
    agents = [{**agent, "learn": {**agent["learn"], "act": {**agent["learn"].get("act", {}), "units": "engineering"}}}
              for agent in TRAINED["agents"]]
    commands = []
    for name, chosen in (("n", TRAINED["agents"]), ("e", agents)):
        run_scenario(scenario(tmp_path, "numpy", agents=chosen), tmp_path / name)
        commands.append(RunResult.load(tmp_path / name).commands()["value"].tolist())
    assert commands[0] == commands[1]
    env = EventEnv(scenario(tmp_path, agents=agents))
    assert not env.specs[0].action.is_normalised
    spec = normalised(env.specs[0])
    assert ActionCodec(spec.action).decode(np.array([1.0]))[0] == spec.action.setpoints[0].high
