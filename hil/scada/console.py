"""The operator's side of a control centre: typed lines, and the screen where there is a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hil.scada.centre import Centre
from hil.scada.words import screen

MAX_LINE = 400
_REFRESH_S = 0.5


class LineEditor:
    """Bytes of a keyboard to lines; `text` is the line so far.  Escape sequences are ignored."""

    def __init__(self) -> None:
        self.text = ""
        self._escape = False

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes end."""
        lines: list[str] = []
        for char in data.decode("utf-8", "replace"):
            if self._escape:
                self._escape = not (char.isalpha() or char == "~")
            elif char in "\r\n":
                lines.append(self.text)
                self.text = ""
            elif char == "\x1b":
                self._escape = True
            elif char in "\x7f\b":
                self.text = self.text[:-1]
            elif char == "\x15":
                self.text = ""
            elif char.isprintable() and len(self.text) < MAX_LINE:
                self.text += char
        return lines


@contextmanager
def listening(hear: Callable[[str], None], editor: LineEditor) -> Iterator[None]:
    """Lines of stdin go to `hear` while inside; its end is no end of the run.  Needs a running loop."""
    loop, descriptor = asyncio.get_running_loop(), _stdin()
    if descriptor is None:
        yield
        return

    def ready() -> None:
        data = _read(descriptor)
        if not data:
            loop.remove_reader(descriptor)
        for line in editor.feed(data):
            hear(line)

    with _one_key_at_a_time(descriptor):
        try:
            loop.add_reader(descriptor, ready)
        except PermissionError:  # a regular file or /dev/null: all is there already
            while data := _read(descriptor):
                for line in editor.feed(data):
                    hear(line)
        try:
            yield
        finally:
            with contextlib.suppress(ValueError, OSError):
                loop.remove_reader(descriptor)


async def refreshing(centre: Centre, editor: LineEditor, said: deque[str]) -> None:
    """Redraw the screen until cancelled."""
    from rich.live import Live

    with Live(screen=False, auto_refresh=False, transient=True) as live:
        while True:
            live.update(screen(centre.board, centre.summary(), list(said), editor.text), refresh=True)
            await asyncio.sleep(_REFRESH_S)


def _stdin() -> int | None:
    """The descriptor to read from; None without one, or in the background of a terminal."""
    try:
        descriptor = sys.stdin.fileno()
        if os.isatty(descriptor) and os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


@contextmanager
def _one_key_at_a_time(descriptor: int) -> Iterator[None]:
    """A terminal without echo and lines of its own; the screen shows what is typed.  Ctrl-C stays a signal."""
    if not (os.isatty(descriptor) and sys.stdout.isatty()):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
