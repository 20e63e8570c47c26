"""The recorder: digest, flushes, full disks."""

from __future__ import annotations

import errno
import json
import math
import resource
import struct
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.commands import NEVER_US
from cosim.errors import RecordError
from cosim.recorder import DecisionRow, Keep, Recorder, RecordOptions, RunResult
from cosim.recorder.folder import open_new
from tests.cosim.recorder.fakes import ABOUT, FakeStopwatch, command, database, instant

NEVER_FLUSH = RecordOptions(messages=True, flush_s=math.inf)


def digest_of(instants: int, options: RecordOptions = NEVER_FLUSH, bend: int = -1) -> str:
    """The digest of the toy run recorded in memory in one flush."""
    recorder = Recorder(None, database(), ABOUT, options, FakeStopwatch())
    for i in range(instants):
        instant(recorder, i, bend=bend)
    return recorder.close("done")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 39), max_size=12), st.sampled_from(Keep))
def test_digest_does_not_know_when_flushes_happened(flush_after: list[int], keep: Keep) -> None:
    """Any flush boundaries, and keeping or dropping the rows, give the digest of a single flush."""
    recorder = Recorder(None, database(), ABOUT, replace(NEVER_FLUSH, keep=keep), FakeStopwatch())
    for i in range(40):
        instant(recorder, i)
        for _ in range(flush_after.count(i)):
            recorder.flush()
    assert recorder.close("done") == digest_of(40)


def test_digest_sees_every_table() -> None:
    """A change in any digested table, in a name or in the order within an instant changes the digest."""
    def record(*calls: tuple[str, tuple[object, ...]]) -> str:
        recorder = Recorder(None, database(), ABOUT, NEVER_FLUSH, FakeStopwatch())
        for name, args in calls:
            getattr(recorder, name)(*args)
        return recorder.close("done")

    sample, event = ("sample", (0, np.zeros(5))), ("event", (0, "a", "b", "c", 1.0))
    runs = [record(), record(sample), record(event), record(sample, event), record(event, sample),
            record(("sample", (1, np.zeros(5)))), record(("sample", (0, -np.zeros(5)))),
            record(("event", (0, "a", "b", "d", 1.0))), record(("event", (0, "a", "b", "c", 1.0000000000000002))),
            record(("command", (command(0),))), record(("command", (command(0, external=True),))),
            record(("command", (command(0, values=()),))), record(("command", (command(0, expires_us=5),))),
            record(("command", (command(0, (3,)),)))]
    assert len(set(runs)) == len(runs)
    assert len(set(runs[0])) > 4


def test_digest_is_what_is_written_of_it() -> None:
    """The digest, worked out here from the layout that `digest.py` and `tables.py` state (and as it was first)."""
    recorder = Recorder(None, database(3), ABOUT, NEVER_FLUSH, FakeStopwatch())
    recorder.sample(0, np.array([1.0, np.nan, -0.0]))
    recorder.event(0, "trip", "line.3", "é", math.inf)
    recorder.command(command(5, (2,), (1.0,), external=True, expires_us=9))
    recorder.decision(DecisionRow(6, 2, 9.0, 8.0, "voltage", 1.0, "agent.2", "bus.1.v_pu", 1.05, 1.06, math.nan,
                                  "projection", False))

    def text(value: str) -> int:
        return int.from_bytes(sha256(value.encode()).digest()[:8], "little")

    tables = {
        "samples": (1, b"samples\nbus.0.v_pu\nbus.1.v_pu\nbattery.p_kw"
                    + struct.pack("<qq3d", 0, 1, 1.0, math.nan, -0.0)),
        "events": (1, b"events" + struct.pack("<qqQQQd", 0, 2, text("trip"), text("line.3"), text("é"), math.inf)),
        "commands": (1, b"commands" + struct.pack("<qqiiQqdqQq", 5, 3, 0, 1, text("agent.2"), 2, 1.0, 9,
                                                  text("accepted"), 1)),
        "decisions": (1, b"decisions" + struct.pack(
            "<qqqddQdQQdddQq", 6, 4, 2, 9.0, 8.0, text("voltage"), 1.0, text("agent.2"), text("bus.1.v_pu"), 1.05, 1.06,
            math.nan, text("projection"), 0)),
    }
    lines = "".join(f"{name} {rows} {sha256(data).hexdigest()}\n" for name, (rows, data) in tables.items())
    assert recorder.close("done") == sha256(b"gridloop run 2\n" + lines.encode()).hexdigest()
    assert recorder.digest() == "390efb9369a0c69e089fcdfac9c18faa53060b40a20931687d17b1bacbfdf350"


def test_all_nans_are_one() -> None:
    """NaNs with other bits (x86 makes negative ones) do not change the digest."""
    odd = np.array([0xFFF8000000000001], np.uint64).view(np.float64)[0]
    digests = []
    for nan in (np.nan, -np.nan, odd):
        recorder = Recorder(None, database(), ABOUT, NEVER_FLUSH)
        recorder.sample(0, np.full(5, nan))
        recorder.event(0, "a", "b", "", nan)
        recorder.command(command(0, (4,), (nan,)))
        digests.append(recorder.close("done"))
    assert len(set(digests)) == 1


def test_recording_messages_does_not_change_the_digest() -> None:
    """Messages are evidence, not part of the run's identity."""
    assert digest_of(40, replace(NEVER_FLUSH, messages=False)) == digest_of(40)


def test_flush_is_due_by_time_and_by_bytes(tmp_path: Path) -> None:
    """`end_instant` flushes after `flush_s` on the stopwatch, or with `flush_bytes` buffered, and not before."""
    stopwatch = FakeStopwatch()
    recorder = Recorder(tmp_path / "a", database(), ABOUT, RecordOptions(flush_s=2.0, flush_bytes=4000), stopwatch)

    def commits() -> int:
        return len((tmp_path / "a" / "commits.jsonl").read_bytes().splitlines())

    recorder.sample(0, np.zeros(5))
    recorder.end_instant(0)
    assert commits() == 0
    stopwatch.s += 2.0
    recorder.end_instant(1)
    assert commits() == 1
    for t_us in range(2, 200):
        recorder.sample(t_us, np.zeros(5))
        recorder.end_instant(t_us)
    assert commits() == 1 + 198 * 7 * 8 // 4000


def test_sample_ids_choose_the_columns() -> None:
    """Only the points asked for are kept, in the order asked, of the full vector given."""
    recorder = Recorder(None, database(), ABOUT, RecordOptions(sample_ids=np.array([3, 0])))
    recorder.sample(1_500_000, np.arange(5.0))
    recorder.close("done")
    frame = recorder.result().samples()
    assert list(frame.columns) == ["bus.3.v_pu", "bus.0.v_pu"]
    assert frame.loc[1.5].tolist() == [3.0, 0.0]


@pytest.mark.parametrize("ids", [[5], [-1], [1, 1]])
def test_sample_ids_are_checked(ids: list[int]) -> None:
    """An id that is no point, or given twice, is refused before the run."""
    with pytest.raises(RecordError, match="sample_ids"):
        Recorder(None, database(), ABOUT, RecordOptions(sample_ids=np.array(ids)))


def test_a_block_outgrown_keeps_its_rows() -> None:
    """More samples than the block holds, without a flush in between, are all recorded."""
    recorder = Recorder(None, database(), ABOUT, RecordOptions(flush_bytes=1, flush_s=math.inf))
    for t_us in range(100):
        recorder.sample(t_us, np.full(5, float(t_us)))
    recorder.close("done")
    assert recorder.result().samples()["battery.p_kw"].tolist() == [float(t) for t in range(100)]


class FullDisk:
    """An opener whose disk has room for `room` bytes; a write beyond it stores part and fails."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, path: Path) -> FullFile:
        return FullFile(self, path)


class FullFile:
    """A file on a `FullDisk`."""

    def __init__(self, disk: FullDisk, path: Path) -> None:
        self._disk, self._file = disk, open_new(path)

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: object) -> None:
        """Write what there is room for."""
        held = memoryview(data)
        self._disk.room -= len(held)
        if self._disk.room < 0:
            self._file.write(held[:len(held) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        self._file.write(held)


def refused_flush(recorder: Recorder) -> str:
    """Flush; the message when it was refused, else ""."""
    try:
        recorder.flush()
    except RecordError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("room", range(4000, 40000, 2500))
def test_full_disk_loses_nothing(tmp_path: Path, room: int) -> None:
    """Wherever the disk fills up: a clear error, commits readable, and a later flush has every row."""
    disk = FullDisk(room)
    folder = tmp_path / "r"
    recorder = Recorder(folder, database(), ABOUT, replace(NEVER_FLUSH, opener=disk), FakeStopwatch())
    refused = 0
    for i in range(40):
        instant(recorder, i)
        if i % 5 == 4:
            refusal = refused_flush(recorder)
            refused += bool(refusal)
            assert not refusal or "the disk is full; the record on disk reaches" in refusal
            assert len(RunResult.load(folder).samples()) == 5 * ((i + 1) // 5 - refused)
            assert not list(folder.glob("*/.*"))
    disk.room = 10**9
    assert recorder.close("done") == digest_of(40)
    assert len(RunResult.load(folder).samples()) == 40
    assert refused or room > 20000


def test_close_on_a_full_disk_may_be_repeated(tmp_path: Path) -> None:
    """`close` reports the refusal; when there is room again it finishes the run."""
    disk = FullDisk(10**9)
    recorder = Recorder(tmp_path / "r", database(), ABOUT, replace(NEVER_FLUSH, opener=disk), FakeStopwatch())
    for i in range(10):
        instant(recorder, i)
    disk.room = 0
    with pytest.raises(RecordError, match="the disk is full"):
        recorder.close("done")
    disk.room = 10**9
    assert recorder.close("done") == digest_of(10)
    assert recorder.close("done") == digest_of(10)
    assert RunResult.load(tmp_path / "r").status == "done"


LIMITED = """
import resource, sys
from pathlib import Path
from cosim.errors import RecordError
from cosim.recorder import Recorder, RecordOptions
from tests.cosim.recorder.fakes import ABOUT, database, instant
recorder = Recorder(Path(sys.argv[1]), database(), ABOUT, RecordOptions(flush_s=1e9))
for i in range(10):
    instant(recorder, i)
recorder.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for i in range(10, 3000):
    instant(recorder, i)
try:
    recorder.close("done")
except RecordError as error:
    sys.stdout.write(str(error))
"""


def test_a_limit_of_the_system_is_a_clear_error(tmp_path: Path) -> None:
    """A real refusal by the operating system (file size limit) says what is kept, and that is readable."""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path / "r")], cwd=root, text=True,
                          capture_output=True, check=True)
    assert "File too large; the record on disk reaches t = 0.009000 s" in done.stdout
    result = RunResult.load(tmp_path / "r")
    assert len(result.samples()) == 10
    assert result.status == "failed"


def test_a_commit_that_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    """A commit line that the disk takes half of leaves no half line for the next one to be glued to."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT, NEVER_FLUSH, FakeStopwatch())
    for i in range(40):
        instant(recorder, i)
        recorder.flush()
    commits = tmp_path / "r" / "commits.jsonl"
    before = commits.read_bytes()
    instant(recorder, 40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
    try:
        refusal = refused_flush(recorder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "reaches t = 0.039000 s" in refusal
    assert commits.read_bytes() == before
    assert recorder.close("done") == digest_of(41)
    assert len(RunResult.load(tmp_path / "r").samples()) == 41


def test_a_folder_with_a_result_is_refused(tmp_path: Path) -> None:
    """A result is never overwritten."""
    Recorder(tmp_path / "r", database(), ABOUT).close("done")
    before = (tmp_path / "r" / "manifest.json").read_bytes()
    with pytest.raises(RecordError, match="holds a result already"):
        Recorder(tmp_path / "r", database(), ABOUT)
    assert (tmp_path / "r" / "manifest.json").read_bytes() == before


def test_an_impossible_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    """A path below a file cannot be made: said at once."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file/r: cannot be written: Not a directory"):
        Recorder(tmp_path / "file" / "r", database(), ABOUT)


def test_too_little_room_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly full disk is refused before hours are simulated."""
    monkeypatch.setattr("cosim.recorder.folder.MIN_FREE_BYTES", 10**18)
    with pytest.raises(RecordError, match="MB free on this disk"):
        Recorder(tmp_path / "r", database(), ABOUT)


def test_two_writers_are_refused(tmp_path: Path) -> None:
    """A run being recorded cannot be resumed by somebody else."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT)
    with pytest.raises(RecordError, match="another process is recording"):
        Recorder.resume(tmp_path / "r", database(), ABOUT)
    recorder.close("stopped")


def test_manifest_tells_the_run(tmp_path: Path) -> None:
    """Everything the caller gave, the points, rows, time reached and digest are in the manifest as plain JSON."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT, NEVER_FLUSH)
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["status"] == "running"
    for i in range(20):
        instant(recorder, i)
    digest = recorder.close("done", summary={"steps": 20}, timing={"solver": 0.5})
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    assert manifest["digest"] == digest == digest_of(20)
    assert (manifest["seed"], manifest["t_us"], manifest["summary"]) == (7, 19_000, {"steps": 20})
    assert manifest["rows"] == {"journal": 8, "samples": 20, "events": 3, "commands": 27, "decisions": 5,
                                "messages": 5}
    assert manifest["points"][0] == {"name": "bus.0.v_pu", "unit": "pu", "kind": "analog_input"}
    assert (tmp_path / "r" / "scenario.yaml").read_text() == "grid: case14\n"


def test_manifest_is_json_whatever_a_summary_holds(tmp_path: Path) -> None:
    """Arrays, NumPy numbers, NaN and infinity become what every JSON reader takes."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT)
    recorder.close("done", summary={"a": np.arange(2), "b": np.float64("nan"), "c": (np.int64(3), -math.inf),
                                    4: Path("x")})

    def refuse(word: str) -> None:
        raise AssertionError(word)

    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text(), parse_constant=refuse)
    assert manifest["summary"] == {"a": [0, 1], "b": None, "c": [3, None], "4": "x"}


def test_strange_text_is_recorded(tmp_path: Path) -> None:
    """Text that is not Unicode (from bytes of outside) does not stop a run."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT)
    recorder.event(0, "odd", b"\xff".decode("utf-8", "surrogateescape"), "\0")
    recorder.close("done")
    assert RunResult.load(tmp_path / "r").events()["subject"].tolist() == ["?"]


def test_journal_comes_back_as_it_went_in() -> None:
    """Infinities, NaN, -0.0, time to live and releases survive; only external commands are in the journal."""
    recorder = Recorder(None, database(), ABOUT, replace(NEVER_FLUSH, keep=Keep.JOURNAL))
    given_in = [command(5, (0, 4, 99), (np.nan, -np.inf, -0.0), external=True, expires_us=77),
                command(6, (1, 2), (), external=True), command(7, external=True, expires_us=NEVER_US)]
    for one in (*given_in[:2], command(6), given_in[2]):
        recorder.command(one)
    recorder.close("done")
    assert repr(recorder.result().journal()) == repr([c._replace(values=tuple(map(float, c.values)))
                                                      for c in given_in])
