"""MATPOWER case files: a strict reader of `.m` text and of `.mat` files, and their translation to a `Network`.

Only data is read, nothing is evaluated: a `.m` file may hold a function line, comments, and assignments of numbers,
strings and numeric matrices to fields of `mpc`. A file that computes (MATPOWER's own case33bw.m converts its units
at the end) is refused with the line named, because skipping the arithmetic would give a wrong network.
Format: MATPOWER User's Manual 8.0, appendix B (version 2 cases). MATPOWER's conventions for the power flow:
section 3 of the same manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosim.errors import GridError
from cosim.state import FloatArray

MAX_CASE_BYTES = 64 * 1024 * 1024
UNLIMITED_MVA = 9900.0
"""A rating at or above this is MATPOWER's placeholder for "no limit", not a rating."""

_NEEDED_COLUMNS = {"bus": 13, "gen": 10, "branch": 11}
_ASSIGNMENT = re.compile(r"mpc\.(\w+)\s*=\s*", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|Inf|NaN)\Z", re.ASCII)
_CLOSING = {"[": "]", "{": "}"}


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A MATPOWER case: base, the `bus` (n, >=13), `gen` (n, >=10) and `branch` (n, >=11) matrices, and bus names."""

    name: str
    base_mva: float
    bus: FloatArray
    gen: FloatArray
    branch: FloatArray
    bus_names: tuple[str, ...] = ()


def read_case(path: Path) -> Case:
    """The case in a `.m` or `.mat` file; GridError where it cannot be read or lacks something."""
    if path.stat().st_size > MAX_CASE_BYTES:
        raise GridError(f"{path.name}: {path.stat().st_size} bytes; a case file may have {MAX_CASE_BYTES}")
    if path.suffix.lower() == ".mat":
        return _read_mat(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GridError(f"{path.name}: not UTF-8 text at byte {error.start}; expected a MATPOWER .m file") from error
    return parse_case(text, path.stem)


def parse_case(text: str, name: str) -> Case:
    """The case written in `.m` text; GridError names the line of what is not plain data."""
    fields: dict[str, str] = {}
    lines = [_without_comment(line) for line in text.splitlines()]
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        if not line or line in {"end", ";"} or line.startswith("function "):
            position += 1
            continue
        found = _ASSIGNMENT.match(line)
        if found is None:
            raise GridError(f"{name}.m:{position + 1}: {line[:60]!r} is not plain data; expected 'mpc.FIELD = VALUE;'"
                            " (a case that computes its data must be saved with MATPOWER's savecase first)")
        position, fields[found[1]] = _value(lines, position, line[found.end():], name)
    return _case_of(name, fields)


def _without_comment(line: str) -> str:
    """The line up to its first % that is not inside quotes."""
    quoted = False
    for position, character in enumerate(line):
        if character == "'":
            quoted = not quoted
        elif character == "%" and not quoted:
            return line[:position]
    return line


def _value(lines: list[str], position: int, first: str, name: str) -> tuple[int, str]:
    """The text of a value that starts on line `position`, and the position after it."""
    closing = _CLOSING.get(first[:1])
    if closing is None:
        return position + 1, first.strip().rstrip(";").strip()
    parts, start, rest = [], position, first[1:]
    while closing not in rest:
        parts.append(rest)
        position += 1
        if position >= len(lines):
            raise GridError(f"{name}.m:{start + 1}: a matrix is opened here and never closed with '{closing}'")
        rest = lines[position]
    body, _, after = rest.partition(closing)
    if after.strip() not in {"", ";"}:
        raise GridError(f"{name}.m:{position + 1}: {after.strip()[:40]!r} after '{closing}'; expected ';'")
    parts.append(body)
    return position + 1, "\n".join(parts)


def _matrix(name: str, key: str, text: str) -> FloatArray:
    """The numeric matrix written in `text`; rows end with ';' or a new line."""
    rows = [row.replace(",", " ").split() for row in re.split(r"[;\n]", text) if row.strip()]
    wrong = next((word for row in rows for word in row if not _NUMBER.match(word)), None)
    if wrong is not None:
        raise GridError(f"{name}.m: mpc.{key}: {wrong!r} is not a number")
    if len({len(row) for row in rows}) > 1:
        raise GridError(f"{name}.m: mpc.{key}: rows of {sorted({len(r) for r in rows})} columns; expected equal ones")
    return np.array([[float(word) for word in row] for row in rows], dtype=np.float64)


def _case_of(name: str, fields: dict[str, str]) -> Case:
    """The case of these raw fields, checked."""
    for key in ("baseMVA", *_NEEDED_COLUMNS):
        if key not in fields:
            raise GridError(f"{name}: mpc.{key} is missing; a case needs baseMVA, bus, gen and branch")
    if not _NUMBER.match(fields["baseMVA"]):
        raise GridError(f"{name}.m: mpc.baseMVA = {fields['baseMVA'][:40]!r}; expected a number")
    names = tuple(re.findall(r"'([^']*)'", fields.get("bus_name", "")))
    return checked_case(Case(name, float(fields["baseMVA"]), _matrix(name, "bus", fields["bus"]),
                             _matrix(name, "gen", fields["gen"]), _matrix(name, "branch", fields["branch"]), names))


def _read_mat(path: Path) -> Case:
    """The `mpc` struct (or loose matrices) of a MATLAB .mat file."""
    from scipy.io import loadmat  # seconds to import, and only this needs it

    try:
        content = loadmat(path, simplify_cells=True)
    except (ValueError, NotImplementedError, TypeError, OSError) as error:
        raise GridError(f"{path.name}: not a readable MATLAB file ({error}); expected format 4 to 7.2") from error
    data = content.get("mpc", content)
    try:
        bus, gen, branch = (np.atleast_2d(np.asarray(data[key], dtype=np.float64)) for key in _NEEDED_COLUMNS)
        return checked_case(Case(path.stem, float(data["baseMVA"]), bus, gen, branch))
    except (KeyError, TypeError, ValueError) as error:
        raise GridError(f"{path.name}: {error} while reading mpc; expected baseMVA, bus, gen and branch") from error


def checked_case(case: Case) -> Case:
    """The case itself, or a GridError about what a power flow cannot be made of."""
    if not (np.isfinite(case.base_mva) and case.base_mva > 0):
        raise GridError(f"{case.name}: baseMVA is {case.base_mva}; expected a positive number")
    for key, columns in _NEEDED_COLUMNS.items():
        matrix = getattr(case, key)
        if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] < columns:
            raise GridError(f"{case.name}: mpc.{key} has shape {matrix.shape}; expected at least one row of {columns}"
                            " columns (MATPOWER version 2)")
        if np.isnan(matrix[:, :columns]).any():
            raise GridError(f"{case.name}: mpc.{key} row {int(np.isnan(matrix[:, :columns]).any(axis=1).argmax()) + 1}"
                            " holds NaN; expected numbers")
    numbers = case.bus[:, 0]
    if np.unique(numbers).size != numbers.size:
        raise GridError(f"{case.name}: mpc.bus holds a bus number twice; expected each once")
    for key, column in (("gen", 0), ("branch", 0), ("branch", 1)):
        stray = np.setdiff1d(getattr(case, key)[:, column], numbers)
        if stray.size:
            raise GridError(f"{case.name}: mpc.{key} names bus {stray[0]:g}, which mpc.bus does not hold")
    live = case.branch[:, 10] > 0
    if (live & (case.branch[:, 2] == 0) & (case.branch[:, 3] == 0)).any():
        raise GridError(f"{case.name}: a branch in service has r = x = 0; expected an impedance")
    return case
