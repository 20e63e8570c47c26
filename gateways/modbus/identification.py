"""Function 43/14, read device identification (Modbus Application Protocol v1.1b3, 6.21).

Objects come in three categories, each holding those below it: basic (0 to 2), regular (to 0x7F) and extended (to
0xFF).  Codes 1 to 3 read a category as a stream, over several answers where one does not hold it; code 4 reads one
object.  The conformity level names the highest category that the unit has an object of; 0x80 in it says that single
objects can be read too, which is always so here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateways.modbus.bank import ExceptionCode

FUNCTION, MEI_TYPE = 0x2B, 0x0E
_LAST_OF_CATEGORY = {1: 0x02, 2: 0x7F, 3: 0xFF}
_INDIVIDUAL = 4
_ROOM = 253 - 7
"""Bytes for objects in a PDU (4.1: 253 bytes at most) behind the seven of the answer's head."""


def read_device_identification(objects: Mapping[int, bytes], pdu: bytes) -> bytes | ExceptionCode:
    """The answer to `pdu` from `objects` by id; ids beyond 255 do not exist, values are cut to 244 bytes.

    A unit without objects has no such function (01), nor has any unit an MEI type other than 14 (6.19).  A stream
    that is to begin at an object that is not there begins at its first (6.21: "as if object 0 were pointed out").
    """
    if len(pdu) < 2:
        return ExceptionCode.ILLEGAL_DATA_VALUE
    known = {number: objects[number] for number in sorted(objects) if 0 <= number <= 0xFF}
    if pdu[1] != MEI_TYPE or not known:
        return ExceptionCode.ILLEGAL_FUNCTION
    if len(pdu) != 4:
        return ExceptionCode.ILLEGAL_DATA_VALUE
    code, first = pdu[2], pdu[3]
    level = 0x80 | min(category for category, last in _LAST_OF_CATEGORY.items() if max(known) <= last)
    if code == _INDIVIDUAL:
        if first not in known:
            return ExceptionCode.ILLEGAL_DATA_ADDRESS
        return _answer(code, level, _fields([(first, known[first])]), None)
    if code not in _LAST_OF_CATEGORY:
        return ExceptionCode.ILLEGAL_DATA_VALUE
    stream = [(number, value) for number, value in known.items() if number <= _LAST_OF_CATEGORY[code]]
    if any(number == first for number, _ in stream):
        stream = [(number, value) for number, value in stream if number >= first]
    fields = _fields(stream)
    following = stream[len(fields)][0] if len(fields) < len(stream) else None
    return _answer(code, level, fields, following)


def _fields(stream: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """Objects as id, length, value; as many from the first on as one answer holds."""
    fields: list[bytes] = []
    room = _ROOM
    for number, value in stream:
        value = bytes(value[:_ROOM - 2])
        room -= 2 + len(value)
        if room < 0:
            break
        fields.append(bytes((number, len(value))) + value)
    return fields


def _answer(code: int, level: int, fields: list[bytes], following: int | None) -> bytes:
    """Head and objects; `following` is the object to ask for next, None: that was all."""
    more = (0xFF, following) if following is not None else (0, 0)
    return bytes((FUNCTION, MEI_TYPE, code, level, *more, len(fields))) + b"".join(fields)
