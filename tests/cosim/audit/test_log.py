"""Writing: append-only, kill-safe, resumable."""

from __future__ import annotations

import errno
import json
import os
import stat
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.audit import AuditLog, Condition, Seal, verify
from cosim.audit import log as log_module
from cosim.audit.chain import MAX_DETAIL
from cosim.errors import RecordError
from tests.cosim.audit.samples import HEADER, fill, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log goes."""
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """The records as JSON, the header left out."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_the_records_are_there(path: Path) -> None:
    """In order, with stamps, texts and numbers; the seal is count and last hash."""
    stamps = iter(("one", None))
    log = AuditLog(path, HEADER, lambda: next(stamps))
    log.append(5, "command", "pv1", "asked", p_kw=3)
    log.append(5, "decision", "pv1")
    seal = log.close()
    first, second = lines(path)
    assert [first[key] for key in ("seq", "t_us", "stamp", "kind", "subject", "detail", "fields")] == [
        0, 5, "one", "command", "pv1", "asked", {"p_kw": 3.0}]
    assert (second["stamp"], second["detail"], second.get("fields")) == (None, "", None)
    assert second["previous"] == first["hash"]
    assert seal == Seal(2, second["hash"]) == log.seal


def test_memory_and_file_chain_alike(path: Path) -> None:
    """Without a path only count and head are kept, and they are the same."""
    log = AuditLog(None, HEADER, lambda: "2026-01-02T03:04:05Z")
    fill(log)
    log.flush()
    assert log.close() == written(path)


def test_nothing_is_written_between_flushes(path: Path) -> None:
    """A flush writes a batch, each flush only what is new."""
    log = AuditLog(path, HEADER)
    fill(log, 2)
    assert path.read_bytes() == b""
    log.flush()
    size = path.stat().st_size
    assert len(lines(path)) == 2
    log.flush()
    assert path.stat().st_size == size
    fill(log, 3, first=2)
    log.abandon()
    assert verify(path).records == 2


def test_a_flush_is_forced_to_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the batch is in the file when the system is asked to keep it."""
    forced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: forced.append(os.fstat(number).st_size))
    log = AuditLog(path, HEADER)
    fill(log)
    log.flush()
    assert forced == [path.stat().st_size]


def test_a_full_buffer_flushes_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded without anyone asking."""
    monkeypatch.setattr(log_module, "MAX_BUFFER_BYTES", 1000)
    log = AuditLog(path, HEADER)
    fill(log, 20)
    assert path.stat().st_size > 3000


def test_an_existing_file_is_not_touched(path: Path) -> None:
    """A new log never replaces one, and discarding the refused one does not either."""
    written(path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match="exists already"):
        AuditLog(path, HEADER)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """Said at once."""
    with pytest.raises(RecordError, match="cannot be written: No such file"):
        AuditLog(tmp_path / "none" / "audit.jsonl", HEADER)


def test_discard_takes_the_file_back(path: Path) -> None:
    """A run that could not be built leaves nothing; a closed log stays."""
    AuditLog(path, HEADER).discard()
    assert not path.exists()
    log = AuditLog(path, HEADER)
    log.close()
    log.discard()
    assert path.exists()


def test_long_texts_are_cut_with_a_mark(path: Path) -> None:
    """An audit log does not refuse what happened."""
    log = AuditLog(path, HEADER, lambda: "z" * 1000)
    log.append(0, "k" * 1000, "s" * 1000, "d" * 9999)
    log.close()
    (record,) = lines(path)
    assert len(record["detail"]) == MAX_DETAIL
    assert record["detail"].endswith("…[9999 characters]")
    assert verify(path).condition is Condition.INTACT


@given(texts=st.tuples(st.text(), st.text(), st.text(max_size=3000)), number=st.floats(), t_us=st.integers(0, 2**62))
def test_whatever_is_appended_verifies(tmp_path_factory: pytest.TempPathFactory, texts: tuple[str, str, str],
                                       number: float, t_us: int) -> None:
    """Any text (line feeds, quotes, surrogates) and any number."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    log = AuditLog(path, HEADER)
    log.append(t_us, f"x{texts[0]}", texts[1], texts[2], value=number, kind=1.0)
    verdict = verify(path, log.close())
    assert (verdict.condition, verdict.records) == (Condition.INTACT, 1)


def test_what_cannot_be_recorded(path: Path) -> None:
    """A reserved kind, an instant out of range, too many numbers: refused, and the chain goes on."""
    log = AuditLog(path, HEADER)
    with pytest.raises(RecordError, match="'resumed' is written by the log itself"):
        log.append(0, "resumed", "run")
    with pytest.raises(RecordError, match="64 bits"):
        log.append(2**63, "command", "pv1")
    with pytest.raises(RecordError, match="at most 32 numbers"):
        log.append(0, "command", "pv1", "", **{f"n{n}": 0.0 for n in range(33)})
    fill(log)
    assert verify(path, log.close()).condition is Condition.INTACT


# -- a disk that is full ----------------------------------------------------------------------------------------------


class SmallDisk(FileIO):
    """Takes `room` bytes, of a longer write only the beginning."""

    room = 900

    def write(self, data: Any, /) -> int:
        """As much as there is room for."""
        n_free = self.room - os.fstat(self.fileno()).st_size
        if n_free <= 0:
            raise OSError(errno.ENOSPC, "no space")
        return super().write(bytes(data)[:n_free])


def test_a_full_disk_loses_nothing(path: Path) -> None:
    """The flush is refused and taken back; with room it succeeds, and the log is whole."""
    disks: list[SmallDisk] = []

    def opener(where: Path, mode: str) -> SmallDisk:
        disks.append(SmallDisk(where, mode))
        return disks[-1]

    log = AuditLog(path, HEADER, opener=opener)
    fill(log, 1)
    log.flush()
    before = path.read_bytes()
    fill(log, 6, first=1)
    for attempt in (log.flush, log.close):
        with pytest.raises(RecordError, match="the disk is full; 5 lines of the audit log are still in memory"):
            attempt()
        assert path.read_bytes() == before
    disks[0].room = 10**6
    verdict = verify(path, log.close())
    assert (verdict.condition, verdict.records) == (Condition.INTACT, 6)


# -- resuming ---------------------------------------------------------------------------------------------------------


def killed(path: Path, committed: int, ahead: int = 0, torn: int = 0) -> Seal:
    """A log with `committed` records that count, `ahead` that do not and `torn` bytes of one more."""
    log = AuditLog(path, HEADER, lambda: "first")
    fill(log, committed)
    log.flush()
    seal = log.seal
    fill(log, committed + ahead, first=committed)
    log.flush()
    if torn:
        size = path.stat().st_size
        fill(log, committed + ahead + 1, first=committed + ahead)
        log.flush()
        os.truncate(path, size + torn)
    log.abandon()
    return seal


@settings(max_examples=40)
@given(committed=st.integers(0, 4), ahead=st.integers(0, 3), torn=st.sampled_from([0, 1, 40, 250]))
def test_a_resume_goes_on_and_removes_no_record(tmp_path_factory: pytest.TempPathFactory, committed: int, ahead: int,
                                                torn: int) -> None:
    """What was there stays byte for byte, half a record apart; then a mark, then what is new with new stamps."""
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    seal = killed(path, committed, ahead, torn)
    before = path.read_bytes()
    before = before[:before.rindex(b"\n") + 1]
    log = AuditLog.resume(path, HEADER, seal, lambda: "second")
    assert log.catching_up is (committed > 0)
    fill(log, 6)
    assert not log.catching_up
    assert verify(path, log.close()).condition is Condition.INTACT
    assert path.read_bytes().startswith(before)
    found = lines(path)
    mark = found[committed + ahead]
    assert (mark["kind"], mark["stamp"]) == ("resumed", "second")
    assert mark["fields"] == {"void_from": committed, "void_to": committed + ahead}
    assert ("cut short" in mark["detail"]) is (torn > 0)
    assert [record["subject"] for record in found[committed + ahead + 1:]] == [f"pv{n}" for n in range(committed, 6)]


def test_several_resumes(path: Path) -> None:
    """Each skips the marks and the void records of those before it."""
    seal = killed(path, 2, ahead=2)
    log = AuditLog.resume(path, HEADER, seal)
    fill(log, 4)
    log.flush()
    second = log.seal
    fill(log, 5, first=4)
    log.flush()
    log.abandon()
    log = AuditLog.resume(path, HEADER, second)
    fill(log, 6)
    assert verify(path, log.close()).condition is Condition.INTACT
    assert [(record["kind"], record["subject"]) for record in lines(path)] == [
        ("command", "pv0"), ("decision", "pv1"), ("decision", "pv2"), ("command", "pv3"), ("resumed", "run"),
        ("decision", "pv2"), ("command", "pv3"), ("decision", "pv4"), ("resumed", "run"),
        ("decision", "pv4"), ("decision", "pv5")]


def test_a_resume_killed_while_it_catches_up_changes_nothing(path: Path) -> None:
    """The log is what it was, and so is its seal."""
    seal = killed(path, 4)
    before = path.read_bytes()
    log = AuditLog.resume(path, HEADER, seal)
    fill(log, 2)
    log.flush()
    assert log.catching_up
    assert log.close() == seal
    assert path.read_bytes() == before


@pytest.mark.parametrize("left", [None, b"", b'{"audit":1,"ru'])
def test_a_resume_of_a_run_that_was_killed_at_its_start(path: Path, left: bytes | None) -> None:
    """No file, an empty one, half a header: it begins anew."""
    if left is not None:
        path.write_bytes(left)
    log = AuditLog.resume(path, HEADER)
    fill(log)
    seal = log.close()
    assert (verify(path, seal).condition, seal.count) == (Condition.INTACT, 6)


def test_another_execution_is_refused(path: Path) -> None:
    """The first record that differs is named, and nothing is written."""
    seal = killed(path, 4)
    before = path.read_bytes()
    log = AuditLog.resume(path, HEADER, seal)
    fill(log, 3)
    with pytest.raises(RecordError, match=r"record 3 is command 'pv3' at t = 0\.003000 s .*, this execution has trip"):
        log.append(3000, "trip", "pv3")
    log.abandon()
    assert path.read_bytes() == before


def test_a_log_that_was_edited_is_not_resumed(path: Path) -> None:
    """Nor cut off: the evidence stays."""
    seal = killed(path, 4)
    path.write_bytes(path.read_bytes().replace(b"pv2", b"pv7"))
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"audit\.jsonl:4: found content with the hash .*cannot go on"):
        AuditLog.resume(path, HEADER, seal)
    assert path.read_bytes() == before


def test_what_else_is_not_resumed(path: Path, tmp_path: Path) -> None:
    """The log of another run, one that lacks records, one with another past, a link, no file where there was one."""
    seal = killed(path, 4)
    with pytest.raises(RecordError, match="the log of another run"):
        AuditLog.resume(path, {"name": "other"}, seal)
    for wrong in (Seal(5, seal.head), Seal(3, seal.head), Seal(0, seal.head), Seal(4, "0" * 64)):
        with pytest.raises(RecordError, match="do not lead to"):
            AuditLog.resume(path, HEADER, wrong)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(RecordError, match="is a link"):
        AuditLog.resume(tmp_path / "link", HEADER, seal)
    with pytest.raises(RecordError, match="holds no record; expected the 4"):
        AuditLog.resume(tmp_path / "none", HEADER, seal)
    assert not (tmp_path / "none").exists()


def test_a_resumed_log_is_not_discarded(path: Path) -> None:
    """Only what the log made itself is taken back."""
    seal = killed(path, 4)
    AuditLog.resume(path, HEADER, seal).discard()
    assert verify(path, seal).condition is Condition.INTACT


def test_closed_is_closed(path: Path) -> None:
    """Twice is once, and the file is left alone afterwards."""
    log = AuditLog(path, HEADER)
    fill(log)
    assert log.close() == log.close()
    with pytest.raises(AssertionError):
        fill(log)
    assert stat.S_ISREG(path.stat().st_mode)
