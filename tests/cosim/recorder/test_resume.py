"""Killed runs: what is readable afterwards, and going on with them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.errors import FolderError, RecordError
from cosim.points import PointDatabase
from cosim.recorder import Recorder, RecordOptions, RunResult, compare
from cosim.recorder.folder import open_new
from tests.cosim.recorder.fakes import ABOUT, FakeStopwatch, command, database, instant

ROOT = Path(__file__).parents[3]
INSTANTS = 40


class Killed(BaseException):
    """Stands for kill -9: nothing of ours may catch it."""


def killer(at: int) -> Callable[[Path], object]:
    """An opener that dies at the file with number `at` (from 0), after its first bytes."""
    count = iter(range(10**9))

    def open_and_die(path: Path) -> object:
        file = open_new(path)
        if next(count) == at:
            file.write(b"PAR1")
            file.close()
            raise Killed
        return file

    return open_and_die


def record(folder: Path, *, options: RecordOptions | None = None, flush_every: int = 7, instants: int = INSTANTS,
           bend: int = -1, resume: bool = False, close: str = "done") -> str | None:
    """Record or resume the toy run; None when it was killed, or abandoned (`close` empty)."""
    make = Recorder.resume if resume else Recorder
    try:
        recorder = make(folder, database(), ABOUT, replace(options or RecordOptions(), messages=True, flush_s=1e9),
                        FakeStopwatch())
        for i in range(instants):
            instant(recorder, i, bend=bend)
            if i % flush_every == flush_every - 1:
                recorder.flush()
        return recorder.close(close) if close else None
    except Killed:
        return None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and digest of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    digest = record(folder)
    assert digest is not None
    return folder, digest


def check_same_files(folder: Path, whole: tuple[Path, str]) -> None:
    """Row for row what the uninterrupted run recorded, messages and journal included."""
    ours, theirs = RunResult.load(folder), RunResult.load(whole[0])
    assert compare(theirs, ours) is None
    assert ours.digest == theirs.digest == whole[1]
    assert repr(ours.journal()) == repr(theirs.journal())
    pd.testing.assert_frame_equal(ours.messages(), theirs.messages())
    assert not list(folder.glob("**/.*"))


#: How many files the toy run writes in `record`: scenario, two manifests, six parts in each of six flushes.
FILES = 39


@pytest.mark.parametrize("at", range(FILES + 1))
def test_killed_at_any_file_it_resumes(tmp_path: Path, whole: tuple[Path, str], at: int) -> None:
    """Whichever file the kill interrupts, the rest is readable and a resumed run ends as the uninterrupted one."""
    folder = tmp_path / "r"
    if record(folder, options=RecordOptions(opener=killer(at))) is not None:
        assert at == FILES
        return
    if at < 2:
        with pytest.raises(RecordError, match="no result here"):
            RunResult.load(folder)
        return
    partial = RunResult.load(folder)
    assert partial.status == "killed"
    assert partial.samples().equals(RunResult.load(whole[0]).samples().iloc[:len(partial.samples())])
    # Killed again while resuming, with flushes at other places, and once more.
    if record(folder, resume=True, flush_every=3, options=RecordOptions(opener=killer(at % 5 + 1))) is None:
        record(folder, resume=True, flush_every=9, instants=INSTANTS // 2, close="")
        assert record(folder, resume=True, flush_every=4) == whole[1]
    check_same_files(folder, whole)


@settings(max_examples=12, deadline=None)
@given(cut=st.integers(1, 3000), flush_every=st.integers(1, 45))
def test_half_a_commit_line_is_no_commit(tmp_path_factory: pytest.TempPathFactory, whole: tuple[Path, str], cut: int,
                                         flush_every: int) -> None:
    """`commits.jsonl` cut anywhere: what whole lines remain is the record, and a resume goes on from there."""
    folder = tmp_path_factory.mktemp("cut") / "r"
    record(folder, close="", instants=36)
    path = folder / "commits.jsonl"
    data = path.read_bytes()[:-cut]
    path.write_bytes(data)
    assert len(RunResult.load(folder).samples()) == 7 * data.count(b"\n")
    assert record(folder, resume=True, flush_every=flush_every) == whole[1]
    check_same_files(folder, whole)


def run_toy(folder: Path, resume: bool, patience_s: float) -> str | None:
    """The digest the process printed, or None when it had to be killed."""
    process = subprocess.Popen([sys.executable, "-m", "tests.cosim.recorder.toy", str(folder), str(TOY_INSTANTS),
                                *(["resume"] if resume else [])], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return None
        return process.stdout.read().strip()


TOY_INSTANTS = 6000


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """A real process killed again and again, then left alone, ends with the digest of an uninterrupted run."""
    folder, draw = tmp_path / "r", random.Random(5)
    reached: list[int] = []
    # Patience grows, so that a slow machine gets somewhere too.
    while (len(reached) < 6 or reached[-1] == 0) and run_toy(
            folder, bool(reached), draw.uniform(0.0, 0.1 * (1 + len(reached)))) is None:
        partial = RunResult.load(folder)
        if partial.status == "done":
            break  # killed between its last word and its exit
        reached.append(len(partial.samples()))
        assert partial.status == "killed"
        if reached[-1]:
            # Pandas reads the folder whole: at least what is committed, in order, and no torn file.
            read = pd.read_parquet(folder / "samples")
            assert len(read) >= reached[-1]
            assert read["t_us"].tolist() == [1000 * i for i in range(len(read))]
    assert reached == sorted(reached)
    assert any(reached)
    memory = Recorder(None, database(), ABOUT, RecordOptions(messages=True, flush_s=1e9))
    for i in range(TOY_INSTANTS):
        instant(memory, i)
    digest = memory.close("done")
    assert RunResult.load(folder).status == "done" or run_toy(folder, True, 60) == digest
    assert RunResult.load(folder).digest == digest
    assert compare(RunResult.load(folder), memory.result()) is None


@pytest.mark.parametrize("status", ["stopped", "failed"])
def test_a_run_that_ended_early_is_resumed(tmp_path: Path, whole: tuple[Path, str], status: str) -> None:
    """Stopped and failed runs go on too; empty tables written at their end do no harm."""
    folder = tmp_path / "r"
    record(folder, instants=0, close=status)
    assert record(folder, resume=True, instants=17, close=status) != whole[1]
    assert RunResult.load(folder).status == status
    assert record(folder, resume=True) == whole[1]
    check_same_files(folder, whole)


def test_stopped_while_catching_up_keeps_everything(tmp_path: Path, whole: tuple[Path, str]) -> None:
    """A resumed run stopped before it caught up leaves the folder as far as it was."""
    folder = tmp_path / "r"
    record(folder, instants=30, close="")
    assert record(folder, resume=True, instants=10, close="stopped") == ""
    kept = RunResult.load(folder)
    assert (kept.status, kept.digest, len(kept.samples()), kept.manifest["rows"]["samples"]) == ("stopped", "", 28, 28)
    assert record(folder, resume=True) == whole[1]


def test_another_run_is_told_apart_at_its_window(tmp_path: Path) -> None:
    """A re-execution that differs is stopped, with the table and the window of time of the first difference."""
    folder = tmp_path / "r"
    record(folder, instants=30, close="")
    before = {path: path.read_bytes() for path in sorted(folder.glob("*/*"))}
    with pytest.raises(RecordError, match=r"samples differ between t = 0\.013000 s and t = 0\.020000 s"):
        record(folder, resume=True, bend=16, flush_every=40)
    assert {path: path.read_bytes() for path in sorted(folder.glob("*/*"))} == before


def test_a_run_with_fewer_rows_is_told_apart(tmp_path: Path) -> None:
    """Missing rows are noticed too, at the next flush and at the end."""
    folder = tmp_path / "r"
    record(folder, instants=30, close="")
    recorder = Recorder.resume(folder, database(), ABOUT, RecordOptions(messages=True))
    recorder.end_instant(20_001)
    with pytest.raises(RecordError, match=r"fewer rows than were recorded between t = 0\.000000 s"):
        recorder.flush()
    del recorder
    with pytest.raises(RecordError, match="fewer rows"):
        record(folder, resume=True, instants=10)
    assert len(RunResult.load(folder).samples()) == 28


def test_a_done_run_is_not_resumed(whole: tuple[Path, str]) -> None:
    """There is nothing to go on with."""
    with pytest.raises(RecordError, match=f"done .digest {whole[1][:12]}.*nothing to resume"):
        Recorder.resume(whole[0], database(), ABOUT)


@pytest.mark.parametrize(("what", "about", "points"), [
    ("seed", replace(ABOUT, seed=8), database()),
    ("sampled", ABOUT, database(6)),
    ("points", ABOUT, PointDatabase([*database().points[:4], replace(database().points[4], unit="MW")])),
])
def test_another_scenario_is_not_resumed(tmp_path: Path, what: str, about: object, points: PointDatabase) -> None:
    """Seed and points must be those of the folder; the message names what is not."""
    record(tmp_path / "r", instants=10, close="")
    with pytest.raises(RecordError, match=f"its {what} is"):
        Recorder.resume(tmp_path / "r", points, about, RecordOptions(messages=True))
    Recorder.resume(tmp_path / "r", database(), ABOUT, RecordOptions(messages=True))


def test_a_missing_part_stops_a_resume(tmp_path: Path) -> None:
    """A part that a commit names and that is gone is named, not recorded again."""
    record(tmp_path / "r", instants=30, close="")
    (tmp_path / "r" / "samples" / "part-00001.parquet").unlink()
    with pytest.raises(RecordError, match=r"samples/part-00001\.parquet: named by commits.jsonl and missing"):
        Recorder.resume(tmp_path / "r", database(), ABOUT, RecordOptions(messages=True))


def test_orphans_are_removed_before_going_on(tmp_path: Path) -> None:
    """Parts that no commit names, and temporary files, are gone as soon as a resume begins; the rest stays."""
    folder = tmp_path / "r"
    record(folder, instants=30, close="")
    kept = sorted(folder.glob("*/*"))
    for orphan in ("samples/part-00004.parquet", "events/.part-00004.parquet.tmp"):
        (folder / orphan).write_bytes(b"PAR1")
    assert len(RunResult.load(folder).samples()) == 28
    Recorder.resume(folder, database(), ABOUT, RecordOptions(messages=True))
    assert sorted(folder.glob("*/*")) + sorted(folder.glob("*/.*")) == kept


def test_a_damaged_commit_line_is_named(tmp_path: Path) -> None:
    """Damage in the middle of the list of commits is an error with its line; it is not taken for a cut."""
    record(tmp_path / "r", instants=30, close="")
    path = tmp_path / "r" / "commits.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"{}\n" + b"".join(lines[2:]))
    with pytest.raises(RecordError, match=r"commits\.jsonl:2: damaged line .* reaches t = 0\.006000 s"):
        RunResult.load(tmp_path / "r")


def test_commits_say_how_far(tmp_path: Path) -> None:
    """Each line has time, rows, parts and hashes of every table so far."""
    record(tmp_path / "r", instants=14, close="")
    first, second = map(json.loads, (tmp_path / "r" / "commits.jsonl").read_text().splitlines())
    assert (first["t_us"], second["t_us"]) == (6000, 13_000)
    assert (first["rows"]["samples"], second["rows"]["samples"], second["parts"]["samples"]) == (7, 14, 2)
    assert first["sha256"]["samples"] != second["sha256"]["samples"]


def test_a_release_and_a_refused_point_are_recorded_by_name(tmp_path: Path) -> None:
    """A release has no value; an id that is no point has no name."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT)
    recorder.command(command(1, (0, 99), (np.nan, 2.0)))
    recorder.command(command(2, (4,), ()))
    recorder.close("done")
    frame = RunResult.load(tmp_path / "r").commands()
    assert frame["point"].tolist() == ["bus.0.v_pu", None, "battery.p_kw"]
    assert frame["kind"].tolist() == ["set", "set", "release"]
    assert frame["value"].isna().tolist() == [True, False, True]
    assert frame["expires_us"].isna().all()


@pytest.mark.parametrize("name", ["commits.jsonl", "messages"])
def test_links_are_not_followed(tmp_path: Path, name: str) -> None:
    """A resume removes and truncates: where a link stands in for what a run writes, nothing behind it is touched."""
    folder, outside = tmp_path / "r", tmp_path / "outside"
    record(folder, instants=10, close="")
    (folder / name).rename(outside)
    if outside.is_dir():
        (outside / "precious.txt").write_text("x")
    (folder / name).symlink_to(outside)
    before = [path.read_bytes() for path in (sorted(outside.iterdir()) if outside.is_dir() else [outside])]
    with pytest.raises(RecordError, match=f"{name}: is a link"):
        Recorder.resume(folder, database(), ABOUT, RecordOptions(messages=True))
    assert [p.read_bytes() for p in (sorted(outside.iterdir()) if outside.is_dir() else [outside])] == before


@pytest.mark.parametrize(("key", "value", "words"), [
    ("t_us", None, "'t_us' is None; expected int"), ("points", "x", "'points' is 'x'; expected list"),
    ("sampled", ["<img>"], "'sampled' has '<img>'"), ("digest", None, "'digest' is None")])
def test_a_damaged_manifest_is_named(tmp_path: Path, key: str, value: object, words: str) -> None:
    """A key that readers rely on and that is of another type is an error that names it."""
    record(tmp_path / "r", instants=10, close="")
    path = tmp_path / "r" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(RecordError, match=words):
        RunResult.load(tmp_path / "r")


def test_what_a_resume_needs_is_there_before_the_manifest(tmp_path: Path) -> None:
    """A run killed at its very start either has no manifest, and may begin again, or has all that a resume reads."""
    seen: list[list[str]] = []

    def keep(folder: Path) -> None:
        seen.append(sorted(path.name for path in folder.iterdir()))
        if len(seen) == 1:
            raise RecordError("no room")

    options = RecordOptions(messages=True, keep_inputs=keep)
    about = replace(ABOUT, scenario_text="name: x")
    with pytest.raises(RecordError, match="no room"):
        Recorder(tmp_path / "r", database(), about, options)
    assert not (tmp_path / "r" / "manifest.json").exists()
    Recorder(tmp_path / "r", database(), about, options)
    assert seen == [["commits.jsonl", "scenario.yaml"]] * 2
    assert (tmp_path / "r" / "manifest.json").exists()


def test_a_damaged_part_stops_a_resume(tmp_path: Path) -> None:
    """A part that is no Parquet file, or lacks rows, is named: a run that goes on is not made of damaged parts."""
    record(tmp_path / "r", instants=30, close="")
    part = tmp_path / "r" / "samples" / "part-00001.parquet"
    good = part.read_bytes()
    part.write_bytes(b"junk")
    with pytest.raises(RecordError, match=r"samples/part-00001\.parquet: this part of the result is damaged"):
        record(tmp_path / "r", resume=True)
    frame = pd.read_parquet(part.with_name("part-00000.parquet"))
    frame.iloc[:1].to_parquet(part)
    with pytest.raises(RecordError, match=r"its parts hold \d+ rows, commits.jsonl names \d+; cannot go on"):
        record(tmp_path / "r", resume=True)
    part.write_bytes(good)
    record(tmp_path / "r", resume=True)


@pytest.mark.parametrize("is_there", [False, True])
def test_a_disk_full_from_the_start_leaves_nothing(tmp_path: Path, is_there: bool) -> None:
    """Where not even the manifest can be written there is no result: the folder is as it was before."""
    folder = tmp_path / "r"
    if is_there:
        folder.mkdir()

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(FolderError, match="r: cannot be written: No space left on device"):
        Recorder(folder, database(), ABOUT, RecordOptions(opener=full))  # type: ignore[arg-type]  # it never returns
    assert list(tmp_path.rglob("*")) == ([folder] if is_there else [])
