"""What makes two runs "the same": a SHA-256 over what they recorded.

Each digested table keeps one running SHA-256 over its rows, each row a fixed little-endian record (`tables.py` has
the layouts): t_us, seq, kind and ids as integers, values as float64 with every NaN made the same one, and strings as
the first eight bytes of the SHA-256 of their UTF-8.  A row of samples is t_us, seq and one float64 a recorded point;
the points' names are hashed once, at the head of that table.  Records have no boundaries between flushes, so the
digest does not know when a flush happened.  No wall time, path or version enters it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Tables of the digest, in the order in which they enter it.
DIGESTED = ("samples", "events", "commands", "decisions")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What an earlier execution of the run had of one table at one commit: `rows` and their SHA-256."""

    rows: int
    sha256: str


class TableHash:
    """The running SHA-256 of one table; `rows` counts what went in.

    With `checkpoints` (of an earlier execution, rows not decreasing) every row count named there is compared on the
    way: `differs` is the index of the first that did not agree, else None.
    """

    __slots__ = ("_checkpoints", "_next", "_sha", "differs", "rows")

    def __init__(self, header: bytes, checkpoints: Sequence[Checkpoint] = ()) -> None:
        self.rows = 0
        self.differs: int | None = None
        self._sha = hashlib.sha256(header)
        self._checkpoints, self._next = checkpoints, 0

    def copy(self) -> TableHash:
        """An independent hash in the same state: what a flush that may fail works on."""
        other = TableHash.__new__(TableHash)
        other.rows, other.differs, other._sha = self.rows, self.differs, self._sha.copy()
        other._checkpoints, other._next = self._checkpoints, self._next
        return other

    def update(self, records: NDArray[np.void] | NDArray[np.float64]) -> None:
        """Take in records: a C-contiguous array whose first axis counts rows."""
        taken, total = 0, len(records)
        while self._next < len(self._checkpoints):
            upto = self._checkpoints[self._next].rows - self.rows
            if upto > total - taken:
                break
            self._take(records[taken:taken + upto])
            taken += upto
            self._check()
        self._take(records[taken:])

    def hexdigest(self) -> str:
        """SHA-256 of the rows so far, 64 hex digits."""
        return self._sha.hexdigest()

    @property
    def checked(self) -> int:
        """How many checkpoints have been reached."""
        return self._next

    def _take(self, records: NDArray[np.void] | NDArray[np.float64]) -> None:
        self.rows += len(records)
        if len(records):
            self._sha.update(records.view(np.uint8).data)

    def _check(self) -> None:
        if self.differs is None and self._checkpoints[self._next].sha256 != self.hexdigest():
            self.differs = self._next
        self._next += 1


def run_digest(tables: Mapping[str, tuple[int, str]]) -> str:
    """The digest of a run from rows and SHA-256 (hex) of each table of `DIGESTED`."""
    sha = hashlib.sha256(b"gridloop run 2\n")
    for name in DIGESTED:
        rows, table = tables[name]
        sha.update(f"{name} {rows} {table}\n".encode())
    return sha.hexdigest()


class Interned(dict[str, int]):
    """Codes of strings in order of appearance, for one flush: `names` in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, text: str) -> int:
        self.names.append(text)
        self[text] = code = len(self.names) - 1
        return code

    def codes(self, texts: Iterable[str], count: int) -> NDArray[np.int32]:
        """The codes of `count` strings, (count,)."""
        return np.fromiter(map(self.__getitem__, texts), np.int32, count)

    def hashes(self) -> NDArray[np.uint64]:
        """What stands for each name in the digest, (len(names),)."""
        return np.array([string_hash(name) for name in self.names], np.uint64)


def string_hash(text: str) -> int:
    """What stands for a string in the digest: the first 8 bytes of the SHA-256 of its UTF-8, little endian."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
