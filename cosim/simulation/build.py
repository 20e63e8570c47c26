"""From a loaded scenario to a simulation ready to run; every problem found is reported at once, with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from cosim.channel import Channel, build_channels
from cosim.commands import Command, CommandInbox
from cosim.disturbances.base import schedule
from cosim.errors import GridError, GridloopError, PluginError, Problem, ScenarioError
from cosim.grid import Grid, Network
from cosim.kernel import Kernel
from cosim.objective import KpiAccumulator
from cosim.plugins import DeviceGroup, DeviceKind
from cosim.points import Ids, PointDatabase
from cosim.recorder import Recorder
from cosim.scenario.expand import Expanded, expand_agents, expand_devices
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.schema import Agent as AgentSpec
from cosim.scenario.schema import CommandTiming
from cosim.shield import Shield
from cosim.simulation.crew import Crew, Stagehands
from cosim.simulation.engine import Simulation
from cosim.simulation.fleet import Fleet
from cosim.simulation.guard import guard
from cosim.simulation.kept import Kept, base_kw
from cosim.simulation.layout import Layout, agent_blocks, device_blocks, grid_blocks, shield_blocks
from cosim.simulation.orders import ShieldOrders
from cosim.simulation.outages import Outages
from cosim.simulation.parts import Parts
from cosim.simulation.publisher import Publisher
from cosim.simulation.sensors import Sensors
from cosim.simulation.shielding import Surroundings
from cosim.simulation.site import RunSite
from cosim.simulation.stage import RunStage
from cosim.simulation.traffic_log import log_messages
from cosim.simulation.trial import Trials
from cosim.stopwatch import Stopwatch, TimeBudget, WallStopwatch

#: Makes the recorder once points exist: (points, sample ids) -> recorder.
RecorderFactory = Callable[[PointDatabase, Ids], Recorder]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a scenario is built: `external` names agents decided outside; `recorder` None records nothing but the
    digest and the journal, in memory.  With `replaying`, their actions come from a journal and nobody is waited for.
    `on_files` is told of the data files read (names as in the scenario, and where they were found) before the recorder
    is made; `kept` is what runs of one scenario share."""

    external: tuple[str, ...] = ()
    replaying: bool = False
    recorder: RecorderFactory | None = None
    stopwatch: Stopwatch = field(default_factory=WallStopwatch)
    on_files: Callable[[Sequence[tuple[str, Path]]], None] = lambda _: None
    kept: Kept = field(default_factory=Kept)


def build(loaded: LoadedScenario, options: BuildOptions | None = None) -> Simulation:
    """A simulation at t = 0, solved and published once.

    Raises ScenarioError with every problem found, each with file, line and column.
    """
    try:
        return _Builder(loaded, options or BuildOptions()).build()
    except ScenarioError as error:
        raise loaded.place(error) from None


class _Builder:
    """Builds in dependency order and collects problems on the way: it gives up once everything has been looked at.

    A device that cannot be built is left out, and what only echoes that (its points do not exist) is not reported.
    The recorder is made last: a scenario that cannot be built leaves nothing on disk.
    """

    def __init__(self, loaded: LoadedScenario, options: BuildOptions) -> None:
        self.loaded, self.scenario, self.options = loaded, loaded.scenario, options
        self.kernel = Kernel(self.scenario.seed)
        self.duration_us = round(self.scenario.duration_s * 1e6)
        self.step_us = round(self.scenario.step_s * 1e6)
        self.problems: list[Problem] = []
        self.missing: list[str] = []
        """Names of devices that could not be built."""

    def build(self) -> Simulation:
        """All stages in order."""
        network = self._network()
        site = RunSite(network, self.kernel, self.loaded.base_dir, start=self.scenario.start,
                       duration_us=self.duration_us, step_us=self.step_us,
                       shift_us=round(self.scenario.profile_offset_s * 1e6), kept=self.options.kept.profiles,
                       shield=self.scenario.shield.model_dump(mode="json"))
        groups, names = self._devices(site)
        agents = self._agents(names)
        channels = self._channels()
        layout = self._layout(network, groups, [item.item for item in agents], channels)
        points = PointDatabase(layout.points)
        return self._assembled(site, groups, agents, channels, layout=layout, points=points)

    # -- stages ----------------------------------------------------------------------------------------------------

    def _network(self) -> Network:
        try:
            return self.options.kept.network(self.scenario, self.loaded.base_dir)
        except GridError as error:
            raise _one(str(error), "grid.network") from None

    def _devices(self, site: RunSite) -> tuple[list[DeviceGroup], tuple[str, ...]]:
        """One group per kind, in the order in which kinds first appear; and all device names in scenario order."""
        entries = expand_devices(self.scenario.devices, lambda table: getattr(site.network, f"{table}_names"))
        by_kind: dict[str, list[Expanded[dict[str, Any]]]] = {}
        for entry in entries:
            by_kind.setdefault(str(entry.item.get("kind")), []).append(entry)
        groups = []
        for kind, members in by_kind.items():
            plugin = self.loaded.registry.get("device", kind)
            group, problems = _group(plugin, members, site)
            self.problems += problems
            built = () if group is None else group.names
            self.missing += [str(entry.item["name"]) for entry in members if entry.item["name"] not in built]
            if group is not None:
                groups.append(group)
        index_of = {str(entry.item["name"]): entry.index for entry in entries}
        self.problems += _claimed_twice(groups, index_of, site.network)
        return groups, tuple(str(entry.item["name"]) for entry in entries)

    def _agents(self, device_names: Sequence[str]) -> tuple[Expanded[AgentSpec], ...]:
        try:
            return expand_agents(self.scenario.agents, device_names)
        except ScenarioError as error:
            self.problems += error.problems
            return ()

    def _channels(self) -> dict[str, Channel]:
        try:
            return build_channels(self.scenario.channels, self.kernel, self.loaded.registry, self.loaded.base_dir)
        except ScenarioError as error:
            # Whoever uses a channel would only echo this: there is no use in looking further.
            raise ScenarioError((*self.problems, *error.problems)) from None

    def _note(self, problems: Sequence[Problem]) -> None:
        """Collect problems, but not those that only follow from a device that could not be built."""
        self.problems += [problem for problem in problems
                          if not any(_echoes(problem.message, name) for name in self.missing)]

    def _layout(self, network: Network, groups: Sequence[DeviceGroup], agents: Sequence[AgentSpec],
                channels: Mapping[str, Channel]) -> Layout:
        layout = Layout()
        grid_blocks(layout, network)
        device_blocks(layout, groups)
        agent_blocks(layout, agents)
        for channel in channels.values():
            layout.block(f"channel.{channel.name}", channel.points())
        shield_blocks(layout, commanded="shield" in self.scenario.model_fields_set)
        return layout

    def _assembled(self, site: RunSite, groups: Sequence[DeviceGroup], agents: Sequence[Expanded[AgentSpec]],
                   channels: Mapping[str, Channel], *, layout: Layout, points: PointDatabase) -> Simulation:
        scenario, kernel, network = self.scenario, self.kernel, site.network
        sample_ids = self._sample_ids(points)
        hooks = _Hooks(kernel, waits=not self.options.replaying)
        inbox = CommandInbox(points, kernel, hooks, wake=hooks.on_command
                             if scenario.commands.timing is CommandTiming.ON_ARRIVAL else None)
        outages, sensors, budget = Outages(network.topology), Sensors(), TimeBudget(self.options.stopwatch)
        stage = RunStage(kernel, self.duration_us, site, points, inbox, channels, outages, sensors,
                         _device_buses(groups, network), hooks.event)
        crew = self._crew(agents, Stagehands(kernel, points, inbox, channels, site, self.loaded.registry, self.step_us,
                                             base_kw(network), hooks.event, budget,
                                             round(self.scenario.learning.together_s * 1e6)), hooks)
        self._disturbances(stage)
        fleet = Fleet(groups, stage.extra_bus)
        grid = self._grid(network, fleet)
        shield = self._shield(Surroundings(network, fleet, grid, points), channels)
        if self.problems or shield is None:
            raise ScenarioError(tuple(self.problems))
        self.options.on_files(site.files)
        recorder = self._recorder(points, sample_ids)
        hooks.record(recorder)
        publisher = Publisher(points, layout, groups, board=crew.board, channels=tuple(channels.values()),
                              sensors=sensors, inbox=inbox)
        limits = (scenario.limits.v_min_pu, scenario.limits.v_max_pu, scenario.limits.loading_max)
        branch_names = [f"line.{name}" for name in network.line_names] + [
            f"trafo.{name}" for name in network.branch_names[len(network.line_names):]]
        simulation = Simulation(Parts(
            scenario, kernel, points, inbox, grid, recorder, crew, channels, fleet, outages,
            shield, publisher, Trials(grid, fleet.voltage_dependent),
            KpiAccumulator(network.bus_names, branch_names, fleet.names, limits, scenario.cost_per_kwh), budget,
            sample_ids, ShieldOrders.among(points), site))
        stage.set_extra, stage.solve = fleet.set_extra, simulation.request_solve
        hooks.connect(simulation)
        if scenario.record.messages:
            log_messages(channels.values(), recorder)
        return simulation

    def _shield(self, around: Surroundings, channels: Mapping[str, Channel]) -> Shield | None:
        try:
            return guard(self.scenario, around, self.kernel, channels)
        except ScenarioError as error:
            self._note(error.problems)
            return None

    def _recorder(self, points: PointDatabase, sample_ids: Ids) -> Recorder:
        make = self.options.recorder
        return make(points, sample_ids) if make is not None else _digest_only(points, self.options.stopwatch)

    def _sample_ids(self, points: PointDatabase) -> Ids:
        found: dict[int, None] = {}
        problems = []
        for i, pattern in enumerate(self.scenario.record.points):
            try:
                found.update(dict.fromkeys(points.ids_of([pattern]).tolist()))
            except GridloopError as error:
                problems.append(Problem(str(error), f"record.points.{i}"))
        self._note(problems)
        sampled = np.array(sorted(found), np.int64)
        points.require(sampled)
        return sampled

    def _crew(self, agents: Sequence[Expanded[AgentSpec]], hands: Stagehands, hooks: _Hooks) -> Crew:
        known = [entry.item.name for entry in agents]
        for name in self.options.external:
            if name not in known:
                self.problems.append(Problem(f"agent '{name}' is to be decided outside; the scenario has: "
                                             f"{', '.join(known) or 'none'}", "agents"))
        crew = Crew([entry.item for entry in agents], hands, self.options.external, hooks.on_due)
        self._note([replace(problem, path=f"agents.{agents[index].index}.{problem.path}")
                    for index, problem in crew.problems])
        return crew

    def _disturbances(self, stage: RunStage) -> None:
        problems = []
        twins: dict[str, int] = {}
        for i, mapping in enumerate(self.scenario.disturbances):
            plugin = self.loaded.registry.get("disturbance", str(mapping.get("kind")))
            try:
                config = plugin.Config.model_validate(dict(mapping))
                disturbance = plugin.build(config, stage)
                # Named by what it does, not by its place: another entry before it must not move its random times.
                name = f"disturbance.{config.kind}.{disturbance.subject}"
                twins[name] = twin = twins.get(name, -1) + 1
                schedule(f"{name}.{twin}", config, disturbance, stage)
            except GridloopError as error:
                problems.append(Problem(str(error), f"disturbances.{i}{_field_of(mapping, str(error))}"))
        self._note(problems)

    def _grid(self, network: Network, fleet: Fleet) -> Grid:
        try:
            return Grid(network, fleet.injection_bus, owned_loads=fleet.owned_loads, owned_sgens=fleet.owned_sgens,
                        enforce_q_limits=self.scenario.grid.enforce_q_limits)
        except GridError as error:
            raise _one(str(error), "grid.network") from None


class _Hooks:
    """Calls into the simulation and the recorder from parts that are made before them."""

    command: Callable[[Command], None]
    """The recorder's own method (the inbox calls it for every command: no detour)."""

    def __init__(self, kernel: Kernel, *, waits: bool) -> None:
        self._simulation: Simulation | None = None
        self._recorder: Recorder | None = None
        self._kernel, self._waits = kernel, waits

    def record(self, recorder: Recorder) -> None:
        """From now on rows go to `recorder`."""
        self._recorder, self.command = recorder, recorder.command

    def event(self, kind: str, subject: str, detail: str) -> None:
        """An event row, now."""
        assert self._recorder is not None
        self._recorder.event(self._kernel.now_us, kind, subject, detail)

    def connect(self, simulation: Simulation) -> None:
        """From now on calls go to `simulation`."""
        self._simulation = simulation
        simulation.inbox.on_action, simulation.inbox.on_skip = simulation.act, simulation.skip_scans

    def on_command(self, t_us: int) -> None:
        """A command has entered."""
        assert self._simulation is not None
        self._simulation.on_command(t_us)

    def on_due(self, agent: Any) -> None:
        """An agent decided outside is due."""
        assert self._simulation is not None
        if self._waits:
            self._simulation.decide_later(agent)


def _group(plugin: type[DeviceKind], members: Sequence[Expanded[dict[str, Any]]],
           site: RunSite) -> tuple[DeviceGroup | None, list[Problem]]:
    """The group of one kind.  When it cannot be built, each member is tried alone to find which ones are wrong; the
    group is then of the others (None where there is none)."""
    problems: list[Problem] = []
    valid: list[tuple[Expanded[dict[str, Any]], Any]] = []
    for entry in members:
        try:
            valid.append((entry, plugin.Config.model_validate(entry.item)))
        except ValidationError as error:
            problems += [Problem(item["msg"], ".".join([f"devices.{entry.index}", *map(str, item["loc"])]))
                         for item in error.errors()]
    try:
        return (plugin.build([config for _, config in valid], site) if valid else None), problems
    except PluginError as error:
        named = (entry for entry, _ in valid if str(error).startswith(f"device '{entry.item['name']}'"))
        blamed = next(named, valid[0][0])
        whole = Problem(str(error), f"devices.{blamed.index}{_field_of(blamed.item, str(error))}")
    sound = []
    for entry, config in valid:
        try:
            plugin.build([config], site)
            sound.append(config)
        except PluginError as error:
            problems.append(Problem(str(error), f"devices.{entry.index}{_field_of(entry.item, str(error))}"))
    if len(sound) == len(valid):
        return None, [*problems, whole]
    try:
        return (plugin.build(sound, site) if sound else None), problems
    except PluginError as error:
        return None, [*problems, replace(whole, message=str(error))]


def _claimed_twice(groups: Sequence[DeviceGroup], index_of: Mapping[str, int], network: Network) -> list[Problem]:
    """Devices that take over or move an element of the network which another one has (each kind checks its own)."""
    problems: list[Problem] = []
    owners: dict[tuple[str, int], str] = {}
    for group in groups:
        for i, table, element in group.placement.claims:
            name = group.names[i]
            owner = owners.setdefault((table, element), name)
            if owner != name:
                what = "the tap of trafo" if table == "tap" else table
                called = getattr(network, f"{'trafo' if table == 'tap' else table}_names")[element]
                problems.append(Problem(f"device '{name}': {what} '{called}' belongs to device '{owner}' already; each "
                                        f"element can have one device", f"devices.{index_of[name]}.name"))
    return problems


def _field_of(mapping: Mapping[str, Any], message: str) -> str:
    """``.<key>`` of the option whose value the message quotes, so that the error points at its line; else ''."""
    for key, value in mapping.items():
        text = str(value.get("file", "")) if isinstance(value, dict) else str(value)
        quoted = (f"'{text}'", f"'{text}.", f"'{text.partition('#')[0]}'")
        if key not in ("name", "kind") and text and any(form in message for form in quoted):
            return f".{key}"
    return ""


def _echoes(message: str, device: str) -> bool:
    """Whether a message only says that the points of `device` (which could not be built) do not exist."""
    if f"'{device}." in message or f"'{device}'" in message:
        return True
    pattern, _, rest = message.removeprefix("pattern '").partition("'")
    begin = pattern.partition("*")[0]
    return rest.startswith(" matches none") and (f"{device}.".startswith(begin) or begin.startswith(f"{device}."))


def _one(message: str, path: str) -> ScenarioError:
    return ScenarioError((Problem(message, path),))


def _device_buses(groups: Sequence[DeviceGroup], network: Network) -> dict[str, str]:
    return {name: network.bus_names[bus] for group in groups
            for name, bus in zip(group.names, group.placement.bus.tolist(), strict=True) if bus >= 0}


def _digest_only(points: PointDatabase, stopwatch: Stopwatch) -> Recorder:
    from cosim.recorder import Keep, RecordOptions

    return Recorder(None, points, options=RecordOptions(sample_ids=np.zeros(0, np.int64), keep=Keep.JOURNAL),
                    stopwatch=stopwatch)
