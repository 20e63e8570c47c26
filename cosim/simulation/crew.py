"""Building the agents of a run: what each sees, how its actions travel, and what wakes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.agents import Agent, AgentBoard, FieldEnd, LatePolicy, Reporter, TelemetryHub
from cosim.agents.agent import Narrow, Wiring
from cosim.agents.telemetry import size_bytes
from cosim.channel import Channel, Corrupted
from cosim.commands import Authority, CommandInbox
from cosim.encoding import LearnerSpec
from cosim.errors import GridloopError, PluginError, Problem
from cosim.kernel import Kernel
from cosim.plugins import Message, Policy, Registry
from cosim.points import Ids, PointDatabase, match
from cosim.scenario.schema import Agent as AgentSpec
from cosim.scenario.schema import TelemetryKind, Trigger
from cosim.simulation.choices import OpenChoices
from cosim.simulation.learners import Bases, learner_spec
from cosim.simulation.site import RunSite
from cosim.simulation.situation import AgentSituation
from cosim.stopwatch import Section, TimeBudget


@dataclass(frozen=True, slots=True)
class Stagehands:
    """Everything agents are built from."""

    kernel: Kernel
    points: PointDatabase
    inbox: CommandInbox
    channels: Mapping[str, Channel]
    site: RunSite
    registry: Registry
    step_us: int
    base_kw: float
    event: Callable[[str, str, str], None]
    budget: TimeBudget
    together_us: int = 0
    """How long agents decided outside may wait for one another."""


class Crew:
    """All agents of a run, in scenario order."""

    def __init__(self, specs: Sequence[AgentSpec], hands: Stagehands, external: Sequence[str],
                 on_due: Callable[[Agent], None]) -> None:
        self.board = AgentBoard(len(specs))
        self.agents: dict[str, Agent] = {}
        self.held: dict[str, int] = {}
        """How often an agent's policy had no answer that could be sent; those that always had one are not in it."""
        self._bases: Bases | None = None
        self.problems: list[tuple[int, Problem]] = []
        self._hands, self._hub = hands, TelemetryHub(hands.kernel, hands.points)
        self._periods: dict[tuple[int, int], list[Agent]] = {}
        self.specs = tuple(specs)
        self._specs = {spec.name: spec for spec in specs}
        self._index = {spec.name: index for index, spec in enumerate(specs)}
        self._external = external
        for index, spec in enumerate(specs):
            try:
                agent = self._build(index, spec)
            except _MisplacedError as error:
                self.problems += [(index, problem) for problem in error.problems]
                continue
            except GridloopError as error:
                self.problems.append((index, Problem(str(error), path="policy")))
                continue
            self.agents[spec.name] = agent
            if spec.name in external:
                agent.on_due = on_due
        if not self.problems:
            for spec in specs:
                self._start(spec, self.agents[spec.name])
            self._start_periods()

    # -- building --------------------------------------------------------------------------------------------------

    def _build(self, index: int, spec: AgentSpec) -> Agent:
        hands = self._hands
        observed, actuated = self._places(spec)
        policy = self._policy(spec, spec.policy, observed, actuated) if self._is_asked(spec) else None
        field = FieldEnd(spec.name, actuated, authority=Authority[spec.authority.upper()],
                         ttl_us=None if spec.ttl_s is None else round(spec.ttl_s * 1e6),
                         late=self._late(spec, observed, actuated), inbox=hands.inbox, points=hands.points,
                         count_late=self._late_counter(index, spec.name), kernel=hands.kernel)
        channel = self._channel(spec)
        wiring = Wiring(hands.kernel, hands.points, field, self.board, index, None if channel is None else channel.down)
        agent = Agent(spec.name, _seen(spec, observed, actuated), actuated, wiring, round(spec.compute_s * 1e6))
        agent.deadband = spec.deadband
        if policy is not None:
            agent.policy = policy
        self.board.direct[index] = channel is None
        if spec.deadline_s is not None and spec.trigger is Trigger.PERIOD:
            self._watch(spec, field)
        return agent

    def _places(self, spec: AgentSpec) -> tuple[Ids, Ids]:
        """Ids of what is observed and actuated; raises _MisplacedError with every point that will not do."""
        points, problems = self._hands.points, []
        found: dict[str, list[int]] = {"observe": [], "actuate": []}
        for field, patterns in (("observe", spec.observe), ("actuate", spec.actuate)):
            for i, pattern in enumerate(patterns):
                try:
                    ids = points.ids_of([pattern]).tolist()
                except GridloopError as error:
                    problems.append(Problem(str(error), f"{field}.{i}"))
                    continue
                inputs = [points.names[k] for k in ids if field == "actuate" and not points.points[k].kind.writable]
                problems += [Problem(f"point '{name}' cannot be commanded; it is an input", f"{field}.{i}")
                             for name in inputs]
                found[field] += ids
        if problems:
            raise _MisplacedError(tuple(problems))
        return np.array(found["observe"], np.int64), np.array(found["actuate"], np.int64)

    def _policy(self, spec: AgentSpec, options: Mapping[str, Any], observed: Ids, actuated: Ids) -> Policy:
        hands = self._hands
        kind = hands.registry.get("policy", str(options.get("kind")))
        points = hands.points.points
        situation = AgentSituation(
            spec.name, tuple(points[i].name for i in observed), tuple(points[i].name for i in actuated),
            np.array([points[i].low for i in actuated]), np.array([points[i].high for i in actuated]),
            self._peers(spec), hands.site, self._sender(spec), lambda: self.learner(spec.name),
            lambda: self.senses(spec.name), lambda: self.open_choices(spec.name), self._held_counter(spec.name))
        config = kind.Config.model_validate(dict(options))
        try:
            policy: Policy = kind.build(config, situation)
        except GridloopError:
            raise
        except Exception as error:  # whatever a foreign policy raises
            raise PluginError(f"policy {kind.kind}: build failed: {type(error).__name__}: {error}") from error
        if not callable(getattr(policy, "act", None)):
            raise PluginError(f"policy {kind.kind}: build gave {policy!r:.60}; expected an object with "
                              f"act(observation, t_us)")
        if spec.learn.observe.acknowledged and not getattr(kind, "learned", False):
            return Narrow(policy, len(observed))
        return policy

    def _is_asked(self, spec: AgentSpec) -> bool:
        """Whether its policy is needed: a learner's trained one, which may not exist yet, is not."""
        kind = self._hands.registry.get("policy", str(spec.policy.get("kind")))
        return spec.name not in self._external or not getattr(kind, "learned", False)

    # -- learning --------------------------------------------------------------------------------------------------

    def learner(self, name: str) -> LearnerSpec:
        """What agent `name` sees and does as a learner; raises PluginError when no action space can be built."""
        spec, points = self._specs[name], self._hands.points
        if self._bases is None:
            self._bases = Bases.of(points.points, self._hands.base_kw)
        observed, actuated = self._places(spec)
        return learner_spec(spec, _seen(spec, observed, actuated), actuated, points, bases=self._bases,
                            step_s=self._hands.step_us / 1e6)

    def senses(self, name: str) -> tuple[float, NDArray[np.uint8]]:
        """Age of what agent `name` sees now, s, and its quality (n_seen,)."""
        age_s = self.board.age_of(self._index[name], self._hands.kernel.now_us)
        return age_s, self.agents[name].look_quality()

    def open_choices(self, name: str) -> Callable[[], NDArray[np.bool_]] | None:
        """Tells which choices (n_choice,) of agent `name` may be taken now; None where none is ever closed."""
        acting = self._specs[name].learn.act
        return OpenChoices(name, acting, self._hands.points).now if acting.masks else None

    def _peers(self, spec: AgentSpec) -> tuple[str, ...]:
        names = tuple(self._specs)
        return tuple(names[i] for pattern in spec.messages.to for i in match(pattern, names) if names[i] != spec.name)

    def _late(self, spec: AgentSpec, observed: Ids, actuated: Ids) -> LatePolicy:
        fallback = None if spec.fallback is None else self._policy(spec, spec.fallback, observed, actuated)
        deadline_us = None if spec.deadline_s is None else round(spec.deadline_s * 1e6)
        return LatePolicy(deadline_us, spec.late, fallback, observed, self._watch_us(spec))

    def _late_counter(self, index: int, name: str) -> Callable[[str], None]:
        def count(why: str) -> None:
            self.board.late[index] += 1
            self._hands.event("action_late", name, why)

        return count

    def _held_counter(self, name: str) -> Callable[[str], None]:
        def count(why: str) -> None:
            self.held[name] = self.held.get(name, 0) + 1
            if self.held[name] == 1:
                self._hands.event("action_held", name, why)

        return count

    def _channel(self, spec: AgentSpec) -> Channel | None:
        if spec.telemetry.kind is TelemetryKind.DIRECT:
            return None
        name = str(spec.telemetry.channel)
        if name not in self._hands.channels:
            known = ", ".join(self._hands.channels) or "none"
            raise _MisplacedError((Problem(f"unknown channel '{name}'; known: {known}", "telemetry.channel"),))
        return self._hands.channels[name]

    # -- starting --------------------------------------------------------------------------------------------------

    def _watch(self, spec: AgentSpec, field: FieldEnd) -> None:
        assert spec.period_s is not None
        period_us = round(spec.period_s * 1e6)
        # Counted from the first decision, not from the start of the run.
        first_us = round(spec.offset_s * 1e6) + -(-self._watch_us(spec) // period_us) * period_us
        self._hands.kernel.every(period_us, field.watch, offset_us=first_us)

    def _watch_us(self, spec: AgentSpec) -> int:
        """How long after the last action the next one counts as missing: it may wake late by its jitter, and wait for
        others to decide with, too."""
        waits_us = self._hands.together_us if spec.name in self._external else 0
        return round(((spec.deadline_s or 0.0) + (spec.period_s or 0.0) + spec.jitter_s) * 1e6) + waits_us

    def _start(self, spec: AgentSpec, agent: Agent) -> None:
        kernel = self._hands.kernel
        offset_us = round(spec.offset_s * 1e6)
        channel = self._channel(spec)
        if channel is not None and len(agent.observed):
            period_s = spec.telemetry.period_s or spec.period_s
            period_us = self._hands.step_us if period_s is None else round(period_s * 1e6)
            self._hub.add(Reporter(agent.observed, channel.up, agent, spec.learn.observe.quality), period_us,
                          round(spec.telemetry.offset_s * 1e6))
        if spec.trigger is Trigger.PERIOD:
            assert spec.period_s is not None
            jitter = self._jitter(spec)
            if jitter is not None:
                kernel.every(round(spec.period_s * 1e6), agent.wake, offset_us=offset_us, jitter=jitter)
            else:
                self._periods.setdefault((round(spec.period_s * 1e6), offset_us), []).append(agent)
        elif spec.trigger is Trigger.ON_CHANGE and channel is not None:
            agent.wake_on_sample = True
        elif spec.trigger is Trigger.ON_CHANGE:
            self._wake_on_change(agent, agent.observed, spec.deadband)
        elif spec.trigger is Trigger.ON_COMMAND:
            targets = [f"agent.{spec.name}.{target.name}" for target in spec.commands]
            self._wake_on_change(agent, self._hands.points.ids_of(targets), 0.0)

    def _start_periods(self) -> None:
        """Agents of one period and offset share a wheel; its time is charged to the agents once a turn."""
        every, budget = self._hands.kernel.every, self._hands.budget
        for (period_us, offset_us), agents in self._periods.items():
            every(period_us, lambda _: budget.switch(Section.AGENTS), offset_us=offset_us)
            for agent in agents:
                every(period_us, agent.wake, offset_us=offset_us)
            every(period_us, lambda _: budget.switch(Section.CHANNELS), offset_us=offset_us)

    def _wake_on_change(self, agent: Agent, ids: Ids, deadband: float) -> None:
        # PUBLISH comes after DRIVE: who is woken by what was just published acts a microsecond later.
        self._hands.points.subscribe(ids, lambda _, t_us: agent.wake_soon(t_us + 1), deadband)

    def _jitter(self, spec: AgentSpec) -> Callable[[], int] | None:
        if not spec.jitter_s:
            return None
        rng, most_us = self._hands.site.rng(f"agent.{spec.name}.jitter"), round(spec.jitter_s * 1e6)
        return lambda: int(rng.integers(0, most_us + 1))

    # -- messages --------------------------------------------------------------------------------------------------

    def _sender(self, spec: AgentSpec) -> Callable[[str, Sequence[float]], bool]:
        allowed = self._peers(spec)
        hands = self._hands
        channel = None if spec.messages.channel is None else hands.channels.get(spec.messages.channel)

        def post(to: str, values: Sequence[float]) -> bool:
            if to not in allowed:
                raise PluginError(f"agent '{spec.name}' may not send to '{to}'; `messages.to` allows: "
                                  f"{', '.join(allowed) or 'nobody'}")
            message = Message(spec.name, to, hands.kernel.now_us, tuple(float(value) for value in values))
            if channel is None:
                hands.kernel.at(hands.kernel.now_us + 1, self._deliver, message)
                return True
            return channel.up.send(size_bytes(len(message.values)), self._deliver, message)

        return post

    def _deliver(self, message: Message) -> None:
        if isinstance(message, Corrupted):
            return
        wake = self._specs[message.receiver].trigger is Trigger.ON_MESSAGE
        self.agents[message.receiver].hear(message, wake=wake)


def _seen(spec: AgentSpec, observed: Ids, actuated: Ids) -> Ids:
    """Points of an agent's reports: a learner may have the setpoints in force come with them."""
    return np.concatenate((observed, actuated)) if spec.learn.observe.acknowledged else observed


class _MisplacedError(GridloopError):
    """Fields of an agent that will not do; paths are relative to the agent."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(problems)
