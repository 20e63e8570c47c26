"""The wire log: what is written is read again, whatever ends the writer."""

from __future__ import annotations

import errno
import io
import logging
import struct
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.errors import GridloopError, RecordError
from gateways.peer import Peer, Role
from hil.wire.layout import MAX_BYTES, RECORD, Framing, Kind, WireRecord, head_bytes, record_bytes
from hil.wire.log import WireLog, WireMode
from hil.wire.reading import WireFile, open_wire

PEER = Peer("modbus", "127.0.0.1:50000", "127.0.0.1", Role.OPERATOR, 7)
READ = bytes.fromhex("000100000006010300000002")
WRITE = bytes.fromhex("000200000006010600000190")

int64 = st.integers(-2**63, 2**63 - 1)
kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.EXCHANGED])
records = st.builds(WireRecord, kinds, st.integers(0, 2**32 - 1), int64, int64, st.binary(max_size=50))


def log_in(folder: Path, mode: str = "all", max_bytes: int = 1 << 30) -> WireLog:
    """A log whose clock stands at 5 µs; simulation time is 100 µs ahead of it."""
    return WireLog(folder, lambda now_us: now_us + 100, mode, now_us=lambda: 5, run="trial", stamp=lambda: "then",
                   max_bytes=max_bytes)


def read(path: Path) -> list[WireRecord]:
    """All records."""
    with open_wire(path) as file:
        return list(WireFile(file))


@given(st.lists(records, max_size=20))
def test_round_trip(written: list[WireRecord]) -> None:
    """Any records are read again as they were written."""
    file = WireFile(io.BytesIO(head_bytes({"run": "x"}) + b"".join(map(record_bytes, written))))
    assert list(file) == written
    assert (file.head, file.count, file.cut_bytes) == ({"run": "x"}, len(written), 0)


def test_cut_at_every_byte() -> None:
    """A killed writer leaves whole records and part of one; within the head there is no log yet."""
    written = [WireRecord(Kind.RECEIVED, 1, 5, 6, b"abc"), WireRecord(Kind.SENT, 1, 7, 8, b""),
               WireRecord(Kind.END, 0, 9, 9, b"{}")]
    head = head_bytes({"run": "x"})
    parts = [record_bytes(record) for record in written]
    whole = head + b"".join(parts)
    ends = [len(head) + sum(map(len, parts[:i])) for i in range(len(parts) + 1)]
    for at in range(len(whole) + 1):
        if at < len(head):
            with pytest.raises(RecordError, match=r"expected a wire log|within its head"):
                WireFile(io.BytesIO(whole[:at]))
            continue
        file = WireFile(io.BytesIO(whole[:at]))
        n_whole = max(i for i, end in enumerate(ends) if end <= at)
        assert list(file) == written[:n_whole]
        assert (file.cut_bytes, file.ended) == (at - ends[n_whole], n_whole == 3)


def test_a_session(tmp_path: Path) -> None:
    """What listeners tell, in order, with both times; the hash is that of the file."""
    log = log_in(tmp_path)
    log.listening("modbus", "modbus_tcp", "127.0.0.1:5020")
    log.opened(PEER)
    log.received(PEER, 10, READ)
    log.sent(PEER, 12, b"answer")
    log.closed(PEER, "by the peer")
    log.refused("modbus", "10.0.0.1:5", "not on the list")
    digest = log.close()
    found = read(log.path)
    assert [record.kind.name for record in found] == ["LISTENER", "OPENED", "RECEIVED", "SENT", "CLOSED", "REFUSED",
                                                      "END"]
    assert found[2] == WireRecord(Kind.RECEIVED, 7, 110, 10, READ)
    assert found[1].texts == {"listener": "modbus", "address": "127.0.0.1:50000", "host": "127.0.0.1",
                              "role": "operator", "stamp": "then"}
    assert digest == sha256(log.path.read_bytes()).hexdigest()
    assert log.figures() == {"mode": "all", "records": 7, "bytes": log.path.stat().st_size, "failed": ""}


def test_nothing_is_written_before_a_flush(tmp_path: Path) -> None:
    """The hot path touches no file, until enough has gathered."""
    log = log_in(tmp_path)
    size = log.path.stat().st_size
    log.received(PEER, 10, READ)
    assert log.path.stat().st_size == size
    log.flush()
    assert log.path.stat().st_size > size
    for _ in range(5):
        log.received(PEER, 10, bytes(100_000))
    assert log.path.stat().st_size > 300_000
    assert len(read(log.path)) == 4
    log.flush()
    assert len(read(log.path)) == 6


def test_long_chunks_are_split(tmp_path: Path) -> None:
    """A record has a limit, evidence has none."""
    log = log_in(tmp_path)
    data = bytes(range(256)) * (MAX_BYTES // 256) + b"end"
    log.received(PEER, 10, data)
    log.close()
    assert b"".join(record.data for record in read(log.path) if record.kind is Kind.RECEIVED) == data


def test_writes_only(tmp_path: Path) -> None:
    """Sessions, writes and their answers, and what cannot be told."""
    log = log_in(tmp_path, "writes")
    log.listening("line", "modbus_rtu", "/dev/tty0")
    line = Peer("line", "/dev/tty0", "", Role.OPERATOR, 8)
    log.opened(PEER)
    for data in (READ, READ + WRITE, WRITE, b"GET / HTTP/1.1", b"\0\1\0\0\0\3\1\x86\2", b"\0\1\0\0\0\3\1\x83\2"):
        log.received(PEER, 10, data)
    log.received(line, 10, bytes.fromhex("010300000001840a"))
    log.received(line, 10, b"\1\6\0\0\0\1xx")
    log.close()
    assert [record.data for record in read(log.path) if record.kind is Kind.RECEIVED] == [
        READ + WRITE, WRITE, b"GET / HTTP/1.1", b"\0\1\0\0\0\3\1\x86\2", b"\1\6\0\0\0\1xx"]


def test_none(tmp_path: Path) -> None:
    """No file at all."""
    log = log_in(tmp_path, "none")
    log.opened(PEER)
    log.received(PEER, 10, READ)
    assert log.close() == ""
    assert not log.path.exists()


def test_an_unknown_mode(tmp_path: Path) -> None:
    """The known ones are named."""
    with pytest.raises(GridloopError, match="found 'some'; expected all, writes, none"):
        log_in(tmp_path, "some")


def test_the_file_is_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At its size only writes are kept, a quarter later nothing; both are said, in the file too."""
    log = log_in(tmp_path, max_bytes=1000)
    for _ in range(100):
        log.received(PEER, 10, READ)
        log.flush()
    assert log.mode is WireMode.WRITES
    assert 1000 <= log.size < 1200
    for _ in range(100):
        log.received(PEER, 10, WRITE)
        log.flush()
    assert log.size < 1600
    assert log.close() == ""
    assert [record.texts["what"] for record in read(log.path) if record.kind is Kind.LIMITED] == [
        "only sessions and writes are kept", "nothing more is kept"]
    assert len(caplog.records) == 2
    assert log.figures()["failed"]


def test_a_full_disk_ends_the_log_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Said once; the file keeps whole records."""
    class Disk(io.FileIO):
        left = 400

        def write(self, data: bytes) -> int:  # type: ignore[override] - as wide as it is used
            if len(data) > self.left:
                super().write(data[:self.left])
                raise OSError(errno.ENOSPC, "No space left on device")
            self.left -= len(data)
            return super().write(data)

    log = WireLog(tmp_path, lambda now_us: now_us, now_us=lambda: 5, opener=lambda path: Disk(path, "x"))
    with caplog.at_level(logging.ERROR):
        for _ in range(100):
            log.received(PEER, 10, READ)
            log.flush()
    assert log.close() == ""
    assert [record.message.partition("; ")[2] for record in caplog.records] == ["no more bytes of the wire are kept"]
    assert "No space left" in log.failed
    kept = read(log.path)
    assert kept
    assert all(record.data == READ for record in kept)


def test_there_is_one_already(tmp_path: Path) -> None:
    """Evidence is not overwritten."""
    log_in(tmp_path)
    with pytest.raises(RecordError, match="exists already"):
        log_in(tmp_path)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "expected a wire log"), (b"PK\3\4 and so on, long enough", "expected a wire log"),
    (b"\x89GLWIRE\n\x02\0\2\0\0\0{}", "version 2; this reader knows version 1"),
])
def test_what_is_no_wire_log(data: bytes, message: str) -> None:
    """One clear line."""
    with pytest.raises(RecordError, match=message):
        WireFile(io.BytesIO(data))


@pytest.mark.parametrize("damage", [b"\x63" + bytes(24), bytes.fromhex("04") + bytes(20) + b"\xff\xff\xff\x7f"])
def test_damage_within(damage: bytes) -> None:
    """An unknown kind or an endless record is named with its place, and nothing is allocated for it."""
    head = head_bytes({})
    file = WireFile(io.BytesIO(head + record_bytes(WireRecord(Kind.SENT, 1, 2, 3, b"x")) + damage))
    with pytest.raises(RecordError, match=f"byte {len(head) + 26}: found kind"):
        list(file)


def test_missing(tmp_path: Path) -> None:
    """It says who writes one."""
    with pytest.raises(RecordError, match="no wire log here; `gridloop serve` keeps one"):
        open_wire(tmp_path / "wire.log")


@pytest.mark.parametrize(("kind", "framing"), [("modbus_tcp", Framing.MBAP), ("modbus_tls", Framing.MBAP),
                                               ("modbus_rtu", Framing.RTU), ("modbus_rtu_tcp", Framing.RTU),
                                               ("dnp3_tcp", Framing.UNKNOWN)])
def test_framing_of_a_listener(kind: str, framing: Framing) -> None:
    """By the words of its kind."""
    assert Framing.of_kind(kind) is framing


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 10**6)), max_size=20))
def test_an_exchange_is_read_back_as_what_came_in_and_what_went_out(
        exchanges: list[tuple[bytes, bytes, int]]) -> None:
    """Bytes, session and both clocks; empty sides leave no record."""
    with tempfile.TemporaryDirectory() as name:
        clock = [0]
        log = WireLog(Path(name), lambda now_us: 2 * now_us, now_us=lambda: clock[0], stamp=lambda: None)
        expected = []
        for data, answer, elapsed_us in exchanges:
            arrived_us = clock[0]
            clock[0] += elapsed_us
            log.exchanged(PEER, arrived_us, data, answer)
            if data:
                expected.append((Kind.RECEIVED, PEER.session, arrived_us, data))
            if answer:
                expected.append((Kind.SENT, PEER.session, clock[0], answer))
        log.close()
        with open_wire(log.path) as file:
            found = [(r.kind, r.session, r.clock_us, r.data) for r in WireFile(file) if r.kind is not Kind.END]
    assert found == expected


@pytest.mark.parametrize("body", [b"", b"\0" * 7, struct.pack("<II", 5, 4) + b"abc"])
def test_an_exchange_that_lies_about_its_length_is_damage(body: bytes) -> None:
    """Said with its place, not read past its end."""
    data = head_bytes({}) + RECORD.pack(Kind.EXCHANGED, 1, 0, 0, len(body)) + body
    with pytest.raises(RecordError, match="damaged"):
        list(WireFile(io.BytesIO(data)))
