"""Figure 6: a million frames with something wrong, and what the server is like afterwards.

Frames come from `tests.gateways.modbus.fuzzing` (a third is sound, most have one thing wrong), and every fifth is a
sound write at the edge of what may be written.  A connection is used on
while the bytes on it are whole frames; after others it is cut, as nobody knows how the server reads on.  After every
thousand frames a healthy master asks and must be answered within two seconds.  Limits on the rate of writes are lifted
as far as they can be, so that writes are judged by what they ask.

Afterwards: what was taken is read from the access log, whose bytes are decoded here once more, and what entered the run
from its journal; neither may name anything but what the point list lets be written, within its bounds.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gateway_effort import Effort, reached, told
from benchmarks.gateway_load import RECEIVE, answer_size, connections, read_request
from benchmarks.gateway_servers import WRITABLE, Running, ours
from benchmarks.harness import Row
from cosim.audit.reading import Walk
from cosim.recorder import RunResult
from hil.access import FILE as ACCESS
from hil.access import read_write
from tests.gateways.modbus.fuzzing import mutated

SEED = 20_240_601
ROUND, SESSIONS, LEAVING, HANG_S, GROWTH_MB = 1_000, 16, 32, 2.0, 10.0
WARM_SHARE = 0.2
"""Of the frames, before memory counts: first uses allocate what then stays."""


@dataclass(slots=True)
class Toll:
    """What the frames did."""

    hangs: int = 0
    reconnections: int = 0
    answers: int = 0
    slowest_s: float = 0.0
    mb: list[float] = field(default_factory=list)


def fuzz(effort: Effort) -> Iterator[Row]:
    """Send, look, end, read the logs."""
    with ours("--no-floor", "--write-rate", "1000000") as server:
        files = fds(server)
        toll, begun = bombard(server, effort.frames), time.monotonic()
        while fds(server) > files and time.monotonic() < begun + 10:
            time.sleep(0.1)
        left, alive = fds(server) - files, server.process.poll() is None
        if alive:
            server.end()
        failures = server.said().count("the unit failed") + server.said().count("Traceback")
        taken, wrong = unauthorised(server.run)
    crashes = failures + (not alive)
    name = f"{effort.frames:,} mutated frames"
    yield reached(f"{name}: crashes, hangs", crashes + toll.hangs, f"of {effort.frames // ROUND:,} health polls",
                  f"{crashes} crashes, {toll.hangs} hangs; slowest poll {toll.slowest_s * 1e3:.3g} ms, "
                  f"{toll.reconnections:,} connections, {toll.answers / 1e6:.3g} MB of answers", "0",
                  ok=not crashes + toll.hangs)
    yield reached(f"{name}: unauthorised writes", len(wrong), f"of {taken:,} taken",
                  "access log and journal against the point list", "0", ok=not wrong)
    yield reached(f"{name}: files left open", left, "", f"{files} before", "0", ok=left == 0)
    growth = toll.mb[-1] - toll.mb[0]
    yield reached(f"{name}: growth of memory", growth, "MB", f"{toll.mb[0]:.0f} MB after the first {WARM_SHARE:.0%}",
                  f"< {GROWTH_MB:g} MB", ok=growth < GROWTH_MB)
    for what in wrong[:5]:
        yield told(f"unauthorised: {what}", 1, "")


def fds(server: Running) -> int:
    """Files that the process has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def memory_mb(server: Running) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# -- frames -----------------------------------------------------------------------------------------------------------


def is_whole(data: bytes) -> bool:
    """Whether bytes are frames and nothing besides, so that what follows is read from its beginning."""
    at = 0
    while len(data) - at >= 8:
        protocol, length = struct.unpack_from(">HH", data, at + 2)
        if protocol or not 2 <= length <= 254:
            return False
        at += 6 + length
    return at == len(data)


def near_write(rng: random.Random) -> bytes:
    """Registers about the writable ones: whole values and halves, in bounds, on them, just beyond, and no numbers."""
    values = (0.0, 100.0, -100.0, 100.1, 400.0, -400.0, 400.1, 1e30, float("nan"), float("inf"), rng.uniform(-99, 99))
    count = rng.randrange(1, 5)
    data = struct.pack(">ff", rng.choice(values), rng.choice(values))[:2 * count]
    data += rng.randbytes(2 * count - len(data))
    address = rng.choice((10, 10, 12, rng.randrange(7, 16)))
    pdu = (struct.pack(">BHHB", 16, address, count, 2 * count) if rng.random() < 0.7 else
           struct.pack(">BHHHHB", 23, 0, 2, address, count, 2 * count)) + data
    return struct.pack(">HHHB", rng.randrange(0x10000), 0, len(pdu) + 1, 1) + pdu


def bombard(server: Running, frames: int) -> Toll:
    """All frames; stops early when the server is gone."""
    rng, toll, leaving = random.Random(SEED), Toll(), deque[socket.socket]()
    links = [Hostile(server.port, leaving) for _ in range(SESSIONS)]
    with connections(server.port, 1) as (healthy,):
        for sent in range(frames):
            links[sent % SESSIONS].send(mutated(rng) if sent % 5 else near_write(rng), toll)
            if sent % ROUND == ROUND - 1:
                if server.process.poll() is not None:
                    break
                _poll(healthy, toll)
                if sent + 1 >= WARM_SHARE * frames:
                    toll.mb.append(memory_mb(server))
        for link in links:
            link.leave()
        for connection in leaving:
            see_off(connection, toll)
    return toll


class Hostile:
    """One hostile connection after the other.  `leaving` are those that were used up: they end in their own time."""

    def __init__(self, port: int, leaving: deque[socket.socket]) -> None:
        self._port, self._leaving = port, leaving
        self._socket: socket.socket | None = None

    def send(self, data: bytes, toll: Toll) -> None:
        """On the connection there is, or on a new one; what has been answered is read and dropped."""
        if self._socket is not None and not self._hears(toll):
            self.leave()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=HANG_S)
            self._socket.setblocking(False)
            toll.reconnections += 1
        try:
            self._socket.send(data)
        except BlockingIOError:  # it reads no more, although every answer was taken
            toll.hangs += 1
            self.leave()
        except OSError:  # it has closed, as it should after some
            self.leave()
        if not is_whole(data):
            self.leave()
            if len(self._leaving) > LEAVING:
                see_off(self._leaving.popleft(), toll)

    def _hears(self, toll: Toll) -> bool:
        """Take the answers there are; False: the server has closed."""
        assert self._socket is not None
        try:
            answers = self._socket.recv(RECEIVE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        toll.answers += len(answers)
        return bool(answers)

    def leave(self) -> None:
        """Say that nothing more will come."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            self._leaving.append(self._socket)
            self._socket = None


def see_off(leaving: socket.socket, toll: Toll) -> None:
    """The server is to have read what came and closed."""
    leaving.settimeout(HANG_S)
    try:
        while data := leaving.recv(RECEIVE):
            toll.answers += len(data)
    except TimeoutError:
        toll.hangs += 1
    except OSError:
        pass  # a reset, as bytes came that nobody wanted
    leaving.close()


def _poll(healthy: socket.socket, toll: Toll) -> None:
    """A healthy master's read."""
    begun = time.monotonic()
    healthy.settimeout(HANG_S)
    try:
        healthy.sendall(read_request(1))
        sound = len(healthy.recv(RECEIVE)) == answer_size()
    except OSError:
        sound = False
    toll.hangs += not sound
    toll.slowest_s = max(toll.slowest_s, time.monotonic() - begun)


# -- what was taken ---------------------------------------------------------------------------------------------------


def unauthorised(folder: Path) -> tuple[int, list[str]]:
    """How many writes were taken, and what of them, or of the journal, was not to be."""
    taken, wrong = 0, []
    with (folder / ACCESS).open("rb") as file:
        for record in Walk(file):
            note = read_write(record)
            if note is not None and note.words.endswith("; taken"):
                taken += 1
                wrong += [f"{note.frame.hex()}: {what}" for what in objections(note.frame)]
    result = RunResult.load(folder)
    names = [point["name"] for point in result.manifest["points"]]
    bounds = {name: (low, high) for name, low, high in WRITABLE.values()}
    for command in result.journal():
        for point, value in zip(command.ids, command.values, strict=True):
            low, high = bounds.get(names[point], (1.0, -1.0))
            if not low <= value <= high:
                wrong.append(f"journal: {names[point]} = {value} by {command.source}")
    return taken, wrong


def objections(frame: bytes) -> list[str]:
    """What should have kept a write from being taken."""
    words = touched(frame)
    if not words:
        return ["no write of registers"]
    registers = dict(words)
    wrong = []
    for first in sorted({address - address % 2 for address in registers}):
        if first not in WRITABLE or first not in registers or first + 1 not in registers:
            wrong.append(f"register {first} or half of it")
            continue
        _, low, high = WRITABLE[first]
        (value,) = struct.unpack(">f", registers[first] + registers[first + 1])
        if not low <= value <= high:
            wrong.append(f"{value} out of bounds")
    return wrong


def touched(frame: bytes) -> list[tuple[int, bytes]] | None:
    """Registers that a request would change, (address, two bytes) each; None: it is no write of registers."""
    function, body = frame[7], frame[8:]
    if function == 6 and len(body) == 4:
        return [(int.from_bytes(body[:2], "big"), body[2:])]
    skip = {16: 0, 23: 4}.get(function)
    if skip is None or len(body) < skip + 5:
        return None
    address, count, size = struct.unpack_from(">HHB", body, skip)
    data = body[skip + 5:]
    if size != 2 * count or len(data) != size:
        return None
    return [(address + i, data[2 * i:2 * i + 2]) for i in range(count)]
