"""What the commands about learning share: which extra is missing, seeds, and tables for people."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cosim.cli.outcome import UsageError
from cosim.errors import extra_needed

#: Most seeds of one command.
MAX_SEEDS = 10_000


@contextmanager
def needing(what: str, extra: str = "rl") -> Iterator[None]:
    """UsageError with the extra to install where a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = extra_needed(what, extra, error)
        if not hint:
            raise
        raise UsageError(hint) from None


def add_learning_scenario(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    """SCENARIO, --set, --agents, --duration, --allow-plugins."""
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?" if is_optional else None,
                        help="a file, or a shipped scenario's name (gridloop list)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
                        help="change a value of the scenario (repeatable)")
    parser.add_argument("--agents", metavar="PATTERN,…", type=_names, help="who learns (default: learning.agents)")
    parser.add_argument("--duration", metavar="SECONDS", type=_positive,
                        help="length of an episode (default: learning.episode.duration_s, else the run's)")
    parser.add_argument("--allow-plugins", action="store_true",
                        help="load the Python code that the scenario's `plugins` names")


def again(scenario: str, overrides: Sequence[str], *, allow_plugins: bool, agents: Sequence[str] | None = None) -> str:
    """The scenario as a next command names it, with what was changed in it and who learns, where that was said."""
    who = () if agents is None else (f"learning.agents={json.dumps(agents)}",)
    changes = (f"--set {shlex.quote(text)}" for text in (*overrides, *who))
    return " ".join([shlex.quote(scenario), *changes, *(["--allow-plugins"] * allow_plugins)])


def seeds_of(text: str, first: int) -> tuple[int, ...]:
    """``5``: five seeds from `first` on; ``1,2,7``: those.  Raises UsageError."""
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1 and 1 <= numbers[0] <= MAX_SEEDS:
        return tuple(range(first, first + numbers[0]))
    if "," in text and 1 <= len(numbers) <= MAX_SEEDS and len(set(numbers)) == len(numbers) and min(numbers) >= 0:
        return tuple(numbers)
    raise UsageError(f"--seeds: found {text!r:.60}; expected how many (1 to {MAX_SEEDS:,}), or different seeds with "
                     f"commas: 1,2,3")


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table, the first `left` columns to the left; with rich on a terminal, plain where a file or a pipe reads."""
    if sys.stdout.isatty():
        return _rich(head, rows, left)
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(word.ljust(width) if i < left else word.rjust(width)
                       for i, (word, width) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in (head, *rows)]
    return "\n".join(lines)


def _rich(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for i, word in enumerate(head):
        table.add_column(Text(word), justify="left" if i < left else "right", no_wrap=i < left)
    for row in rows:
        table.add_row(*(Text(word) for word in row))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")


def _names(text: str) -> tuple[str, ...]:
    found = tuple(word.strip() for word in text.split(",") if word.strip())
    if not found:
        raise argparse.ArgumentTypeError("expected patterns of agents' names, with commas")
    return found


def _positive(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not 0 < found < 1e10:
        raise argparse.ArgumentTypeError(f"{text!r:.40}; expected seconds of simulation time above 0")
    return found
