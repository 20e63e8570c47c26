"""A wire log as a capture that tshark and Wireshark read: classic pcap, link type RAW, synthetic IP and TCP around the
bytes that were kept.

Addresses and ports of masters are theirs; the server's port is the listener's.  Four things are invented, and said:
a frame is a segment, however it came (dissectors do not put a frame together whose first piece is short); a listener
with TLS appears on port 502 (its bytes were kept behind TLS, and on port 802 a dissector would look for TLS); a serial
line appears as Modbus RTU over TCP between documentation addresses (RFC 5737) from port 20000 on; and what the log did
not keep (mode ``writes``) leaves no gap.  Times are wall time: the stamp at the log's start plus the sessions' clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack, unpack
from typing import IO

from hil.wire.exchanges import SessionNote, session_note
from hil.wire.frames import Cutter
from hil.wire.layout import Framing, Kind, WireRecord
from hil.wire.reading import WireFile

MAGIC = b"\xd4\xc3\xb2\xa1"
_LINKTYPE_RAW, _SNAP = 101, 65_535
_TLS_PORT, _MODBUS_PORT, _SERIAL_PORT, _CLIENT_PORT = 802, 502, 20_000, 49_152
_FIN, _SYN, _PUSH, _ACK = 1, 2, 8, 16
#: Bytes of one segment, as on Ethernet.
_SEGMENT = 1448
_WINDOW = 65_535
_ANYBODY = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Listening:
    """A listener as the log describes it."""

    kind: str
    where: str
    port: int


@dataclass(slots=True)
class _Flow:
    """One session as a TCP connection; index 0 is the master's side, 1 the server's."""

    ends: tuple[tuple[Address, int], tuple[Address, int]]
    cutters: tuple[Cutter, Cutter]
    seq: list[int] = field(default_factory=lambda: [1000, 2000])

    def pieces(self, side: int, data: bytes) -> Iterator[bytes]:
        """What came from `side`, as segments carry it."""
        for frame in self.cutters[side].feed(data):
            for at in range(0, len(frame.data), _SEGMENT):
                yield frame.data[at:at + _SEGMENT]

    def packet(self, side: int, flags: int, data: bytes = b"") -> bytes:
        """The next segment from `side`, as an IP packet."""
        (source, sport), (target, dport) = self.ends[side], self.ends[1 - side]
        seq, ack = self.seq[side], self.seq[1 - side] if flags & _ACK else 0
        self.seq[side] = (seq + len(data) + bool(flags & (_SYN | _FIN))) % 2**32
        head = pack(">HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, _WINDOW, 0, 0)
        length = len(head) + len(data)
        pseudo = source.packed + target.packed + pack(">HH" if source.version == 4 else ">IHBB", *(
            (6, length) if source.version == 4 else (length, 0, 0, 6)))
        checksum = _checksum(pseudo + head + data)
        tcp = head[:16] + pack(">H", checksum) + head[18:] + data
        return _ip_head(source, target, length) + tcp


class Capture:
    """Iterate to get the packets of a log: (µs since 1970, bytes of an IP packet).

    Afterwards `listeners` tells which port is which listener's, and `packets` and `sessions` count.
    """

    def __init__(self, wire: WireFile) -> None:
        self._wire = wire
        self._offset_us = _offset_us(wire.head.get("stamp", ""), wire.head.get("clock_us", ""))
        self._flows: dict[int, _Flow] = {}
        self._framings: dict[str, Framing] = {}
        self.listeners: dict[str, Listening] = {}
        self.packets = self.sessions = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for record in self._wire:
            for packet in self._packets(record):
                self.packets += 1
                yield max(0, record.clock_us + self._offset_us), packet

    def hints(self) -> list[str]:
        """What tshark is to be told of the ports: ``-o mbtcp.tcp.port:5020,502``.

        (``-d tcp.port==5020,mbtcp`` dissects as well, but leaves open which side asks.)
        """
        ports: dict[str, list[str]] = {}
        for listening in self.listeners.values():
            dissector = "mbrtu" if Framing.of_kind(listening.kind) is Framing.RTU else "mbtcp"
            ports.setdefault(dissector, []).append(str(listening.port))
        return [f"-o {dissector}.tcp.port:{','.join(dict.fromkeys(found))}" for dissector, found in ports.items()]

    def _packets(self, record: WireRecord) -> Iterable[bytes]:
        match record.kind:
            case Kind.LISTENER:
                said = record.texts
                name, kind, where = said.get("name", ""), said.get("kind", ""), said.get("where", "")
                self._framings[name] = Framing.of_kind(kind)
                self.listeners[name] = Listening(kind, where, _port(kind, where, len(self.listeners)))
            case Kind.OPENED:
                yield from self._opened(session_note(record, self._framings))
            case Kind.RECEIVED | Kind.SENT:
                if record.session not in self._flows:
                    yield from self._opened(SessionNote(record.session))
                flow, side = self._flows[record.session], int(record.kind is Kind.SENT)
                for piece in flow.pieces(side, record.data):
                    yield flow.packet(side, _PUSH | _ACK, piece)
            case Kind.CLOSED if record.session in self._flows:
                flow = self._flows.pop(record.session)
                for side, cutter in enumerate(flow.cutters):
                    for frame in cutter.end():
                        yield flow.packet(side, _PUSH | _ACK, frame.data)
                first = 0 if "peer" in record.texts.get("reason", "") else 1
                yield flow.packet(first, _FIN | _ACK)
                yield flow.packet(1 - first, _FIN | _ACK)
                yield flow.packet(first, _ACK)
            case _:
                pass

    def _opened(self, note: SessionNote) -> Iterator[bytes]:
        listening = self.listeners.get(note.listener, Listening("", "", _MODBUS_PORT))
        cutters = Cutter(note.framing, answers=False), Cutter(note.framing, answers=True)
        flow = self._flows[note.number] = _Flow(_ends(note, listening), cutters)
        self.sessions += 1
        yield flow.packet(0, _SYN)
        yield flow.packet(1, _SYN | _ACK)
        yield flow.packet(0, _ACK)


def write_pcap(capture: Capture, file: IO[bytes]) -> None:
    """All packets of `capture` into an open file."""
    file.write(pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAP, _LINKTYPE_RAW))
    for t_us, packet in capture:
        file.write(pack("<IIII", t_us // 1_000_000, t_us % 1_000_000, len(packet), len(packet)))
        file.write(packet)


def _ends(note: SessionNote, listening: Listening) -> tuple[tuple[Address, int], tuple[Address, int]]:
    try:
        client = ip_address(note.host)
    except ValueError:  # a serial line, or a session whose opening was not kept
        client = ip_address(_ANYBODY[4][0])
    found = re.search(r":(\d{1,5})$", note.address)
    port = int(found[1]) if found and 0 < int(found[1]) < 65_536 else _CLIENT_PORT + note.number % 16_000
    return (client, port), (_server(client, listening.where), listening.port)


def _server(client: Address, where: str) -> Address:
    """Where the listener says it listens, if that is an address that this master can have meant."""
    if client.is_loopback:
        return client if client.version == 6 else ip_address("127.0.0.1")
    host = re.match(r"\[?([0-9a-fA-F:.]+?)\]?:\d+", where)
    try:
        found = ip_address(host[1]) if host else None
    except ValueError:
        found = None
    if found is None or found.is_unspecified or found.version != client.version:
        return ip_address(_ANYBODY[client.version][1])
    return found


def _port(kind: str, where: str, number: int) -> int:
    """The port of a listener in the capture."""
    found = re.search(r":(\d{1,5})(?![\d:\]])", where)
    port = int(found[1]) if found else 0
    if not 0 < port < 65_536:
        return _SERIAL_PORT + number
    return _MODBUS_PORT if "tls" in kind.lower() or port == _TLS_PORT else port


def _offset_us(stamp: str, clock_us: str) -> int:
    """What to add to the sessions' clock for wall time; a log without stamps begins in 1970."""
    try:
        started, clock = datetime.fromisoformat(stamp), int(clock_us)
    except ValueError:
        return 0
    return round(started.timestamp() * 1e6) - clock if started.tzinfo is not None else 0


def _ip_head(source: Address, target: Address, length: int) -> bytes:
    if source.version == 6:
        return pack(">IHBB", 6 << 28, length, 6, 64) + source.packed + target.packed
    head = pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, 6, 0) + source.packed + target.packed
    return head[:10] + pack(">H", _checksum(head)) + head[12:]


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
