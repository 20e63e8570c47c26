"""Reading profile files: what is accepted, and that every refusal says where, what and what would be accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosim.datasets import Gaps, Limits, Profile, load_profile, unit_of
from cosim.errors import ProfileError, ScenarioError

GOOD = "t_s,a_p_kw,b_pu\n0,1,0.5\n900,2,0.25\n1800,3,0\n"


def write(folder: Path, text: str | bytes, name: str = "p.csv") -> Path:
    """A profile file with this text."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_table(folder: Path, **columns: object) -> Path:
    """A Parquet file of these columns."""
    path = folder / "p.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def refusal(path: Path, **options: object) -> ProfileError:
    """The error that loading raises."""
    with pytest.raises(ProfileError) as caught:
        load_profile(path, **options)  # type: ignore[arg-type]
    return caught.value


def same(left: Profile, right: Profile) -> bool:
    """Equal data, whatever file they came from."""
    return left.fingerprint() == right.fingerprint()


def test_seconds_columns_and_units(tmp_path: Path) -> None:
    """A CSV gives times in microseconds, one row a sample, and the units of its names."""
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.columns == ("a_p_kw", "b_pu")
    assert profile.units == ("kw", "pu")
    assert profile.t_us.tolist() == [0, 900_000_000, 1_800_000_000]
    assert profile.t_us.dtype == np.int64
    assert profile.values.tolist() == [[1, 0.5], [2, 0.25], [3, 0]]
    assert profile.rows.tolist() == [2, 3, 4]
    assert profile.epoch_us is None
    assert profile.step_us == 900_000_000


def test_values_are_read_only(tmp_path: Path) -> None:
    """Devices share a profile, so nobody can write into it."""
    profile = load_profile(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="read-only"):
        profile.values[0, 0] = 5.0


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        "# licence, note\n#;more;\n\n" + GOOD,
        GOOD.replace("900,", "\n900,") + "\n\n  \n",
        GOOD.rstrip("\n"),
        GOOD.replace("2,", " +2.0e0 ,").replace("900,", '"900",'),
    ],
    ids=["bom", "crlf", "semicolon", "tab", "comments", "blank-lines", "no-last-newline", "spaces-quotes-exponent"],
)
def test_csv_dialects(tmp_path: Path, text: str) -> None:
    """Separators, byte order marks, comments, blank lines and line ends do not change what is read."""
    assert same(load_profile(write(tmp_path, text)), load_profile(write(tmp_path, GOOD, "good.csv")))


def test_lines_count_comments_and_blank_lines(tmp_path: Path) -> None:
    """A problem is reported at the line a text editor shows."""
    error = refusal(write(tmp_path, "# note\n\nt_s,a_pu\n0,1\n\n900,x\n1800,1\n"))
    assert [(p.line, p.column) for p in error.problems] == [(6, 2)]


@pytest.mark.parametrize(
    "stamps",
    [
        ["2016-03-27T00:00", "2016-03-27T01:00", "2016-03-27T02:00"],
        ["2016-03-27 00:00:00Z", "2016-03-27 01:00:00Z", "2016-03-27 02:00:00Z"],
        ["2016-03-27T01:00+01:00", "2016-03-27T03:00+02:00", "2016-03-27T04:00+02:00"],
        ["2016-03-27T00:00", "2016-03-27T03:00+02:00", "2016-03-27T02:00Z"],
    ],
    ids=["naive-is-utc", "zulu", "offset-changes", "mixed"],
)
def test_time_stamps(tmp_path: Path, stamps: list[str]) -> None:
    """ISO 8601 stamps with, without and with changing offsets are the same instants."""
    text = "time,a_pu\n" + "".join(f"{stamp},{i}\n" for i, stamp in enumerate(stamps))
    profile = load_profile(write(tmp_path, text))
    assert profile.t_us.tolist() == [0, 3_600_000_000, 7_200_000_000]
    assert profile.epoch_us == int(datetime(2016, 3, 27, tzinfo=UTC).timestamp()) * 1_000_000
    assert profile.offset_us("2016-03-27T03:30:00+02:00") == 5_400_000_000


def test_offset_needs_stamps_and_an_instant(tmp_path: Path) -> None:
    """A date has no place in a file of seconds, and a text that is no date has none anywhere."""
    with pytest.raises(ProfileError, match="has seconds"):
        load_profile(write(tmp_path, GOOD)).offset_us("2016-01-01")
    stamped = load_profile(write(tmp_path, "time,a_pu\n2016-01-01,1\n2016-01-02,1\n"))
    with pytest.raises(ProfileError, match="no ISO 8601 instant"):
        stamped.offset_us("tomorrow")


def test_parquet_equals_csv(tmp_path: Path) -> None:
    """The same data from Parquet, seconds or stamps or strings, is the same profile."""
    start = datetime(2016, 1, 1, tzinfo=UTC)
    instants = [start + timedelta(minutes=15 * i) for i in range(3)]
    values = {"a_p_kw": [1, 2, 3], "b_pu": pa.array([0.5, 0.25, 0.0], pa.float32())}
    by_seconds = load_profile(write_table(tmp_path, t_s=[0, 900, 1800], **values))
    assert same(by_seconds, load_profile(write(tmp_path, GOOD)))
    texts = [instant.isoformat() for instant in instants]
    stamped = load_profile(write(tmp_path, "time,a_p_kw,b_pu\n" + "".join(
        f"{text},{a},{b}\n" for text, a, b in zip(texts, [1, 2, 3], [0.5, 0.25, 0], strict=True))))
    kinds = [pa.array(instants, pa.timestamp("ns", "Europe/Berlin")), pa.array(texts),
             pa.array(texts, pa.large_string()),
             pa.array([i.replace(tzinfo=None) for i in instants], pa.timestamp("s"))]
    for kind in kinds:
        assert same(load_profile(write_table(tmp_path, time=kind, **values)), stamped)


def test_columns_restrict_what_is_read_and_checked(tmp_path: Path) -> None:
    """Only the columns asked for are read, in that order; a bad cell elsewhere does not matter."""
    path = write(tmp_path, "t_s,a_pu,b_pu,c_pu\n0,1,x,3\n1,4,x,6\n")
    profile = load_profile(path, columns=["c_pu", "a_pu", "c_pu"])
    assert profile.columns == ("c_pu", "a_pu")
    assert profile.values.tolist() == [[3, 1], [6, 4]]


def test_missing_samples_pass_where_gaps_are_to_be_mended(tmp_path: Path) -> None:
    """With ``gaps`` the loader leaves holes as they are: mending is the sampler's."""
    path = write(tmp_path, "t_s,a_pu\n0,1\n1,\n2,NaN\n3,n/a\n9,5\n")
    profile = load_profile(path, gaps=Gaps.HOLD)
    assert np.isnan(profile.values[:, 0]).tolist() == [False, True, True, True, False]


REFUSED = {
    "cell": ("t_s,a_pu\n0,1\n900,1.2.3\n", "profile-number", 3, 2, ["'a_pu'", "'1.2.3'", "finite number"]),
    "decimal-comma": ("t_s;a_pu\n0;0,5\n900;1\n", "profile-number", 2, 2, ["'0,5'", "decimal point"]),
    "infinite": ("t_s,a_pu\n0,1\n900,-inf\n", "profile-number", 3, 2, ["'-inf'"]),
    "overflow-among-others": ("t_s,a_pu\n0, 1\n900,1e999\n", "profile-number", 3, 2, ["'1e999'"]),
    "infinite-among-others": ("t_s,a_pu\n0, 1\n900,Infinity\n", "profile-number", 3, 2, ["'Infinity'"]),
    "overflow": ("t_s,a_pu\n0,1\n900,1e999\n", "profile-number", 3, 2, ["'1e999'"]),
    "missing": ("t_s,a_pu\n0,1\n900,\n", "profile-missing", 3, 2, ["t_s = 900", "gaps: hold", "gaps: linear"]),
    "nan": ("t_s,a_pu\n0,1\n900,nan\n", "profile-missing", 3, 2, ["'a_pu'", "NaN"]),
    "gap": ("t_s,a_pu\n0,1\n900,1\n1800,1\n3600,1\n", "profile-gap", 5, 1,
            ["1800 s", "t_s = 1800", "t_s = 3600", "steps of 900 s", "gaps: hold"]),
    "twice": ("t_s,a_pu\n0,1\n900,1\n900,1\n", "profile-order", 4, 1, ["repeats t_s = 900", "expected a later one"]),
    "back": ("t_s,a_pu\n0,1\n900,1\n300,1\n", "profile-order", 4, 1, ["goes back from t_s = 900", "t_s = 300"]),
    "autumn": ("time,a_pu\n2016-10-30T02:45,1\n2016-10-30T02:00,1\n", "profile-order", 3, 1, ["add offsets"]),
    "time-cell": ("t_s,a_pu\n0,1\nnoon,1\n900,1\n", "profile-time", 3, 1, ["'noon'", "seconds from the start"]),
    "no-time": ("t_s,a_pu\n0,1\n,1\n900,1\n", "profile-time", 3, 1, ["''"]),
    "sub-us": ("t_s,a_pu\n0,1\n0.3333333333,1\n", "profile-time", 3, 1, ["'0.3333333333'", "whole microseconds"]),
    "far": ("t_s,a_pu\n0,1\n1e300,1\n", "profile-time", 3, 1, ["'1e300'"]),
    "stamp": ("time,a_pu\n2016-01-01,1\n02.01.2016,1\n", "profile-time", 3, 1, ["'02.01.2016'", "ISO 8601"]),
    "fine-stamp": ("time,a_pu\n2016-01-01,1\n2016-01-01T00:00:00.1234567,1\n", "profile-time", 3, 1, ["microsecond"]),
    "short-row": ("t_s,a_pu,b_pu\n0,1,2\n900,1\n1800,1,2\n", "profile-cells", 3, 1, ["2 cells", "expected 3"]),
    "no-time-column": ("hour,a_pu\n0,1\n1,1\n", "profile-header", 1, 1, ["'hour'", "'t_s'", "'time'"]),
    "twice-named": ("t_s,a_pu,a_pu\n0,1,1\n1,1,1\n", "profile-header", 1, 3, ["'a_pu' appears twice"]),
    "unnamed": ("t_s,a_pu,\n0,1,\n1,1,\n", "profile-header", 1, 3, ["column 3 has no name"]),
    "no-values": ("t_s\n0\n1\n", "profile-header", 1, 1, ["no value column"]),
    "one-sample": ("t_s,a_pu\n0,1\n", "profile-empty", 0, 0, ["1 samples", "at least two"]),
    "header-only": ("t_s,a_pu", "profile-empty", 0, 0, ["0 samples"]),
    "comments-only": ("# nothing\n", "profile-empty", 0, 0, ["no header"]),
    "empty": ("", "profile-empty", 0, 0, ["is empty"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path: Path, case: str) -> None:
    """Each kind of bad file gives one problem with its rule, line, column, what was found and what is accepted."""
    text, rule, line, column, words = REFUSED[case]
    path = write(tmp_path, text)
    error = refusal(path)
    assert isinstance(error, ScenarioError)
    assert [(p.rule, p.line, p.column, p.file) for p in error.problems] == [(rule, line, column, str(path))]
    for word in words:
        assert word in str(error)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused, in the header and below."""
    assert refusal(write(tmp_path, b"t_s,a\xff\n0,1\n1,1\n")).problems[0].rule == "profile-unreadable"
    assert refusal(write(tmp_path, b"t_s,a\n0,1\n1,\xff\n")).problems[0].rule == "profile-unreadable"


def test_endless_comments(tmp_path: Path) -> None:
    """A file that is all comments is given up after a thousand lines."""
    assert "comment lines" in str(refusal(write(tmp_path, "#\n" * 2000 + GOOD)))


def test_unknown_column_names_near_ones(tmp_path: Path) -> None:
    """A column that is not there is answered with those that look like it."""
    error = refusal(write(tmp_path, GOOD), columns=["a_p_kv"])
    assert error.problems[0].rule == "profile-columns"
    assert "did you mean 'a_p_kw'" in str(error)


def test_all_problems_at_once_in_line_order(tmp_path: Path) -> None:
    """Different problems of one file come together, by line."""
    text = "t_s,a_pu,b_pu\n0,x,1\n900,1,\n1800,1\n2700,1,inf\nlate,1,1\n4500,1,1\n"
    found = [(p.line, p.rule) for p in refusal(write(tmp_path, text)).problems]
    assert found == [(2, "profile-number"), (3, "profile-missing"), (4, "profile-cells"), (5, "profile-number"),
                     (6, "profile-time")]  # fmt: skip


def test_twenty_problems_are_enough(tmp_path: Path) -> None:
    """A file with thousands of bad cells names the first twenty and says that there are more."""
    text = "t_s,a_pu\n" + "".join(f"{i},x\n" for i in range(5000))
    problems = refusal(write(tmp_path, text)).problems
    assert len(problems) == 21
    assert problems[-1].rule == "profile-many"


def test_line_numbers_across_blocks(tmp_path: Path) -> None:
    """In a file of several read blocks, with rows left out, lines are still right."""
    rows = [f"{i},{i}.5,{'7' * 60}" for i in range(120_000)]
    rows[10] = "10,1"
    rows[110_000] = "110000,oops,1"
    problems = refusal(write(tmp_path, "t_s,a_pu,b_pu\n" + "\n".join(rows) + "\n"), gaps=Gaps.HOLD).problems
    assert [(p.line, p.rule) for p in problems] == [(12, "profile-cells"), (110_002, "profile-number")]


def test_sizes_are_limited(tmp_path: Path) -> None:
    """Too many bytes or cells are refused before they cost memory."""
    path = write(tmp_path, GOOD)
    assert refusal(path, limits=Limits(max_bytes=10)).problems[0].rule == "profile-size"
    assert refusal(path, limits=Limits(max_cells=8)).problems[0].rule == "profile-size"
    assert load_profile(path, limits=Limits(max_cells=9)).values.shape == (3, 2)
    table = write_table(tmp_path, t_s=[0, 1, 2], a_pu=[1, 2, 3])
    assert refusal(table, limits=Limits(max_cells=5)).problems[0].rule == "profile-size"


@pytest.mark.parametrize(
    ("columns", "rule", "word"),
    [
        ({"t_s": ["0", "1"], "a_pu": [1, 2]}, "profile-time", "holds string"),
        ({"time": [0, 1], "a_pu": [1, 2]}, "profile-time", "holds int64"),
        ({"t_s": [0, 1], "a_pu": ["1", "2"]}, "profile-number", "'a_pu' holds string"),
        ({"t_s": [0, 1], "a_pu": [1.0, None]}, "profile-missing", "row 2"),
        ({"t_s": [0, 1], "a_pu": [1.0, float("inf")]}, "profile-number", "row 2"),
        ({"t_s": [0, None, 1], "a_pu": [1, 1, 1]}, "profile-time", "row 2"),
        ({"t_s": [0, 1, 1], "a_pu": [1, 1, 1]}, "profile-order", "row 3"),
        ({"t_s": [0, 1, 2, 9], "a_pu": [1, 1, 1, 1]}, "profile-gap", "row 4"),
        ({"time": pa.array([0, 1_000, 1_500], pa.timestamp("ns")), "a_pu": [1, 1, 1]}, "profile-time", "row 3"),
        ({"time": ["2016-01-01", None, "2016-01-02"], "a_pu": [1, 1, 1]}, "profile-time", "row 2"),
        ({"time": ["2016-01-01", "noon"], "a_pu": [1, 1]}, "profile-time", "noon"),
        ({"hour": [0, 1], "a_pu": [1, 1]}, "profile-header", "'hour'"),
        ({"t_s": pa.array([], pa.int64()), "a_pu": pa.array([], pa.float64())}, "profile-empty", "0 samples"),
    ],
)
def test_parquet_refusals(tmp_path: Path, columns: dict[str, object], rule: str, word: str) -> None:
    """Parquet files are checked as CSV is, with rows in the message instead of lines."""
    problems = refusal(write_table(tmp_path, **columns)).problems
    assert [p.rule for p in problems] == [rule]
    assert word in problems[0].message


def test_broken_parquet_other_kinds_and_no_file(tmp_path: Path) -> None:
    """Garbage, an unknown ending, a folder and a file that is not there are refused in words."""
    assert refusal(write(tmp_path, b"PAR1 not really PAR1", "x.parquet")).problems[0].rule == "profile-unreadable"
    assert "accepted: '.csv' or '.parquet'" in str(refusal(write(tmp_path, GOOD, "x.xlsx")))
    assert refusal(tmp_path / "absent.csv").problems[0].rule == "profile-unreadable"
    (tmp_path / "folder.csv").mkdir()
    assert refusal(tmp_path / "folder.csv").problems[0].rule == "profile-unreadable"


def test_units_from_names() -> None:
    """The unit is the longest known ending; none is no unit."""
    units = {"load_p_kw": "kw", "load_q_kvar": "kvar", "ghi_w_m2": "w_m2", "price_eur_mwh": "eur_mwh", "pv3_p_pu": "pu",
             "kw": "kw", "speed_m_s": "m_s", "air_degc": "degc", "anything": "", "akw": ""}  # fmt: skip
    assert {name: unit_of(name) for name in units} == units
