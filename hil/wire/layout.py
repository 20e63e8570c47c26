"""How a wire log lies in its file, version 1.

A file is a head and records, all integers little-endian.  Nothing in it is ever rewritten; a writer that was killed
leaves at worst part of a record at the end, which readers skip.

=======  =============================================================================================================
head     8 bytes magic, u16 version, u32 length, so many bytes of JSON: which run, mode, wall stamp and session clock
         at the start
record   u8 kind, u32 session (0: none), i64 simulation time µs, i64 session clock µs, u32 length, so many bytes
=======  =============================================================================================================

The bytes of RECEIVED and SENT are those of the wire (behind TLS, for a listener with TLS: plain).  EXCHANGED is both in
one record, which costs the path of every request half: u32 µs from the one to the other on the session clock, u32
length of what came in, that, and what went out.  The bytes of every other kind are one JSON object of texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

FILE = "wire.log"
MAGIC = b"\x89GLWIRE\n"
VERSION = 1
HEAD = Struct("<8sHI")
RECORD = Struct("<BIqqI")
EXCHANGE = Struct("<II")
#: A record's head and an exchange's.
EXCHANGE_RECORD = Struct("<BIqqIII")

#: Bytes of one record; longer ones are split by the writer and refused by the reader.
MAX_BYTES = 1024 * 1024
#: Bytes of the head's JSON.
MAX_HEAD = 64 * 1024
#: Characters of one text.
MAX_TEXT = 400


class Kind(IntEnum):
    """What a record is."""

    LISTENER = 1
    """A listener's name, kind and where it listens."""
    OPENED = 2
    CLOSED = 3
    RECEIVED = 4
    SENT = 5
    REFUSED = 6
    """A connection that did not become a session."""
    LIMITED = 7
    """From here on less is kept; `what` says what, `why` why."""
    END = 8
    """The writer closed the log."""
    EXCHANGED = 9
    """What came in and what went out for it; readers give RECEIVED and SENT, the latter with the arrival's `t_us`."""


class Framing(IntEnum):
    """How requests lie in a listener's bytes."""

    UNKNOWN = 0
    MBAP = 1
    """Modbus TCP, and behind TLS."""
    RTU = 2
    """Modbus RTU: serial, or over TCP."""

    @classmethod
    def of(cls, word: str) -> Framing:
        """That of a word in a log; UNKNOWN for any other."""
        return cls.__members__.get(word.upper(), cls.UNKNOWN)

    @classmethod
    def of_kind(cls, kind: str) -> Framing:
        """That of a listener's kind (``modbus_tcp``, ``modbus_tls``, ``modbus_rtu``, ``modbus_rtu_tcp``)."""
        words = kind.lower().split("_")
        if "rtu" in words or "serial" in words:
            return cls.RTU
        return cls.MBAP if "modbus" in words else cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One record; `session` is 0 where it is of none."""

    kind: Kind
    session: int
    t_us: int
    clock_us: int
    data: bytes

    @property
    def texts(self) -> Mapping[str, str]:
        """The JSON object of a record that is not bytes of the wire; {} where it is none."""
        return texts_of(self.data)


def texts_of(data: bytes) -> dict[str, str]:
    """A JSON object of texts; whatever else stands there is left out."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}


def texts(**entries: str) -> bytes:
    """A JSON object of texts, each at most `MAX_TEXT` characters."""
    return json.dumps({name: text[:MAX_TEXT] for name, text in entries.items()}, separators=(",", ":")).encode("ascii")


def head_bytes(run: Mapping[str, str]) -> bytes:
    """The head of a new file."""
    body = texts(**run)
    return HEAD.pack(MAGIC, VERSION, len(body)) + body


def record_bytes(record: WireRecord) -> bytes:
    """One record as it lies in the file."""
    return RECORD.pack(record.kind, record.session, record.t_us, record.clock_us, len(record.data)) + record.data
