"""Trends on disk: whole at every instant, nothing lost that was flushed, everything counted that was dropped."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cosim.errors import RecordError
from hil.scada.readings import TagQuality
from hil.scada.trend import TrendBuffer, TrendFiles


def rows(n: int, first: int = 0) -> TrendBuffer:
    """A buffer of n rows whose values count from `first`."""
    buffer = TrendBuffer(("a/x", "a/y"))
    for i in range(first, first + n):
        quality = TagQuality.STALE if i % 3 == 0 else TagQuality.GOOD
        buffer.add(i % 2, 1_700_000_000_000 + i, float(i), float(i), quality)
    return buffer


def test_what_was_added_is_what_is_read(tmp_path: Path) -> None:
    """Tag, both times, value and quality."""
    TrendFiles(tmp_path).write(rows(3).drain())
    table = pq.read_table(tmp_path / "trend-000001.parquet").to_pydict()
    assert table["tag"] == ["a/x", "a/y", "a/x"]
    assert table["value"] == [0.0, 1.0, 2.0]
    assert table["quality"] == ["stale", "good", "good"]
    assert table["t_wall"][1].timestamp() == pytest.approx(1_700_000_000.001)


def test_flushes_grow_one_part_until_it_is_full(tmp_path: Path) -> None:
    """Parts hold what was flushed, no row twice, and no temporary file stays."""
    files = TrendFiles(tmp_path, rows_per_part=5)
    for first in range(0, 12, 3):
        files.write(rows(3, first).drain())
    parts = sorted(tmp_path.iterdir())
    assert [p.name for p in parts] == ["trend-000001.parquet", "trend-000002.parquet"]
    assert pq.read_table(parts).column("value").to_pylist() == [float(i) for i in range(12)]
    assert files.rows == 12


def test_a_second_run_does_not_touch_the_first_ones_parts(tmp_path: Path) -> None:
    """Numbers go on from what is there."""
    TrendFiles(tmp_path).write(rows(1).drain())
    TrendFiles(tmp_path).write(rows(2).drain())
    assert [pq.read_table(tmp_path / f"trend-00000{i}.parquet").num_rows for i in (1, 2)] == [1, 2]


def test_rows_that_the_disk_refused_are_written_later(tmp_path: Path) -> None:
    """And counted once; beyond four parts the oldest go, and are counted."""
    folder = tmp_path / "trend"
    files = TrendFiles(folder, rows_per_part=10)
    folder.rmdir()
    for first in (0, 3):
        with pytest.raises(RecordError, match="cannot be written"):
            files.write(rows(3, first).drain())
    folder.mkdir()
    assert files.waiting
    files.write(rows(1, 6).drain())
    assert files.rows == 7
    assert not files.waiting
    (folder / "trend-000001.parquet").unlink()
    folder.rmdir()
    with pytest.raises(RecordError):
        files.write(rows(50).drain())
    assert files.dropped == 17


def test_a_full_buffer_counts_what_it_drops() -> None:
    """Memory has a limit."""
    buffer = TrendBuffer(("t",), limit=2)
    for i in range(5):
        buffer.add(0, i, 0.0, 0.0, TagQuality.GOOD)
    assert (len(buffer), buffer.dropped) == (2, 3)
