"""Configurations: where they come from and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed (pip install .[rl])")

from policies.training.algorithm import ALGORITHMS, TrainingError, algorithm_class, options_of
from policies.training.config import TrainConfig, load_config, with_seed


def test_a_file_changed_by_overrides(tmp_path: Path) -> None:
    """YAML, then path=value, then what is given by name."""
    file = tmp_path / "train.yaml"
    file.write_text("scenario: tour\nsteps: 1000\noptions: {lr: 0.01}\ncollection: {slots: 4}\n")
    config = load_config(file, ["options.lr=0.02", "collection.fragment=50"], seed=9)
    assert (config.options["lr"], config.fragment, config.seed, config.iterations) == (0.02, 50, 9, 5)


def test_everything_wrong_is_named() -> None:
    """Fields of the training and, by their own path, of the algorithm."""
    with pytest.raises(TrainingError, match=r"(?s)steps:.*colection:"):
        load_config({"scenario": "tour", "steps": -1, "colection": {}})
    with pytest.raises(TrainingError, match=r"options.learning_rate: unknown key 'learning_rate'; accepted: hidden,"):
        load_config({"scenario": "tour", "options": {"learning_rate": 1}})
    with pytest.raises(TrainingError, match=r"algo: found 'pppo'; did you mean 'ppo'\?; expected one of .* or bc \("):
        load_config({"scenario": "tour", "algo": "pppo"})
    with pytest.raises(TrainingError, match="expected PATH=VALUE"):
        load_config({"scenario": "tour"}, ["steps"])


@pytest.mark.parametrize(("given", "says"), [
    ({"step": 100}, r"^step: unknown key 'step'; did you mean 'steps'\?; accepted: scenario, algo, .*threads$"),
    ({"collection": {"fragmnt": 1}}, r"^collection.fragmnt: unknown key 'fragmnt'; did you mean 'fragment'\?; acc"),
    ({"trials": {"evry": 1}}, r"^trials.evry: unknown key 'evry'; did you mean 'every'\?; accepted: every, epis"),
    ({"lr": 3}, r"lr: is a hyperparameter of ppo; expected it as options.lr \(--hyper lr=VALUE\)"),
    ({"algo": "sac", "tau": 3}, r"tau: is a hyperparameter of sac"),
    ({"options": {"hidden": 64}}, r"^options.hidden: found 64; expected a list, for instance \[64, 64\]$"),
    ({"options": {"lagrangian": {"kpp": 1}}}, r"^options.lagrangian.kpp: unknown key 'kpp'; did you mean 'kp'\?")])
def test_a_mistyped_setting_is_told_what_was_meant(given: dict[str, Any], says: str) -> None:
    """Where it is unknown: what is near, what is accepted, where else it belongs."""
    with pytest.raises(TrainingError, match=says):
        load_config({"scenario": "tour", **given})


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """Missing, or no mapping."""
    with pytest.raises(TrainingError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TrainingError, match="expected a mapping"):
        load_config(tmp_path / "list.yaml")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_table_is_true(name: str) -> None:
    """Every algorithm is there, and its options have a meaning each."""
    options = options_of(name, {})
    assert isinstance(options, algorithm_class(name).Options)
    assert all(field.description for field in type(options).model_fields.values())


def test_every_setting_is_documented() -> None:
    """Descriptions, down to the parts."""
    for field in TrainConfig.model_fields.values():
        assert field.description


def test_settings_that_come_with_scenarios_are_settings() -> None:
    """Each file in scenarios/training is named <scenario>.<algo>.yaml after what there is, and every value fits."""
    home = Path(__file__).parents[3] / "scenarios"
    for file in sorted((home / "training").glob("*")):
        scenario, algo, ending = file.name.split(".")
        assert ending == "yaml"
        assert (home / f"{scenario}.yaml").is_file(), file
        config = load_config(file, scenario=scenario, algo=algo)
        assert config.bundle is None, f"{file}: begins with a bundle that others do not have"


@pytest.mark.parametrize("given", [{"cost_limits": {"volts": float("nan")}}, {"options": {"lr": float("inf")}},
                                   {"stop": {"target_return": float("nan")}},
                                   {"options": {"lagrangian": {"most": float("inf")}}}])
def test_what_no_bundle_could_say_is_refused(given: dict[str, Any]) -> None:
    """NaN and infinity: before hours of training, not at the end of them, when the bundle is written."""
    with pytest.raises(TrainingError, match="finite number"):
        load_config(scenario="tour", **given)


def test_another_seed_is_checked_as_the_first() -> None:
    """The rest stays, the flag that no file may say too."""
    first = load_config(scenario="tour", steps=77, allow_plugins=True)
    other = with_seed(first, 5)
    assert (other.seed, other.allow_plugins, other.model_copy(update={"seed": 1})) == (5, True, first)
    with pytest.raises(TrainingError, match=r"seed: .*less than 4294967296; found 5000000000"):
        with_seed(first, 5_000_000_000)
