"""``gridloop audit``: whether a result's audit log is what was written, and what it says.

A served run has two: the run's own, whose seal is in the manifest, and the access log (every write that masters asked
for), whose seal lies beside it.  A folder is judged by both, a file by itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path

from cosim.audit import Condition, Record, Seal, Verdict, verify
from cosim.audit.reading import Walk
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.errors import RecordError

NAME = "audit"
SUMMARY = "verify the audit logs of a result (finds any edit), or show their records"

LOG = "audit.jsonl"
#: The access log of a served run and its seal (`hil.access`).
ACCESS, ACCESS_SEAL = "access.jsonl", "access.seal"
#: The bytes of the wire, whose hash the access log ends with.
WIRE = "wire.log"

#: Records shown unless told otherwise, and at most.
_SHOWN, _MAX_SHOWN = 100, 100_000

_EXITS = {Condition.INTACT: Exit.DONE, Condition.CUT_SHORT: Exit.DONE, Condition.TAMPERED: Exit.FAILED,
          Condition.UNUSABLE: Exit.USAGE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("action", choices=("verify", "show"),
                        help="verify: exit 0 intact, 1 tampered with, 2 not an audit log; show: print the records")
    parser.add_argument("path", type=Path, metavar="FOLDER_OR_FILE",
                        help=f"a result folder ({LOG}, and {ACCESS} of a served run), or one log by itself (then "
                             f"without a seal)")
    parser.add_argument("--seal", type=_seal, metavar="COUNT:HEAD",
                        help=f"verify: compare {LOG} with this seal, noted elsewhere, instead of the manifest's; for "
                             f"{ACCESS} name that file")
    parser.add_argument("--kind", metavar="KIND", help="show: only records of this kind")
    parser.add_argument("--limit", type=_limit, metavar="N", help=f"show: the first N (default {_SHOWN})")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - commands are called alike
    """Verify or show."""
    if args.action == "verify":
        if args.kind is not None or args.limit is not None:
            raise UsageError("audit verify: --kind and --limit are for `gridloop audit show`; verify reads all records")
        return _both(args.path, lambda path: _verify(path, args.seal), _verify_access, " ")
    if args.seal is not None:
        raise UsageError("audit show: --seal is for `gridloop audit verify`")
    limit = _SHOWN if args.limit is None else args.limit
    return _both(args.path, lambda path: _show(_log_of(path), args.kind, limit),
                 lambda folder: _show(folder / ACCESS, args.kind, limit), "\n")


def _both(path: Path, judge: Callable[[Path], Outcome], judge_access: Callable[[Path], Outcome],
          between: str) -> Outcome:
    """The log at `path`; of a folder with an access log (or the seal of one) both, the worse exit code."""
    if not path.is_dir() or not any((path / name).exists() for name in (ACCESS, ACCESS_SEAL)):
        return judge(path)
    access = judge_access(path)
    if not (path / LOG).exists() and _manifest_seal(path) is None:  # a run without a shield keeps only this one
        return Outcome(access.exit, f"{ACCESS}: {access.text}", {"access": access.data})
    own = judge(path)
    return Outcome(max(own.exit, access.exit), f"{LOG}:{between}{own.text}\n{ACCESS}:{between}{access.text}",
                   {**own.data, "access": access.data})


# -- verify -----------------------------------------------------------------------------------------------------------


def _verify(path: Path, noted: Seal | None) -> Outcome:
    is_folder = path.is_dir()
    seal, source = noted, "the seal given"
    if noted is None and is_folder:
        seal, source = _manifest_seal(path), "the manifest's seal"
    return _verdict(_log_of(path), seal, source, "the manifest" if is_folder else "")


def _verify_access(folder: Path) -> Outcome:
    """The access log, and the bytes of the wire where it holds their hash."""
    judged = _verdict(folder / ACCESS, _access_seal(folder), "its seal", ACCESS_SEAL)
    noted = _wire_hash(folder / ACCESS) if judged.exit is Exit.DONE else ""
    if not noted:
        return judged
    try:
        with (folder / WIRE).open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = error.strerror or "cannot be read"
    same = found == noted
    words = "as it was written" if same else f"tampered: found {found:.40}, expected sha256 {noted[:12]}…"
    return Outcome(judged.exit if same else Exit.FAILED, f"{judged.text}\n{WIRE}: {words}",
                   {**judged.data, "wire": {"same": same, "sha256": noted}})


def _wire_hash(access: Path) -> str:
    """The hash of the wire log that an access log ends with; "" where it has none."""
    noted = ""
    with access.open("rb") as file:
        for record in Walk(file):
            if record.kind == "wire":
                noted = record.detail.removeprefix("sha256 ")
    return noted


def _verdict(log: Path, seal: Seal | None, source: str, holder: str) -> Outcome:
    verdict = verify(log, seal)
    if verdict.condition is Condition.UNUSABLE:
        raise UsageError(f"{log}: {verdict}")
    data = {**plain(verdict), "status": verdict.condition.name.lower(), "seal_matches": verdict.seal_matches}
    del data["condition"]
    return Outcome(_EXITS[verdict.condition], f"{verdict}; {_about_seal(verdict, source, holder)}", data)


def _about_seal(verdict: Verdict, source: str, holder: str) -> str:
    if verdict.seal is None:
        where = f"no seal in {holder}" if holder else "no seal (a file without its result folder)"
        return f"{where}: records missing at the end would not be seen"
    return f"{source} {'matches' if verdict.seal_matches else 'does not match'}"


def _access_seal(folder: Path) -> Seal | None:
    """The seal beside an access log; None when the run left none (it is not over, or was killed)."""
    path = folder / ACCESS_SEAL
    try:
        with path.open(encoding="ascii") as file:
            return _seal(file.read(128).strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{path}: damaged: {error}; to check the log without it, name the file "
                         f"{folder / ACCESS}") from None


def _manifest_seal(folder: Path) -> Seal | None:
    """The seal in a result's manifest; None when the run left none (it is not over, or keeps no audit log)."""
    from cosim.recorder.folder import read_manifest

    try:
        found = read_manifest(folder).get("audit")
    except RecordError as error:
        raise UsageError(f"{error}; to check the log without its manifest, name the file {folder / LOG}") from None
    if found is None:
        return None
    try:
        return _seal(f"{found['records']}:{found['head']}")
    except (TypeError, KeyError, argparse.ArgumentTypeError) as error:
        raise UsageError(f"{folder / 'manifest.json'}: damaged: 'audit' is {found!r:.80} ({error}); expected "
                         f"{{\"records\": COUNT, \"head\": 64 HEX DIGITS}}") from None


# -- show -------------------------------------------------------------------------------------------------------------


def _show(path: Path, kind: str | None, limit: int) -> Outcome:
    if not path.is_file():
        raise UsageError(f"{path}: no audit log here; expected the {LOG} of a result")
    shown: list[Record] = []
    n_found = 0
    try:
        with path.open("rb") as file:
            walk = Walk(file)
            for record in walk:
                if kind is None or record.kind == kind:
                    n_found += 1
                    if len(shown) < limit:
                        shown.append(record)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    fault = walk.fault
    if fault is not None and fault.condition is Condition.UNUSABLE:
        raise UsageError(f"{path}: not an audit log: line {fault.line}: found {fault.found}, expected {fault.expected}")
    notes = [f"{n_found} of {walk.count} records" + (f", the first {limit} shown" if n_found > limit else "")]
    if fault is not None:
        notes.append(f"{fault.condition.value} at line {fault.line}: found {fault.found}, expected {fault.expected}; "
                     f"what follows is not shown")
    condition = Condition.INTACT if fault is None else fault.condition
    data = {"status": condition.name.lower(), "header": plain(walk.header), "records": walk.count, "found": n_found,
            "shown": [plain(asdict(record)) for record in shown]}
    return Outcome(_EXITS[condition], "\n".join([*_table(shown), *notes]), data)


def _table(records: Sequence[Record]) -> list[str]:
    rows = [("seq", "t [s]", "stamp", "kind", "subject", "detail")]
    rows += [(str(record.seq), f"{record.t_us / 1e6:.6f}", record.stamp or "", record.kind, record.subject,
              _detail(record)) for record in records]
    columns = [[printable(cell) for cell in column] for column in zip(*rows, strict=True)]
    if not any(columns[2][1:]):
        del columns[2]
    padded = [_padded(column, is_right=number < 2) for number, column in enumerate(columns[:-1])]
    return ["  ".join(row).rstrip() for row in zip(*padded, columns[-1], strict=True)]


def _padded(column: Sequence[str], *, is_right: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) if is_right else cell.ljust(width) for cell in column]


def _detail(record: Record) -> str:
    return " ".join((record.detail, *(f"{name}={value:.9g}" for name, value in record.fields.items()))).strip()


def printable(text: str) -> str:
    """A log may hold what a network sent: nothing of it may steer a terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


# -- arguments --------------------------------------------------------------------------------------------------------


def _log_of(path: Path) -> Path:
    return path / LOG if path.is_dir() else path


def _seal(text: str) -> Seal:
    count, _, head = text.partition(":")
    if not (count.isascii() and count.isdigit() and len(count) <= 18):
        raise argparse.ArgumentTypeError(f"the count is {count!r:.40}; expected COUNT:HEAD")
    if len(head) != 64 or head.strip("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"the head is {head!r:.80}; expected 64 hexadecimal digits")
    return Seal(int(count), head)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_SHOWN):
        raise argparse.ArgumentTypeError(f"{text!r:.40}; expected an integer from 1 to {_MAX_SHOWN}")
    return int(text[:9])
