"""`gridloop serve` as a person and a master meet it: a process, a port, a signal, a result that replays."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hil.served import ROOT, SCENARIO, ask, served

pytestmark = pytest.mark.slow

LISTED = SCENARIO + """
listeners: [{name: lan, kind: modbus_tcp, port: 0}]
stations: [{name: rtu, kind: modbus, unit: 7, points: rtu.csv}]
"""
POINTS = """# base: 0
tag,point,table,address,type,access,min,max
store.p,store.p_kw,hr,0,float32,R,,
store.set,store.p_set_kw,hr,2,float32,RW,-400,400
bus18.v,bus.18.v_pu,hr,4,float32,R,,
sun.p,sun.p_kw,ir,0,float32,R,,
"""
READ_POWER = struct.pack(">BHH", 3, 0, 2)


def write_set(kw: float) -> bytes:
    """Function 16 on the battery's setpoint."""
    return struct.pack(">BHHBf", 16, 2, 2, 4, kw)


def power_kw(port: int) -> float:
    """What the battery feeds in, as a master reads it."""
    (answer,) = ask(port, READ_POWER, unit=7)
    assert answer[:2] == b"\x03\x04", answer.hex()
    return float(struct.unpack(">f", answer[2:])[0])


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A feeder with an RTU, in a folder."""
    (tmp_path / "rtu.csv").write_text(POINTS)
    path = tmp_path / "feeder.yaml"
    path.write_text(LISTED)
    return path


def gridloop(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run([sys.executable, "-m", "cosim.cli", *arguments], cwd=ROOT, capture_output=True, text=True,
                          timeout=120, check=False)


def wait_for_power(port: int, kw: float) -> float:
    """Poll until the battery feeds in what was asked, at most ten seconds."""
    for _ in range(200):
        found = power_kw(port)
        if abs(found - kw) < 0.01:
            return found
        time.sleep(0.05)
    return found


def test_a_setpoint_from_the_wire_moves_the_grid_and_the_session_replays(scenario: Path, tmp_path: Path) -> None:
    """Read, write, read back; Ctrl-C; exit 0; everything on disk; the same digest at full speed."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out)) as server:
        port = int(server.until(r"modbus_tcp 127\.0\.0\.1:(\d+)")[1])
        assert power_kw(port) == 0.0
        taken, above, read_only = ask(port, write_set(120.0), write_set(401.0), struct.pack(">BHH", 6, 0, 1), unit=7)
        assert taken == struct.pack(">BHH", 16, 2, 2)
        assert (above, read_only) == (b"\x90\x03", b"\x86\x02")
        assert wait_for_power(port, 120.0) == pytest.approx(120.0, abs=0.01)
        time.sleep(1.0)  # ten scans more, for the timing record
        code, shown = server.end()
    assert code == 0, server.said
    assert "3 writes (1 taken)" in shown
    realtime = json.loads((out / "realtime.json").read_text())
    assert realtime["spans"]["ingress_to_kernel"]["count"] == 1
    assert realtime["rates"][0]["lateness"]["count"] > 5
    assert realtime["floor"]["lateness"]["count"] > 5
    found = gridloop("replay", str(out), "--json")
    assert found.returncode == 0, found.stdout + found.stderr
    assert gridloop("audit", "verify", str(out)).returncode == 0


def test_sigterm_ends_as_cleanly_and_idle_sessions_do_not_hold_it_up(scenario: Path, tmp_path: Path) -> None:
    """With fifty sessions open: they are closed, the result is whole, in a few seconds."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out), "--no-floor") as server:
        port = int(server.until(r":(\d+)$")[1])
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
        half = struct.pack(">HHH", 1, 0, 6)
        for connection in idle[:25]:
            connection.sendall(half)
        assert power_kw(port) == 0.0
        begun = time.monotonic()
        server.process.send_signal(signal.SIGINT)  # somebody presses Ctrl-C while the service manager stops it
        code, _ = server.end(signal.SIGTERM)
        assert code == 0, server.said
        assert time.monotonic() - begun < 20
        assert all(connection.recv(1) == b"" for connection in idle)
        for connection in idle:
            connection.close()
    assert json.loads((out / "manifest.json").read_text())["status"] == "stopped"


def test_a_closed_terminal_ends_it_as_cleanly(scenario: Path, tmp_path: Path) -> None:
    """SIGHUP: the record is whole and replays."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out), "--no-floor") as server:
        server.until(r":(\d+)$")
        assert server.end(signal.SIGHUP)[0] == 0
    assert gridloop("replay", str(out)).returncode == 0


def test_it_ends_by_itself_at_the_scenarios_end(scenario: Path, tmp_path: Path) -> None:
    """`--until` at ten times the speed; status done; every scan was processed."""
    out = tmp_path / "run"
    done = gridloop("serve", str(scenario), "--out", str(out), "--until", "5", "--rate", "10", "--no-floor", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["sim_s"], summary["solves"]) == ("done", 5.0, 52)
    assert gridloop("replay", str(out)).returncode == 0


def test_the_console_pauses_and_changes_the_rate(scenario: Path, tmp_path: Path) -> None:
    """Masters are answered in the pause; a write taken then counts when it goes on; the replay is the same."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out), "--control", "--no-floor") as server:
        port = int(server.until(r":(\d+)$")[1])
        server.type("pause")
        server.until(r"paused at t = ")
        assert ask(port, write_set(50.0), unit=7) == [struct.pack(">BHH", 16, 2, 2)]
        assert power_kw(port) == 0.0
        server.type("read-only on")
        server.until("writes are refused")
        assert ask(port, write_set(60.0), unit=7) == [b"\x90\x01"]
        server.type("rate 20")
        server.until("rate 20")
        server.type("resume")
        assert wait_for_power(port, 50.0) == pytest.approx(50.0, abs=0.01)
        server.type("quit")
        out_text, _ = server.process.communicate(timeout=30)
    assert server.process.returncode == 0
    assert "2 writes (1 taken)" in out_text
    assert gridloop("replay", str(out)).returncode == 0


def test_a_port_in_use_is_one_line_and_leaves_nothing(scenario: Path, tmp_path: Path) -> None:
    """Which port, and what to do; no result folder."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = gridloop("serve", str(scenario), "--port", str(port), "--out", str(tmp_path / "run"), "--no-floor")
    assert found.returncode != 0
    assert len(found.stderr.strip().splitlines()) <= 2
    assert f"127.0.0.1:{port}" in found.stderr
    assert "in use" in found.stderr
    assert not (tmp_path / "run").exists()


def test_what_can_be_opened_is(scenario: Path, tmp_path: Path) -> None:
    """Of two listeners one has no serial device: it is told in a line, and the other one serves."""
    text = scenario.read_text().replace("listeners: [",
                                            "listeners: [{name: line, kind: modbus_rtu, device: /dev/none}, ")
    scenario.write_text(text.replace("unit: 7,", "unit: 7, listener: lan,"))
    with served(scenario, "--out", str(tmp_path / "run"), "--no-floor") as server:
        server.until("/dev/none")
        port = int(server.until(r"modbus_tcp 127\.0\.0\.1:(\d+)")[1])
        assert power_kw(port) == 0.0
        assert server.end()[0] == 0


@pytest.mark.parametrize(("change", "words"), [
    (("store.p_kw", "stroe.p_kw"), ["rtu.csv:3", "stroe.p_kw", "store.p_kw"]),
    (("hr,2,", "hr,1,"), ["rtu.csv:4", "40002"]),
])
def test_a_wrong_list_is_refused_before_anything_runs(scenario: Path, tmp_path: Path, change: tuple[str, str],
                                                      words: list[str]) -> None:
    """File, line, what was found, what would do; by `check` too; nothing is left behind."""
    (tmp_path / "rtu.csv").write_text(POINTS.replace(*change))
    for command in (["serve", str(scenario), "--out", str(tmp_path / "run")], ["check", str(scenario)]):
        found = gridloop(*command)
        assert found.returncode == 2, found.stdout + found.stderr
        for word in words:
            assert word in found.stdout + found.stderr
    assert not (tmp_path / "run").exists()


def test_a_killed_server_leaves_a_result_that_can_be_read(scenario: Path, tmp_path: Path) -> None:
    """kill -9: the access log verifies, the record can be resumed to a digest."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out), "--no-floor", "--rate", "20",
                "--set", "duration_s=200") as server:
        port = int(server.until(r":(\d+)$")[1])
        ask(port, write_set(80.0), unit=7)
        wait_for_power(port, 80.0)
        time.sleep(6)  # a flush of the record, every five seconds
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(timeout=30)
    assert gridloop("audit", "verify", str(out)).returncode == 0
    resumed = gridloop("run", "--resume", str(out), "--quiet")
    assert resumed.returncode == 0, resumed.stderr
    assert gridloop("replay", str(out), "--quiet").returncode == 0


def test_the_console_takes_files_and_nothing(scenario: Path, tmp_path: Path) -> None:
    """Commands from a file are obeyed; /dev/null has none; neither is watched by an event loop, neither is a crash."""
    (tmp_path / "typed").write_text("rate 50\nstatus\n")
    for stdin in (tmp_path / "typed", Path(os.devnull)):
        with stdin.open("rb") as file:
            command = [sys.executable, "-m", "cosim.cli", "serve", str(scenario), "--control", "--no-floor",
                       "--until", "0.5", "--out", str(tmp_path / f"run-{stdin.name}")]
            done = subprocess.run(command, cwd=ROOT, stdin=file, capture_output=True, text=True, timeout=120,
                                  check=False)
        assert done.returncode == 0, done.stderr
        assert ("rate 50 from" in done.stderr) == (stdin.name == "typed")


def test_a_run_far_behind_stops_all_the_same(scenario: Path, tmp_path: Path) -> None:
    """A hundred times the speed with a scan of 5 ms: minutes of backlog; Ctrl-C ends in seconds; it replays."""
    out = tmp_path / "run"
    with served(scenario, "--out", str(out), "--no-floor", "--rate", "100", "--set", "step_s=0.005") as server:
        port = int(server.until(r":(\d+)$")[1])
        time.sleep(2)
        assert power_kw(port) == 0.0
        begun = time.monotonic()
        code, _ = server.end()
        assert code == 0, server.said
        assert time.monotonic() - begun < 15
    assert json.loads((out / "realtime.json").read_text())["behind_s"] > 10
    assert gridloop("replay", str(out)).returncode == 0


def test_a_door_that_stays_shut_is_told_even_quietly(scenario: Path, tmp_path: Path) -> None:
    """Two listeners on one port: a line says which has it not, for a script too; no line says that it is open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = scenario.read_text().replace("listeners: [{name: lan, kind: modbus_tcp, port: 0}]", "listeners: ["
                                        f"{{name: lan, kind: modbus_tcp, port: {port}}}, "
                                        f"{{name: two, kind: modbus_tcp, port: {port}}}]")
    scenario.write_text(text.replace("unit: 7,", "unit: 7, listener: lan,"))
    arguments = ("serve", str(scenario), "--until", "0.2", "--no-floor", "--force", "--out", str(tmp_path / "run"))
    quiet, loud = gridloop(*arguments, "--quiet"), gridloop(*arguments)
    assert (quiet.returncode, loud.returncode) == (0, 0)
    assert quiet.stderr.count("listener two: ") == loud.stderr.count("listener two: ") == 1
    assert loud.stderr.count("(not open)") == 1
