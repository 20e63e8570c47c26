"""mbpoll (Debian, libmodbus): the operator's terminal, over TCP and over a serial line."""

from __future__ import annotations

import re

import pytest

from tests.interop.peers import program, run, settled
from tests.interop.plant import Plant

pytestmark = pytest.mark.slow


class Mbpoll:
    """mbpoll at one door: references are 0-based (-0), words come in the order ABCD (-B)."""

    def __init__(self, plant: Plant, door: str) -> None:
        path = program("mbpoll", "mbpoll")
        if door == "tcp":
            self._head, self._where = [path, "-m", "tcp", "-p", str(plant.ports["lan"])], "127.0.0.1"
        else:
            self._where = plant.serial()
            self._head = [path, "-m", "rtu", "-b", "19200", "-P", "none", "-s", "2"]

    def read(self, kind: str, address: int, count: int) -> list[float]:
        """Values of one poll, as it prints them."""
        text = run(*self._head, "-a", "1", "-0", "-B", "-t", kind, "-r", str(address), "-c", str(count), "-1",
                   self._where)
        return [float(value) for value in re.findall(r"^\[\d+\]:\s+(\S+)", text, re.MULTILINE)]

    def write(self, kind: str, address: int, *values: float, code: int = 0) -> str:
        """What it says of a write."""
        return run(*self._head, "-a", "1", "-0", "-B", "-t", kind, "-r", str(address), self._where, "--",
                   *(f"{value:g}" for value in values), code=code)


@pytest.fixture(params=["tcp", "rtu"])
def mbpoll(plant: Plant, request: pytest.FixtureRequest) -> Mbpoll:
    """At each of its two doors."""
    return Mbpoll(plant, request.param)


def test_it_reads_what_the_run_has(plant: Plant, mbpoll: Mbpoll) -> None:
    """Floats of input registers and discrete inputs, as printed (six digits)."""
    with plant.paused() as t_s:
        (v18,) = mbpoll.read("3:float", 0, 1)
        states = mbpoll.read("1", 0, 3)
        names = ("line.18-33.closed", "line.25-29.closed", "grid.converged")
        plant.witness("mbpoll", t_s, {"bus.18.v_pu": v18, **dict(zip(names, states, strict=True))}, 1e-5)


@pytest.mark.parametrize("kw", [120.5, -80.25])
def test_a_setpoint_stands_after_the_scan(plant: Plant, mbpoll: Mbpoll, kw: float) -> None:
    """Written as a float, read back by mbpoll and by us, and the battery feeds it in."""
    assert "Written 1 references" in mbpoll.write("4:float", 0, kw)
    settled(plant.setpoint_kw, kw)
    assert mbpoll.read("4:float", 0, 1) == [kw]
    settled(lambda: mbpoll.read("4:float", 6, 1), pytest.approx([kw]))


@pytest.mark.parametrize(("kind", "address", "value", "words"), [
    ("4:float", 0, 401, "Illegal data value"), ("4:float", 6, 1, "Illegal data address"),
    ("4", 0, 1, "Illegal data address"), ("4", 100, 1, "Illegal data address"), ("4", 3, 5, "Illegal data value"),
    ("0", 2, 1, "Illegal data address")])
def test_forbidden_writes_are_told_as_the_standard_has_them(mbpoll: Mbpoll, kind: str, address: int, value: float,
                                                            words: str) -> None:
    """Out of range, read-only, half of a float, unmapped."""
    assert words in mbpoll.write(kind, address, value, code=1)
