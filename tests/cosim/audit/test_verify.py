"""Every edit is found and named; what nobody touched is intact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.audit import Condition, Record, Seal, Verdict, verify
from cosim.audit.chain import MAX_LINE_BYTES, header_line, read_record, record_line
from cosim.audit.reading import Walk
from tests.cosim.audit.samples import HEADER, written

with TemporaryDirectory() as _folder:
    SEAL = written(Path(_folder) / "log")
    CLEAN = (Path(_folder) / "log").read_bytes()
LINES = CLEAN.splitlines(keepends=True)
FOUND = (Condition.TAMPERED, Condition.UNUSABLE)
Judge = Callable[..., Verdict]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """verify, of bytes."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"

    def judged(data: bytes, seal: Seal | None = None) -> Verdict:
        path.write_bytes(data)
        return verify(path, seal)

    return judged


def chained(records: list[Record]) -> bytes:
    """A log with all its hashes computed anew, as somebody who knows the format would."""
    line, head = header_line(HEADER)
    data = line
    for seq, record in enumerate(records):
        line, head = record_line(replace(record, seq=seq, previous=head))
        data += line
    return data


def records() -> Iterator[Record]:
    """Those of the clean log."""
    for line in LINES[1:]:
        found = read_record(line)
        assert isinstance(found, Record)
        yield found


@pytest.mark.parametrize("seal", [None, SEAL])
def test_untouched_is_intact(judge: Judge, seal: Seal | None) -> None:
    """With and without a seal; count, head and header are told."""
    verdict = judge(CLEAN, seal)
    assert verdict.condition is Condition.INTACT
    assert (verdict.records, verdict.head, dict(verdict.header), verdict.line) == (6, SEAL.head, HEADER, 0)
    assert verdict.seal_matches is (None if seal is None else True)
    assert str(verdict) == f"intact: 6 records, head {SEAL.head[:12]}…"


def test_every_single_bit_of_every_byte_counts(judge: Judge) -> None:
    """All bytes of the log, one bit changed at a time: found without a seal, in its line or the one behind it."""
    for position in range(len(CLEAN)):
        data = bytearray(CLEAN)
        data[position] ^= 1 << position % 8
        verdict = judge(bytes(data))
        line = CLEAN.count(b"\n", 0, position) + 1
        assert verdict.condition in FOUND, position
        assert verdict.line == line, position


@given(st.integers(0, len(CLEAN) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(judge: Judge, position: int, difference: int) -> None:
    """Any byte to any other."""
    data = bytearray(CLEAN)
    data[position] ^= difference
    assert judge(bytes(data)).condition in FOUND


@given(st.integers(0, len(CLEAN) - 1), st.binary(min_size=1, max_size=3))
def test_inserted_bytes_are_found(judge: Judge, position: int, extra: bytes) -> None:
    """Anywhere but behind the end."""
    assert judge(CLEAN[:position] + extra + CLEAN[position:]).condition in FOUND


@given(st.integers(0, len(CLEAN) - 2), st.integers(1, 400))
def test_removed_bytes_are_found(judge: Judge, position: int, length: int) -> None:
    """Within the log; those at its end are another matter."""
    length = min(length, len(CLEAN) - 1 - position)
    assert judge(CLEAN[:position] + CLEAN[position + length:]).condition in FOUND


@given(st.permutations(range(1, 7)))
def test_any_other_order_is_found(judge: Judge, order: list[int]) -> None:
    """The first line out of place is named."""
    verdict = judge(LINES[0] + b"".join(LINES[index] for index in order))
    moved = [place for place, index in enumerate(order, 1) if place != index]
    assert verdict.condition is (Condition.TAMPERED if moved else Condition.INTACT)
    assert verdict.line == (moved[0] + 1 if moved else 0)


@pytest.mark.parametrize("seal", [None, SEAL])
@given(st.integers(1, 5), st.integers(1, 6))
def test_removed_and_repeated_records_are_found(judge: Judge, seal: Seal | None, gone: int, again: int) -> None:
    """A record taken out of the middle, or written twice."""
    verdict = judge(b"".join(line for index, line in enumerate(LINES) if index != gone), seal)
    assert (verdict.condition, verdict.line) == (Condition.TAMPERED, gone + 1)
    assert verdict.expected.startswith(f"record {gone - 1} ")
    verdict = judge(b"".join(LINES[:again + 1] + LINES[again:]), seal)
    assert (verdict.condition, verdict.line) == (Condition.TAMPERED, again + 2)


def test_a_record_rewritten_with_its_own_hash_is_found(judge: Judge) -> None:
    """The chain breaks at the next record, which says so."""
    record = list(records())[2]
    line, _ = record_line(replace(record, detail="nothing to see"))
    verdict = judge(b"".join([*LINES[:3], line, *LINES[4:]]))
    assert (verdict.condition, verdict.line, verdict.records) == (Condition.TAMPERED, 5, 3)
    assert "the line before is another than it was" in verdict.expected


@given(st.integers(0, 5))
def test_records_removed_at_the_end_are_found_with_a_seal(judge: Judge, kept: int) -> None:
    """Without one they cannot be."""
    data = b"".join(LINES[:kept + 1])
    assert judge(data).condition is Condition.INTACT
    verdict = judge(data, SEAL)
    assert (verdict.condition, verdict.line, verdict.seal_matches) == (Condition.TAMPERED, kept + 2, False)
    assert "records were removed at the end" in verdict.expected


@given(st.integers(0, 5))
def test_a_rewritten_tail_is_found_with_a_seal(judge: Judge, index: int) -> None:
    """All hashes computed anew: the seal says otherwise."""
    edited = list(records())
    edited[index] = replace(edited[index], detail="nothing to see")
    assert judge(chained(edited)).condition is Condition.INTACT
    verdict = judge(chained(edited), SEAL)
    assert (verdict.condition, verdict.line) == (Condition.TAMPERED, 7)
    assert SEAL.head[:12] in verdict.expected


def test_records_behind_the_sealed_end_are_found(judge: Judge) -> None:
    """Added in the right form, and half of one."""
    more = [*records(), next(records())]
    verdict = judge(chained(more), SEAL)
    assert (verdict.condition, verdict.line, verdict.found) == (Condition.TAMPERED, 8, "record 6")
    half = chained(more)[:-20]
    assert judge(half).condition is Condition.CUT_SHORT
    assert judge(half, SEAL).condition is Condition.TAMPERED


def test_a_seal_of_an_empty_log(judge: Judge) -> None:
    """No records: the seal is the header's hash."""
    seal = Seal(0, header_line(HEADER)[1])
    assert judge(LINES[0], seal).condition is Condition.INTACT
    assert judge(CLEAN, seal).line == 2
    other = judge(header_line({"name": "other"})[0], seal)
    assert other.condition is Condition.TAMPERED


def test_the_wrong_seal(judge: Judge) -> None:
    """A right count with another head is not a match, nor the other way round."""
    assert judge(CLEAN, Seal(6, "0" * 64)).condition is Condition.TAMPERED
    assert judge(CLEAN, Seal(7, SEAL.head)).condition is Condition.TAMPERED


# -- half a line at the end -------------------------------------------------------------------------------------------


def test_any_cut_within_a_record_is_told_apart_from_tampering(judge: Judge) -> None:
    """Every length that a kill can leave: cut short, with the records before counted; with a seal, tampered."""
    for length in range(1, len(CLEAN)):
        data = CLEAN[:length]
        verdict = judge(data)
        if data.endswith(b"\n"):
            assert verdict.condition is Condition.INTACT, length
            continue
        assert verdict.condition is Condition.CUT_SHORT, length
        assert verdict.records == max(0, data.count(b"\n") - 1)
        assert verdict.line == data.count(b"\n") + 1
        assert judge(data, SEAL).condition is Condition.TAMPERED


@pytest.mark.parametrize("tail", [b"\x00" * 30, b"garbage", b"{}", b'{"seq":7,"t_us":1', b'{"seq":5,"t_us":1\xff',
                                  b"\n", b" ", LINES[6][:-1] + b" ", LINES[6].replace(b"pv5", b"pv6")[:-1]])
def test_another_tail_is_not_what_a_kill_leaves(judge: Judge, tail: bytes) -> None:
    """Half a line has to be the beginning of the next record."""
    verdict = judge(b"".join(LINES[:6]) + tail)
    assert (verdict.condition, verdict.line) == (Condition.TAMPERED, 7)


# -- no log at all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n\x00", bytes(range(256)) * 20, b"t_us,kind\n1,2\n", b"\n",
                                  b"{}\n", b"".join(LINES[1:]), b"x" * (MAX_LINE_BYTES * 2), b"[" * 50_000 + b"\n",
                                  LINES[0][:-1] + b"x"])
def test_what_is_no_audit_log(judge: Judge, data: bytes) -> None:
    """Unusable at line 1; a tampered one where a seal says that there was a log."""
    verdict = judge(data)
    assert (verdict.condition, verdict.line) == (Condition.UNUSABLE, 1)
    assert judge(data, SEAL).condition is Condition.TAMPERED


def test_another_version_is_named(judge: Judge) -> None:
    """A log of a later version is not judged."""
    verdict = judge(CLEAN.replace(b'"audit":1', b'"audit":2'))
    assert verdict.condition is Condition.UNUSABLE
    assert verdict.found == "an audit log of version 2"


def test_no_file(tmp_path: Path) -> None:
    """Missing, a folder, a pipe: nothing blocks, and a seal makes it the trace of a removal."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        assert verify(path).condition is Condition.UNUSABLE
        assert verify(path, SEAL).condition is Condition.TAMPERED


def test_binary_in_the_middle(judge: Judge) -> None:
    """Tampered, in the line where it begins."""
    verdict = judge(b"".join(LINES[:4]) + b"\x00\xff" * 100_000)
    assert (verdict.condition, verdict.line, verdict.records) == (Condition.TAMPERED, 5, 3)


def test_memory_is_one_line() -> None:
    """However long a line is, no more than the limit is asked for."""
    class Counted(BytesIO):
        asked = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            self.asked = max(self.asked, size)
            assert size >= 0
            return super().readline(size)

    file = Counted(LINES[0] + b"x" * 10_000_000)
    walk = Walk(file)
    assert list(walk) == []
    assert walk.fault is not None
    assert walk.fault.condition is Condition.TAMPERED
    assert file.asked == MAX_LINE_BYTES + 1
