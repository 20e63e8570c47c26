"""Where two recorded runs first differ: the answer to "it did not replay"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cosim.kernel import T_MAX_US
from cosim.recorder.result import RunResult

_ALL_TIME = (-T_MAX_US, T_MAX_US)
#: Values compared at a time, and points at least: bounds the memory a comparison takes.  Opening a part costs time in
#: proportion to all its columns, so few large reads are cheap.
_VALUES_AT_ONCE = 4_000_000
_POINTS_AT_LEAST = 64

#: Columns of each table besides t_us and seq, and the one that names what the row is about.  Causes come first.
_ROWS = {
    "commands": (("kind", "source", "authority", "point", "value", "expires_us", "status", "external"), "point"),
    "decisions": (("point", "requested", "applied", "reason", "distance_kva", "source", "limit", "bound", "found",
                   "after", "rung", "enforced"), "point"),
    "events": (("kind", "subject", "detail", "value"), "subject"),
}


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference: at `t_us`, in column `what` of the row about `subject` of `table`.

    `recorded` and `replayed` are the two values, None where that run has no such row (or value).
    """

    table: str
    t_us: int
    subject: str
    what: str
    recorded: Any
    replayed: Any

    def __str__(self) -> str:
        return (f"first divergence at t = {self.t_us / 1e6:.6f} s: {self.table}, {self.subject}, {self.what}: "
                f"recorded {self.recorded!r}, replayed {self.replayed!r}")


def compare(recorded: RunResult, replayed: RunResult, digits: int | None = None) -> Divergence | None:
    """The first difference in time between two runs, None when there is none.

    Bit for bit, or with `digits`: floats agree when they differ by at most
    ``10**(1 - digits) / 2`` of the larger, or by at most ``10**-digits`` (what remains of sums that cancel).
    Within one time, commands come before decisions, events and samples.  Runs that sampled other points are not
    compared further.
    """
    if recorded.manifest["sampled"] != replayed.manifest["sampled"]:
        return _other_points(recorded.manifest["sampled"], replayed.manifest["sampled"])
    found = [_compare_rows(table, recorded, replayed, digits) for table in _ROWS]
    found.append(_compare_samples(recorded, replayed, digits))
    differences = [difference for difference in found if difference is not None]
    if not differences and digits is None:
        # Equal rows in another order within an instant have another digest.
        differences = [d for d in (_compare_order(table, recorded, replayed) for table in _ROWS) if d is not None]
    return min(differences, key=lambda difference: difference.t_us, default=None)


def _other_points(recorded: list[str], replayed: list[str]) -> Divergence:
    odd = sorted(frozenset(recorded).symmetric_difference(replayed))
    return Divergence("samples", 0, odd[0] if odd else "order of the points", "recorded points", len(recorded),
                      len(replayed))


def _compare_samples(recorded: RunResult, replayed: RunResult, digits: int | None) -> Divergence | None:
    names = recorded.manifest["sampled"]
    t_us, other_us = _times("samples", recorded), _times("samples", replayed)
    first = _first_time("samples", t_us, other_us)
    rows = min(len(t_us), len(other_us))
    at_once = max(_POINTS_AT_LEAST, _VALUES_AT_ONCE // max(len(t_us), len(other_us), 1))
    for begin in range(0, len(names), at_once):
        columns = names[begin:begin + at_once]
        ours, theirs = (r.source.read("samples", columns, _ALL_TIME) for r in (recorded, replayed))
        for name in columns:
            row = _first_difference(ours[name], theirs[name], rows, digits)
            if row is not None and (first is None or t_us[row] < first.t_us):
                first = Divergence("samples", int(t_us[row]), name, "value", ours[name][row].as_py(),
                                   theirs[name][row].as_py())
    return first


def _compare_rows(table: str, recorded: RunResult, replayed: RunResult, digits: int | None) -> Divergence | None:
    columns, about = _ROWS[table]
    ours, theirs = (r.source.read(table, ["t_us", *columns], _ALL_TIME) for r in (recorded, replayed))
    t_us = ours["t_us"].to_numpy()
    first = _first_time(table, t_us, theirs["t_us"].to_numpy(), ours, theirs)
    for name in columns:
        row = _first_difference(ours[name], theirs[name], min(len(ours), len(theirs)), digits)
        if row is not None and (first is None or t_us[row] < first.t_us):
            first = Divergence(table, int(t_us[row]), str(ours[about][row].as_py()), name, ours[name][row].as_py(),
                               theirs[name][row].as_py())
    return first


def _compare_order(table: str, recorded: RunResult, replayed: RunResult) -> Divergence | None:
    about = _ROWS[table][1]
    ours, theirs = (r.source.read(table, ["t_us", "seq", about], _ALL_TIME) for r in (recorded, replayed))
    row = _first_difference(ours["seq"], theirs["seq"], len(ours), None)
    if row is None:
        return None
    return Divergence(table, ours["t_us"][row].as_py(), str(ours[about][row].as_py()), "seq", ours["seq"][row].as_py(),
                      theirs["seq"][row].as_py())


def _times(table: str, result: RunResult) -> NDArray[np.int64]:
    times: NDArray[np.int64] = result.source.read(table, ["t_us"], _ALL_TIME)["t_us"].to_numpy()
    return times


def _first_time(table: str, ours: NDArray[np.int64], theirs: NDArray[np.int64], our_rows: pa.Table | None = None,
                their_rows: pa.Table | None = None) -> Divergence | None:
    """The first row that is at another time, or that one run alone has."""
    rows = min(len(ours), len(theirs))
    unequal = np.flatnonzero(ours[:rows] != theirs[:rows])
    row = int(unequal[0]) if len(unequal) else rows
    if row == len(ours) == len(theirs):
        return None
    a_us = int(ours[row]) if row < len(ours) else None
    b_us = int(theirs[row]) if row < len(theirs) else None
    earlier = min(t for t in (a_us, b_us) if t is not None)
    owner = our_rows if a_us == earlier else their_rows
    subject = "row" if owner is None else str(owner[_ROWS[table][1]][row].as_py())
    return Divergence(table, earlier, subject, "t_us", a_us, b_us)


def _first_difference(ours: pa.ChunkedArray, theirs: pa.ChunkedArray, rows: int, digits: int | None) -> int | None:
    """Index of the first of `rows` values that differs."""
    if pa.types.is_floating(ours.type):
        a, b = ours.to_numpy()[:rows], theirs.to_numpy()[:rows]
        unequal = _unequal_bits(a, b) if digits is None else _unequal_digits(a, b, digits)
    else:
        a, b = (np.array(column[:rows].to_pylist(), object) for column in (ours, theirs))
        unequal = a != b
    found = np.flatnonzero(unequal)
    return int(found[0]) if len(found) else None


def _unequal_bits(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    # The recorder has made every NaN the same one.
    unequal: NDArray[np.bool_] = a.view(np.int64) != b.view(np.int64)
    return unequal


def _unequal_digits(a: NDArray[np.float64], b: NDArray[np.float64], digits: int) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= np.maximum(0.5 * 10.0 ** (1 - digits) * np.maximum(np.abs(a), np.abs(b)),
                                           10.0 ** -digits)
    # Infinities: their difference is NaN or within "half of infinity", so they are compared as they are.
    finite = np.isfinite(a) & np.isfinite(b)
    unequal: NDArray[np.bool_] = ~((near & finite) | (a == b) | (np.isnan(a) & np.isnan(b)))
    return unequal
