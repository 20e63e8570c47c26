"""Sections: what is counted and drawn from what was recorded."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import numpy as np
import pytest

from cosim.report.markup import Chart, Section, energy, number, text
from cosim.report.record import Record
from cosim.report.sections.channels import channels, late_actions, lost_share
from cosim.report.sections.control import control
from cosim.report.sections.devices import devices
from cosim.report.sections.events import events
from cosim.report.sections.loadings import loadings
from cosim.report.sections.overview import cards
from cosim.report.sections.voltages import voltages
from cosim.report.timeaxis import duration_words, time_axis
from tests.cosim.report.runs import KPIS, Story, recorded


def record(story: Story) -> Record:
    """What the sections read."""
    return Record(recorded(story))


def charts(section: Section) -> list[Chart]:
    """The drawings of a section."""
    return [part for part in section.parts if isinstance(part, Chart)]


def numbers(packed: dict[str, Any]) -> np.ndarray[Any, Any]:
    """An array as it went into a figure."""
    return np.frombuffer(b64decode(packed["bdata"]), packed["dtype"])


def test_envelope_is_lowest_and_highest_of_all_buses() -> None:
    """De-energised buses are left out of it, and their cells in the map are empty."""
    story = Story({"bus.a.v_pu": [1.0, 0.98, np.nan], "bus.b.v_pu": [1.01, 1.02, 0.97]})
    envelope, heat_map = charts(voltages(record(story)))
    by_name = {trace["name"]: trace for trace in envelope.figure["data"]}
    np.testing.assert_allclose(numbers(by_name["lowest"]["y"]), [1.0, 0.98, 0.97], rtol=1e-6)
    np.testing.assert_allclose(numbers(by_name["highest"]["y"]), [1.01, 1.02, 0.97], rtol=1e-6)
    assert by_name["lowest"]["text"] == ["bus a", "bus a", "bus b"]
    assert np.isnan(numbers(heat_map.figure["data"][0]["z"])).tolist() == [False, False, True, False, False, False]


def test_violation_bars_start_with_the_worst_bus() -> None:
    """Minutes below and above are stacked, the largest sum first."""
    kpis = {**KPIS, "undervoltage_minutes": {"a": 1.0, "b": 5.0}, "overvoltage_minutes": {"a": 9.0}}
    bars = charts(voltages(record(Story(kpis=kpis))))[0].figure["data"]
    assert [bar["y"] for bar in bars] == [["a", "b"], ["a", "b"]]
    assert [numbers(bar["x"]).tolist() for bar in bars] == [[1, 5], [9, 0]]


def test_ten_most_loaded_branches_in_order() -> None:
    """Only the ten highest peaks are drawn, as percent, highest first."""
    story = Story({f"line.{i}.loading": [0.01 * i, 0.02 * i] for i in range(1, 14)})
    lines = charts(loadings(record(story)))[0].figure["data"]
    assert [line["name"] for line in lines] == [f"line.{i}" for i in range(13, 3, -1)]
    np.testing.assert_allclose(numbers(lines[0]["y"]), [13, 26], rtol=1e-6)


def test_power_is_summed_by_kind_and_templates_find_their_devices() -> None:
    """Devices made by `each` take the kind of the entry whose name fits."""
    story = Story({"pv_1.p_kw": [1, 2], "pv_2.p_kw": [10, np.nan], "bat.p_kw": [5, -5], "grid.slack_p_kw": [7, 8],
                   "line.1.p_kw": [99, 99]},
                  scenario={"devices": [{"name": "pv_{}", "each": "sgen:*", "kind": "pv"},
                                        {"name": "bat", "kind": "battery"}]}, kpis={})
    found = record(story)
    assert found.devices == {"pv_1": "pv", "pv_2": "pv", "bat": "battery"}
    lines = charts(devices(found))[0].figure["data"]
    assert [line["name"] for line in lines] == ["pv (\N{MULTIPLICATION SIGN}2)", "battery", "external grid"]
    assert [numbers(line["y"]).tolist() for line in lines] == [[11, 2], [5, -5], [7, 8]]


def test_delay_is_drawn_only_where_something_arrived() -> None:
    """The point holds the last delay for ever; the drawing does not."""
    story = Story({"channel.w.up.sent": [1, 2, 3, 4], "channel.w.up.delivered": [1, 1, 1, 2],
                   "channel.w.up.delay_s": [0.1, 0.1, 0.1, 0.3], "channel.w.up.lost": [0, 1, 2, 2]})
    delay = charts(channels(record(story)))[0]
    np.testing.assert_allclose(numbers(delay.figure["data"][0]["y"]), [100, np.nan, np.nan, 300], rtol=1e-6)
    assert delay.finding == "Delay up to 300 ms (w.up)"


def test_a_route_counts_once() -> None:
    """Messages lost are those of routes and single links, not of the links that routes are made of."""
    sent = {f"channel.{name}.up.{what}": [0, n] for name in ("a", "route") for what, n in (("sent", 10), ("lost", 3))}
    story = Story(sent, scenario={"channels": [{"name": "a"}, {"name": "route", "hops": ["a"]}]})
    assert lost_share(record(story)) == (3.0, 10.0)


def test_message_table_has_quantiles_and_reasons() -> None:
    """Delays come from the messages themselves."""
    messages = tuple((t, t + 0.01 * (t + 1), "w.up", "delivered") for t in range(100))
    story = Story({"channel.w.up.sent": [0, 101]}, messages=(*messages, (200, None, "w.up", "lost")))
    table = str(channels(record(story)).parts[0])
    assert "by chance 1" in table
    assert "505 ms" in table
    assert "1 s" in table


def test_late_actions_are_counted_at_the_end() -> None:
    """The counter's last value by agent."""
    assert late_actions(record(Story({"agent.x.late": [0, 2, 5]}))) == {"x": 5.0}


def test_asked_and_applied_are_step_lines_with_marked_interventions() -> None:
    """What was asked holds to the end of the run; an intervention is marked with its reason and tabulated."""
    story = Story({"bat.p_set_kw": [0, 40, 40]}, outputs=("bat.p_set_kw",), commands=((60, "bat.p_set_kw", 100.0),),
                  decisions=((60, "bat.p_set_kw", 100.0, 40.0, "energy"), (90, "bat.p_set_kw", 40.0, 40.0, "none")))
    section = control(record(story))
    asked, applied, marks = charts(section)[0].figure["data"]
    assert numbers(asked["x"]).tolist() == [60, 120]
    assert numbers(asked["y"]).tolist() == [100, 100]
    assert numbers(applied["y"]).tolist() == [0, 40, 40]
    assert asked["line"]["shape"] == applied["line"]["shape"] == "hv"
    assert marks["text"] == ["energy"]
    assert "60 kW" in "".join(part for part in section.parts if isinstance(part, str))
    assert "1 intervention on 1 point" in str(section.parts[0])


def test_nothing_changed_is_said() -> None:
    """Without interventions the section says that all was applied as asked."""
    story = Story({"x.p_set_kw": [0, 1]}, outputs=("x.p_set_kw",), commands=((10, "x.p_set_kw", 1.0),))
    assert "could be applied as asked" in str(control(record(story)).parts[0])


def test_events_pair_up_and_open_ones_last_to_the_end() -> None:
    """Begin and end of the same subject make a span; what never ended ends with the run."""
    story = Story({"bus.1.v_pu": [1] * 10}, events=(
        (10, "line_outage.begin", "line.a", ""), (20, "line_outage.begin", "line.b", ""),
        (30, "line_outage.end", "line.a", ""), (40, "grid.diverged", "grid", "why"), (50, "action_late", "agent", "")))
    found = record(story)
    assert [(s.kind, s.subject, s.begin_s, s.end_s) for s in found.spans] == [
        ("line_outage", "line.a", 10, 30), ("line_outage", "line.b", 20, 540), ("no power flow", "grid", 40, 540)]
    assert charts(events(found))[0].finding == "2 disturbances on 2 subjects; no power flow for 8 min 20 s"
    assert found.events.num_rows == 4


def test_cards_colour_what_is_wrong() -> None:
    """A violated limit is a bad card, and says where."""
    html = cards(record(Story(kpis={**KPIS, "v_min_pu": 0.93, "v_min_bus": "18", "unserved_kwh": 3.0})))
    assert html.count("card bad") == 2
    assert "at bus 18" in html


@pytest.mark.parametrize(("value", "words"), [
    (0, "0"), (1234.5, "1,234"), (12.345, "12.3"), (0.00123456, "0.00123"), (-2.5, "\N{MINUS SIGN}2.5"), (100.0, "100"),
    (float("nan"), "—"), (None, "—"), (1e-9, "1.00e\N{MINUS SIGN}09")])
def test_numbers_have_three_significant_digits(value: object, words: str) -> None:
    """Whole from 1,000 on, no exponents but for the tiny, a dash for none."""
    assert number(value) == words


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0 s"), (0.02, "20 ms"), (12.5, "12.5 s"), (330, "5 min 30 s"), (3600, "1 h"), (93_600, "1 d 2 h")])
def test_durations_have_at_most_two_units(seconds: float, words: str) -> None:
    """The largest that fits, and the next."""
    assert duration_words(seconds) == words


@pytest.mark.parametrize(("end_s", "unit"), [(60, "s"), (3600, "min"), (86_400, "h"), (7 * 86_400, "d")])
def test_time_axis_unit_follows_the_length_of_the_run(end_s: float, unit: str) -> None:
    """Seconds, minutes, hours or days."""
    axis = time_axis(end_s, None)
    assert axis.layout()["title"]["text"] == f"Simulation time ({unit})"
    assert float(axis.at(end_s)) == end_s / {"s": 1, "min": 60, "h": 3600, "d": 86_400}[unit]


def test_energy_picks_its_unit() -> None:
    """kWh, MWh from 10,000 kWh, GWh from 10 million."""
    assert [energy(x) for x in (12.0, 25_000.0, 3e7)] == ["12 kWh", "25 MWh", "30 GWh"]


def test_text_escapes_and_cuts() -> None:
    """Safe in elements and attributes, and never longer than asked."""
    assert text("<a href=\"x\">'") == "&lt;a href=&quot;x&quot;&gt;&#x27;"
    assert text("x" * 50, 10) == "x" * 9 + "…"
