"""modbus-serial (npm): a master that keeps ten requests in flight on one connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.interop.peers import HERE, node, run, settled
from tests.interop.plant import Plant

pytestmark = pytest.mark.slow


def ask(plant: Plant, *words: str) -> dict[str, Any]:
    """What the master printed."""
    path, env = node("modbus-serial")
    found: dict[str, Any] = json.loads(run(path, HERE / "modbus_serial.js", str(plant.ports["lan"]), *words, env=env))
    return found


def test_ten_concurrent_reads_are_all_answered(plant: Plant) -> None:
    """Each by its own answer, and with what the run has."""
    with plant.paused() as t_s:
        found = ask(plant, "read")
        assert found["sizes"] == [2, 2, 4, 2, 10, 4, 2, 2, 2, 10]
        assert found["same"]
        assert found["whole_v18"] == found["v18"]
        plant.witness("modbus-serial", t_s, {
            "bus.18.v_pu": found["v18"], "grid.slack_p_kw": found["p_kw"], "grid.slack_q_kvar": found["q_kvar"],
            "line.18-33.closed": found["states"][0], "line.25-29.closed": found["states"][1],
            "grid.converged": found["states"][2]})


def test_it_writes_reads_back_and_is_refused(plant: Plant) -> None:
    """Functions 16, 15, 5 and 6; exceptions 02 and 03 reach the script as such."""
    assert ask(plant, "write", "-44.75") == {"set": -44.75, "ties": [True, False], "read_only": 2, "half": 2,
                                             "range": 3, "unmapped": 2}
    settled(plant.setpoint_kw, -44.75)
    settled(lambda: plant.registers(3, 3, 1), b"\x00\x03")
    settled(lambda: plant.ask(b"\x01\x00\x00\x00\x02"), b"\x01\x01\x00")
