"""What a Modbus server session asks of the unit it speaks for; and the words of the application protocol it needs.

Addresses here are those on the wire (0…65535).  A bank answers with data or with an exception code, never by raising.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, Protocol

from gateways.gate import WriteAnswer
from gateways.peer import Peer


class Table(IntEnum):
    """The four primary tables (Modbus Application Protocol v1.1b3, 4.3)."""

    COILS = 0
    DISCRETE_INPUTS = 1
    HOLDING_REGISTERS = 2
    INPUT_REGISTERS = 3


BIT_TABLES: Final = (Table.COILS, Table.DISCRETE_INPUTS)
"""Those whose places are bits; the places of the others are registers."""


class ExceptionCode(IntEnum):
    """Modbus Application Protocol v1.1b3, 7."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_DATA_ADDRESS = 2
    ILLEGAL_DATA_VALUE = 3
    SERVER_DEVICE_FAILURE = 4
    ACKNOWLEDGE = 5
    SERVER_DEVICE_BUSY = 6
    GATEWAY_PATH_UNAVAILABLE = 10
    GATEWAY_TARGET_FAILED = 11

    @property
    def words(self) -> str:
        """``illegal data address``."""
        return self.name.lower().replace("_", " ")


CODES: Mapping[WriteAnswer, ExceptionCode | None] = {
    WriteAnswer.TAKEN: None,
    WriteAnswer.READ_ONLY: ExceptionCode.ILLEGAL_FUNCTION,
    WriteAnswer.RATE_LIMITED: ExceptionCode.SERVER_DEVICE_BUSY,
    WriteAnswer.QUEUE_FULL: ExceptionCode.SERVER_DEVICE_BUSY,
    WriteAnswer.OUT_OF_RANGE: ExceptionCode.ILLEGAL_DATA_VALUE,
    WriteAnswer.NOT_A_NUMBER: ExceptionCode.ILLEGAL_DATA_VALUE,
    WriteAnswer.NOT_WRITABLE: ExceptionCode.ILLEGAL_DATA_ADDRESS,
    WriteAnswer.BLOCKED: ExceptionCode.SERVER_DEVICE_FAILURE,
    WriteAnswer.REFUSED: ExceptionCode.SERVER_DEVICE_FAILURE,
}
"""What a master is told of the gate's answer; a refusal of the station's own has its own code."""


def malformed_words(code: ExceptionCode) -> str:
    """What the record says of a write that could not be read."""
    return f"no valid request: exception {code:02}, {code.words}"


class Bank(Protocol):
    """One unit's tables, as a session sees them.

    The session has checked the function and the quantity (exceptions 01 and 03) before it calls; the bank judges the
    addresses (02), then the values (03), then carries out (04, 06).  `now_us` is the time of arrival on the session's
    own clock.  Every read is answered from one snapshot.
    """

    identification: Mapping[int, bytes]
    """Objects of device identification (43/14) by id, 0 to 255: 0 vendor, 1 product code, 2 revision, …"""

    def read_bits(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """`count` bits packed as on the wire: least significant bit first, padded with zeros to whole bytes."""

    def read_registers(self, table: Table, address: int, count: int, peer: Peer) -> bytes | ExceptionCode:
        """2 × `count` bytes, big-endian registers."""

    def write_bits(self, address: int, bits: Sequence[bool], peer: Peer, now_us: int,
                   frame: bytes) -> ExceptionCode | None:
        """Ask for coils; None: taken.  `frame` is the whole request as it came, for the audit."""

    def write_registers(self, address: int, data: bytes, peer: Peer, now_us: int,
                        frame: bytes) -> ExceptionCode | None:
        """Ask for holding registers, 2 bytes each; None: taken."""

    def mask_register(self, address: int, masks: tuple[int, int], peer: Peer, now_us: int,
                      frame: bytes) -> ExceptionCode | None:
        """Function 22: (register AND and_mask) OR (or_mask AND NOT and_mask); `masks` are (and_mask, or_mask)."""

    def refused(self, code: ExceptionCode, peer: Peer, now_us: int, frame: bytes) -> None:
        """A write that the session itself refused (length, quantity, value, range): for the record, nothing is asked.
        """
