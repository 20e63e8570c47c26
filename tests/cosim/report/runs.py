"""Results to report on, recorded by the real recorder from invented values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosim.commands import NEVER_US, Authority, Command, CommandKind, CommandStatus
from cosim.points import Point, PointDatabase, PointKind
from cosim.recorder import DecisionRow, MessageRow, Recorder, RecordOptions, RunAbout, RunResult

HOSTILE = "<script>alert(1)</script>\"'&--c1%{x}</title>"
KPIS = {"violation_bus_minutes": 0.0, "undervoltage_minutes": {}, "overvoltage_minutes": {}, "overload_minutes": {},
        "v_min_pu": 0.97, "v_min_bus": "2", "v_max_pu": 1.0, "v_max_bus": "1", "losses_kwh": 12.5, "import_kwh": 250.0,
        "export_kwh": 0.0, "unserved_kwh": 0.0, "dead_minutes": 0.0, "cost": 52.5, "device_kwh": {}}


@dataclass
class Story:
    """What a run is made of: `values` (n_row,) by point, a row every `period_s`."""

    values: Mapping[str, Any] = field(default_factory=dict)
    period_s: float = 60.0
    outputs: tuple[str, ...] = ()
    events: tuple[tuple[float, str, str, str], ...] = ()
    commands: tuple[tuple[float, str, float], ...] = ()
    decisions: tuple[tuple[float, str, float, float, str], ...] = ()
    shield: tuple[tuple[float, str, Mapping[str, Any]], ...] = ()
    """Decisions at a time on a point, with what a `DecisionRow` is to say of them."""
    messages: tuple[tuple[float, float | None, str, str], ...] = ()
    scenario: Mapping[str, Any] = field(default_factory=dict)
    kpis: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    status: str = "done"
    error: str = ""
    name: str = "story"


def recorded(story: Story, folder: Path | None = None) -> RunResult:
    """The story as a result, in memory or in a folder."""
    names = list(dict.fromkeys([*story.values, *story.outputs]))
    points = PointDatabase([Point(n, PointKind.ANALOG_OUTPUT if n in story.outputs else PointKind.ANALOG_INPUT,
                                  _unit(n)) for n in names])
    sampled = list(story.values)
    columns = np.array([np.asarray(story.values[n], float) for n in sampled])
    columns = columns.reshape(len(sampled), -1 if sampled else 0).T
    rows = len(columns)
    last_s = max([(rows - 1) * story.period_s, *(event[0] for event in story.events)], default=0.0)
    about = RunAbout(story.name, {"name": story.name, **story.scenario}, "name: story\n", 7, {"gridloop": "0.1"},
                     round(max(last_s, 1.0) * 1e6))
    ids = np.arange(len(story.values)) if rows else np.zeros(0, np.int64)
    recorder = Recorder(folder, points, about, RecordOptions(ids, round(story.period_s * 1e6), messages=True))
    _rows(recorder, story, points)
    full = np.full(len(names), np.nan)
    for i, line in enumerate(columns):
        full[:len(line)] = line
        recorder.sample(round(i * story.period_s * 1e6), full)
    recorder.end_instant(round(last_s * 1e6))
    kpis = story.kpis if story.kpis is not None else KPIS
    recorder.close(story.status, story.error, summary={
        "kpis": dict(kpis), "shield": dict(story.figures), "solves": 10, "solver": "newton"},
                   timing={"solver": 2.0, "agents": 1.0, "channels": 0.5, "recorder": 0.25, "other": 0.25})
    return recorder.result()


def _rows(recorder: Recorder, story: Story, points: PointDatabase) -> None:
    for t_s, kind, subject, detail in story.events:
        recorder.event(round(t_s * 1e6), kind, subject, detail)
    for t_s, point, value in story.commands:
        recorder.command(Command(round(t_s * 1e6), CommandKind.SET, "agent", Authority.AGENT, (points.id_of(point),),
                                 (value,), NEVER_US, CommandStatus.ACCEPTED, False))
    for t_s, point, requested, applied, reason in story.decisions:
        recorder.decision(DecisionRow(round(t_s * 1e6), points.id_of(point), requested, applied, reason, 1.0))
    for t_s, point, said in story.shield:
        recorder.decision(DecisionRow(round(t_s * 1e6), points.id_of(point), **said))
    for t_s, arrival_s, channel, fate in story.messages:
        arrival_us = None if arrival_s is None else round(arrival_s * 1e6)
        recorder.message(MessageRow(round(t_s * 1e6), arrival_us, channel, "a", "b", 64, fate))


def _unit(name: str) -> str:
    suffix = name.rpartition(".")[2]
    return {"v_pu": "pu", "loading": "pu", "p_kw": "kW", "p_set_kw": "kW", "delay_s": "s", "age_s": "s"}.get(suffix, "")
