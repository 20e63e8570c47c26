"""One environment that acts and writes down each agent's own decisions, episode after episode.

Theory of operation
-------------------
A slot has a number, and that number, the seed and the count of episodes and fragments decide all that happens in it:
workers own slots, but do not show in what comes out.  A fragment is a fixed number of decision instants.  A decision
becomes a row when its agent decides again, dies, or the episode ends; one that is still open at the end of a fragment
is kept and becomes a row of a later one, with the probability it was taken with.

A simulation cannot be copied, so a slot is saved as the actions of its present episode and brought back by acting
them out again (as `gridloop replay` does with a journal).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.training.algorithm import State, TrainingError
from policies.training.gae import worth
from policies.training.transitions import Array, Shape, Transitions, empty

#: Most bytes of actions of one episode that are kept for bringing it back.
MAX_JOURNAL_BYTES = 1 << 30


class Actor(Protocol):
    """What decides: `policies.numpy_actor.NumpyActor`."""

    def act(self, observations: Array, rng: np.random.Generator, *, masks: Array | None = None,
            hidden: Array | None = None) -> tuple[Array, Array, Array | None]:
        """Rows (n, width), their log-probabilities (n,) and the memory after (n, n_hidden) for observations (n, d)."""
        ...


class Rows:
    """Room for the rows of one slot and group: columns of fixed capacity, perhaps in shared memory, and a count."""

    def __init__(self, columns: Mapping[str, Array], n: NDArray[np.int64] | None = None) -> None:
        self.columns = dict(columns)
        self._n = np.zeros(1, np.int64) if n is None else n

    def __len__(self) -> int:
        return int(self._n[0])

    def clear(self) -> None:
        """No rows; the room stays."""
        self._n[0] = 0

    def append(self, rows: Mapping[str, Any], k: int) -> None:
        """k rows by column; the capacity (instants × members) cannot be exceeded: each closes once an instant."""
        n = int(self._n[0])
        for name, values in rows.items():
            self.columns[name][n:n + k] = values
        self._n[0] = n + k

    def taken(self) -> Transitions:
        """Copies of the rows: the room is free again."""
        return Transitions({name: column[:len(self)].copy() for name, column in self.columns.items()})


@dataclass(frozen=True, slots=True)
class Episode:
    """What became of one episode.

    `returns` (n_agent,) sums of rewards, `discounted` (n_agent,) to the episode's beginning by the training's discount,
    `costs` (n_agent, n_cost), `decisions` of all agents, `interventions` of the shield (-1: not known), `violating_s`
    the time with any limit violated, as `gridloop evaluate` counts it (-1: not known).
    """

    slot: int
    number: int
    returns: tuple[float, ...]
    discounted: tuple[float, ...]
    costs: tuple[tuple[float, ...], ...]
    length_s: float
    decisions: int
    truncated: bool
    interventions: int = -1
    violating_s: float = -1.0


@dataclass(slots=True)
class _Group:
    """The members of one group in this slot: their places, open decisions and memories; arrays are (member, …)."""

    members: NDArray[np.int64]
    places: NDArray[np.int64]
    shape: Shape
    is_open: NDArray[np.bool_]
    order: NDArray[np.int64]
    memory: Array
    open: dict[str, Array]


@dataclass(slots=True)
class _Sums:
    """The present episode so far."""

    returns: Array
    discounted: Array
    costs: Array
    decisions: int = 0
    begun_us: int = 0


#: Columns known when the decision is taken; the others when it ends.
_BEFORE = ("obs", "action", "logp", "mask", "joint", "joint_action", "hidden")


@dataclass(frozen=True, slots=True)
class SlotSetting:
    """A slot's number, the training's seed, and the shape of every group's rows."""

    slot: int
    seed: int
    shapes: Mapping[str, Shape] = field(default_factory=dict)


class Slot:
    """One environment (`cosim.env.event.EventEnv` or its like) and what it takes to act in it."""

    def __init__(self, env: Any, setting: SlotSetting) -> None:
        self.env, self.setting = env, setting
        self._widths = np.cumsum([0, *(spec.action.width for spec in env.specs)])
        self._groups = {name: self._grouped(env.groups[name], shape) for name, shape in setting.shapes.items()}
        self._masks: dict[int, Array] = {}
        self._journal: list[Array] = []
        self._begin(0)

    def _grouped(self, members: tuple[int, ...], shape: Shape) -> _Group:
        n = len(members)
        columns = empty(shape, n)
        places = np.stack([np.arange(self.env.encoder.slices[i].start, self.env.encoder.slices[i].stop)
                           for i in members])
        return _Group(np.array(members, np.int64), places, shape, np.zeros(n, bool), np.zeros(n, np.int64),
                      np.zeros((n, shape.n_hidden), np.float32),
                      {name: columns[name] for name in _BEFORE if name in columns})

    # -- episodes --------------------------------------------------------------------------------------------------

    def play(self, number: int, actors: Mapping[str, Actor]) -> Episode:
        """Episode `number` acted out from its beginning to its end, whatever was before; no rows."""
        self._begin(number)
        rng = np.random.default_rng([self.setting.seed, self.setting.slot, number, 2])
        while not self.decision.ended:
            self._step(self._decide(actors, rng))
        return self._ended()

    def _begin(self, number: int) -> None:
        """An episode, from its own seed."""
        self._episode = number
        self._journal = []
        self._reset()
        for group in self._groups.values():
            group.is_open[:] = False
            group.memory[:] = 0.0

    def _reset(self) -> None:
        sequence = np.random.SeedSequence([self.setting.seed, self.setting.slot, self._episode])
        # 53 bits: what JSON and YAML hold exactly.
        self.decision = self.env.reset(seed=int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(11)))
        self._in_force = np.full(int(self._widths[-1]), np.nan, np.float32)
        n = len(self.env.names)
        self._sums = _Sums(np.zeros(n), np.zeros(n), np.zeros((n, len(self.env.cost_names))),
                           begun_us=int(self.decision.t_us))
        self._masks.clear()
        self._outside_s = _outside_s(self.env)

    def _ended(self) -> Episode:
        sums, simulation = self._sums, getattr(self.env, "simulation", None)
        figures: dict[str, Any] = getattr(simulation, "shield_figures", dict)()
        outside_s = _outside_s(self.env)
        violating_s = -1.0 if outside_s is None or self._outside_s is None else outside_s - self._outside_s
        return Episode(self.setting.slot, self._episode, tuple(sums.returns.tolist()), tuple(sums.discounted.tolist()),
                       tuple(map(tuple, sums.costs.tolist())), (self.decision.t_us - sums.begun_us) / 1e6,
                       sums.decisions, bool(self.decision.truncated), int(figures.get("interventions", -1)),
                       violating_s)

    # -- fragments -------------------------------------------------------------------------------------------------

    def run(self, fragment: int, instants: int, actors: Mapping[str, Actor], out: Mapping[str, Rows]) -> list[Episode]:
        """Act for `instants` decision instants; rows go to `out`; the episodes that ended."""
        rng = np.random.default_rng([self.setting.seed, self.setting.slot, fragment, 1])
        for rows in out.values():
            rows.clear()
        episodes = []
        for _ in range(instants):
            self._step(self._decide(actors, rng))
            for name, group in self._groups.items():
                self._close(group, out[name])
            if self.decision.ended:
                episodes.append(self._ended())
                self._begin(self._episode + 1)
        return episodes

    def _step(self, rows: Mapping[int, Array]) -> None:
        self._journal.append(self._in_force.copy())
        if len(self._journal) * self._in_force.nbytes > MAX_JOURNAL_BYTES:
            raise TrainingError(f"slot {self.setting.slot}: an episode of {len(self._journal)} instants is too long to "
                                f"be brought back from a checkpoint; expected at most {MAX_JOURNAL_BYTES >> 20} MiB of "
                                f"actions; shorten it (duration_s, learning.episode.duration_s)")
        self.decision = self.env.step(rows)
        self._masks.clear()
        self._add(len(rows))

    def _add(self, n_action: int) -> None:
        """The newest rewards and costs to the episode's sums; a reward counts from when it was decided."""
        sums, decision, discount = self._sums, self.decision, self.env.discount
        sums.returns += decision.reward
        sums.costs += decision.cost
        sums.decisions += n_action
        sums.discounted += worth(discount, (decision.t_us - sums.begun_us) / 1e6 - decision.dt_s) * decision.reward

    def _decide(self, actors: Mapping[str, Actor], rng: np.random.Generator) -> dict[int, Array]:
        decision, rows, acted = self.decision, {}, []
        for name, group in self._groups.items():
            who = np.flatnonzero(decision.due[group.members])
            if not len(who):
                continue
            obs = decision.observation[group.places[who]]
            masks = self._mask(group, who) if group.shape.n_mask else None
            hidden = group.memory[who] if group.shape.n_hidden else None
            action, logp, after = actors[name].act(obs, rng, masks=masks, hidden=hidden)
            self._open(group, who, {"obs": obs, "action": action, "logp": logp, "mask": masks, "hidden": hidden,
                                    "joint": decision.observation})
            if after is not None and group.shape.n_hidden:
                group.memory[who] = after
            for row, i in zip(group.open["action"][who], group.members[who].tolist(), strict=True):
                rows[i] = row
                self._in_force[self._widths[i]:self._widths[i + 1]] = row
            acted.append((group, who))
        for group, who in acted:
            if "joint_action" in group.open:
                group.open["joint_action"][who] = np.nan_to_num(self._in_force)
        return rows

    @staticmethod
    def _open(group: _Group, who: NDArray[np.int64], columns: Mapping[str, Array | None]) -> None:
        for name, values in columns.items():
            if name in group.open and values is not None:
                group.open[name][who] = values
        group.is_open[who] = True

    def _mask(self, group: _Group, who: NDArray[np.int64]) -> Array:
        """(k, n_mask) bool: alternatives that are open now."""
        found = []
        for i in group.members[who].tolist():
            if i not in self._masks:
                parts = self.env.masks(i)
                self._masks[i] = np.ones(group.shape.n_mask, bool) if parts is None else np.concatenate(parts)
            found.append(self._masks[i])
        return np.stack(found)

    def _close(self, group: _Group, out: Rows) -> None:
        """Open decisions whose agents decide again, died or saw the end become rows."""
        decision, members = self.decision, group.members
        over = decision.terminated[members]
        who = np.flatnonzero(group.is_open & (decision.due[members] | over | decision.ended))
        if not len(who):
            return
        mine = members[who]
        rows: dict[str, Any] = {name: column[who] for name, column in group.open.items()}
        rows |= {"reward": decision.reward[mine], "cost": decision.cost[mine], "dt_s": decision.dt_s[mine],
                 "next_obs": decision.observation[group.places[who]], "terminated": over[who],
                 "truncated": bool(decision.ended) & ~over[who], "agent": mine, "slot": self.setting.slot,
                 "order": group.order[who]}
        if group.shape.n_mask:
            rows["next_mask"] = self._mask(group, who)
        if group.shape.n_joint:
            rows["next_joint"] = decision.observation
        if group.shape.n_hidden:
            rows["next_hidden"] = group.memory[who]
        out.append(rows, len(who))
        group.order[who] += 1
        group.is_open[who] = False

    # -- saving ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> State:
        """The episode's number and actions, open decisions and memories: enough to go on bit for bit."""
        width = int(self._widths[-1])
        journal = np.stack(self._journal) if self._journal else np.zeros((0, width), np.float32)
        state: State = {"episode": np.array([self._episode]), "journal": journal,
                        "seen": self.decision.observation.copy(), "t_us": np.array([self.decision.t_us])}
        for k, group in enumerate(self._groups.values()):
            state |= {f"{k}/is_open": group.is_open.copy(), f"{k}/order": group.order.copy(),
                      f"{k}/memory": group.memory.copy()}
            state |= {f"{k}/open/{name}": column.copy() for name, column in group.open.items()}
        return state

    def restore(self, state: Mapping[str, Array]) -> None:
        """Act a saved episode out again and stand where it was saved.

        TrainingError where it now runs differently, or where the saved state is none of this environment.
        """
        try:
            self._restore(state)
        except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
            raise TrainingError(f"slot {self.setting.slot}: the checkpoint's state of it is damaged, or of another "
                                f"scenario ({type(error).__name__}: {error!s:.200}); remove the checkpoint to go on "
                                f"from the one before") from error

    def _restore(self, state: Mapping[str, Array]) -> None:
        self._episode = int(state["episode"][0])
        self._journal = []
        self._reset()
        for row in state["journal"]:
            due = np.flatnonzero(self.decision.due).tolist()
            self._in_force = np.array(row)
            self._step({i: row[self._widths[i]:self._widths[i + 1]] for i in due})
            if self.decision.ended:
                break
        seen, t_us = self.decision.observation, int(state["t_us"][0])
        if self.decision.t_us != t_us or not np.array_equal(seen, state["seen"], equal_nan=True):
            raise TrainingError(f"slot {self.setting.slot}: episode {self._episode} does not run as it did when the "
                                f"checkpoint was written: the scenario, its data or a library has changed; expected "
                                f"the same, or a new training from the bundle")
        for k, group in enumerate(self._groups.values()):
            group.is_open[:], group.order[:] = state[f"{k}/is_open"], state[f"{k}/order"]
            group.memory[:] = state[f"{k}/memory"]
            for name, column in group.open.items():
                column[:] = state[f"{k}/open/{name}"]


def _outside_s(env: Any) -> float | None:
    """How long an environment's episode has had a limit violated; None where it has no grid."""
    simulation = getattr(env, "simulation", None)
    return None if simulation is None else float(simulation.outside_s()[1])
