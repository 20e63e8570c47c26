"""The audit log in a result folder: what it holds, that it is sealed, that an edit is found, and what kills leave."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosim.audit import Condition, Seal, verify
from cosim.audit.reading import Walk
from cosim.cli.app import main
from cosim.commands import NEVER_US, Authority, Command, CommandKind, CommandStatus
from cosim.errors import FolderError, RecordError, ScenarioError
from cosim.points import Ids, Point, PointDatabase, PointKind
from cosim.recorder import Recorder, RecordOptions, RunAbout, RunResult
from cosim.recorder.audit_trail import FILE, AuditTrail
from cosim.recorder.folder import read_commits, read_manifest
from cosim.replay import replay
from cosim.scenario.loader import LoadedScenario, load_scenario
from cosim.simulation import BuildOptions, Simulation, build
from cosim.simulation.session import RunOptions, resume_run, run_scenario
from tests.cosim.simulation.test_kill import FLUSH_S, Forker
from tests.cosim.simulation.worlds import agent, ended, loaded

#: A policy that asks for too much now and then, so that the shield has something to say.
SHIELDED: dict[str, Any] = {
    "duration_s": 30, "grid": {"network": "case33bw", "load_scale": 0.5}, "record": {"points": []},
    "shield": {"voltage": [{"v_min_pu": 0.9, "v_max_pu": 1.05}], "loading": []},
    "devices": [{"kind": "pv", "name": "pv", "bus": "18", "p_rated_kw": 3000, "q_max_pu": 0.3}],
    "agents": [agent(policy={"kind": "random", "low": 0, "high": 3000}, observe=[], actuate=["pv.p_set_kw"])],
}


def scenario(**changes: Any) -> LoadedScenario:
    """`SHIELDED` with keys replaced."""
    return loaded(**{**SHIELDED, **changes})


def seal_of(out: Path) -> Seal:
    """As the manifest has it."""
    found = read_manifest(out)["audit"]
    return Seal(found["records"], found["head"])


def records(out: Path) -> list[tuple[str, str, str]]:
    """(kind, subject, detail) of every record."""
    with (out / FILE).open("rb") as file:
        return [(record.kind, record.subject, record.detail) for record in Walk(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("audit") / "whole"
    assert run_scenario(scenario(), out).status == "done"
    return out


def test_the_log_of_a_run_is_intact_and_sealed_by_its_manifest(whole: Path) -> None:
    """As many records as the manifest says, ending with the hash it says; every commit has the seal of its time."""
    verdict = verify(whole / FILE, seal_of(whole))
    assert verdict.condition is Condition.INTACT
    assert verdict.records == len(records(whole)) > 10
    commits, _ = read_commits(whole)
    assert commits[-1].audit == str(seal_of(whole))


def test_every_decision_on_record_is_in_the_log(whole: Path) -> None:
    """In the same order, with what was asked and what was applied."""
    decisions = RunResult.load(whole).decisions()
    with (whole / FILE).open("rb") as file:
        logged = [record for record in Walk(file) if record.kind == "decision"]
    assert [(r.t_us, r.subject, repr(r.fields["requested"]), repr(r.fields["applied"])) for r in logged] == [
        (row.t_us, row.point, repr(row.requested), repr(row.applied)) for row in decisions.itertuples()]
    assert all(record.detail for record in logged)


def test_an_edit_of_any_byte_is_found(whole: Path, tmp_path: Path) -> None:
    """Each byte of a sample flipped, one at a time, as the manifest's seal has it."""
    data, seal, copy = (whole / FILE).read_bytes(), seal_of(whole), tmp_path / FILE
    rng = random.Random(1)
    for place in (0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(150))):
        copy.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
        assert verify(copy, seal).condition in (Condition.TAMPERED, Condition.UNUSABLE), place


@pytest.mark.parametrize("lines", [1, 5])
def test_records_taken_off_the_end_are_found_by_the_manifest(whole: Path, tmp_path: Path, lines: int) -> None:
    """The chain alone cannot tell."""
    copy = tmp_path / FILE
    copy.write_bytes(b"".join((whole / FILE).read_bytes().splitlines(keepends=True)[:-lines]))
    assert verify(copy).condition is Condition.INTACT
    assert verify(copy, seal_of(whole)).condition is Condition.TAMPERED


def test_the_command_line_verifies_a_result(whole: Path, tmp_path: Path) -> None:
    """0 intact, 1 tampered with."""
    assert main(["audit", "verify", str(whole)]) == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "manifest.json").write_bytes((whole / "manifest.json").read_bytes())
    (copy / FILE).write_bytes((whole / FILE).read_bytes().replace(b'"decision"', b'"decided."', 1))
    assert main(["audit", "verify", str(copy)]) == 1


def test_stamps_are_wall_time_and_no_part_of_the_digest(whole: Path, tmp_path: Path) -> None:
    """The same run again: the same digest, the same records but for their stamps."""
    again = run_scenario(scenario(), tmp_path / "again")
    assert again.digest == RunResult.load(whole).digest
    assert records(tmp_path / "again") == records(whole)
    first = json.loads((whole / FILE).read_bytes().splitlines()[1])
    assert first["stamp"][:4].isdigit()


def test_without_a_shield_there_is_no_log(tmp_path: Path) -> None:
    """Neither a file nor a word of it in the manifest."""
    run_scenario(scenario(shield="off"), tmp_path / "out")
    assert not (tmp_path / "out" / FILE).exists()
    assert "audit" not in read_manifest(tmp_path / "out")


def test_a_replay_writes_no_second_log(whole: Path) -> None:
    """It leaves the result as it was."""
    before = (whole / FILE).read_bytes()
    assert replay(whole).same
    assert (whole / FILE).read_bytes() == before


# -- commands from outside --------------------------------------------------------------------------------------------


def recording(out: Path) -> Simulation:
    """A simulation without agents that records into `out`, with a log."""
    given = scenario(agents=[])

    def recorder(points: PointDatabase, sample_ids: Ids) -> Recorder:
        about = RunAbout(name="small", seed=1, scenario_text=given.text, duration_us=30_000_000)
        return Recorder(out, points, about, RecordOptions(sample_ids=sample_ids, audit=True))

    return build(given, BuildOptions(recorder=recorder))


def test_commands_from_outside_are_on_record_with_who_and_what_came_of_them(tmp_path: Path) -> None:
    """Accepted and refused ones; what the scenario's own agents ask is in the tables only."""
    simulation = recording(tmp_path / "out")
    simulation.advance_to(2_000_000)
    taken = simulation.submit("pv.p_set_kw", 2000.0, "master-1", authority=Authority.OPERATOR)
    refused = simulation.submit("pv.p_set_kw", 1e9, "master-2", authority=Authority.OPERATOR)
    assert (taken, refused) == (CommandStatus.ACCEPTED, CommandStatus.OUT_OF_RANGE)
    ended(simulation, 5)
    found = [entry for entry in records(tmp_path / "out") if entry[0].startswith("command")]
    assert found[:2] == [
        ("command.set", "master-1", f"pv.p_set_kw = 2000: {taken.value} (operator)"),
        ("command.set", "master-2", f"pv.p_set_kw = 1e+09: {refused.value} (operator)")]
    assert verify(tmp_path / "out" / FILE, seal_of(tmp_path / "out")).condition is Condition.INTACT


def test_of_a_command_with_many_values_the_first_are_named(tmp_path: Path) -> None:
    """The others are counted: a record has a limit.  Without a log nothing is written, and that is no error."""
    points = PointDatabase([Point(f"p{i}", PointKind.ANALOG_OUTPUT, low=0.0, high=1.0) for i in range(20)])
    many = Command(7, CommandKind.SET, "m", Authority.AGENT, tuple(range(20)), (0.5,) * 20, NEVER_US,
                   CommandStatus.ACCEPTED, True)
    trail = AuditTrail(RunAbout(), RecordOptions(audit=True), points)
    trail.command(many)
    assert (trail.seal, trail.close()) == ("", {})
    trail.open(tmp_path)
    trail.command(many)
    trail.close()
    ((kind, source, detail),) = records(tmp_path)
    assert (kind, source) == ("command.set", "m")
    assert detail.startswith("p0 = 0.5, p1 = 0.5, ")
    assert detail.endswith("p7 = 0.5 and 12 more: accepted (agent)")


# -- folders that come to nothing -------------------------------------------------------------------------------------


def test_a_scenario_that_cannot_be_built_leaves_no_log(tmp_path: Path) -> None:
    """Neither a folder, nor a log in one that was there."""
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(ScenarioError):
            run_scenario(scenario(shield={"voltage": [{"buses": ["nowhere"]}]}), out)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_a_kill_left_before_there_was_a_result_is_no_obstacle(tmp_path: Path) -> None:
    """The log was made, the manifest was not."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("commits.jsonl", FILE):
        (out / name).touch()
    assert run_scenario(scenario(), out).status == "done"
    assert verify(out / FILE, seal_of(out)).condition is Condition.INTACT


def test_a_log_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    """A log without a result may be all that is left of one."""
    (tmp_path / FILE).write_text("something")
    with pytest.raises(FolderError, match="exists already"):
        run_scenario(scenario(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).read_text() == "something"


def test_force_replaces_the_log_with_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a run with --force that cannot be built leaves the old one."""
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(scenario().text)
    assert main(["run", "s.yaml", "--out", "out", "--quiet"]) == 0
    first = Path("out", FILE).read_bytes()
    assert main(["run", "s.yaml", "--out", "out", "--quiet", "--force", "--set", "grid.network=none"]) != 0
    assert Path("out", FILE).read_bytes() == first
    assert main(["run", "s.yaml", "--out", "out", "--quiet", "--force", "--seed", "5"]) == 0
    assert Path("out", FILE).read_bytes() != first
    assert verify(Path("out", FILE), seal_of(Path("out"))).condition is Condition.INTACT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s.yaml"]


class Full:
    """A file on a full disk: the first bytes go, then no more."""

    def __init__(self, file: Any) -> None:
        self.real, self.room = file, 20

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def write(self, data: bytes) -> int:
        """As much as there is room for."""
        return int(self.real.write(data[: self.room]))


def test_on_a_full_disk_nothing_counts_that_is_not_in_the_log(tmp_path: Path) -> None:
    """The flush is refused before its tables are; with room again, all is there."""
    simulation = recording(tmp_path / "out")
    simulation.submit("pv.p_set_kw", 2000.0, "master", authority=Authority.OPERATOR)
    simulation.advance_to(3_000_000)
    log: Any = simulation.recorder._audit._log
    full = log._file = Full(log._file)
    before = read_commits(tmp_path / "out")[0]
    with pytest.raises(RecordError, match="the disk is full"):
        simulation.recorder.flush()
    assert read_commits(tmp_path / "out")[0] == before
    with pytest.raises(RecordError, match="the disk is full"):
        simulation.recorder.close("done")
    full.room = 1 << 20
    simulation.recorder.close("done")
    assert verify(tmp_path / "out" / FILE, seal_of(tmp_path / "out")).condition is Condition.INTACT
    assert ("command.set", "master") in [entry[:2] for entry in records(tmp_path / "out")]


# -- killed and resumed -----------------------------------------------------------------------------------------------


def stopped(out: Path, steps: int) -> None:
    """A run that is stopped early."""
    left = iter(range(100_000))
    assert run_scenario(scenario(), out, RunOptions(should_stop=lambda: next(left) > steps)).status == "stopped"


def without_resumes(out: Path) -> list[tuple[str, str, str]]:
    """All but what was left without a result, and the marks of resumes."""
    with (out / FILE).open("rb") as file:
        found = list(Walk(file))
    void = [(int(record.fields["void_from"]), record.seq + 1) for record in found if record.kind == "resumed"]
    return [(r.kind, r.subject, r.detail) for r in found if not any(a <= r.seq < b for a, b in void)]


def test_a_resumed_run_continues_the_chain(tmp_path: Path, whole: Path) -> None:
    """Nothing of the first part is rewritten; one record says that the run was resumed."""
    out = tmp_path / "out"
    stopped(out, 40)
    first = (out / FILE).read_bytes()
    assert 0 < len(first) < (whole / FILE).stat().st_size
    assert resume_run(out).digest == RunResult.load(whole).digest
    assert (out / FILE).read_bytes().startswith(first)
    assert verify(out / FILE, seal_of(out)).condition is Condition.INTACT
    assert [kind for kind, _, _ in records(out)].count("resumed") == 1
    assert without_resumes(out) == records(whole)


def test_a_run_whose_log_was_edited_is_not_resumed(tmp_path: Path) -> None:
    """It would carry on a lie; the log is left as it is."""
    stopped(tmp_path / "out", 40)
    log = tmp_path / "out" / FILE
    edited = log.read_bytes().replace(b"pv.p_set_kw", b"pv.p_set_kW", 1)
    log.write_bytes(edited)
    with pytest.raises(RecordError, match=r"audit\.jsonl:2"):
        resume_run(tmp_path / "out")
    assert log.read_bytes() == edited


def test_a_run_whose_log_was_removed_is_not_resumed(tmp_path: Path) -> None:
    """Its commits say that there was one."""
    stopped(tmp_path / "out", 40)
    (tmp_path / "out" / FILE).unlink()
    with pytest.raises(RecordError, match="holds no record"):
        resume_run(tmp_path / "out")


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Forker, Path]]:
    """A process that forks and kills, and where its scenario lies."""
    place = tmp_path_factory.mktemp("audit_kill")
    (place / "s.yaml").write_text(scenario(duration_s=120).text)
    process = Forker(place / "s.yaml")
    yield process, place
    process.close()


def test_killed_at_any_time_and_resumed_the_log_says_the_same(forker: tuple[Forker, Path]) -> None:
    """What counts of it is what a run says that nobody killed; the chain is whole; and no commit is ahead of it."""
    process, place = forker
    begun = time.monotonic()
    summary = run_scenario(load_scenario(place / "s.yaml"), place / "whole", RunOptions(flush_s=FLUSH_S))
    seconds, kills = time.monotonic() - begun, 0
    for number in range(5):
        out, rng = place / f"run{number}", random.Random(number)
        kills += process.kill_after(rng.uniform(0, seconds), "run", out) == "killed"
        if read_manifest(out)["status"] != "done":
            committed = read_commits(out)[0]
            kept = len(records(out)) if (out / FILE).exists() else 0
            assert not committed or int(committed[-1].audit.partition(":")[0]) <= kept
            assert resume_run(out, RunOptions(flush_s=FLUSH_S)).digest == summary.digest
        assert verify(out / FILE, seal_of(out)).condition is Condition.INTACT
        assert without_resumes(out) == records(place / "whole")
    assert kills > 0
