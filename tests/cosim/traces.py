"""A kernel that tells what happened in it, for tests of its order."""

from __future__ import annotations

from typing import Any

from cosim.kernel import Kernel, Phase


class Trace:
    """A kernel and what happened in it, as a text timeline: ``"<t_us> <PHASE> <what>"``."""

    def __init__(self, seed: int = 0) -> None:
        self.kernel = Kernel(seed)
        self.lines: list[str] = []

    def note(self, what: Any) -> None:
        """Write a line."""
        self.lines.append(f"{self.kernel.now_us} {self.kernel.phase.name} {what}")

    def at(self, t_us: int, what: str, phase: Phase = Phase.DRIVE) -> None:
        """Schedule a line."""
        self.kernel.at(t_us, self.note, what, phase)


def timeline(text: str) -> list[str]:
    """Lines of an indented timeline."""
    return [line.strip() for line in text.strip().splitlines()]
