"""A control centre against devices on loopback: polls, notices, writes, records, ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from hil.pacer import MonotonicClock
from hil.scada.centre import Centre, CentreOptions
from hil.scada.plans import load_plan
from hil.scada.readings import TagQuality
from tests.hil.scada.device import Device, start

CONFIG = """
stations:
  - {{name: feeder, address: "127.0.0.1:{port}", points: feeder.csv}}
scan_classes: [{{name: all, period_s: 0.05}}]
alarms: [{{tags: ["*.closed"], equals: 0, priority: critical}}]
trend: {{flush_s: 0.1}}
communication: {{timeout_s: 0.1, alarm_delay_s: 0, retry_first_s: 0.05, retry_most_s: 0.1}}
"""


def made(points: Path, device: Device, said: list[str], **options: Any) -> Centre:
    """A centre for CONFIG; call it inside a loop."""
    path = points.with_name("room.yaml")
    path.write_text(CONFIG.format(port=device.port))
    return Centre(load_plan(path), CentreOptions(MonotonicClock(), said.append, for_s=20, **options))


async def until(condition: Any) -> None:
    """Wait for a condition, at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.asyncio
async def test_values_arrive_and_a_write_is_carried_out_and_read_back(device: Device, points: Path,
                                                                      tmp_path: Path) -> None:
    """And the alarm that it causes, its acknowledgement, the events and the trend are kept."""
    said: list[str] = []
    out = tmp_path / "out"
    centre = made(points, device, said, out=out,
                  commands=("set breaker.closed open", "set pv1.limit_kw 42", "set pv1.limit_kw 142", "set nothing 1"))
    run = asyncio.create_task(centre.run())
    await until(lambda: any("reads back 42 kW" in line for line in said))
    await until(lambda: any(a.verdict == "state" for a in centre.board.shown_alarms()))
    centre.hear("ack")
    await until(lambda: any("active → acknowledged" in line for line in said))
    assert centre.board.tags["feeder/bus1.p_kw"].value == pytest.approx(-12.3)
    centre.hear("quit")
    summary = await run
    assert device.units[1]["co"][5] == 0
    assert any("142 is outside 0 … 100 kW" in line for line in said)
    assert any("no tag 'nothing'" in line for line in said)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert {"write", "alarm"} == {e["kind"] for e in events}
    rows = pq.read_table(out / "trend" / "trend-000001.parquet")
    good = [q for q in rows.column("quality").to_pylist() if q == "good"]  # a stalled machine adds stale ones
    assert len(good) == 6 * summary["scans"]
    assert rows.num_rows == summary["trend_rows"]
    assert summary["writes"] == 2


@pytest.mark.asyncio
async def test_a_station_that_goes_and_comes_back(device: Device, points: Path) -> None:
    """Stale and alarmed while silent; good again, without anybody's help, when it answers."""
    said: list[str] = []
    centre = made(points, device, said)
    run = asyncio.create_task(centre.run())
    tag = centre.board.tags["feeder/bus1.v_pu"]
    await until(lambda: tag.quality is TagQuality.GOOD)
    device.is_mute = True
    await until(lambda: tag.quality is TagQuality.STALE)
    assert any("no answer from unit 1" in line for line in said) or centre.board.stations["feeder"].is_up is False
    device.is_mute = False
    await until(lambda: tag.quality is TagQuality.GOOD)
    centre.stop()
    summary = await run
    assert summary["failed"] >= 1
    assert any("answers again" in line for line in said)
    assert any("feeder/communication" in line for line in said)


@pytest.mark.asyncio
async def test_a_station_that_is_not_there_yet_is_found_when_it_comes(device: Device, points: Path) -> None:
    """Retried with back-off; nothing is lost but the scans that were due, which are counted."""
    late = Device(device.units)
    server = start(late)
    server.shutdown()
    server.server_close()
    said: list[str] = []
    centre = made(points, late, said)
    run = asyncio.create_task(centre.run())
    await until(lambda: centre.board.stations["feeder"].is_up is False)
    server = start(late, late.port)
    await until(lambda: centre.board.stations["feeder"].is_up)
    centre.stop()
    summary = await run
    server.shutdown()
    server.server_close()
    assert any("refused: nobody listens there" in line for line in said)
    assert summary["scans"] >= 1


@pytest.mark.asyncio
async def test_an_exception_makes_bad_what_it_touches_and_nothing_else(device: Device, points: Path) -> None:
    """The other tags of the same request stay good."""
    device.exception["ir", 2] = 4
    centre = made(points, device, [])
    run = asyncio.create_task(centre.run())
    tags = centre.board.tags
    await until(lambda: tags["feeder/bus1.v_pu"].quality is TagQuality.GOOD)
    assert tags["feeder/bus1.p_kw"].quality is TagQuality.BAD
    centre.stop()
    await run


@pytest.mark.asyncio
@pytest.mark.parametrize("n_station", [40])
async def test_many_stations_are_polled_side_by_side(device: Device, points: Path, n_station: int) -> None:
    """Forty at 0.2 s for a second and more: every one at its rate, one slow unit holding up nobody."""
    device.units[2] = device.units[1]
    device.silent = {2}
    stations = "\n".join(f'  - {{name: s{i}, address: "127.0.0.1:{device.port}", points: feeder.csv'
                         f'{", unit: 2" if i == 0 else ""}}}' for i in range(n_station))
    path = points.with_name("many.yaml")
    path.write_text(f"stations:\n{stations}\nscan_classes: [{{name: all, period_s: 0.2}}]\n")
    centre = Centre(load_plan(path), CentreOptions(MonotonicClock(), lambda _text: None, for_s=1.3))
    summary = await centre.run()
    rows = {row["station"]: row for row in summary["stations"]}
    assert all(row["scans"] >= 4 for name, row in rows.items() if name != "s0")
    assert summary["not_answering"] == ["s0"]
