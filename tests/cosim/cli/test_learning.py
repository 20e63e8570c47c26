"""``gridloop train``, ``evaluate``, ``export``: arguments, folders, messages; and once all of them for real."""

from __future__ import annotations

import builtins
import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cosim.cli import main
from cosim.cli.engine import Engine, _evaluate
from cosim.cli.learning import columns, seeds_of
from cosim.cli.outcome import UsageError
from policies.training.algorithm import TrainingError
from tests.cosim.cli.conftest import Said
from tests.cosim.cli.trainers import FakeTrainer
from tests.cosim.env.worlds import learner, loaded

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

Call = Callable[..., Said]


@pytest.fixture
def trainer() -> FakeTrainer:
    """A training of fakes."""
    return FakeTrainer()


@pytest.fixture
def gridloop(trainer: FakeTrainer, capsys: pytest.CaptureFixture[str], tmp_path: Path,
             monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command in a folder that holds ``three.yaml`` (three learners) and ``idle.yaml`` (none)."""
    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)
    Path("idle.yaml").write_text(loaded({**learner(1), "actuate": []}).text)

    def call(*argv: str, real: bool = False) -> Said:
        code = main(argv, engine=Engine() if real else Engine(train=trainer.train))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


# -- train ------------------------------------------------------------------------------------------------------------


def test_options_reach_the_training(gridloop: Call, trainer: FakeTrainer) -> None:
    """Every option lands in its place of the configuration; hyperparameters are read as YAML."""
    said = gridloop("train", "three.yaml", "--algo", "ippo", "--steps", "1000", "--seed", "3", "--workers", "0",
                    "--hyper", "hidden=[8, 8]", "--hyper", "lr=1e-3", "--set", "duration_s=20", "--agents",
                    "agent_1,agent_2", "--duration", "10", "--cost-limit", "volts=0.5", "--out", "here",
                    "--option", "collection.slots=5")
    assert said.code == 0, said.err
    ((config, out, resume),) = trainer.asked
    assert (config.algo, config.steps, config.seed, config.collection.workers) == ("ippo", 1000, 3, 0)
    assert config.collection.slots == 5
    options = config.algorithm_options()
    assert (options.hidden, options.lr) == ((8, 8), 0.001)
    assert (config.overrides, config.agents, config.duration_s) == (("duration_s=20",), ("agent_1", "agent_2"), 10.0)
    assert (config.cost_limits, out, resume) == ({"volts": 0.5}, Path("here"), False)
    learners = """'learning.agents=["agent_1", "agent_2"]'"""
    assert f"next: gridloop evaluate three.yaml --set duration_s=20 --set {learners} --bundle here/bundle" in said.out


def test_a_file_holds_the_rest(gridloop: Call, trainer: FakeTrainer) -> None:
    """--config gives everything; what the command line says counts more."""
    Path("c.yaml").write_text(yaml.safe_dump({"scenario": "three.yaml", "algo": "ippo", "seed": 9, "steps": 77,
                                              "collection": {"slots": 3}}))
    assert gridloop("train", "--config", "c.yaml", "--steps", "88", "--workers", "1").code == 0
    config = trainer.asked[0][0]
    assert (config.seed, config.steps, config.collection.slots, config.collection.workers) == (9, 88, 3, 1)


def test_settings_come_with_the_scenario(gridloop: Call, trainer: FakeTrainer) -> None:
    """training/<scenario>.<algo>.yaml beside it counts for that algorithm, and is named; options change it."""
    Path("training").mkdir()
    Path("training/three.sac.yaml").write_text(yaml.safe_dump(
        {"options": {"lr": 0.01, "batch": 32}, "steps": 77, "overrides": ["seed=3"], "algo": "td3"}))
    said = gridloop("train", "three.yaml", "--algo", "sac", "--hyper", "lr=0.1", "--set", "duration_s=20", "--json")
    config = trainer.asked[0][0]
    assert said.data["settings"] == "training/three.sac.yaml"
    assert (config.algo, config.options, config.steps) == ("sac", {"lr": 0.1, "batch": 32}, 77)
    assert config.overrides == ("seed=3", "duration_s=20")
    said = gridloop("train", "three.yaml", "--algo", "sac", "--bare", "--json")
    assert (trainer.asked[1][0].options, said.data["settings"]) == ({}, None)
    assert gridloop("train", "three.yaml", "--algo", "td3", "--json").data["settings"] is None
    told = gridloop("train", "three.yaml", "--algo", "sac")
    assert "settings from training/three.sac.yaml (--bare leaves them out)" in told.out
    assert "settings from training/three.sac.yaml" in told.err
    assert "next: gridloop evaluate three.yaml --bundle" in told.out  # the task itself, without "seed=3"


def test_plugins_are_loaded_when_the_command_line_says_so(gridloop: Call, trainer: FakeTrainer) -> None:
    """The flag reaches the training, and no file can stand in for it."""
    assert gridloop("train", "three.yaml", "--algo", "ippo", "--allow-plugins", "--quiet").code == 0
    assert trainer.asked[0][0].allow_plugins
    assert "allow_plugins" not in trainer.asked[0][0].model_dump()
    Path("c.yaml").write_text("{scenario: three.yaml, algo: ippo, allow_plugins: true}")
    assert "expected it on the command line" in gridloop("train", "--config", "c.yaml").err
    Path("p.yaml").write_text(loaded().text + "plugins: [mine.py]\n")
    Path("mine.py").write_text("print('loaded')\n")
    for command in (("train", "p.yaml"), ("dataset", "p.yaml", "--out", "d")):
        said = gridloop(*command, real=True)
        assert (said.code, "allow-plugins" in said.err, "loaded" in said.out) == (2, True, False), said.err


def test_default_folders_are_numbered(gridloop: Call, trainer: FakeTrainer) -> None:
    """Each training has a folder of its own, named after scenario and algorithm."""
    gridloop("train", "three.yaml", "--algo", "ippo", "--quiet")
    gridloop("train", "three.yaml", "--algo", "ippo", "--quiet")
    assert [out for _, out, _ in trainer.asked] == [Path("results/three-ippo-001"), Path("results/three-ippo-002")]


def test_seeds_are_trainings_of_their_own(gridloop: Call, trainer: FakeTrainer) -> None:
    """--seeds trains one after another, and says how far their best scores are apart."""
    said = gridloop("train", "three.yaml", "--algo", "ippo", "--seeds", "1,2,6", "--out", "o")
    assert [(config.seed, out) for config, out, _ in trainer.asked] == [(k, Path(f"o/seed-{k}")) for k in (1, 2, 6)]
    assert "best score over 3 seeds: -3 ± " in said.out
    assert gridloop("train", "three.yaml", "--seed", "1", "--seeds", "2").code == 2


def test_ctrl_c_says_how_to_go_on(gridloop: Call, trainer: FakeTrainer) -> None:
    """A training that was stopped exits 1, starts no further seed and names the command that goes on."""
    trainer.reason = "stopped"
    said = gridloop("train", "three.yaml", "--algo", "ippo", "--seeds", "3", "--out", "o")
    assert (said.code, len(trainer.asked)) == (1, 1)
    assert "stopped; go on with: gridloop train --resume o/seed-1" in said.out


@pytest.mark.parametrize(("argv", "says"), [
    (["idle.yaml"], "has no learners"),
    (["three.yaml", "--algo", "magic"], "expected one of ppo, ippo, mappo, sac"),
    (["three.yaml", "--algo", "ippo", "--hyper", "speed=1"], "options.speed: unknown key 'speed'; accepted: hidden"),
    (["three.yaml", "--algo", "ippo", "--hyper", "lr"], "--hyper lr: expected KEY=VALUE, for instance lr=0.001\n"),
    (["three.yaml", "--algo", "ippo", "--hyper", "lr=[1"], "--hyper lr"),
    (["three.yaml", "--algo", "ippo", "--option", "lr"], "--option lr: expected PATH=VALUE"),
    (["three.yaml", "--algo", "ippo", "--cost-limit", "volts"], "--cost-limit volts: expected KEY=VALUE"),
    (["three.yaml", "--algo", "ippo", "--hyper", "hidden=64"], "found 64; expected a list, for instance [64, 64]"),
    (["three.yaml", "--algo", "ippo", "--option", "lr=3"], "expected it as options.lr (--hyper lr=VALUE)"),
    (["three.yaml", "--option", "collection.fragmnt=3"], "'fragmnt'; did you mean 'fragment'?; accepted: slots, frag"),
    (["three.yaml", "--option", "colection.fragment=3"], "'colection'; did you mean 'collection'?; accepted: scenario"),
    (["three.yaml", "--steps", "0"], "steps: Input should be greater than or equal to 1"),
    (["nowhere.yaml"], "nowhere.yaml"),
    ([], "name a scenario"),
    (["three.yaml", "--seeds", "0"], "expected how many"),
    (["--resume", "three.yaml"], "no training to go on with"),
    (["three.yaml", "--resume", "o"], "leave out SCENARIO"),
    (["three.yaml", "--from", "nothing"], "nothing"),
    (["three.yaml", "--algo", "cql"], "name them with --dataset"),
    (["three.yaml", "--algo", "bc", "--from", "."], "name them with --dataset"),
    (["three.yaml", "--algo", "ippo", "--hyper", "rate=1"], "accepted: hidden, activation"),
    (["--dataset", "."], "no data set"),
    (["--dataset", "gone"], "no folder with data sets"),
    (["--dataset", ".", "--seeds", "3"], "leave out --seeds"),
    (["--dataset", ".", "--algo", "ppo"], "expected one of cql, iql, awac, bc"),
    (["--dataset", ".", "--hyper", "speed=1"], "options.speed"),
    (["--dataset", ".", "--hyper", "lr"], "--hyper lr: expected KEY=VALUE"),
    (["--dataset", ".", "--set", "seed=1"], "leave out --set"),
    (["--dataset", ".", "--steps", "-1"], "batches: "),
])
def test_bad_usage_is_one_message_and_writes_nothing(gridloop: Call, trainer: FakeTrainer, argv: list[str],
                                                     says: str) -> None:
    """Exit 2, what would do, and no folder."""
    said = gridloop("train", *argv)
    assert said.code == 2
    assert says in said.err
    assert "internal error" not in said.err
    assert (trainer.asked, Path("results").exists()) == ([], False)


def test_what_does_not_fit_is_usage_and_what_fails_later_is_not(gridloop: Call, trainer: FakeTrainer) -> None:
    """An error before anything was learned exits 2, leaves nothing and keeps an old training."""
    trainer.error = TrainingError("group x: dqn: found a continuous action")
    assert gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o").code == 2
    assert not Path("o").exists()
    Path("o").mkdir()
    Path("o/metrics.csv").write_text("")
    assert gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o", "--force").code == 2
    assert Path("o/metrics.csv").exists()


def test_folders_that_are_taken_are_refused(gridloop: Call, trainer: FakeTrainer) -> None:
    """A training is replaced with --force only, and other files never."""
    gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o")
    Path("o/checkpoints/iteration-000001").mkdir(parents=True)
    assert "or --resume o to go on" in gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o").err
    assert gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o", "--force").code == 0
    assert not Path("o/checkpoints").exists()
    Path("p").mkdir()
    Path("p/letter.txt").touch()
    assert "no training" in gridloop("train", "three.yaml", "--algo", "ippo", "--out", "p", "--force").err
    assert "is a file" in gridloop("train", "three.yaml", "--algo", "ippo", "--out", "three.yaml").err


def test_missing_torch_names_the_extra(gridloop: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch the message says what to install."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "torch" or name == "policies.training.config":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    said = gridloop("train", "three.yaml")
    assert (said.code, said.err) == (2, "training needs torch: pip install 'gridloop[rl]'\n")


def test_progress_is_a_line_a_tenth(gridloop: Call) -> None:
    """Where no terminal is: steps, returns, costs, interventions and speed, ten times; with --quiet none."""
    lines = gridloop("train", "three.yaml", "--algo", "ippo", "--out", "o").err.splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[-1] == ("100 %  2,560 steps, 20 episodes, return -30, discounted -20, best -1, volts 0.25/s, "
                         "shield moved 3/h, 640 steps/s")
    assert gridloop("train", "three.yaml", "--algo", "ippo", "--out", "p", "--quiet").err == ""


# -- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluation_as_table_json_csv_and_picture(gridloop: Call) -> None:
    """The same figures in every form; files that are there are kept."""
    argv = ("evaluate", "three.yaml", "--against", "none,random", "--seeds", "4,5", "--channels", "ideal,loss=50%",
            "--quiet")
    said = gridloop(*argv, "--csv", "e.csv", "--picture", "e.svg", "--json", real=True)
    assert said.code == 0, said.err
    assert [(c["quality"], c["controller"]) for c in said.data["cells"]] == [
        ("ideal", "none"), ("ideal", "random"), ("loss=50%", "none"), ("loss=50%", "random")]
    with Path("e.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["return"]) for row in rows] == [e["figures"]["return"] for e in said.data["episodes"]]
    assert Path("e.svg").read_text().startswith("<svg")
    table = gridloop(*argv, real=True).out
    assert table.splitlines()[0].split()[:3] == ["channel", "controller", "return"]
    assert "8 episodes, 2 seeds" in table
    assert "exists already" in gridloop(*argv, "--csv", "e.csv", real=True).err
    assert gridloop(*argv, "--csv", "e.csv", "--picture", "e.svg", "--force", real=True).code == 0


def test_ctrl_c_ends_an_evaluation_with_what_is_done(gridloop: Call) -> None:
    """The first Ctrl-C ends after the episode; the table says that it is not all, and the exit code is 1."""
    def evaluate(plan: Any, workers: int, on_episode: Any, should_stop: Any) -> Any:
        def interrupted(episode: Any, done: int, total: int) -> None:
            on_episode(episode, done, total)
            signal.raise_signal(signal.SIGINT)
        return _evaluate(plan, workers, interrupted, should_stop)

    code = main(["evaluate", "three.yaml", "--against", "none", "--seeds", "4", "--csv", "e.csv", "--quiet"],
                engine=Engine(evaluate=evaluate))
    assert code == 1
    assert len(Path("e.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(("argv", "says"), [
    (["idle.yaml"], "has no learners"), (["three.yaml", "--against", "best"], "nor a folder with a bundle"),
    (["three.yaml", "--bundle", "gone"], "nor a folder with a bundle"), (["three.yaml", "--seeds", "x"], "how many"),
    (["three.yaml", "--channels", "bad"], "expected 'scenario'"), (["three.yaml", "--picture", "a.png"], ".svg"),
    (["three.yaml", "--csv", "no/where.csv"], "there is no folder"), (["three.yaml", "--workers", "0"], "workers"),
    (["three.yaml", "--against", "droop"], "no learner commands"),
    (["three.yaml", "--yardstick", "y"], "cannot be read")])
def test_evaluations_that_cannot_be_are_refused(gridloop: Call, argv: list[str], says: str) -> None:
    """Exit 2 and what would do."""
    said = gridloop("evaluate", *argv, real=True)
    assert (said.code, says in said.err) == (2, True), said.err


def test_seeds_are_a_number_or_a_list() -> None:
    """One number is how many; with a comma they are the seeds."""
    assert seeds_of("3", 10) == (10, 11, 12)
    assert seeds_of("3,", 10) == (3,)
    assert seeds_of("7,1", 10) == (7, 1)
    for text in ("0", "-1", "1,1", "a", "", "1.5", "-1,2", "99999999"):
        with pytest.raises(UsageError, match="expected how many"):
            seeds_of(text, 1)


def test_tables_are_aligned() -> None:
    """Words to the left, figures to the right."""
    assert columns(["a", "b"], [["long", "1"], ["x", "22"]]) == "a      b\nlong   1\nx     22"


# -- all of it --------------------------------------------------------------------------------------------------------


def test_from_training_to_run(gridloop: Call) -> None:
    """Train, go on, evaluate, run with the bundle, fine-tune on another scenario: for real, in small."""
    pytest.importorskip("safetensors", reason="safetensors is not installed (pip install .[rl])")
    Path("c.yaml").write_text(yaml.safe_dump({"scenario": "three.yaml", "algo": "ippo", "steps": 64,
                                              "options": {"hidden": [8], "epochs": 1},
                                              "collection": {"slots": 1, "fragment": 32, "workers": 0}}))
    said = gridloop("train", "--config", "c.yaml", "--out", "t", "--quiet", "--json", real=True)
    assert said.code == 0, said.err
    bundle = said.data["trainings"][0]["policy"]
    said = gridloop("train", "--resume", "t", "--steps", "96", "--workers", "0", "--quiet", "--json", real=True)
    assert said.data["trainings"][0]["steps"] == 96, said.err
    said = gridloop("evaluate", "three.yaml", "--bundle", bundle, "--seeds", "1", "--quiet", "--json", real=True)
    assert [cell["controller"] for cell in said.data["cells"]] == ["as_is", "/".join(Path(bundle).parts[-2:])]
    evaluated = said.data["episodes"][1]["figures"]["losses_kwh"]
    said = gridloop("run", "three.yaml", "--bundle", bundle, "--policy", "numpy", "--quiet", "--json", real=True)
    assert said.data["kpis"]["losses_kwh"] == pytest.approx(evaluated, rel=1e-6), said.err
    Path("other.yaml").write_text(loaded(learner(1, observe=["bat1.soc", "bat1.v_pu", "ld.v_pu"]), learner(2),
                                         learner(3)).text)
    said = gridloop("train", "other.yaml", "--config", "c.yaml", "--from", bundle, "--steps", "32", "--quiet", "--out",
                    "u", real=True)
    assert said.code == 0, said.err
    assert "agent_1  sees  new" in said.out
    assert "sees  gone" in said.out
    started = json.loads(Path("u/start/bundle.json").read_text())
    assert started["groups"]["agent_1"]["network"]["hidden"] == [8]
    assert "was trained for another" in gridloop("run", "other.yaml", "--bundle", bundle, real=True).err


def test_data_sets_are_recorded(gridloop: Call) -> None:
    """A data set a group, with what it holds; what is there already is kept, and nonsense is refused."""
    argv = ("dataset", "three.yaml", "--out", "d", "--episodes", "2", "--noise", "0.1")
    said = gridloop(*argv, "--json", real=True)
    assert said.code == 0, said.err
    assert [found["group"] for found in said.data["datasets"]] == ["agent_1", "agent_2", "agent_3"]
    assert {found["episodes"] for found in said.data["datasets"]} == {2}
    assert all(Path(found["path"], "data", "metadata.json").is_file() for found in said.data["datasets"])
    again = gridloop(*argv, real=True)
    assert (again.code, "already" in again.err) == (2, True)
    one = gridloop(*argv[:2], "--out", "a d", "--agents", "agent_2", "--set", "devices.ld.p_kw=250", real=True)
    assert one.out.rstrip().endswith("next: gridloop train three.yaml --set devices.ld.p_kw=250 --set "
                                     "'learning.agents=[\"agent_2\"]' --algo iql --dataset 'a d'")
    small = ("--steps", "3", "--hyper", "hidden=[8]", "--hyper", "batch=4", "--quiet")
    learned = gridloop("train", "--dataset", "d", "--algo", "bc", *small, "--out", "o", "--json", real=True)
    assert learned.code == 0, learned.err
    online = gridloop("train", "three.yaml", "--algo", "awac", "--from", learned.data["bundle"], "--steps", "8",
                      "--option", "collection.fragment=4", "--workers", "0", "--out", "on", "--quiet", real=True)
    assert online.code == 0, online.err
    assert json.loads(Path("on/bundle/bundle.json").read_text())["training"]["algo"] == "awac"
    said = gridloop("evaluate", "three.yaml", "--bundle", learned.data["bundle"], "--seeds", "1", "--json", real=True)
    assert said.code == 0, said.err
    assert "has no learners" in gridloop("dataset", "idle.yaml", "--out", "e", real=True).err
    assert "--noise: found 2.0" in gridloop("dataset", "three.yaml", "--out", "e", "--noise", "2", real=True).err


def test_export_is_refused_or_done(gridloop: Call) -> None:
    """A folder without a bundle is refused; a bundle gets its ONNX files, compared with torch."""
    assert "no bundle here" in gridloop("export", "three.yaml", real=True).err
    pytest.importorskip("onnx", reason="onnx is not installed (pip install .[rl])")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (pip install .[onnx])")
    from tests.policies.bundles import bundle_for

    bundle_for(loaded(), Path("b"), hidden=(8,))
    said = gridloop("export", "b", "--onnx", "c", "--json", real=True)
    assert said.code == 0, said.err
    assert {group["group"] for group in said.data["groups"]} == {"agent_1", "agent_2", "agent_3"}
    assert all(max(group["difference"].values()) < 1e-5 for group in said.data["groups"])
    assert "exists already" in gridloop("export", "b", "--onnx", "c", real=True).err
