"""What a command returns: an exit code, data for machines and text for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import IntEnum
from typing import Any

from cosim.errors import GridloopError, Problem


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    """The run failed; its state so far is saved."""
    USAGE = 2
    """Bad usage or a bad scenario; nothing was written."""


class UsageError(GridloopError):
    """A command that was asked for something it will not do."""


class OutputError(GridloopError):
    """Standard output that takes nothing more: a full disk behind it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A command's result: `data` is printed with --json, else `text`."""

    exit: Exit
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)


def say(text: str) -> None:
    """Print to standard output, in whatever letters it has.

    Raises BrokenPipeError where whoever read us has gone, OutputError for anything else that is wrong with it.
    """
    try:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror}") from None


def problem_data(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    """Problems as plain data."""
    return [asdict(problem) for problem in problems]


def plain(value: Any) -> Any:
    """Whatever a command got (dataclasses, paths, NumPy scalars) as JSON data; NaN and infinities become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
