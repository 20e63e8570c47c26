"""The command in a bundle makes the same training again."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from cosim.cli import train
from cosim.cli.engine import Engine
from policies.training.command import command_of, offline_command
from policies.training.config import TrainConfig, load_config
from policies.training.offline import OfflineConfig
from tests.cosim.env.worlds import loaded


def parsed(command: str) -> TrainConfig:
    """The configuration that `gridloop train` makes of a command."""
    words = shlex.split(command)
    assert words[:2] == ["gridloop", "train"]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    (config,) = train._configs(parser.parse_args(words[2:]), Engine(), None)
    return config


@pytest.mark.parametrize("changes", [
    {},
    {"algo": "sac", "steps": 5, "seed": 7, "device": "cuda", "threads": 2, "duration_s": 12.5,
     "options": {"lr": 1e-05, "hidden": [8, 16], "target_entropy": None, "normalise": True, "activation": "tanh"}},
    {"agents": ["agent_1", "agent_[23]"], "overrides": ["duration_s=20", "learning.agents=['agent_*']"],
     "trials": {"every": 2, "overrides": ["duration_s=30"]},
     "cost_limits": {"volts at 1.0 pu": 1e-07}, "discount": {"gamma": 0.9, "per_s": 5},
     "options": {"lagrangian": {"kp": 0.0, "most": 1e16}}},
    {"algo": "ippo", "collection": {"slots": 8, "fragment": 128, "workers": 0, "pipeline": True},
     "checkpoints": {"every": 3}, "trials": {"every": 5, "episodes": 2},
     "stop": {"score": "sum", "patience": 4, "target_return": -1.5},
     "bundle": "results/a bundle", "allow_plugins": True}])
def test_a_command_makes_the_same_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                changes: dict[str, Any]) -> None:
    """Every setting that is not a default is in it, and reads back equal, whatever files lie beside the scenario."""
    monkeypatch.chdir(tmp_path)
    Path("three.yaml").write_text(loaded().text)
    given = {"allow_plugins": True} if changes.pop("allow_plugins", False) else {}
    config = load_config({"scenario": "three.yaml", **changes}, **given)
    command = command_of(config)
    assert parsed(command) == config
    assert " --bare " in command


def test_what_the_command_line_changes_is_changed_in_trials_too() -> None:
    """Trials of their own overrides are of the scenario as it was asked for."""
    file = Path(__file__).resolve().parents[3] / "scenarios" / "training" / "arbitrage.ppo.yaml"
    config = parsed(f"gridloop train --config {shlex.quote(str(file))} --set shield=enforce")
    assert config.overrides[-1] == "shield=enforce"
    assert config.trials.overrides == ("shield=enforce",)
    assert parsed("gridloop train volt_var_33 --bare --set shield=enforce").trials.overrides is None


def test_a_command_from_a_data_set() -> None:
    """With what `gridloop train --dataset` takes."""
    plain = OfflineConfig(algo="iql", batches=50, seed=3, options={"expectile": 0.8})
    assert offline_command(plain, Path("my data")) == (
        "gridloop train --dataset 'my data' --algo iql --steps 50 --seed 3 --hyper expectile=0.8")
    named = plain.model_copy(update={"scenario": "s.yaml", "overrides": ("seed=2",), "allow_plugins": True})
    assert offline_command(named, Path("d")) == (
        "gridloop train s.yaml --dataset d --algo iql --steps 50 --seed 3 --set seed=2 --hyper expectile=0.8 "
        "--allow-plugins")
