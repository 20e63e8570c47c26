"""What is recorded of tags: rows gathered in memory, and Parquet parts that a kill at any instant leaves whole.

The open part is written anew at every flush, under a temporary name, forced to disk and renamed over the one before;
once it has enough rows the next part begins.  So a reader always finds whole files, and a kill costs the rows since the
last flush.  Names that begin with a dot are skipped by Parquet readers.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import RecordError
from hil.scada.readings import TagQuality

SCHEMA = pa.schema([("t_wall", pa.timestamp("ms", "UTC")), ("t_s", pa.float64()),
                    ("tag", pa.dictionary(pa.int32(), pa.string())), ("value", pa.float64()),
                    ("quality", pa.dictionary(pa.int8(), pa.string()))])
#: Rows kept for a disk that does not take them, in parts.
_MOST_PARTS = 4
_QUALITIES = [quality.name.lower() for quality in TagQuality]


class TrendBuffer:
    """Rows since the last flush; at most `limit`, the rest counted as dropped (a disk that cannot keep up)."""

    __slots__ = ("_columns", "_limit", "_tags", "dropped")

    def __init__(self, tags: tuple[str, ...], limit: int = 2_000_000) -> None:
        self._tags, self._limit = tags, limit
        self._columns: tuple[list[int], list[float], list[int], list[float], list[int]] = ([], [], [], [], [])
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, tag: int, wall_ms: int, t_s: float, value: float, quality: TagQuality) -> None:
        """One row; `tag` is the index of its name."""
        if len(self) >= self._limit:
            self.dropped += 1
            return
        wall, t, tags, values, qualities = self._columns
        wall.append(wall_ms)
        t.append(t_s)
        tags.append(tag)
        values.append(value)
        qualities.append(quality)

    def drain(self) -> pa.Table:
        """The rows so far as a table, which are then forgotten here."""
        wall, t, tags, values, qualities = self._columns
        self._columns = ([], [], [], [], [])
        return pa.Table.from_arrays([pa.array(wall, pa.timestamp("ms", "UTC")), pa.array(t, pa.float64()),
                         pa.DictionaryArray.from_arrays(pa.array(tags, pa.int32()), pa.array(self._tags, pa.string())),
                         pa.array(values, pa.float64()),
                         pa.DictionaryArray.from_arrays(pa.array(qualities, pa.int8()), pa.array(_QUALITIES))],
                        schema=SCHEMA)


class TrendFiles:
    """Parts ``trend-000001.parquet`` … in a folder, numbered on from what is there."""

    def __init__(self, folder: Path, rows_per_part: int = 500_000) -> None:
        self._folder, self._rows_per_part = folder, rows_per_part
        self._open: list[pa.Table] = []
        self.waiting = False
        """Whether rows are in memory that the disk did not take."""
        self.dropped = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            taken = [int(path.stem[6:]) for path in folder.glob("trend-*.parquet") if path.stem[6:].isdecimal()]
        except OSError as error:
            raise RecordError(f"{folder}: cannot be written: {error.strerror or error}") from None
        self.part = max(taken, default=0) + 1
        self.rows = self._on_disk = 0

    def write(self, table: pa.Table) -> None:
        """Add rows to the open part and put it on disk; raises RecordError, and then has the rows still."""
        self._open.append(table)
        whole = pa.concat_tables(self._open)
        if len(whole) > _MOST_PARTS * self._rows_per_part:  # a disk that refuses for long
            spare = len(whole) - _MOST_PARTS * self._rows_per_part
            whole, self.dropped = whole.slice(spare), self.dropped + spare
        self._open, self.waiting = [whole], True
        path = self._folder / f"trend-{self.part:06d}.parquet"
        beside = path.with_name(f".{path.name}.part")
        try:
            with beside.open("wb") as file:
                pq.write_table(whole, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from None
        self.rows, self._on_disk, self.waiting = self.rows + len(whole) - self._on_disk, len(whole), False
        if len(whole) >= self._rows_per_part:
            self._open, self._on_disk, self.part = [], 0, self.part + 1
