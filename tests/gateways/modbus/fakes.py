"""A unit with a few points, and the frames that masters send it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateways.modbus.bank import Bank, ExceptionCode, Table
from gateways.modbus.mbap import TcpSession
from gateways.modbus.rtu import RtuSession
from gateways.modbus.session import SessionOptions
from gateways.peer import Peer, Role

PEER = Peer("m1", "127.0.0.1:40000", "127.0.0.1", Role.OPERATOR, 1)

SIZES = {Table.COILS: 300, Table.DISCRETE_INPUTS: 2100, Table.HOLDING_REGISTERS: 200, Table.INPUT_REGISTERS: 150}
WRITABLE_COILS = range(10, 60)
WRITABLE_REGISTERS = range(20, 160)
MAX_VALUE = 50000
"""Larger values are refused with 03."""
FAILING, BUSY = 180, 165
"""Holding registers that answer 04 and 06 to a read."""
IDENTIFICATION = {0: b"Gridloop", 1: b"SIMULATOR", 2: b"0.1", 5: b"x" * 200, 0x80: b"y" * 100}


@dataclass
class Write:
    """One write as the bank was asked for it."""

    address: int
    data: bytes | tuple[bool, ...] | tuple[int, int]
    now_us: int
    frame: bytes


@dataclass
class FakeBank:
    """Tables of plain numbers.  Cell n holds n % 2 in the bit tables and 7 n in the registers' tables."""

    identification: Mapping[int, bytes] = field(default_factory=lambda: dict(IDENTIFICATION))
    malformed: list[tuple[ExceptionCode, bytes]] = field(default_factory=list)
    tables: dict[Table, list[int]] = field(default_factory=lambda: {
        table: [cell % 2 if table < Table.HOLDING_REGISTERS else 7 * cell for cell in range(size)]
        for table, size in SIZES.items()})
    writes: list[Write] = field(default_factory=list)
    reads: int = 0

    def read_bits(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """Bits, least significant first."""
        self.reads += 1
        cells = self.tables[table][address:address + count]
        if len(cells) < count:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        number = sum(cell << at for at, cell in enumerate(cells))
        return number.to_bytes((count + 7) // 8, "little")

    def read_registers(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """Registers, but for the two that do not answer."""
        self.reads += 1
        cells = self.tables[table][address:address + count]
        if len(cells) < count:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        if table is Table.HOLDING_REGISTERS and address <= FAILING < address + count:
            return ExceptionCode.SERVER_DEVICE_FAILURE
        if table is Table.HOLDING_REGISTERS and address <= BUSY < address + count:
            return ExceptionCode.SERVER_DEVICE_BUSY
        return b"".join(cell.to_bytes(2, "big") for cell in cells)

    def write_bits(self, address: int, bits: Sequence[bool], peer: Peer, now_us: int,
                   frame: bytes) -> ExceptionCode | None:
        """All of them or none."""
        self.writes.append(Write(address, tuple(bits), now_us, frame))
        if address not in WRITABLE_COILS or address + len(bits) - 1 not in WRITABLE_COILS:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        self.tables[Table.COILS][address:address + len(bits)] = [int(bit) for bit in bits]
        return None

    def write_registers(self, address: int, data: bytes, peer: Peer, now_us: int,
                        frame: bytes) -> ExceptionCode | None:
        """All of them or none."""
        self.writes.append(Write(address, data, now_us, frame))
        values = [int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2)]
        return self._store(address, values)

    def refused(self, code: ExceptionCode, peer: Peer, now_us: int, frame: bytes) -> None:
        """Notes it."""
        self.malformed.append((code, frame))

    def mask_register(self, address: int, masks: tuple[int, int], peer: Peer, now_us: int,
                      frame: bytes) -> ExceptionCode | None:
        """One register."""
        and_mask, or_mask = masks
        self.writes.append(Write(address, masks, now_us, frame))
        if address not in WRITABLE_REGISTERS:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        present = self.tables[Table.HOLDING_REGISTERS][address]
        return self._store(address, [present & and_mask | or_mask & ~and_mask])

    def _store(self, address: int, values: list[int]) -> ExceptionCode | None:
        if address not in WRITABLE_REGISTERS or address + len(values) - 1 not in WRITABLE_REGISTERS:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        if max(values) > MAX_VALUE:
            return ExceptionCode.ILLEGAL_DATA_VALUE
        self.tables[Table.HOLDING_REGISTERS][address:address + len(values)] = values
        return None


class BrokenBank(FakeBank):
    """Raises, or answers what no bank may."""

    def read_registers(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """One byte short at address 1, else raises."""
        if address == 1:
            return bytes(2 * count - 1)
        raise ZeroDivisionError

    def write_registers(self, address: int, data: bytes, peer: Peer, now_us: int,
                        frame: bytes) -> ExceptionCode | None:
        """Not an answer."""
        return True  # type: ignore[return-value]  # that is the mistake


def tcp(units: Mapping[int, Bank] | None = None, options: SessionOptions | None = None) -> TcpSession:
    """A TCP session with unit 1, begun at 0."""
    return TcpSession({1: FakeBank()} if units is None else units, PEER, options or SessionOptions(), 0)


def rtu(units: Mapping[int, Bank] | None = None, options: SessionOptions | None = None) -> RtuSession:
    """An RTU session over TCP with unit 1; over a line where `options` know a silence."""
    return RtuSession({1: FakeBank()} if units is None else units, PEER, options or SessionOptions(), 0)


def mbap(pdu: bytes, transaction: int = 1, unit: int = 1) -> bytes:
    """A frame of Modbus TCP."""
    return transaction.to_bytes(2, "big") + bytes(2) + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def framed(pdu: bytes, unit: int = 1) -> bytes:
    """A frame of Modbus RTU; the CRC bit by bit, as another than the product would do it."""
    crc = 0xFFFF
    for byte in bytes([unit]) + pdu:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return bytes([unit]) + pdu + bytes([crc & 0xFF, crc >> 8])


def words(function: int, *values: int) -> bytes:
    """A PDU of a function and 16-bit words."""
    return bytes([function]) + b"".join(value.to_bytes(2, "big") for value in values)


def ask(pdu: bytes, bank: Bank | None = None) -> bytes:
    """The PDU that a TCP session answers `pdu` with; the head is checked here."""
    answer = tcp({1: bank or FakeBank()}).receive(mbap(pdu, transaction=0x1234), 0)
    assert answer[:4] == b"\x12\x34\x00\x00"
    assert int.from_bytes(answer[4:6], "big") == len(answer) - 6
    assert answer[6] == 1
    return answer[7:]
