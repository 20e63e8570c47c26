"""A vendor's table to a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosim.errors import PointListError, Problem
from gateways.pointlist.importing import import_vendor, read_mapping
from gateways.pointlist.model import Access, DataType, PointList, WordOrder

VENDOR = """Inverter 5000, register map
rev. 3
Name;Register;Format;Dir;Gain;Unit;Used
Active power;40072;S32;RO;0,1;W;yes
Setpoint;40080;FLOAT;R/W;;kW;yes
Serial;40100;ASCII;RO;;;no
Mode;40090;ENUM;RO;;;yes
"""
MAPPING: dict[str, Any] = {
    "base": "modicon", "skip_lines": 2, "decimal": ",", "skip_rows": {"Used": ["no"]},
    "columns": {"tag": "name", "address": "Register", "type": {"column": "Format", "values": {"enum": "uint16"}},
                "access": "Dir", "scale": "Gain", "units": {"column": "Unit", "default": "1"},
                "order": {"value": "CDAB"}, "unit": {"value": 3}}}


def imported(tmp_path: Path, mapping: dict[str, Any] | None = None, vendor: str = VENDOR) -> PointList:
    """The list of the vendor's file."""
    path = tmp_path / "vendor.csv"
    path.write_text(vendor, encoding="cp1252")
    return import_vendor(path, read_mapping(mapping or MAPPING, "map.yaml"))


def problems(tmp_path: Path, mapping: Any, vendor: str = VENDOR) -> tuple[Problem, ...]:
    """What is wrong."""
    with pytest.raises(PointListError) as caught:
        imported(tmp_path, mapping, vendor)
    return caught.value.problems


def test_a_vendors_list(tmp_path: Path) -> None:
    """Columns by name in any case, constants, translations, known synonyms, decimal commas, lines and rows left out."""
    found = imported(tmp_path).entries
    assert [(e.tag, e.address, e.type, e.access, e.scale, e.units, e.unit, e.order) for e in found] == [
        ("Active power", 71, DataType.INT32, Access.READ, 0.1, "W", 3, WordOrder.CDAB),
        ("Setpoint", 79, DataType.FLOAT32, Access.READ_WRITE, 1.0, "kW", 3, WordOrder.CDAB),
        ("Mode", 89, DataType.UINT16, Access.READ, 1.0, "1", 3, WordOrder.CDAB)]


def test_errors_are_at_lines_of_their_file(tmp_path: Path) -> None:
    """What cannot be translated is named where it stands."""
    without = {**MAPPING, "columns": {**MAPPING["columns"], "type": "Format"}}
    found, = problems(tmp_path, without)
    assert (found.line, found.column, found.path) == (7, 12, "type")
    assert "found 'ENUM'" in found.message
    assert "[Mode, hr 89 = 40090 (400090)]" in found.message


@pytest.mark.parametrize(("change", "path", "says"), [
    ({"base": None}, "base", "hr 20 is written 20, 21 or 40021"), ({"base": "2"}, "base", "expected 0, 1 or modicon"),
    ({"columns": {"tag": "Name"}}, "columns", "no `address`"),
    ({"columns": {**MAPPING["columns"], "gain": "Gain"}}, "columns.gain", "did you mean 'scale'?"),
    ({"columns": {**MAPPING["columns"], "min": {"default": "1"}}}, "columns.min", "either `column`"),
    ({"columns": {**MAPPING["columns"], "min": {"col": "x"}}}, "columns.min.col", "Extra inputs"),
    ({"columns": {**MAPPING["columns"], "address": "Regster"}}, "columns.address", "did you mean 'Register'?"),
    ({"skip_rows": {"Usd": ["no"]}}, "skip_rows", "did you mean 'Used'?"),
    ({"nonsense": 1}, "nonsense", "Extra inputs"), ({"delimiter": ";;"}, "delimiter", "at most 1 character")])
def test_mappings_that_do_not_work(tmp_path: Path, change: dict[str, Any], path: str, says: str) -> None:
    """Each key is checked; what would be accepted is said."""
    found = problems(tmp_path, {**MAPPING, **change})
    assert (found[0].path, says in found[0].message) == (path, True)


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_mapping(tmp_path: Path, data: Any) -> None:
    """A list, a text, nothing."""
    with pytest.raises(PointListError, match="expected a mapping with"):
        read_mapping(data, "map.yaml")


def test_encodings(tmp_path: Path) -> None:
    """As the mapping says; an unknown one is named."""
    vendor = VENDOR.replace("Mode", "Größe")
    assert "not utf-8 text" in problems(tmp_path, MAPPING, vendor)[0].message
    assert imported(tmp_path, {**MAPPING, "encoding": "cp1252"}, vendor).entries[2].tag == "Größe"
    assert "unknown encoding 'klingon'" in problems(tmp_path, {**MAPPING, "encoding": "klingon"})[0].message
