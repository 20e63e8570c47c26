"""What is checked between rows, and against a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cosim.errors import PointListError
from gateways.pointlist.check import check_against, checked, remarks
from tests.gateways.pointlist.lists import database, listed, refused

WIDE = "tag,table,address,type,bit,access,interlock,shows,unit"


def test_overlaps_are_found() -> None:
    """A place belongs to one value; the message names the other, its line and span."""
    found = refused("A,hr,10,float64", "B,hr,12,int16", "C,hr,13,float32", "D,hr,14,int16", "E,hr,20,int16")
    assert [(p.line, p.path) for p in found] == [(4, "address"), (5, "address"), (6, "address")]
    assert "hr 12 = 40013 (400013) of unit 1 belongs to 'A' already (line 3, hr 10 to 13)" in found[0].message
    assert "'C' already" in found[2].message


def test_neighbours_gaps_and_other_tables_are_fine() -> None:
    """End to end, with gaps, in another table or unit."""
    assert len(listed("A,hr,10,float32,1", "B,hr,12,int16,1", "C,ir,10,float32,1", "D,hr,10,float32,2",
                      header="tag,table,address,type,unit").entries) == 4


def test_bools_may_share_a_register() -> None:
    """Each bit once; nothing else lies over them."""
    header = "tag,table,address,type,bit"
    assert len(listed("A,hr,1,bool,0", "B,hr,1,bool,15", "C,hr,1,bool,3", header=header).entries) == 3
    assert "bit 0 of hr 1 = 40002 (400002)" in refused("A,hr,1,bool,0", "B,hr,1,bool,3", "C,hr,1,bool,0",
                                                       header=header)[0].message
    assert len(refused("A,hr,1,bool,0", "B,hr,1,int16,", header=header)) == 1
    assert len(refused("A,hr,0,int32,", "B,hr,1,bool,0", "C,hr,1,bool,1", header=header)) == 2


@pytest.mark.parametrize(("row", "says"), [
    ("A,hr,1,float32,,RW,B,,", "found 'B'; expected a tag of this list"),
    ("A,hr,1,float32,,RW,LOKC,,", "did you mean 'LOCK'?"), ("A,hr,1,float32,,RW,!A,,", "the entry's own tag"),
    ("A,ir,1,float32,,RW,,,", "which masters cannot write; expected R, or table co or hr"),
    ("A,hr,1,float32,,RW,,quality,", "shows quality; expected R"), ("A,hr,1,string,,W,,,", "found W on a string")])
def test_writes_that_make_no_sense(row: str, says: str) -> None:
    """Tables, interlocks and kinds of entry."""
    found = refused(row, "LOCK,di,1,bool,,,,,", header=WIDE)
    assert [says in problem.message for problem in found] == [True]


def test_blocks_that_no_request_holds() -> None:
    """A string of more registers than one request reads."""
    assert "from 1 to 125" in refused("A,hr,1,string,126", header="tag,table,address,type,registers")[0].message
    assert len(listed("A,hr,1,string,125", header="tag,table,address,type,registers").entries) == 1


def test_lists_that_programs_make_are_checked_too() -> None:
    """`checked` finds what the reader would have found."""
    one, other = listed("A,hr,10,float32", "B,hr,20,float32").entries
    assert checked([one, other], "made").entries == (one, other)
    with pytest.raises(PointListError) as caught:
        checked([one, replace(one, address=11), replace(other, scale=0.0)], "made")
    assert [problem.path for problem in caught.value.problems] == ["tag", "scale", "address"]


RUN = "tag,point,table,address,type,access,min,max,units,bits"


def test_a_list_that_fits_a_run() -> None:
    """Nothing to say."""
    points = listed("A,pv.p_set_kw,hr,0,float32,RW,0,1200,kW,", "B,,hr,10,string,,,,,",
                    "C,,hr,20,bitfield,,,,,cb.closed", header=RUN)
    assert check_against(points, database()) == []
    assert remarks(points, database()) == []


def test_a_list_that_does_not_fit_a_run() -> None:
    """Points that are not there, writes that are not taken, ranges beyond the run's: all at once."""
    points = listed("A,pv.p_set_kw,hr,0,float32,RW,-1,1300,,", "B,pv.p_kw,hr,2,float32,RW,,,,",
                    "C,pv.p_kv,hr,4,int16,,,,,", "D,,hr,6,bitfield,,,,,cb.closed nothing", header=RUN)
    found = check_against(points, database())
    assert [(problem.line, problem.path) for problem in found] == [
        (3, "min"), (3, "max"), (4, "access"), (5, "point"), (6, "bits")]
    assert "found -1; the run's point takes 0 to 1200 kW [A, hr 0 = 40001 (400001)]" in found[0].message
    assert "'pv.p_kw' of the run is no output (analog input); expected R" in found[2].message
    assert "did you mean 'pv.p_kw'?" in found[3].message


def test_what_could_never_be_asked_for_is_found_at_load() -> None:
    """A fallback that the run would not take at the loss, a range that lies wholly beside the run's."""
    points = listed("A,pv.p_set_kw,hr,0,float32,RW,,,5000", "B,pv.p_set_kw,hr,2,float32,RW,1300,,hold",
                    "C,pv.p_set_kw,hr,4,float32,RW,,-1,", "D,pv.p_set_kw,hr,6,float32,RW,,,1200",
                    header="tag,point,table,address,type,access,min,max,on_comm_loss")
    found = check_against(points, database())
    assert [(problem.line, problem.path) for problem in found] == [(3, "on_comm_loss"), (4, "min"), (5, "max")]
    assert "found 5000, which could not be asked for; the run's point takes 0 to 1200 kW" in found[0].message


def test_remarks_do_not_refuse() -> None:
    """Units that differ, bools of analogs, types too small for what the run takes."""
    points = listed("A,pv.p_set_kw,hr,0,int16,RW,,,MW,", "B,pv.p_kw,di,0,bool,,,,,",
                    "C,pv.p_set_kw,hr,9,float32,RW,,,,", header=RUN)
    assert check_against(points, database()) == []
    assert [(problem.line, problem.path) for problem in remarks(points, database())] == [(3, "units"), (4, "type")]
    small = replace(points.entries[0], scale=0.01, units="kW")
    found, = remarks(replace(points, entries=(small,)), database())
    assert "holds no more than 327.67; the point takes 1200" in found.message


def test_modicon_numbers_taken_for_wire_addresses_are_remarked() -> None:
    """40001 under base 0 is a far place that hardly anybody means; beside a near one it is meant."""
    far = "A,pv.p_kw,hr,40001,float32,,,,,"
    found, = remarks(listed(far, header=RUN), database())
    assert (found.path, found.line) == ("address", 3)
    assert "if 40001 is meant as the first of its table, the list needs `# base: modicon`" in found.message
    assert remarks(listed(far, "B,pv.p_kw,hr,7,float32,,,,,", header=RUN), database()) == []


@pytest.mark.slow
def test_the_shipped_list_fits_its_scenario() -> None:
    """cigre_mv_rtu.csv shows points that cigre_mv_day has."""
    from cosim.scenario import load_scenario
    from cosim.simulation.build import build
    from gateways.pointlist.reader import read_point_list

    points = read_point_list(Path(__file__).parents[3] / "scenarios" / "pointlists" / "cigre_mv_rtu.csv")
    run = build(load_scenario("cigre_mv_day")).points
    assert check_against(points, run) == []
    assert remarks(points, run) == []
