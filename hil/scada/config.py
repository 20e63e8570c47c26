"""The file that describes a control centre: YAML, checked whole, every problem at once with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cosim.errors import Problem, ScenarioError
from cosim.scenario.find import read_text
from cosim.scenario.problems import Origin, described, shown, validated
from cosim.scenario.yaml_tree import Places, Tree, parse_yaml

_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}$"
Name = Annotated[str, Field(pattern=_NAME)]
Patterns = Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TlsSpec(_Model):
    """Files for Modbus/TCP Security, relative to the configuration."""

    ca: str | None = Field(None, description="PEM of the authority that signed the device's certificate.")
    certificate: str | None = Field(None, description="PEM of our certificate; its role extension says what we may.")
    key: str | None = Field(None, description="PEM of our key.")
    server_name: str = Field("", description="Name in the device's certificate where it is not the address.")


class StationSpec(_Model):
    """One station to poll."""

    name: Name
    address: str = Field(description="HOST:PORT, tls:HOST:PORT, rtu:HOST:PORT or serial:DEVICE@BAUD,PARITY,STOP.")
    points: str | tuple[str, ...] = Field(description="Point list (CSV), or several, relative to the configuration.")
    unit: int | None = Field(None, ge=0, le=255, description="Unit to ask instead of the one in the point list.")
    timeout_s: float | None = Field(None, gt=0, le=60)
    shared: bool = Field(False, description="Share one connection with the other shared stations of this address "
                                            "(a serial line is always shared).")
    tls: TlsSpec | None = None


class ScanClassSpec(_Model):
    """Tags that are read at one period.  A tag belongs to the first class that one of its patterns names."""

    name: Name
    period_s: float = Field(ge=0.02, le=86_400)
    tags: Patterns = ("*",)


class AlarmSpec(_Model):
    """Limits on every tag that the patterns name."""

    tags: Patterns
    low: float | None = None
    high: float | None = None
    equals: float | None = None
    deadband: float = Field(0.0, ge=0)
    delay_s: float = Field(0.0, ge=0, le=86_400)
    priority: Literal["low", "medium", "high", "critical"] = "medium"


class TrendSpec(_Model):
    """What is recorded."""

    tags: Annotated[tuple[str, ...], Field(max_length=1000)] = ("*",)
    flush_s: float = Field(5.0, ge=0.1, le=3600, description="Most that a kill can cost.")
    rows_per_part: int = Field(500_000, ge=1_000, le=10_000_000)


class CommunicationSpec(_Model):
    """How connections are watched."""

    timeout_s: float = Field(1.0, gt=0, le=60)
    alarm_delay_s: float = Field(2.0, ge=0, le=3600, description="Not answering for so long raises the alarm.")
    retry_first_s: float = Field(0.5, ge=0.05, le=60)
    retry_most_s: float = Field(30.0, ge=0.05, le=3600)
    stale_scans: float = Field(3.0, ge=1, le=1000, description="A tag not read for so many periods is stale.")


class ScadaConfig(_Model):
    """A control centre."""

    name: Name = "scada"
    stations: Annotated[tuple[StationSpec, ...], Field(min_length=1, max_length=2_000)]
    scan_classes: Annotated[tuple[ScanClassSpec, ...], Field(min_length=1, max_length=50)] = (
        ScanClassSpec(name="all", period_s=1.0),)
    alarms: Annotated[tuple[AlarmSpec, ...], Field(max_length=10_000)] = ()
    trend: TrendSpec = TrendSpec()
    communication: CommunicationSpec = CommunicationSpec()


class Findings:
    """Problems of one file, placed at their lines."""

    def __init__(self, places: Places) -> None:
        self.problems: list[Problem] = []
        self._places = places

    def add(self, path: str, message: str) -> None:
        """One more, about the value at `path`."""
        place = self._places.value(tuple(path.split(".")))
        self.problems.append(Problem(message, path, place.file, place.line, place.column, "scada"))

    def include(self, error: ScenarioError) -> None:
        """Those of another file."""
        self.problems += error.problems

    def stop_if_any(self) -> None:
        """Raises ScenarioError with all of them, in order of their lines."""
        if self.problems:
            raise ScenarioError(tuple(sorted(self.problems, key=lambda p: (p.file, p.line, p.column))))


def read_config(path: Path) -> tuple[ScadaConfig, Findings]:
    """The configuration and where to add what else is found wrong; raises ScenarioError with every problem of it."""
    tree = parse_yaml(read_text(path), str(path))
    findings = Findings(tree.places)
    findings.problems += tree.problems
    config = _model(tree, str(path), findings)
    findings.stop_if_any()
    assert config is not None, "a file that is not valid has problems"
    _judge(config, findings)
    return config, findings


def _model(tree: Tree, file: str, findings: Findings) -> ScadaConfig | None:
    if not isinstance(tree.data, dict):
        found = "the file is empty" if tree.data is None else f"found {shown(tree.data)}"
        raise ScenarioError((Problem(f"{found}; expected keys such as `stations:` and `scan_classes:`", "", file),))
    try:
        return validated(ScadaConfig, tree.data)
    except ValidationError as error:
        findings.problems += described(error, Origin(ScadaConfig, tree.data, (), tree.places))
    return None


def _judge(config: ScadaConfig, findings: Findings) -> None:
    """What the schema cannot say."""
    for key, names in (("stations", [s.name for s in config.stations]),
                       ("scan_classes", [c.name for c in config.scan_classes])):
        seen: dict[str, int] = {}
        for i, name in enumerate(names):
            if name in seen:
                findings.add(f"{key}.{i}.name", f"'{name}' is the name of {key}.{seen[name]} already; names are unique")
            seen.setdefault(name, i)
    for i, alarm in enumerate(config.alarms):
        if message := _wrong_limits(alarm):
            findings.add(f"alarms.{i}", message)
    retry = config.communication
    if retry.retry_most_s < retry.retry_first_s:
        findings.add("communication.retry_most_s", f"found {retry.retry_most_s:g}; expected at least retry_first_s = "
                                                   f"{retry.retry_first_s:g}")


def _wrong_limits(alarm: AlarmSpec) -> str:
    low, high = alarm.low, alarm.high
    if low is None and high is None and alarm.equals is None:
        return "an alarm without a limit; expected low, high or equals"
    if low is not None and high is not None and high - low <= 2 * alarm.deadband:
        return (f"low {low:g} and high {high:g} leave no room for normal with a deadband of {alarm.deadband:g}; "
                f"expected high - low of more than twice the deadband")
    return ""


def with_file(problem: Problem, file: str) -> Problem:
    """A problem that names its file."""
    return problem if problem.file else replace(problem, file=file)
