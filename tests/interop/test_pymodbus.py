"""pymodbus's asynchronous client: every function that it has and we serve, through every kind of door."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.interop.peers import SETTLE_S, module
from tests.interop.plant import RTU, Plant

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]
DOORS = ("tcp", "tls", "rtu", "rtu_tcp")


def made(plant: Plant, door: str, role: str = "operator") -> Any:
    """A client at a door, not connected yet."""
    clients = module("pymodbus.client", "pymodbus")
    framer = module("pymodbus", "pymodbus").FramerType
    plain: dict[str, Any] = {"timeout": 3, "retries": 1, "reconnect_delay": 0}
    if door == "tcp":
        return clients.AsyncModbusTcpClient("127.0.0.1", port=plant.ports["lan"], **plain)
    if door == "tls":
        return clients.AsyncModbusTlsClient("127.0.0.1", port=plant.ports["safe"],
                                            sslctx=plant.master(f"pymodbus_{role}", role), **plain)
    if door == "rtu":
        return clients.AsyncModbusSerialClient(plant.serial(), baudrate=19200, stopbits=2, **plain)
    return clients.AsyncModbusTcpClient("127.0.0.1", port=plant.ports["over"], framer=framer.RTU, **plain)


@asynccontextmanager
async def connected(plant: Plant, door: str, role: str = "operator") -> AsyncIterator[Any]:
    """A connected client."""
    client = made(plant, door, role)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def words(layout: str, *values: float) -> list[int]:
    """Registers of values."""
    data = struct.pack(layout, *values)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def unpacked(layout: str, registers: list[int]) -> tuple[Any, ...]:
    """Values of registers."""
    return struct.unpack(layout, struct.pack(f">{len(registers)}H", *registers))


async def reads(read: Callable[[], Awaitable[Any]], expected: object) -> None:
    """Until it is as expected, at most a few seconds."""
    async with asyncio.timeout(SETTLE_S):
        while await read() != expected:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("door", DOORS)
async def test_it_reads_what_the_run_has(plant: Plant, door: str) -> None:
    """Functions 2 and 4 of one paused instant: float32 in two word orders, float64, a scaled integer, states."""
    async with connected(plant, door) as client:
        with plant.paused() as t_s:
            registers = (await client.read_input_registers(0, count=10, device_id=RTU)).registers
            bits = (await client.read_discrete_inputs(0, count=3, device_id=RTU)).bits[:3]
            v18, low, high, p_kw, q = unpacked(">fHHdi", registers)
            (v33,) = unpacked(">f", [high, low])
            plant.witness(f"pymodbus {door}", t_s, {
                "bus.18.v_pu": v18, "bus.33.v_pu": v33, "grid.slack_p_kw": p_kw, "grid.slack_q_kvar": q / 100,
                "line.18-33.closed": float(bits[0]), "line.25-29.closed": float(bits[1]),
                "grid.converged": float(bits[2])})
        text = await client.read_input_registers(11, count=4, device_id=RTU)
        assert client.convert_from_registers(text.registers, client.DATATYPE.STRING) == "INTEROP"


@pytest.mark.parametrize("door", DOORS)
async def test_every_function_that_writes(plant: Plant, door: str) -> None:
    """Functions 5, 6, 15, 16, 22 and 23, each read back after the scan by functions 1 and 3."""
    kw = 30.0 + DOORS.index(door)
    async with connected(plant, door) as client:
        async def holding(address: int, count: int) -> list[int]:
            return list((await client.read_holding_registers(address, count=count, device_id=RTU)).registers)

        async def coils() -> list[bool]:
            return list((await client.read_coils(0, count=2, device_id=RTU)).bits[:2])

        assert not (await client.write_registers(0, words(">f", kw), device_id=RTU)).isError()
        await reads(lambda: holding(0, 2), words(">f", kw))
        assert not (await client.write_register(2, 2500, device_id=RTU)).isError()
        await reads(lambda: holding(2, 1), [2500])
        assert not (await client.write_coils(0, [False, True], device_id=RTU)).isError()
        await reads(coils, [False, True])
        assert not (await client.write_coil(1, False, device_id=RTU)).isError()
        await reads(coils, [False, False])
        masked = await client.mask_write_register(address=8, and_mask=0xFFFE, or_mask=1, device_id=RTU)
        assert not masked.isError()
        await reads(lambda: holding(8, 1), [1])
        await reads(coils, [True, False])
        exchanged = await client.readwrite_registers(read_address=2, read_count=1, write_address=0,
                                                     values=words(">f", -kw), device_id=RTU)
        assert exchanged.registers == [2500]
        await reads(lambda: holding(0, 2), words(">f", -kw))
        assert not (await client.write_coil(0, False, device_id=RTU)).isError()
        await reads(coils, [False, False])
    assert plant.setpoint_kw() == -kw


@pytest.mark.parametrize("door", DOORS)
async def test_identification_and_echo(plant: Plant, door: str) -> None:
    """Function 43/14 in all categories and singly, function 8/0 with what was sent."""
    async with connected(plant, door) as client:
        basic = await client.read_device_information(read_code=1, object_id=0, device_id=RTU)
        assert basic.information[0] == b"Gridloop"
        regular = await client.read_device_information(read_code=2, object_id=0, device_id=RTU)
        assert regular.information[4] == b"Gridloop simulated station"
        single = await client.read_device_information(read_code=4, object_id=1, device_id=RTU)
        assert single.information == {1: b"SIMULATOR"}
        echo = await client.diag_query_data(b"\x12\x34", device_id=RTU)
        assert not echo.isError()
        assert echo.message == b"\x12\x34"


@pytest.mark.parametrize("door", DOORS)
async def test_forbidden_writes(plant: Plant, door: str) -> None:
    """Read-only 02, half of a float 02, unmapped 02, out of range 03: nothing of it stands."""
    async with connected(plant, door) as client:
        before = plant.registers(3, 0, 9)
        for address, values, code in ((6, words(">f", 1), 2), (0, [1], 2), (100, [1], 2), (0, words(">f", 401), 3),
                                      (3, [5], 3), (0, words(">f", float("nan")), 3)):
            answer = await client.write_registers(address, values, device_id=RTU)
            assert (answer.isError(), answer.exception_code) == (True, code), (address, values)
        answer = await client.write_coil(2, True, device_id=RTU)
        assert answer.exception_code == 2
        answer = await client.read_holding_registers(200, count=1, device_id=RTU)
        assert answer.exception_code == 2
        await asyncio.sleep(0.15)
        assert plant.registers(3, 0, 6) == before[:12]


async def test_the_certificates_role_decides(plant: Plant) -> None:
    """An observer reads, and is told 01 for what an operator may."""
    async with connected(plant, "tls", "observer") as client:
        assert len((await client.read_input_registers(0, count=2, device_id=RTU)).registers) == 2
        answer = await client.write_registers(0, words(">f", 1), device_id=RTU)
        assert (answer.isError(), answer.exception_code) == (True, 1)
