"""A list as Markdown and for Kepware."""

from __future__ import annotations

import csv
import io

from gateways.pointlist.exports import KEPWARE, kepware_notes, to_kepware, to_markdown
from gateways.pointlist.model import PointList
from tests.gateways.pointlist.lists import listed

HEADER = "tag,table,address,type,order,scale,offset,access,bit,text,units,min,max,description,unit"


def points() -> PointList:
    """Floats, scaled integers, bits, strings."""
    return listed("A.P,hr,20,float32,CDAB,,,RW,,,kW,0,,a|b,1", "_B,ir,0,int16,,0.1,-40,,,,degC,,,,1",
                  "C,hr,30,bool,,,,,7,,,,,,1", "D,co,9,bool,,,,RW,,,,,,,1", "E,hr,40,string,BADC,,,,,Hello,,,,,2",
                  "F,ir,10000,uint64,,,,,,,,,,,2", header=HEADER)


def test_markdown() -> None:
    """All notations; a bar inside a cell does not part it."""
    lines = to_markdown(points()).splitlines()
    assert lines[0] == "| tag | unit | address | type | scale | units | range | access | description |"
    assert lines[2] == ("| A.P | 1 | hr 20 = 40021 (400021) | float32 CDAB | 1 | kW | 0 to ... | RW | a\\|b |")
    assert "| 0.1 -40 |" in lines[3]
    assert "hr 30 = 40031 (400031) bit 7" in lines[4]


def test_kepware_rows() -> None:
    """Six-digit addresses, their names of types, linear scaling, access; and names that the server takes."""
    rows = list(csv.DictReader(io.StringIO(to_kepware(points()))))
    assert tuple(rows[0]) == KEPWARE
    assert [(row["Tag Name"], row["Address"], row["Data Type"], row["Client Access"]) for row in rows] == [
        ("A.P", "400021", "Float", "R/W"), ("x_B", "300001", "Short", "RO"), ("C", "400031.07", "Boolean", "RO"),
        ("D", "000010", "Boolean", "R/W"), ("E", "400041.6L", "String", "RO"), ("F", "310001", "QWord", "RO")]
    scaled = rows[1]
    assert [scaled[name] for name in ("Scaling", "Raw Low", "Raw High", "Scaled Low", "Scaled High",
                                      "Scaled Data Type")] == ["Linear", "0", "1000", "-40", "60", "Double"]
    assert rows[0]["Scaling"] == ""


def test_what_a_tag_list_cannot_say() -> None:
    """Several units and word orders are device properties there."""
    notes = " ".join(kepware_notes(points()))
    assert "units 1, 2" in notes
    assert "word orders ABCD, CDAB" in notes
    assert len(kepware_notes(listed("A,hr,1,float32"))) == 1
