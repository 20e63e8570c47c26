"""libmodbus (C): a master compiled here, over TCP and over a serial line."""

from __future__ import annotations

import pytest

from tests.interop.peers import compiled, run, settled
from tests.interop.plant import Plant

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Where the master is compiled, once."""
    return tmp_path_factory.mktemp("libmodbus")


@pytest.fixture(params=["tcp", "rtu"])
def ask(plant: Plant, folder, request: pytest.FixtureRequest):
    """Runs the master at each of its two doors: what it printed, by name."""
    client = compiled("libmodbus_client.c", folder)
    where = str(plant.ports["lan"]) if request.param == "tcp" else plant.serial()

    def asked(*words: str) -> dict[str, str]:
        return dict(line.split(" ", 1) for line in run(client, request.param, where, *words).splitlines())

    return asked


def test_it_reads_what_the_run_has(plant: Plant, ask) -> None:
    """Functions 2 and 4: two word orders, a 32-bit integer, states."""
    with plant.paused() as t_s:
        plant.witness("libmodbus", t_s, {name: float(value) for name, value in ask("read").items()})


def test_it_writes_reads_back_and_is_refused(plant: Plant, ask) -> None:
    """Functions 16, 6, 15, 22 and 23 stand after the scan; what is forbidden has the standard's exceptions."""
    assert ask("write", "55.5") == {
        "set": "55.5", "steps": "1", "ties": "11", "exchanged": "1", "read_only": "2", "half": "2", "range": "3",
        "unmapped": "2", "no_coil": "2", "beyond": "2"}
    settled(plant.setpoint_kw, -55.5)
    settled(lambda: plant.ask(b"\x01\x00\x00\x00\x02"), b"\x01\x01\x00")
