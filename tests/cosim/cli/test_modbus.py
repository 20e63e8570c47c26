"""``gridloop modbus`` and ``gridloop scada`` as a person runs them, against a device on loopback."""

from __future__ import annotations

import argparse
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cosim.cli import modbus, scada
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, UsageError
from cosim.errors import GatewayError, ScenarioError
from tests.hil.scada.device import Device, feeder, list_file, listening, start

Run = Callable[..., Outcome]


@pytest.fixture
def device() -> Iterator[Device]:
    """The feeder of LIST, listening."""
    with listening() as made:
        yield made


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """LIST as a file."""
    return list_file(tmp_path)


def run(module: object, *words: object) -> Outcome:
    """One command, with the options that every command has."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--debug", action="store_true")
    module.add_arguments(parser)  # type: ignore[attr-defined]
    return module.execute(parser.parse_args([str(word) for word in words]), Engine())  # type: ignore[attr-defined, no-any-return]


def test_poll_shows_every_tag_in_few_requests(device: Device, points: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values in engineering units, addresses in all notations, raw bytes."""
    outcome = run(modbus, "poll", f"127.0.0.1:{device.port}", "--points", points)
    lines = capsys.readouterr().out.splitlines()
    assert outcome.exit is Exit.DONE
    assert " ".join(lines[1].split()) == "bus1.v_pu ir 0 = 30001 (300001) 1.02 pu good 3f 82 8f 5c"
    assert " ".join(lines[2].split()) == "bus1.p_kw ir 2 = 30003 (300003) -12.3 kW good ff 85"
    assert len(device.requests) == 3


@pytest.mark.parametrize(("words", "values"), [
    (("--address", "ir0", "--type", "float32"), [1.02]),
    (("--address", "40011", "--type", "float32", "--order", "CDAB"), [50]),
    (("--address", "10", "--count", "3"), [0, 16968, 1]), (("--table", "co", "--address", "5"), [1]),
    (("--address", "hr 12"), [1]), (("--address", "400013"), [1])])
def test_poll_of_addresses_in_every_notation(device: Device, words: tuple[str, ...], values: list[float]) -> None:
    """As JSON."""
    outcome = run(modbus, "poll", f"127.0.0.1:{device.port}", "--json", *words)
    (rows,) = outcome.data["polls"]
    assert [row["value"] for row in rows] == pytest.approx(values)


def test_repeated_polls_as_csv_have_one_header(device: Device, points: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    """Three polls of six tags."""
    run(modbus, "poll", f"127.0.0.1:{device.port}", "--points", points, "--csv", "--every", 0.02, "--times", 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 * 6
    assert lines[7] == lines[1] == "bus1.v_pu,1,ir 0,1.02,pu,good,3f828f5c,"


def test_a_bad_quality_is_shown_beside_the_value(device: Device, points: Path) -> None:
    """The companion says stale."""
    device.units[1]["ir"][3] = 4
    rows = run(modbus, "poll", f"127.0.0.1:{device.port}", "--points", points, "--json").data["polls"][0]
    assert {row["tag"]: row["quality"] for row in rows}["bus1.v_pu"] == "stale"


def test_write_shows_before_bytes_answer_and_after(device: Device, points: Path) -> None:
    """A float in CDAB and a coil."""
    outcome = run(modbus, "write", f"127.0.0.1:{device.port}", "--wait", 0, "--points", points, "pv1.limit_kw=42",
                  "breaker.closed=open")
    assert outcome.exit is Exit.DONE
    first, second = outcome.data["writes"]
    assert (first["before"], first["after"]) == ("50 kW  [00 00 42 48]", "42 kW  [00 00 42 28]")
    assert first["sent"].endswith("0110000a00020400004228")
    assert second["sent"].endswith("010500050000")
    assert "[00 00 42 28]" in outcome.text


def test_a_refused_write_is_explained_and_is_a_failure(device: Device) -> None:
    """Exception 02 in words."""
    outcome = run(modbus, "write", f"127.0.0.1:{device.port}", "--wait", 0, "--address", "hr99", 5)
    assert outcome.exit is Exit.FAILED
    assert "exception 02, illegal data address" in outcome.text


def test_scan_finds_units_ranges_and_identification_and_never_writes(device: Device) -> None:
    """With the SunSpec chain where its marker stands."""
    chain = [0x5375, 0x6E53, 1, 2, 0, 0, 103, 1, 0, 0xFFFF, 0]
    device.units[7] = {"hr": dict(enumerate(chain, 40_000)) | {3: 1}}
    outcome = run(modbus, "scan", f"127.0.0.1:{device.port}", "--units", "1,5-7", "--rate", 5000, "--upto", 50)
    one, seven = outcome.data["units"]
    assert one["identification"] == {"0": "ACME", "1": "X1", "2": "1.0"}
    assert {name: found["ranges"] for name, found in one["tables"].items()} == {
        "hr": [[10, 12]], "ir": [[0, 3]], "co": [[5, 5]], "di": []}
    assert one["sunspec"] is None
    assert [m["model"] for m in seven["sunspec"]["models"]] == [1, 103]
    assert seven["tables"]["co"]["note"] == "not offered"
    assert {request[7] for request in device.requests} <= {1, 2, 3, 4, 43}


def test_scan_keeps_to_its_budget(device: Device) -> None:
    """And says where it stopped."""
    outcome = run(modbus, "scan", f"127.0.0.1:{device.port}", "--units", "1", "--rate", 5000, "--upto", 9000,
                  "--budget", 20)
    assert "stopped at" in outcome.data["units"][0]["tables"]["di"]["note"]
    assert len(device.requests) < 4 * 20 + 10


@pytest.mark.parametrize(("words", "said"), [
    (("--address", "99999"), "no address"), (("--address", "hr0", "--table", "ir"), "--table says ir"),
    (("--address", "0", "--type", "real"), "no type"), (("--address", "0", "--count", "9999"), "expected 1 to"),
    (("--address", "65535", "--table", "hr", "--type", "float32"), "last address"), ((), "name what to read"),
    (("--points", "x.csv", "--table", "hr"), "leave out"), (("--address", "0", "--times", "2"), "--every"),
    (("--address", "co5", "--type", "int16"), "is a bit")])
def test_what_makes_no_sense_is_said_before_anything_is_sent(device: Device, words: tuple[str, ...], said: str) -> None:
    """Each in one line."""
    with pytest.raises((GatewayError, UsageError), match=said):
        run(modbus, "poll", f"127.0.0.1:{device.port}", *words)
    assert device.requests == []


@pytest.mark.parametrize("words", [("poll", "--address", "hr10"), ("scan", "--units", "1", "--rate", "5000")])
def test_a_server_that_starts_late_is_waited_for(words: tuple[str, ...]) -> None:
    """Refused until it listens, then answered; no longer than it was told to wait, and not where nobody said to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"127.0.0.1:{port}"
    for told in ((), ("--wait", "0.2")):
        with pytest.raises(GatewayError, match="refused: nobody listens there"):
            run(modbus, words[0], where, *words[1:], *told)
    servers: list[Any] = []
    late = threading.Timer(0.4, lambda: servers.append(start(feeder(), port)))
    late.start()
    try:
        assert run(modbus, words[0], where, *words[1:], "--wait", 60).exit is Exit.DONE
    finally:
        late.join()
        servers[0].shutdown()
        servers[0].server_close()


@pytest.mark.parametrize(("state", "said"), [("mute", "no answer from unit 1 within 0.1 s"), ("http", "not Modbus"),
                                             ("gone", "refused: nobody listens")])
def test_a_device_that_does_not_answer_is_one_clear_line(device: Device, state: str, said: str) -> None:
    """Silence, another protocol, nobody."""
    device.is_mute = state == "mute"
    device.garbage = b"HTTP/1.1 400 Bad Request\r\n" if state == "http" else b""
    port = 1 if state == "gone" else device.port
    with pytest.raises(GatewayError, match=said):
        run(modbus, "poll", f"127.0.0.1:{port}", "--address", "hr10", "--timeout", 0.1)


def test_scada_polls_writes_records_and_sums_up(device: Device, points: Path, tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    """For a second, with commands given beforehand."""
    config = tmp_path / "room.yaml"
    config.write_text(f'stations:\n  - {{name: feeder, address: "127.0.0.1:{device.port}", points: feeder.csv}}\n'
                      "scan_classes: [{name: all, period_s: 0.1}]\n")
    outcome = run(scada, config, "--for", 1, "--out", tmp_path / "out", "--do", "set pv1.limit_kw 42", "--do", "quit")
    assert outcome.exit is Exit.DONE
    assert "reads back 42 kW" in capsys.readouterr().out
    assert "1 stations" in outcome.text
    assert json.loads(json.dumps(outcome.data))["writes"] == 1
    assert (tmp_path / "out" / "trend" / "trend-000001.parquet").is_file()


def test_scada_refuses_a_command_it_does_not_know_before_it_starts(points: Path, tmp_path: Path) -> None:
    """And a configuration that is not there."""
    with pytest.raises(GatewayError, match="no command"):
        run(scada, tmp_path / "room.yaml", "--do", "jump")
    with pytest.raises(ScenarioError, match=r"room\.yaml"):
        run(scada, tmp_path / "room.yaml")


def test_scada_fails_when_nothing_ever_answered(points: Path, tmp_path: Path) -> None:
    """Exit code 1 for scripts."""
    config = tmp_path / "room.yaml"
    config.write_text('stations: [{name: feeder, address: "127.0.0.1:1", points: feeder.csv}]\n')
    assert run(scada, config, "--for", 0.3, "--quiet", "--do", "status").exit is Exit.FAILED


@pytest.mark.parametrize("words", ["300", "5-3", "a", ""])
def test_unit_ids_are_numbers_up_to_255(device: Device, words: str) -> None:
    """Anything else is refused by the parser."""
    with pytest.raises(SystemExit):
        run(modbus, "scan", f"127.0.0.1:{device.port}", "--units", words)
