"""The scenario file as data: every key, its unit, its range and its default.  YAML in, frozen models out.

Plugins (devices, policies, channel rules, disturbances) are written as mappings with a ``kind``; their own options are
validated by the plugin's ``Config`` (see `cosim.scenario.check`).  Descriptions here become the scenario reference
in the documentation and the hover text of an editor.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from cosim.scenario.learning import Learn, Learning
from cosim.scenario.model import Model, Name, Period, Seconds
from cosim.scenario.shield import Shield, ShieldMode, shield_of

#: Most rules of a channel, and most hops of a route.
MAX_RULES = 100


class Trigger(Enum):
    """What wakes an agent."""

    PERIOD = "period"
    ON_CHANGE = "on_change"
    ON_MESSAGE = "on_message"
    ON_COMMAND = "on_command"


class TelemetryKind(Enum):
    """How an agent sees and acts."""

    DIRECT = "direct"
    CHANNEL = "channel"


class LateAction(Enum):
    """What the field does when an agent's action is older than its deadline on arrival, or fails to arrive."""

    HOLD = "hold"
    ZERO = "zero"
    DROP = "drop"
    FALLBACK = "fallback"


class CommandTiming(Enum):
    """When accepted commands take effect."""

    ON_SCAN = "on_scan"
    ON_ARRIVAL = "on_arrival"


class Grid(Model):
    """The network and how it is solved."""

    network: str = Field(description="A bundled network by name (`gridloop list`), or a file: pandapower `.json`, "
                                     "MATPOWER `.m` or `.mat`, relative to the scenario file.")
    enforce_q_limits: bool = Field(False, description="Turn a generator at its reactive limit into a PQ bus.")
    load_scale: float = Field(1.0, ge=0, le=100, description="Factor on the network's own loads that no device owns.")
    generation_scale: float = Field(1.0, ge=0, le=100,
                                    description="Factor on the network's own static generators that no device owns.")
    ratings_ka: dict[str, float] = Field(default_factory=dict, description="Thermal ratings by line name, kA: replaces "
                                                                           "the network's own, or fills a missing one.")


class Limits(Model):
    """The limits that the KPIs count violations of."""

    v_min_pu: float = Field(0.95, gt=0, le=1.2, description="Lowest acceptable bus voltage.")
    v_max_pu: float = Field(1.05, gt=0.8, le=2, description="Highest acceptable bus voltage.")
    loading_max: float = Field(1.0, gt=0, le=10, description="Highest acceptable branch loading (1.0 = rating).")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.v_min_pu >= self.v_max_pu:
            raise ValueError(f"v_min_pu {self.v_min_pu} must be below v_max_pu {self.v_max_pu}")
        return self


class Commands(Model):
    """When commands take effect."""

    timing: CommandTiming = Field(CommandTiming.ON_SCAN, description="`on_scan`: at the next scan. `on_arrival`: at "
                                                                     "the arrival, coalesced by `quantum_s`.")
    quantum_s: Seconds = Field(0.0, description="Commands that arrive within this time share one SOLVE (on_arrival).")


class Telemetry(Model):
    """How an agent's observations and actions travel."""

    kind: TelemetryKind = Field(TelemetryKind.DIRECT, description="`direct`: no delay. `channel`: samples and commands "
                                                                   "travel over `channel`; they are late, lost, stale.")
    channel: str | None = Field(None, description="Name of the channel (kind: channel).")
    period_s: Period | None = Field(None, description="Reporting period of the field (default: the agent's own period, "
                                                       "else the scan).")
    offset_s: Seconds = Field(0.0, description="First report.")

    @model_validator(mode="after")
    def _channel_named(self) -> Self:
        if (self.kind is TelemetryKind.CHANNEL) != (self.channel is not None):
            raise ValueError("kind: channel needs `channel: <name>`, and kind: direct takes none")
        return self


def _telemetry(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class AgentCommand(Model):
    """A target that an agent can be given by a command: an output point ``agent.<agent>.<name>``."""

    name: Name = Field(description="Name of the target: the last part of the point.")
    low: float = Field(description="Smallest value accepted.")
    high: float = Field(description="Largest value accepted.")
    unit: str = Field("", description="Unit of the target, for displays and reports.")


class Messaging(Model):
    """Agent-to-agent messages."""

    channel: str | None = Field(None, description="Channel that messages travel over (none: delivered after 1 µs).")
    to: tuple[str, ...] = Field((), description="Agents this one may send to (patterns with *).")


class Agent(Model):
    """A controller: an independent process that observes, decides and commands."""

    name: str = Field(description="Unique name; with `each`, a template that contains {}.")
    each: str | None = Field(None, description="One agent for each device whose name matches this pattern; {} in "
                                               "`name`, `observe` and `actuate` stands for the device's name.")
    policy: dict[str, Any] = Field(description="The decision rule: a mapping with `kind` (see `gridloop list`).")
    trigger: Trigger = Field(Trigger.PERIOD, description="What wakes the agent.")
    period_s: Period | None = Field(None, description="Time between decisions (trigger: period).")
    offset_s: Seconds = Field(0.0, description="Time of the first decision.")
    jitter_s: Seconds = Field(0.0, description="Each wake-up is late by a uniform draw of up to this.")
    compute_s: Seconds = Field(0.0, description="Time from observing to acting.")
    observe: tuple[str, ...] = Field((), description="Points seen by the policy, in order; patterns with *.")
    actuate: tuple[str, ...] = Field((), description="Output points commanded, in the order of the policy's answer.")
    telemetry: Annotated[Telemetry, BeforeValidator(_telemetry)] = Field(
        default_factory=Telemetry, description="`direct`, or a mapping: how observations and actions travel.")
    authority: Annotated[str, Field(pattern="^(schedule|agent|operator|interlock)$")] = Field(
        "agent", description="Precedence of its commands: schedule < agent < operator < interlock.")
    ttl_s: Period | None = Field(None, description="Commands expire this long after they arrive (default: never).")
    deadline_s: Period | None = Field(None, description="An action older than this on arrival is late.")
    late: LateAction = Field(LateAction.HOLD, description="What the field does then: `hold` the last command, `zero`, "
                                                          "`drop` (release), or ask the `fallback` policy.")
    fallback: dict[str, Any] | None = Field(None, description="Policy of `late: fallback`; runs at the field, sees "
                                                              "the points directly.")
    deadband: float = Field(0.0, ge=0, description="Smallest change that wakes the agent (trigger: on_change).")
    commands: tuple[AgentCommand, ...] = Field((), description="Targets that others can command this agent with.")
    messages: Messaging = Field(default_factory=Messaging, description="Whom it may send messages to, and how.")
    learn: Learn = Field(default_factory=Learn, description=(
        "Features and actions of a learner or a trained policy; ignored by every other policy."))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.trigger is Trigger.PERIOD and self.period_s is None:
            raise ValueError("trigger: period needs `period_s`")
        if (self.late is LateAction.FALLBACK) != (self.fallback is not None):
            raise ValueError("late: fallback needs `fallback: {kind: …}`, and only then")
        if self.jitter_s and self.period_s is not None and self.jitter_s >= self.period_s:
            raise ValueError(f"jitter_s {self.jitter_s} must be below period_s {self.period_s}")
        if self.trigger is Trigger.ON_COMMAND and not self.commands:
            raise ValueError("trigger: on_command needs `commands`")
        if self.each is not None and "{}" not in self.name:
            raise ValueError("`each` needs {} in `name`")
        return self


class Ordering(Enum):
    """Whether messages of one direction may overtake each other."""

    FREE = "free"
    FIFO = "fifo"


class Channel(Model):
    """A simulated link between field and control room, or between agents: rules of its own, or a route over others.
    """

    name: Name = Field(description="Unique name; its points are `channel.<name>.<up|down>.<point>`.")
    rules: tuple[dict[str, Any], ...] = Field((), max_length=MAX_RULES, description=(
        "Rules of both directions, judged in order; each direction has its own chance and its own queue."))
    up: tuple[dict[str, Any], ...] | None = Field(None, max_length=MAX_RULES, description=(
        "Rules field → agent and agent → agent, instead of `rules`."))
    down: tuple[dict[str, Any], ...] | None = Field(None, max_length=MAX_RULES, description=(
        "Rules agent → field, instead of `rules`."))
    ordering: Ordering = Field(Ordering.FREE, description=(
        "`fifo`: a message never overtakes an earlier one of the same direction."))
    capacity: int = Field(10_000, ge=1, le=10_000_000, description="Most messages in flight per direction.")
    hops: tuple[str, ...] | None = Field(None, min_length=1, max_length=MAX_RULES, description=(
        "A route: the channels that a message crosses in turn, from the field's side; it takes nothing else."))

    @model_validator(mode="after")
    def _route_or_link(self) -> Self:
        own = [key for key in ("rules", "up", "down", "ordering", "capacity") if key in self.model_fields_set]
        if self.hops is not None and own:
            raise ValueError(f"a channel with hops has no {', '.join(own)} of its own; its hops have")
        return self

    def rules_of(self, direction: str) -> tuple[dict[str, Any], ...]:
        """The rules of ``up`` or ``down``, as written."""
        own: tuple[dict[str, Any], ...] | None = getattr(self, direction)
        return self.rules if own is None else own


class Record(Model):
    """What is written down."""

    points: tuple[str, ...] = Field(("*",), description="Points sampled; patterns with *; [] for none.")
    period_s: Period | None = Field(None, description="Time between samples (default: every scan).")
    messages: bool = Field(True, description="Whether each message on a channel becomes a row.")


class Scenario(Model):
    """One experiment: a grid, its devices, the agents that control it, the network between them, and what happens."""

    name: Name = Field(description="Short name; also the result folder's.")
    summary: str = Field("", description="One line for lists and reports.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of every random stream.")
    start: str | None = Field(None, description="Wall-clock time of t = 0 (ISO 8601): axes, profile time stamps.")
    profile_offset_s: Seconds = Field(0.0, description="Profiles are read from this time on: t = 0 is that far into "
                                                       "them (beyond `start`).")
    duration_s: Period = Field(description="Length of the run.")
    step_s: Period = Field(1.0, description="The scan period: commands take effect and values are published.")
    grid: Grid = Field(description="The network, and how it is solved.")
    limits: Limits = Field(default_factory=Limits, description="What counts as a violation in the KPIs.")
    shield: Annotated[Shield, BeforeValidator(shield_of)] = Field(
        default_factory=lambda: Shield(mode=ShieldMode.OFF), description=(
            "`enforce`, `observe` or `off`, or a mapping: the limits that no command may break."))
    commands: Commands = Field(default_factory=Commands, description="At which instants accepted commands count.")
    devices: tuple[dict[str, Any], ...] = Field((), description="Devices: mappings with `name` and `kind`.")
    channels: tuple[Channel, ...] = Field((), description="Simulated links and routes, by name.")
    agents: tuple[Agent, ...] = Field((), description="Controllers: what they see, decide and command.")
    disturbances: tuple[dict[str, Any], ...] = Field((), description="Faults and events: mappings with `kind`.")
    listeners: tuple[dict[str, Any], ...] = Field((), max_length=1_000, description=(
        "Doors for masters (`gridloop serve`): mappings with `name` and `kind`."))
    stations: tuple[dict[str, Any], ...] = Field((), max_length=10_000, description=(
        "What masters see behind the listeners: mappings with `name` and `kind`."))
    learning: Learning = Field(default_factory=Learning, description="The scenario as an environment: who learns, "
                                                                     "and what is good.")
    record: Record = Field(default_factory=Record, description="What is written to the result folder.")
    cost_per_kwh: float = Field(0.0, description="Price of energy from the external grid, for the cost KPI.")
    plugins: tuple[str, ...] = Field((), description="Folders or files with your own plugins, relative to the scenario "
                                                      "file; loaded only with --allow-plugins.")

    @model_validator(mode="after")
    def _scan_fits(self) -> Self:
        if self.step_s > self.duration_s:
            raise ValueError(f"step_s {self.step_s} must not exceed duration_s {self.duration_s}")
        return self
