"""What lies at an address, and its bytes."""

from __future__ import annotations

import math

import pytest

from cosim.errors import GridloopError
from gateways.pointlist.explain import explain
from gateways.pointlist.model import PointList
from tests.gateways.pointlist.lists import listed

HEADER = "tag,point,table,address,type,order,scale,units,access,min,max,bit,bits,text,interlock,on_overflow,bad_quality"


def points() -> PointList:
    """One of each."""
    return listed("P,pv.p_kw,hr,40021,float32,CDAB,,kW,RW,0,1200,,,,OK,,", "E,,ir,30001,int16,,0.1,,,,,,,,,,last",
                  "OK,,di,10001,,,,,,,,,,,,,", "B3,,hr,40031,bool,,,,,,,3,,,,,", "B9,,hr,40031,bool,,,,,,,9,,,,,",
                  "S,,hr,40041,string,,,,,,,,,Hi!,,,", "F,,hr,40051,bitfield,,,,,,,,a b c,,,,",
                  "D,,hr,40061,float64,,,,,,,,,,,,exception", header=HEADER, base="modicon")


@pytest.mark.parametrize("question", ["40021", "400021", "hr 20", "hr:20", "P", "pv.p_kw"])
def test_one_entry_by_any_name(question: str) -> None:
    """Address in any notation, tag, or point."""
    found, = explain(points(), question)
    assert (found.entry.tag, found.register) == ("P", 1)


def test_the_second_register_of_a_float() -> None:
    """Which register of how many, the words as they lie, and all that an operator must know."""
    found, = explain(points(), "40022", 100.5)
    assert (found.register, found.shown, found.data) == (2, 100.5, bytes.fromhex("000042c9"))
    text = "\n".join(found.lines())
    assert text.startswith("hr 21 = 40022 (400022): P, register 2 of 2 (from hr 20 = 40021 (400021))\n")
    assert "float32 CDAB" in text
    assert "100.5 -> raw 100.5 -> 00 00 42 C9 (hr 20 = 0x0000, hr 21 = 0x42C9)" in text
    assert "RW from 0 up to 1200, role operator or higher, while OK reads 1" in text
    assert "shown as 00 00 7F C0" in text


def test_a_scaled_integer() -> None:
    """The example of every manual."""
    found, = explain(points(), "30001")
    text = "\n".join(found.lines())
    assert "1234.5 -> raw 12345 -> 30 39" in text
    assert "value = raw x 0.1" in text
    assert "the last good value is shown" in text


def test_values_that_do_not_fit() -> None:
    """Said, not shown as something else; and what a write of them would meet."""
    found, = explain(points(), "E", 4000)
    assert found.data is None
    assert math.isnan(found.shown)
    assert "4000: cannot be held by int16 (on_overflow exception)" in "\n".join(found.lines())
    found, = explain(points(), "P", 1500)
    assert "outside min 0 to max 1200: a write of it is refused with exception 03" in "\n".join(found.lines())


@pytest.mark.parametrize(("question", "line"), [
    ("OK", "1 -> 1"), ("S", "'Hi!' -> 48 69 21 00"), ("F", "5 -> raw 5 -> 00 05"), ("b", "5 -> raw 5 -> 00 05"),
    ("D", "1234.5 -> raw 1234.5 -> 40 93 4A 00 00 00 00 00"), ("D", "shown as exception 04")])
def test_other_types(question: str, line: str) -> None:
    """Discretes, strings, bitfields (by a point of theirs), doubles."""
    assert line in "\n".join(explain(points(), question)[0].lines())


def test_bits_of_one_register() -> None:
    """All of them; each with its bit set."""
    found = explain(points(), "hr 30")
    assert [(one.entry.tag, one.data) for one in found] == [("B3", b"\x00\x08"), ("B9", b"\x02\x00")]
    assert found[0].lines()[0] == "hr 30 = 40031 (400031): B3, bit 3"


@pytest.mark.parametrize(("question", "says"), [
    ("hr 25", "nothing at hr 25 = 40026 (400026) (before it P, hr 20 = 40021 (400021); after it B3, hr 30"),
    ("co 1", "the list has nothing in co"), ("21", "hr 20"), ("pv.p_kv", "did you mean 'pv.p_kw'?")])
def test_nothing_there(question: str, says: str) -> None:
    """What is around, what may be meant."""
    with pytest.raises(GridloopError) as caught:
        explain(points(), question)
    assert says in str(caught.value)
