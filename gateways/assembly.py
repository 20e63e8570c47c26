"""From a scenario's `listeners` and `stations` to objects: every problem at once, with its place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosim.errors import GridloopError, Problem, ScenarioError
from cosim.points import PointDatabase
from cosim.scenario.expand import expand_devices
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.plugin_options import configure
from cosim.simulation.engine import Simulation
from gateways.gate import Gate
from gateways.listener import Listener
from gateways.modbus.bank import Bank
from gateways.station import Station

#: What a scenario that says nothing gets: everything it has, read-only, on the loopback.
DEFAULT_LISTENER = {"name": "modbus", "kind": "modbus_tcp"}
DEFAULT_STATION = {"name": "grid", "kind": "modbus"}


@dataclass(frozen=True, slots=True)
class Changes:
    """What the person who serves says beside the scenario.

    `host` and `port` go to the only listener; `writable` are the patterns of points that masters may write where the
    station has no list of its own.
    """

    host: str | None = None
    port: int | None = None
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What a station may ask of its run (`cosim.plugins.StationSite`)."""

    points: PointDatabase
    gate: Gate
    base_dir: Path
    device_kinds: dict[str, str]
    device_configs: dict[str, Any]

    def file(self, name: str) -> Path:
        """A file that the scenario names; raises ScenarioError when there is none."""
        path = self.base_dir / name
        if not path.is_file():
            raise ScenarioError((Problem(f"'{name}' is no file in {self.base_dir}; expected a point list (CSV); "
                                         f"`gridloop points generate SCENARIO` writes one", "points"),))
        return path


@dataclass(frozen=True, slots=True)
class Plant:
    """Every door and every station of a run."""

    listeners: tuple[Listener, ...] = ()
    stations: tuple[Station, ...] = ()
    behind: Mapping[str, Mapping[int, Bank]] = field(default_factory=dict)
    """Banks by unit identifier behind each listener, by its name."""


def assemble(loaded: LoadedScenario, simulation: Simulation, gate: Gate, changes: Changes | None = None) -> Plant:
    """Build, without opening anything; raises ScenarioError with every problem found, each with its place."""
    try:
        return _Assembler(loaded, simulation, gate, changes or Changes()).plant()
    except ScenarioError as error:
        raise loaded.place(error) from None


class _Assembler:
    """Builds listeners, then stations, then puts the stations behind the listeners; collects problems on the way."""

    def __init__(self, loaded: LoadedScenario, simulation: Simulation, gate: Gate, changes: Changes) -> None:
        self._loaded, self._simulation, self._gate, self._changes = loaded, simulation, gate, changes
        self._problems: list[Problem] = []

    def plant(self) -> Plant:
        """All of it."""
        listeners = self._listeners()
        stations = self._stations()
        behind = self._behind(listeners, stations)
        if self._problems:
            raise ScenarioError(tuple(self._problems))
        return Plant(tuple(listeners), tuple(station for station, _ in stations), behind)

    def _listeners(self) -> list[Listener]:
        given: Sequence[Mapping[str, Any]] = self._loaded.scenario.listeners or (DEFAULT_LISTENER,)
        changed = {key: value for key in ("host", "port") if (value := getattr(self._changes, key)) is not None}
        if changed and len(given) != 1:
            raise ScenarioError(f"--{next(iter(changed))}: the scenario has {len(given)} listeners; expected one (to "
                                f"change one of several: --set listeners.NAME.port=…)")
        return self._built("listener", "listeners", [{**mapping, **changed} for mapping in given],
                           lambda plugin, config: plugin.build(config, self._loaded.base_dir))

    def _stations(self) -> list[tuple[Station, int]]:
        """(station, its index in the scenario)."""
        given: Sequence[Mapping[str, Any]] = self._loaded.scenario.stations or (
            {**DEFAULT_STATION, "writable": list(self._changes.writable)},)
        if self._changes.writable and self._loaded.scenario.stations:
            raise ScenarioError("--writable is for scenarios without stations of their own; here the stations' point "
                                "lists say what may be written (column `access`)")
        site = self._site()
        built = self._built("station", "stations", given, lambda plugin, config: plugin.build(config, site))
        return list(zip(built, self._kept, strict=True))

    def _built(self, family: str, path: str, mappings: Sequence[Mapping[str, Any]], make: Any) -> list[Any]:
        """What `make` gives for each mapping that is sound; `_kept` are their indices."""
        found: list[Any] = []
        self._kept: list[int] = []
        names: set[str] = set()
        for index, mapping in enumerate(mappings):
            try:
                config = configure(self._loaded.registry, family, mapping, f"{path}.{index}")
                if config.name in names:
                    raise ScenarioError((Problem(f"'{config.name}' names another {family} already; expected a name of "
                                                 f"its own", f"{path}.{index}.name"),))
                names.add(config.name)
                found.append(make(self._loaded.registry.get(family, mapping["kind"]), config))
                self._kept.append(index)
            except ScenarioError as error:
                self._problems += [_below(problem, f"{path}.{index}") for problem in error.problems]
            except GridloopError as error:
                self._problems.append(Problem(str(error), f"{path}.{index}"))
        return found

    def _behind(self, listeners: Sequence[Listener], stations: Sequence[tuple[Station, int]]) -> dict[
            str, dict[int, Bank]]:
        units: dict[str, dict[int, Bank]] = {listener.name: {} for listener in listeners}
        takers: dict[tuple[str, int], str] = {}
        for station, index in stations:
            name = self._door(station, index, units)
            if name is None:
                continue
            other = takers.setdefault((name, station.unit), station.name)
            if other != station.name:
                self._problems.append(Problem(f"unit {station.unit} behind listener '{name}' is station '{other}' "
                                              f"already; expected another `unit` or `listener`",
                                              f"stations.{index}.unit"))
            units[name][station.unit] = station.bank
        return units

    def _door(self, station: Station, index: int, units: Mapping[str, Any]) -> str | None:
        """The listener a station stands behind, or None when that is a problem."""
        if station.listener in units:
            return station.listener
        known = ", ".join(units) or "none"
        if station.listener is None and len(units) == 1:
            return next(iter(units))
        if not self._problems:
            found = "no `listener`" if station.listener is None else f"'{station.listener}'"
            self._problems.append(Problem(f"found {found}; expected the name of a listener: {known}",
                                          f"stations.{index}.listener"))
        return None

    def _site(self) -> Site:
        network = self._simulation.grid.network
        entries = expand_devices(self._loaded.scenario.devices, lambda table: getattr(network, f"{table}_names"))
        devices = {str(entry.item["name"]): entry.item for entry in entries}
        configs = {name: configure(self._loaded.registry, "device", item) for name, item in devices.items()}
        return Site(self._simulation.points, self._gate, self._loaded.base_dir,
                    {name: str(item["kind"]) for name, item in devices.items()}, configs)


def _below(problem: Problem, path: str) -> Problem:
    """The problem with its path below `path`; one of another file (a point list) keeps its own place."""
    if problem.file or problem.path.startswith(path):
        return problem
    where = f"{path}.{problem.path}" if problem.path else path
    return Problem(problem.message, where, problem.file, problem.line, problem.column, problem.rule)
