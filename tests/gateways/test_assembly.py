"""`gateways.assembly`: a scenario's listeners and stations, and every problem with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.errors import GridloopError, ScenarioError
from cosim.scenario.loader import load_text
from cosim.simulation.build import build
from gateways.assembly import Changes, Plant, assemble
from hil.access import AccessLog
from hil.gate import CommandGate

HEAD = """name: served
duration_s: 10
grid: {network: case14}
devices: [{kind: battery, name: store, bus: "9", p_max_kw: 100, e_rated_kwh: 100}]
"""


def plant(tail: str, changes: Changes | None = None, folder: Path = Path()) -> Plant:
    """What `assemble` makes of a scenario that ends so."""
    loaded = load_text(HEAD + tail, path=folder / "served.yaml")
    simulation = build(loaded)
    return assemble(loaded, simulation, CommandGate(simulation, AccessLog(None, {}), lambda now_us: now_us), changes)


def problems(tail: str, folder: Path = Path()) -> list[str]:
    """What is wrong with it, as a person reads it."""
    with pytest.raises(ScenarioError) as found:
        plant(tail, folder=folder)
    return [str(problem) for problem in found.value.problems]


def test_a_scenario_that_says_nothing_is_served_read_only_on_the_loopback() -> None:
    """One door, one station with everything, and not one register that can be written."""
    found = plant("")
    assert [(listener.kind, listener.where()) for listener in found.listeners] == [("modbus_tcp", "127.0.0.1:5020")]
    assert list(found.behind["modbus"]) == [1]
    assert ", 0 writable" in found.stations[0].summary()


def test_writable_opens_what_it_names() -> None:
    """`--writable store.p*`: one setpoint of the two."""
    assert ", 1 writable" in plant("", Changes(writable=("store.p*",))).stations[0].summary()


def test_stations_by_port_by_unit_and_both() -> None:
    """Two behind one door by unit, a third behind another with a unit of the first."""
    found = plant("""
listeners:
  - {name: a, kind: modbus_tcp, port: 0}
  - {name: b, kind: modbus_tcp, port: 0}
stations:
  - {name: one, kind: modbus, listener: a, unit: 1}
  - {name: two, kind: modbus, listener: a, unit: 2}
  - {name: three, kind: modbus, listener: b, unit: 1}
""")
    assert {name: list(banks) for name, banks in found.behind.items()} == {"a": [1, 2], "b": [1]}
    banks = {station.name: station.bank for station in found.stations}
    assert found.behind["a"][2] is banks["two"]
    assert found.behind["b"][1] is banks["three"]


def test_every_problem_at_once_with_its_place(tmp_path: Path) -> None:
    """A name twice, a unit twice, a listener that is none, a list that is none: file, line, what would do."""
    found = problems("""listeners:
  - {name: a, kind: modbus_tcp, port: 0}
  - {name: a, kind: modbus_tcp, port: 0}
stations:
  - {name: one, kind: modbus, listener: a, unit: 1}
  - {name: two, kind: modbus, listener: a, unit: 1}
  - {name: three, kind: modbus, listener: a, unit: 3, points: gone.csv}
""", tmp_path)
    text = "\n".join(found)
    assert "served.yaml:7:" in text
    assert "'a' names another listener already" in text
    assert "station 'one' already" in text
    assert "served.yaml:11:" in text
    assert "gone.csv" in text


def test_a_listener_that_is_none_is_named_with_those_that_are() -> None:
    """And a station that says none where there are two has to."""
    doors = "listeners: [{name: a, kind: modbus_tcp, port: 0}, {name: b, kind: modbus_tcp, port: 0}]\n"
    (wrong,) = problems(doors + "stations: [{name: one, kind: modbus, listener: c}]\n")
    assert "'c'; expected the name of a listener: a, b" in wrong
    (none,) = problems(doors + "stations: [{name: one, kind: modbus}]\n")
    assert "no `listener`; expected the name of a listener: a, b" in none


def test_one_port_for_the_only_listener() -> None:
    """`--port` has one door to go to, or is refused."""
    assert plant("", Changes(port=5999)).listeners[0].where() == "127.0.0.1:5999"
    with pytest.raises(GridloopError, match="2 listeners; expected one"):
        plant("listeners: [{name: a, kind: modbus_tcp, port: 0}, {name: b, kind: modbus_tcp, port: 0}]\n"
              "stations: [{name: one, kind: modbus, listener: a}]\n", Changes(port=5999))


def test_writable_is_for_scenarios_without_stations() -> None:
    """Where there are point lists, they say what may be written."""
    with pytest.raises(GridloopError, match="point lists say what may be written"):
        plant("stations: [{name: one, kind: modbus}]\n", Changes(writable=("*",)))


def test_a_list_that_names_no_point_of_the_run(tmp_path: Path) -> None:
    """File, line, the point, and the nearest ones."""
    (tmp_path / "rtu.csv").write_text("# base: 0\ntag,table,address,type\nstore.p_kwh,hr,0,float32\n")
    (found,) = problems("stations: [{name: one, kind: modbus, points: rtu.csv}]\n", tmp_path)
    assert "rtu.csv:3" in found
    assert "store.p_kw" in found
