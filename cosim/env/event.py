"""The one core of every environment: runs to the next decision, takes actions, accounts for what came of them.

Theory of operation
-------------------
`reset` builds a simulation anew (network and profiles are kept) and runs to the first instant at which a learner is
due.  There the simulation stands between DRIVE and SOLVE: learners see what was last published, or what last reached
them over their channels.  `commit` hands over the actions of those that are due; `advance` runs to the next decision.
What a learner does not decide stays as it was.

The reward of a decision at t_k is the integral of the learner's terms over [t_k, t_k+1), and comes with its own next
decision or with the end.  Learners that are not due get 0.  Nothing here decides for anybody, and nothing is rounded to
steps: decisions happen when the scenario says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.encoding import ActionCodec, Encoder, LearnerSpec, Senses
from cosim.encoding.batch import ActionBatch
from cosim.encoding.features import Encoded
from cosim.env.decision import NOT_BEGUN, Decision, EnvOptions, EnvStats
from cosim.env.endings import Endings
from cosim.env.episodes import Episodes
from cosim.env.metering import Metering, build_metering
from cosim.env.who import (
    learners_of,
    named_learners,
    patterns_of,
    require_alike,
    require_same_actions,
    require_same_names,
    scenario_of,
)
from cosim.errors import GridloopError
from cosim.points import Vector
from cosim.recorder import SilentRecorder
from cosim.scenario.loader import LoadedScenario
from cosim.simulation import BuildOptions, Simulation, build
from cosim.simulation.kept import Kept
from cosim.simulation.session import Ending, RunOptions, RunSummary, close_run, open_run
from cosim.stopwatch import StillStopwatch

__all__ = ["Decision", "EnvOptions", "EnvStats", "EventEnv"]


@dataclass(slots=True)
class _Now:
    """Where the episode stands."""

    decided_us: NDArray[np.int64]
    acted: NDArray[np.bool_]
    over: NDArray[np.bool_]
    all_acted: bool = False
    due: tuple[int, ...] = ()
    raw: Vector = field(default_factory=lambda: np.zeros(0))
    ended: bool = True
    held_before: int = 0
    weighted: Vector = field(default_factory=lambda: np.zeros(0))


class EventEnv:
    """A scenario that learners act in, decision by decision.

    `scenario` is a name, a file or a loaded scenario; `agents` are patterns in place of ``learning.agents``; `kept` is
    what environments of one process share: networks and profiles, read once.  Raises ScenarioError (with every problem
    found) or PluginError for one that is no environment: without learners, with an action that nothing bounds, with a
    term that does not fit.
    """

    def __init__(self, scenario: str | Path | LoadedScenario, agents: Sequence[str] | None = None,
                 overrides: Sequence[str] = (), options: EnvOptions | None = None, kept: Kept | None = None) -> None:
        self.loaded = scenario_of(scenario, overrides)
        self.options = options or EnvOptions()
        self.discount = self.options.discount or self.loaded.scenario.learning.discount
        self.stats = EnvStats()
        self.last: Decision
        """The newest decision."""
        self._out: Path | None = None
        self._kept = Kept() if kept is None else kept
        self.patterns = patterns_of(agents)
        self.names: tuple[str, ...] = ()
        """Learners, in the scenario's order."""
        self._episodes = Episodes(self.loaded, records=self.options.record is not None,
                                  duration_s=self.options.duration_s, offset_s=self.options.offset_s)
        self._now = _Now(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool))
        # Looked at once and thrown away; policies of learners, which training may be about to make, are left out.
        self.names = named_learners(self.loaded, self._kept, self.patterns)
        self._learn(self._built(self._episodes.latest(), None))

    def _learn(self, simulation: Simulation) -> None:
        """Find out who learns what, from a simulation that is thrown away."""
        specs = learners_of(self.loaded, simulation.crew.specs, self.patterns)
        self.names = tuple(spec.name for spec in specs)
        self.agents = tuple(specs)
        self.take_rows_of([simulation.crew.learner(name) for name in self.names])
        self.encoder = Encoder(self.specs)
        self.groups: dict[str, tuple[int, ...]] = {}
        for i, spec in enumerate(self.specs):
            self.groups[spec.group] = (*self.groups.get(spec.group, ()), i)
        metering = build_metering(simulation, specs, self.loaded.registry, self.discount)
        self.cost_names, self.term_names = metering.cost_names, metering.names
        self.term_agents = metering.shares.agent
        """Whose each of `term_names` is (n_share,): an index of `names`."""
        self.term_costs = metering.cost_of >= 0
        """Whether each of `term_names` is a cost (n_share,)."""
        Endings(simulation, self.loaded.scenario.learning, specs)
        for name in self.names:
            simulation.crew.open_choices(name)
        self._index = {name: i for i, name in enumerate(self.names)}
        self._sizes = np.cumsum([0, *(len(spec.action.setpoints) for spec in self.specs)])

    def take_rows_of(self, specs: Sequence[LearnerSpec]) -> None:
        """Read action rows as these specifications write them, say normalised whatever the scenario's own units are."""
        self.specs: tuple[LearnerSpec, ...] = tuple(specs)
        self.codecs = tuple(ActionCodec(spec.action) for spec in self.specs)
        self._actions = ActionBatch(self.codecs)

    # -- episodes --------------------------------------------------------------------------------------------------

    def reset(self, seed: int | None = None) -> Decision:
        """Begin an episode and run to its first decision.  Without a seed the next episode of the last one.

        Raises as the scenario's build does, and GridloopError for a seed that is none, a folder that holds a result,
        and an episode whose draws (``learning.episode.vary``) make other learners; there is no episode then.
        """
        self.close()
        if seed is not None:
            self._episodes.seed_with(seed)
        episode, out = self._episodes.next(), self._folder()
        simulation = self._built(episode, out)
        # Only now: what could not be built is nothing that `close` could finish.
        self.episode, self.simulation, self._out = episode, simulation, out
        self.stats.episodes += 1
        self._attach()
        return self.advance()

    def _built(self, loaded: LoadedScenario, out: Path | None) -> Simulation:
        external = self.names
        if out is not None:
            return open_run(loaded, out, RunOptions(external=external, kept=self._kept))
        return build(loaded, BuildOptions(external, recorder=lambda points, _: SilentRecorder(points),
                                          stopwatch=StillStopwatch(), kept=self._kept))

    def _folder(self) -> Path | None:
        if self.options.record is None:
            return None
        return self.options.record / f"episode-{self.stats.episodes:06d}"

    def _attach(self) -> None:
        """Meters, endings and senses of a new simulation."""
        simulation, n = self.simulation, len(self.names)
        learners, learning = self.agents, self.episode.scenario.learning
        varies = bool(learning.episode.vary)
        if varies:
            learners = tuple(learners_of(self.episode, simulation.crew.specs, self.patterns))
            require_alike(self.agents, learners, self.loaded.scenario.learning, learning)
            require_same_actions(self.specs, [simulation.crew.learner(name) for name in self.names])
        self._metering: Metering = build_metering(simulation, learners, self.loaded.registry, self.discount)
        if varies:
            require_same_names((self.cost_names, self.term_names), (self._metering.cost_names, self._metering.names))
        self._endings = Endings(simulation, learning, learners)
        self._reward_clip, self._end_reward = learning.reward_clip, learning.end_reward
        crew = [simulation.crew.agents[name] for name in self.names]
        board, places = simulation.crew.board, list(simulation.crew.agents)
        self._crew = crew
        self._places = np.array([places.index(name) for name in self.names], np.int64)
        self._board = board
        self._zero_age = np.zeros(n)
        self._everyone = np.ones(n, bool)
        self._everyone.flags.writeable = False
        self._sees_clock = any(extra.startswith("clock.") for spec in self.specs for extra in spec.extras)
        self._all_direct = bool(board.direct[self._places].all())
        self._seen = np.concatenate([agent.observed for agent in crew]).astype(np.int64)
        if self._all_direct:
            simulation.points.require(self._seen)
        self._shown = np.zeros(int(self._sizes[-1])) if self.encoder.wants("last_action") else None
        self._open = [simulation.crew.open_choices(name) for name in self.names]
        self._closing = {i: is_open for i, is_open in enumerate(self._open) if is_open is not None}
        self.encoder.forget()
        self._now = _Now(np.zeros(n, np.int64), np.zeros(n, bool), np.zeros(n, bool), ended=False,
                         held_before=self.stats.held_nan)

    def close(self) -> RunSummary | None:
        """End the episode; its record, if there is one, is finished."""
        self._now.ended = True
        if self._out is None:
            return None
        out, self._out = self._out, None
        held = self.stats.held_nan - self._now.held_before
        figures = {"held_numbers": held} if held else {}
        return close_run(self.episode, self.simulation, out, Ending("done", "", 0.0, figures))

    # -- steps -----------------------------------------------------------------------------------------------------

    def step(self, rows: Mapping[int | str, Any]) -> Decision:
        """`commit`, then `advance`."""
        self.commit(rows)
        return self.advance()

    def commit(self, rows: Mapping[int | str, Any]) -> None:
        """Actions (width,) as stored rows, by name or index; those of learners that are not due are left out.

        NaN leaves a setpoint as it was, and so do an index that does not exist and a choice that is closed; all are
        counted.  Raises GridloopError for an unknown learner or a row of another length.
        """
        self._require_episode()
        due = self.last.due.tolist() if self._now.due else [False] * len(self.names)
        try:
            given = self._given(rows, due)
            if self._closing:
                self._leave_closed(given)
            # In the learners' order, whatever the caller's: it is the journal's, and that of draws on channels.
            setpoints = self._actions.decode(dict(sorted(given.items())))
        except (AttributeError, TypeError, ValueError) as error:
            raise GridloopError(f"actions: found {rows!r:.80}; expected a mapping of learners' names or indices to "
                                f"numbers ({error})") from None
        for i, decoded in setpoints.items():
            if not isfinite(decoded.dot(decoded)):
                self.stats.held_nan += self.codecs[i].held(np.asarray(given[i], float))
        self._send(setpoints)

    def _given(self, rows: Mapping[int | str, Any], due: Sequence[bool]) -> dict[int, Vector]:
        """Rows (width,) of those that are due."""
        given: dict[int, Vector] = {}
        for key, row in rows.items():
            i = self._index_of(key)
            if due[i]:
                values = row if row.__class__ is np.ndarray and row.ndim == 1 else np.asarray(row, float).reshape(-1)
                if len(values) != self._actions.widths[i]:
                    raise GridloopError(f"action of agent '{self.names[i]}': {len(values)} numbers; expected "
                                        f"{self._actions.widths[i]}")
                given[i] = values
        return given

    def _leave_closed(self, given: dict[int, Vector]) -> None:
        """No index in place of a choice that may not be taken now."""
        for i, is_open in self._closing.items():
            if i in given and self.codecs[i].chooses(given[i], ~is_open()):
                given[i] = np.full(1, np.nan)

    def commit_setpoints(self, setpoints: Mapping[int, Vector]) -> None:
        """Actions as setpoints (n_setpoint,) in engineering units, by index of a learner that is due.

        They are what another policy says: no choice that is closed is looked for in them.
        """
        self._require_episode()
        for i, values in setpoints.items():
            if not self.specs[i].action.choices:
                self.stats.held_nan += int(np.isnan(values).sum())
        self._send(dict(sorted(setpoints.items())))

    def _require_episode(self) -> None:
        if self._now.ended:
            raise GridloopError("the episode has ended; call reset()" if self.stats.episodes else NOT_BEGUN)

    def _send(self, setpoints: Mapping[int, Vector]) -> None:
        """Actions in the learners' order."""
        now = self._now
        for i, values in setpoints.items():
            if self._shown is not None:
                self._shown[self._sizes[i]:self._sizes[i + 1]] = self.codecs[i].shown(values)
        self.stats.actions += len(setpoints)
        self.simulation.commit({self.names[i]: values for i, values in setpoints.items()})
        if not now.due:  # nobody's instant, or it is decided already
            return
        decided = self.last.due
        self.encoder.remember(now.raw, decided)
        if not now.all_acted:
            now.acted |= decided
            now.all_acted = bool(now.acted.all())
        now.decided_us[decided] = self.simulation.now_us
        now.due = ()

    @property
    def due(self) -> tuple[int, ...]:
        """Learners that may decide now."""
        return self._now.due

    def scripted(self) -> dict[int, Vector]:
        """What the scenario's own policies would do now: setpoints (n_setpoint,) of learners that are due.

        A policy that has nothing to say leaves its learner out.
        """
        found = {}
        for i in self._now.due:
            agent = self._crew[i]
            answer = agent.policy.act(agent.look(), self.simulation.now_us)
            if answer is not None:
                found[i] = np.asarray(answer, float)
        return found

    def advance(self) -> Decision:
        """Run to the next decision, or to the end."""
        self._require_episode()
        simulation, end_us, now, index = self.simulation, self.simulation.end_us, self._now, self._index
        while True:
            due = simulation.advance_to_decision(end_us)
            truncated = simulation.now_us >= end_us
            while truncated and simulation.advance_to_decision(end_us):
                pass  # the instant is carried out; nobody decides in it any more
            over = self._endings.over()
            now.due = () if truncated else tuple(i for name in due if not over[i := index[name]])
            if now.due or truncated or not np.array_equal(over, now.over):  # else only some that are over would be due
                return self._decision(over, truncated)

    def _decision(self, over: NDArray[np.bool_], truncated: bool) -> Decision:
        now, t_us, n = self._now, self.simulation.now_us, len(self.names)
        due = self._everyone
        if len(now.due) < n:
            due = np.zeros(n, bool)
            due[list(now.due)] = True
        early = self._endings.early
        ends = truncated or (early and bool(over.all()))
        told = due | ((over | ends) & ~now.over) if ends or early else due
        reward, cost = self._read_meter(told, t_us)
        if early:
            reward[over & ~now.over] += self._end_reward
        dt_s = (t_us - now.decided_us) / 1e6
        age_s = self._zero_age if self._all_direct else self._board.age_s(t_us)[self._places]
        observation = self._encoded(due, dt_s, age_s)
        now.over, now.ended = over, ends
        self.stats.decisions += 1
        self.last = Decision(t_us, due, observation, reward, cost, dt_s, age_s, over, truncated, ends)
        return self.last

    def _read_meter(self, told: NDArray[np.bool_], t_us: int) -> tuple[Vector, Vector]:
        """Rewards (n,) and costs (n, n_cost) of those that are told of them; 0 before somebody's first decision."""
        now = self._now
        now.weighted = self._metering.capped(self._metering.meter.take(told.nonzero()[0], t_us))
        whole = now.all_acted and told is self._everyone
        if not whole:
            counted = told & now.acted
            now.weighted = np.where(counted[self.term_agents], now.weighted, 0.0)
        reward, cost = self._metering.split(now.weighted, len(told))
        if self._reward_clip is not None:
            reward = np.clip(reward, *self._reward_clip)
            if not whole:
                reward = np.where(counted, reward, 0.0)
        return reward, cost

    def _encoded(self, due: NDArray[np.bool_], dt_s: Vector, age_s: Vector) -> Encoded:
        now = self._now
        if self._all_direct:
            now.raw = self.simulation.points.take(self._seen)
        else:
            now.raw = np.concatenate([agent.look() for agent in self._crew])
        quality = None
        if self.encoder.wants("quality"):
            quality = np.concatenate([agent.look_quality() for agent in self._crew])
        clock_us = self.simulation.site.clock_us(self.simulation.now_us) if self._sees_clock else 0
        return self.encoder.encode(now.raw, Senses(age_s, due, dt_s, quality, self._shown, clock_us))

    def _index_of(self, key: int | str) -> int:
        if isinstance(key, str):
            found = self._index.get(key)
            if found is None:
                raise GridloopError(f"unknown agent '{key}'; learners are: {', '.join(self.names)}")
            return found
        if not 0 <= key < len(self.names):
            raise GridloopError(f"unknown agent {key}; learners are 0 to {len(self.names) - 1}: "
                                f"{', '.join(self.names)}")
        return key

    # -- what more there is to know --------------------------------------------------------------------------------

    def breakdown(self, index: int) -> dict[str, float]:
        """Weighted terms of a learner's last reading by name (equal names are added up); costs are among them, as
        ``cost.<name>`` where a term of the reward is called the same."""
        found: dict[str, float] = {}
        shares = np.flatnonzero(self.term_agents == index).tolist()
        rewards = [self.term_names[share] for share in shares if not self.term_costs[share]]
        for share in shares:
            name = self.term_names[share]
            if self.term_costs[share] and name in rewards:
                name = f"cost.{name}"
            found[name] = found.get(name, 0.0) + float(self._now.weighted[share])
        return found

    @property
    def weighted(self) -> Vector:
        """Weighted terms of the last reading (n_share,), in the order of `term_names`; 0 for those not told of it."""
        return self._now.weighted

    def masks(self, index: int) -> list[NDArray[np.bool_]] | None:
        """Open alternatives of each discrete part of a learner's action; None where there is none."""
        spec = self.specs[index].action
        if not spec.counts:
            return None
        if not spec.choices:
            return [np.ones(n, bool) for n in spec.counts]
        is_open = self._open[index]
        return [np.ones(len(spec.choices), bool) if is_open is None else is_open()]
