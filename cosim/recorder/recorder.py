"""The record of a run as it goes: rows in memory, parts on disk now and then, and the digest.

Theory of operation
-------------------
The simulation appends; nothing else happens until, at the end of an instant, enough has gathered or enough wall time
has gone by.  Then a *flush* turns the rows into columns, takes them into the running hashes and commits them to the
folder.  A flush that fails changes nothing: rows stay in memory, hashes stay where they were, and it may be tried
again.  A row's `seq` counts over all digested tables, so the order of everything within an instant is on record.

A resumed recorder is fed the same run from its beginning.  Rows that the folder has already are hashed, compared
with every commit on the way and not written again; after the last commit it records as usual.  Therefore whatever
is recorded must come from scenario, seed and journal alone: no row may speak of the machine or of being resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cosim.commands import Command
from cosim.errors import FolderError, RecordError
from cosim.points import PointDatabase, Vector
from cosim.recorder.audit_trail import AuditTrail
from cosim.recorder.digest import DIGESTED, Checkpoint, TableHash, run_digest
from cosim.recorder.folder import Commit, ResultFolder, read_manifest
from cosim.recorder.options import Keep, RecordOptions, RunAbout, shortened
from cosim.recorder.result import FolderSource, MemorySource, RunResult
from cosim.recorder.tables import (
    FORMAT,
    SCHEMAS,
    TABLES,
    DecisionRow,
    Encoded,
    EventRow,
    MessageRow,
    SampleBlock,
    encode_commands,
    encode_decisions,
    encode_events,
    encode_messages,
    encode_requests,
    joined,
    samples_schema,
)
from cosim.stopwatch import Stopwatch, WallStopwatch

#: Wall seconds between two writings of the manifest of a running run.
MANIFEST_S = 5.0

#: Commands (or their values) and messages gathered before they are turned into columns: while the cache holds them.
_PACK_ROWS, _PACK_VALUES = 2048, 16_384

#: Bytes a buffered row of tuples is taken for when deciding whether to flush.
_ROW_BYTES = 200


class Recorder:
    """Records one run, into `folder` or (None) in memory.

    The simulation is the only caller.  Hot calls (`sample`, `event`, `command`, `decision`, `message`) append and
    return; `end_instant` may flush.  RecordError: the folder cannot be used (constructor), or a flush failed; then
    what was committed stays readable and what was not stays in memory.
    """

    _folder: ResultFolder | None

    def __init__(self, folder: Path | None, points: PointDatabase, about: RunAbout | None = None,
                 options: RecordOptions | None = None, stopwatch: Stopwatch | None = None) -> None:
        self._prepare(points, about or RunAbout(), options or RecordOptions(), stopwatch or WallStopwatch(), [])
        if folder is not None:
            store = self._folder = ResultFolder.create(folder, self._options.opener)
            try:
                if self._about.scenario_text:
                    store.write_text("scenario.yaml", self._about.scenario_text)
                self._options.keep_inputs(folder)
                self._audit.open(folder)
                self._write_manifest("running")
            except RecordError as error:
                self._audit.discard()
                store.discard()
                why = getattr(error.__cause__, "strerror", None) or error
                raise FolderError(f"{folder}: cannot be written: {why}") from error

    @classmethod
    def resume(cls, folder: Path, points: PointDatabase, about: RunAbout, options: RecordOptions | None = None,
               stopwatch: Stopwatch | None = None) -> Recorder:
        """Go on with a run that was killed, stopped or failed: feed it the whole run again from its beginning.

        Raises RecordError when the run was done, was another one (seed, points, what is sampled), is being written by
        another process, or lacks parts; and at the first flush whose rows are not those of the folder.
        """
        manifest = read_manifest(folder)
        if manifest["status"] == "done":
            raise RecordError(f"{folder}: this run is done (digest {manifest['digest'][:12]}…); nothing to resume")
        self = cls.__new__(cls)
        options = options or RecordOptions()
        store, commits = ResultFolder.reopen(folder, options.opener)
        try:
            self._prepare(points, about, options, stopwatch or WallStopwatch(), commits)
            self._check_same(folder, manifest)
            self._folder = store
            self._audit.reopen(folder, commits[-1].audit if commits else "")
            self._write_manifest("running")
        except RecordError:
            self._audit.abandon()
            store.close()
            raise
        return self

    def _prepare(self, points: PointDatabase, about: RunAbout, options: RecordOptions, stopwatch: Stopwatch,
                 commits: list[Commit]) -> None:
        ids = np.arange(len(points)) if options.sample_ids is None else np.asarray(options.sample_ids, np.int64)
        if ids.size and not 0 <= ids.min() <= ids.max() < len(points):
            raise RecordError(f"sample_ids: expected ids of the {len(points)} points, found {ids.min()}..{ids.max()}")
        self.points, self._about, self._options, self._stopwatch = points, about, options, stopwatch
        self._sampled = tuple(points.names[i] for i in ids)
        if len({"t_us", *self._sampled}) <= len(self._sampled):
            raise RecordError("sample_ids: every point at most once, and none may be called 't_us'")
        self._seq, self._asked, self._t_us, self._flushed_us = 0, 0, -1, -1
        self._packed: dict[str, list[Encoded]] = {"commands": [], "messages": []}
        self._packed_messages = self._packed_values = 0
        self._status, self._error = "running", ""
        self._block = SampleBlock(ids, len(points), options.flush_bytes)
        self._events: list[EventRow] = []
        # Sequence numbers lie beside their rows: a pair for each would be one more object for the collector.
        self._commands: list[Command] = []
        self._command_seq: list[int] = []
        self._requests: list[Command] = []
        self._request_seq: list[int] = []
        self._decisions: list[DecisionRow] = []
        self._decision_seq: list[int] = []
        self._messages: list[MessageRow] = []
        self._folder = None
        self._audit = AuditTrail(self._about, self._options, points)
        self._memory: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._rows = dict.fromkeys(TABLES, 0)
        self._commits, self._verified = commits, 0
        self._hashes = {name: TableHash(self._header(name), [Checkpoint(c.rows.get(name, 0), c.sha256[name])
                                                             for c in commits]) for name in DIGESTED}
        self._flushed_s = self._manifest_s = stopwatch.now_s()
        self._closed = False
        self._sealed: Mapping[str, Any] = {}
        self._summary: Mapping[str, Any] = {}
        self._timing: Mapping[str, Any] = {}
        self.flush_seconds = 0.0
        """Wall seconds spent in flushes so far."""

    def _header(self, table: str) -> bytes:
        return "\n".join((table, *(self._sampled if table == "samples" else ()))).encode()

    # -- what the simulation calls ---------------------------------------------------------------------------------

    def sample(self, t_us: int, values: Vector) -> None:
        """Record one instant's values, shape (number of points in the database,)."""
        self._seq = seq = self._seq + 1
        self._block.append(t_us, seq, values)

    def event(self, t_us: int, kind: str, subject: str, detail: str = "", value: float = np.nan) -> None:
        """Record that something happened to `subject`."""
        self._seq = seq = self._seq + 1
        self._events.append((t_us, seq, kind, subject, detail, value))
        if kind.startswith("shield."):
            self._audit.event(t_us, kind, subject, detail)

    def command(self, command: Command) -> None:
        """Record a command (the `Journal` of the inbox); an external one also enters the journal."""
        self._seq = seq = self._seq + 1
        self._command_seq.append(seq)
        self._commands.append(command)
        self._asked += len(command.ids)
        if command.external:
            self._request_seq.append(seq)
            self._requests.append(command)
            self._audit.command(command)

    def decision(self, row: DecisionRow) -> None:
        """Record what the shield made of one request."""
        self._seq = seq = self._seq + 1
        self._decision_seq.append(seq)
        self._decisions.append(row)
        self._audit.decision(row)

    def message(self, row: MessageRow) -> None:
        """Record one message, where the options ask for it; never part of the digest."""
        if self._options.messages:
            self._messages.append(row)

    def end_instant(self, t_us: int) -> None:
        """The instant is complete; flush when it is time."""
        self._t_us = t_us
        if (max(len(self._commands), len(self._messages)) >= _PACK_ROWS
                or self._asked - self._packed_values >= _PACK_VALUES):
            self._pack()
        rows = (self._asked + self._packed_messages + len(self._messages) + len(self._events) + len(self._decisions))
        if (rows * _ROW_BYTES + len(self._block) * self._block.nbytes >= self._options.flush_bytes
                or self._stopwatch.now_s() - self._flushed_s >= self._options.flush_s):
            self.flush()

    def _pack(self) -> None:
        """Turn the commands and messages so far into columns."""
        keep = self._options.keep is Keep.ALL
        if self._commands:
            self._packed["commands"].append(encode_commands(self._command_seq, self._commands, keep, self.points.names))
            self._packed_values = self._asked
            self._commands.clear()
            self._command_seq.clear()
        if self._messages and keep:
            self._packed["messages"].append(encode_messages(self._messages))
            self._packed_messages += len(self._messages)
        self._messages.clear()

    # -- flushing --------------------------------------------------------------------------------------------------

    @property
    def catching_up(self) -> bool:
        """Whether a resumed run is still short of the last commit of the earlier one."""
        return bool(self._commits) and any(self._rows[name] < count for name, count in self._commits[-1].rows.items())

    def flush(self) -> None:
        """Make everything recorded so far part of the result, or raise RecordError and keep it in memory."""
        begun_s = self._stopwatch.now_s()
        encoded = self._encode()
        hashes = {name: table.copy() for name, table in self._hashes.items()}
        for name, table in hashes.items():
            if name in encoded:
                records = encoded[name].records
                assert records is not None
                table.update(records)
        rows = {name: self._rows[name] + (encoded[name].rows if name in encoded else 0) for name in TABLES}
        self._check_divergence(hashes, rows)
        self._store(encoded, rows, {name: table.hexdigest() for name, table in hashes.items()})
        self._hashes, self._rows, self._flushed_us = hashes, rows, self._t_us
        self._asked = self._packed_messages = self._packed_values = 0
        for buffer in (self._block, self._events, self._requests, self._request_seq, self._decisions,
                       self._decision_seq):
            buffer.clear()
        for parts in self._packed.values():
            parts.clear()
        self._flushed_s = self._stopwatch.now_s()
        if self._folder is not None and self._flushed_s - self._manifest_s >= MANIFEST_S:
            self._write_manifest("running")
        self.flush_seconds += self._stopwatch.now_s() - begun_s

    def _encode(self) -> dict[str, Encoded]:
        self._pack()
        keep, names = self._options.keep is Keep.ALL, self.points.names
        encoded = {name: joined(parts) for name, parts in self._packed.items() if parts}
        if self._requests:
            encoded["journal"] = encode_requests(self._request_seq, self._requests)
        if len(self._block):
            encoded["samples"] = self._block.encode(samples_schema(self._sampled) if keep else None)
        if self._events:
            encoded["events"] = encode_events(self._events, keep)
        if self._decisions:
            encoded["decisions"] = encode_decisions(self._decision_seq, self._decisions, keep, names)
        return encoded

    def _store(self, encoded: Mapping[str, Encoded], rows: Mapping[str, int], sha256: Mapping[str, str]) -> None:
        """Keep the columns of rows that are not on record yet."""
        recorded = self._commits[-1].rows if self._commits else {}
        fresh = {}
        for name, table in encoded.items():
            skip = max(0, min(table.rows, recorded.get(name, 0) - self._rows[name]))
            if table.columns is not None and skip < table.rows:
                fresh[name] = table.columns.slice(skip)
        if self._folder is None:
            for name, columns in fresh.items():
                self._memory[name].append(columns)
        elif fresh:
            self._audit.flush()
            self._folder.commit(self._t_us, fresh, rows, sha256, self._audit.seal)

    def close(self, status: str, error: str = "", *, summary: Mapping[str, Any] | None = None,
              timing: Mapping[str, Any] | None = None) -> str:
        """Flush, finish the manifest and return the digest; `status` is done, failed or stopped.

        The digest of a resumed run that ended before it caught up is "" (the folder keeps what it had).  Closing
        twice is once.  When the last flush fails the error is raised and `close` may be called again.
        """
        if self._closed:
            return self.digest()
        self._summary, self._timing = summary or {}, timing or {}
        try:
            self.flush()
        except RecordError as refusal:
            if self._folder is not None:
                with suppress(RecordError):
                    self._write_manifest("failed", str(refusal))
            raise
        if self.catching_up and status == "done":
            raise self._diverged(len(self._commits) - 1, "the run ended with fewer rows")
        if self._folder is not None:
            if not self.catching_up:
                self._write_empty_tables()
            self._sealed = self._audit.close()
            self._write_manifest(status, error)
            self._folder.close()
        self._status, self._error, self._closed = status, error, True
        return self.digest()

    def abandon(self) -> None:
        """Let go of the folder without a flush, after a `close` that was refused: another process may resume it."""
        if self._folder is not None and not self._closed:
            self._audit.abandon()
            self._folder.close()

    def discard(self) -> None:
        """Take back the new folder of a run that could not be built."""
        if self._folder is not None and not self._closed:
            self._audit.discard()
            self._folder.discard()

    def digest(self) -> str:
        """SHA-256 of everything flushed so far, 64 hex digits; "" while a resumed run catches up."""
        if self.catching_up:
            return ""
        return run_digest({name: (table.rows, table.hexdigest()) for name, table in self._hashes.items()})

    def result(self) -> RunResult:
        """The run as recorded up to the last flush."""
        if self._folder is not None:
            return RunResult(FolderSource(self._folder.folder))
        manifest = self._manifest(self._status, self._error)
        return RunResult(MemorySource(manifest, self._schemas(), self._memory))

    # -- the manifest ----------------------------------------------------------------------------------------------

    def _schemas(self) -> dict[str, pa.Schema]:
        return SCHEMAS | {"samples": samples_schema(self._sampled)}

    def _write_empty_tables(self) -> None:
        """A part without rows for each table that stayed empty, so that every query finds its columns."""
        assert self._folder is not None
        last = self._folder.last
        wanted = [name for name in TABLES if name != "messages" or self._options.messages]
        empty = {name: self._schemas()[name].empty_table() for name in wanted if not last.parts.get(name)}
        if empty:
            self._folder.commit(self._t_us, empty, self._rows, {n: t.hexdigest() for n, t in self._hashes.items()},
                                self._audit.seal)

    def _write_manifest(self, status: str, error: str = "") -> None:
        assert self._folder is not None
        self._manifest_s = self._stopwatch.now_s()
        self._folder.write_manifest(self._manifest(status, error))

    def _manifest(self, status: str, error: str) -> dict[str, Any]:
        about, last = self._about, self._folder.last if self._folder is not None else None
        rows = dict(last.rows) if last is not None and self.catching_up else dict(self._rows)
        return {
            "format": FORMAT, "name": about.name, "status": status, "error": error,
            "digest": "" if status == "running" else self.digest(),
            "seed": about.seed, "duration_us": about.duration_us,
            "t_us": max(self._flushed_us, last.t_us if last is not None else -1), "rows": rows,
            "record": {"period_us": self._options.period_us, "messages": self._options.messages},
            "summary": dict(self._summary), "timing": dict(self._timing), "versions": dict(about.versions),
            "scenario": dict(about.scenario), "overrides": list(about.overrides),
            "external": list(about.external),
            "points": [{"name": p.name, "unit": p.unit, "kind": p.kind.value} for p in self.points.points],
            "sampled": list(self._sampled), **self._sealed,
        }

    # -- resuming --------------------------------------------------------------------------------------------------

    def _check_same(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        now = self._manifest("running", "")
        if manifest["format"] != FORMAT:
            raise RecordError(f"{folder}: recorded in format {manifest['format']} by an earlier version; its rows are "
                              f"read, going on with it needs format {FORMAT}: run its scenario.yaml again")
        for key in ("seed", "sampled", "points", "record"):
            if manifest.get(key) != now[key]:
                raise RecordError(f"{folder}: cannot go on with this run: its {key} is "
                                  f"{shortened(manifest.get(key))}, the run given has {shortened(now[key])}")

    def _check_divergence(self, hashes: Mapping[str, TableHash], rows: Mapping[str, int]) -> None:
        """Compare with the commits of the earlier execution; the first that differs is named."""
        if not self.catching_up:
            return
        found = [(table.differs, f"{name} differ") for name, table in hashes.items() if table.differs is not None]
        passed = any(rows[name] > count for name, count in self._commits[-1].rows.items())
        while self._verified < len(self._commits):
            commit = self._commits[self._verified]
            behind = [name for name, count in commit.rows.items() if rows[name] < count]
            if behind:
                if passed or self._t_us > commit.t_us:
                    found.append((self._verified, f"{', '.join(behind)}: fewer rows than were recorded"))
                break
            self._verified += 1
        if found:
            raise self._diverged(*min(found))

    def _diverged(self, index: int, what: str) -> RecordError:
        commit = self._commits[index]
        since_us = self._commits[index - 1].t_us if index else 0
        return RecordError(f"this execution is not the recorded run: {what} between t = {since_us / 1e6:.6f} s and "
                           f"t = {commit.t_us / 1e6:.6f} s; the folder was left as it is")
