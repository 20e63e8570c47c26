"""One audit record as one line of bytes, and the hash that chains it to the record before.

The format, version 1
---------------------
A file of ASCII lines, each ended by a line feed.  The first line is the header, all others are records::

    {"audit":1,"run":{NAME:TEXT OR INTEGER,…},"hash":HEX}
    {"seq":0,"t_us":T,"stamp":TEXT OR null,"kind":…,"subject":…,"detail":…,"fields":{NAME:NUMBER,…},"previous":HEX,
     "hash":HEX}

* Members stand in this order and without blanks; the names in `run` and `fields` are sorted by code point; `fields`
  is left out when empty.  Text is escaped down to ASCII as Python's ``json`` does it, numbers are Python's shortest
  ``repr`` of a float, and the three that JSON does not know are the texts "nan", "inf" and "-inf".  A record
  therefore has one spelling, and a reader refuses every other.
* `hash` is the SHA-256 of the line's bytes before ``,"hash":``, in lower-case hexadecimal.  It stands last so that
  no encoder is needed to check it: ``sed 's/,"hash":.*//' | tr -d '\\n' | sha256sum`` does it for a line.
* `previous` is the hash of the line before, for the first record that of the header; `seq` counts records from 0.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cosim.errors import RecordError

FORMAT = 1

#: Characters; longer texts of a record are cut with a mark, an audit log does not refuse what happened.
MAX_KIND, MAX_SUBJECT, MAX_DETAIL, MAX_STAMP = 64, 200, 2000, 64
#: Numbers of a record and entries of a header, and characters of their names and texts; more is a RecordError.
MAX_NUMBERS, MAX_ENTRIES, MAX_NAME, MAX_HEADER_TEXT = 32, 16, 64, 200
#: Integers are kept where every reader of JSON has them.
MAX_INTEGER = 2**63 - 1
#: Bytes of a line, its line feed included; no record within the limits above comes near it.
MAX_LINE_BYTES = 64 * 1024

_END = re.compile(rb',"hash":"([0-9a-f]{64})"\}\n')
_END_BYTES = len(',"hash":""}\n') + 64
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_NOT_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Seal:
    """How many records a log has and the hash of its last one (of the header when there is none)."""

    count: int
    head: str

    def __str__(self) -> str:
        return f"{self.count}:{self.head}"


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `stamp` is wall time as ISO text or None, `hash` is "" until it is written."""

    seq: int
    t_us: int
    stamp: str | None
    kind: str
    subject: str
    detail: str
    fields: Mapping[str, float]
    previous: str
    hash: str = ""


def shortened(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, what was left out counted at the end; lone surrogates are spelled out."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    mark = f"…[{len(text)} characters]"
    return text[:limit - len(mark)] + mark


def header_line(run: Mapping[str, str | int]) -> tuple[bytes, str]:
    """The first line of a log and its hash; RecordError for a header beyond the limits."""
    if len(run) > MAX_ENTRIES:
        raise RecordError(f"audit header: {len(run)} entries; expected at most {MAX_ENTRIES}")
    for name, value in run.items():
        _check_entry(name, value)
    return _closed(_ENCODER.encode({"audit": FORMAT, "run": {name: run[name] for name in sorted(run)}}))


def record_line(record: Record) -> tuple[bytes, str]:
    """A record's line and its hash; RecordError for numbers beyond the limits (texts are the caller's to shorten)."""
    members: dict[str, Any] = {"seq": record.seq, "t_us": record.t_us, "stamp": record.stamp, "kind": record.kind,
                               "subject": record.subject, "detail": record.detail}
    if record.fields:
        members["fields"] = _fields(record.fields)
    members["previous"] = record.previous
    return _closed(_ENCODER.encode(members))


def read_header(line: bytes) -> Mapping[str, str | int] | str:
    """What a log's first line says of the run, or what was found instead."""
    members = _members(line)
    if isinstance(members, str):
        return members
    run = members.get("run")
    if members.get("audit") != FORMAT or not isinstance(run, dict):
        return f"a line that begins with {_excerpt(line)}"
    try:
        return run if header_line(run)[0] == _without_hash(line) else "another spelling of a header"
    except (RecordError, TypeError) as error:
        return str(error)


def read_record(line: bytes) -> Record | str:
    """The record of a line whose form is exactly that of the format, or what was found instead.

    The hash is taken as written: whether it is right is for the caller (`line_hash`).
    """
    members = _members(line)
    if isinstance(members, str):
        return members
    try:
        fields = {name: _NOT_JSON[value] if isinstance(value, str) else value
                  for name, value in members.get("fields", {}).items()}
        record = Record(members["seq"], members["t_us"], members["stamp"], members["kind"], members["subject"],
                        members["detail"], fields, members["previous"], members["hash"])
        is_ours = _is_typed(record) and record_line(record)[0] == _without_hash(line)
    except (KeyError, TypeError, AttributeError, ValueError, RecordError):
        is_ours = False
    return record if is_ours else f"a line of another form, which begins with {_excerpt(line)}"


def line_hash(line: bytes) -> str:
    """The hash that a complete line should end with."""
    return sha256(line[:-_END_BYTES]).hexdigest()


def written_hash(line: bytes) -> str:
    """The hash that a complete line ends with; "" when it ends with none."""
    end = _END.fullmatch(line[-_END_BYTES:])
    return end[1].decode() if end else ""


def _closed(body: str) -> tuple[bytes, str]:
    content = body[:-1].encode("ascii")
    digest = sha256(content).hexdigest()
    line = b'%s,"hash":"%s"}\n' % (content, digest.encode())
    if len(line) > MAX_LINE_BYTES:
        raise RecordError(f"audit: a line of {len(line)} bytes; expected at most {MAX_LINE_BYTES}")
    return line, digest


def _without_hash(line: bytes) -> bytes:
    """The line with the hash it should have, so that spelling and hash are judged apart."""
    return b'%s,"hash":"%s"}\n' % (line[:-_END_BYTES], line_hash(line).encode())


def _members(line: bytes) -> dict[str, Any] | str:
    if not line.isascii():
        return f"bytes that are no text of ours: {_excerpt(line)}"
    if not written_hash(line):
        return f"a line without a hash at its end: {_excerpt(line)}"
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return f"a line that is not JSON: {_excerpt(line)}"
    return found if isinstance(found, dict) else f"a line that is no record: {_excerpt(line)}"


def _is_typed(record: Record) -> bool:
    texts = (record.kind, record.subject, record.detail, record.previous, "" if record.stamp is None else record.stamp)
    return (all(type(number) is int and abs(number) <= MAX_INTEGER for number in (record.seq, record.t_us))
            and all(type(text) is str and _is_unicode(text) for text in texts)
            and all(type(value) is float for value in record.fields.values()))


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fields(numbers: Mapping[str, float]) -> dict[str, float | str]:
    if len(numbers) > MAX_NUMBERS or max(map(len, numbers)) > MAX_NAME:
        raise RecordError(f"audit: {len(numbers)} numbers, the longest name has {max(map(len, numbers))} characters; "
                          f"expected at most {MAX_NUMBERS} numbers with names of at most {MAX_NAME}")
    if not all(map(_is_unicode, numbers)):
        raise RecordError(f"audit: the names {list(numbers)!a:.200}; expected Unicode without lone surrogates")
    return {name: value if math.isfinite(value) else repr(value) for name, value in sorted(numbers.items())}


def _check_entry(name: str, value: str | int) -> None:
    if not (len(name) <= MAX_NAME and _is_unicode(name)):
        raise RecordError(f"audit header: the name {name!r:.80}; expected at most {MAX_NAME} characters")
    if type(value) is int and abs(value) <= MAX_INTEGER:
        return
    if type(value) is not str or len(value) > MAX_HEADER_TEXT or not _is_unicode(value):
        raise RecordError(f"audit header: {name} is {value!r:.80}; expected text of at most {MAX_HEADER_TEXT} "
                          f"characters or an integer of 64 bits")


def _excerpt(line: bytes) -> str:
    return f"{line[:40]!r:.60}{'…' if len(line) > 40 else ''}"
