"""Learning from decisions that somebody else took: a data set in, a bundle out.

`train_offline` learns a policy for every group of a recorded data set (`policies.demonstrations`) and never acts.
The algorithms themselves are those of the online loop: they may go on there from the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosim.scenario.learning import Discount
from policies.bundle import Bundle, GroupBundle
from policies.datasets import GAMMA, Dataset, load_all
from policies.description import Description
from policies.training.algorithm import GroupSetting, Options, TrainingError, problems
from policies.training.command import offline_command
from policies.training.offline.fitting import refuse_other_scenario

#: Algorithms that learn without acting; all take continuous and discrete actions.
OFFLINE: dict[str, str] = {
    "cql": "policies.training.offline.cql:Cql",
    "iql": "policies.training.offline.iql:Iql",
    "awac": "policies.training.offline.awac:Awac",
    "bc": "policies.training.offline.bc:Bc",
}

OnProgress = Callable[[str, int, Mapping[str, float]], None]
"""Told the group, the batches learned and the mean figures since last time."""


class OfflineConfig(BaseModel):
    """One training from a data set; the same configuration and data give the same weights."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    algo: str = Field("iql", description=f"Algorithm: {', '.join(OFFLINE)}.")
    options: dict[str, Any] = Field(default_factory=dict, description="The algorithm's hyperparameters.")
    batches: int = Field(10_000, ge=1, description="Batches that each group learns.")
    report_every: int = Field(500, ge=1, description="Batches between reports.")
    seed: int = Field(1, ge=0, lt=2**32, description="Decides weights and draws.")
    discount: Discount | None = Field(None, description="Default: the data set's, else 0.99 a decision period.")
    device: str = Field("cpu", description="Where networks learn: cpu or cuda.")
    threads: int = Field(1, ge=1, le=64, description="Threads of the learner; part of the result.")
    scenario: str | None = Field(None, description="Scenario to learn for: data sets of other agents are refused.")
    overrides: tuple[str, ...] = Field((), description="Changes to the scenario, as gridloop's --set.")
    allow_plugins: bool = Field(False, exclude=True, description=(
        "Load the Python code that the scenario's `plugins` names: said by the caller, never by a file."))

    def algorithm_class(self) -> Any:
        """The class, imported when asked for (they need torch)."""
        if self.algo not in OFFLINE:
            raise TrainingError(f"algo: found {self.algo!r:.40}; expected one of {', '.join(OFFLINE)}")
        module, _, name = OFFLINE[self.algo].partition(":")
        return getattr(import_module(module), name)

    def algorithm_options(self, rows: int) -> Options:
        """Hyperparameters, checked; the memory holds all rows."""
        try:
            options: Options = self.algorithm_class().Options.model_validate(
                {**self.options, "capacity": rows, "warmup": 0})
        except ValidationError as error:
            raise TrainingError(problems(error, "options.", self.algorithm_class().Options)) from None
        if getattr(options, "centralised", False):
            raise TrainingError("options.centralised: a data set holds each agent's own view alone; expected false")
        return options


@dataclass(frozen=True, slots=True)
class OfflineResult:
    """Where the bundle is, and the last figures by group."""

    bundle: Path
    figures: Mapping[str, Mapping[str, float]]


def train_offline(config: OfflineConfig, dataset_path: Path, out: Path,
                  on_progress: OnProgress | None = None) -> OfflineResult:
    """Learn from every data set at or below a folder; the bundle is written to `out`.

    Raises DatasetError for what is no data set, TrainingError for settings that do not fit, or for data sets of other
    agents than the configuration's scenario has.
    """
    from policies.training.device import check_device, learner_threads  # torch

    check_device(config.device)
    datasets = load_all(dataset_path)
    _check(datasets, dataset_path)
    if config.scenario is not None:
        refuse_other_scenario(config, datasets, dataset_path)
    groups, figures = {}, {}
    with learner_threads(config.threads):
        for data in datasets:
            groups[data.group], figures[data.group] = _learned(config, data, on_progress)
    about = datasets[0].about
    discount = _discount(config, datasets[0])
    command = offline_command(config, dataset_path)
    training = {"command": command, "algo": config.algo,
                "config": config.model_dump(mode="json"), "seed": config.seed, "batches": config.batches,
                "decisions": sum(data.steps for data in datasets), "recorded": about.get("recorded")}
    Bundle(groups, about.get("scenario") or {}, about.get("shield") or {}, discount.model_dump(), training).save(out)
    return OfflineResult(out, figures)


def _check(datasets: tuple[Dataset, ...], path: Path) -> None:
    names = [data.group for data in datasets]
    if len(set(names)) != len(names):
        raise TrainingError(f"{path}: found data sets of groups {', '.join(names)}; expected one a group: name a "
                            f"folder further down")


def _learned(config: OfflineConfig, data: Dataset,
             on_progress: OnProgress | None) -> tuple[GroupBundle, Mapping[str, float]]:
    rows = data.transitions()
    members = tuple(sorted({episode.agent for episode in data.episodes}))
    seed = int(np.random.SeedSequence([config.seed, crc32(data.group.encode())]).generate_state(1)[0])
    setting = GroupSetting(data.group, data.spec, members, data.cost_names, _discount(config, data), seed, 0, 0,
                           config.batches, device=config.device)
    algorithm = config.algorithm_class()(setting, config.algorithm_options(len(rows)))
    algorithm.remember(rows)
    figures: Mapping[str, float] = {}
    for done in range(0, config.batches, config.report_every):
        n = min(config.report_every, config.batches - done)
        algorithm.pace(done / config.batches)
        figures = algorithm.learn_many(n)
        if on_progress is not None:
            on_progress(data.group, done + n, figures)
    description = Description.of(algorithm.actor_description())
    return GroupBundle(data.spec, description, algorithm.actor_weights(), members=data.members), figures


def _discount(config: OfflineConfig, data: Dataset) -> Discount:
    recorded = data.about.get("discount")
    if config.discount is not None or not recorded:
        return config.discount or Discount(gamma=GAMMA, per_s=data.spec.period_s)
    return Discount.model_validate(recorded)  # which reading has checked
