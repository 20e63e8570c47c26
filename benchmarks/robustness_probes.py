"""The probes of `benchmarks.robustness`: each opens its own connections to a port and says in a word what came.

Words: ``83/03`` (function and code of an exception), ``closed``, ``silent`` (nothing within a second; the next request
on the connection is answered), ``silent, then dead`` (the next one is not, and the connection stays open).
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from benchmarks.gateway_load import burst, read_request

WAIT_S, HEALTHY_S = 1.0, 1.0
GREEDY_S = 8.0
"""How long a master that takes no answer goes on asking, unless it must wait a second before it can."""
HALF = bytes.fromhex("000100000006")
CLOSED = ("closed",)


@dataclass(frozen=True, slots=True)
class Probe:
    """`good` are the words that will do, the first the best."""

    name: str
    good: tuple[str, ...]
    run: Callable[[int], str]


def connect(port: int) -> socket.socket:
    """One connection, not waiting longer than `WAIT_S` for anything."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=5.0)
    connection.settimeout(WAIT_S)
    return connection


def frame(pdu: bytes, unit: int = 1, transaction: int = 0x1234) -> bytes:
    """A PDU in its frame."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def is_healthy(port: int) -> bool:
    """Whether a new connection is answered within a second."""
    with suppress(OSError), connect(port) as connection:
        return _answer(connection, read_request(77), HEALTHY_S) == "answered"
    return False


def _answer(connection: socket.socket, request: bytes, wait_s: float = WAIT_S) -> str:
    """A word for what comes back for one request."""
    connection.settimeout(wait_s)
    try:
        connection.sendall(request)
        answer = connection.recv(4096)
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"
    if not answer:
        return "closed"
    if len(answer) < 9 or answer[2:4] != b"\0\0":
        return "no Modbus frame"
    if answer[:2] != request[:2] or answer[6] != request[6]:
        return f"{answer[7]:02X}/{answer[8]:02X} of another request"
    return f"{answer[7]:02X}/{answer[8]:02X}" if answer[7] & 0x80 else "answered"


def told(data: bytes) -> Callable[[int], str]:
    """Send bytes; a word for what comes, and for what the connection is like then."""
    def run(port: int) -> str:
        with connect(port) as connection:
            word = _answer(connection, data)
            if word != "silent":
                return word
            return "silent" if _answer(connection, read_request(9)) == "answered" else "silent, then dead"
    return run


def asked(*pdu: int, unit: int = 1) -> Callable[[int], str]:
    """Send a PDU in a sound frame."""
    return told(frame(bytes(pdu), unit))


def pipelined(port: int) -> str:
    """Sixteen at once."""
    with connect(port) as connection:
        return f"{burst(connection, 16, 65_530)} of 16"


def byte_by_byte(port: int) -> str:
    """A request in twelve segments."""
    with connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = read_request(5)
        for at in range(len(request) - 1):
            connection.sendall(request[at:at + 1])
            time.sleep(0.005)
        return "answered" if _answer_rest(connection, request[-1:]) else "silent"


def _answer_rest(connection: socket.socket, rest: bytes) -> bool:
    try:
        connection.sendall(rest)
        return connection.recv(4096)[:2] == b"\0\5"
    except OSError:
        return False


def many_idle(port: int) -> str:
    """300 that say nothing, and one that asks."""
    with ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connect(port))
        return "answered" if is_healthy(port) else "the healthy one waits"


def half_frames(port: int) -> str:
    """50 that stop in the middle; then whether they are sent away in three seconds."""
    with ExitStack() as stack:
        halves = [stack.enter_context(connect(port)) for _ in range(50)]
        for connection in halves:
            connection.sendall(HALF)
        if not is_healthy(port):
            return "the healthy one waits"
        time.sleep(3.0)
        kept = sum(_is_open(connection) for connection in halves)
        return "answered, halves dropped" if not kept else "answered, halves kept for ever"


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def never_reads(port: int) -> str:
    """One asks and asks and takes no answer: how much it may ask, who waits for it, whether it is cut."""
    request = b"".join(read_request(i, count=100) for i in range(512))
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        greedy.settimeout(WAIT_S)
        greedy.connect(("127.0.0.1", port))
        end = time.monotonic() + GREEDY_S
        word = "reads on and buffers"
        try:
            while time.monotonic() < end:
                greedy.send(request)
        except TimeoutError:
            word = "kept for ever"
        except OSError:
            word = "cut"
        if not is_healthy(port):
            return "others wait"
        if word == "kept for ever":
            time.sleep(2.5)
            word = word if _takes(greedy) else "cut"
        return f"others answered, {word}"


def _takes(connection: socket.socket) -> bool:
    """Whether a connection is still there, without reading from it."""
    connection.setblocking(False)
    try:
        connection.send(b"\0")
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True


_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(189))
_NOISE = random.Random(25).randbytes(64)
PROBES = (
    Probe("16 reads in one segment, transactions wrap", ("16 of 16",), pipelined),
    Probe("unknown function 0x65", ("E5/01",), asked(0x65, 0, 0)),
    Probe("function 3, quantity 0", ("83/03",), asked(3, 0, 0, 0, 0)),
    Probe("function 3, quantity 126", ("83/03",), asked(3, 0, 0, 0, 126)),
    Probe("function 3, quantity 65535", ("83/03",), asked(3, 0, 0, 0xFF, 0xFF)),
    Probe("function 1, quantity 2001", ("81/03",), asked(1, 0, 0, 0x07, 0xD1)),
    Probe("function 3, 0xFFFF and one more", ("83/02",), asked(3, 0xFF, 0xFF, 0, 2)),
    Probe("function 3, out of the map", ("83/02",), asked(3, 0x13, 0x88, 0, 1)),
    Probe("function 3, PDU of three bytes", ("83/03", "closed"), asked(3, 0, 0)),
    Probe("function 16, wrong byte count", ("90/03",), asked(16, 0, 10, 0, 2, 3, 0, 0, 0, 0)),
    Probe("function 15, wrong byte count", ("8F/03",), asked(15, 0, 0, 0, 9, 1, 0, 0)),
    Probe("function 23, wrong byte count", ("97/03",), asked(23, 0, 0, 0, 2, 0, 10, 0, 2, 3, 0, 0, 0, 0)),
    Probe("function 5, value 0x1234", ("85/03",), asked(5, 0, 0, 0x12, 0x34)),
    Probe("unknown unit", ("silent", "83/0B"), asked(3, 0, 0, 0, 10, unit=9)),
    Probe("protocol identifier 7", CLOSED, told(struct.pack(">HHHBBHH", 1, 7, 6, 1, 3, 0, 10))),
    Probe("length 0", CLOSED, told(struct.pack(">HHHBBHH", 1, 0, 0, 1, 3, 0, 10))),
    Probe("length 1", CLOSED, told(struct.pack(">HHHBBHH", 1, 0, 1, 1, 3, 0, 10))),
    Probe("length 65535", CLOSED, told(struct.pack(">HHHBBHH", 1, 0, 65535, 1, 3, 0, 10))),
    Probe("64 random bytes", CLOSED, told(_NOISE)),
    Probe("a TLS hello", CLOSED, told(_HELLO)),
    Probe("an HTTP request", CLOSED, told(b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n")),
    Probe("byte by byte", ("answered",), byte_by_byte),
    Probe("300 idle connections", ("answered",), many_idle),
    Probe("50 half frames", ("answered, halves dropped",), half_frames),
    Probe("a master that never reads", ("others answered, cut",), never_reads),
)
