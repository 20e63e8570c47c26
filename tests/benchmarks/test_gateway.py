"""The gateways' benchmarks: the load generator, the judges of what was taken, and the figures' arithmetic."""

from __future__ import annotations

import math
import random
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import gateway_fuzz, gateway_pacing, robustness
from benchmarks.gateway_bursts import bursts
from benchmarks.gateway_crowd import late_of
from benchmarks.gateway_effort import Effort
from benchmarks.gateway_load import Latencies, WrongAnswerError, burst, closed_loop, connections, open_loop
from benchmarks.gateway_servers import Running, peer
from benchmarks.robustness_probes import Probe, told

TINY = Effort(pairs=1, window_s=0.2, latency_window_s=0.5, bursts=20, crowd_s=2.0, frames=2_000, pacing_s=1.0,
              replays=1, replay_s=1.0)


@pytest.fixture(scope="module")
def echo() -> Iterator[Running]:
    """The floor, in its process."""
    with peer("echo") as server:
        yield server


def test_the_generator_loads_and_counts(echo: Running) -> None:
    """Closed loop, open loop and bursts get every answer there is."""
    assert closed_loop(echo.port, 4, 0.1) > 100
    found = open_loop(echo.port, 5, 200.0, 0.3)
    assert (len(found.seconds), found.lost) == (60, 0)
    with connections(echo.port, 1) as (connection,):
        assert burst(connection, 16, 65_530) == 16


def test_a_server_that_answers_otherwise_has_no_rate(echo: Running) -> None:
    """The floor answers ten registers whatever is asked: asking for five is found out."""
    with pytest.raises(WrongAnswerError):
        closed_loop(echo.port, 1, 0.1, count=5)


def test_a_burst_counts_only_what_is_in_its_place() -> None:
    """An answer that is out of order, and those that never come, do not count."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"".join(struct.pack(">HHHBB21x", tid, 0, 23, 1, 3) for tid in (1, 3, 2)))
        there.shutdown(socket.SHUT_WR)
        assert burst(here, 4, 1) == 1


def test_quantiles_count_what_was_lost() -> None:
    """Of a hundred of which two were lost, the 99th is infinite and the median finite."""
    found = Latencies([i / 1000 for i in range(98)], lost=2)
    assert found.ms(0.5) == pytest.approx(50.0)
    assert math.isinf(found.ms(0.99))


@pytest.mark.parametrize(("data", "whole"), [
    (bytes.fromhex("000100000006010300000001"), True),
    (bytes.fromhex("000100000006010300000001") * 3, True),
    (bytes.fromhex("000100000006010300000001")[:-1], False),
    (bytes.fromhex("000100000006010300000001") + b"\0", False),
    (bytes.fromhex("000100070006010300000001"), False),
    (bytes.fromhex("000100000000010300000001"), False),
    (b"", True),
])
def test_whole_frames_are_told_from_others(data: bytes, whole: bool) -> None:
    """After whole frames a connection can be used on."""
    assert gateway_fuzz.is_whole(data) is whole


def _write(address: int, data: bytes) -> bytes:
    n = len(data) // 2
    return struct.pack(">HHHBBHHB", 1, 0, 7 + len(data), 1, 16, address, n, 2 * n) + data


@pytest.mark.parametrize(("frame", "words"), [
    (_write(10, struct.pack(">f", 400.0)), []),
    (_write(10, struct.pack(">ff", -400.0, 100.0)), []),
    (_write(10, struct.pack(">f", 400.1)), ["out of bounds"]),
    (_write(10, struct.pack(">f", math.nan)), ["out of bounds"]),
    (_write(8, struct.pack(">f", 1.0)), ["register 8"]),
    (_write(11, struct.pack(">f", 1.0)), ["register 10", "register 12"]),
    (_write(10, b"\0\0"), ["register 10"]),
    (bytes.fromhex("00010000000601050000ff00"), ["no write of registers"]),
    (struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 10, 0), ["register 10"]),
    (struct.pack(">HHHBBHHHHBf", 1, 0, 15, 1, 23, 0, 2, 12, 2, 4, 100.1), ["out of bounds"]),
])
def test_the_judge_knows_what_may_be_written(frame: bytes, words: list[str]) -> None:
    """Whole values in bounds at the two writable places, and nothing else."""
    found = gateway_fuzz.objections(frame)
    assert len(found) == len(words)
    for said, word in zip(found, words, strict=True):
        assert word in said


def test_writes_at_the_edge_are_of_both_kinds() -> None:
    """Some may be taken, some may not."""
    rng = random.Random(1)
    judged = [bool(gateway_fuzz.objections(gateway_fuzz.near_write(rng))) for _ in range(300)]
    assert 10 < sum(judged) < 290


def _record(p99_ms: float, drift_ms: float) -> dict[str, Any]:
    histogram = {"count": 10, "p50_ms": 0.5, "p99_ms": p99_ms, "max_ms": 9.0,
                 "buckets_ns": [(1_000, 9), (2 * 10**8, 1)]}
    floor = {**histogram, "p99_ms": 1.0}
    return {"rates": [{"lateness": histogram}], "floor": {"lateness": floor}, "drift_ms": drift_ms,
            "drift_windows": 2, "spans": {"ingress_to_kernel": histogram, "closed_loop": {"count": 0}}}


@pytest.mark.parametrize(("p99_ms", "drift_ms", "verdicts"), [(2.9, 0.2, [True, True]), (3.1, -1.5, [False, False])])
def test_pacing_is_judged_beside_its_floor(p99_ms: float, drift_ms: float, verdicts: list[bool]) -> None:
    """Two milliseconds more than the null loop, one of drift; spans are told where there are any."""
    rows = list(gateway_pacing.rows(_record(p99_ms, drift_ms), 180.0))
    assert [row.ok for row in rows if row.ok is not None] == verdicts
    assert sum("ingress" in row.name for row in rows) == 1
    assert late_of(_record(1.0, 0.0)["floor"]["lateness"], 100.0) == 1


def test_a_probe_says_what_came(echo: Running) -> None:
    """The floor answers what it should refuse, which the table shows in bold."""
    probe = Probe("length 0", ("closed",), told(bytes.fromhex("000100000000010300000001")))
    word = probe.run(echo.port)
    column = robustness.Column("floor", {"length 0": word})
    assert word == "answered"
    assert "**answered**" in robustness.markdown([column], [probe])
    assert "0 of 1" in robustness.markdown([column], [probe])


@pytest.mark.slow
def test_bursts_and_hostile_frames_on_a_served_scenario() -> None:
    """Little of both, from starting `gridloop serve` to reading its logs: every row that is to be reached is."""
    rows = [*bursts(TINY), *gateway_fuzz.fuzz(TINY)]
    assert len(rows) == 5
    assert [row.name for row in rows if row.ok is not True] == []
