"""What is written reads back as the same list, in every notation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cosim.errors import PointListError
from gateways.modbus.bank import BIT_TABLES, Table
from gateways.peer import Role
from gateways.pointlist.address import WRITABLE_TABLES, Base
from gateways.pointlist.check import checked
from gateways.pointlist.codec import REGISTERS
from gateways.pointlist.model import (
    Access,
    BadQuality,
    CommLoss,
    DataType,
    Entry,
    Overflow,
    PointList,
    Quality,
    WordOrder,
)
from gateways.pointlist.reader import read_point_list, read_text
from gateways.pointlist.writer import to_csv
from tests.gateways.pointlist.lists import unplaced

SHIPPED = Path(__file__).parents[3] / "scenarios" / "pointlists" / "cigre_mv_rtu.csv"

WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=12).map(str.strip)
NAMES = WORDS.filter(lambda text: text and text[0] not in "#!")
POINTS = st.from_regex(r"[A-Za-z0-9_.\-]{1,12}", fullmatch=True)
FINITE = st.floats(-1e6, 1e6)


@st.composite
def entries(draw: Any, number: int) -> Entry:
    """A valid entry; each number has its own place."""
    kind = draw(st.sampled_from(DataType))
    table = draw(st.sampled_from(BIT_TABLES)) if kind is DataType.BOOL and draw(st.booleans()) else draw(
        st.sampled_from((Table.HOLDING_REGISTERS, Table.INPUT_REGISTERS)))
    fields: dict[str, Any] = {"registers": REGISTERS[kind], "order": draw(st.sampled_from(WordOrder))}
    if kind is DataType.BOOL and table not in BIT_TABLES:
        fields["bit"] = draw(st.integers(0, 15))
    if kind is DataType.STRING:
        fields |= {"registers": draw(st.integers(24, 125)), "text": draw(WORDS)}
    if kind is DataType.BITFIELD:
        fields |= {"registers": draw(st.sampled_from((1, 2, 4))), "bits": tuple(draw(st.lists(POINTS, max_size=16)))}
    if kind not in (DataType.BOOL, DataType.STRING, DataType.BITFIELD):
        fields |= {"scale": draw(FINITE.filter(lambda x: abs(x) > 1e-9)), "offset": draw(FINITE)}
        if kind is DataType.FLOAT64:
            fields |= dict(zip(("low", "high"), sorted((draw(FINITE), draw(FINITE))), strict=True))
    may_write = table in WRITABLE_TABLES and kind is not DataType.STRING and not fields.get("bits")
    if may_write and draw(st.booleans()):
        fields |= {"access": draw(st.sampled_from((Access.READ_WRITE, Access.WRITE))),
                   "on_comm_loss": draw(st.sampled_from((CommLoss.HOLD, CommLoss.RELEASE)))}
        if kind is DataType.FLOAT64 and draw(st.booleans()):
            fields |= {"on_comm_loss": CommLoss.VALUE, "comm_loss_value": fields["low"]}
    else:
        fields["shows"] = draw(st.sampled_from(Quality))
    return Entry(
        f"{number} {draw(NAMES)}", draw(POINTS), draw(st.integers(1, 247)), table, number * 200, kind,
        units=draw(WORDS), overflow=draw(st.sampled_from(Overflow)), bad_quality=draw(st.sampled_from(BadQuality)),
        role_read=draw(st.sampled_from(Role)), role_write=draw(st.sampled_from(Role)),
        deadband=draw(st.floats(0, 1e6)), event_class=draw(st.sampled_from((None, 0, 1, 2, 3))),
        variation=draw(st.sampled_from(("", "g30v5"))), description=draw(WORDS), **fields)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 4), st.sampled_from(Base))
def test_write_then_read(data: st.DataObject, size: int, base: Base) -> None:
    """read(write(list)) is the list, whatever it holds, in base 0, base 1 and modicon."""
    try:
        points = checked([data.draw(entries(i)) for i in range(size)], "made")
    except PointListError:
        assume(False)
        raise
    assert unplaced(read_text(to_csv(points, base), "made")) == points.entries


@pytest.mark.parametrize("base", list(Base))
def test_the_shipped_list_reads_back(base: Base) -> None:
    """A list by hand, too; and writing what was read changes nothing any more."""
    points = read_point_list(SHIPPED)
    text = to_csv(points, base)
    assert unplaced(read_text(text, "again")) == unplaced(points)
    assert to_csv(read_text(text, "again"), base) == text
    assert text.startswith(f"# base: {base.value}\ntag,point,unit,")


def test_columns_that_say_nothing_are_left_out() -> None:
    """A plain list stays plain."""
    entry = Entry("A", "A", 1, Table.INPUT_REGISTERS, 20, DataType.FLOAT32, 2)
    assert math.isnan(entry.low)
    assert to_csv(PointList((entry,))) == "# base: 0\ntag,unit,table,address,type,access\nA,1,ir,20,float32,R\n"
