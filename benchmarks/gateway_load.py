"""The load generator, the same for every server: blocking of nothing, parsing of little, bytes ready beforehand.

It runs in the process of the benchmark, the servers in theirs.  Sockets are waited for by select(), whose timeouts are
exact to microseconds (epoll's are milliseconds).  In the open loop a request's latency counts from when it was *due*:
what the generator or a stalled server delays is part of it, for the floor as for us.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

READ = struct.Struct(">HHHBBHH")
RECEIVE = 65536


class WrongAnswerError(Exception):
    """A server answered something else than what was asked: its rate would mean nothing."""


def read_request(transaction: int, unit: int = 1, address: int = 0, count: int = 10) -> bytes:
    """Function 3."""
    return READ.pack(transaction & 0xFFFF, 0, 6, unit, 3, address, count)


def answer_size(count: int = 10) -> int:
    """Bytes of its answer."""
    return 9 + 2 * count


@contextmanager
def connections(port: int, number: int) -> Iterator[list[socket.socket]]:
    """Open ones, without Nagle's delay, closed at the end."""
    opened: list[socket.socket] = []
    try:
        for _ in range(number):
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


def closed_loop(port: int, sessions: int, seconds: float, count: int = 10) -> float:
    """Answers a second of `sessions` connections that each ask again as soon as they are answered.

    Every answer's length is checked, and transaction, unit and function of one in a hundred.
    """
    size, request = answer_size(count), read_request(7, count=count)
    expected = struct.pack(">HHHBBB", 7, 0, 3 + 2 * count, 1, 3, 2 * count)
    with connections(port, sessions) as opened:
        poll = select.epoll()
        by_number = {connection.fileno(): connection for connection in opened}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        calls = {number: (connection.recv, connection.send) for number, connection in by_number.items()}
        for connection in opened:
            connection.send(request)
        answered, begun = 0, time.perf_counter()
        end, now, partial = begun + seconds, begun, dict.fromkeys(by_number, 0)
        while now < end:
            for number, _ in poll.poll(5.0):
                receive, send = calls[number]
                data = receive(RECEIVE)
                if len(data) != size:
                    partial[number] += len(data)
                    if not data or partial[number] > size:
                        raise WrongAnswerError(f"{len(data)} bytes instead of {size}: {data[:40].hex()}")
                    if partial[number] < size:
                        continue
                    partial[number] = 0
                elif not answered % 100 and data[:9] != expected:
                    raise WrongAnswerError(f"{data[:40].hex()}")
                answered += 1
                send(request)
            now = time.perf_counter()
        poll.close()
        return answered / (now - begun)


@dataclass(slots=True)
class Latencies:
    """Of an open loop, seconds from when each request was due; `lost`: not answered in time."""

    seconds: list[float] = field(default_factory=list)
    lost: int = 0

    def ms(self, share: float) -> float:
        """A quantile, milliseconds; infinite when more than that was lost."""
        ordered = sorted(self.seconds)
        place = share * (len(ordered) + self.lost)
        return ordered[min(int(place), len(ordered) - 1)] * 1e3 if ordered and place < len(ordered) else float("inf")


def open_loop(port: int, sessions: int, per_second: float, seconds: float, linger_s: float = 2.0) -> Latencies:
    """Requests at fixed instants, round the sessions in turn, whether or not the one before was answered."""
    with connections(port, sessions) as opened:
        return _open_loop(opened, per_second, round(per_second * seconds), linger_s)


def _open_loop(opened: Sequence[socket.socket], per_second: float, total: int, linger_s: float) -> Latencies:
    found, clock, size = Latencies(), time.perf_counter, answer_size()
    due: dict[int, list[float]] = {connection.fileno(): [] for connection in opened}
    buffers = dict.fromkeys(due, b"")
    by_number = {connection.fileno(): connection for connection in opened}
    numbers = list(by_number)
    begun, sent, n = clock() + 0.01, 0, len(opened)
    last = begun + total / per_second + linger_s
    while True:
        now = clock()
        while sent < total and begun + sent / per_second <= now:
            connection = opened[sent % n]
            due[connection.fileno()].append(begun + sent / per_second)
            connection.send(read_request(sent))
            sent += 1
        waiting = sent - len(found.seconds)
        if (sent == total and not waiting) or now > last:
            break
        until = begun + sent / per_second if sent < total else last
        for number in select.select(numbers, (), (), max(0.0, until - clock()))[0]:
            data = buffers[number] + by_number[number].recv(RECEIVE)
            now, queue = clock(), due[number]
            if not data:
                raise WrongAnswerError("the server closed a healthy session")
            while len(data) >= size:
                found.seconds.append(now - queue.pop(0))
                data = data[size:]
            buffers[number] = data
    found.lost = total - len(found.seconds)
    return found


def burst(connection: socket.socket, depth: int, first: int) -> int:
    """How many of `depth` requests in one segment are answered, each in its place; 2 s at most are waited."""
    connection.sendall(b"".join(read_request(first + i) for i in range(depth)))
    size, data = answer_size(), b""
    connection.settimeout(2.0)
    try:
        while len(data) < depth * size:
            part = connection.recv(RECEIVE)
            if not part:
                break
            data += part
    except TimeoutError:
        pass
    expected = ((first + i & 0xFFFF) for i in range(depth))
    heads = (struct.unpack_from(">HHHBB", data, at) for at in range(0, len(data) - size + 1, size))
    return sum(head == (wanted, 0, size - 6, 1, 3) for head, wanted in zip(heads, expected, strict=False))
