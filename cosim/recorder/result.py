"""A recorded run, to look at: DataFrames in two lines, from a folder (finished, running or killed) or from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from cosim.commands import NEVER_US, Authority, Command, CommandKind, CommandStatus
from cosim.errors import RecordError
from cosim.kernel import T_MAX_US
from cosim.points import match
from cosim.recorder.folder import COUNTERFACTUAL, Commit, being_written, part_path, read_commits, read_manifest
from cosim.recorder.tables import ADDED, FORMAT, SCHEMAS, samples_schema

if TYPE_CHECKING:
    import pandas as pd

_ALL_TIME = (-T_MAX_US, T_MAX_US)


class Source(Protocol):
    """Where a result's tables come from."""

    def manifest(self) -> dict[str, Any]:
        """The manifest as plain data."""

    def read(self, table: str, columns: Sequence[str] | None, span_us: tuple[int, int]) -> pa.Table:
        """Some or all (None) columns of the rows with ``span_us[0] <= t_us <= span_us[1]``, in recorded order."""


class FolderSource:
    """A result folder: what its commits name and nothing else, as they stood when this was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest = read_manifest(folder)
        commits, _ = read_commits(folder)
        self._last = commits[-1] if commits else Commit(-1, {}, {}, {})
        self._schemas = SCHEMAS | {"samples": samples_schema(self._manifest["sampled"])}

    def manifest(self) -> dict[str, Any]:
        """The manifest, brought up to the last commit; a run that ended without a word is ``killed``."""
        manifest = dict(self._manifest)
        if manifest["status"] == "running":
            if not being_written(self.folder):
                manifest["status"] = "killed"
            manifest["rows"], manifest["t_us"] = self._last.rows, self._last.t_us
        return manifest

    def read(self, table: str, columns: Sequence[str] | None, span_us: tuple[int, int]) -> pa.Table:
        """See `Source`; RecordError names a part that is missing or damaged."""
        schema = self._schemas[table]
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        filters = None if span_us == _ALL_TIME else [("t_us", ">=", span_us[0]), ("t_us", "<=", span_us[1])]
        found = [schema.empty_table()]
        earlier = self._manifest["format"] != FORMAT
        stored = [name for name in schema.names if not (earlier and (table, name) in ADDED)]
        for number in range(self._last.parts.get(table, 0)):
            path = part_path(self.folder, table, number)
            try:
                part = pq.ParquetFile(path).read(stored) if filters is None else pq.read_table(
                    path, columns=stored, filters=filters, partitioning=None)
                found.append(_completed(part.select(stored), table, schema).cast(schema))
            except (OSError, pa.ArrowException, KeyError) as error:
                raise RecordError(f"{path}: this part of the result is missing or damaged: "
                                  f"{str(error).splitlines()[0]}") from error
        return pa.concat_tables(found)


def _completed(part: pa.Table, table: str, schema: pa.Schema) -> pa.Table:
    """A part of an earlier format with the columns that came later; any other as it is."""
    if part.schema.names == schema.names:
        return part
    columns = [part[name] if name in part.schema.names else pa.repeat(ADDED[table, name], len(part))
               for name in schema.names]
    return pa.table(columns, schema.names)


class MemorySource:
    """What a recorder without a folder kept."""

    def __init__(self, manifest: Mapping[str, Any], schemas: Mapping[str, pa.Schema],
                 tables: Mapping[str, Sequence[pa.Table]]) -> None:
        self._manifest = dict(manifest)
        self._tables = {name: pa.concat_tables([schema.empty_table(), *tables[name]])
                        for name, schema in schemas.items()}

    def manifest(self) -> dict[str, Any]:
        """The manifest it would have written."""
        return self._manifest

    def read(self, table: str, columns: Sequence[str] | None, span_us: tuple[int, int]) -> pa.Table:
        """See `Source`."""
        found = self._tables[table]
        if span_us != _ALL_TIME:
            t_us = found["t_us"].to_numpy()
            found = found.filter(pa.array((t_us >= span_us[0]) & (t_us <= span_us[1])))
        return found if columns is None else found.select(list(columns))


class RunResult:
    """One recorded run.

    DataFrames are indexed by seconds of simulation time (``t_s``); values are in the points' units.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.manifest: dict[str, Any] = source.manifest()

    @classmethod
    def load(cls, folder: Path | str) -> RunResult:
        """The result in a folder, whatever state the run is in; RecordError says what is missing or damaged."""
        return cls(FolderSource(Path(folder)))

    @property
    def status(self) -> str:
        """done, failed, stopped, running, or killed (ended without a word)."""
        return str(self.manifest["status"])

    @property
    def digest(self) -> str:
        """The digest; "" while running or killed."""
        return str(self.manifest["digest"])

    def counterfactual(self) -> RunResult | None:
        """The same run with the shield off, where one was made (`gridloop run --counterfactual`).

        RecordError when there is one that cannot be read.
        """
        folder = self.source.folder / COUNTERFACTUAL if isinstance(self.source, FolderSource) else None
        return RunResult.load(folder) if folder is not None and (folder / "manifest.json").is_file() else None

    @property
    def points(self) -> dict[str, str]:
        """Unit of every sampled point by name, in column order."""
        unit = {point["name"]: point["unit"] for point in self.manifest["points"]}
        return {name: unit[name] for name in self.manifest["sampled"]}

    def samples(self, points: Sequence[str] | str = "*", start_s: float | None = None,
                end_s: float | None = None) -> pd.DataFrame:
        """Values over time: one column a point, in the order asked; `points` are names or patterns with ``*``.

        `start_s` and `end_s` are inclusive.  RecordError for a name or pattern that matches no sampled point.
        """
        names = self.sampled([points] if isinstance(points, str) else points)
        span_us = (_ALL_TIME[0] if start_s is None else round(start_s * 1e6),
                   _ALL_TIME[1] if end_s is None else round(end_s * 1e6))
        return _by_seconds(self.source.read("samples", ["t_us", *names], span_us)).drop(columns="t_us")

    def sampled(self, patterns: Sequence[str]) -> list[str]:
        """Names of sampled points that the patterns match, each once, in the order asked."""
        names: list[str] = self.manifest["sampled"]
        found: dict[str, None] = {}
        for pattern in patterns:
            matches = match(pattern, names)
            if not matches and (names or pattern != "*"):
                raise RecordError(f"'{pattern}' matches none of the {len(names)} recorded points "
                                  f"(such as {', '.join(names[:3]) or 'none'})")
            found |= dict.fromkeys(names[i] for i in matches)
        return list(found)

    def events(self) -> pd.DataFrame:
        """t_us, seq, kind, subject, detail, value."""
        return self._frame("events")

    def commands(self) -> pd.DataFrame:
        """t_us, seq, kind, source, authority, point, value, expires_us (missing: never), status, external."""
        return self._frame("commands")

    def decisions(self) -> pd.DataFrame:
        """t_us, seq, point, requested, applied, reason, distance_kva, source, limit, bound, found, after, rung,
        enforced: see `DecisionRow`; `cosim.recorder.explain` says one in a line."""
        return self._frame("decisions")

    def messages(self) -> pd.DataFrame:
        """t_us, arrival_us (missing: lost), channel, sender, receiver, bytes, fate; empty when not recorded."""
        return self._frame("messages")

    def journal(self) -> list[Command]:
        """Every request that came from outside, in order: with scenario and seed, what the run is replayed from."""
        return [Command(row["t_us"], CommandKind[row["kind"].upper()], row["source"],
                        Authority[row["authority"].upper()], tuple(row["ids"]), tuple(row["values"]),
                        NEVER_US if row["expires_us"] is None else row["expires_us"], CommandStatus(row["status"]),
                        True) for row in self.source.read("journal", None, _ALL_TIME).to_pylist()]

    def _frame(self, table: str) -> pd.DataFrame:
        return _by_seconds(self.source.read(table, None, _ALL_TIME))


def _by_seconds(table: pa.Table) -> pd.DataFrame:
    # A column of whole numbers with gaps would become floats and lose microseconds after 285 years; that is fine.
    frame: pd.DataFrame = table.to_pandas()
    frame.index = frame["t_us"] / 1e6
    frame.index.name = "t_s"
    return frame
