"""What a training is: everything that decides its result, with its meaning, from YAML and ``--set``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosim.scenario.learning import Discount
from cosim.scenario.overrides import apply_overrides
from cosim.scenario.yaml_tree import Places, parse_yaml
from policies.training.algorithm import ALGORITHMS, Options, TrainingError, algorithm_class, entry, options_of, problems

#: Largest file of a configuration.
MAX_BYTES = 1 << 20


class Engine(Enum):
    """Where workers run."""

    PROCESS = "process"
    RAY = "ray"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Collection(_Part):
    """How decisions are collected.  Slots and fragment decide the result; workers, engine and timeout do not."""

    slots: int = Field(2, ge=1, le=4096, description="Environments side by side.")
    fragment: int | None = Field(None, ge=1, le=1_000_000, description=(
        "Decision instants per slot between updates (default: the algorithm's: 1024 for PPO, 64 for SAC, TD3, DQN)."))
    workers: int = Field(2, ge=0, le=256, description="Processes; 0 acts in the learner's own process.")
    pipeline: bool = Field(False, description=(
        "Collect the next fragment, with the weights before the update, while the learner updates."))
    engine: Engine = Field(Engine.PROCESS, description="`process`, or `ray` (needs ray; workers on a cluster).")
    timeout_s: float = Field(600.0, gt=0, description="A worker that is silent for longer is taken for lost.")


class Checkpoints(_Part):
    """What is kept of a training on its way."""

    every: int = Field(10, ge=1, description="Iterations between checkpoints.")
    keep: int = Field(2, ge=1, le=1000, description="Newest checkpoints that stay; the best stays besides.")


class Score(Enum):
    """What an episode is judged by."""

    DISCOUNTED = "discounted"
    SUM = "sum"


class TrialSettings(_Part):
    """The same few episodes played at the policy's best on the way: what the best policy is chosen by."""

    every: int = Field(0, ge=0, description="Iterations between trials; 0: judged by the last episodes of training.")
    episodes: int = Field(10, ge=1, le=1000, description="Episodes of a trial, drawn as those of training are.")
    overrides: tuple[str, ...] | None = Field(None, description=(
        "Changes to the scenario in trials (default: those of the training): [] judges by the task's own reward, where "
        "it learns from another one."))


class EarlyStop(_Part):
    """How policies are judged, and when a training ends before its steps are done.

    Means are over the last `window` episodes of training, or over the episodes of a trial where there are trials.
    """

    score: Score = Field(Score.DISCOUNTED, description=(
        "Return that the best policy is chosen by, mean over learners: `discounted` to the episode's beginning (what "
        "is learned), or the plain `sum`."))
    window: int = Field(20, ge=1, le=10_000, description="Episodes that a mean is taken over.")
    patience: int | None = Field(None, ge=1, description="Iterations (with trials: trials) without a better score.")
    target_return: float | None = Field(None, description="Score that is good enough.")


class TrainConfig(_Part):
    """One training.  The same configuration gives the same weights, bit for bit, on one machine type."""

    scenario: str = Field(description="Name or file of the scenario.")
    algo: str = Field("ppo", description=f"Algorithm: {', '.join(ALGORITHMS)}.")
    options: dict[str, Any] = Field(default_factory=dict, description="The algorithm's hyperparameters.")
    steps: int = Field(1_000_000, ge=1, description="Decision instants over all slots.")
    seed: int = Field(1, ge=0, lt=2**32, description="Decides weights, episodes and exploration.")
    agents: tuple[str, ...] | None = Field(None, description="Learners by pattern (default: learning.agents).")
    overrides: tuple[str, ...] = Field((), description="Changes to the scenario, as gridloop's --set.")
    discount: Discount | None = Field(None, description=(
        "Default: learning.discount, else 0.99 for every period of the fastest learner."))
    duration_s: float | None = Field(None, gt=0, description="Length of an episode (default: the scenario's).")
    cost_limits: dict[str, float] = Field(default_factory=dict, description=(
        "Limits of the scenario's costs, per second, by name: PPO learns to keep them. Below 0 only for a cost that "
        "can be: one with a negative weight, or of a point that can be."))
    collection: Collection = Field(default_factory=Collection, description="How decisions are collected.")
    checkpoints: Checkpoints = Field(default_factory=Checkpoints, description="What is kept on the way.")
    stop: EarlyStop = Field(default_factory=EarlyStop, description="When it ends early.")
    trials: TrialSettings = Field(default_factory=TrialSettings, description="What the best policy is chosen by.")
    bundle: str | None = Field(None, description="A bundle to go on from: its actors are the first ones.")
    device: str = Field("cpu", description="Where networks learn: cpu or cuda.")
    threads: int = Field(1, ge=1, le=64, description="Threads of the learner; part of the result (sums change order).")
    allow_plugins: bool = Field(False, exclude=True, description=(
        "Load the Python code that the scenario's `plugins` names: said by the caller, never by a file."))

    @property
    def fragment(self) -> int:
        """Decision instants per slot between updates."""
        return self.collection.fragment or entry(self.algo).fragment

    @property
    def iterations(self) -> int:
        """Updates in the whole training."""
        return max(1, -(-self.steps // (self.fragment * self.collection.slots)))

    def algorithm_options(self) -> Options:
        """Hyperparameters of the algorithm, checked."""
        try:
            return options_of(self.algo, self.options)
        except ValidationError as error:
            raise TrainingError(problems(error, "options.", algorithm_class(self.algo).Options)) from None


def load_config(data: Mapping[str, Any] | Path | None = None, overrides: Sequence[str] = (),
                **given: Any) -> TrainConfig:
    """A configuration from a YAML file or plain data, changed by ``path=value`` texts, completed by `given`.

    Raises TrainingError, naming every field that does not fit.
    """
    content = _read(data) if isinstance(data, Path) else deepcopy(dict(data or {}))
    if content.pop("allow_plugins", False):
        raise TrainingError(f"{data if isinstance(data, Path) else 'configuration'}: allow_plugins: a file may not say "
                            f"so; expected it on the command line (--allow-plugins)")
    content |= given
    wrong = apply_overrides(content, overrides, Places())
    if wrong:
        raise TrainingError("\n".join(map(str, wrong)))
    try:
        config = TrainConfig.model_validate(content)
    except ValidationError as error:
        raise TrainingError(problems(error, model=TrainConfig) + _misplaced(error, content)) from None
    config.algorithm_options()
    return config


def _misplaced(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Unknown settings that are hyperparameters of the algorithm: where they belong; '' where none is."""
    algo = content.get("algo", "ppo")
    known = algorithm_class(algo).Options.model_fields if algo in ALGORITHMS else {}
    unknown = [item["loc"][0] for item in error.errors() if item["type"] == "extra_forbidden" and len(item["loc"]) == 1]
    return "".join(f"\n{name}: is a hyperparameter of {algo}; expected it as options.{name} (--hyper {name}=VALUE)"
                   for name in unknown if name in known)


def with_seed(config: TrainConfig, seed: int) -> TrainConfig:
    """The same training of another seed, which is checked."""
    try:
        return TrainConfig.model_validate({**dict(config), "seed": seed})
    except ValidationError as error:
        raise TrainingError(problems(error)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TrainingError(f"{path}: larger than {MAX_BYTES} bytes; expected a training's configuration")
        tree = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read ({error})") from None
    if tree.problems or not isinstance(tree.data, dict):
        raise TrainingError("\n".join(map(str, tree.problems)) or f"{path}: expected a mapping")
    return tree.data
