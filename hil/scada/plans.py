"""A configuration and its point lists made into what is to be done: stations, their requests, alarms, trends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from cosim.errors import GatewayError, PointListError
from gateways.pointlist.model import DataType, Entry
from gateways.pointlist.reader import read_point_list
from hil.scada.alarms import Limits, Priority
from hil.scada.blocks import Block, places, plan, readable
from hil.scada.config import CommunicationSpec, Findings, ScadaConfig, StationSpec, TlsSpec, TrendSpec, read_config
from hil.scada.endpoint import Endpoint, TlsFiles, Transport, parse_endpoint
from hil.scada.readings import companions

MAX_TAGS = 500_000
_NOWHERE = Endpoint(Transport.TCP, "", 0)


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """The requests of one scan class at one station."""

    name: str
    period_s: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class StationPlan:
    """One station: how to reach it, what to ask of it.  `entries` and `companions` by the list's own tags."""

    name: str
    endpoint: Endpoint
    timeout_s: float
    shared: bool
    entries: dict[str, Entry]
    companions: dict[str, str]
    scans: tuple[ScanPlan, ...]


@dataclass(frozen=True, slots=True)
class TagPlan:
    """One scanned tag, known outside as ``station/tag``."""

    station: str
    entry: Entry
    period_s: float
    limits: tuple[Limits, ...]
    is_trended: bool

    @property
    def key(self) -> str:
        """The name that operators and records use."""
        return f"{self.station}/{self.entry.tag}"


@dataclass(frozen=True, slots=True)
class CentrePlan:
    """All of it."""

    name: str
    stations: tuple[StationPlan, ...]
    tags: tuple[TagPlan, ...]
    trend: TrendSpec
    communication: CommunicationSpec


def load_plan(path: Path) -> CentrePlan:
    """Read a configuration and everything that it names; raises ScenarioError with every problem found."""
    config, findings = read_config(path)
    lists: dict[Path, tuple[Entry, ...] | None] = {}
    stations = [_station(i, spec, config, _Sources(path.parent, lists, findings))
                for i, spec in enumerate(config.stations)]
    findings.stop_if_any()
    tags = tuple(_tags(config, stations))
    _check_patterns(config, stations, tags, findings)
    findings.stop_if_any()
    return CentrePlan(config.name, tuple(stations), tags, config.trend, config.communication)


def matches(station: str, tag: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns names the tag, by itself or as ``station/tag``."""
    return any(fnmatchcase(f"{station}/{tag}" if "/" in pattern else tag, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class _Sources:
    folder: Path
    lists: dict[Path, tuple[Entry, ...] | None]
    findings: Findings

    def entries(self, name: str) -> tuple[Entry, ...]:
        """Of a point list, read once; its problems are noted once."""
        file = self.folder / name
        if file not in self.lists:
            try:
                self.lists[file] = read_point_list(file).entries
            except PointListError as error:
                self.lists[file] = None
                self.findings.include(error)
        return self.lists[file] or ()


def _station(i: int, spec: StationSpec, config: ScadaConfig, sources: _Sources) -> StationPlan:
    endpoint = _NOWHERE
    try:
        endpoint = parse_endpoint(spec.address, _tls(spec.tls, sources.folder))
    except GatewayError as error:
        sources.findings.add(f"stations.{i}.address", str(error))
    entries: dict[str, Entry] = {}
    for name in (spec.points,) if isinstance(spec.points, str) else spec.points:
        for entry in sources.entries(name):
            if entry.tag in entries:
                sources.findings.add(f"stations.{i}.points", f"{name}: the tag '{entry.tag}' is in an earlier list of "
                                                             f"this station already")
            entries[entry.tag] = entry
    units = sorted({entry.unit for entry in entries.values()})
    if spec.unit is not None:
        if len(units) > 1:
            sources.findings.add(f"stations.{i}.unit", f"found {spec.unit}, but the list speaks of units "
                                                       f"{', '.join(map(str, units))}; leave `unit` out")
        entries = {tag: replace(entry, unit=spec.unit) for tag, entry in entries.items()}
    is_shared = spec.shared or spec.address.startswith("serial:")
    beside = companions(entries.values())
    return StationPlan(spec.name, endpoint, spec.timeout_s or config.communication.timeout_s, is_shared, entries,
                       beside, _scans(spec.name, entries, beside, config))


def _tls(spec: TlsSpec | None, folder: Path) -> TlsFiles | None:
    if spec is None:
        return None
    ca, certificate, key = (folder / name if name else None for name in (spec.ca, spec.certificate, spec.key))
    return TlsFiles(ca, certificate, key, spec.server_name)


def _scans(station: str, entries: dict[str, Entry], beside: dict[str, str],
           config: ScadaConfig) -> tuple[ScanPlan, ...]:
    mapped = places(entries.values())
    owner = {companion: tag for tag, companion in reversed(beside.items())}
    by_class: dict[str, list[Entry]] = {spec.name: [] for spec in config.scan_classes}
    for entry in readable(entries.values()):
        # A quality is read together with what it speaks of.
        chosen = _class_of(station, owner.get(entry.tag, entry.tag), config)
        if chosen is not None and entry.type is not DataType.STRING:
            by_class[chosen].append(entry)
    return tuple(ScanPlan(spec.name, spec.period_s, plan(by_class[spec.name], mapped))
                 for spec in config.scan_classes if by_class[spec.name])


def _class_of(station: str, tag: str, config: ScadaConfig) -> str | None:
    return next((spec.name for spec in config.scan_classes if matches(station, tag, spec.tags)), None)


def _tags(config: ScadaConfig, stations: list[StationPlan]) -> list[TagPlan]:
    limits = [(spec.tags, Limits(_nan(spec.low), _nan(spec.high), _nan(spec.equals), spec.deadband, spec.delay_s,
                                 Priority[spec.priority.upper()])) for spec in config.alarms]
    return [TagPlan(station.name, entry, scan.period_s,
                    tuple(limit for patterns, limit in limits if matches(station.name, entry.tag, patterns)),
                    matches(station.name, entry.tag, config.trend.tags))
            for station in stations for scan in station.scans for block in scan.blocks for entry in block.entries]


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _check_patterns(config: ScadaConfig, stations: list[StationPlan], tags: tuple[TagPlan, ...],
                    findings: Findings) -> None:
    if len(tags) > MAX_TAGS:
        findings.add("stations", f"{len(tags):,} tags; at most {MAX_TAGS:,} in one control centre")
    for i, station in enumerate(stations):
        if not station.scans:
            findings.add(f"stations.{i}.points", "no tag of this station is in any scan class")
    every = [(tag.station, tag.entry.tag) for tag in tags]
    asked = [(f"alarms.{i}.tags.{j}", pattern) for i, spec in enumerate(config.alarms)
             for j, pattern in enumerate(spec.tags)]
    asked += [(f"trend.tags.{j}", pattern) for j, pattern in enumerate(config.trend.tags)]
    for path, pattern in asked:
        if not any(matches(station, tag, (pattern,)) for station, tag in every):
            findings.add(path, f"'{pattern}' names no tag that is scanned; tags are e.g. {every[0][1]} or "
                               f"{every[0][0]}/{every[0][1]}" if every else f"'{pattern}' names no tag that is scanned")
