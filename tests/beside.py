"""A server that a page starts in the background, ended as the page ends it."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

#: Ports that pages write; each gets a free one while a page is tried, so that two pages can be tried at once.
PORTS = ("5020", "5021", "8802")
_MARKS = re.compile(r"(?<![\d.])(" + "|".join(PORTS) + r")(?!\d)")
PATIENCE_S = 60


class Beside:
    """At most one server at a time, in `folder`; whatever is left of it at the end is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[str, str] = {}
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.communicate()

    def with_ports(self, line: str) -> str:
        """The line with the ports that are in use instead of the page's."""
        return _MARKS.sub(lambda found: self._ports.get(found[0], found[0]), line)

    def takes(self, line: str) -> bool:
        """Carry out a line that is about the background, or mbpoll's; False: somebody else's."""
        words = shlex.split(line, comments=True)
        if words[-1:] == ["&"] and "serve" in words:
            self._start(words[words.index("serve"):-1])
        elif words[:3] == ["kill", "-INT", "%1"]:
            self._end(line)
        elif words[:1] == ["mbpoll"]:
            self._mbpoll(self.with_ports(line))
        else:
            return False
        return True

    def _start(self, words: list[str]) -> None:
        assert self._server is None, "a page serves one scenario at a time"
        port = _free_port()
        self._ports = dict.fromkeys(PORTS, str(port))
        command = [sys.executable, "-m", "cosim.cli", *words, "--port", str(port), "--no-floor"]
        self._server = subprocess.Popen(command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        assert self._server.stderr is not None
        said = ""
        for line in self._server.stderr:
            said += line
            if f":{port}" in line:
                return
        raise AssertionError(f"gridloop {shlex.join(words)} ended: {said}")

    def _end(self, line: str) -> None:
        assert self._server is not None, f"{line}: nothing runs in the background"
        server, self._server = self._server, None
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=PATIENCE_S)
        assert server.returncode == 0, out + err

    def _mbpoll(self, line: str) -> None:
        if shutil.which("mbpoll"):
            done = subprocess.run(shlex.split(line, comments=True), capture_output=True, text=True, timeout=PATIENCE_S,
                                  check=False)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
