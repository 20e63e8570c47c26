"""The tables of a record: rows as the simulation appends them, turned into columns and digest records at a flush.

While the simulation runs a row is one tuple on a list, or one line of a preallocated block; everything that costs
is done here for many rows at once.  The digest records (little endian; see `digest.py`) are the ``*_RECORD`` types.
`requests` are commands one to a row with lists inside: the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cosim.commands import NEVER_US, Authority, Command, CommandKind
from cosim.points import Ids, Vector
from cosim.recorder.digest import Interned

#: Format of the tables and of the digest that is written.
FORMAT = 2
#: Formats that are read.  Format 1 said of a decision neither who asked nor which limit.
READ = (1, 2)
#: What stands for the columns that an earlier format lacks: the value in every row of the old table.
ADDED: Mapping[tuple[str, str], str | float | bool] = {
    ("decisions", "source"): "", ("decisions", "limit"): "", ("decisions", "bound"): np.nan,
    ("decisions", "found"): np.nan, ("decisions", "after"): np.nan, ("decisions", "rung"): "request",
    ("decisions", "enforced"): True}

#: Every table, in the order in which a flush writes them.
TABLES = ("journal", "samples", "events", "commands", "decisions", "messages")

EVENT_RECORD = np.dtype([("t_us", "<i8"), ("seq", "<i8"), ("kind", "<u8"), ("subject", "<u8"), ("detail", "<u8"),
                         ("value", "<f8")])
COMMAND_RECORD = np.dtype([("t_us", "<i8"), ("seq", "<i8"), ("kind", "<i4"), ("authority", "<i4"), ("source", "<u8"),
                           ("point", "<i8"), ("value", "<f8"), ("expires_us", "<i8"), ("status", "<u8"),
                           ("external", "<i8")])
DECISION_RECORD = np.dtype([("t_us", "<i8"), ("seq", "<i8"), ("point", "<i8"), ("requested", "<f8"),
                            ("applied", "<f8"), ("reason", "<u8"), ("distance_kva", "<f8"), ("source", "<u8"),
                            ("limit", "<u8"), ("bound", "<f8"), ("found", "<f8"), ("after", "<f8"), ("rung", "<u8"),
                            ("enforced", "<i8")])

#: Numbers a command has on average from which it is worth while to turn commands one by one.
_LONG = 8

_COUNT = pa.int64()
_TEXT = pa.string()
_REAL = pa.float64()
SCHEMAS = {
    "events": pa.schema([("t_us", _COUNT), ("seq", _COUNT), ("kind", _TEXT), ("subject", _TEXT), ("detail", _TEXT),
                         ("value", _REAL)]),
    "commands": pa.schema([("t_us", _COUNT), ("seq", _COUNT), ("kind", _TEXT), ("source", _TEXT),
                           ("authority", _TEXT), ("point", _TEXT), ("value", _REAL), ("expires_us", _COUNT),
                           ("status", _TEXT), ("external", pa.bool_())]),
    "decisions": pa.schema([("t_us", _COUNT), ("seq", _COUNT), ("point", _TEXT), ("requested", _REAL),
                            ("applied", _REAL), ("reason", _TEXT), ("distance_kva", _REAL), ("source", _TEXT),
                            ("limit", _TEXT), ("bound", _REAL), ("found", _REAL), ("after", _REAL), ("rung", _TEXT),
                            ("enforced", pa.bool_())]),
    "messages": pa.schema([("t_us", _COUNT), ("arrival_us", _COUNT), ("channel", _TEXT), ("sender", _TEXT),
                           ("receiver", _TEXT), ("bytes", _COUNT), ("fate", _TEXT)]),
    "journal": pa.schema([("t_us", _COUNT), ("seq", _COUNT), ("kind", _TEXT), ("source", _TEXT),
                          ("authority", _TEXT), ("ids", pa.list_(_COUNT)), ("values", pa.list_(_REAL)),
                          ("expires_us", _COUNT), ("status", _TEXT)]),
}


class DecisionRow(NamedTuple):
    """What the shield made of one request: `requested` and `applied` in the point's unit, `reason` a word.

    `source` is who asked ("": nobody).  `limit` is the point whose limit explains it (``bus.18.v_pu``; "" where the
    device itself could not follow): `bound` is the limit, `found` the value at the request and `after` the value at
    what is applied, in that point's unit, NaN where there is none.  `rung` is a word too.  A shield that only observes
    has not `enforced`: `applied` is then what it would have applied.
    """

    t_us: int
    point_id: int
    requested: float
    applied: float
    reason: str
    distance_kva: float
    source: str = ""
    limit: str = ""
    bound: float = np.nan
    found: float = np.nan
    after: float = np.nan
    rung: str = "request"
    enforced: bool = True


class MessageRow(NamedTuple):
    """One message on a channel; `arrival_us` is None when it was lost, `fate` a word."""

    t_us: int
    arrival_us: int | None
    channel: str
    sender: str
    receiver: str
    n_bytes: int
    fate: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows of one table as digest records (None: not digested) and as columns (None: not kept)."""

    rows: int
    records: NDArray[Any] | None
    columns: pa.Table | None


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Rows of one table, encoded piece by piece, as one."""
    if len(parts) == 1:
        return parts[0]
    records = [part.records for part in parts if part.records is not None]
    columns = [part.columns for part in parts if part.columns is not None]
    return Encoded(sum(part.rows for part in parts), _end_to_end(records) if records else None,
                   pa.concat_tables(columns) if columns else None)


def _end_to_end(records: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Records one after the other, copied as bytes: NumPy copies structures field by field, at eight times the cost."""
    dtype = records[0].dtype
    return np.concatenate([part.view(f"V{dtype.itemsize}") for part in records]).view(dtype)


def samples_schema(names: Sequence[str]) -> pa.Schema:
    """Columns of the sample table: t_us and one float64 a recorded point."""
    return pa.schema([("t_us", _COUNT), *((name, _REAL) for name in names)])


class SampleBlock:
    """Samples since the last flush: lines of t_us, seq and one float64 a point, in one preallocated array.

    The integers share the array (as bits) so that the lines are the digest's records as they stand.
    """

    __slots__ = ("_copy_all", "_ids", "_ints", "_reals", "_rows", "n_point", "nbytes")

    def __init__(self, ids: Ids, n_point: int, nbytes: int) -> None:
        self._copy_all = len(ids) == n_point and bool((ids == np.arange(n_point)).all())
        self._ids = np.ascontiguousarray(ids, np.intp)
        self.n_point = len(ids)
        self._rows = 0
        self._allocate(max(16, nbytes // (8 * (self.n_point + 2))))

    def __len__(self) -> int:
        return self._rows

    def append(self, t_us: int, seq: int, values: Vector) -> None:
        """Keep the recorded ones of `values`, shape (number of points in the database,)."""
        row = self._rows
        if row == len(self._ints):
            self._grow()
        self._ints[row, 0] = t_us
        self._ints[row, 1] = seq
        if self._copy_all:
            self._reals[row, 2:] = values
        else:
            # "clip" skips NumPy's buffered path; the ids were checked once.
            values.take(self._ids, out=self._reals[row, 2:], mode="clip")
        self._rows = row + 1

    def clear(self) -> None:
        """Forget every line (they are safe elsewhere)."""
        self._rows = 0

    def encode(self, schema: pa.Schema | None) -> Encoded:
        """The lines as records and, with a schema, as columns; both are valid until the next `clear`."""
        reals = self._reals[:self._rows]
        values = reals[:, 2:]
        strange = np.isnan(values)
        if strange.any():
            values[strange] = np.nan
        columns = None
        if schema is not None:
            # One blocked transposition; the columns are then views, not 800 strided copies.
            by_column = np.ascontiguousarray(values.T)
            times = pa.array(self._ints[:self._rows, 0].copy())
            columns = pa.Table.from_arrays([times, *map(pa.array, by_column)], schema=schema)
        return Encoded(self._rows, reals, columns)

    def _allocate(self, lines: int) -> None:
        self._reals: Vector = np.empty((lines, self.n_point + 2), "<f8")
        self._ints: NDArray[np.int64] = self._reals.view("<i8")
        self.nbytes = self._reals[0].nbytes

    def _grow(self) -> None:
        # Only when flushing failed or one instant outgrew the block.
        old = self._ints
        self._allocate(2 * len(old))
        self._ints[:len(old)] = old


def _reals(values: Sequence[float]) -> Vector:
    """(n,) float64 with one NaN for all NaNs."""
    array = np.array(values, "<f8")
    array[np.isnan(array)] = np.nan
    return array


def _texts(interned: Interned, codes: NDArray[np.int32]) -> pa.Array:
    """Plain string column; what is not Unicode (a lone surrogate from outside bytes) becomes "?"."""
    names = pa.array([name.encode("utf-8", "replace").decode() for name in interned.names], _TEXT)
    return pa.DictionaryArray.from_arrays(codes, names).dictionary_decode()


def _point_names(ids: NDArray[np.int64], names: Sequence[str]) -> pa.Array:
    """Names of point ids; null where there is no such point (a refused request may name any number)."""
    known = (ids >= 0) & (ids < len(names))
    used = np.zeros(len(names), np.bool_)
    used[ids[known]] = True
    codes = np.zeros(len(ids), np.int32)
    codes[known] = (np.cumsum(used, dtype=np.int32) - 1)[ids[known]]
    dictionary = pa.array([names[i] for i in np.flatnonzero(used).tolist()], _TEXT)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=~known), dictionary).dictionary_decode()


def _in_order(table: str, by_name: Mapping[str, pa.Array]) -> pa.Table:
    schema = SCHEMAS[table]
    return pa.Table.from_arrays([by_name[name] for name in schema.names], schema=schema)


def _times(times_us: NDArray[np.int64], missing: int) -> pa.Array:
    return pa.array(times_us, mask=times_us == missing)


EventRow = tuple[int, int, str, str, str, float]


def encode_events(rows: Sequence[EventRow], keep: bool) -> Encoded:
    """Rows are (t_us, seq, kind, subject, detail, value)."""
    t_us, seq, *texts, value = zip(*rows, strict=True)
    count = len(rows)
    records = np.empty(count, EVENT_RECORD)
    records["t_us"], records["seq"], records["value"] = t_us, seq, _reals(value)
    columns: list[Any] = [pa.array(records["t_us"].copy()), pa.array(records["seq"].copy())]
    for name, column in zip(("kind", "subject", "detail"), texts, strict=True):
        interned = Interned()
        codes = interned.codes(column, count)
        records[name] = interned.hashes()[codes]
        if keep:
            columns.append(_texts(interned, codes))
    columns.append(pa.array(records["value"].copy()))
    return Encoded(count, records, pa.Table.from_arrays(columns, schema=SCHEMAS["events"]) if keep else None)


_KIND_WORDS = {kind: kind.name.lower() for kind in CommandKind}
_AUTHORITY_WORDS = {authority: authority.name.lower() for authority in Authority}
_KINDS = Interned()
_AUTHORITIES = Interned()
for _kind in CommandKind:
    _KINDS[_kind.name.lower()]
for _authority in Authority:
    _AUTHORITIES[_authority.name.lower()]


def _flat(rows: Sequence[tuple[float, ...]], total: int, dtype: type[np.int64 | np.float64]) -> NDArray[Any]:
    """The `total` numbers of all rows in order.

    Long rows are turned one by one, and each object once: an agent names the same points time and again, and what was
    decided outside is a row as it comes in and a row as it takes effect.
    """
    if total < _LONG * len(rows):
        return np.fromiter(chain.from_iterable(rows), dtype, total)
    known = {id(row): row for row in rows}
    turned = {key: np.fromiter(row, dtype, len(row)) for key, row in known.items()}
    return np.concatenate([turned[id(row)] for row in rows])


def _flat_values(commands: Sequence[Command], total: int) -> Vector:
    """All values in order, NaN for each point of a release: aligned with the `total` flattened ids."""
    values = [command.values for command in commands]
    if sum(map(len, values)) != total:
        values = [c.values or (np.nan,) * len(c.ids) for c in commands]
    flat: Vector = _flat(values, total, np.float64)
    flat[np.isnan(flat)] = np.nan
    return flat


def encode_commands(seq: Sequence[int], commands: Sequence[Command], keep: bool, names: Sequence[str]) -> Encoded:
    """A command for n points becomes n rows of one seq."""
    t_us, kind, source, authority, ids, _, expires_us, status, external = zip(*commands, strict=True)
    n, per_row = len(seq), np.fromiter(map(len, ids), np.int64, len(seq))
    total = int(per_row.sum())
    sources, statuses = Interned(), Interned()
    source_code = sources.codes(source, n).repeat(per_row)
    status_code = statuses.codes(map(attrgetter("_value_"), status), n).repeat(per_row)
    records = np.empty(total, COMMAND_RECORD)
    for name, column in (("t_us", t_us), ("seq", seq), ("kind", kind), ("authority", authority),
                         ("expires_us", expires_us), ("external", external)):
        records[name] = np.fromiter(column, np.int64, n).repeat(per_row)
    records["point"] = _flat(ids, total, np.int64)
    records["value"] = _flat_values(commands, total)
    records["source"], records["status"] = sources.hashes()[source_code], statuses.hashes()[status_code]
    if not keep:
        return Encoded(total, records, None)
    by_name = {name: pa.array(records[name].copy()) for name in ("t_us", "seq", "value")}
    by_name |= {"kind": _texts(_KINDS, records["kind"].copy()), "source": _texts(sources, source_code),
                "authority": _texts(_AUTHORITIES, records["authority"].copy()),
                "point": _point_names(records["point"], names),
                "expires_us": _times(records["expires_us"].copy(), NEVER_US),
                "status": _texts(statuses, status_code), "external": pa.array(records["external"] != 0)}
    return Encoded(total, records, _in_order("commands", by_name))


def encode_requests(seq: Sequence[int], commands: Sequence[Command]) -> Encoded:
    """The journal: one row a request; not digested (its commands are)."""
    t_us, kind, source, authority, ids, values, expires_us, status, _ = zip(*commands, strict=True)
    columns = [pa.array(t_us, _COUNT), pa.array(seq, _COUNT), _text_column([_KIND_WORDS[k] for k in kind]),
               _text_column(source), _text_column([_AUTHORITY_WORDS[a] for a in authority]),
               _lists(ids, np.int64), _lists(values, np.float64),
               _times(np.array(expires_us, np.int64), NEVER_US), _text_column([s._value_ for s in status])]
    return Encoded(len(seq), None, pa.Table.from_arrays(columns, schema=SCHEMAS["journal"]))


def _lists(rows: Sequence[tuple[float, ...]], dtype: type[np.int64 | np.float64]) -> pa.Array:
    """A column of lists."""
    ends = np.cumsum(np.fromiter(map(len, rows), np.int32, len(rows)), dtype=np.int32)
    return pa.ListArray.from_arrays(np.concatenate((np.zeros(1, np.int32), ends)), _flat(rows, int(ends[-1]), dtype))


def _text_column(texts: Sequence[str]) -> pa.Array:
    interned = Interned()
    return _texts(interned, interned.codes(texts, len(texts)))


def encode_decisions(seq: Sequence[int], rows: Sequence[DecisionRow], keep: bool, names: Sequence[str]) -> Encoded:
    """What the shield made of requests, one row each."""
    by_field = dict(zip(DecisionRow._fields, zip(*rows, strict=True), strict=True))
    records = np.empty(len(rows), DECISION_RECORD)
    records["seq"], records["point"] = seq, by_field["point_id"]
    for name in ("t_us", "enforced"):
        records[name] = by_field[name]
    reals = ("requested", "applied", "distance_kva", "bound", "found", "after")
    for name in reals:
        records[name] = _reals(by_field[name])
    texts: dict[str, pa.Array] = {}
    for name in ("reason", "source", "limit", "rung"):
        interned = Interned()
        codes = interned.codes(by_field[name], len(rows))
        records[name] = interned.hashes()[codes]
        if keep:
            texts[name] = _texts(interned, codes)
    if not keep:
        return Encoded(len(rows), records, None)
    by_name = {name: pa.array(records[name].copy()) for name in ("t_us", "seq", *reals)} | texts
    by_name |= {"point": _point_names(records["point"], names), "enforced": pa.array(records["enforced"] != 0)}
    return Encoded(len(rows), records, _in_order("decisions", by_name))


def encode_messages(rows: Sequence[MessageRow]) -> Encoded:
    """Messages are kept and not digested: recording them or not must not change the digest."""
    t_us, arrival_us, channel, sender, receiver, n_bytes, fate = zip(*rows, strict=True)
    columns = [pa.array(t_us, _COUNT), pa.array(arrival_us, _COUNT), _text_column(channel), _text_column(sender),
               _text_column(receiver), pa.array(n_bytes, _COUNT), _text_column(fate)]
    return Encoded(len(rows), None, pa.Table.from_arrays(columns, schema=SCHEMAS["messages"]))
