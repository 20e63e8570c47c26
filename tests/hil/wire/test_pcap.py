"""A wire log as a capture: whole packets, right checksums, and no malformed frame in tshark's eyes."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path
from struct import unpack, unpack_from

import pytest

from gateways.peer import Peer, Role
from hil.wire.log import WireLog
from hil.wire.pcap import Capture, write_pcap
from hil.wire.reading import WireFile, open_wire
from tests.hil.wire.test_frames import ANSWERS, PDUS, mbap, rtu

TSHARK = shutil.which("tshark")
LISTENERS = {"tcp": ("modbus_tcp", "127.0.0.1:5020"), "tls": ("modbus_tls", "0.0.0.0:8020"),
             "six": ("modbus_tcp", "[::1]:5021"), "line": ("modbus_rtu", "/dev/ttyS0 19200 8N1"),
             "over": ("modbus_rtu_tcp", "127.0.0.1:5022")}
PEERS = {"tcp": ("127.0.0.1:40001", "127.0.0.1"), "tls": ("10.1.2.3:40002", "10.1.2.3"), "six": ("[::1]:40003", "::1"),
         "line": ("/dev/ttyS0", ""), "over": ("127.0.0.1:40004", "127.0.0.1")}
#: Requests with answers: what both lists have.
PAIRS = [(pdu, answer) for pdu in PDUS for answer in ANSWERS if pdu[0] == answer[0]]


def captured(folder: Path) -> tuple[Capture, bytes]:
    """One session at each listener, every function once, answers split in two; and the capture's bytes."""
    clock = 1_000_000
    log = WireLog(folder, lambda now_us: now_us, now_us=lambda: clock, run="trial",
                  stamp=lambda: "2026-01-01T00:00:00.000+00:00")
    for number, (name, (kind, where)) in enumerate(LISTENERS.items(), 1):
        log.listening(name, kind, where)
        peer = Peer(name, *PEERS[name], Role.OPERATOR, number)
        log.opened(peer)
        for i, (pdu, answer) in enumerate(PAIRS):
            clock += 1000
            framed = [rtu(pdu), rtu(answer)] if "rtu" in kind else [mbap(pdu, i), mbap(answer, i)]
            log.received(peer, clock, framed[0])
            log.sent(peer, clock + 300, framed[1][:5])
            log.sent(peer, clock + 301, framed[1][5:])
        log.closed(peer, "by the peer" if number % 2 else "idle for 60 s")
    log.close()
    with open_wire(log.path) as file:
        capture, out = Capture(WireFile(file)), io.BytesIO()
        write_pcap(capture, out)
    return capture, out.getvalue()


def packets(data: bytes) -> list[tuple[float, bytes]]:
    """(seconds, packet) of a classic pcap."""
    assert unpack_from("<IHHiIII", data) == (0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    found, at = [], 24
    while at < len(data):
        seconds, micros, length, original = unpack_from("<IIII", data, at)
        assert length == original
        found.append((seconds + micros / 1e6, data[at + 16:at + 16 + length]))
        at += 16 + length
    assert at == len(data)
    return found


def folded(data: bytes) -> int:
    """One's complement sum of 16-bit words: 0xFFFF over what holds a right checksum."""
    data += b"\0" * (len(data) % 2)
    total = sum(unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_checksums_hold(tmp_path: Path) -> None:
    """Of IPv4's head and of TCP with its pseudo head, in both families."""
    _, data = captured(tmp_path)
    families = []
    for _, packet in packets(data):
        version = packet[0] >> 4
        families.append(version)
        if version == 4:
            assert unpack_from(">H", packet, 2) == (len(packet),)
            assert folded(packet[:20]) == 0xFFFF
            pseudo, tcp = packet[12:20] + b"\0\6" + (len(packet) - 20).to_bytes(2, "big"), packet[20:]
        else:
            assert unpack_from(">H", packet, 4) == (len(packet) - 40,)
            pseudo, tcp = packet[8:40] + (len(packet) - 40).to_bytes(4, "big") + b"\0\0\0\6", packet[40:]
        assert folded(pseudo + tcp) == 0xFFFF
    assert set(families) == {4, 6}


def test_times_and_hints(tmp_path: Path) -> None:
    """Wall time from the stamp at the start; what tshark is to be told of each port; a session is a connection."""
    capture, data = captured(tmp_path)
    times = [time for time, _ in packets(data)]
    assert 1767225600.0 <= times[0] <= times[-1] < 1767225601.0
    assert capture.hints() == ["-o mbtcp.tcp.port:5020,502,5021", "-o mbrtu.tcp.port:20003,5022"]
    assert (capture.sessions, capture.packets) == (5, len(times))
    assert len(times) == 5 * (3 + 2 * len(PAIRS) + 3)


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed (apt-get install tshark)")
@pytest.mark.parametrize("decode_as", [False, True])
def test_tshark_finds_no_malformed_frame(tmp_path: Path, decode_as: bool) -> None:
    """Every request and answer is dissected as what it is, and TCP has nothing to complain about: with the hints that
    we give, and with ``-d`` as people know it."""
    capture, data = captured(tmp_path)
    path = tmp_path / "wire.pcap"
    path.write_bytes(data)
    fields = ["tcp.stream", "modbus.func_code", "mbtcp.trans_id", "_ws.malformed", "tcp.analysis.flags",
              "_ws.expert.severity", "tcp.checksum.status", "mbrtu.crc16.status"]
    hints = " ".join(capture.hints()) if not decode_as else (
        "-d tcp.port==5020,mbtcp -d tcp.port==502,mbtcp -d tcp.port==5021,mbtcp -d tcp.port==20003,mbrtu "
        "-d tcp.port==5022,mbrtu")
    assert TSHARK is not None
    done = subprocess.run(
        [TSHARK, "-r", str(path), *hints.split(), "-o", "tcp.check_checksum:TRUE", "-T", "fields",
         *(part for name in fields for part in ("-e", name))],
        capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == capture.packets
    assert [row for row in rows if row[3] or row[4]] == []
    assert {row[6] for row in rows} == {"1"}
    asked = [str(pdu[0]) for pdu, answer in PAIRS for _ in (pdu, answer)]
    for stream in range(5):
        functions = [function for row in rows if row[0] == str(stream) for function in row[1].split(",") if function]
        assert functions == asked
    if not decode_as:
        shown = subprocess.run([TSHARK, "-r", str(path), *hints.split()], capture_output=True, text=True, timeout=60,
                               check=True).stdout
        assert "Unable to classify" not in shown
    assert [int(found) for row in rows if row[0] == "0" for found in row[2].split(",") if found] == [
        i for i in range(len(PAIRS)) for _ in range(2)]
