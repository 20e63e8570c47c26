"""pysunspec2's client, unmodified: discovers the inverter, drives it, reads back what the run did."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.interop.peers import module, settled
from tests.interop.plant import INVERTER, LOCKED_INVERTER, Plant

pytestmark = pytest.mark.slow


@contextmanager
def scanned(plant: Plant, unit: int) -> Iterator[Any]:
    """A client that has found its models."""
    device = module("sunspec2.modbus.client", "pysunspec2").SunSpecModbusClientDeviceTCP
    client = device(slave_id=unit, ipaddr="127.0.0.1", ipport=plant.ports["lan"], timeout=10)
    client.connect()
    try:
        client.scan(connect=False)
        yield client
    finally:
        client.disconnect()


def test_it_finds_every_model_and_reads_the_runs_power(plant: Plant) -> None:
    """The scan has no error; W of 701, scaled by its factor, is what was recorded, to half a unit of it."""
    with scanned(plant, INVERTER) as client, plant.paused() as t_s:
        found = [model.model_id for model in client.model_list]
        assert found[0] == 1
        assert {103, 701, 702, 703, 704, 705} <= set(found)
        assert [model.error_info for model in client.model_list if model.error_info] == []
        assert client.models[1][0].Mn.value == "Gridloop"
        measured = client.models[701][0]
        measured.read()
        data = plant.ask(struct.pack(">BHH", 3, measured.model_addr, 12), INVERTER)
        at = 2 + 2 * measured.points["W"].offset
        assert data[at:at + 2] == struct.pack(">h", measured.W.value)
        half_kw = 0.5 * 10.0 ** measured.W_SF.value / 1000
        plant.look("pysunspec2", t_s, {"roof.p_kw": measured.W.cvalue / 1000}, half_kw)


def test_a_limit_it_writes_moves_the_inverter(plant: Plant) -> None:
    """704: 25 % of 300 kW, then let go of; 701 follows within a few scans."""
    with scanned(plant, INVERTER) as client:
        controls, measured = client.models[704][0], client.models[701][0]

        def watts() -> float:
            measured.read()
            return float(measured.W.cvalue)

        full = watts()
        assert full > 100_000
        controls.WMaxLimPct.cvalue, controls.WMaxLimPctEna.value = 25, 1
        controls.write()
        settled(watts, pytest.approx(75_000, abs=100))
        controls.read()
        assert (controls.WMaxLimPct.cvalue, controls.WMaxLimPctEna.value) == (25, 1)
        controls.WMaxLimPctEna.value = 0
        controls.write()
        settled(watts, pytest.approx(full, rel=0.01))


def test_what_may_not_be_written_is_told(plant: Plant) -> None:
    """A measurement, and any control of a station that is not writable, are refused with an exception of Modbus."""
    refusal = module("sunspec2.modbus.modbus", "pysunspec2").ModbusClientException
    with scanned(plant, INVERTER) as client:
        measured = client.models[701][0]
        with pytest.raises(refusal, match="exception: 2"):
            client.write(measured.model_addr + measured.points["W"].offset, b"\x00\x01")
    with scanned(plant, LOCKED_INVERTER) as client:
        controls = client.models[704][0]
        controls.WMaxLimPct.cvalue, controls.WMaxLimPctEna.value = 25, 1
        with pytest.raises(refusal, match=r"exception: [12]$"):
            controls.write()
