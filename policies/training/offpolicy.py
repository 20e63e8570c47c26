"""What the off-policy algorithms share: memory, pace of updates, batches, exploration, and their whole state.

`OffPolicy.update` takes in a fragment of decisions, then learns from `updates_per_row` batches a decision.  Before
`warmup` decisions it only collects, exploring as widely as the actor can (`explore` 1).  Each transition is worth what
its own time says: the target is R + γ^(Δt / per_s) V(s'), V being 0 where the agent's life ended and never where only
the time was up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from policies.description import Description
from policies.networks import Actor, RunningNorm, Weights, set_weights, weights_of
from policies.training.algorithm import GroupSetting, Options, State, TrainingError
from policies.training.replay import Drawn, Priorities, Replay, fold
from policies.training.saving import arrays_of, below, parameters_of, put_arrays
from policies.training.transitions import Shape, Transitions, n_bytes

Figures = dict[str, Tensor]

#: Columns that are kept of a decision, where they are there.
_KEPT = ("obs", "action", "reward", "dt_s", "next_obs", "terminated", "mask", "next_mask")


class OffPolicyOptions(Options):
    """Hyperparameters of every off-policy algorithm."""

    hidden: tuple[int, ...] = Field((256, 256), min_length=1, max_length=16, description="Widths of all networks.")
    activation: str = Field("relu", description="Of the actor: relu or tanh.")
    normalise: bool = Field(False, description="Observations by their running mean and deviation.")
    lr: float = Field(3e-4, gt=0, description="Learning rate (Adam).")
    lr_schedule: Literal["constant", "linear"] = Field("constant", description="Linear: down to 0 at the last update.")
    batch: int = Field(256, ge=1, le=1_000_000, description="Rows a batch.")
    capacity: int = Field(200_000, ge=1, le=100_000_000, description="Rows remembered.")
    warmup: int = Field(1000, ge=0, description=(
        "Rows collected before anything is learned: at random by DQN, with noise of deviation 1 by TD3, DDPG and "
        "MADDPG, else as the first policy acts (untrained, or the one that it begins with)."))
    updates_per_row: float = Field(1.0, gt=0, le=64, description="Batches learned a row collected.")
    n_step: int = Field(1, ge=1, le=256, description="Own decisions a transition spans.")
    priority: float = Field(0.0, ge=0, le=1, description="Exponent of priorities; 0 draws uniformly.")
    priority_beta: float = Field(0.4, ge=0, le=1, description="How far importance weights undo the priorities' bias.")
    tau: float = Field(0.005, gt=0, le=1, description="Share by which targets follow in a batch.")
    reward_scale: float = Field(1.0, gt=0, description="Factor on rewards inside the learner.")
    centralised: bool = Field(False, description="Critics see what all learners see and do.")


class ActorCriticOptions(OffPolicyOptions):
    """Hyperparameters of actors that climb the slope of critics."""

    critic_activation: Literal["relu", "silu"] = Field("relu", description=(
        "Of the critics; silu is smooth, which finer actions are learned from."))
    actor_lr: float | None = Field(None, gt=0, description=(
        "Of the actor, and of SAC's temperature (default: lr); a slow one stays where the critics know their way."))


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows as tensors.

    `obs`, `next_obs` are for the actor, `state`, `next_state` for critics (normalised, with what others see and do);
    `worth` is γ^(Δt / per_s), 0 where the life ended; `weight` the importance weight; masks may be None.
    """

    obs: Tensor
    next_obs: Tensor
    state: Tensor
    next_state: Tensor
    action: Tensor
    reward: Tensor
    worth: Tensor
    weight: Tensor
    mask: Tensor | None
    next_mask: Tensor | None

    def target(self, value: Tensor) -> Tensor:
        """R + γ^(Δt / per_s) V(s') (B,) for values (B,) of the next states."""
        return self.reward + self.worth * value


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator seeded within, as it was after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class OffPolicy(ABC):
    """An algorithm that learns from a memory; below this only networks and losses differ.

    A subclass answers `describe`, makes what it needs in `build` (putting it into `modules` and `optimisers`, which are
    saved) and does one step on one batch in `learn`.
    """

    Options: ClassVar[type[Options]] = OffPolicyOptions
    on_policy: ClassVar[bool] = False

    def __init__(self, setting: GroupSetting, options: OffPolicyOptions) -> None:
        self.setting, self.options = setting, options
        self.device = torch.device(setting.device)
        self.description = self.describe(setting, options)
        self.needs = frozenset(("joint", "joint_action")) if options.centralised else frozenset[str]()
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.draws = torch.Generator(self.device).manual_seed(setting.seed)
        priorities = Priorities(options.priority, options.priority_beta) if options.priority else None
        self.replay = Replay(options.capacity, np.random.default_rng(setting.seed), priorities)
        with seeded(setting.seed):
            self.actor = Actor(self.description).to(self.device)
            self.modules: dict[str, nn.Module] = {"actor": self.actor}
            if options.normalise and options.centralised:
                self.modules["others"] = RunningNorm(self._n_joint).to(self.device)
            self.build()
        self._owed, self._done, self._rounds = 0.0, 0, 0
        self._set_exploration()

    # -- what a subclass says -------------------------------------------------------------------------------------

    @abstractmethod
    def describe(self, setting: GroupSetting, options: Any) -> Description:
        """The actor; TrainingError where the action is not one it can learn."""

    @abstractmethod
    def build(self) -> None:
        """Make critics, targets and optimisers."""

    @abstractmethod
    def learn(self, batch: Batch) -> tuple[Figures, Tensor]:
        """One step; figures to show, and an error (B,) for priorities."""

    def as_acted(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Action rows (n, width) as the environment carried them out."""
        return rows

    def exploration(self) -> float | None:
        """What ``explore`` is from now on; None where the actor has none."""
        return None

    # -- the algorithm to the loop --------------------------------------------------------------------------------

    def actor_description(self) -> dict[str, Any]:
        """The actor network, as `policies.description` has it."""
        return self.description.to_dict()

    def actor_weights(self) -> Weights:
        """The actor's arrays."""
        return weights_of(self.actor if self.device.type == "cpu" else deepcopy(self.actor).cpu())

    def adopt(self, weights: Weights) -> None:
        """Begin with these weights of an actor of the same description; NetworkError where they do not fit."""
        set_weights(self.actor, weights)
        for name in ("targets", "target_actor"):
            if isinstance(self.modules.get(name), Actor):
                self.modules[name].load_state_dict(self.actor.state_dict())
        self._set_exploration()

    def update(self, transitions: Transitions) -> dict[str, float]:
        """Remember a fragment and learn as many batches as it is worth; figures are means over these."""
        self.remember(transitions)
        self.pace(self._rounds / self.setting.updates)
        self._rounds += 1
        if self.replay.added < self.options.warmup:
            return {"replay": float(len(self.replay))}
        self._owed += len(transitions) * self.options.updates_per_row
        n = int(self._owed)
        self._owed -= n
        figures = self.learn_many(n)
        self._set_exploration()
        return figures | {"replay": float(len(self.replay))}

    def pace(self, done: float) -> None:
        """Learning rates where this share (0 to 1) of the training is done."""
        if self.options.lr_schedule == "linear":
            for optimiser in self.optimisers.values():
                for group in optimiser.param_groups:
                    group["lr"] = optimiser.defaults["lr"] * max(1.0 - done, 0.0)

    def remember(self, transitions: Transitions) -> None:
        """Put a fragment into the memory, folded to n-step transitions, and into the running statistics."""
        if not len(transitions):
            return
        columns = {**transitions.columns}
        if self.options.centralised:
            columns |= self._others(transitions)
        discount = self.setting.discount
        rows = fold(columns, self.options.n_step, discount.gamma, discount.per_s)
        rows["action"] = self.as_acted(rows["action"])
        names = (*_KEPT, "others", "next_others") if self.options.centralised else _KEPT
        self.replay.add({name: rows[name] for name in names if name in rows})
        if self.actor.norm is not None:
            self.actor.norm.update(torch.as_tensor(rows["obs"], device=self.device))
        if "others" in self.modules:
            norm = self.modules["others"]
            assert isinstance(norm, RunningNorm)
            norm.update(torch.as_tensor(transitions["joint"], device=self.device))

    def memory_bytes(self, rows: int, shape: Shape) -> int:
        """What the memory holds after this many rows of a shape: most of a checkpoint."""
        others = self._n_joint + self._n_acts + self.setting.n_agents if self.options.centralised else 0
        columns = {name: column for name, column in shape.columns().items() if name in _KEPT}
        return n_bytes(columns | {"others": ((2 * others,), "f4")}, min(rows, self.options.capacity))

    def learn_many(self, n: int) -> dict[str, float]:
        """n steps; means of their figures over the steps that gave them.  TrainingError when one is not finite."""
        sums: dict[str, Tensor] = {}
        times: dict[str, int] = {}
        for _ in range(n):
            drawn = self.replay.draw(self.options.batch)
            figures, error = self.learn(self.batch(drawn))
            self._done += 1
            if self.options.priority:
                self.replay.prioritise(drawn.index, error.detach().cpu().numpy())
            for name, value in figures.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
                times[name] = times.get(name, 0) + 1
        means = {name: float(value) / times[name] for name, value in sums.items()}
        wrong = sorted(name for name, value in means.items() if not np.isfinite(value))
        if wrong:
            raise TrainingError(f"group {self.setting.name}: after {self._done} batches {', '.join(wrong)} is not "
                                f"finite; expected finite losses; try a smaller lr, reward_scale or discount")
        return means

    @property
    def done(self) -> int:
        """Batches learned so far."""
        return self._done

    # -- batches --------------------------------------------------------------------------------------------------

    def batch(self, drawn: Drawn) -> Batch:
        """Rows drawn from the memory as tensors."""
        columns, discount = drawn.columns, self.setting.discount
        worth = discount.gamma ** (columns["dt_s"] / discount.per_s) * ~columns["terminated"]
        plain = [name for name in columns if name not in ("dt_s", "terminated", "reward")]
        tensors = {name: self._tensor(columns[name]) for name in plain}
        reward = (columns["reward"] * self.options.reward_scale).astype(np.float32)
        return Batch(tensors["obs"], tensors["next_obs"], self._state(tensors, ""), self._state(tensors, "next_"),
                     tensors["action"], self._tensor(reward), self._tensor(worth.astype(np.float32)),
                     self._tensor(drawn.weight), tensors.get("mask"), tensors.get("next_mask"))

    def _tensor(self, array: np.ndarray[Any, Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _state(self, tensors: dict[str, Tensor], when: str) -> Tensor:
        """What critics see (B, n_state)."""
        own = tensors[f"{when}obs"]
        if self.actor.norm is not None:
            own = self.actor.norm(own)
        if not self.options.centralised:
            return own
        others = tensors[f"{when}others"]
        if "others" in self.modules:
            seen, acts = others[:, :self._n_joint], others[:, self._n_joint:]
            others = torch.cat([self.modules["others"](seen), acts], -1)
        return torch.cat([own, others], -1)

    @property
    def n_state(self) -> int:
        """Numbers that critics see beside the action: the own observation, and of all learners if centralised."""
        own = self.description.n_in
        return own + (self._n_joint + self._n_acts + self.setting.n_agents if self.options.centralised else 0)

    @property
    def _n_joint(self) -> int:
        return self.setting.n_joint

    @property
    def _n_acts(self) -> int:
        return self.setting.n_joint_action

    def _others(self, transitions: Transitions) -> dict[str, np.ndarray[Any, Any]]:
        """What a centralised critic sees beside the own observation and action, at each decision and the next.

        The joint observation, all rows in force (the own one 0: the critic gets the action itself), and which member of
        the group decides.  At the next decision the others' rows are those in force after it where it is among these
        rows, else those in force now.
        """
        follows = transitions.follows()
        acts = transitions["joint_action"].astype(np.float32)
        width = self.setting.spec.action.width
        for agent in self.setting.members:
            first, mine = self._first_column(agent, width), transitions["agent"] == agent
            if not np.array_equal(acts[mine, first:first + width], np.nan_to_num(transitions["action"][mine])):
                raise TrainingError(f"group {self.setting.name}: found other numbers than agent {agent}'s action at "
                                    f"columns {first} to {first + width - 1} of all learners' actions; expected to be "
                                    f"told where it is (joint_action_at)")
            acts[mine, first:first + width] = 0.0
        next_acts = np.where((follows >= 0)[:, None], acts[follows], acts)
        who = (transitions["agent"][:, None] == np.array(self.setting.members)).astype(np.float32)
        return {"others": np.concatenate([transitions["joint"], acts, who], 1),
                "next_others": np.concatenate([transitions["next_joint"], next_acts, who], 1)}

    def _first_column(self, agent: int, width: int) -> int:
        """Where the row of a learner begins among all rows: as told, else as if all were equally wide."""
        return self.setting.joint_action_at.get(agent, agent * width)

    # -- state ----------------------------------------------------------------------------------------------------

    def _set_exploration(self) -> None:
        value = 1.0 if self.replay.added < self.options.warmup else self.exploration()
        if value is not None and self.description.explores:
            self.actor.get_buffer("explore").fill_(value)

    def adam(self, *parameters: nn.Parameter | Iterator[nn.Parameter], lr: float | None = None) -> torch.optim.Adam:
        """Adam over parameters or iterators of them, in one call of one kernel; `lr` if not the options'."""
        each = [p for group in parameters for p in ([group] if isinstance(group, nn.Parameter) else group)]
        return torch.optim.Adam(each, lr or self.options.lr, fused=True)

    def state_dict(self) -> State:
        """Everything as arrays, by name: networks, optimisers, generators, memory, counters."""
        state: State = {f"replay/{name}": array for name, array in self.replay.state().items()}
        state |= arrays_of(self.modules, self.optimisers)
        state["draws"] = self.draws.get_state().numpy().copy()
        state["owed"], state["done"] = np.array([self._owed]), np.array([self._done], np.int64)
        state["rounds"] = np.array([self._rounds], np.int64)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave; KeyError or RuntimeError where it belongs to another setting."""
        put_arrays(self.modules, self.optimisers, state)
        self.replay.load_state(below(state, "replay/"))
        self.draws.set_state(torch.from_numpy(np.array(state["draws"])))
        self._owed, self._done = float(state["owed"][0]), int(state["done"][0])
        self._rounds = int(state["rounds"][0])


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimiser's own parameters down a loss: nothing else gets a gradient."""
    parameters = parameters_of(optimiser)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()
