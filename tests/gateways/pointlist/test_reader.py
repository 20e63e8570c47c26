"""Point lists from files: what is read, and every error at once with its place."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import PointListError
from gateways.modbus.bank import Table
from gateways.peer import Role
from gateways.pointlist.model import (
    Access,
    BadQuality,
    CommLoss,
    DataType,
    Overflow,
    Quality,
    WordOrder,
)
from gateways.pointlist.reader import MAX_PROBLEMS, read_point_list, read_text
from gateways.pointlist.table_text import MAX_BYTES
from tests.gateways.pointlist.lists import listed, refused

SHIPPED = Path(__file__).parents[3] / "scenarios" / "pointlists" / "cigre_mv_rtu.csv"

FULL = ("tag,point,unit,table,address,type,word_order,scale,offset,units,min,max,on_overflow,access,quality_source,"
        "interlock,role_read,role_write,on_comm_loss,deadband,class,variation,description")


def test_every_column() -> None:
    """A row that says everything."""
    entry = listed('P,pv.p_set_kw,7,holding_register,40021,float32,CDAB,0.5,-3,kW,0,1200,clamp,RW,last,!OK,operator,'
                   'admin,12.5,10,2,G30V5,"a, ""b"" c"', "OK,,,co,1,,,,,,,,,,,,,,,,,,", header=FULL,
                   base="modicon").entries[0]
    assert (entry.tag, entry.point, entry.unit, entry.table, entry.address) == (
        "P", "pv.p_set_kw", 7, Table.HOLDING_REGISTERS, 20)
    assert (entry.type, entry.registers, entry.order) == (DataType.FLOAT32, 2, WordOrder.CDAB)
    assert (entry.scale, entry.offset, entry.units, entry.low, entry.high) == (0.5, -3.0, "kW", 0.0, 1200.0)
    assert (entry.overflow, entry.access, entry.bad_quality) == (Overflow.CLAMP, Access.READ_WRITE, BadQuality.LAST)
    assert (entry.interlock, entry.role_read, entry.role_write) == ("!OK", Role.OPERATOR, Role.ADMIN)
    assert (entry.on_comm_loss, entry.comm_loss_value) == (CommLoss.VALUE, 12.5)
    assert (entry.deadband, entry.event_class, entry.variation) == (10.0, 2, "g30v5")
    assert (entry.description, entry.line) == ('a, "b" c', 3)


def test_defaults() -> None:
    """An empty cell is the default: read-only, sentinel, tag as point, bool in a bit table."""
    coil, number = listed("A,co,5,", "B,ir,6,uint32").entries
    assert (coil.type, coil.registers, coil.point, coil.unit) == (DataType.BOOL, 1, "A", 1)
    assert (number.access, number.bad_quality, number.shows) == (Access.READ, BadQuality.SENTINEL, Quality.VALUE)
    assert math.isnan(number.low)
    assert number.on_comm_loss is CommLoss.HOLD


def test_sizes_of_strings_and_bitfields() -> None:
    """As said, or the fewest registers that hold them."""
    entries = listed("A,hr,0,string,Grid loop,,", "B,hr,10,string,x,,8", "C,hr,20,bitfield,,a b c,",
                     "D,hr,30,bitfield,," + " ".join(f"p{i}" for i in range(17)) + ",", "E,hr,40,bitfield,,,4",
                     header="tag,table,address,type,text,bits,registers").entries
    assert [entry.registers for entry in entries] == [5, 8, 1, 2, 4]
    assert entries[2].bits == ("a", "b", "c")


def test_the_shipped_list() -> None:
    """It has every kind of entry."""
    points = read_point_list(SHIPPED)
    assert {entry.type for entry in points.entries} >= {
        DataType.BOOL, DataType.FLOAT32, DataType.INT16, DataType.UINT16, DataType.UINT32, DataType.STRING,
        DataType.BITFIELD}
    assert any(entry.interlock for entry in points.entries)
    assert any(entry.shows is Quality.QUALITY for entry in points.entries)


@pytest.mark.parametrize("text", [
    "\ufeff# base: 0\r\ntag;table;address;type\r\n\r\n# a comment; with more\r\nA;hr;1;int16\r\n",
    '"# base: 0";;;\ntag;table;address;type\nA;hr;1;int16\n;;;\n',
    "#BASE=0\nAddress\tTABLE\tTag\tType\n1\thr\tA\tint16\n",
    "# by hand\n\n# base: 0\nTag , table, address , type\n A , HR , 1 , INT16 \n"])
def test_what_spreadsheets_make_of_a_list(text: str) -> None:
    """A byte order mark, semicolons, tabs, empty rows, quoted comments, any case and order of columns."""
    entry, = read_text(text, "l.csv").entries
    assert (entry.tag, entry.address, entry.type) == ("A", 1, DataType.INT16)


def test_a_comment_begins_with_its_sign() -> None:
    """A row whose first cells are empty, or whose tag holds a quote and a #, is no comment."""
    assert listed('"""#1",hr,1,int16').entries[0].tag == '"#1'
    assert "expected a name" in refused(",,#,int16")[0].message


def test_a_list_must_say_what_its_addresses_mean() -> None:
    """Without a base nothing is guessed."""
    with pytest.raises(PointListError, match="does not say what its addresses mean") as caught:
        read_text("tag,table,address,type\nA,hr,40021,int16\n", "l.csv")
    assert "hr 20 = 40021 (400021)" in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_column_decides_row_by_row() -> None:
    """The column `base` goes before the line above the header."""
    entries = listed("A,hr,40021,int16,modicon", "B,hr,22,int16,1", "C,hr,22,int16,",
                     header="tag,table,address,type,base", base="0").entries
    assert [entry.address for entry in entries] == [20, 21, 22]
    with pytest.raises(PointListError, match=r"l\.csv:3:.*expected 0, 1 or modicon here"):
        read_text("tag,table,address,type,base\nA,hr,1,int16,0\nB,hr,2,int16,\n", "l.csv")


def test_everything_wrong_is_said_at_once_in_file_order() -> None:
    """Cells, rows and what is between rows; each with line, column of the cell, and place in all notations."""
    found = refused("A,hr,20,float32,,RW,", "A,hr,21,int16,x,R,", "B,ir,99999,int16,1,R,", "C,hr,30,flot32,1,R,",
                    "D,ir,5,int16,1,RW,Z", header="tag,table,address,type,scale,access,interlock")
    assert [(p.line, p.column, p.path) for p in found] == [
        (4, 1, "tag"), (4, 15, "scale"), (5, 6, "address"), (6, 9, "type"), (7, 16, "access"), (7, 19, "interlock")]
    assert str(found[0]) == ("l.csv:4:1: tag: found 'A' again; line 3 has it already "
                             "[A, hr 21 = 40022 (400022)]")
    assert "did you mean 'float32'?" in found[3].message
    assert "[D, ir 5 = 30006 (300006)]" in found[4].message


@pytest.mark.parametrize(("name", "hint"), [
    ("adress", "did you mean 'address'?"), ("Gain", "did you mean 'scale'?"), ("data type", "did you mean 'type'?"),
    ("zzz", "known: tag, point")])
def test_unknown_columns_are_named(name: str, hint: str) -> None:
    """Nothing is silently ignored."""
    found, = refused("A,hr,1,int16,x", header=f"tag,table,address,type,{name}")
    assert f"unknown column '{name}'" in found.message
    assert hint in found.message
    assert (found.line, found.column) == (2, 24)


@pytest.mark.parametrize(("column", "value", "says"), [
    ("scale", "0,1", "with a decimal point, not a comma"), ("scale", "nan", "finite number"),
    ("scale", "1e999", "finite number"), ("scale", "1_0", "finite number"), ("scale", "0", "scale other than 0"),
    ("unit", "kW", "engineering units such as kW belong into `units`"), ("unit", "248", "from 1 to 247"),
    ("bit", "3", "only a bool has a bit"), ("bits", "a b", "only a bitfield"), ("text", "x", "only a string"),
    ("registers", "3", "int16 has 1"), ("deadband", "-1", "0 or more"), ("variation", "30.5", "g30v5"),
    ("class", "4", "expected one of none, 0, 1, 2, 3"), ("on_comm_loss", "drop", "hold, release or a number"),
    ("on_comm_loss", "release", "access R"), ("interlock", "A", "access R"),
    ("access", "ro", "expected one of R, RW, W"),
    ("max", "400", "holds -327.67 to 327.67"), ("role_write", "root", "observer, operator, engineer, admin"),
    ("order", "BACD", "expected one of ABCD, CDAB, BADC, DCBA"), ("description", "x" * 1001, "1001 characters")])
def test_each_column_is_checked(column: str, value: str, says: str) -> None:
    """What is found and what would be accepted."""
    scale = "" if column == "scale" else ",scale"
    found = refused("A,hr,1,int16," + f'"{value}"' + (",0.01" if scale else ""),
                    header=f"tag,table,address,type,{column}{scale}")
    assert says in found[0].message
    assert found[0].line == 3


@pytest.mark.parametrize(("row", "says"), [
    ("#A,hr,1,int16", None), ("!A,hr,1,int16", "does not begin with '!'"), (",hr,1,int16", "expected a name"),
    ("A,hr,,int16", "found nothing"), ("A,,1,int16", "without a table"), ("A,hr,1,", "expected one of bool"),
    ("A,hr,65535,float32", "past the last address hr 65535 = 465536"), ("A,co,1,int16", "expected bool"),
    ("A,hr,1,bool", "needs its bit"), ("A,hr,1,int16,9", "no column name above it"),
    ('A,hr,1,"int16', "quote is not closed"), ("A,hr,1,int\x0016", "control character"),
    ("A\x0b,hr,1,int16", "line break"), ("A" * 129 + ",hr,1,int16", "at most 128"),
    ("A,tab,1,int16", "co, di, hr, ir")])
def test_rows_that_cannot_be(row: str, says: str | None) -> None:
    """One clear line each; a row that begins with # is a comment."""
    if says is None:
        assert len(listed(row, "B,hr,1,int16").entries) == 1
    else:
        assert says in refused(row)[0].message


def test_limits_on_size(tmp_path: Path) -> None:
    """Bytes, rows and problems shown are bounded."""
    big = tmp_path / "big.csv"
    big.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(PointListError, match="16 MiB"):
        read_point_list(big)
    with pytest.raises(PointListError, match="65537 rows"):
        read_text("# base: 0\ntag,address\n" + "a,1\n" * 65_537, "l.csv")
    found = refused(*["A,hr,1,wrong"] * 1500)
    assert len(found) == MAX_PROBLEMS + 1
    assert "problems more" in found[-1].message


@pytest.mark.parametrize(("content", "says"), [
    (b"# base: 0\ntag\xff", r"2:4: not utf-8 text: found byte 0xff"), (b"", "no header"), (b"# base: 0\n", "no header"),
    (b"# base: 0\ntag,address\n", "no rows"), (b"# base: 2\ntag,address\na,1\n", "expected `# base: 0`"),
    (b"# base: 0\ntable,type\nhr,int16\n", "no column 'tag'"),
    (b"# base: 0\n# base: 1\ntag,address\n", "a second line"),
    (b"# base: 0\ntag,tag,address\n", "a second column 'tag'"), (b'# base: 0\n"tag,address\n', "quote")])
def test_files_that_are_no_lists(tmp_path: Path, content: bytes, says: str) -> None:
    """Each says why."""
    file = tmp_path / "l.csv"
    file.write_bytes(content)
    with pytest.raises(PointListError, match=says):
        read_point_list(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, no name at all."""
    for path, says in ((tmp_path / "none.csv", "no such file"), (tmp_path, "not a regular file")):
        with pytest.raises(PointListError, match=says):
            read_point_list(path)
    with pytest.raises(PointListError):
        read_point_list("a\0b.csv")


_CELLS = st.one_of(st.sampled_from(["", "hr", "ir", "co", "0", "1", "40021", "float32", "int16", "string", "RW",
                                    '"', "#",
                                    "1e308", "-0", "bitfield", "!A", "A", "nan", "quality", "modicon"]),
                   st.text(max_size=6))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["0", "1", "modicon", ""]),
       st.lists(st.lists(_CELLS, min_size=1, max_size=9), max_size=4))
def test_nothing_but_an_answer(base: str, rows: list[list[str]]) -> None:
    """Whatever stands in the cells, the reader gives a list or a PointListError."""
    header = "tag,table,address,type,access,scale,interlock,shows,base"
    text = "\n".join([f"# base: {base}", header, *(",".join(row) for row in rows)])
    with suppress(PointListError):
        assert read_text(text, "l.csv").entries
