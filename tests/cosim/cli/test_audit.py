"""``gridloop audit verify`` and ``show``: words and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosim.audit import AuditLog, Seal

Call = Callable[..., Any]
MANIFEST: dict[str, Any] = {
    "format": 1, "status": "done", "digest": "", "t_us": 0, "duration_us": 0, "seed": 0, "rows": {}, "record": {},
    "timing": {}, "versions": {}, "summary": {}, "scenario": {}, "overrides": [], "external": [], "points": [],
    "sampled": []}


def result(seal: object = None, stamp: str | None = None) -> Seal:
    """A result folder ``out`` with an audit log of three records, sealed in the manifest unless told otherwise."""
    folder = Path("out")
    folder.mkdir()
    log = AuditLog(folder / "audit.jsonl", {"name": "trial", "seed": 1}, lambda: stamp)
    log.append(0, "command", "pv1", "asked", p_kw=40.0)
    log.append(0, "decision", "pv1", "cut: line 4", p_kw=30.0)
    log.append(1_500_000, "decision", "bat2", "as asked \x1b[31m")
    found = log.close()
    sealed = {"records": found.count, "head": found.head} if seal is None else seal
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | ({} if seal is False else {"audit": sealed})))
    return found


def edit(old: str, new: str) -> None:
    """Change the log of ``out``."""
    path = Path("out/audit.jsonl")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_intact(gridloop: Call) -> None:
    """Records, head and that the seal matches; exit 0."""
    seal = result()
    said = gridloop("audit", "verify", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"intact: 3 records, head {seal.head[:12]}…; the manifest's seal matches\n"


def test_verdict_as_data(gridloop: Call) -> None:
    """--json has every part of the verdict."""
    seal = result()
    data = gridloop("audit", "verify", "out", "--json").data
    assert data == {"status": "intact", "records": 3, "head": seal.head, "header": {"name": "trial", "seed": 1},
                    "seal": {"count": 3, "head": seal.head}, "seal_matches": True, "line": 0, "found": "",
                    "expected": ""}


def test_an_edit_is_found(gridloop: Call) -> None:
    """The line is named; exit 1."""
    result()
    edit("line 4", "line 5")
    said = gridloop("audit", "verify", "out")
    assert said.code == 1
    assert said.out.startswith("tampered: line 3: found content with the hash ")
    assert "; intact before: 1 record, head " in said.out
    assert said.out.endswith("…; the manifest's seal does not match\n")
    assert gridloop("audit", "verify", "out", "--json").data["status"] == "tampered"


def test_removed_records_are_found_by_the_seal(gridloop: Call) -> None:
    """Whole records taken off the end, or the whole file."""
    result()
    path = Path("out/audit.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    said = gridloop("audit", "verify", "out")
    assert said.code == 1
    assert "records were removed at the end" in said.out
    assert said.out.endswith("the manifest's seal does not match\n")
    path.unlink()
    said = gridloop("audit", "verify", "out")
    assert (said.code, "the log was removed" in said.out) == (1, True)


def test_without_a_seal_it_says_so(gridloop: Call) -> None:
    """A run that is not over has none, and a file by itself has none either."""
    result(seal=False)
    said = gridloop("audit", "verify", "out")
    assert said.code == 0
    assert said.out.endswith("; no seal in the manifest: records missing at the end would not be seen\n")
    said = gridloop("audit", "verify", "out/audit.jsonl")
    assert said.out.endswith("; no seal (a file without its result folder): records missing at the end would not be "
                             "seen\n")


def test_a_seal_noted_elsewhere(gridloop: Call) -> None:
    """It counts instead of the manifest's, which may have been rewritten with the log."""
    seal = result(seal={"records": 1, "head": "0" * 64})
    assert gridloop("audit", "verify", "out").code == 1
    said = gridloop("audit", "verify", "out", "--seal", str(seal))
    assert (said.code, said.out.endswith("; the seal given matches\n")) == (0, True)
    said = gridloop("audit", "verify", "out", "--seal", f"3:{'0' * 64}")
    assert (said.code, said.out.endswith("; the seal given does not match\n")) == (1, True)


def test_cut_short(gridloop: Call) -> None:
    """What a kill leaves is not called tampering; exit 0."""
    result(seal=False)
    path = Path("out/audit.jsonl")
    path.write_bytes(path.read_bytes()[:-30])
    said = gridloop("audit", "verify", "out")
    assert said.code == 0
    assert said.out.startswith("cut short in its last record (line 4), as a kill leaves it")


@pytest.mark.parametrize("path", ["none", "good.yaml", "."])
def test_what_is_no_audit_log(gridloop: Call, path: str) -> None:
    """Exit 2, from both actions."""
    for action in ("verify", "show"):
        said = gridloop("audit", action, path)
        assert (said.code, said.out) == (2, "")
        assert path.strip(".") in said.err


@pytest.mark.parametrize("seal", [5, {}, {"records": "3"}, {"records": -1, "head": "0" * 64},
                                  {"records": 3, "head": "0" * 63}, {"records": True, "head": "0" * 64}])
def test_a_damaged_seal(gridloop: Call, seal: object) -> None:
    """The manifest cannot be used; exit 2."""
    result(seal)
    said = gridloop("audit", "verify", "out")
    assert said.code == 2
    assert "damaged: 'audit' is" in said.err


def test_a_damaged_manifest(gridloop: Call) -> None:
    """Exit 2, and how to check the log by itself."""
    result()
    Path("out/manifest.json").write_text("{")
    said = gridloop("audit", "verify", "out")
    assert (said.code, "name the file out/audit.jsonl" in said.err) == (2, True)


def test_show(gridloop: Call) -> None:
    """A table; nothing of a record steers the terminal."""
    result()
    said = gridloop("audit", "show", "out")
    assert said.code == 0
    assert said.out.splitlines() == [
        "seq     t [s]  kind      subject  detail",
        "  0  0.000000  command   pv1      asked p_kw=40",
        "  1  0.000000  decision  pv1      cut: line 4 p_kw=30",
        r"  2  1.500000  decision  bat2     as asked \x1b[31m",
        "3 of 3 records"]


def test_show_with_stamps(gridloop: Call) -> None:
    """A column of its own where there are any."""
    result(stamp="2026-01-02T03:04:05Z")
    assert gridloop("audit", "show", "out").out.splitlines()[1] == (
        "  0  0.000000  2026-01-02T03:04:05Z  command   pv1      asked p_kw=40")


def test_show_some(gridloop: Call) -> None:
    """By kind and number; --json has the same records."""
    result()
    said = gridloop("audit", "show", "out", "--kind", "decision", "--limit", "1")
    assert said.out.splitlines()[1:] == ["  1  0.000000  decision  pv1      cut: line 4 p_kw=30",
                                         "2 of 3 records, the first 1 shown"]
    data = gridloop("audit", "show", "out", "--kind", "decision", "--json").data
    assert [record["subject"] for record in data["shown"]] == ["pv1", "bat2"]


def test_show_stops_at_the_first_fault(gridloop: Call) -> None:
    """What follows an edit is not shown as if it were a record; exit 1."""
    result()
    edit("line 4", "line 5")
    said = gridloop("audit", "show", "out")
    assert said.code == 1
    assert "cut:" not in said.out
    assert said.out.splitlines()[2] == "1 of 1 records"
    assert said.out.splitlines()[3].startswith("tampered at line 3: found content")


@pytest.mark.parametrize("argv", [("verify", "out", "--limit", "3"), ("verify", "out", "--kind", "x"),
                                  ("show", "out", "--limit", "0"), ("show", "out", "--limit", "9" * 40),
                                  ("show", "out", "--seal", f"1:{'0' * 64}"), ("verify", "out", "--seal", "1:00"),
                                  ("verify", "out", "--seal", "x"), ("mend", "out"), ("verify",)])
def test_bad_usage(gridloop: Call, argv: tuple[str, ...]) -> None:
    """Options that do not belong, and values that are none."""
    result()
    assert gridloop("audit", *argv).code == 2
