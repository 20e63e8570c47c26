"""What the commands ask of the rest: one record of functions, so that tests of the command line bring their own.

Imports are inside the functions: ``gridloop --help`` must not wait for NumPy and pandapower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cosim.plugins import Registry
    from cosim.scenario.loader import LoadedScenario

#: Told of simulation time done and to do, microseconds.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """How a run is watched from outside: told of progress, and asked now and then whether to stop."""

    on_progress: Progress
    should_stop: Callable[[], bool]


def _run(loaded: LoadedScenario, out: Path, until_s: float | None, watch: Watch) -> Any:
    from cosim.simulation.session import RunOptions, run_scenario

    return run_scenario(loaded, out, RunOptions(until_s, watch.on_progress, watch.should_stop))


def _resume(folder: Path, allow_plugins: bool, watch: Watch) -> Any:
    from cosim.simulation.session import RunOptions, resume_run

    return resume_run(folder, RunOptions(None, watch.on_progress, watch.should_stop), allow_plugins=allow_plugins)


def _check(loaded: LoadedScenario) -> None:
    from cosim.simulation.build import build

    simulation = build(loaded)
    if loaded.scenario.stations or loaded.scenario.listeners:
        from gateways.assembly import assemble
        from hil.access import AccessLog
        from hil.gate import CommandGate

        assemble(loaded, simulation, CommandGate(simulation, AccessLog(None, {}), lambda now_us: now_us))


def _replay(folder: Path, allow_plugins: bool, on_progress: Progress) -> Any:
    from cosim.replay import replay

    return replay(folder, on_progress, allow_plugins=allow_plugins)


def _report(folder: Path, out: Path) -> Path:
    from cosim.report import write_report

    return Path(write_report(folder, out))


def _serve(loaded: LoadedScenario, out: Path, options: Any) -> Any:
    from hil.serve import serve

    return serve(loaded, out, options)


def _train(config: Any, out: Path, on_progress: Callable[[Any], None], resume: bool) -> Any:
    from policies.training.loop import train

    return train(config, out, on_progress, resume=resume)


def _train_offline(config: Any, dataset: Path, out: Path, on_progress: Callable[[str, int, Any], None]) -> Any:
    from policies.training.offline import train_offline

    return train_offline(config, dataset, out, on_progress)


def _evaluate(plan: Any, workers: int, on_episode: Callable[[Any, int, int], None],
              should_stop: Callable[[], bool]) -> Any:
    from policies.evaluate import evaluate

    return evaluate(plan, workers, on_episode, should_stop)


def _export(bundle: Path, out: Path | None) -> Any:
    from policies.export import export_onnx

    return export_onnx(bundle, out)


def _dataset(scenario: str, out: Path, recording: Any, on_episode: Callable[[int], None]) -> tuple[Path, ...]:
    from policies.demonstrations import record

    return record(scenario, out, recording, on_episode)


def _networks() -> list[tuple[str, str]]:
    from cosim.grid.catalogue import known_networks

    return known_networks()


def _registry() -> Registry:
    from cosim.plugins import Registry

    return Registry()


@dataclass(frozen=True, slots=True)
class Engine:
    """The functions behind the commands.

    `run` and `resume` return a summary with status done, failed or stopped; `check` resolves a scenario's references
    into its network; `replay` returns an outcome with `same`, the two digests and the first divergence.
    """

    run: Callable[[LoadedScenario, Path, float | None, Watch], Any] = _run
    resume: Callable[[Path, bool, Watch], Any] = _resume
    check: Callable[[LoadedScenario], None] = _check
    replay: Callable[[Path, bool, Progress], Any] = _replay
    report: Callable[[Path, Path], Path] = _report
    networks: Callable[[], list[tuple[str, str]]] = _networks
    registry: Callable[[], Registry] = _registry
    serve: Callable[[LoadedScenario, Path, Any], Any] = _serve
    train: Callable[[Any, Path, Callable[[Any], None], bool], Any] = _train
    train_offline: Callable[[Any, Path, Path, Callable[[str, int, Any], None]], Any] = _train_offline
    evaluate: Callable[[Any, int, Callable[[Any, int, int], None], Callable[[], bool]], Any] = _evaluate
    export: Callable[[Path, Path | None], Any] = _export
    dataset: Callable[[str, Path, Any, Callable[[int], None]], tuple[Path, ...]] = _dataset
