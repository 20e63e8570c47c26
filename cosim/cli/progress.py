"""How far a run is: a bar on a terminal, a line every tenth elsewhere, nothing with --quiet.  Always on stderr."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

#: Updates of the bar in a run: enough to look smooth, few enough to cost nothing.
_UPDATES = 1_000


class Reporter:
    """Shows progress, and says once Ctrl-C was pressed that the run should stop at the end of its instant."""

    def __init__(self, *, parts: int, show: Any) -> None:
        self._parts, self._show = parts, show
        self._next_us = 0
        self._is_stopping = False

    def __call__(self, t_us: int, end_us: int) -> None:
        if t_us >= self._next_us or t_us >= end_us:
            self._next_us = t_us + max(end_us // self._parts, 1)
            self._show(t_us, end_us)

    def should_stop(self) -> bool:
        """Whether the run is to stop cleanly now."""
        return self._is_stopping

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """The first Ctrl-C waits for the end of the instant; a second one does not."""
        if self._is_stopping:
            raise KeyboardInterrupt
        self._is_stopping = True


@contextmanager
def reporting(*, quiet: bool, name: str = "") -> Iterator[Reporter]:
    """A reporter for one run (`name` tells it from others); Ctrl-C is its while the run lasts."""
    with _display(quiet=quiet, name=f"{name}: " if name else "") as (parts, show):
        reporter = Reporter(parts=parts, show=show)
        before = signal.signal(signal.SIGINT, reporter.stop) if _in_main_thread() else None
        try:
            yield reporter
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)


@contextmanager
def _display(*, quiet: bool, name: str) -> Iterator[tuple[int, Any]]:
    if quiet:
        yield 1, lambda _t_us, _end_us: None
    elif sys.stderr.isatty():
        with _bar(name) as show:
            yield _UPDATES, show
    else:
        yield 10, partial(_line, name)


@contextmanager
def _bar(name: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("running", total=None)

        def show(t_us: int, end_us: int) -> None:
            progress.update(task, completed=t_us, total=end_us, description=f"{name}t = {t_us / 1e6:,.0f} s")

        yield show


def _line(name: str, t_us: int, end_us: int) -> None:
    percent = 100 * t_us // end_us if end_us else 100
    done_s, all_s = (f"{t / 1e6:,.0f}" if end_us >= 100_000_000 else f"{t / 1e6:g}" for t in (t_us, end_us))
    print(f"{name}t = {done_s} s of {all_s} s ({percent} %)", file=sys.stderr)


def _in_main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()
