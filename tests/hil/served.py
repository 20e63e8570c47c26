"""A served scenario in a process of its own, for tests: started, asked, ended by the signal a person would send."""

from __future__ import annotations

import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Longest that anything here waits.
PATIENCE_S = 60.0

SCENARIO = """
name: served
duration_s: 600
step_s: 0.1
grid: {network: case33bw, load_scale: 0.4}
shield: enforce
devices:
  - {kind: battery, name: store, bus: "18", p_max_kw: 500, e_rated_kwh: 1000}
  - {kind: pv, name: sun, bus: "33", p_rated_kw: 400, s_rated_kva: 500}
"""


class Served:
    """The process, and what it has said on its standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches; the match."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"ended without a line like {pattern!r}: {''.join(self.said)}")

    def type(self, line: str) -> None:
        """A line into the console."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Send a signal, wait; exit code and all of standard output."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        self.said.append(err)
        return self.process.returncode, out


def _hears_of_hangups() -> None:
    """Tests may run under nohup, whose children ignore SIGHUP unless told otherwise."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def served(scenario: Path | str, *arguments: str) -> Iterator[Served]:
    """``gridloop serve SCENARIO ARGUMENTS``; killed at the end if it still runs."""
    command = [sys.executable, "-m", "cosim.cli", "serve", str(scenario), *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, preexec_fn=_hears_of_hangups) as process:  # noqa: PLW1509 - no threads here
        try:
            yield Served(process)
        finally:
            if process.poll() is None:
                process.kill()


def ask(port: int, *requests: bytes, unit: int = 1) -> list[bytes]:
    """Answers (PDUs) to PDUs, all sent at once over one connection."""
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        frames = [struct.pack(">HHHB", i, 0, len(pdu) + 1, unit) + pdu for i, pdu in enumerate(requests)]
        connection.sendall(b"".join(frames))
        for i in range(len(requests)):
            head = _exactly(connection, 7)
            number, _, length, _ = struct.unpack(">HHHB", head)
            assert number == i, "answers come in the order of the requests"
            answers.append(_exactly(connection, length - 1))
    return answers


def _exactly(connection: socket.socket, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = connection.recv(n - len(data))
        assert part, f"closed after {len(data)} of {n} bytes"
        data += part
    return data
