"""Functions 1 to 6, 8, 15, 16, 22, 23 and 43/14: from a request's PDU to its answer's, or to an exception code.

Theory of operation.  Every function of the application protocol (v1.1b3, 6) is served in the order of its state
diagram:

===  ==========================================================  ==========
no.  question                                                    otherwise
===  ==========================================================  ==========
1    is the function (8: its sub-function, 43: its type) known?  01
2    is the PDU as long, the quantity and the value as allowed?  03
3    does the range stay below 65536?                            02
4    what does the bank say?                                     02 03 04 06
===  ==========================================================  ==========

Nothing here keeps state; what a unit keeps is in its bank and in its `Diagnostics`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cosim.errors import GatewayError
from gateways.modbus import diagnostics, identification
from gateways.modbus.bank import Bank, ExceptionCode, Table
from gateways.modbus.diagnostics import Diagnostics
from gateways.peer import Peer

MAX_READ_BITS, MAX_WRITE_BITS = 2000, 1968
"""Bits of one request (6.1, 6.11)."""
MAX_READ_REGISTERS, MAX_WRITE_REGISTERS, MAX_EXCHANGED_REGISTERS = 125, 123, 121
"""Registers of one request (6.3, 6.12), and those that function 23 writes (6.17)."""
SPACE = 0x10000
"""Addresses of a table."""

READ_TABLE: Mapping[int, Table] = {1: Table.COILS, 2: Table.DISCRETE_INPUTS,
                                   3: Table.HOLDING_REGISTERS, 4: Table.INPUT_REGISTERS}

Answer = bytes | ExceptionCode | None
"""A PDU, an exception, or nothing to say (function 8, listen only)."""

_HEAD = struct.Struct(">BHH")
_HEAD_COUNTED = struct.Struct(">BHHB")
_MASKS = struct.Struct(">BHHH")
_EXCHANGE = struct.Struct(">BHHHHB")
_BITS = tuple(tuple(bool(byte >> bit & 1) for bit in range(8)) for byte in range(256))
_COIL = {0x0000: False, 0xFF00: True}
_HOLDING = Table.HOLDING_REGISTERS
_ADDRESS, _VALUE = ExceptionCode.ILLEGAL_DATA_ADDRESS, ExceptionCode.ILLEGAL_DATA_VALUE


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request to one unit: its PDU, the frame it came in, when it came, and whom it concerns."""

    pdu: bytes
    frame: bytes
    now_us: int
    bank: Bank
    peer: Peer
    diagnostics: Diagnostics


def answer(request: Request) -> Answer:
    """Serve `request`, whose PDU holds a function at least; what the bank raises, this raises."""
    serve = _FUNCTIONS.get(request.pdu[0])
    if serve is None:
        return ExceptionCode.ILLEGAL_FUNCTION
    answered = serve(request)
    if answered is None or isinstance(answered, bytes | ExceptionCode):
        return answered
    raise GatewayError(f"a Modbus bank answered a write with {answered!r}; expected None or an ExceptionCode")


def checked(data: bytes | ExceptionCode, size: int) -> bytes | ExceptionCode:
    """What a bank gave, if it is what it was asked for; raises GatewayError, as a bank that errs is our mistake."""
    if isinstance(data, ExceptionCode) or (isinstance(data, bytes) and len(data) == size):
        return data
    raise GatewayError(f"a Modbus bank was asked for {size} bytes and answered {data!r}; "
                       f"expected bytes of that length or an ExceptionCode")


def _refused(request: Request, code: ExceptionCode) -> ExceptionCode:
    """A write that the bank will never see as one: it goes on record all the same."""
    request.bank.refused(code, request.peer, request.now_us, request.frame)
    return code


def _read_bits(request: Request) -> Answer:
    """6.1, 6.2."""
    pdu = request.pdu
    if len(pdu) != _HEAD.size:
        return _VALUE
    function, address, count = _HEAD.unpack(pdu)
    if not 1 <= count <= MAX_READ_BITS:
        return _VALUE
    if address + count > SPACE:
        return _ADDRESS
    size = (count + 7) // 8
    bits = checked(request.bank.read_bits(READ_TABLE[function], address, count, request.peer), size)
    return bytes((function, size)) + bits if isinstance(bits, bytes) else bits


def _read_registers(request: Request) -> Answer:
    """6.3, 6.4."""
    pdu = request.pdu
    if len(pdu) != _HEAD.size:
        return _VALUE
    function, address, count = _HEAD.unpack(pdu)
    if not 1 <= count <= MAX_READ_REGISTERS:
        return _VALUE
    data = _registers(request, READ_TABLE[function], address, count)
    return bytes((function, 2 * count)) + data if isinstance(data, bytes) else data


def _registers(request: Request, table: Table, address: int, count: int) -> bytes | ExceptionCode:
    """What the bank says to a range that may leave the address space."""
    if address + count > SPACE:
        return _ADDRESS
    return checked(request.bank.read_registers(table, address, count, request.peer), 2 * count)


def _write_coil(request: Request) -> Answer:
    """6.5: 0x0000 is off, 0xFF00 is on, all else is no value."""
    pdu = request.pdu
    if len(pdu) != _HEAD.size:
        return _refused(request, _VALUE)
    _, address, value = _HEAD.unpack(pdu)
    if value not in _COIL:
        return _refused(request, _VALUE)
    code = request.bank.write_bits(address, (_COIL[value],), request.peer, request.now_us, request.frame)
    return pdu if code is None else code


def _write_register(request: Request) -> Answer:
    """6.6."""
    pdu = request.pdu
    if len(pdu) != _HEAD.size:
        return _refused(request, _VALUE)
    _, address, _ = _HEAD.unpack(pdu)
    code = request.bank.write_registers(address, pdu[3:], request.peer, request.now_us, request.frame)
    return pdu if code is None else code


def _diagnostics(request: Request) -> Answer:
    """6.8."""
    return request.diagnostics.answer(request.pdu)


def _write_coils(request: Request) -> Answer:
    """6.11: what pads the last byte is not looked at."""
    pdu = request.pdu
    if len(pdu) < _HEAD_COUNTED.size:
        return _refused(request, _VALUE)
    _, address, count, size = _HEAD_COUNTED.unpack_from(pdu)
    if not 1 <= count <= MAX_WRITE_BITS or size != (count + 7) // 8 or len(pdu) != _HEAD_COUNTED.size + size:
        return _refused(request, _VALUE)
    if address + count > SPACE:
        return _refused(request, _ADDRESS)
    bits = tuple(bit for byte in pdu[_HEAD_COUNTED.size:] for bit in _BITS[byte])[:count]
    code = request.bank.write_bits(address, bits, request.peer, request.now_us, request.frame)
    return pdu[:5] if code is None else code


def _write_registers(request: Request) -> Answer:
    """6.12."""
    pdu = request.pdu
    if len(pdu) < _HEAD_COUNTED.size:
        return _refused(request, _VALUE)
    _, address, count, size = _HEAD_COUNTED.unpack_from(pdu)
    if not 1 <= count <= MAX_WRITE_REGISTERS or size != 2 * count or len(pdu) != _HEAD_COUNTED.size + size:
        return _refused(request, _VALUE)
    if address + count > SPACE:
        return _refused(request, _ADDRESS)
    code = request.bank.write_registers(address, pdu[_HEAD_COUNTED.size:], request.peer, request.now_us, request.frame)
    return pdu[:5] if code is None else code


def _mask_register(request: Request) -> Answer:
    """6.16."""
    pdu = request.pdu
    if len(pdu) != _MASKS.size:
        return _refused(request, _VALUE)
    _, address, and_mask, or_mask = _MASKS.unpack(pdu)
    code = request.bank.mask_register(address, (and_mask, or_mask), request.peer, request.now_us, request.frame)
    return pdu if code is None else code


def _exchange_registers(request: Request) -> Answer:
    """6.17: both quantities and the byte count, then both ranges, then the write, then the read.

    The state diagram judges the range to be read before anything is written, and only the bank can judge it: so it
    is asked first, and asked again after the write for what the answer carries.
    """
    pdu = request.pdu
    if len(pdu) < _EXCHANGE.size:
        return _refused(request, _VALUE)
    function, source, wanted, target, count, size = _EXCHANGE.unpack_from(pdu)
    if (not 1 <= wanted <= MAX_READ_REGISTERS or not 1 <= count <= MAX_EXCHANGED_REGISTERS
            or size != 2 * count or len(pdu) != _EXCHANGE.size + size):
        return _refused(request, _VALUE)
    if target + count > SPACE:
        return _refused(request, _ADDRESS)
    before = _registers(request, _HOLDING, source, wanted)
    if not isinstance(before, bytes):
        return _refused(request, before)
    code = request.bank.write_registers(target, pdu[_EXCHANGE.size:], request.peer, request.now_us, request.frame)
    if code is not None:
        return code
    after = _registers(request, _HOLDING, source, wanted)
    return bytes((function, 2 * wanted)) + after if isinstance(after, bytes) else after


def _identification(request: Request) -> Answer:
    """6.19, 6.21."""
    return identification.read_device_identification(request.bank.identification, request.pdu)


_FUNCTIONS: Mapping[int, Callable[[Request], Answer]] = {
    1: _read_bits, 2: _read_bits, 3: _read_registers, 4: _read_registers, 5: _write_coil, 6: _write_register,
    diagnostics.FUNCTION: _diagnostics, 15: _write_coils, 16: _write_registers, 22: _mask_register,
    23: _exchange_registers, identification.FUNCTION: _identification}
WRITES = frozenset({5, 6, 15, 16, 22, 23})
"""Functions that write."""
BROADCAST = WRITES - {23}
"""Functions that only write, so that they make sense to all units of a line at once."""
