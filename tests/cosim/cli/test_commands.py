"""``check``, ``list``, ``schema``, ``init``, ``report``, ``replay``, and how fast the program starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosim.cli import main
from cosim.cli.outcome import plain
from cosim.cli.summary import counterfactual_table, shield_words, summary_table
from cosim.errors import Problem, ScenarioError

Call = Callable[..., Any]


def test_check_of_a_good_scenario(gridloop: Call) -> None:
    """Nothing wrong: a count and 0."""
    said = gridloop("check", "good.yaml")
    assert (said.code, said.out) == (0, "0 errors, 0 warnings\n")


def test_check_prints_every_problem(gridloop: Call) -> None:
    """Each problem is a line with file, line, column and path; then a count; exit 2."""
    Path("bad.yaml").write_text("name: a b\nduration_s: 10\ngrid: {netwrk: case14}\n")
    said = gridloop("check", "bad.yaml")
    assert said.code == 2
    assert [line.split(": ")[0] for line in said.out.splitlines()] == [
        "bad.yaml:1:7", "bad.yaml:3:7", "bad.yaml:3:8", "3 errors, 0 warnings"]


def test_check_resolves_references(gridloop: Call, fake: Any) -> None:
    """What the network does not have is found too, with its line."""
    fake.check_error = ScenarioError((Problem("unknown network", "grid.network"),))
    said = gridloop("check", "good.yaml", "--json")
    assert said.code == 2
    assert not said.data["ok"]
    assert (said.data["errors"][0]["line"], said.data["errors"][0]["column"]) == (3, 17)


def test_warnings_do_not_fail(gridloop: Call) -> None:
    """A warning is shown and counted, and the exit code is 0."""
    Path("odd.yaml").write_text(Path("good.yaml").read_text() +
                                "agents:\n  - {name: a, policy: {kind: idle}, period_s: 0.1}\n")
    said = gridloop("check", "odd.yaml")
    assert said.code == 0
    assert said.out == ("odd.yaml:5:47: agents.0.period_s: warning: decides every 0.1 s, but commands take effect only "
                        "every step_s = 1 s\n0 errors, 1 warning\n")


def test_list_shape(gridloop: Call) -> None:
    """The JSON of list has every part, each a list of entries with name or kind and a summary."""
    data = gridloop("list", "--json").data
    assert list(data) == ["scenarios", "devices", "policies", "channel_rules", "disturbances", "listeners",
                          "stations", "terms", "networks", "profiles"]
    assert data["networks"] == [{"name": "case14", "summary": "14 buses"}]
    for rows in data.values():
        for row in rows:
            assert {"name", "summary"} <= set(row) or {"kind", "summary"} <= set(row)


def test_list_of_one_part(gridloop: Call) -> None:
    """One part can be asked for."""
    assert gridloop("list", "networks").out == "networks\n  case14  14 buses\n"


def test_installed_plugins_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The real list names the built-in devices with a summary each."""
    assert main(["list", "devices", "--json"]) == 0
    rows = {row["kind"]: row["summary"] for row in json.loads(capsys.readouterr().out)["devices"]}
    assert {"load", "pv", "battery", "generator"} <= set(rows)
    assert all(rows.values())


def test_schema_is_json(gridloop: Call) -> None:
    """schema prints JSON Schema, or writes it."""
    assert gridloop("schema").data["title"] == "Scenario"
    assert gridloop("schema", "--out", "s.json").code == 0
    assert json.loads(Path("s.json").read_text())["title"] == "Scenario"


def test_starter_passes_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What init writes passes check with everything that is installed, its network included."""
    path = tmp_path / "mine.yaml"
    assert main(["init", str(path)]) == 0
    assert main(["check", str(path)]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def test_init_does_not_overwrite(gridloop: Call) -> None:
    """A file that exists stays, unless --force."""
    before = Path("good.yaml").read_text()
    assert gridloop("init", "good.yaml").code == 2
    assert Path("good.yaml").read_text() == before
    assert gridloop("init", "good.yaml", "--force").code == 0
    assert Path("good.yaml").read_text().startswith("# A scenario")


def test_replay_says_where_it_differs(gridloop: Call, fake: Any) -> None:
    """The same digest is 0; another one is 1 with the first divergence."""
    Path("r").mkdir()
    Path("r/manifest.json").touch()
    assert gridloop("replay", "r", "--quiet").code == 0
    fake.replayed = type(fake.replayed)("ab", "cd", "samples at t = 3 s: bus.B1.v_pu")
    said = gridloop("replay", "r", "--quiet")
    assert said.code == 1
    assert "first divergence: samples at t = 3 s: bus.B1.v_pu" in said.out
    assert gridloop("replay", "r", "--json").data["same"] is False


def test_report_writes_into_the_result(gridloop: Call) -> None:
    """The page lies in the result folder unless told otherwise."""
    Path("r").mkdir()
    Path("r/manifest.json").touch()
    assert gridloop("report", "r").out == "wrote r/report.html\n"
    assert gridloop("report", "r", "--out", "page.html", "--json").data == {"path": "page.html"}


def test_plain_data_is_json() -> None:
    """NumPy scalars, paths, NaN and infinities become what JSON knows."""
    import numpy as np

    data = plain({"a": np.float64(1.5), "b": float("nan"), "c": Path("x"), "d": (np.int64(2), float("inf"))})
    assert json.dumps(data, allow_nan=False) == '{"a": 1.5, "b": null, "c": "x", "d": [2, null]}'


def test_help_imports_nothing_heavy() -> None:
    """`gridloop --help` starts without NumPy, pydantic, pandapower and their like."""
    code = ("import sys; from cosim.cli import main; main(['--help']); heavy = [m for m in ('numpy', 'pandas', "
            "'rich', 'pydantic', 'pandapower', 'simpy', 'yaml', 'pyarrow') if m in sys.modules]; "
            "sys.exit(' '.join(heavy) or 0)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Exit codes" in done.stdout


def test_reader_that_goes_away_is_no_traceback() -> None:
    """`gridloop list | head` ends quietly."""
    command = f"{sys.executable} -m cosim.cli schema | head -c 10"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_summary_has_no_negative_zero() -> None:
    """A figure that rounds to nothing is 0.00, whatever its sign."""
    assert summary_table({"kpis": {"cost": -0.0, "import_kwh": -0.001}}) == ("import          0.00 kWh\n"
                                                                           "cost of energy  0.00")


@pytest.mark.parametrize(("shield", "words"), [
    (None, ""), ({"mode": "off", "interventions": 3}, ""),
    ({"mode": "enforce", "interventions": 1234, "active_minutes": 12.5, "infeasible_minutes": 0.0},
     "1,234 interventions in 12.50 min, always feasible"),
    ({"mode": "observe", "interventions": 1, "active_minutes": 0.5, "infeasible_minutes": 0.25},
     "1 intervention in 0.50 min, 0.25 min infeasible (observing: nothing was moved)")])
def test_the_shield_has_a_line_where_it_is_on(shield: Any, words: str) -> None:
    """How often, how long, and whether all could be kept."""
    assert shield_words(shield) == words
    assert ("shield" in summary_table({"status": "done", "shield": shield})) == bool(words)


def test_side_by_side_sums_what_is_by_name() -> None:
    """Branches' overloads and devices' energies are totals; what is not known is a dash."""
    with_, without = ({"kpis": {"overload_minutes": minutes, "device_kwh": {"a": 10.0, "b": -4.0, "c": -2.0},
                                "v_max_pu": v}} for minutes, v in (({}, 1.05), ({"line.1": 2.0, "line.2": 3.0}, None)))
    lines = {line[:20].strip(): line[20:].split() for line in counterfactual_table(with_, without).splitlines()[2:]}
    assert lines["overloads"] == ["0.00", "5.00", "branch-minutes"]
    assert lines["highest voltage"] == ["1.0500", "-", "pu"]
    assert (lines["devices fed in"][0], lines["devices drew"][0]) == ("10.00", "6.00")
