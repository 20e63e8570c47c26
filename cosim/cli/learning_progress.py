"""How far an evaluation or a training is, on stderr: a bar with figures on a terminal, a line a tenth elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cosim.cli.progress import Reporter

#: Told of what is done, what there is to do, and how it goes.
Show = Callable[[int, int, str], None]


@contextmanager
def counting(*, quiet: bool, what: str) -> Iterator[Reporter]:
    """A reporter of numbers done and to do; the first Ctrl-C asks to stop, as in a run."""
    with showing(quiet=quiet) as show:
        def of(done: int, total: int) -> None:
            show(done, total, f"{what} {done:,} of {total:,}")

        reporter = Reporter(parts=1_000_000, show=of)
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, reporter.stop) if in_main else None
        try:
            yield reporter
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)


@contextmanager
def showing(*, quiet: bool) -> Iterator[Show]:
    """A way to show progress; it does not touch Ctrl-C."""
    if quiet:
        yield lambda _done, _total, _words: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn(),
                                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(done: int, total: int, words: str) -> None:
            progress.update(task, completed=done, total=total, description=words)

        yield show


class _Lines:
    """A line for the first, every tenth and the last."""

    def __init__(self) -> None:
        self._next = 1

    def __call__(self, done: int, total: int, words: str) -> None:
        if done < self._next and done < total:
            return
        self._next = done + max(total // 10, 1)
        print(f"{100 * done // total if total else 100:3d} %  {words}", file=sys.stderr, flush=True)
