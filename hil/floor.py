"""The noise floor: how late this machine makes a loop that does nothing, measured beside the run by another process.

On a shared machine the tails are the neighbours'.  A figure of ours means something only beside the same figure of a
null loop in the same window: a timer on absolute deadlines with the scan's period (`lateness`), and the time from a
byte written into a socket to the call that hears of it (`wakeup`).

Run as ``python -m hil.floor PERIOD_US CORE…``: it measures until its standard input ends, then prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Collection
from typing import Any

from hil.histogram import Histogram
from hil.pacer import MonotonicClock

#: Shortest period measured: a null loop must leave the machine to others.
LEAST_PERIOD_US = 10_000
#: Wall seconds for which the child's answer is waited for.
ANSWER_S = 3.0


class NoiseFloor:
    """A null loop in a child process; `stop` returns what it measured ({} when it could not).

    The child has the scheduling that the run got, by inheritance; but not the one core that the run keeps to, where it
    would measure the run's own work and call it the machine's: it may use `cores`.
    """

    def __init__(self, period_us: int, cores: Collection[int]) -> None:
        command = [sys.executable, "-m", "hil.floor", str(max(period_us, LEAST_PERIOD_US)), *map(str, sorted(cores))]
        self._child: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # noqa: S603 - ours
                                           stderr=subprocess.DEVNULL, start_new_session=True)

    def stop(self) -> dict[str, Any]:
        """End the child and hear what it has to say."""
        child, self._child = self._child, None
        if child is None:
            return {}
        try:
            answer, _ = child.communicate(timeout=ANSWER_S)
            found: dict[str, Any] = json.loads(answer)
        except (subprocess.TimeoutExpired, ValueError):
            child.kill()
            child.wait()
            return {}
        return found


class _NullLoop(asyncio.Protocol):
    """Absolute deadlines, and a byte to itself at each."""

    def __init__(self, period_us: int) -> None:
        self._clock, self._period_ns = MonotonicClock(), period_us * 1000
        self._lateness, self._wakeup = Histogram(), Histogram()
        self._due_ns = self._sent_ns = 0
        self._mouth, self._ear = socket.socketpair()

    async def run(self) -> None:
        """Until standard input ends."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda: self, sock=self._ear)
        loop.add_reader(sys.stdin.fileno(), self._heard_of_the_end, ended)
        self._due_ns = self._clock.now_ns()
        self._arm(loop)
        await ended
        sys.stdout.write(json.dumps({"lateness": self._lateness.to_dict(), "wakeup": self._wakeup.to_dict()}) + "\n")

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - asyncio calls it so
        """The byte has arrived."""
        self._wakeup.record(self._clock.now_ns() - self._sent_ns)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_ns += self._period_ns
        loop.call_later((self._due_ns - self._clock.now_ns()) / 1e9, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now_ns = self._clock.now_ns()
        self._lateness.record(now_ns - self._due_ns)
        self._sent_ns = now_ns
        self._mouth.send(b".")
        self._arm(loop)

    @staticmethod
    def _heard_of_the_end(ended: asyncio.Future[None]) -> None:
        if not os.read(sys.stdin.fileno(), 64) and not ended.done():
            ended.set_result(None)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, map(int, sys.argv[2:]))
    asyncio.run(_NullLoop(int(sys.argv[1])).run())
