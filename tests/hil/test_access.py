"""The access log: words that can be read back, a disk that refuses, the seal."""

from __future__ import annotations

import errno
import io
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.audit import AuditLog, Condition, Record, verify
from cosim.audit.chain import MAX_DETAIL
from cosim.audit.reading import Walk
from cosim.errors import RecordError
from gateways.gate import WriteAnswer, WriteRequest
from gateways.peer import Peer, Role
from hil.access import AccessLog, Change, read_write, write_words
from tests.hil.sessions import MASTER, Served

REQUEST = WriteRequest("rtu", MASTER, b"\1\2", 5, ("a",), (0,), (1.0,))


class FullDisk(io.FileIO):
    """Refuses while told to."""

    full = False

    def write(self, data: object) -> int:
        """As a full disk does."""
        if FullDisk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)  # type: ignore[arg-type] - whatever it is given


@given(st.text(max_size=60), st.sampled_from(Role), st.integers(1, 10**9), st.binary(max_size=300),
       st.lists(st.text("abc.[] ;:#", max_size=100), max_size=60))
def test_a_write_can_be_read_back(address: str, role: Role, session: int, frame: bytes, names: list[str]) -> None:
    """Whatever peers and lists are called: within the log's limit, and session, role and bytes are found again."""
    peer = Peer("mod bus", address.encode("utf-8", "replace").decode(), "h", role, session)
    words = write_words(replace(REQUEST, peer=peer, frame=frame), [Change(name, 1.5, 2.5, "kW") for name in names],
                        WriteAnswer.REFUSED, "because")
    assert len(words) <= MAX_DETAIL
    note = read_write(Record(7, 5, None, "write", "rtu", words, {"entry_us": 6.0, "rows": 1.0}, ""))
    assert note is not None
    assert (note.session, note.role, note.number, note.entry_us, note.rows) == (session, role.name.lower(), 7, 6, 1)
    assert (note.frame, note.whole) == (frame[:260], len(frame) <= 260)


def test_other_records_are_no_writes() -> None:
    """Neither by kind nor by form."""
    assert read_write(Record(0, 0, None, "effect", "rtu", "x", {}, "")) is None
    assert read_write(Record(0, 0, None, "write", "rtu", "x", {}, "")) is None


def test_it_is_an_audit_log_with_a_seal(tmp_path: Path) -> None:
    """Chained, stamped, sealed beside; an edit is found."""
    served = Served(tmp_path)
    served.ask({"store.p_set_kw": 1.0})
    served.end()
    path = served.out / "access.jsonl"
    assert verify(path, served.access.seal).condition is Condition.INTACT
    assert (served.out / "access.seal").read_text() == f"{served.access.seal}\n"
    path.write_text(path.read_text().replace("= 1 kW", "= 2 kW"))
    assert verify(path).condition is Condition.TAMPERED


def test_a_killed_writer_leaves_a_log_that_verifies(tmp_path: Path) -> None:
    """Cut at every byte of its last records: intact or cut short, never tampered."""
    served = Served(tmp_path)
    served.ask({"store.p_set_kw": 1.0})
    served.ask({"store.p_set_kw": 2.0})
    served.access.flush(0)
    whole = (served.out / "access.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"
    for at in range(whole.index(b"\n") + 1, len(whole)):
        cut.write_bytes(whole[:at])
        assert verify(cut).condition in (Condition.INTACT, Condition.CUT_SHORT)


def test_flushes_are_rare(tmp_path: Path) -> None:
    """Not before the time, and only what is new."""
    log = AccessLog(tmp_path, {"name": "x", "seed": 1}, flush_us=250_000)
    path = tmp_path / "access.jsonl"
    log.append(0, "write", "rtu", "x")
    log.tick(250_000, 0)
    size = path.stat().st_size
    log.append(0, "write", "rtu", "x")
    log.tick(499_999, 0)
    assert path.stat().st_size == size
    log.tick(500_000, 0)
    assert path.stat().st_size > size


def test_what_cannot_be_written_down_is_not_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk: writes are refused, nothing grows without limit; then what was lost is counted, and writes go on."""
    served = Served(tmp_path)
    audit = AuditLog(tmp_path / "full.jsonl", {"name": "x"}, opener=FullDisk)
    log = AccessLog(None, {}, audit=audit)
    served.gate._access = log  # the gate of a real run, with a disk that refuses
    FullDisk.full = True
    try:
        assert served.ask({"store.p_set_kw": 1.0}) is WriteAnswer.TAKEN
        served.gate.tick(10**6)
        assert not log.usable
        answers = {served.ask({"store.p_set_kw": 1.0}) for _ in range(5000)}
    finally:
        FullDisk.full = False
    assert answers == {WriteAnswer.READ_ONLY}
    assert log.lost == 905
    served.gate.tick(2 * 10**6)
    assert log.usable
    assert served.ask({"store.p_set_kw": 1.0}) is WriteAnswer.TAKEN
    log.flush(0)
    with (tmp_path / "full.jsonl").open("rb") as file:
        kinds = [record.kind for record in Walk(file)]
    assert kinds == ["write"] * 4096 + ["lost", "write"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_there_is_one_already(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    AccessLog(tmp_path, {"name": "x", "seed": 1})
    with pytest.raises(RecordError, match="exists already"):
        AccessLog(tmp_path, {"name": "x", "seed": 1})
