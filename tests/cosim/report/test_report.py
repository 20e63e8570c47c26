"""The page as a whole: what it says, what it withstands, and that a browser draws it without network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.errors import GridloopError, RecordError
from cosim.recorder import RunResult
from cosim.report import build_report, write_report
from tests.cosim.report.runs import HOSTILE, KPIS, Story, recorded

pytest.importorskip("plotly", reason="plotly is not installed (pip install .[report])")


def figures(page: str) -> list[dict[str, Any]]:
    """The figures of a page, as page.js gets them."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))


def prose(page: str) -> str:
    """The page without its scripts and style."""
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def hostile() -> Story:
    """A story in which every string that a scenario gives is an attack."""
    n = HOSTILE
    values = {f"bus.{n}.v_pu": [1, 0.9, 0.8], f"bus.b{n}.v_pu": [1, 0.9, 0.8], f"line.{n}.loading": [0.1, 0.2, 1.3],
              f"line.2{n}.loading": [0.1, 0.2, 1.3], f"{n}.p_kw": [1, 2, 3], f"{n}.soc": [0.1, 0.2, 0.3],
              f"channel.{n}.up.sent": [1, 2, 3], f"channel.{n}.up.delivered": [1, 2, 2],
              f"channel.{n}.up.lost": [0, 0, 1], f"channel.{n}.up.delay_s": [0.1, 0.2, 0.3],
              f"channel.{n}.up.age_s": [1, 2, 3], f"agent.{n}.age_s": [1, 2, 3], f"agent.{n}.late": [1, 2, 3]}
    return Story(
        values, outputs=(f"{n}.p_set_kw",), events=((10, f"{n}.begin", n, n), (20, f"{n}.end", n, n)),
        commands=((1, f"{n}.p_set_kw", 3.0),), decisions=((1, f"{n}.p_set_kw", 3.0, 2.0, n),),
        messages=((1, 2, f"{n}.up", "delivered"), (1, None, f"{n}.up", n)),
        scenario={"summary": n, "grid": {"network": n}, "start": n, "devices": [{"name": n, "kind": n}],
                  "channels": [{"name": n}]},
        kpis={**KPIS, "undervoltage_minutes": {n: 3.0}, "v_min_bus": n, "device_kwh": {n: 5.0},
              "overload_minutes": {n: 1.0}}, error=n, status="stopped", name=n)


def test_hostile_names_stay_text() -> None:
    """No string of a scenario becomes markup, in the page, in its data or in plotly.js labels."""
    page = build_report(recorded(hostile()))
    assert "<script>alert" not in page
    assert page.count("<script") == 3
    assert prose(page).count("</title>") == 1
    assert prose(page).count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20
    labels = json.dumps([[trace.get("name"), trace.get("text"), figure["layout"].get("yaxis")]
                         for figure in figures(page) for trace in figure["data"]])
    assert "<script" not in labels
    assert "%{x}" not in labels


def test_nothing_is_loaded_and_only_own_scripts_run() -> None:
    """The page refers to nothing outside, and its policy lists the hashes of its scripts and nothing else."""
    page = build_report(recorded(Story({"bus.1.v_pu": [1.0, 0.99]})))
    assert not re.search(r'(src|href)\s*=\s*["\']?(https?:)?//', prose(page))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert policy[1].count("sha256-") == 2
    assert "script-src 'unsafe" not in policy[1]


@pytest.mark.parametrize("story", [
    Story(), Story(kpis={}), Story({"bus.1.v_pu": [1.0]}), Story({"bus.1.v_pu": [np.nan] * 5}, kpis={}),
    Story({"line.1.loading": [np.nan, np.nan]}), Story({"grid.slack_p_kw": [1.0, 2.0]}),
    Story({"channel.w.up.sent": [0.0, 0.0]}), Story({"d.soc": [0.2, np.nan]}),
    Story({"channel.w.up.sent": [1.0, 2.0]}, scenario={"channels": [{"name": "w"}]}),
    Story(kpis={**KPIS, "v_min_pu": float("inf"), "v_max_pu": float("-inf")}),
    Story({"bus.1.v_pu": [1.0, 1.0]}, status="failed", error="agent a failed at t = 0.5 s", kpis={}),
], ids=["nothing", "no figures", "one sample", "all dead", "no ratings", "slack only", "nothing sent", "gap",
        "counter only", "never solved", "failed"])
def test_whatever_is_missing_there_is_a_page(story: Story) -> None:
    """Every section says that it has nothing to show, or shows what there is."""
    page = prose(build_report(recorded(story)))
    for title in ("Events", "Voltages", "Loadings", "Devices", "Commands asked and applied", "Communication"):
        assert f"<h2>{title}</h2>" in page
    assert not re.search(r"\b(nan|inf)\b|[>( ]None[<), ]", page.replace("None of the", ""))


def test_a_failed_run_says_why() -> None:
    """Status and error stand at the top."""
    page = prose(build_report(recorded(Story(status="failed", error="agent a failed at t = 0.5 s: <boom>", kpis={}))))
    assert "The run failed" in page
    assert "agent a failed at t = 0.5 s: &lt;boom&gt;" in page


def test_a_run_without_figures_shows_the_extremes_of_its_samples() -> None:
    """A killed run has no exact figures; the samples' lowest and highest voltage stand in."""
    page = prose(build_report(recorded(Story({"bus.1.v_pu": [1.0, 0.91], "bus.2.v_pu": [1.02, 1.0]}, kpis={}))))
    assert "Lowest sampled voltage" in page
    assert "0.9100" in page
    assert "Sampled voltages outside 0.95\N{EN DASH}1.05 pu: 0.9100 to 1.0200 pu" in page


def test_titles_say_what_was_found() -> None:
    """Violations, overloads, losses and disturbances are counted in the titles."""
    story = Story({"bus.1.v_pu": [1.0, 0.9, 0.9], "line.a.loading": [0.5, 1.2, 0.4], "channel.w.up.sent": [10, 20, 40],
                   "channel.w.up.lost": [0, 5, 10]}, events=((60, "line_outage.begin", "line.b", "out"),),
                  kpis={**KPIS, "undervoltage_minutes": {"1": 2.0}, "overload_minutes": {"line.a": 1.5}})
    page = prose(build_report(recorded(story)))
    assert "1 bus below 0.95 pu for 2 bus-minutes" in page
    assert "1 branch above 100 % for 1.5 branch-minutes" in page
    assert "25 % of messages lost" in page
    assert "1 disturbance on 1 subject" in page


def test_figures_are_valid_plotly() -> None:
    """Every option of every figure is one that plotly.js knows."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    text = json.dumps(figures(build_report(recorded(hostile())))).replace('"--', '"#123456" "--')
    for figure in json.loads(re.sub(r'"#123456" "--[\w-]*"', '"#123456"', text)):
        graph_objects.Figure({"data": figure["data"], "layout": figure["layout"]})


def test_stamps_are_on_the_axis_when_the_scenario_has_a_start() -> None:
    """With `start` the axis is a date axis from the scenario's own clock; its zone is named."""
    story = Story({"bus.1.v_pu": [1.0] * 10}, scenario={"start": "2016-06-13T06:00:00+02:00"})
    layout = figures(build_report(recorded(story)))[0]["layout"]["xaxis"]
    assert layout["type"] == "date"
    assert layout["range"][0] == 1465797600000.0
    assert layout["title"]["text"] == "Time of day (UTC+02:00)"


def test_the_same_result_makes_the_same_page() -> None:
    """Nothing of the machine or the hour is in it."""
    assert build_report(recorded(hostile())) == build_report(recorded(hostile()))


def test_report_goes_into_the_result_folder_or_where_asked(tmp_path: Path) -> None:
    """Default RESULT/report.html; a place that cannot be written is a RecordError that names it."""
    recorded(Story({"bus.1.v_pu": [1.0, 1.0]}), tmp_path / "run")
    assert write_report(tmp_path / "run") == tmp_path / "run" / "report.html"
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "gridloop replay run" in page
    assert str(tmp_path) not in page
    with pytest.raises(RecordError, match="cannot be written"):
        write_report(tmp_path / "run", tmp_path / "no" / "such.html")


def test_a_link_in_a_foreign_folder_is_replaced_not_followed(tmp_path: Path) -> None:
    """A result from elsewhere cannot make the report overwrite a file outside of it."""
    recorded(Story({"bus.1.v_pu": [1.0, 1.0]}), tmp_path / "run")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "run" / "report.html").symlink_to(tmp_path / "mine.txt")
    write_report(tmp_path / "run")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_plotly_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells what to install."""
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(GridloopError, match=re.escape("pip install 'gridloop[report]'")):
        build_report(recorded(Story()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_every_figure_without_errors(tmp_path: Path) -> None:
    """Headless Chromium draws a plot for each figure, logs nothing, and no attack runs or breaks a drawing."""
    page = build_report(recorded(hostile()))
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    chromium = [str(shutil.which("chromium")), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom"]
    drawn = subprocess.run([*chromium, (tmp_path / "report.html").as_uri()], capture_output=True, text=True,
                           timeout=120, check=True)
    assert "CONSOLE" not in drawn.stderr
    assert drawn.stdout.count('class="plot-container') == len(figures(page)) > 10
    assert "&quot;&quot;" not in drawn.stdout


def test_loads_what_the_recorder_left(tmp_path: Path) -> None:
    """A folder and the memory of the same run make the same figures."""
    story = Story({"bus.1.v_pu": np.linspace(1, 0.9, 2000), "bus.2.v_pu": np.linspace(1, 1.1, 2000)})
    recorded(story, tmp_path / "run")
    assert figures(build_report(RunResult.load(tmp_path / "run"))) == figures(build_report(recorded(story)))
