"""``gridloop replay --wire`` and ``--pcap``, and ``gridloop audit`` of a served run's two logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateways.gate import WriteAnswer
from gateways.peer import Peer, Role
from tests.hil.sessions import MASTER, Served

Call = Callable[..., Any]
READ, ANSWER = bytes.fromhex("000100000006010300000001"), bytes.fromhex("000100000005010302ffff")
WRITE = bytes.fromhex("0002000000060106000009c4")
EXCEPTION = bytes.fromhex("000300000003018604")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A read, a write that the shield moves, one the run refuses, a station's own doing; then the end."""
    served = Served(tmp_path_factory.mktemp("served"))
    served.wire.listening("modbus", "modbus_tcp", "127.0.0.1:5020")
    served.to(1_500_000)
    served.wire.opened(MASTER)
    served.wire.received(MASTER, 1_500_000, READ)
    served.wire.sent(MASTER, 1_500_250, ANSWER)
    served.to(2_500_000)
    served.wire.received(MASTER, 2_500_000, WRITE)
    assert served.ask({"store.p_set_kw": 2500.0}, frame=WRITE) is WriteAnswer.TAKEN
    served.wire.sent(MASTER, 2_500_400, WRITE)
    served.wire.received(MASTER, 2_600_000, b"\0\3" + WRITE[2:-2] + b"\xff\xff")
    served.now_us = 2_600_000
    assert served.ask({"store.p_set_kw": 65535.0}, frame=b"\0\3" + WRITE[2:-2] + b"\xff\xff") is (
        WriteAnswer.OUT_OF_RANGE)
    served.wire.sent(MASTER, 2_600_300, EXCEPTION)
    served.to(4_000_000)
    served.gate.own("rtu", (served.simulation.points.id_of("store.p_set_kw"),), (float("nan"),), "comm_loss", 4_200_000)
    served.wire.refused("modbus", "10.0.0.9:1", "not on the list")
    served.to(6_000_000)
    served.wire.closed(MASTER, "by the peer")
    served.end()
    return served


GOLDEN = """\
   t [s]  peer
0.000000                      listening: modbus, modbus_tcp 127.0.0.1:5020
1.500000  127.0.0.1:50000 #1  session opened at modbus as operator
1.500000  127.0.0.1:50000 #1  → read holding register hr 0 = 40001 (400001), unit 1
                              ← 65535, after 0.25 ms
2.500000  127.0.0.1:50000 #1  → write holding register hr 0 = 40001 (400001), unit 1: 2500
                              ← done, after 0.40 ms
                              ⇒ rtu: store.p_set_kw = 2500 kW (was nothing); taken
                              ⇒ journal 2.500000 s: rtu/operator sets store.p_set_kw 2500.0 kW: accepted
                              ⇒ at 3.000000 s: store.p_set_kw: in force 2500.0 kW by rtu/operator, 1807.5 kW stands \
(moved by the shield: bus.18.v_pu would be 1.1296 pu, limit 1.05 (by 0.0796))
2.600000  127.0.0.1:50000 #1  → write holding register hr 0 = 40001 (400001), unit 1: 65535
                              ← exception 04 (server device failure), after 0.30 ms
                              ⇒ rtu: store.p_set_kw = 65535 kW (was nothing); out_of_range
                              ⇒ journal 2.600000 s: rtu/operator sets store.p_set_kw 65535.0 kW: out_of_range
4.000000                      10.0.0.9:1 refused at modbus: not on the list
4.200000                      not from the wire: journal 4.200000 s: rtu/comm_loss releases store.p_set_kw: accepted
6.000000  127.0.0.1:50000 #1  session closed: by the peer
8 rows
"""


def test_side_by_side(gridloop: Call, session: Served) -> None:
    """Requests and answers in words, what the gate made of them, what entered, what stood; nothing is run again."""
    said = gridloop("replay", str(session.out), "--wire")
    assert (said.code, said.err) == (0, "")
    assert said.out == GOLDEN


def test_parts_of_it(gridloop: Call, session: Served) -> None:
    """By time, by number, writes alone; and as data."""
    out = str(session.out)
    assert gridloop("replay", out, "--wire", "--from", "2.55", "--to", "4.1").out.splitlines()[-1] == "2 rows"
    assert gridloop("replay", out, "--wire", "--limit", "3").out.splitlines()[-1] == "8 rows, the first 3 shown"
    assert gridloop("replay", out, "--wire", "--writes").out.splitlines()[-1] == "3 rows"
    data = gridloop("replay", out, "--wire", "--from", "2.5", "--to", "2.5", "--json").data
    (row,) = data["wire"]
    assert (row["t_us"], row["peer"], row["session"], row["request_hex"], row["answer_ms"]) == (
        2_500_000, "127.0.0.1:50000", 1, WRITE.hex(), 0.4)
    assert row["commands"] == ["journal 2.500000 s: rtu/operator sets store.p_set_kw 2500.0 kW: accepted"]
    assert data["unfinished"] is False


def test_a_check_runs_again_too(gridloop: Call, session: Served) -> None:
    """With --check the exit code is that of the comparison."""
    said = gridloop("replay", str(session.out), "--wire", "--check", "--quiet")
    assert said.out.splitlines()[-1] == "same: ab"
    assert gridloop("replay", str(session.out), "--wire", "--check", "--json").data["same"] is True


def test_a_capture(gridloop: Call, session: Served) -> None:
    """It says how to read it; it replaces a capture and nothing else."""
    said = gridloop("replay", str(session.out), "--pcap", "w.pcap")
    assert said.out == "wrote w.pcap: 1 sessions, 12 packets; read it with tshark -r w.pcap -o mbtcp.tcp.port:5020\n"
    assert gridloop("replay", str(session.out), "--pcap", "w.pcap").code == 0
    said = gridloop("replay", str(session.out), "--pcap", "good.yaml")
    assert (said.code, said.err.strip()) == (2, "good.yaml exists already and is no capture; choose another name")
    assert gridloop("replay", str(session.out), "--pcap", "nowhere/w.pcap").code == 2


@pytest.mark.parametrize("argv", [("--limit", "3"), ("--from", "1"), ("--check",), ("--writes",),
                                  ("--wire", "--from", "nan"), ("--wire", "--limit", "0")])
def test_bad_usage(gridloop: Call, session: Served, argv: tuple[str, ...]) -> None:
    """Options that belong to --wire, and values that are none."""
    assert gridloop("replay", str(session.out), *argv).code == 2


def test_a_run_without_a_wire(gridloop: Call, tmp_path: Path) -> None:
    """A result that nobody served has none, and says so; one without access log is shown all the same."""
    served = Served(tmp_path / "made")
    served.wire.received(MASTER, 5, WRITE)
    served.ask({"store.p_set_kw": 1.0}, frame=WRITE)
    served.to(1_000_000)
    served.end()
    (served.out / "access.jsonl").unlink()
    said = gridloop("replay", str(served.out), "--wire")
    assert "not from the wire: journal 0.000001 s" in said.out
    (served.out / "wire.log").unlink()
    said = gridloop("replay", str(served.out), "--wire")
    assert (said.code, "wire.log: no wire log here" in said.err) == (1, True)


def test_what_a_kill_leaves(gridloop: Call, tmp_path: Path) -> None:
    """Half a record at the end is skipped, and it is said that the log has no end."""
    served = Served(tmp_path / "made")
    served.wire.received(MASTER, 5, READ)
    served.to(1_000_000)
    served.end()
    path = served.out / "wire.log"
    path.write_bytes(path.read_bytes()[:-30])
    said = gridloop("replay", str(served.out), "--wire")
    assert (said.code, said.out.splitlines()[-1]) == (0, "the log has no end: its writer was killed, or still writes")


def test_names_from_the_network_steer_no_terminal(gridloop: Call, tmp_path: Path) -> None:
    """What a peer or a reason is called is printed, not obeyed."""
    served = Served(tmp_path / "made")
    served.wire.opened(Peer("modbus", "\x1b[31mred:1", "", Role.OPERATOR, 1))
    served.end()
    assert "\x1b" not in gridloop("replay", str(served.out), "--wire").out


# -- both audits ------------------------------------------------------------------------------------------------------


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A served result with one write."""
    served = Served(tmp_path / "made")
    served.wire.received(MASTER, 5, WRITE)
    served.ask({"store.p_set_kw": 1.0}, peer=replace(MASTER, session=3))
    served.to(1_000_000)
    served.end()
    return served.out


def test_both_logs_are_verified(gridloop: Call, audited: Path) -> None:
    """The run's own by the manifest's seal, the access log by its own, the bytes by the hash in it."""
    said = gridloop("audit", "verify", str(audited))
    own, access, wire = said.out.splitlines()
    assert said.code == 0
    assert own.startswith("audit.jsonl: intact: 1 record, ")
    assert own.endswith("; the manifest's seal matches")
    assert access.startswith("access.jsonl: intact: 3 records, ")
    assert access.endswith("; its seal matches")
    assert wire == "wire.log: as it was written"
    data = gridloop("audit", "verify", str(audited), "--json").data
    assert (data["records"], data["access"]["records"], data["access"]["wire"]["same"]) == (1, 3, True)


@pytest.mark.parametrize(("name", "old", "new"), [("access.jsonl", b"= 1 kW", b"= 9 kW"),
                                                  ("wire.log", WRITE, WRITE[:-1] + b"\0"),
                                                  ("audit.jsonl", b"accepted", b"rejected")])
def test_an_edit_of_any_is_found(gridloop: Call, audited: Path, name: str, old: bytes, new: bytes) -> None:
    """Exit 1, and the file is named."""
    path = audited / name
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    said = gridloop("audit", "verify", str(audited))
    assert said.code == 1
    assert [line.split(":")[0] for line in said.out.splitlines() if "tampered" in line] == [name]


def test_removed_files_are_found(gridloop: Call, audited: Path) -> None:
    """The access log by its seal; the wire log by its hash."""
    (audited / "wire.log").unlink()
    said = gridloop("audit", "verify", str(audited))
    assert (said.code, "wire.log: tampered: found No such file" in said.out) == (1, True)
    (audited / "access.jsonl").unlink()
    said = gridloop("audit", "verify", str(audited))
    assert (said.code, "the log was removed" in said.out) == (1, True)


def test_a_killed_run_has_no_seal(gridloop: Call, audited: Path) -> None:
    """Then it says what cannot be seen; a damaged seal is named."""
    (audited / "access.seal").unlink()
    assert "no seal in access.seal: records missing at the end would not be seen" in gridloop(
        "audit", "verify", str(audited)).out
    (audited / "access.seal").write_text("nonsense")
    said = gridloop("audit", "verify", str(audited))
    assert (said.code, "access.seal: damaged" in said.err) == (2, True)


def test_both_logs_are_shown(gridloop: Call, audited: Path) -> None:
    """One after the other, each under its name; a file by itself alone."""
    out = gridloop("audit", "show", str(audited)).out
    assert out.startswith("audit.jsonl:\nseq ")
    assert "\naccess.jsonl:\nseq " in out
    assert gridloop("audit", "show", str(audited), "--kind", "effect", "--json").data["access"]["found"] == 1
    assert gridloop("audit", "show", str(audited / "access.jsonl")).out.startswith("seq ")
