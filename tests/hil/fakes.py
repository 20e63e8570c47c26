"""A clock that moves when it is told to, and not before."""

from __future__ import annotations


class FakeClock:
    """`hil.pacer.Clock`: stands still; `each_ns` is what every look at it costs."""

    def __init__(self, start_ns: int = 0, each_ns: int = 0) -> None:
        self._now_ns, self._each_ns = start_ns, each_ns

    def now_ns(self) -> int:
        """Now."""
        self._now_ns += self._each_ns
        return self._now_ns

    def forward(self, seconds: float) -> None:
        """Let time go by."""
        self._now_ns += round(seconds * 1e9)
