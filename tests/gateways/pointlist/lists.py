"""Point lists and databases for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cosim.errors import PointListError, Problem
from cosim.points import Point, PointDatabase, PointKind
from gateways.pointlist.model import Entry, PointList
from gateways.pointlist.reader import read_text

HEADER = "tag,table,address,type"


def listed(*rows: str, header: str = HEADER, base: str = "0") -> PointList:
    """A list of some rows."""
    return read_text("\n".join([f"# base: {base}", header, *rows]), "l.csv")


def refused(*rows: str, header: str = HEADER, base: str = "0") -> tuple[Problem, ...]:
    """The problems of some rows; the first row is line 3."""
    with pytest.raises(PointListError) as caught:
        listed(*rows, header=header, base=base)
    return caught.value.problems


def unplaced(points: PointList) -> tuple[Entry, ...]:
    """Entries without their lines in the file."""
    return tuple(replace(entry, line=0) for entry in points.entries)


def database() -> PointDatabase:
    """A small run: two devices and the main grid points."""
    analog, binary = PointKind.ANALOG_INPUT, PointKind.BINARY_INPUT
    return PointDatabase([
        Point("grid.slack_p_kw", analog, "kW"), Point("grid.converged", binary),
        Point("bus.B1.v_pu", analog, "pu"), Point("bus.B2.v_pu", analog, "pu"),
        Point("bus.B1.angle_deg", analog, "deg"),
        Point("line.L1.loading", analog, "pu"), Point("line.L1.p_kw", analog, "kW"), Point("line.L1.closed", binary),
        Point("pv.p_kw", analog, "kW"), Point("pv.e_kwh", PointKind.COUNTER, "kWh"),
        Point("pv.p_set_kw", PointKind.ANALOG_OUTPUT, "kW", 0.0, 1200.0, description="Most active  power\nfed in"),
        Point("cb.closed", binary), Point("cb.close", PointKind.BINARY_OUTPUT, "", 0.0, 1.0),
        Point("cb.free_kw", PointKind.ANALOG_OUTPUT, "kW"),
        Point("agent.a.late", PointKind.COUNTER), Point("channel.c.up.lost", PointKind.COUNTER)])
