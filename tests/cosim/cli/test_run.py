"""``gridloop run``: folders, stopping, resuming, exit codes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cosim.errors import Problem, RecordError, ScenarioError

Call = Callable[..., Any]


def entries() -> list[str]:
    """Everything in the folder besides the scenario."""
    return sorted(str(path) for path in Path().rglob("*") if path.name != "good.yaml")


def test_done_is_zero_with_a_summary(gridloop: Call) -> None:
    """A run that is done exits 0 and says what came of it, where, and what to do next."""
    said = gridloop("run", "good.yaml")
    assert said.code == 0
    assert "lowest voltage  0.9700 pu at B1" in said.out
    assert "next: gridloop report results/trial-001" in said.out
    assert "t = 9e-06 s of 9e-06 s (100 %)" in said.err


def test_default_folders_are_numbered(gridloop: Call) -> None:
    """Each run has a folder of its own."""
    gridloop("run", "good.yaml", "--quiet")
    assert gridloop("run", "good.yaml", "--json").data["result"] == "results/trial-002"


def test_options_reach_the_run(gridloop: Call, fake: Any) -> None:
    """--seed, --set, --until, --out and --no-record are what they say."""
    gridloop("run", "good.yaml", "--seed", "7", "--set", "step_s=2", "--set", "limits.v_min_pu=0.9", "--until", "4",
             "--out", "here", "--no-record")
    _, scenario, out, until_s = fake.asked[0]
    assert (scenario.seed, scenario.step_s, scenario.limits.v_min_pu) == (7, 2, 0.9)
    assert (out, until_s, scenario.record.points) == (Path("here"), 4.0, ())


def test_quiet_says_nothing(gridloop: Call) -> None:
    """--quiet prints nothing when all is well."""
    said = gridloop("run", "good.yaml", "--quiet")
    assert (said.out, said.err) == ("", "")


def test_failed_run_is_one(gridloop: Call, fake: Any) -> None:
    """A run that failed on the way exits 1 and is shown even with --quiet."""
    fake.status = "failed"
    said = gridloop("run", "good.yaml", "--quiet")
    assert said.code == 1
    assert "failed" in said.out


def test_full_disk_is_one_message_and_one(gridloop: Call, fake: Any) -> None:
    """An error of ours during the run is one line, no traceback, exit 1."""
    fake.error = RecordError("out: disk full")
    said = gridloop("run", "good.yaml", "--quiet")
    assert (said.code, said.out, said.err) == (1, "", "out: disk full\n")


def test_bug_is_one_line_unless_debug(gridloop: Call, fake: Any) -> None:
    """An error that is not ours is one line too; --debug shows the traceback."""
    fake.error = ZeroDivisionError("division by zero")
    said = gridloop("run", "good.yaml", "--quiet")
    assert said.code == 1
    assert said.err.startswith("internal error: ZeroDivisionError: division by zero")
    with pytest.raises(ZeroDivisionError):
        gridloop("run", "good.yaml", "--quiet", "--debug")


def test_unknown_bus_is_two_with_its_line(gridloop: Call, fake: Any) -> None:
    """A reference into the network that fails at build exits 2 with file and line, and nothing is written."""
    fake.error = ScenarioError((Problem("no network of that name", "grid.network"),))
    said = gridloop("run", "good.yaml", "--quiet")
    assert (said.code, said.err) == (2, "good.yaml:3:17: grid.network: no network of that name\n")
    assert entries() == []


@pytest.mark.parametrize("arguments", [
    ("run", "nowhere.yaml"), ("run", "good.yaml", "--set", "sed=1"), ("run", "good.yaml", "--seed", "-1"),
    ("run", "good.yaml", "--until", "20"), ("run", "good.yaml", "--until", "0"), ("run", "good.yaml", "--until", "nan"),
    ("run", "good.yaml", "--until", "1e-7"), ("run",), ("run", "good.yaml", "--seed", "x"), ("walk",), (),
    ("run", "good.yaml", "--out", "good.yaml"), ("run", "--resume", "nowhere"), ("replay", "nowhere"),
    ("report", "nowhere"), ("init", "good.yaml"), ("init", "no/such/folder.yaml"), ("list", "things"),
    ("run", "good.yaml", "--unt", "4"),
])
def test_bad_usage_is_two_and_writes_nothing(gridloop: Call, arguments: tuple[str, ...]) -> None:
    """Bad usage and bad scenarios exit 2, say something on stderr, and leave nothing behind."""
    said = gridloop(*arguments)
    assert said.code == 2
    assert said.err
    assert "Traceback" not in said.err
    assert entries() == []


def test_result_is_not_overwritten(gridloop: Call) -> None:
    """A result in the folder is refused without --force, and stays."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    Path("r/mark").touch()
    said = gridloop("run", "good.yaml", "--out", "r")
    assert said.code == 2
    assert "--force" in said.err
    assert Path("r/mark").exists()


def test_force_replaces(gridloop: Call) -> None:
    """--force removes the old result once there is a new one, with all that commands wrote beside it."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    for name in ("report.html", "audit.jsonl", "access.seal", "wire.log", "realtime.json", "samples/part-00000.parquet",
                 "samples/.part-00001.parquet.tmp", "inputs/profiles/week.csv", "counterfactual/manifest.json",
                 "counterfactual/inputs/a/b/c.csv", "trend/trend-000001.parquet", "events.jsonl"):
        Path("r", name).parent.mkdir(parents=True, exist_ok=True)
        Path("r", name).touch()
    assert gridloop("run", "good.yaml", "--out", "r", "--force", "--quiet").code == 0
    assert entries() == ["r", "r/manifest.json"]


def test_force_keeps_the_old_result_when_nothing_new_comes(gridloop: Call, fake: Any) -> None:
    """When the new run cannot begin, the old result is back in its place."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    Path("r/report.html").touch()
    fake.error = ScenarioError("no")
    assert gridloop("run", "good.yaml", "--out", "r", "--force", "--quiet").code == 2
    assert entries() == ["r", "r/manifest.json", "r/report.html"]


def test_force_never_removes_foreign_files(gridloop: Call) -> None:
    """A folder that is no result is refused even with --force."""
    Path("home").mkdir()
    Path("home/letter.txt").touch()
    assert gridloop("run", "good.yaml", "--out", "home", "--force").code == 2
    assert Path("home/letter.txt").exists()


@pytest.mark.parametrize("name", ["notes.txt", "notes/today.txt", "samples/notes.txt", "samples/more/part-0.parquet",
                                  "counterfactual/notes.txt", "counterfactual/counterfactual/manifest.json", ".git"])
def test_force_names_what_is_not_ours_inside_a_result(gridloop: Call, fake: Any, name: str) -> None:
    """What no command writes there is kept: refused, named by its first, before anything runs."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    file = Path("r", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    said = gridloop("run", "good.yaml", "--out", "r", "--force")
    assert (said.code, len(fake.asked), file.read_text()) == (2, 1, "mine")
    assert "was not written by gridloop, and --force would remove it; move it away" in said.err
    assert any(said.err.startswith(f"{place}: ") for place in (file, *file.parents[:-2]))
    file.unlink()
    for place in file.parents[:-2]:
        place.rmdir()
    assert gridloop("run", "good.yaml", "--out", "r", "--force", "--quiet").code == 0


@pytest.mark.parametrize("fails", ["mkdir", "rename"])
def test_a_result_that_cannot_be_put_aside_stays(gridloop: Call, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """One message with the reason, exit 2, and everything where it was."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")

    def refused(path: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, fails, refused)
        said = gridloop("run", "good.yaml", "--out", "r", "--force")
    assert (said.code, "r: cannot be replaced: Permission denied" in said.err) == (2, True), said.err
    assert entries() == ["r", "r/manifest.json"]


def test_interrupt_stops_cleanly(gridloop: Call, fake: Any) -> None:
    """Ctrl-C lets the run end its instant; it exits 1 and says how to go on; the old handler is back."""
    before = signal.getsignal(signal.SIGINT)
    fake.on_run = lambda watch: os.kill(os.getpid(), signal.SIGINT)
    said = gridloop("run", "good.yaml", "--quiet")
    assert said.code == 1
    assert "stopped; go on with: gridloop run --resume results/trial-001" in said.out
    assert signal.getsignal(signal.SIGINT) is before


def test_second_interrupt_does_not_wait(gridloop: Call, fake: Any) -> None:
    """A second Ctrl-C ends at once, with one line."""

    def twice(_watch: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    fake.on_run = twice
    said = gridloop("run", "good.yaml", "--quiet")
    assert (said.code, said.err) == (1, "interrupted\n")


def test_resume_takes_everything_from_the_result(gridloop: Call, fake: Any) -> None:
    """--resume goes on with a result; what would make it another run is refused."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    assert gridloop("run", "--resume", "r", "--allow-plugins", "--quiet").code == 0
    assert fake.asked[-1] == ("resume", Path("r"), True)
    said = gridloop("run", "good.yaml", "--resume", "r", "--seed", "1", "--until", "3")
    assert said.code == 2
    assert "leave out SCENARIO, --seed, --until" in said.err


def test_json_of_an_error(gridloop: Call) -> None:
    """With --json an error is JSON on stdout, with its problems."""
    said = gridloop("run", "good.yaml", "--set", "sed=1", "--json")
    assert said.code == 2
    assert said.data["status"] == "error"
    assert said.data["problems"][0]["path"] == "sed"
    assert said.err == ""


def test_a_folder_of_a_run_killed_before_it_began_may_be_used(gridloop: Call) -> None:
    """Nothing was recorded there; with a single commit or a foreign file it is somebody's."""
    Path("r/inputs").mkdir(parents=True)
    for name in ("commits.jsonl", "scenario.yaml"):
        Path("r", name).write_text("")
    assert gridloop("run", "--resume", "r").code == 2
    assert gridloop("run", "good.yaml", "--out", "r").code == 0
    Path("s").mkdir()
    Path("s/commits.jsonl").write_text("{}\n")
    assert "holds files that are no result" in gridloop("run", "good.yaml", "--out", "s").err
    Path("s/commits.jsonl").write_text("")
    Path("s/mine.txt").write_text("")
    assert "holds files that are no result" in gridloop("run", "good.yaml", "--out", "s").err


def test_a_counterfactual_is_the_same_run_with_the_shield_off(gridloop: Call, fake: Any) -> None:
    """Same scenario, seed, changes and end; into the result, without samples; and both are shown side by side."""
    said = gridloop("run", "good.yaml", "--seed", "7", "--set", "step_s=2", "--set", "shield=enforce", "--until", "4",
                    "--out", "here", "--counterfactual")
    assert said.code == 0
    (_, first, out, until_s), (_, second, inner, inner_until_s) = fake.asked
    assert (out, inner, until_s, inner_until_s) == (Path("here"), Path("here/counterfactual"), 4.0, 4.0)
    assert (first.shield.mode.value, second.shield.mode.value) == ("enforce", "off")
    assert first.model_copy(update={"shield": second.shield, "record": second.record}) == second
    assert second.record.points == ()
    assert ["lowest", "voltage", "0.9700", "0.9700", "pu"] in [line.split() for line in said.out.splitlines()]
    assert "shield off: t = 9e-06 s" in said.err
    assert said.out.endswith("next: gridloop report here\n")


def test_a_counterfactual_needs_a_shield_that_enforces(gridloop: Call, fake: Any) -> None:
    """Off or observing, the run is its own counterfactual: refused before anything runs."""
    for changes, words in (((), "the shield is off"), (("--set", "shield=observe"), "the shield only observes")):
        said = gridloop("run", "good.yaml", *changes, "--counterfactual")
        assert (said.code, fake.asked) == (2, [])
        assert words in said.err


def test_no_counterfactual_of_a_run_that_is_not_complete(gridloop: Call, fake: Any) -> None:
    """A run that failed has nothing to be compared with, and says so."""
    fake.status = "failed"
    said = gridloop("run", "good.yaml", "--set", "shield=enforce", "--counterfactual")
    assert (said.code, len(fake.asked)) == (1, 1)
    assert "the run without the shield was not begun: the run itself is not complete" in said.out


def test_a_stopped_counterfactual_can_be_resumed(gridloop: Call, fake: Any) -> None:
    """The run stands; what is missing is said, with exit 1."""
    def interrupt(_: Any) -> None:
        if len(fake.asked) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    fake.on_run = interrupt
    said = gridloop("run", "good.yaml", "--set", "shield=enforce", "--out", "here", "--counterfactual", "--quiet")
    assert said.code == 1
    assert "gridloop run --resume here/counterfactual" in said.out


def test_resume_takes_no_counterfactual(gridloop: Call) -> None:
    """It is made with a run, not with the rest of one."""
    gridloop("run", "good.yaml", "--out", "here", "--quiet")
    said = gridloop("run", "--resume", "here", "--counterfactual")
    assert said.code == 2
    assert "leave out --counterfactual" in said.err


def test_force_replaces_the_counterfactual_too(gridloop: Call) -> None:
    """A new run without one leaves no old one inside."""
    gridloop("run", "good.yaml", "--set", "shield=enforce", "--out", "here", "--counterfactual", "--quiet")
    assert Path("here/counterfactual/manifest.json").is_file()
    gridloop("run", "good.yaml", "--out", "here", "--force", "--quiet")
    assert not Path("here/counterfactual").exists()


def test_what_another_put_aside_stays_there(gridloop: Call) -> None:
    """A second --force beside one at work is refused, and touches neither result."""
    gridloop("run", "good.yaml", "--out", "r", "--quiet")
    Path(".r.replaced").mkdir()
    Path(".r.replaced/manifest.json").write_text("theirs")
    said = gridloop("run", "good.yaml", "--out", "r", "--force")
    assert (said.code, ".r.replaced is in the way" in said.err) == (2, True), said.err
    assert Path(".r.replaced/manifest.json").read_text() == "theirs"
    assert Path("r/manifest.json").is_file()
