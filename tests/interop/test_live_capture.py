"""Masters at once: pymodbus, modbus-serial and a writer on one station; and tshark on the loopback beside them."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop import tshark
from tests.interop.peers import HERE, PROGRAM_S, module, node, program, settled
from tests.interop.plant import RTU, Plant, open_plant
from tests.interop.test_pymodbus import connected, words

pytestmark = pytest.mark.slow
#: Bounds of a capture: seconds and packets.
CAPTURE_S, CAPTURE_PACKETS = 30, 20_000
ROUNDS, WRITES = 40, 20


@contextmanager
def capturing(plant: Plant, path: Path) -> Iterator[None]:
    """Only this port, only on the loopback, in bounds; skips where capturing is not allowed.

    A capture begins some time after it says so, and ends with what it has got round to: an echo request (function 8)
    is repeated before and after until it is in the file.
    """
    command = [program("tshark", "tshark"), "-n", "-q", "-i", "lo", "-f", f"tcp port {plant.ports['lan']}", "-a",
               f"duration:{CAPTURE_S}", "-c", str(CAPTURE_PACKETS), "-w", str(path)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True) as process:
        assert process.stderr is not None
        try:
            said = ""
            for line in process.stderr:
                said += line
                if "Capture started" in line or "Capturing on" in line:
                    break
            else:
                pytest.skip(f"tshark may not capture on lo: {said.strip().splitlines()[-1]}")
            settled(lambda: captured(plant, b"\x0b\xe1", path), True, 15)
            yield
            settled(lambda: captured(plant, b"\xe0\xd1", path), True, 15)
            process.send_signal(signal.SIGINT)
            process.wait(timeout=PROGRAM_S)
        finally:
            if process.poll() is None:
                process.kill()


def captured(plant: Plant, mark: bytes, path: Path) -> bool:
    """Whether an echo request with these two bytes has been written to the file; sends one."""
    request = b"\x08\x00\x00" + mark
    assert plant.ask(request) == request
    return path.is_file() and request in path.read_bytes()


async def polls(plant: Plant, n: int) -> int:
    """Right answers of `n` reads by pymodbus, four at a time over four connections."""
    async def one(share: int) -> int:
        right = 0
        async with connected(plant, "tcp") as client:
            for i in range(share):
                answer = await client.read_input_registers(0, count=1 + i % 10, device_id=RTU)
                right += len(answer.registers) == 1 + i % 10
        return right

    return sum(await asyncio.gather(*(one(n // 4) for _ in range(4))))


async def writes(plant: Plant) -> list[float]:
    """Setpoints written one after the other, each when the one before it stands."""
    values = [float(10 * i - 100) for i in range(WRITES)]
    async with connected(plant, "tcp") as client, asyncio.timeout(30):
        for value in values:
            assert not (await client.write_registers(0, words(">f", value), device_id=RTU)).isError()
            while (await client.read_holding_registers(0, count=2, device_id=RTU)).registers != words(">f", value):
                await asyncio.sleep(0.01)
    return values


async def together(plant: Plant) -> tuple[int, dict[str, Any]]:
    """pymodbus polls, modbus-serial polls ten at a time, and a writer; what both of them got right."""
    path, env = node("modbus-serial")
    script = await asyncio.create_subprocess_exec(path, str(HERE / "modbus_serial.js"), str(plant.ports["lan"]), "load",
                                                  str(ROUNDS), env=env, stdout=asyncio.subprocess.PIPE)
    try:
        right, _, (out, _) = await asyncio.wait_for(asyncio.gather(polls(plant, 10 * ROUNDS), writes(plant),
                                                                   script.communicate()), 60)
    finally:
        if script.returncode is None:
            script.kill()
            await script.wait()
    assert script.returncode == 0
    return right, json.loads(out)


def test_two_masters_and_a_writer_at_once(tmp_path: Path) -> None:
    """Every read is answered with what was asked for, every write stands, and the session replays to its digest."""
    module("pymodbus", "pymodbus")
    node("modbus-serial")
    with open_plant(tmp_path) as plant:
        right, found = asyncio.run(together(plant))
        assert right == 10 * ROUNDS
        assert found == {"right": 10 * ROUNDS, "wrong": 0}
        assert plant.setpoint_kw() == 10 * (WRITES - 1) - 100
        with plant.paused() as t_s:
            plant.look("the writer", t_s, {"store.p_set_kw": plant.setpoint_kw()}, 1e-9)
        plant.finish()


def test_a_live_capture_has_no_malformed_frame(plant: Plant, tmp_path: Path) -> None:
    """pymodbus's functions and exceptions as captured from the loopback: all dissected, every query answered."""
    module("pymodbus", "pymodbus")
    port, path = plant.ports["lan"], tmp_path / "live.pcapng"

    async def session() -> int:
        async with connected(plant, "tcp") as client:
            await client.read_coils(0, count=2, device_id=RTU)
            await client.read_discrete_inputs(0, count=3, device_id=RTU)
            await client.read_holding_registers(0, count=9, device_id=RTU)
            await client.write_coil(1, False, device_id=RTU)
            await client.write_register(3, 2, device_id=RTU)
            await client.write_coils(0, [False, False], device_id=RTU)
            await client.write_registers(0, words(">f", 3.5), device_id=RTU)
            await client.mask_write_register(address=8, and_mask=0xFFFC, or_mask=0, device_id=RTU)
            await client.readwrite_registers(read_address=2, read_count=1, write_address=3, values=[1], device_id=RTU)
            await client.read_device_information(read_code=2, object_id=0, device_id=RTU)
            await client.diag_query_data(b"\xa5\x37", device_id=RTU)
            await client.write_register(6, 1, device_id=RTU)
            await client.write_register(3, 9, device_id=RTU)
        return await polls(plant, 200)

    with capturing(plant, path):
        # Sixteen in one segment, which is where dissectors and servers lose count.
        frames = b"".join(struct.pack(">HHHBBHH", i, 0, 6, 1, 4, 0, 1 + i % 10) for i in range(16))
        assert asyncio.run(session()) == 200
        assert len(asyncio.run(burst(port, frames, 16))) == 16
    found = tshark.dissect(path, "-o", f"mbtcp.tcp.port:{port}", "-o", "tcp.check_checksum:FALSE")
    tshark.check(found, whole_only=True)
    assert sum(count for function, count in found.functions.items() if function != "8") == 2 * (12 + 200 + 16)
    assert found.exceptions == {"2": 1, "3": 1}
    assert set(found.functions) == {"1", "2", "3", "4", "5", "6", "8", "15", "16", "22", "23", "43"}


async def burst(port: int, frames: bytes, n: int) -> list[bytes]:
    """The answers to frames that go out at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(frames)
    answers = []
    async with asyncio.timeout(10):
        for i in range(n):
            head = await reader.readexactly(6)
            number, _, length = struct.unpack(">HHH", head)
            assert number == i
            answers.append(await reader.readexactly(length))
    writer.close()
    return answers
