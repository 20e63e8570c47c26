"""Replaying a result: scenario + seed + journal are the run, so running them again must give the same digest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosim.errors import GridloopError, ReplayError
from cosim.points import Ids, PointDatabase
from cosim.recorder import FORMAT, Divergence, Recorder, RecordOptions, RunAbout, RunResult, compare
from cosim.scenario.loader import LoadedScenario
from cosim.simulation.build import BuildOptions, RecorderFactory, build
from cosim.simulation.inputs import reopened

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What a replay found: the two digests, and where the rows first differ (None when they are the same)."""

    recorded: str
    replayed: str
    t_us: int
    divergence: Divergence | None
    error: str = ""

    @property
    def same(self) -> bool:
        """Whether the replay is the run, bit for bit, and the recorded rows are those of its digest."""
        return self.recorded == self.replayed and self.divergence is None


def replay(folder: Path, on_progress: Progress | None = None, *, allow_plugins: bool = False) -> ReplayOutcome:
    """Run a result again at full speed and compare; raises ReplayError for one that was never finished.

    The replay records into a temporary folder: the manifest's digest speaks of the rows as they were written, so rows
    that were changed since are found only by looking at them.  The first differing row is named.
    """
    result = RunResult.load(folder)
    if not result.digest and result.manifest["external"]:
        raise ReplayError(f"{folder}: the episode has no digest (status {result.status}): its environment ended before "
                          f"`reset` or `close` could finish it; its rows can be read, but not compared")
    if result.status == "running" or not result.digest:
        raise ReplayError(f"{folder}: the run has no digest (status {result.status}); finish it with "
                          f"`gridloop run --resume {folder}`, then replay")
    if result.manifest["format"] != FORMAT:
        raise ReplayError(f"{folder}: recorded in format {result.manifest['format']} by an earlier version, whose "
                          f"digest this one (format {FORMAT}) does not make; its rows can be read, and its "
                          f"scenario.yaml run again")
    loaded, _ = reopened(folder, allow_plugins=allow_plugins)
    t_us = int(result.manifest["t_us"])
    with tempfile.TemporaryDirectory(prefix="gridloop-replay-") as scratch:
        digest, error = _run(loaded, result, Path(scratch) / "replayed", on_progress)
        divergence = compare(result, RunResult.load(Path(scratch) / "replayed"))
    return ReplayOutcome(result.digest, digest, t_us, divergence, error)


def _run(loaded: LoadedScenario, result: RunResult, out: Path,
         on_progress: Progress | None) -> tuple[str, str]:
    """Digest of the run re-executed to the recorded end, and the error that stopped it, if one did."""
    manifest = result.manifest
    end_us = int(manifest["t_us"])
    simulation = build(loaded, BuildOptions(external=tuple(manifest["external"]), replaying=True,
                                            recorder=_factory(out, manifest["record"]["period_us"])))
    if end_us > simulation.end_us:
        simulation.recorder.abandon()
        raise ReplayError(f"{result.manifest['name']}: the manifest says that it reached {end_us / 1e6} s, its "
                          f"scenario ends at {simulation.end_us / 1e6} s: they do not belong together")
    for command in result.journal():
        simulation.inbox.reenter(command)
    error = ""
    try:
        if not manifest["external"]:
            simulation.advance_to(0)  # a run that ended at t = 0 (a strict overrun, say) has processed that instant
        while simulation.now_us < end_us:
            simulation.advance_to(min(end_us, simulation.now_us + max(1, -(-end_us // 200))))
            if on_progress is not None:
                on_progress(simulation.now_us, end_us)
    except GridloopError as failure:
        error = str(failure)
    return simulation.recorder.close("failed" if error else "done", error), error


def _factory(out: Path, period_us: int) -> RecorderFactory:
    def make(points: PointDatabase, sample_ids: Ids) -> Recorder:
        return Recorder(out, points, RunAbout(name="replay"), RecordOptions(sample_ids=sample_ids, period_us=period_us))

    return make
