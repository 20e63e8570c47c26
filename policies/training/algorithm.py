"""What a learning algorithm is to the training loop, and the table of those that there are.

One object learns for one group of agents.  The loop collects that group's decisions with `actor_weights`, hands them
to `update`, and saves `state_dict`: nothing else is shared, so an algorithm is one readable file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from cosim.encoding import LearnerSpec
from cosim.errors import GridloopError
from cosim.scenario.learning import Discount
from cosim.scenario.problems import fields_at, near, shown, unknown_key
from policies.training.transitions import Transitions

#: Arrays by name: weights, and everything else that an algorithm needs to go on bit for bit.
State = dict[str, NDArray[Any]]


class TrainingError(GridloopError):
    """A training that cannot be set up, continued or trusted (a lost worker, a loss that is not a number)."""


class OtherTrainingError(TrainingError):
    """A training that cannot be gone on with as it is asked for: it would be another one.  Nothing was done."""


def problems(error: ValidationError, prefix: str = "", model: type[BaseModel] | None = None) -> str:
    """What does not fit, a line a field: its path, what is wrong, what was found.

    With the `model` that refused it, what is accepted too: of a key that nobody knows, and of a list's place.
    """
    return "\n".join(f"{prefix}{'.'.join(map(str, item['loc']))}: {_said(item, model)}" for item in error.errors())


def _said(item: Any, model: type[BaseModel] | None) -> str:
    usual = f"{item['msg']}; found {item['input']!r:.60}"
    if model is None or not item["loc"]:
        return usual
    *above, name = map(str, item["loc"])
    fields = fields_at(model, tuple(above))
    if item["type"] == "extra_forbidden":
        return unknown_key(name, [known for known, field in fields.items() if not field.exclude])
    default = fields[name].default if name in fields else None
    if item["type"] == "tuple_type" and isinstance(default, tuple) and default:
        return f"found {shown(item['input'])}; expected a list, for instance {list(default)}"
    return usual


class Options(BaseModel):
    """Hyperparameters of an algorithm; each algorithm has its own below this.  NaN and infinity are none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class GroupSetting:
    """What an algorithm is told about its group.

    `spec` is that of any member; `n_agents` members; `n_joint` numbers of the joint observation (0 unless the algorithm
    `needs` it); `n_joint_action` numbers of all learners' rows; `members` are the group's learners by index;
    `updates` is how often `update` will be called in the whole training (for schedules); `joint_action_at` the first
    column of each learner's row among all learners' rows, by index ({}: as if all were equally wide).
    """

    name: str
    spec: LearnerSpec
    members: tuple[int, ...]
    cost_names: tuple[str, ...]
    discount: Discount
    seed: int
    n_joint: int
    n_joint_action: int
    updates: int
    cost_limits: Mapping[str, float] = field(default_factory=dict)
    device: str = "cpu"
    joint_action_at: Mapping[int, int] = field(default_factory=dict)

    @property
    def n_agents(self) -> int:
        """Members of the group."""
        return len(self.members)


class Algorithm(Protocol):
    """Learns one group's policy.  Made as ``Class(setting, options)`` with `options` of the class's `Options`.

    `needs`: of ``joint`` (the joint observation at each decision, and at the next), ``joint_action`` (all learners'
    rows in force after each decision), ``hidden`` (the actor's memory at each decision); the rest is always there.
    """

    Options: ClassVar[type[Options]]
    on_policy: ClassVar[bool]
    needs: frozenset[str]

    def actor_description(self) -> dict[str, Any]:
        """The actor network, as `policies.description` has it."""
        ...

    def actor_weights(self) -> dict[str, NDArray[np.float32]]:
        """The actor's arrays: what workers act with until the next update.  Same names and shapes at all times."""
        ...

    def adopt(self, weights: dict[str, NDArray[np.float32]]) -> None:
        """Begin with these weights of an actor of the same description; NetworkError where they do not fit."""
        ...

    def update(self, transitions: Transitions) -> dict[str, float]:
        """Learn from one fragment of decisions; figures for the record (losses, entropy, …)."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """Everything (networks, optimisers, generators, memory) as arrays: enough to go on bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """An algorithm: where its class is, options that differ from the class's own, and its usual way of collecting."""

    target: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fragment: int = 1024
    """Decision instants per slot between updates."""


ALGORITHMS: dict[str, Entry] = {
    "ppo": Entry("policies.training.ppo:Ppo"),
    "ippo": Entry("policies.training.ppo:Ppo"),
    "mappo": Entry("policies.training.ppo:Ppo", {"centralised": True}),
    "sac": Entry("policies.training.sac:Sac", fragment=64),
    "td3": Entry("policies.training.td3:Td3", fragment=64),
    "ddpg": Entry("policies.training.td3:Td3", {"twin": False}, fragment=64),
    "maddpg": Entry("policies.training.td3:Td3", {"centralised": True}, fragment=64),
    "dqn": Entry("policies.training.dqn:Dqn", fragment=64),
    "cql": Entry("policies.training.offline.cql:Cql", fragment=64),
    "iql": Entry("policies.training.offline.iql:Iql", fragment=64),
    "awac": Entry("policies.training.offline.awac:Awac", fragment=64),
}


def entry(name: str) -> Entry:
    """The algorithm of that name; TrainingError names the known ones."""
    found = ALGORITHMS.get(name)
    if found is None:
        raise TrainingError(f"algo: found {name!r:.40}{near(name, ALGORITHMS)}; expected one of "
                            f"{', '.join(ALGORITHMS)}, or bc (with --dataset)")
    return found


def algorithm_class(name: str) -> Any:
    """The class of an algorithm, imported when asked for (they need torch)."""
    module, _, attribute = entry(name).target.partition(":")
    return getattr(import_module(module), attribute)


def options_of(name: str, given: Mapping[str, Any]) -> Options:
    """Its hyperparameters: defaults, the table's, then what is given; pydantic's error where that does not fit."""
    options: Options = algorithm_class(name).Options.model_validate({**entry(name).options, **given})
    return options
