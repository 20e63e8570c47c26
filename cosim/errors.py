"""Every exception that Gridloop raises on purpose.

A message says where, what was found, what was expected and what would be accepted.  Expected outcomes
(a refused command, a power flow that does not converge) are values, never exceptions.  All arguments are
positional, because SimPy rebuilds an exception from its ``args``.
"""

from __future__ import annotations

from dataclasses import dataclass


class GridloopError(Exception):
    """Base class: anything below it is our own word, anything else is a bug."""


#: Packages of ours: a module of theirs that is missing is a bug, not a missing extra.
_OURS = ("cosim", "gateways", "hil", "policies")


def extra_needed(what: str, extra: str, error: ModuleNotFoundError) -> str:
    """Which package is missing for what, and how to install it; "" where a module of our own is missing."""
    package = (error.name or "").partition(".")[0]
    return "" if package in _OURS else f"{what} needs {package}: pip install 'gridloop[{extra}]'"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a scenario: where, and what would be accepted.

    ``path`` is the place in the data (``agents.0.period_s``); line and column count from 1 (0: unknown).
    """

    message: str
    path: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    rule: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file and self.line else (
            f"{self.file}: " if self.file else "")
        where = f"{self.path}: " if self.path else ""
        return f"{place}{where}{self.message}"


class ScenarioError(GridloopError):
    """A scenario that cannot be run; ``problems`` holds every one found, in file order."""

    def __init__(self, problems: tuple[Problem, ...] | str) -> None:
        self.problems = (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ProfileError(ScenarioError):
    """A profile file that cannot be used; ``problems`` names rows and what would be accepted."""

    def __init__(self, problems: tuple[Problem | str, ...] | str) -> None:
        items = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(tuple(p if isinstance(p, Problem) else Problem(p) for p in items))


class GridError(GridloopError):
    """A network that cannot be loaded or represented."""


class PluginError(GridloopError):
    """A plugin that is unknown, cannot be loaded, or breaks its contract."""


class KernelError(GridloopError):
    """Misuse of simulation time: an event in the past, or a phase already finished."""


class ProcessError(GridloopError):
    """An exception inside a simulated process: names the process and its simulation time."""

    def __init__(self, name: str, t_us: int, cause: str) -> None:
        self.name, self.t_us = name, t_us
        super().__init__(name, t_us, cause)

    def __str__(self) -> str:
        name, t_us, cause = self.args
        return f"{name} failed at t = {t_us / 1e6:.6f} s: {cause}"


class RecordError(GridloopError):
    """A result folder that cannot be written, read or resumed."""


class FolderError(RecordError):
    """A folder that no new result can be written into, found before anything ran."""


class ReplayError(GridloopError):
    """A result that cannot be replayed (missing parts, another scenario)."""


class GatewayError(GridloopError):
    """A listener, a field device or a certificate that cannot be used."""


class PointListError(ScenarioError):
    """A point list that cannot be used; ``problems`` names file and line of each."""
