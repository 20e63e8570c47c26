"""A Modbus TCP device for tests, written apart from the product: a table of what exists, in a thread of its own."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LIST = """# base: 0
tag,unit,table,address,type,order,scale,units,min,max,access,shows,point
bus1.v_pu,1,ir,0,float32,ABCD,1,pu,,,R,,
bus1.p_kw,1,ir,2,int16,ABCD,0.1,kW,,,R,,
bus1.v_pu.quality,1,ir,3,uint16,ABCD,1,,,,R,quality,bus1.v_pu
pv1.limit_kw,1,hr,10,float32,CDAB,1,kW,0,100,RW,,
pv1.mode,1,hr,12,uint16,ABCD,1,,0,3,RW,,
breaker.closed,1,co,5,bool,,1,,,,RW,,
"""


@dataclass
class Device:
    """`units`: by unit the tables, each address to its value; what is not there gives exception 02."""

    units: dict[int, dict[str, dict[int, int]]]
    silent: set[int] = field(default_factory=set)
    exception: dict[tuple[str, int], int] = field(default_factory=dict)
    """By (table, address) the exception that any request for it gets."""
    garbage: bytes = b""
    """Sent in place of every answer."""
    requests: list[bytes] = field(default_factory=list)
    is_mute: bool = False
    port: int = 0

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """The PDU that answers, None for silence."""
        if unit in self.silent or self.is_mute:
            return None
        function = pdu[0]
        tables = self.units.get(unit)
        if tables is None:
            return bytes([function | 0x80, 0x0B])
        if function == 43:
            objects = b"".join(bytes([i, len(t)]) + t for i, t in enumerate((b"ACME", b"X1", b"1.0")))
            return bytes([43, 14, 1, 1, 0, 0, 3]) + objects
        table = {1: "co", 2: "di", 3: "hr", 4: "ir", 5: "co", 6: "hr", 15: "co", 16: "hr", 22: "hr"}.get(function)
        if table is None or table not in tables:
            return bytes([function | 0x80, 1])
        address, number = struct.unpack(">HH", pdu[1:5])
        count = 1 if function in (5, 6, 22) else number
        code = next((self.exception[table, a] for a in range(address, address + count) if (table, a) in self.exception),
                    0 if all(a in tables[table] for a in range(address, address + count)) else 2)
        if code:
            return bytes([function | 0x80, code])
        return self._done(function, pdu, tables[table], (address, number))

    def _done(self, function: int, pdu: bytes, values: dict[int, int], asked: tuple[int, int]) -> bytes:
        address, number = asked
        if function in (1, 2):
            bits = sum(values[address + i] << i for i in range(number))
            data = bits.to_bytes((number + 7) // 8, "little")
            return bytes([function, len(data)]) + data
        if function in (3, 4):
            return struct.pack(f">BB{number}H", function, 2 * number, *(values[address + i] for i in range(number)))
        if function == 5:
            values[address] = int(number == 0xFF00)
        elif function == 6:
            values[address] = number
        elif function == 22:
            (or_mask,) = struct.unpack(">H", pdu[5:7])
            values[address] = (values[address] & number) | (or_mask & ~number & 0xFFFF)
        else:
            values.update(enumerate(struct.unpack(f">{number}H", pdu[6:6 + 2 * number]), address))
        return pdu[:7] if function == 22 else pdu[:5]


class _Serving(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        device: Device = self.server.device  # type: ignore[attr-defined]
        while len(header := self.rfile.read(7)) == 7:
            tid, _, length, unit = struct.unpack(">HHHB", header)
            pdu = self.rfile.read(length - 1)
            device.requests.append(header + pdu)
            if device.garbage:
                self.wfile.write(device.garbage)
                continue
            answer = device.answer(unit, pdu)
            if answer is not None:
                self.wfile.write(struct.pack(">HHHB", tid, 0, len(answer) + 1, unit) + answer)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


def start(device: Device, port: int = 0) -> _Server:
    """Serve on loopback in a thread; sets the device's port."""
    server = _Server(("127.0.0.1", port), _Serving)
    server.device = device  # type: ignore[attr-defined]
    device.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def feeder() -> Device:
    """The station of LIST: 1.02 pu, -12.3 kW, good; a limit of 50 kW."""
    high, low = struct.unpack(">HH", struct.pack(">f", 1.02))
    limit = struct.unpack(">HH", struct.pack(">f", 50.0))
    return Device({1: {"ir": {0: high, 1: low, 2: 0x10000 - 123, 3: 0}, "hr": {10: limit[1], 11: limit[0], 12: 1},
                       "co": {5: 1}, "di": {}}})


@contextmanager
def listening() -> Iterator[Device]:
    """The feeder of LIST, listening."""
    made = feeder()
    server = start(made)
    yield made
    server.shutdown()
    server.server_close()


def list_file(folder: Path) -> Path:
    """LIST as a file."""
    path = folder / "feeder.csv"
    path.write_text(LIST)
    return path
