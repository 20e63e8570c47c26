"""What changed between two lists."""

from __future__ import annotations

from gateways.pointlist.diff import Change, diff
from tests.gateways.pointlist.lists import listed

HEADER = "tag,point,table,address,type,scale,access"


def test_the_same_in_other_words() -> None:
    """Notation, order of rows and defaults make no difference."""
    one = listed("A,,hr,20,int16,,", "B,,ir,1,float32,,", header=HEADER)
    other = listed("B,,,30002,float32,1,R", "A,A,hr,400021,int16,,R", header=HEADER, base="modicon")
    assert diff(one, other) == ()


def test_one_line_for_each_tag() -> None:
    """Added, removed, moved, changed; in the order of the old list, then of the new."""
    old = listed("A,,hr,20,int16,,", "B,,ir,1,float32,,", "C,,hr,30,int16,,R", "D,,hr,40,int16,,", header=HEADER)
    new = listed("A,,hr,22,int16,0.1,", "C,,hr,30,int32,,RW", "D,,hr,40,int16,,", "E,,hr,50,float32,,", header=HEADER)
    assert [str(line) for line in diff(old, new)] == [
        "moved    A: unit 1, hr 20 = 40021 (400021) -> unit 1, hr 22 = 40023 (400023); scale (default) -> 0.1",
        "removed  B: unit 1, ir 1 = 30002 (300002), float32 ABCD, R",
        "changed  C: type int16 -> int32; access R -> RW [unit 1, hr 30 = 40031 (400031)]",
        "added    E: unit 1, hr 50 = 40051 (400051), float32 ABCD, R"]


def test_a_new_name_for_the_same() -> None:
    """Renamed, where place, point and all else are the same; another point under it is no renaming."""
    old = listed("A,p,hr,20,int16,,", header=HEADER)
    found, = diff(old, listed("Z,p,hr,20,int16,,", header=HEADER))
    assert (found.change, found.tag) == (Change.RENAMED, "A")
    assert found.detail == "is now Z, unit 1, hr 20 = 40021 (400021)"
    assert [one.change for one in diff(old, listed("Z,q,hr,20,int16,,", header=HEADER))] == [
        Change.REMOVED, Change.ADDED]


def test_another_unit_is_another_place() -> None:
    """The unit is part of where it lies."""
    header = "tag,table,address,type,unit"
    found, = diff(listed("A,hr,20,int16,1", header=header), listed("A,hr,20,int16,2", header=header))
    assert str(found) == "moved    A: unit 1, hr 20 = 40021 (400021) -> unit 2, hr 20 = 40021 (400021)"
