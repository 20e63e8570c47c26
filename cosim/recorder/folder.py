"""A result folder on disk: parts, the list of commits, the manifest; how they are written so that a kill loses nothing.

Theory of operation
-------------------
A flush writes one Parquet *part* for every table with new rows (temporary name, then rename) and then one line in
``commits.jsonl`` (forced to disk): the line is what makes the parts count.  A process killed at any instant leaves
parts no line names (orphans) and at worst half a line, both of which readers ignore and a resume removes.  Names
that begin with a dot are skipped by Parquet readers, so a folder can be read while it is being written.

The writer holds a lock on ``commits.jsonl``; the system lets go of it when the process dies, which is how a reader
tells a running run from a killed one.  Disk errors become RecordError, and leave commits as they were.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.errors import FolderError, RecordError
from cosim.locks import is_locked
from cosim.recorder.tables import READ, TABLES

#: Less free space than this is refused before the run.
MIN_FREE_BYTES = 32 * 1024 * 1024

#: The result, inside a result, of the same run with the shield off.
COUNTERFACTUAL = "counterfactual"

#: Opens a file for writing; tests put a full disk in its place.
Opener = Callable[[Path], IO[bytes]]


def open_new(path: Path) -> IO[bytes]:
    """A file opened for writing, emptied when it exists."""
    return path.open("wb")


#: What readers of a manifest rely on.
_MANIFEST_KEYS = {"status": str, "digest": str, "t_us": int, "duration_us": int, "seed": int, "rows": dict,
                  "record": dict, "timing": dict, "versions": dict, "summary": dict, "scenario": dict,
                  "overrides": list, "external": list, "points": list, "sampled": list}


@dataclass(frozen=True, slots=True)
class Commit:
    """One flush: how far the record reaches, by table the rows and parts so far, and the running SHA-256."""

    t_us: int
    rows: dict[str, int]
    parts: dict[str, int]
    sha256: dict[str, str]
    audit: str = ""
    """The audit log's seal (``COUNT:HEAD``), where there is one."""


EMPTY_COMMIT = Commit(-1, {}, {}, {})


def part_path(folder: Path, table: str, number: int) -> Path:
    """Where part `number` of a table lies."""
    return folder / table / f"part-{number:05d}.parquet"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; RecordError when the folder holds no result or the manifest is damaged."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RecordError(f"{folder}: no result here (manifest.json is missing); expected a folder written by "
                          f"'gridloop run'") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read as a manifest: {error}") from error
    if not isinstance(manifest, dict) or not {"status", "points", "format"} <= manifest.keys():
        raise RecordError(f"{path}: not a manifest of a run: 'format', 'status' or 'points' is missing")
    if manifest["format"] not in READ:
        raise RecordError(f"{path}: format {manifest['format']!r:.60}; this version reads format "
                          f"{' and '.join(map(str, READ))}")
    for key, kind in _MANIFEST_KEYS.items():
        if not isinstance(manifest.get(key), kind):
            raise RecordError(f"{path}: damaged: '{key}' is {manifest.get(key)!r:.60}; expected {kind.__name__}")
    known = {point.get("name") if isinstance(point, dict) else None: None for point in manifest["points"]}
    for name in manifest["sampled"]:
        if not isinstance(name, str) or name not in known:
            raise RecordError(f"{path}: damaged: 'sampled' has {name!r:.60}, which 'points' has not")
    return manifest


def read_commits(folder: Path) -> tuple[list[Commit], int]:
    """The commits and how many bytes of ``commits.jsonl`` they take; a last line cut short does not count."""
    path = folder / "commits.jsonl"
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    commits = []
    for number, line in enumerate(lines, 1):
        try:
            commits.append(Commit(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise RecordError(f"{path}:{number}: damaged line ({error}); what came before it reaches "
                              f"{_reach(commits[-1] if commits else EMPTY_COMMIT)}") from error
    return commits, sum(len(line) + 1 for line in lines)


def being_written(folder: Path) -> bool:
    """Whether some process is recording into the folder now."""
    return is_locked(folder / "commits.jsonl")


class ResultFolder:
    """The one writer of a result folder."""

    def __init__(self, folder: Path, opener: Opener = open_new) -> None:
        self.folder, self._opener = folder, opener
        self.last = EMPTY_COMMIT
        self._commits: IO[bytes] | None = None
        self._is_made = False
        """Whether `create` made the folder itself."""

    @classmethod
    def create(cls, folder: Path, opener: Opener = open_new) -> ResultFolder:
        """Make a new result folder (an existing one without a result may be used), or say why not."""
        self = cls(folder, opener)
        try:
            self._is_made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            found = [name for name in ("manifest.json", *TABLES) if (folder / name).exists()]
            if found:
                raise FolderError(f"{folder}: holds a result already ({found[0]}); name another folder, or go on "
                                  f"with a killed run by --resume")
            free = shutil.disk_usage(folder).free
            if free < MIN_FREE_BYTES:
                raise FolderError(f"{folder}: {free / 1e6:.0f} MB free on this disk; expected at least "
                                  f"{MIN_FREE_BYTES / 1e6:.0f} MB")
            self._open_commits()
        except OSError as error:
            raise FolderError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return self

    @classmethod
    def reopen(cls, folder: Path, opener: Opener = open_new) -> tuple[ResultFolder, list[Commit]]:
        """Open the folder of a run that ended early: remove what no commit names, return the commits."""
        self = cls(folder, opener)
        # A resume truncates and removes: in a folder from elsewhere, not what a link of that name leads to.
        for path in (folder / "commits.jsonl", *(folder / table for table in TABLES)):
            if path.is_symlink():
                raise RecordError(f"{path}: is a link; expected what a run wrote there itself; cannot go on with it")
        commits, size = read_commits(folder)
        try:
            file = self._open_commits()
            file.truncate(size)
            self.last = commits[-1] if commits else EMPTY_COMMIT
            self._remove_orphans()
        except (OSError, RecordError) as error:
            self.close()
            if isinstance(error, RecordError):
                raise
            raise RecordError(f"{folder}: cannot be written: {error.strerror or error}") from error
        return self, commits

    def commit(self, t_us: int, tables: Mapping[str, pa.Table], rows: Mapping[str, int],
               sha256: Mapping[str, str], audit: str = "") -> None:
        """Make new columns of some tables part of the result.

        `rows` and `sha256` are of each table's beginning up to now, `audit` is the audit log's seal.  RecordError when
        the disk refuses: then nothing of it counts, and the same call may be made again.
        """
        parts = dict(self.last.parts)
        try:
            for name, table in tables.items():
                self._write_part(name, parts.get(name, 0), table)
                parts[name] = parts.get(name, 0) + 1
            commit = Commit(t_us, dict(rows), parts, dict(sha256), audit)
            self._append(json.dumps(asdict(commit)).encode() + b"\n")
        except OSError as error:
            raise self._refused(error, t_us) from error
        self.last = commit

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest in one step."""
        try:
            text = json.dumps(_plain(manifest), indent=1, allow_nan=False)
            self._replace(self.folder / "manifest.json", text.encode())
        except OSError as error:
            raise self._refused(error, self.last.t_us) from error

    def write_text(self, name: str, text: str) -> None:
        """Write a small file beside the record."""
        try:
            self._replace(self.folder / name, text.encode())
        except OSError as error:
            raise self._refused(error, self.last.t_us) from error

    def close(self) -> None:
        """Let go of the folder; twice is once."""
        if self._commits is not None:
            self._commits.close()
            self._commits = None

    def discard(self) -> None:
        """Take back what `create` made, before anything was committed: nothing ran, so nothing is to be left."""
        with suppress(OSError):
            if self._is_made:
                shutil.rmtree(self.folder)
            else:
                shutil.rmtree(self.folder / "inputs", ignore_errors=True)
                for name in ("manifest.json", "scenario.yaml", "commits.jsonl"):
                    (self.folder / name).unlink(missing_ok=True)
        self.close()

    def _open_commits(self) -> IO[bytes]:
        file = self._commits = (self.folder / "commits.jsonl").open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RecordError(f"{self.folder}: another process is recording into this folder") from None
        return file

    def _append(self, line: bytes) -> None:
        file = self._commits
        assert file is not None, "commit after close"
        before = os.fstat(file.fileno()).st_size
        try:
            if (written := file.write(line)) != len(line):
                raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes written")
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
            raise

    def _write_part(self, table: str, number: int, columns: pa.Table) -> None:
        path = part_path(self.folder, table, number)
        path.parent.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        texts = [field.name for field in columns.schema if pa.types.is_string(field.type)]
        # snappy: measured values hardly compress, and zstd takes three times as long to find that out.
        pq.write_table(columns, sink, compression="snappy", use_dictionary=texts, write_statistics=["t_us"])
        self._replace(path, sink.getvalue())

    def _replace(self, path: Path, data: Any) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with self._opener(temporary) as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError:
            # A full disk needs the room back; that the file may not exist is fine.
            temporary.unlink(missing_ok=True)
            raise

    def _remove_orphans(self) -> None:
        for table in TABLES:
            wanted = [part_path(self.folder, table, number) for number in range(self.last.parts.get(table, 0))]
            missing = [path for path in wanted if not path.is_file()]
            if missing:
                raise RecordError(f"{missing[0]}: named by commits.jsonl and missing; cannot go on with this run")
            found, expected = sum(map(_rows_in, wanted)), self.last.rows.get(table, 0)
            if found != expected:
                raise RecordError(f"{self.folder / table}: its parts hold {found} rows, commits.jsonl names "
                                  f"{expected}; cannot go on with this run")
            known = frozenset(wanted)
            for path in sorted((self.folder / table).glob("*")) + sorted((self.folder / table).glob(".*.tmp")):
                if path not in known:
                    path.unlink(missing_ok=True)

    def _refused(self, error: OSError, t_us: int) -> RecordError:
        why = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
        return RecordError(f"{self.folder}: {why}; the record on disk reaches {_reach(self.last)} and is readable, "
                           f"what came since (up to t = {t_us / 1e6:.6f} s) is still in memory")


def _rows_in(path: Path) -> int:
    """Rows of a part by its footer; RecordError when it has none."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: this part of the result is damaged: {error}; cannot go on with this run") from error


def _plain(value: Any) -> Any:
    """As JSON has it: arrays as lists, numbers that are not finite as null, anything unknown as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _reach(commit: Commit) -> str:
    return f"t = {commit.t_us / 1e6:.6f} s" if commit.t_us >= 0 else "no instant yet"
