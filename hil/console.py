"""Commands typed into a running server: pause, resume, rate, read-only, reset, status, quit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cosim.errors import GridloopError
from hil.gate import CommandGate
from hil.pacer import Pacer
from hil.timing import Timing

#: Longest line that is looked at.
MAX_LINE = 200

HELP = ("commands: pause · resume · rate X (0.1 to 100 simulated seconds a second) · read-only on|off · "
        "reset (the overrun flag) · status · quit")


class Typing:
    """Bytes from a keyboard or a pipe, made into lines."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = b""

    def lines(self, data: bytes) -> list[str]:
        """The lines that `data` completes; empty data is the end, and completes what was begun."""
        *whole, self._begun = (self._begun + (data or b"\n")).split(b"\n")
        self._begun = self._begun[:MAX_LINE]
        return [line.decode("utf-8", "replace") for line in whole]


@dataclass(frozen=True, slots=True)
class Console:
    """What the commands act upon; `changed` is called when the driver has to look again what is due."""

    pacer: Pacer
    gate: CommandGate
    timing: Timing
    status: Callable[[], str]
    changed: Callable[[], None]
    quit: Callable[[], None]

    def obey(self, line: str) -> str:
        """Carry out one line; the answer to show."""
        word, _, rest = line.strip()[:MAX_LINE].partition(" ")
        if not word:
            return ""
        commands: Mapping[str, Callable[[str], str]] = {
            "pause": self._pause, "resume": self._resume, "rate": self._rate, "read-only": self._read_only,
            "reset": self._reset, "status": lambda _: self.status(), "quit": self._quit, "help": lambda _: HELP}
        command = commands.get(word.lower())
        if command is None:
            return f"unknown command '{word}'; {HELP}"
        return command(rest.strip())

    def _pause(self, _: str) -> str:
        self.pacer.pause()
        self.changed()
        return f"paused at t = {self.pacer.now_us() / 1e6:.3f} s; masters are still answered"

    def _resume(self, _: str) -> str:
        self.pacer.resume()
        self.changed()
        return f"going on from t = {self.pacer.now_us() / 1e6:.3f} s"

    def _rate(self, rest: str) -> str:
        try:
            self.pacer.set_rate(float(rest))
        except (ValueError, GridloopError):
            return f"rate: found '{rest}'; expected a number from 0.1 to 100"
        self.changed()
        return f"rate {self.pacer.rate:g} from t = {self.pacer.now_us() / 1e6:.3f} s"

    def _read_only(self, rest: str) -> str:
        if rest not in ("on", "off"):
            return f"read-only: found '{rest}'; expected on or off"
        self.gate.read_only = rest == "on"
        return "writes are refused from now on" if self.gate.read_only else "writes are judged again"

    def _reset(self, _: str) -> str:
        self.timing.overruns.latched = False
        return f"overrun flag reset ({self.timing.overruns.count} overruns so far)"

    def _quit(self, _: str) -> str:
        self.quit()
        return ""
