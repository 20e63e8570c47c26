"""Modbus requests and answers in words: function, unit, address in the three notations, values.

A PDU that does not hold what its function says is told as such, with its bytes; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import error as StructError
from struct import unpack_from

from gateways.modbus.bank import ExceptionCode, Table
from gateways.modbus.pdu import READ_TABLE, SPACE
from gateways.pointlist.address import Place
from hil.wire.frames import Frame

#: Values that are named of one request or answer.
_NAMED = 8
_LONG = {Table.COILS: "coils", Table.DISCRETE_INPUTS: "discrete inputs", Table.HOLDING_REGISTERS: "holding registers",
         Table.INPUT_REGISTERS: "input registers"}
_HOLDING, _COILS = Table.HOLDING_REGISTERS, Table.COILS
_EXCEPTIONS = {code.value: code.words for code in ExceptionCode}


def request_words(frame: Frame) -> str:
    """``write holding register hr 0 = 40001 (400001), unit 1: 400``."""
    if frame.fault:
        return f"no Modbus frame ({frame.fault}): {hex_words(frame.data)}"
    return _said(_REQUESTS, frame, f", unit {frame.unit}")


def answer_words(frame: Frame, request: Frame | None) -> str:
    """``registers 16384 0``, ``done``, ``exception 02 (illegal data address)``."""
    if frame.fault:
        return f"no Modbus frame ({frame.fault}): {hex_words(frame.data)}"
    function = frame.pdu[0]
    if function & 0x80:
        code = frame.pdu[1] if len(frame.pdu) > 1 else 0
        return f"exception {code:02d} ({_EXCEPTIONS.get(code, 'not of the standard')})"
    if request is not None and request.pdu and request.pdu[0] == function:
        if function in (5, 6, 8, 22) and frame.pdu == request.pdu:
            return "done" if function != 8 else "the same back"
        if function in (1, 2) and len(frame.pdu) > 2 and len(request.pdu) >= 5:
            return _values(_bits(frame.pdu[2:], int.from_bytes(request.pdu[3:5], "big")))
    return _said(_ANSWERS, frame, "")


def hex_words(data: bytes) -> str:
    """Bytes in hexadecimal, those of a long piece counted."""
    return data.hex(" ") if len(data) <= 64 else f"{data[:64].hex(' ')} … ({len(data)} bytes)"


_Words = Callable[[bytes, str], str]


def _said(words: dict[int, _Words], frame: Frame, unit: str) -> str:
    say = words.get(frame.pdu[0]) if frame.pdu else None
    if say is None:
        return f"function {frame.pdu[0] if frame.pdu else 'none'}{unit}: {hex_words(frame.pdu)}"
    try:
        return say(frame.pdu, unit)
    except (StructError, IndexError, ValueError):
        return f"function {frame.pdu[0]}{unit}, cut short: {hex_words(frame.pdu)}"


def _span(table: Table, address: int, count: int) -> str:
    """``holding registers hr 0 = 40001 (400001) to hr 9 = 40010 (400010)``."""
    begin, end = Place(table, address), address + count - 1
    many = _LONG[table] if count != 1 else _LONG[table].rstrip("s")
    if count <= 1:
        return f"{many} {begin}"
    return f"{many} {begin} to {Place(table, end) if end < SPACE else f'beyond the table ({count} of them)'}"


def _values(values: Sequence[int | str]) -> str:
    more = f" … ({len(values)} of them)" if len(values) > _NAMED else ""
    return " ".join(str(value) for value in values[:_NAMED]) + more


def _registers(data: bytes) -> list[int]:
    return list(unpack_from(f">{len(data) // 2}H", data))


def _bits(data: bytes, count: int) -> list[int]:
    return [data[i // 8] >> i % 8 & 1 for i in range(min(count, 8 * len(data)))]


def _read(pdu: bytes, unit: str) -> str:
    address, count = unpack_from(">HH", pdu, 1)
    return f"read {_span(READ_TABLE[pdu[0]], address, count)}{unit}"


def _write_coil(pdu: bytes, unit: str) -> str:
    address, value = unpack_from(">HH", pdu, 1)
    return f"write {_span(_COILS, address, 1)}{unit}: {({0xFF00: 'on', 0: 'off'}).get(value, f'0x{value:04x}')}"


def _write_register(pdu: bytes, unit: str) -> str:
    address, value = unpack_from(">HH", pdu, 1)
    return f"write {_span(_HOLDING, address, 1)}{unit}: {value}"


def _write_coils(pdu: bytes, unit: str) -> str:
    address, count = unpack_from(">HH", pdu, 1)
    return f"write {_span(_COILS, address, count)}{unit}: {_values(_bits(pdu[6:], count))}"


def _write_registers(pdu: bytes, unit: str) -> str:
    address, count = unpack_from(">HH", pdu, 1)
    return f"write {_span(_HOLDING, address, count)}{unit}: {_values(_registers(pdu[6:]))}"


def _mask(pdu: bytes, unit: str) -> str:
    address, and_mask, or_mask = unpack_from(">HHH", pdu, 1)
    return f"mask {_span(_HOLDING, address, 1)}{unit}: and 0x{and_mask:04x} or 0x{or_mask:04x}"


def _exchange(pdu: bytes, unit: str) -> str:
    source, wanted, target, count = unpack_from(">HHHH", pdu, 1)
    return (f"write {_span(_HOLDING, target, count)}: {_values(_registers(pdu[10:]))}; "
            f"then read {_span(_HOLDING, source, wanted)}{unit}")


def _diagnostics(pdu: bytes, unit: str) -> str:
    (sub,) = unpack_from(">H", pdu, 1)
    return f"diagnostics {sub}{unit}: {hex_words(pdu[3:])}"


def _identification(pdu: bytes, unit: str) -> str:
    if pdu[1] != 14:
        return f"function 43/{pdu[1]}{unit}: {hex_words(pdu[2:])}"
    return f"read device identification {pdu[2]}, from object {pdu[3]}{unit}"


_REQUESTS: dict[int, _Words] = {1: _read, 2: _read, 3: _read, 4: _read, 5: _write_coil, 6: _write_register,
                                8: _diagnostics, 15: _write_coils, 16: _write_registers, 22: _mask, 23: _exchange,
                                43: _identification}


def _bits_answer(pdu: bytes, _: str) -> str:
    return f"bits {hex_words(pdu[2:])}"


def _registers_answer(pdu: bytes, _: str) -> str:
    return _values(_registers(pdu[2:]))


def _done(pdu: bytes, _: str) -> str:
    unpack_from(">HH", pdu, 1)
    return "done"


def _identified(pdu: bytes, _: str) -> str:
    found, at = [], 7
    for _object in range(pdu[6]):
        number, length = pdu[at], pdu[at + 1]
        text = pdu[at + 2:at + 2 + length].decode("ascii", "replace")
        found.append(f"{number} {text!r}")
        at += 2 + length
    return _values(found)


_ANSWERS: dict[int, _Words] = {1: _bits_answer, 2: _bits_answer, 3: _registers_answer, 4: _registers_answer, 5: _done,
                               6: _done, 8: _diagnostics, 15: _done, 16: _done, 22: _done, 23: _registers_answer,
                               43: _identified}
