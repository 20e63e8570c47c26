"""pyModbusTCP's client, an implementation of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.peers import module, settled
from tests.interop.plant import Plant

pytestmark = pytest.mark.slow


@pytest.fixture
def client(plant: Plant) -> Iterator[Any]:
    """A connected client."""
    made = module("pyModbusTCP.client", "pyModbusTCP").ModbusClient("127.0.0.1", plant.ports["lan"], 1, timeout=5.0)
    assert made.open()
    yield made
    made.close()


def registers(layout: str, *values: float) -> list[int]:
    """Registers of values."""
    data = struct.pack(layout, *values)
    return list(struct.unpack(f">{len(data) // 2}H", data))


def test_it_reads_what_the_run_has(plant: Plant, client: Any) -> None:
    """Functions 2 and 4, decoded by its own tools."""
    tools = module("pyModbusTCP.utils", "pyModbusTCP")
    with plant.paused() as t_s:
        found = client.read_input_registers(0, 10)
        v18 = tools.decode_ieee(tools.word_list_to_long(found[0:2])[0])
        v33 = tools.decode_ieee(tools.word_list_to_long(found[2:4], big_endian=False)[0])
        p_kw = tools.decode_ieee(tools.word_list_to_long(found[4:8], long_long=True)[0], double=True)
        bits = client.read_discrete_inputs(0, 3)
        plant.witness("pyModbusTCP", t_s, {"bus.18.v_pu": v18, "bus.33.v_pu": v33, "grid.slack_p_kw": p_kw,
                                           "grid.converged": float(bits[2])})


def test_writes_stand_after_the_scan(plant: Plant, client: Any) -> None:
    """Functions 5, 6, 15, 16 and 23, read back by 1 and 3."""
    assert client.write_multiple_registers(0, registers(">f", 77.25))
    settled(lambda: client.read_holding_registers(0, 2), registers(">f", 77.25))
    assert plant.setpoint_kw() == 77.25
    assert client.write_single_register(3, 2)
    settled(lambda: client.read_holding_registers(3, 1), [2])
    assert client.write_multiple_coils(0, [True, False])
    settled(lambda: client.read_coils(0, 2), [True, False])
    assert client.write_single_coil(0, False)
    settled(lambda: client.read_coils(0, 2), [False, False])
    assert client.write_read_multiple_registers(0, registers(">f", -12.5), 3, 1) == [2]
    settled(lambda: client.read_holding_registers(0, 2), registers(">f", -12.5))


def test_it_identifies_the_station(client: Any) -> None:
    """Function 43/14."""
    found = client.read_device_identification(read_code=2)
    assert found.vendor_name == b"Gridloop"
    assert found.product_code == b"SIMULATOR"


@pytest.mark.parametrize(("address", "values", "code"), [
    (6, [0, 0], 2), (0, [1], 2), (100, [1], 2), (3, [5], 3), (2, [0xFFFF], 3)])
def test_forbidden_writes(client: Any, address: int, values: list[int], code: int) -> None:
    """Read-only, half of a float, unmapped; too many steps, a negative cap."""
    assert not client.write_multiple_registers(address, values)
    assert client.last_except == code
