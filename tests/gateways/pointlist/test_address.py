"""Three notations of one address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.modbus.bank import Table
from gateways.pointlist.address import Base, Place, modicon, read_address, read_place

HR, IR, CO, DI = Table.HOLDING_REGISTERS, Table.INPUT_REGISTERS, Table.COILS, Table.DISCRETE_INPUTS


@pytest.mark.parametrize(("text", "base", "table", "address"), [
    ("20", Base.ZERO, HR, 20), ("0x14", Base.ZERO, HR, 20), ("21", Base.ONE, HR, 20), ("65536", Base.ONE, IR, 65535),
    ("40021", Base.MODICON, HR, 20), ("400021", Base.MODICON, HR, 20), ("465536", Base.MODICON, HR, 65535),
    ("40001", Base.ZERO, HR, 40001), ("30001", Base.MODICON, IR, 0), ("10001", Base.MODICON, DI, 0),
    ("00001", Base.MODICON, CO, 0), ("000001", Base.MODICON, CO, 0), ("21", Base.MODICON, CO, 20)])
def test_what_an_address_means(text: str, base: Base, table: Table, address: int) -> None:
    """Base 0, base 1, five and six digits; coils whose leading zeros a spreadsheet dropped."""
    assert read_address(text, base, table) == Place(table, address)


@pytest.mark.parametrize(("text", "base", "table", "says"), [
    ("65536", Base.ZERO, HR, "expected 0 to 65535"), ("0", Base.ONE, HR, "expected 1 to 65536"),
    ("-1", Base.ZERO, HR, "whole number"), ("20.0", Base.ZERO, HR, "whole number"), ("", Base.ZERO, HR, "whole number"),
    ("400021", Base.ZERO, HR, "(400021 is modicon notation: base modicon)"), ("20", Base.ZERO, None, "without a table"),
    ("40021", Base.MODICON, IR, "which is hr 20 = 40021 (400021), but `table` says ir"),
    ("010001", Base.MODICON, DI, "which is co 10000 = 010001, but"), ("21", Base.MODICON, HR, "e.g. 400001"),
    ("40000", Base.MODICON, HR, "count from 1"), ("20021", Base.MODICON, None, "5 or 6 digits"),
    ("465537", Base.MODICON, HR, "up to 65536"), ("10001", Base.MODICON, CO, "coil 10001 is written 010001"),
    ("\uff14\uff10\uff10\uff12\uff11", Base.MODICON, HR, "5 or 6 digits")])
def test_what_is_refused(text: str, base: Base, table: Table | None, says: str) -> None:
    """Numbers beyond the table, digits that contradict `table`; the message says what would be accepted."""
    found = read_address(text, base, table)
    assert isinstance(found, str)
    assert says in found


@pytest.mark.parametrize(("place", "text"), [
    (Place(HR, 20), "hr 20 = 40021 (400021)"), (Place(CO, 0), "co 0 = 00001 (000001)"),
    (Place(IR, 9998), "ir 9998 = 39999 (309999)"), (Place(IR, 9999), "ir 9999 = 310000")])
def test_all_notations_are_shown(place: Place, text: str) -> None:
    """Five digits exist up to number 9999 only."""
    assert str(place) == text


@given(st.sampled_from(list(Table)), st.integers(0, 65535))
def test_modicon_reads_back(table: Table, address: int) -> None:
    """Six digits name every place, with or without the table."""
    assert read_address(modicon(table, address), Base.MODICON, table) == Place(table, address)
    assert read_place(modicon(table, address)) == Place(table, address)


@pytest.mark.parametrize("text", ["hr 20", "HR:20", "holding_register 20", "holding_registers:20", "40021", "400021"])
def test_places_as_people_say_them(text: str) -> None:
    """Word and wire address, or modicon."""
    assert read_place(text) == Place(HR, 20)


@pytest.mark.parametrize("text", ["20", "xx 20", "hr", "hr 70000", "pv_3.p_kw", ""])
def test_what_is_no_place(text: str) -> None:
    """A bare small number is ambiguous: no place."""
    assert read_place(text) is None
