"""The report's section on the shield, and the run beside it without one."""

from __future__ import annotations

import json
from base64 import b64decode
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.recorder.folder import COUNTERFACTUAL
from cosim.report.markup import Chart
from cosim.report.page import build_report
from cosim.report.record import Record
from cosim.report.sections.counterfactual import minutes, withheld_kwh
from cosim.report.sections.shield import MAX_LISTED, episodes, shield
from tests.cosim.report.runs import HOSTILE, KPIS, Story, recorded

ON = {"shield": {"mode": "enforce"}}
FIGURES = {"mode": "enforce", "interventions": 3, "active_minutes": 5.0, "infeasible_minutes": 0.0,
           "by_rung": {"request": 10.0, "projection": 4.0, "backup": 1.0}}


def said(requested: float, applied: float, source: str = "sun", limit: str = "bus.18.v_pu",
         **more: Any) -> dict[str, Any]:
    """A curtailment for a voltage; an end without a source."""
    return {"requested": requested, "applied": applied, "reason": "voltage", "distance_kva": 1.0, "source": source,
            "limit": limit, "bound": 1.05, "found": 1.06, "after": 1.0499, "rung": "projection", **more}


END = {"requested": 5.0, "applied": 5.0, "reason": "none", "distance_kva": 0.0}

#: Two agents; one is curtailed twice for one limit and once for another, the other once.
STORY = Story({"bus.18.v_pu": [1.0] * 11, "shield.distance_kva": [0.0] * 5 + [300.0] * 6,
               "shield.rung": [0.0] * 5 + [1.0] * 6}, outputs=("a.p_set_kw", "b.p_set_kw"), scenario=ON,
              figures=FIGURES, shield=(
    (60, "a.p_set_kw", said(900, 800)), (60, "b.p_set_kw", said(500, 490, "moon")),
    (90, "a.p_set_kw", said(900, 600)), (120, "a.p_set_kw", END), (120, "b.p_set_kw", END),
    (300, "a.p_set_kw", said(900, 700)),
    (360, "a.p_set_kw", said(900, 650, limit="line.4.loading", reason="loading", found=1.2, bound=1.0)),
    (400, "b.p_set_kw", {**END, "reason": "ramp"})))


def words(story: Story) -> str:
    """The section's HTML, drawings by their titles."""
    return " ".join(part.finding if isinstance(part, Chart) else part for part in shield(Record(recorded(story))).parts)


def test_rows_are_joined_to_interventions() -> None:
    """A row lasts until the point's next one; an intervention begins where source, limit or reason is another."""
    record = Record(recorded(STORY))
    rows = episodes(record.decisions, record.end_s)
    mine = rows[rows["point"] == "a.p_set_kw"]
    assert mine["seconds"].tolist() == [30, 30, 60, 240]
    assert mine["begins"].tolist() == [True, False, True, True]
    assert mine["move"].tolist() == [100, 300, 200, 250]
    assert rows[rows["point"] == "b.p_set_kw"]["seconds"].tolist() == [60]


def test_agents_and_limits_are_ranked() -> None:
    """The one with most interventions first; the device's own limits are nobody's breach."""
    page = words(STORY)
    assert page.index("<td>sun</td><td class=num>3</td><td class=num>6 min</td>") < page.index(
        "<td>moon</td><td class=num>1</td><td class=num>1 min</td>")
    assert page.index("<td>bus.18.v_pu</td><td>voltage</td><td class=num>3</td>") < page.index(
        "<td>line.4.loading</td><td>loading</td><td class=num>1</td>")
    assert "ramp" not in page


def test_the_largest_come_first_in_words() -> None:
    """One line for each intervention, by its largest row; those of one distance by the output's own move."""
    page = words(STORY)
    assert "4 interventions, the largest first" in page
    lines = page[page.index("<ol>"):].split("<li>")[1:]
    assert lines[0].startswith("1 min 30 s a.p_set_kw: sun asked 900.0 kW; bus.18.v_pu would be 1.0600 pu, limit 1.05")
    assert [line.split(" kW applied")[0].rsplit(" ", 1)[1] for line in lines] == ["600.0", "650.0", "700.0", "490.0"]


def test_the_list_is_bounded() -> None:
    """Thousands of interventions are counted, and the largest are listed."""
    many = tuple((float(t), "a.p_set_kw", said(900, 800, f"agent_{t}")) for t in range(MAX_LISTED + 50))
    page = words(Story({"bus.18.v_pu": [1.0] * 11}, outputs=("a.p_set_kw",), scenario=ON, figures=FIGURES, shield=many))
    assert page.count("<li>") == MAX_LISTED
    assert f"The {MAX_LISTED} largest of {MAX_LISTED + 50} interventions" in page


def test_cards_and_charts_say_how_much() -> None:
    """Times from the exact figures; distance and rung where they were sampled."""
    page = words(STORY)
    for piece in ("<div class=value>3</div>", "5 min", "every hard limit could be kept",
                  "At most 300 kVA away from what was asked", "Highest rung of the fallback chain: projection"):
        assert piece in page


@pytest.mark.parametrize(("story", "piece"), [
    (Story(), "The shield was off"), (Story(scenario=ON, figures=FIGURES), "Every request was safe"),
    (Story(scenario=ON, kpis={}), "did not end"),
    (Story(scenario={"shield": {"mode": "observe"}}, figures=FIGURES), "moved nothing"),
    (Story({"shield.distance_kva": [nan, nan], "shield.rung": [nan, nan]}, scenario=ON), "Nothing was moved"),
    (Story(scenario=ON, outputs=("p",), shield=((1, "p", said(nan, 5.0, "")),)), "nobody asks, it acts on its own")])
def test_whatever_is_missing_there_is_a_section(story: Story, piece: str) -> None:
    """Off, quiet, killed, observing, nothing sampled, nobody asking."""
    assert piece in words(story)
    assert "nan" not in words(story)


def test_names_are_text() -> None:
    """Sources, limits and points come from anybody."""
    story = Story(outputs=(HOSTILE,), scenario=ON, figures=FIGURES,
                  shield=((1, HOSTILE, said(9, 5, HOSTILE, limit=HOSTILE)),))
    assert "<script" not in words(story)


def test_what_observing_would_have_done_is_no_intervention() -> None:
    """Rows that were not enforced are the shield's opinion: the section has them, the commands' section does not."""
    story = Story(outputs=("a.p_set_kw",), scenario={"shield": {"mode": "observe"}}, figures=FIGURES,
                  shield=((1, "a.p_set_kw", said(900, 700, enforced=False)),))
    assert len(Record(recorded(story)).interventions) == 0
    assert "700.0 kW would be applied" in words(story)


# -- without it ------------------------------------------------------------------------------------------------------

WITH = {**KPIS, "overvoltage_minutes": {"18": 1.0}, "violation_bus_minutes": 1.0,
        "device_kwh": {"pv": 80.0, "ld": -30.0}}
WITHOUT = {**KPIS, "overvoltage_minutes": {"18": 50.0, "17": 30.0}, "overload_minutes": {"line.4": 5.0},
           "violation_bus_minutes": 80.0, "device_kwh": {"pv": 100.0, "ld": -31.0}}


def pair(folder: Path, without: Story | None = None) -> Record:
    """A run in a folder and, inside, the one without the shield."""
    result = recorded(Story({"bus.18.v_pu": [1.0] * 3}, scenario=ON, figures=FIGURES, kpis=WITH), folder)
    recorded(without or Story(kpis=WITHOUT, events=((120, "x", "y", ""),)), folder / COUNTERFACTUAL)
    return Record(result)


def test_violations_stand_side_by_side(tmp_path: Path) -> None:
    """Minutes by bus and branch as bars, the worst without the shield first; totals; energy not fed in."""
    record = pair(tmp_path / "r")
    section = shield(record)
    (chart,) = [part for part in section.parts if isinstance(part, Chart)]
    assert chart.finding == "1 minutes outside the limits with the shield, 85 without"
    without, with_ = chart.figure["data"]
    assert without["y"] == ["bus 18", "bus 17", "line.4"]
    assert [np.frombuffer(b64decode(bar["x"]["bdata"]), "<f4").tolist()
            for bar in (without, with_)] == [[50, 30, 5], [1, 0, 0]]
    page = " ".join(part for part in section.parts if isinstance(part, str))
    assert "<td>Voltage violations</td><td class=num>1 bus-min</td><td class=num>80 bus-min</td>" in page
    assert "<td>Fed in by devices</td><td class=num>80 kWh</td><td class=num>100 kWh</td>" in page
    assert withheld_kwh(record) == 20.0
    assert "With the shield" in build_report(record.result)


def test_minutes_below_and_above_are_one_bus() -> None:
    """A bus that was low in the morning and high at noon is one bar."""
    assert minutes({"undervoltage_minutes": {"a": 1.0}, "overvoltage_minutes": {"a": 2.0}}) == {"bus a": 3.0}


def test_unequal_and_unfinished_runs_are_said(tmp_path: Path) -> None:
    """A run without the shield that stopped early, has no figures or is damaged is named, not compared in silence."""
    early = pair(tmp_path / "a", Story(kpis=WITHOUT, status="stopped"))
    assert "not of equal times" in str(shield(early).parts)
    assert withheld_kwh(early) is None
    assert "no figures to compare" in str(shield(pair(tmp_path / "b", Story(kpis={}, status="failed"))).parts)
    damaged = pair(tmp_path / "c")
    (tmp_path / "c" / COUNTERFACTUAL / "manifest.json").write_text(json.dumps({"format": 1}))
    assert "cannot be read" in str(shield(damaged).parts)
    assert withheld_kwh(damaged) is None
