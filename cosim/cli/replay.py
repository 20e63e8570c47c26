"""``gridloop replay``: re-run a result from scenario, seed and journal, and compare; or read what lay on the wire."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.audit import printable
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.cli.progress import reporting
from cosim.cli.report import require_result

if TYPE_CHECKING:
    from hil.wire.beside import Row

NAME = "replay"
SUMMARY = "re-run a result from scenario, seed and journal, compare digests; or show what lay on the wire (--wire)"

#: Requests shown unless told otherwise, and at most.
_SHOWN, _MAX_SHOWN = 100, 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    parser.add_argument("--allow-plugins", action="store_true",
                        help="load the Python code that the scenario's `plugins` names")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    wire = parser.add_argument_group("what lay on the wire of a served run (nothing is run again, unless --check)")
    wire.add_argument("--wire", action="store_true", help="show requests and answers side by side with the commands "
                                                          "that entered and what stood afterwards")
    wire.add_argument("--from", dest="from_s", type=_seconds, metavar="S", help="--wire: from this simulation time on")
    wire.add_argument("--to", dest="to_s", type=_seconds, metavar="S", help="--wire: up to this simulation time")
    wire.add_argument("--limit", type=_limit, metavar="N", help=f"--wire: the first N (default {_SHOWN})")
    wire.add_argument("--writes", action="store_true", help="--wire: only writes and what was not asked on the wire")
    wire.add_argument("--pcap", type=Path, metavar="FILE",
                      help="write the bytes as a capture for tshark (behind TLS they appear on port 502; a serial line "
                           "appears as Modbus RTU over TCP)")
    wire.add_argument("--check", action="store_true", help="with --wire or --pcap: run again and compare, too")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Exit 0 when the digests agree (or were not asked for), 1 when they do not."""
    about_wire = args.wire or args.pcap is not None
    if not args.wire and (args.writes or any(value is not None for value in (args.from_s, args.to_s, args.limit))):
        raise UsageError("replay: --from, --to, --limit and --writes are for --wire")
    if args.check and not about_wire:
        raise UsageError("replay: --check is for --wire and --pcap; without them replay checks anyway")
    require_result(args.result)
    done = [*([_wire(args)] if args.wire else []), *([_pcap(args.result, args.pcap)] if args.pcap is not None else [])]
    if not about_wire or args.check:
        done.append(_again(args, engine))
    data = {key: value for outcome in done for key, value in outcome.data.items()}
    return Outcome(max(outcome.exit for outcome in done), "\n".join(outcome.text for outcome in done), data)


def _again(args: argparse.Namespace, engine: Engine) -> Outcome:
    with reporting(quiet=args.quiet or args.json) as reporter:
        found = engine.replay(args.result, args.allow_plugins, reporter)
    data: dict[str, Any] = {**plain(found), "same": bool(found.same)}
    if found.same:
        return Outcome(Exit.DONE, f"same: {found.replayed}", data)
    lines = [f"different: recorded {found.recorded}", f"           replayed {found.replayed}"]
    if found.divergence is not None:
        lines.append(f"first divergence: {found.divergence}")
    if found.error:
        lines.append(f"the replay ended with: {found.error}")
    return Outcome(Exit.FAILED, "\n".join(lines), data)


# -- the wire ---------------------------------------------------------------------------------------------------------


def _wire(args: argparse.Namespace) -> Outcome:
    from hil.wire.beside import Beside

    beside = Beside(args.result)
    limit = _SHOWN if args.limit is None else args.limit
    rows = _between(beside.rows(), args)
    shown = list(islice(rows, limit))
    n_more = sum(1 for _ in rows)
    notes = [f"{len(shown) + n_more} rows" + (f", the first {limit} shown" if n_more else "")]
    if beside.unfinished:
        notes.append("the log has no end: its writer was killed, or still writes")
    data = {"rows": len(shown) + n_more, "unfinished": beside.unfinished,
            "wire": [plain(asdict(row)) for row in shown]}
    return Outcome(Exit.DONE, "\n".join([*_table(shown), *notes]), data)


def _between(rows: Iterator[Row], args: argparse.Namespace) -> Iterator[Row]:
    first = float("-inf") if args.from_s is None else args.from_s * 1e6
    last = float("inf") if args.to_s is None else args.to_s * 1e6
    for row in rows:
        if first <= row.t_us <= last and (not args.writes or row.decided or row.words.startswith("not from the wire")):
            yield row


def _table(rows: Sequence[Row]) -> list[str]:
    """Who and when on the left, what on the right: → asked, ← answered, ⇒ what it did."""
    found = [(f"{row.t_us / 1e6:.6f}", f"{row.peer} #{row.session}" if row.session else "", _said(row))
             for row in rows]
    width = max([len("t [s]"), *(len(time) for time, _, _ in found)])
    peer_width = max([len("peer"), *(len(peer) for _, peer, _ in found)])
    lines = [f"{'t [s]':>{width}}  peer"]
    for time, peer, said in found:
        for i, line in enumerate(said):
            begin = f"{time:>{width}}  {printable(peer):<{peer_width}}" if i == 0 else " " * (width + 2 + peer_width)
            lines.append(f"{begin}  {printable(line)}".rstrip())
    return lines


def _said(row: Row) -> list[str]:
    lines = [row.words] if row.words else []
    if row.request:
        lines.append(f"→ {row.request}")
    if row.answer:
        lines.append(f"← {row.answer}" + ("" if isnan(row.answer_ms) else f", after {row.answer_ms:.2f} ms"))
    elif row.request:
        lines.append("← no answer")
    return [*lines, *(f"⇒ {line}" for line in (row.decided, *row.commands, row.effect) if line)]


def _pcap(result: Path, path: Path) -> Outcome:
    from contextlib import closing

    from hil.wire.layout import FILE
    from hil.wire.pcap import MAGIC, Capture, write_pcap
    from hil.wire.reading import WireFile, open_wire

    if path.exists() and (not path.is_file() or _begin(path) not in (b"", MAGIC)):
        raise UsageError(f"{path} exists already and is no capture; choose another name")
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with closing(open_wire(result / FILE)) as file:
        capture = Capture(WireFile(file, str(result / FILE)))
        try:
            with beside.open("wb") as out:
                write_pcap(capture, out)
            beside.replace(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
        finally:
            beside.unlink(missing_ok=True)
    command = " ".join(["tshark", "-r", str(path), *capture.hints()])
    return Outcome(Exit.DONE, f"wrote {path}: {capture.sessions} sessions, {capture.packets} packets; read it with "
                              f"{command}", {"pcap": str(path), "packets": capture.packets,
                                             "sessions": capture.sessions, "tshark": command})


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


# -- arguments --------------------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = float("nan")
    if not isfinite(found):
        raise argparse.ArgumentTypeError(f"{text!r:.40}; expected seconds of simulation time")
    return found


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MAX_SHOWN):
        raise argparse.ArgumentTypeError(f"{text!r:.40}; expected an integer from 1 to {_MAX_SHOWN}")
    return int(text[:9])
