"""A whole run as a person means it: build, record into a folder, advance with progress, finish whatever happens."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cosim import __version__
from cosim.errors import GridloopError, RecordError
from cosim.points import Ids, PointDatabase
from cosim.recorder import Recorder, RecordOptions, RunAbout, RunResult
from cosim.scenario.loader import LoadedScenario
from cosim.scenario.shield import ShieldMode
from cosim.simulation.build import BuildOptions, build
from cosim.simulation.engine import Simulation
from cosim.simulation.inputs import copy_inputs, reopened
from cosim.simulation.kept import Kept
from cosim.stopwatch import Stopwatch, WallStopwatch, wall_stamp

#: Told of simulation time done and to do, microseconds.
Progress = Callable[[int, int], None]

#: How many times a run looks up to tell of its progress and to hear whether it is to stop.
LOOKS = 500


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a scenario is run: `until_s` shortens it; `should_stop` is asked now and then (SIGINT); `external` and `kept`
    as in `BuildOptions`."""

    until_s: float | None = None
    on_progress: Progress | None = None
    should_stop: Callable[[], bool] = lambda: False
    stopwatch: Stopwatch = field(default_factory=WallStopwatch)
    flush_s: float = 2.0
    external: tuple[str, ...] = ()
    kept: Kept = field(default_factory=Kept)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run came to its end; `figures` go into the manifest's summary beside the run's own."""

    status: str
    error: str
    wall_s: float
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What came of a run: `status` is done, stopped or failed."""

    name: str
    status: str
    error: str
    digest: str
    folder: str
    sim_s: float
    wall_s: float
    solves: int
    kpis: Mapping[str, Any]
    shield: Mapping[str, Any]
    timing: Mapping[str, float]
    held_actions: Mapping[str, int] = field(default_factory=dict)
    """By agent, how often its policy had no answer that could be sent (a trained one that gives no numbers)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def run_scenario(loaded: LoadedScenario, out: Path | None, options: RunOptions | None = None) -> RunSummary:
    """Run from t = 0 into a new folder (None: nothing on disk).

    Raises ScenarioError for a scenario that cannot be built and RecordError for a folder that cannot be used, before
    anything is written; a run that fails on the way is a summary with status ``failed``.
    """
    options = options or RunOptions()
    return _finish(loaded, open_run(loaded, out, options), out, options)


def open_run(loaded: LoadedScenario, out: Path | None, options: RunOptions,
             make: Callable[..., Recorder] = Recorder) -> Simulation:
    """Built at t = 0, and recording into a new folder (None: nowhere); raises as `run_scenario`.

    Whoever advances it by themselves (a served run) ends it with `close_run`; `make` is a recorder of theirs.
    """
    about = _about(loaded, options)
    files: list[tuple[str, Path]] = []
    opened: list[Recorder] = []

    def recorder(points: PointDatabase, sample_ids: Ids) -> Recorder:
        record = replace(_record_options(loaded, options, sample_ids),
                         keep_inputs=lambda folder: copy_inputs(loaded, files, folder))
        opened.append(make(out, points, about, record, options.stopwatch))
        return opened[0]

    try:
        return build(loaded, BuildOptions(options.external, recorder=None if out is None else recorder,
                                          stopwatch=options.stopwatch, on_files=files.extend, kept=options.kept))
    except BaseException:
        # The first solve is a part of building: when it fails (in a device's own code), nothing has run yet.
        for record in opened:
            record.discard()
        raise


def resume_run(folder: Path, options: RunOptions | None = None, *, allow_plugins: bool = False) -> RunSummary:
    """Go on with a run that was killed, stopped or failed: re-execute from zero, check what was flushed, go on."""
    options = options or RunOptions()
    loaded, run = reopened(folder, allow_plugins=allow_plugins)
    until_us = int(run["duration_us"])
    options = RunOptions(until_us / 1e6, options.on_progress, options.should_stop, options.stopwatch, options.flush_s)
    about = _about(loaded, options)

    def recorder(points: PointDatabase, sample_ids: Ids) -> Recorder:
        return Recorder.resume(folder, points, about, _record_options(loaded, options, sample_ids), options.stopwatch)

    journal = RunResult.load(folder).journal()
    if run["external"]:
        raise RecordError(f"{folder}: agents {', '.join(run['external'])} were decided outside (an environment's "
                          f"episode); it cannot go on by itself")
    simulation = build(loaded, BuildOptions(recorder=recorder, stopwatch=options.stopwatch))
    for command in journal:
        simulation.inbox.reenter(command)
    return _finish(loaded, simulation, folder, options)


def _finish(loaded: LoadedScenario, simulation: Simulation, out: Path | None, options: RunOptions) -> RunSummary:
    begun_s = options.stopwatch.now_s()
    end_us = simulation.end_us if options.until_s is None else min(round(options.until_s * 1e6), simulation.end_us)
    status, error = "done", ""
    try:
        status = _advance(simulation, end_us, options)
    except GridloopError as failure:
        status, error = "failed", str(failure)
    return close_run(loaded, simulation, out, Ending(status, error, options.stopwatch.now_s() - begun_s))


def close_run(loaded: LoadedScenario, simulation: Simulation, out: Path | None, ending: Ending) -> RunSummary:
    """Write what is still in memory, the key figures and the digest; sum up."""
    status, error = ending.status, ending.error
    kpis = simulation.kpis().to_dict()
    timing = {"wall_s": ending.wall_s, **simulation.budget.seconds()}
    shield = {"mode": loaded.scenario.shield.mode.value, **simulation.shield_figures()}
    summary = {"kpis": kpis, "shield": shield, "solves": simulation.solves, "solver": simulation.grid.solver,
               "solver_reason": simulation.grid.solver_reason, **ending.figures}
    held = dict(simulation.crew.held)
    if held:
        summary["held_actions"] = held
    digest = ""
    try:
        # What came after the last publication (a command on its way to the next scan) is part of the run too.
        simulation.recorder.end_instant(simulation.now_us)
        digest = simulation.recorder.close(status, error, summary=summary, timing=timing)
    except RecordError as refusal:
        status, error = "failed", error or str(refusal)
        simulation.recorder.abandon()
    return RunSummary(loaded.scenario.name, status, error, digest, "" if out is None else str(out),
                      simulation.now_us / 1e6, ending.wall_s, simulation.solves, kpis, shield, timing, held)


def _advance(simulation: Simulation, end_us: int, options: RunOptions) -> str:
    """Advance to the end in looks; returns ``done`` or ``stopped``."""
    look_us = max(1, -(-end_us // LOOKS))
    while simulation.now_us < end_us:
        simulation.advance_to(min(end_us, simulation.now_us + look_us))
        if options.on_progress is not None:
            options.on_progress(simulation.now_us, end_us)
        if options.should_stop() and simulation.now_us < end_us:
            return "stopped"
    return "done"


def _about(loaded: LoadedScenario, options: RunOptions) -> RunAbout:
    scenario = loaded.scenario
    duration_s = scenario.duration_s if options.until_s is None else min(options.until_s, scenario.duration_s)
    return RunAbout(
        name=scenario.name, scenario=scenario.model_dump(mode="json"), scenario_text=loaded.text, seed=scenario.seed,
        versions=versions(), duration_us=round(duration_s * 1e6), overrides=loaded.overrides,
        external=options.external)


def _record_options(loaded: LoadedScenario, options: RunOptions, sample_ids: Ids) -> RecordOptions:
    record = loaded.scenario.record
    period_s = loaded.scenario.step_s if record.period_s is None else record.period_s
    return RecordOptions(sample_ids=sample_ids, period_us=round(period_s * 1e6), messages=record.messages,
                         flush_s=options.flush_s, audit=loaded.scenario.shield.mode is not ShieldMode.OFF,
                         stamp=wall_stamp)


def versions() -> dict[str, str]:
    """Versions of what a result depends on, for the manifest (never in the digest)."""
    found = {"gridloop": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("simpy", "numpy", "lightsim2grid", "pandapower", "pyarrow", "pydantic"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
