"""The format: one record, one spelling, one hash."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.audit.chain import (
    MAX_DETAIL,
    MAX_ENTRIES,
    MAX_HEADER_TEXT,
    MAX_KIND,
    MAX_LINE_BYTES,
    MAX_NAME,
    MAX_NUMBERS,
    MAX_STAMP,
    MAX_SUBJECT,
    Record,
    header_line,
    read_header,
    read_record,
    record_line,
    shortened,
)
from cosim.errors import RecordError

RECORD = Record(7, 1_500_000, "2026-01-02T03:04:05Z", "decision", "pv3", "cut: line 4 at 1.02", {"p_kw": 3.0}, "a" * 64)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_the_line_of_a_record_is_the_documented_one() -> None:
    """The format is what the docstring says, byte for byte."""
    body = ('{"seq":7,"t_us":1500000,"stamp":"2026-01-02T03:04:05Z","kind":"decision","subject":"pv3",'
            '"detail":"cut: line 4 at 1.02","fields":{"p_kw":3.0},"previous":"' + "a" * 64 + '"')
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert record_line(RECORD) == (f'{body},"hash":"{digest}"}}\n'.encode(), digest)


def test_the_line_of_a_header_is_the_documented_one() -> None:
    """Entries are sorted, the hash is of what stands before it."""
    body = '{"audit":1,"run":{"name":"trial","seed":3}'
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert header_line({"seed": 3, "name": "trial"}) == (f'{body},"hash":"{digest}"}}\n'.encode(), digest)


@given(st.integers(0, 2**62), st.integers(-2**62, 2**62), st.none() | TEXT, st.tuples(TEXT, TEXT, TEXT),
       st.dictionaries(TEXT, st.floats(), max_size=4))
def test_what_is_written_is_read(seq: int, t_us: int, stamp: str | None, texts: tuple[str, str, str],
                                 fields: dict[str, float]) -> None:
    """Any record comes back, NaN and infinities included."""
    record = Record(seq, t_us, stamp, *texts, fields, "b" * 64)
    line, digest = record_line(record)
    found = read_record(line)
    assert isinstance(found, Record)
    assert repr(found) == repr(replace(record, fields=dict(sorted(fields.items())), hash=digest))
    assert line.isascii()
    assert line.count(b"\n") == 1


def closed(body: str) -> bytes:
    """A line with a hash that is right, whatever stands before it."""
    return f'{body},"hash":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n'.encode()


BODY = record_line(RECORD)[0].decode().split(',"hash"')[0]


def test_the_helper_of_these_tests_closes_lines_rightly() -> None:
    """Otherwise the test below would pass for another reason."""
    assert isinstance(read_record(closed(BODY)), Record)


@pytest.mark.parametrize("body", [
    BODY.replace('"seq":7', '"seq": 7'), BODY.replace('"seq":7', '"seq":07'), BODY.replace('"seq":7', '"seq":7.0'),
    BODY.replace('"seq":7', '"seq":true'), BODY.replace('"seq":7', '"seq":"7"'), BODY.replace("3.0", "3.00"),
    BODY.replace('"seq":7', '"seq":' + "9" * 5000),
    BODY.replace("3.0", "3"), BODY.replace("3.0", "NaN"), BODY.replace("3.0", '"many"'), BODY.replace("3.0", "1e999"),
    BODY.replace('{"p_kw":3.0}', "{}"), BODY.replace('{"p_kw":3.0}', "[]"), BODY.replace('"pv3"', "null"),
    BODY.replace('"pv3"', r'"\ud800"'), BODY.replace('"2026-01-02T03:04:05Z"', "false"),
    BODY.replace('"pv3"', '"pv3","subject":"pv3"'), BODY.replace('"pv3"', '"pv3","more":1'), "[1", "{", "[" * 40_000,
    BODY.replace("pv3", "p\x00")], ids=range(22))
def test_every_other_spelling_is_refused(body: str) -> None:
    """A right hash does not help a line that is not in the one form."""
    assert isinstance(read_record(closed(body)), str)


@pytest.mark.parametrize("line", [b"", b"\n", b"\xff\xfe\n", b"{}\n", b'{"audit":1}\n', closed('{"audit":2,"run":{}'),
                                  closed('{"audit":1,"run":{"a":1.5}'), closed('{"audit":1,"run":[]'),
                                  closed('{"audit":1,"run":{"b":1,"a":2}'), closed('{"audit":true,"run":{}'),
                                  closed('{"audit":1,"run":{"a":null}'), closed('{"audit":1,"run":{},"x":1')])
def test_what_is_no_header(line: bytes) -> None:
    """Anything but a header of version 1 in its one spelling."""
    assert isinstance(read_header(line), str)


@pytest.mark.parametrize("run", [{"a": "x" * (MAX_HEADER_TEXT + 1)}, {"n" * (MAX_NAME + 1): 1}, {"a": 2**63},
                                 {"a": "\ud800"}, {str(n): n for n in range(MAX_ENTRIES + 1)}])
def test_headers_have_limits(run: dict[str, str | int]) -> None:
    """Too long, too large, too many, no Unicode."""
    with pytest.raises(RecordError, match=r"audit header: .*expected"):
        header_line(run)


@pytest.mark.parametrize("fields", [{str(n): 1.0 for n in range(MAX_NUMBERS + 1)}, {"n" * (MAX_NAME + 1): 1.0},
                                    {"\ud800": 1.0}])
def test_numbers_have_limits(fields: dict[str, float]) -> None:
    """Too many, or with names that are too long or no Unicode."""
    with pytest.raises(RecordError, match=r"audit: .*expected"):
        record_line(replace(RECORD, fields=fields))


def test_the_largest_record_and_header_fit_into_a_line() -> None:
    """Within the limits of texts and numbers, the limit of a line is never met, whatever the letters."""
    wide = "\U0001f600"  # twelve bytes when escaped
    fields = {f"{wide * (MAX_NAME - 2)}{n:02}": -1.2345678901234567e-300 for n in range(MAX_NUMBERS)}
    largest = Record(2**62, -2**62, wide * MAX_STAMP, wide * MAX_KIND, wide * MAX_SUBJECT, wide * MAX_DETAIL, fields,
                     "c" * 64)
    assert len(record_line(largest)[0]) <= MAX_LINE_BYTES
    run = {f"{wide * (MAX_NAME - 2)}{n:02}": wide * MAX_HEADER_TEXT for n in range(MAX_ENTRIES)}
    assert isinstance(read_header(header_line(run)[0]), dict)


@given(st.text(max_size=80), st.integers(30, 50))
def test_shortened(text: str, limit: int) -> None:
    """At most `limit` characters, always Unicode; what fits is kept, what is cut says how long it was."""
    short = shortened(text, limit)
    short.encode("utf-8")
    assert len(short) <= limit
    plain = text.encode("utf-8", "backslashreplace").decode()
    assert short == plain if len(plain) <= limit else short.endswith(f"…[{len(plain)} characters]")


def test_non_finite_numbers_are_texts() -> None:
    """The file is JSON for every reader."""
    line, _ = record_line(replace(RECORD, fields={"a": math.nan, "b": math.inf, "c": -math.inf}))
    assert json.loads(line)["fields"] == {"a": "nan", "b": "inf", "c": "-inf"}
