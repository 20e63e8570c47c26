"""Reading a recorded run, and comparing two."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cosim.errors import RecordError, ReplayError
from cosim.recorder import DecisionRow, Divergence, Keep, Recorder, RecordOptions, RunResult, compare
from cosim.recorder.folder import COUNTERFACTUAL
from cosim.recorder.tables import ADDED
from cosim.replay import replay
from tests.cosim.recorder.fakes import ABOUT, FakeStopwatch, command, database, instant


def record(folder: Path | None, instants: int = 40, bend: int = -1) -> Recorder:
    """The toy run in several parts."""
    recorder = Recorder(folder, database(), ABOUT, RecordOptions(messages=True, flush_s=1e9), FakeStopwatch())
    for i in range(instants):
        instant(recorder, i, bend=bend)
        if i % 11 == 10:
            recorder.flush()
    recorder.close("done", summary={"steps": instants})
    return recorder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished result."""
    path = tmp_path_factory.mktemp("result") / "r"
    record(path)
    return path


def test_samples_are_the_vectors_given(folder: Path) -> None:
    """Values come back bit for bit, indexed by seconds, one column a point."""
    frame = RunResult.load(folder).samples()
    assert list(frame.columns) == list(database().names)
    assert frame.index.name == "t_s"
    assert frame.index.tolist() == [i / 1000 for i in range(40)]
    assert (frame.loc[0.017].to_numpy() == np.random.default_rng([1, 17]).normal(size=5)).all()


def test_samples_by_pattern_and_time(folder: Path) -> None:
    """Patterns choose columns in the order asked, each once; times are inclusive."""
    result = RunResult.load(folder)
    frame = result.samples(["battery.*", "bus.1.v_pu", "bus.*"], 0.010, 0.013)
    assert list(frame.columns) == ["battery.p_kw", "bus.1.v_pu", "bus.0.v_pu", "bus.2.v_pu", "bus.3.v_pu"]
    assert frame.index.tolist() == [0.010, 0.011, 0.012, 0.013]
    assert result.points["battery.p_kw"] == "kW"
    with pytest.raises(RecordError, match=r"'bus\.9\.\*' matches none of the 5 recorded points .such as bus\.0"):
        result.samples(["bus.9.*"])


def test_memory_and_folder_read_the_same(folder: Path) -> None:
    """An in-memory recorder offers the same tables, journal and digest as a folder."""
    stored, kept = RunResult.load(folder), record(None).result()
    for table in ("samples", "events", "commands", "decisions", "messages"):
        pd.testing.assert_frame_equal(getattr(stored, table)(), getattr(kept, table)())
    pd.testing.assert_frame_equal(stored.samples("bus.*", 0.01, 0.02), kept.samples("bus.*", 0.01, 0.02))
    assert repr(stored.journal()) == repr(kept.journal())
    assert stored.digest == kept.digest
    assert stored.manifest["rows"] == kept.manifest["rows"]


def test_pandas_and_duckdb_read_the_files(folder: Path) -> None:
    """The two ways of reading without Gridloop that the documentation shows."""
    result = RunResult.load(folder)
    assert (pd.read_parquet(folder / "samples").drop(columns="t_us").to_numpy() == result.samples().to_numpy()).all()
    with duckdb.connect() as duck:
        for table in ("samples", "events", "commands", "decisions", "messages", "journal"):
            (rows,), = duck.sql(f"select count(*) from read_parquet('{folder}/{table}/*.parquet')").fetchall()
            assert rows == result.manifest["rows"][table]
        (value,), = duck.sql(f"""select "bus.2.v_pu" from read_parquet('{folder}/samples/*.parquet')
                                 where t_us = 17000""").fetchall()
    assert value == np.random.default_rng([1, 17]).normal(size=5)[2]


def test_tables_that_stayed_empty_have_columns(tmp_path: Path) -> None:
    """A query on a table without rows finds no rows, not an error."""
    Recorder(tmp_path / "r", database(), ABOUT).close("done")
    result = RunResult.load(tmp_path / "r")
    assert list(pd.read_parquet(tmp_path / "r" / "events").columns) == ["t_us", "seq", "kind", "subject", "detail",
                                                                       "value"]
    assert [len(frame) for frame in (result.samples(), result.events(), result.messages())] == [0, 0, 0]
    assert result.journal() == []


def test_a_running_run_can_be_read(tmp_path: Path) -> None:
    """A result being written shows what is committed, and says that it is running."""
    recorder = Recorder(tmp_path / "r", database(), ABOUT, RecordOptions(flush_s=1e9))
    for i in range(10):
        instant(recorder, i)
    recorder.flush()
    instant(recorder, 10)
    result = RunResult.load(tmp_path / "r")
    assert (result.status, result.digest, result.manifest["t_us"]) == ("running", "", 9000)
    assert len(result.samples()) == 10
    assert len(recorder.result().samples()) == 10
    recorder.close("stopped")


def test_dropped_rows_leave_digest_and_journal() -> None:
    """`Keep.JOURNAL` has no tables, the journal and the digest of the run that kept everything."""
    options = RecordOptions(keep=Keep.JOURNAL, messages=True, flush_s=1e9)
    recorder = Recorder(None, database(), ABOUT, options, FakeStopwatch())
    for i in range(40):
        instant(recorder, i)
    assert recorder.close("done") == record(None).digest()
    assert len(recorder.result().samples()) == 0
    assert repr(recorder.result().journal()) == repr(record(None).result().journal())


def test_damage_is_named(tmp_path: Path) -> None:
    """A missing or torn part, a damaged manifest and an empty folder are each named."""
    record(tmp_path / "r")
    part = tmp_path / "r" / "events" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    result = RunResult.load(tmp_path / "r")
    with pytest.raises(RecordError, match=r"events/part-00000\.parquet: this part of the result is missing or dam"):
        result.events()
    (tmp_path / "r" / "samples" / "part-00002.parquet").unlink()
    with pytest.raises(RecordError, match=r"samples/part-00002\.parquet: this part"):
        result.samples()
    (tmp_path / "r" / "manifest.json").write_text("{")
    with pytest.raises(RecordError, match=r"manifest\.json: cannot be read as a manifest"):
        RunResult.load(tmp_path / "r")
    with pytest.raises(RecordError, match="no result here"):
        RunResult.load(tmp_path)


def test_equal_runs_compare_equal(folder: Path) -> None:
    """Folder and memory, with other part boundaries: no divergence."""
    assert compare(RunResult.load(folder), record(None).result()) is None


def test_compare_finds_one_flipped_bit(folder: Path) -> None:
    """The last bit of one value of one point, at its time and by its name; nine digits do not see it."""
    other = Recorder(None, database(), ABOUT, RecordOptions(messages=True, flush_s=1e9))
    real = other.sample
    def flip(t_us: int, values: np.ndarray) -> None:
        if t_us == 23_000:
            values = values.copy()
            values[3:4].view(np.int64)[0] ^= 1
        real(t_us, values)
    other.sample = flip  # type: ignore[method-assign]
    for i in range(40):
        instant(other, i)
    other.close("done")
    found = compare(RunResult.load(folder), other.result())
    assert found is not None
    assert (found.table, found.t_us, found.subject) == ("samples", 23_000, "bus.3.v_pu")
    assert found.recorded == np.random.default_rng([1, 23]).normal(size=5)[3] != found.replayed
    assert str(found).startswith("first divergence at t = 0.023000 s: samples, bus.3.v_pu, value: recorded ")
    assert compare(RunResult.load(folder), other.result(), digits=9) is None


@pytest.mark.parametrize(("a", "b", "same"), [
    (1.0, 1.0 + 4e-9, True), (1.0, 1.0 + 6e-9, False), (1e6, 1e6 + 0.004, True), (1e6, 1e6 + 0.006, False),
    (0.0, 9e-10, True), (0.0, 2e-9, False), (np.nan, -np.nan, True), (np.nan, 1.0, False),
    (np.inf, np.inf, True), (np.inf, -np.inf, False), (np.inf, 1e300, False)])
def test_nine_digits(a: float, b: float, same: bool) -> None:
    """What nine significant digits forgive."""
    results = []
    for value in (a, b):
        recorder = Recorder(None, database(), ABOUT)
        recorder.sample(0, np.full(5, value))
        recorder.close("done")
        results.append(recorder.result())
    assert (compare(*results, digits=9) is None) == same


def test_compare_finds_rows_and_order() -> None:
    """Another command, a row too many, another order: each is found and named, and the earliest wins."""
    def result(*calls: tuple[str, tuple[object, ...]]) -> RunResult:
        recorder = Recorder(None, database(), ABOUT)
        for name, args in calls:
            getattr(recorder, name)(*args)
        recorder.close("done")
        return recorder.result()

    ask, event = ("command", (command(5),)), ("event", (5, "trip", "line.3"))
    late = ("event", (6, "trip", "line.4"))
    assert compare(result(ask, event), result(ask, event)) is None
    assert compare(result(ask), result(("command", (command(5, values=(2.0,)),)))) == Divergence(
        "commands", 5, "battery.p_kw", "value", 1.5, 2.0)
    assert compare(result(ask, late), result(ask)) == Divergence("events", 6, "line.4", "t_us", 6, None)
    assert compare(result(event), result(late)) == Divergence("events", 5, "line.3", "t_us", 5, 6)
    found = compare(result(ask, event), result(event, ask))
    assert found is not None
    assert (found.t_us, found.what, found.recorded, found.replayed) == (5, "seq", 1, 2)


def test_compare_with_other_points() -> None:
    """Runs that sampled other points differ from the start."""
    some = Recorder(None, database(), ABOUT, RecordOptions(sample_ids=np.array([0, 1])))
    some.sample(3, np.zeros(5))
    some.close("done")
    found = compare(some.result(), record(None).result())
    assert found is not None
    assert (found.table, found.what, found.subject) == ("samples", "recorded points", "battery.p_kw")


def decided(folder: Path) -> DecisionRow:
    """A result with one full decision and one of the device's own limits; the full one."""
    recorder = Recorder(folder, database(), ABOUT)
    full = DecisionRow(1_000_000, 4, 9.0, 8.0, "voltage", 1.0, "sun", "bus.1.v_pu", 1.05, 1.06, 1.0499, "projection",
                       False)
    recorder.decision(full)
    recorder.decision(DecisionRow(2_000_000, 4, 9.0, 8.0, "ramp", 1.0))
    recorder.close("done")
    return full


def test_a_decision_says_who_and_which_limit(tmp_path: Path) -> None:
    """Every column of a decision comes back as it was recorded, NaN and "" included."""
    full = decided(tmp_path / "r")
    first, second = RunResult.load(tmp_path / "r").decisions().drop(columns="seq").to_dict("records")
    expected = full._asdict()
    del expected["point_id"]
    assert first == {**expected, "point": "battery.p_kw"}
    assert (second["source"], second["limit"], second["rung"], second["enforced"]) == ("", "", "request", True)
    assert np.isnan([second["bound"], second["found"], second["after"]]).all()


def aged(folder: Path) -> None:
    """Make a result one of format 1: without the columns of a decision that came later."""
    for path in (folder / "decisions").iterdir():
        table = pq.read_table(path)
        pq.write_table(table.select([name for name in table.column_names if ("decisions", name) not in ADDED]), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))


def test_the_earlier_format_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    """A result of format 1 has its decisions without who and which limit; resume and replay say why they do not."""
    decided(tmp_path / "r")
    aged(tmp_path / "r")
    result = RunResult.load(tmp_path / "r")
    assert result.decisions()["requested"].tolist() == [9.0, 9.0]
    assert result.decisions()["source"].tolist() == ["", ""]
    assert result.source.read("decisions", ["t_us", "limit"], (2_000_000, 3_000_000))["limit"].to_pylist() == [""]
    with pytest.raises(ReplayError, match="recorded in format 1 by an earlier version"):
        replay(tmp_path / "r")
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    (tmp_path / "r" / "manifest.json").write_text(json.dumps({**manifest, "status": "stopped"}))
    with pytest.raises(RecordError, match="recorded in format 1 by an earlier version"):
        Recorder.resume(tmp_path / "r", database(), ABOUT)


def test_another_format_is_named(tmp_path: Path) -> None:
    """A format of the future is refused in words."""
    decided(tmp_path / "r")
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_text())
    (tmp_path / "r" / "manifest.json").write_text(json.dumps({**manifest, "format": 3}))
    with pytest.raises(RecordError, match="format 3; this version reads format 1 and 2"):
        RunResult.load(tmp_path / "r")


def test_the_counterfactual_lies_inside(tmp_path: Path) -> None:
    """A result inside a result is another one: found where it is, None where not, and none of its rows count."""
    recorded = record(tmp_path / "r")
    result = RunResult.load(tmp_path / "r")
    assert result.counterfactual() is None
    assert recorded.result().counterfactual() is None
    record(tmp_path / "r" / COUNTERFACTUAL, instants=5)
    inner = result.counterfactual()
    assert inner is not None
    assert (len(inner.samples()), len(RunResult.load(tmp_path / "r").samples())) == (5, 40)
