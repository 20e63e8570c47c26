"""Replaying a result: the same digest, or the first difference by time and point."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosim.commands import Authority, CommandStatus
from cosim.errors import RecordError, ReplayError
from cosim.recorder import RunResult
from cosim.replay import replay
from cosim.scenario.loader import load_scenario
from cosim.simulation import BuildOptions, build
from cosim.simulation.session import RunOptions, run_scenario
from tests.cosim.simulation.worlds import WAN, agent, keeping, loaded, over

LIVELY: dict[str, Any] = {
    "channels": [{**WAN, "rules": [*WAN["rules"], {"kind": "loss", "probability": 0.2}]}],
    "agents": [agent(policy={"kind": "random", "low": 0, "high": 2}, period_s=0.7, telemetry=over()),
               agent("b", policy={"kind": "constant", "values": [1.5]}, authority="operator", period_s=4, ttl_s=1)],
    "disturbances": [{"kind": "line_outage", "line": "25-29", "random": {"per_hour": 1200}, "duration_s": 1.5}],
}


def test_a_run_replays_to_its_digest(tmp_path: Path) -> None:
    """Scenario and seed are the run."""
    summary = run_scenario(loaded(**LIVELY), tmp_path / "out")
    told: list[tuple[int, int]] = []
    outcome = replay(tmp_path / "out", lambda done, total: told.append((done, total)))
    assert outcome.same
    assert (outcome.recorded, outcome.divergence, outcome.error) == (summary.digest, None, "")
    assert told[-1] == (10_000_000, 10_000_000)


@pytest.mark.parametrize("until_s", [9.5, 0.3, 7.03])
def test_a_run_that_ends_between_scans_replays(tmp_path: Path, until_s: float) -> None:
    """Commands after the last publication are part of the run, and of its replay."""
    run_scenario(loaded(**LIVELY), tmp_path / "out", RunOptions(until_s=until_s))
    assert RunResult.load(tmp_path / "out").manifest["t_us"] == round(until_s * 1e6)
    assert replay(tmp_path / "out").same


def test_a_stopped_run_replays_as_far_as_it_went(tmp_path: Path) -> None:
    """A stopped run has a digest, of what there is."""
    steps = iter(range(1000))
    summary = run_scenario(loaded(**LIVELY), tmp_path / "out", RunOptions(should_stop=lambda: next(steps) > 217))
    assert summary.status == "stopped"
    assert replay(tmp_path / "out").same


def test_a_failed_run_replays_to_the_same_failure(tmp_path: Path) -> None:
    """A run that failed by itself fails again at the same time, with the same digest."""
    rows = [[0, 1], [5, 1]]
    plugin = tmp_path / "plug"
    plugin.mkdir()
    (plugin / "bad.py").write_text(PLUGIN)
    scenario = loaded(agents=[agent(policy={"kind": "schedule", "rows": rows})])
    (tmp_path / "s.yaml").write_text(scenario.text.replace("kind: schedule", "kind: failing").replace(
        "    rows:\n    - - 0\n      - 1\n    - - 5\n      - 1\n", "") + "plugins: [plug]\n")
    summary = run_scenario(load_scenario(tmp_path / "s.yaml", allow_plugins=True), tmp_path / "out")
    assert summary.status == "failed"
    outcome = replay(tmp_path / "out", allow_plugins=True)
    assert outcome.same
    assert outcome.error == summary.error


PLUGIN = '''
from cosim.plugins import PluginConfig
class Failing:
    """Fails at t = 5 s."""
    family, kind, summary = "policy", "failing", "fails"
    class Config(PluginConfig):
        kind: str = "failing"
    @classmethod
    def build(cls, config, situation):
        return cls()
    def act(self, observation, t_us):
        if t_us >= 5_000_000:
            raise ValueError("no")
        return [1.0]
'''


def commanded(out: Path) -> str:
    """A run with every kind of outside command in its journal, recorded into `out`; returns its digest."""
    scenario = loaded(**LIVELY, commands={"timing": "on_arrival", "quantum_s": 0.01}, record={"points": ["*"]})
    simulation = build(scenario, BuildOptions(recorder=keeping(scenario, out)))
    inbox, ld = simulation.inbox, simulation.points.id_of("ld.scale")
    simulation.advance_to(1_234_567)
    assert simulation.submit("ld.scale", 1.7, "scada", ttl_s=1.25) is CommandStatus.ACCEPTED
    assert simulation.submit("ld.scale", 1e9, "scada") is CommandStatus.OUT_OF_RANGE
    assert simulation.submit("ld.p_kw", 1, "scada") is CommandStatus.NOT_WRITABLE
    assert simulation.submit("nothing", 1, "scada") is CommandStatus.UNKNOWN_POINT
    assert simulation.submit("ld.scale", float("nan"), "scada") is CommandStatus.NOT_A_NUMBER
    simulation.advance_to(4_000_000)
    assert inbox.submit_many([ld], [0.4], "scada", Authority.INTERLOCK) is CommandStatus.ACCEPTED
    simulation.advance_to(5_000_000)
    assert simulation.submit("ld.scale", 1, "scada") is CommandStatus.BLOCKED
    assert inbox.submit_many(np.array([ld]), np.array([0.6]), "scada", Authority.INTERLOCK,
                             at_us=5_500_000) is CommandStatus.ACCEPTED
    assert inbox.release([ld], "scada", Authority.INTERLOCK, at_us=6_333_333) is CommandStatus.ACCEPTED
    simulation.advance_to(7_000_000)
    simulation.submit("ld.scale", 1.1, "late", at_us=99_000_000)
    simulation.advance_to(10_000_000)
    return simulation.recorder.close("done")


def test_outside_commands_replay_from_the_journal(tmp_path: Path) -> None:
    """Scalar, vector, release, refused, expiring and timed commands are all in the journal and come back."""
    digest = commanded(tmp_path / "out")
    result = RunResult.load(tmp_path / "out")
    assert [command.status.value for command in result.journal()] == [
        "accepted", "out_of_range", "not_writable", "not_a_number", "accepted", "blocked", "accepted", "accepted"]
    outcome = replay(tmp_path / "out")
    assert outcome.same
    assert outcome.replayed == digest


def decided(out: Path, **changes: Any) -> str:
    """A run whose agent is decided outside, with an operator beside it; returns its digest."""
    scenario = loaded(**{**LIVELY, **changes})
    simulation = build(scenario, BuildOptions(external=("a",), recorder=keeping(scenario, out, ("a",))))
    rng = np.random.default_rng(3)
    while simulation.advance_to_decision():
        if rng.random() < 0.8:
            simulation.commit({"a": rng.uniform(0, 2, 1)})
        if rng.random() < 0.2:
            simulation.submit("ld.scale", 1.0, "operator", ttl_s=0.5)
    return simulation.recorder.close("done")


def test_outside_decisions_replay_from_the_journal(tmp_path: Path) -> None:
    """Actions of an agent decided outside (some left out) replay without it, over a lossy channel too."""
    digest = decided(tmp_path / "out")
    outcome = replay(tmp_path / "out")
    assert outcome.same
    assert outcome.replayed == digest


def test_outside_decisions_over_a_link_without_delay_replay(tmp_path: Path) -> None:
    """A message of an outside action that takes no time arrives at the same instant in run and replay."""
    decided(tmp_path / "out", channels=[{"name": "wan", "rules": []}])
    assert replay(tmp_path / "out").same


# -- tampered results ------------------------------------------------------------------------------------------------

Change = Callable[[pa.Table], pa.Table]


def tampered(out: Path, table: str, change: Change) -> None:
    """Rewrite the first part of a table with rows."""
    part = next(p for p in sorted((out / table).iterdir()) if pq.read_metadata(p).num_rows)
    pq.write_table(change(pq.read_table(part)), part)


def cell(column: str, row: int, value: Any) -> Change:
    """Replace one value."""
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        place = table.column_names.index(column)
        return table.set_column(place, table.schema.field(column), pa.array(values, table.schema.field(column).type))
    return change


def test_a_flipped_sample_is_found_by_time_and_point(tmp_path: Path) -> None:
    """One changed value among all samples is named, though the manifest's digest is that of the run."""
    commanded(tmp_path / "out")
    tampered(tmp_path / "out", "samples", cell("bus.17.v_pu", 6, 0.95))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.recorded == outcome.replayed
    assert outcome.divergence is not None
    assert (outcome.divergence.table, outcome.divergence.t_us, outcome.divergence.subject) == (
        "samples", 6_000_000, "bus.17.v_pu")
    assert outcome.divergence.recorded == 0.95
    assert "bus.17.v_pu" in str(outcome.divergence)


def test_the_least_significant_bit_counts(tmp_path: Path) -> None:
    """A sample changed in its last bit is found."""
    run_scenario(loaded(), tmp_path / "out")
    value = RunResult.load(tmp_path / "out").samples()["bus.9.v_pu"].iloc[3]
    tampered(tmp_path / "out", "samples", cell("bus.9.v_pu", 3, np.nextafter(value, 2)))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.divergence is not None
    assert (outcome.divergence.t_us, outcome.divergence.subject) == (3_000_000, "bus.9.v_pu")


def test_a_flipped_journal_value_is_found(tmp_path: Path) -> None:
    """Another value in the journal is another run: it differs first in that command."""
    commanded(tmp_path / "out")
    tampered(tmp_path / "out", "journal", cell("values", 0, [1.6]))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.recorded != outcome.replayed
    assert outcome.divergence is not None
    assert (outcome.divergence.table, outcome.divergence.t_us, outcome.divergence.subject, outcome.divergence.what) == (
        "commands", 1_234_568, "ld.scale", "value")


def test_a_command_moved_in_time_is_found(tmp_path: Path) -> None:
    """A journal row at another time differs where the command was, or came to be."""
    commanded(tmp_path / "out")
    tampered(tmp_path / "out", "journal", cell("t_us", 4, 4_000_500))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.divergence is not None
    assert outcome.divergence.t_us in (4_000_001, 4_000_500)


@pytest.mark.parametrize(("table", "column", "value"), [
    ("events", "subject", "line.1-2"), ("commands", "source", "nobody"), ("commands", "value", 0.123)])
def test_changed_rows_of_other_tables_are_found(tmp_path: Path, table: str, column: str, value: Any) -> None:
    """Events and commands are compared row by row."""
    run_scenario(loaded(**LIVELY), tmp_path / "out")
    tampered(tmp_path / "out", table, cell(column, 0, value))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.divergence is not None
    assert outcome.divergence.table == table


def test_another_scenario_text_is_another_run(tmp_path: Path) -> None:
    """An edited scenario.yaml does not replay, and the first difference says where it began to matter."""
    run_scenario(loaded(**LIVELY), tmp_path / "out")
    text = (tmp_path / "out" / "scenario.yaml").read_text()
    (tmp_path / "out" / "scenario.yaml").write_text(text.replace("p_kw: 30", "p_kw: 31"))
    outcome = replay(tmp_path / "out")
    assert not outcome.same
    assert outcome.divergence is not None
    assert outcome.divergence.t_us == 0


# -- results that stand alone, and those that do not ------------------------------------------------------------------


def test_a_result_replays_elsewhere_without_the_original(tmp_path: Path) -> None:
    """Moved to another place, with scenario, profile and plugin deleted, a result replays from its own copies."""
    study = tmp_path / "study"
    (study / "data").mkdir(parents=True)
    (study / "data" / "p.csv").write_text("t_s,x\n0,1\n5,2\n10,1\n")
    (study / "s.yaml").write_text(loaded(**LIVELY).text.replace(
        "p_kw: 30", "p_kw: 30\n  profile: {file: data/p.csv, column: x}"))
    run_scenario(load_scenario(study / "s.yaml", overrides=["agents.0.period_s=0.9"], seed=99), study / "out")
    shutil.copytree(study / "out", tmp_path / "elsewhere")
    shutil.rmtree(study)
    outcome = replay(tmp_path / "elsewhere")
    assert outcome.same
    assert RunResult.load(tmp_path / "elsewhere").manifest["seed"] == 99


def test_overrides_and_seed_are_part_of_a_result(tmp_path: Path) -> None:
    """A result of changed values replays with them."""
    (tmp_path / "s.yaml").write_text(loaded(**LIVELY).text)
    plain = run_scenario(load_scenario(tmp_path / "s.yaml"), tmp_path / "a")
    changed = run_scenario(load_scenario(tmp_path / "s.yaml", overrides=["step_s=0.5"], seed=4), tmp_path / "b")
    assert plain.digest != changed.digest
    assert replay(tmp_path / "b").same


def test_what_is_no_finished_result_is_refused(tmp_path: Path) -> None:
    """An empty folder, a result without its scenario and one without its parts say what is missing."""
    with pytest.raises(RecordError, match="no result here"):
        replay(tmp_path)
    run_scenario(loaded(), tmp_path / "out")
    (tmp_path / "out" / "scenario.yaml").unlink()
    with pytest.raises(ReplayError, match=r"scenario\.yaml"):
        replay(tmp_path / "out")
    run_scenario(loaded(), tmp_path / "out2")
    next((tmp_path / "out2" / "samples").iterdir()).unlink()
    with pytest.raises(RecordError, match="missing or damaged"):
        replay(tmp_path / "out2")


def test_a_manifest_that_goes_beyond_its_scenario_is_refused(tmp_path: Path) -> None:
    """A replay ends with the scenario: a manifest that says more would have it run without end."""
    run_scenario(loaded(), tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"t_us": 10**20}))
    with pytest.raises(ReplayError, match="its scenario ends at 10"):
        replay(tmp_path / "out")


def test_replaying_leaves_the_result_as_it_is(tmp_path: Path) -> None:
    """No file of a result changes by a replay."""
    run_scenario(loaded(**LIVELY), tmp_path / "out")

    def content() -> dict[str, bytes]:
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    before = content()
    replay(tmp_path / "out")
    assert content() == before
