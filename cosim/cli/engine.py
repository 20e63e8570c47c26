"""What the commands ask of the rest: one record of functions, so that tests of the command line bring their own.

Imports are inside the functions: ``gridloop --help`` must not wait for pandapower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cosim.plugins import Registry

#: Called between instants with (t_us, end_us); may raise KeyboardInterrupt to stop the run there.
Progress = Callable[[int, int], None]


class RunScenario(Protocol):
    """Builds and runs: returns the summary (status done, failed or stopped; digest; figures)."""

    def __call__(self, loaded: Any, out: Path, *, until_s: float | None, resume: bool,
                 on_progress: Progress) -> Any: ...


class CheckReferences(Protocol):
    """References of a loaded scenario into its network; raises ScenarioError with paths."""

    def __call__(self, loaded: Any) -> None: ...


def _run(loaded: Any, out: Path, *, until_s: float | None, resume: bool, on_progress: Progress) -> Any:
    from cosim.simulation.session import run_scenario

    return run_scenario(loaded, out, until_s=until_s, resume=resume, on_progress=on_progress)


def _check(loaded: Any) -> None:
    from cosim.simulation.build import build

    build(loaded)


def _replay(folder: Path, on_progress: Progress) -> Any:
    from cosim.replay import replay

    return replay(folder, on_progress)


def _report(folder: Path, out: Path) -> Path:
    from cosim.report import write_report

    return write_report(folder, out)


def _networks() -> list[tuple[str, str]]:
    from cosim.grid.catalogue import known_networks

    return known_networks()


@dataclass(frozen=True, slots=True)
class Engine:
    """The functions behind the commands."""

    run: RunScenario = _run
    check: CheckReferences = _check
    replay: Callable[[Path, Progress], Any] = _replay
    report: Callable[[Path, Path], Path] = _report
    networks: Callable[[], list[tuple[str, str]]] = _networks
    registry: Callable[[], Registry] = Registry
