"""A whole run in a folder: done, stopped, failed, on a full disk; and going on with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cosim.errors import RecordError
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.scenario.loader import load_scenario
from cosim.simulation.session import RunOptions, resume_run, run_scenario
from tests.cosim.simulation.worlds import WAN, agent, loaded, over, scripted

ROOT = Path(__file__).parents[3]

#: An agent between scans over a lossy channel, so that rows fall between publications.
LIVELY: dict[str, Any] = {
    "channels": [{**WAN, "rules": [*WAN["rules"], {"kind": "loss", "probability": 0.2}]}],
    "agents": [agent(policy={"kind": "random", "low": 0, "high": 2}, period_s=0.7, telemetry=over())],
}


def test_a_run_is_a_folder_and_a_summary(tmp_path: Path) -> None:
    """The summary agrees with the manifest, and the scenario lies beside the record."""
    scenario = loaded(**LIVELY)
    summary = run_scenario(scenario, tmp_path / "out")
    result = RunResult.load(tmp_path / "out")
    assert (summary.status, summary.error, summary.sim_s) == ("done", "", 10.0)
    assert summary.digest == result.digest
    assert len(summary.digest) == 64
    assert (tmp_path / "out" / "scenario.yaml").read_text() == scenario.text
    assert result.manifest["summary"]["kpis"]["duration_s"] == 10.0
    assert result.manifest["t_us"] == 10_000_000
    json.dumps(summary.to_dict())


def test_without_a_folder_the_digest_is_the_same_but_for_samples(tmp_path: Path) -> None:
    """A run without a folder has a digest of its own (nothing is sampled), the same each time."""
    assert run_scenario(loaded(**LIVELY), None).digest == run_scenario(loaded(**LIVELY), None).digest


def test_until_shortens_a_run(tmp_path: Path) -> None:
    """`until_s` ends it there; beyond the duration it ends with the duration."""
    short = run_scenario(loaded(**LIVELY), tmp_path / "a", RunOptions(until_s=4.25))
    assert (short.status, short.sim_s) == ("done", 4.25)
    whole = run_scenario(loaded(**LIVELY), tmp_path / "b", RunOptions(until_s=99))
    assert (whole.status, whole.sim_s) == ("done", 10.0)
    assert whole.digest == run_scenario(loaded(**LIVELY), tmp_path / "c").digest


def test_progress_is_told_and_a_run_can_be_stopped(tmp_path: Path) -> None:
    """A run that is asked to stop says how far it came; resumed it ends with the digest of one that was not."""
    whole = run_scenario(loaded(**LIVELY), tmp_path / "whole")
    told: list[tuple[int, int]] = []
    stopped = run_scenario(loaded(**LIVELY), tmp_path / "out", RunOptions(
        on_progress=lambda done, all_: told.append((done, all_)), should_stop=lambda: told[-1][0] >= 4_200_000))
    assert stopped.status == "stopped"
    assert stopped.sim_s == pytest.approx(4.2)
    assert told[-1] == (4_200_000, 10_000_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    resumed = resume_run(tmp_path / "out")
    assert (resumed.status, resumed.sim_s) == ("done", 10.0)
    assert resumed.digest == whole.digest
    assert RunResult.load(tmp_path / "out").samples().equals(RunResult.load(tmp_path / "whole").samples())


def test_stopping_again_and_again(tmp_path: Path) -> None:
    """A run stopped at many places, each resume stopped in turn, ends with the same digest."""
    whole = run_scenario(loaded(**LIVELY), tmp_path / "whole")
    reached = 0

    def options(limit_us: int) -> RunOptions:
        nonlocal reached

        def note(done: int, _: int) -> None:
            nonlocal reached
            reached = done
        return RunOptions(on_progress=note, should_stop=lambda: reached >= limit_us)

    assert run_scenario(loaded(**LIVELY), tmp_path / "out", options(1_240_000)).status == "stopped"
    for limit_us in (1_260_000, 1_000_000, 5_500_000, 7_000_000):
        assert resume_run(tmp_path / "out", options(limit_us)).status == "stopped"
    assert resume_run(tmp_path / "out").digest == whole.digest


def test_a_resumed_short_run_ends_where_it_was_to_end(tmp_path: Path) -> None:
    """`until_s` is remembered."""
    whole = run_scenario(loaded(**LIVELY), tmp_path / "whole", RunOptions(until_s=6))
    steps = iter(range(1000))
    stopped = run_scenario(loaded(**LIVELY), tmp_path / "out", RunOptions(6, should_stop=lambda: next(steps) > 100))
    assert stopped.status == "stopped"
    assert resume_run(tmp_path / "out").digest == whole.digest


def test_a_run_that_is_done_cannot_be_resumed(tmp_path: Path) -> None:
    """There is nothing to go on with."""
    run_scenario(loaded(), tmp_path / "out")
    with pytest.raises(RecordError, match="this run is done"):
        resume_run(tmp_path / "out")


def test_a_folder_with_a_result_is_refused_before_the_run(tmp_path: Path) -> None:
    """An existing result is never written over."""
    digest = run_scenario(loaded(), tmp_path / "out").digest
    with pytest.raises(RecordError, match="holds a result already"):
        run_scenario(loaded(seed=5), tmp_path / "out")
    assert RunResult.load(tmp_path / "out").digest == digest


def test_a_run_that_fails_says_why_and_keeps_what_it_has(tmp_path: Path) -> None:
    """An error in a policy ends the run as failed, with everything before it on record."""
    def fail(observation: object, t_us: int) -> list[float]:
        if t_us >= 5_000_000:
            raise ValueError("out of ideas")
        return [1.0]

    scenario = loaded(plugins=[scripted("spy", [], fail)], agents=[agent("ann", policy={"kind": "spy"})])
    summary = run_scenario(scenario, tmp_path / "out")
    assert summary.status == "failed"
    assert summary.error == "ann failed at t = 5.000000 s: ValueError: out of ideas"
    result = RunResult.load(tmp_path / "out")
    assert result.status == "failed"
    assert result.samples().index.tolist() == [0, 1, 2, 3, 4]
    assert len(result.commands()) == 5


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from cosim.scenario.loader import load_scenario
from cosim.simulation.session import RunOptions, run_scenario
loaded = load_scenario(sys.argv[1])
told = []
def note(done, total):
    if not told and done >= 20_000_000:
        told.append(done)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
summary = run_scenario(loaded, Path(sys.argv[2]), RunOptions(on_progress=note, flush_s=0.0))
print(summary.status, summary.error)
"""


@pytest.mark.parametrize("limit", [0, 3000])
def test_a_full_disk_fails_the_run_and_loses_nothing_committed(tmp_path: Path, limit: int) -> None:
    """When no file may grow any more the run fails with a clear word, is readable up to the last commit, resumes."""
    scenario = loaded(**LIVELY, duration_s=60)
    (tmp_path / "s.yaml").write_text(scenario.text)
    whole = run_scenario(load_scenario(tmp_path / "s.yaml"), tmp_path / "whole")
    out = tmp_path / "out"
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "s.yaml"), str(out), str(limit)],
                         capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("failed "), ran.stdout
    assert "the record on disk reaches t = " in ran.stdout
    result = RunResult.load(out)
    times = result.samples().index
    assert result.status in ("failed", "killed")
    assert 19 <= times[-1] < 60
    assert times.tolist() == list(range(len(times)))
    resumed = resume_run(out)
    assert (resumed.status, resumed.digest) == ("done", whole.digest)
    assert RunResult.load(out).samples().equals(RunResult.load(tmp_path / "whole").samples())


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    """A file in the way is a clear error."""
    (tmp_path / "out").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        run_scenario(loaded(), tmp_path / "out")


def test_data_files_are_kept_with_the_result(tmp_path: Path) -> None:
    """What the scenario read from its folder lies in `inputs/`, under the names it used."""
    folder = tmp_path / "study"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "p.csv").write_text("t_s,x\n0,1\n5,2\n10,1\n")
    (folder / "trace.csv").write_text("ms\n10\n20\n")
    text = loaded().text.replace("p_kw: 30", "p_kw: 30\n  profile: {file: data/p.csv, column: x}") + """
channels:
- {name: wan, rules: [{kind: latency, distribution: trace, file: trace.csv, order: sequence}]}
"""
    (folder / "s.yaml").write_text(text)
    first = run_scenario(load_scenario(folder / "s.yaml"), tmp_path / "out", RunOptions(until_s=5))
    assert (tmp_path / "out" / "inputs" / "data" / "p.csv").read_bytes() == (folder / "data" / "p.csv").read_bytes()
    assert (tmp_path / "out" / "inputs" / "trace.csv").is_file()
    assert sorted(p.name for p in (tmp_path / "out" / "inputs").iterdir()) == ["data", "trace.csv"]
    assert first.status == "done"
    shutil.rmtree(folder)


def test_plugins_beside_the_scenario_are_kept_without_what_lies_below(tmp_path: Path) -> None:
    """With ``plugins: [.]`` the Python files are kept, and neither data nor results below are (this one least)."""
    plugin = """
from typing import Literal
from cosim.devices.single import SingleConfig, SingleDevice
class HeatConfig(SingleConfig):
    kind: Literal["heat"] = "heat"
class Heat(SingleDevice):
    kind = "heat"
    Config = HeatConfig
"""
    (tmp_path / "heat.py").write_text(plugin)
    (tmp_path / "s.yaml").write_text(loaded().text + "plugins: [.]\n")
    out = tmp_path / "results" / "out"
    summary = run_scenario(load_scenario(tmp_path / "s.yaml", allow_plugins=True), out, RunOptions(until_s=2))
    assert summary.status == "done"
    assert [p.name for p in (out / "inputs").iterdir()] == ["heat.py"]
    assert replay(out, allow_plugins=True).same


#: Far more photovoltaics at the end of the feeder than it takes, and an agent that asks for all of it.
SUNNY: dict[str, Any] = {
    "devices": [{"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 4000, "s_rated_kva": 4000}],
    "agents": [agent("greedy", actuate=["pv.p_set_kw"], policy={"kind": "constant", "values": [4000.0]})],
    "limits": {"v_min_pu": 0.9, "v_max_pu": 1.05}}


def test_the_summary_says_what_the_shield_did(tmp_path: Path) -> None:
    """Interventions and minutes; and each row of the record who asked, which limit and where that leads."""
    summary = run_scenario(loaded(**SUNNY, shield="enforce"), tmp_path / "on")
    assert summary.shield["mode"] == "enforce"
    assert summary.shield["interventions"] >= 1
    assert summary.shield["infeasible_minutes"] == 0
    assert 8 / 60 <= summary.shield["active_minutes"] <= 10 / 60
    assert sum(summary.shield["by_rung"].values()) == pytest.approx(10 / 60)
    assert summary.kpis["v_max_pu"] <= 1.05
    result = RunResult.load(tmp_path / "on")
    assert result.manifest["summary"]["shield"] == summary.shield
    rows = result.decisions()
    (row,) = [row for row in rows.to_dict("records") if row["point"] == "pv.p_set_kw" and row["source"]][:1]
    assert (row["source"], row["requested"], row["reason"], row["limit"], row["enforced"]) == (
        "greedy", 4000.0, "voltage", "bus.18.v_pu", True)
    assert row["after"] <= row["bound"] < row["found"]


def test_observing_counts_and_moves_nothing(tmp_path: Path) -> None:
    """The same interventions, not enforced, and the voltages of the run without a shield."""
    observed = run_scenario(loaded(**SUNNY, shield="observe"), tmp_path / "observe")
    off = run_scenario(loaded(**SUNNY), tmp_path / "off")
    assert observed.shield["interventions"] >= 1
    assert off.shield["interventions"] == 0
    assert observed.kpis == off.kpis
    rows = RunResult.load(tmp_path / "observe").decisions()
    assert len(rows[rows["reason"] == "voltage"]) >= 1
    assert not rows[rows["reason"] == "voltage"]["enforced"].any()
