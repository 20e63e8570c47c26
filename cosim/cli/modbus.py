"""``gridloop modbus``: read, write and look through a Modbus device by hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, UsageError

if TYPE_CHECKING:
    from gateways.pointlist.model import Entry
    from hil.scada.endpoint import Endpoint
    from hil.scada.person import Row

NAME = "modbus"
SUMMARY = "read, write or look through a Modbus device (TCP, TLS, RTU, RTU over TCP)"

_WHERE = "HOST[:PORT], rtu:HOST:PORT, tls:HOST:PORT or serial:/dev/ttyUSB0@19200,E,1"
#: Polls that --json keeps to print at the end.
_MOST_KEPT = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="poll|write|scan", required=True)
    poll = _action(actions, "poll", "read values, once or again and again", 1.0)
    _add_place(poll)
    poll.add_argument("--count", type=int, default=1, metavar="N", help="values from the address on (default 1)")
    poll.add_argument("--every", type=_positive, metavar="S", help="again every S seconds, until Ctrl-C")
    poll.add_argument("--times", type=_whole, metavar="N", help="with --every: so many times")
    poll.add_argument("--csv", action="store_true", help="print CSV")
    _add_wait(poll)
    write = _action(actions, "write", "write values, and show what was there before and is there after", 1.0)
    _add_place(write)
    write.add_argument("values", nargs="+", metavar="VALUE",
                       help="tag=value … with --points; else the value for --address")
    write.add_argument("--wait", type=_not_negative, default=1.0, metavar="S", help="read back after S (default 1)")
    scan = _action(actions, "scan", "which units answer, what they have; reads only, never writes", 0.5)
    scan.add_argument("--units", type=_units, default="1-10", metavar="1-10,247", help="unit ids to try (default 1-10)")
    scan.add_argument("--upto", type=_whole, default=200, metavar="N", help="addresses tried in each table")
    scan.add_argument("--budget", type=_whole, default=250, metavar="N", help="requests a table at most")
    scan.add_argument("--rate", type=_positive, default=100.0, metavar="N", help="requests a second at most")
    _add_wait(scan)


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - commands are called alike
    """Poll, write or scan."""
    return {"poll": _poll, "write": _write, "scan": _scan}[args.action](args)


def _action(actions: Any, name: str, about: str, timeout_s: float) -> argparse.ArgumentParser:
    sub: argparse.ArgumentParser = actions.add_parser(name, help=about, description=about, allow_abbrev=False)
    sub.add_argument("device", metavar="HOST:PORT", help=_WHERE)
    sub.add_argument("--timeout", type=_positive, default=timeout_s, metavar="S",
                     help=f"wait so long for an answer (default {timeout_s:g})")
    sub.add_argument("--ca", type=Path, metavar="PEM", help="TLS: authority that signed the device's certificate")
    sub.add_argument("--certificate", type=Path, metavar="PEM", help="TLS: our certificate")
    sub.add_argument("--key", type=Path, metavar="PEM", help="TLS: our key")
    sub.add_argument("--server-name", default="", metavar="NAME", help="TLS: name in the device's certificate")
    sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON for machines")
    sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    return sub


def _add_wait(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--wait", type=_not_negative, default=0.0, metavar="S",
                     help="while nobody listens there, try again for so long: for a server that is about to start "
                          "(default 0)")


def _add_place(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--points", type=Path, metavar="LIST.csv", help="tags of a point list, instead of an address")
    sub.add_argument("--unit", type=int, metavar="N", help="unit id (default 1, or the list's)")
    sub.add_argument("--table", metavar="hr|ir|co|di", help="with an address as on the wire, from 0 (default hr)")
    sub.add_argument("--address", metavar="A", help="40021, 400021, hr20, or 20 with --table")
    sub.add_argument("--type", metavar="T", help="uint16 (default), int16 … float64, string, bitfield; bits are bool")
    sub.add_argument("--order", choices=("ABCD", "CDAB", "BADC", "DCBA"), default="ABCD", help="of a value's bytes")


# -- poll -------------------------------------------------------------------------------------------------------------


def _poll(args: argparse.Namespace) -> Outcome:
    from hil.scada.person import MAX_POLLS, PollRequest, run_poll
    from hil.scada.sheets import poll_csv, poll_table, row_data

    if args.times is not None and args.every is None:
        raise UsageError("--times is for repeated polls; give --every S too")
    if args.json and args.csv:
        raise UsageError("--json and --csv: choose one")
    kept: list[list[dict[str, Any]]] = []

    def show(rows: list[Row]) -> None:
        if args.json:
            kept.append([row_data(row) for row in rows])
            del kept[:-_MOST_KEPT]
        elif args.csv:
            print(poll_csv(rows, with_header=not kept), flush=True)
            kept[:] = [[]]
        else:
            print(poll_table(rows), flush=True)

    once = 1 if args.every is None else MAX_POLLS
    request = PollRequest(_endpoint(args), _entries(args, args.count), args.timeout, args.every, args.times or once,
                          args.wait)
    rows = run_poll(request, show)
    is_good = any(not row.trouble for row in rows)
    return Outcome(Exit.DONE if is_good else Exit.FAILED, "", {"status": "done" if is_good else "refused",
                                                               "polls": kept if args.json else []})


# -- write ------------------------------------------------------------------------------------------------------------


def _write(args: argparse.Namespace) -> Outcome:
    from hil.scada.operate import number
    from hil.scada.person import WriteTarget, run_write, targets_of
    from hil.scada.sheets import written_data, written_text

    entries = _entries(args, 1)
    if args.points is not None:
        targets = targets_of(entries, args.values)
    elif len(args.values) > 1:
        raise UsageError("write: one VALUE for --address; several take --points LIST.csv tag=value …")
    else:
        targets = [WriteTarget(entries[0], number(args.values[0]))]
    done = run_write(_endpoint(args), targets, args.wait, args.timeout)
    is_taken = all(written.is_taken for written in done)
    return Outcome(Exit.DONE if is_taken else Exit.FAILED, written_text(done),
                   {"status": "done" if is_taken else "refused", "writes": [written_data(w) for w in done]})


# -- scan -------------------------------------------------------------------------------------------------------------


def _scan(args: argparse.Namespace) -> Outcome:
    from hil.scada.probe import ProbeRequest, run_probe
    from hil.scada.sheets import found_data, found_text

    request = ProbeRequest(_endpoint(args), args.units, min(args.upto, 65_536), args.budget, args.rate, args.timeout,
                           args.wait)
    is_shown = sys.stderr.isatty() and not args.json

    def progress(line: str) -> None:
        if is_shown:
            print(f"\r{line:<60.60}", end="", file=sys.stderr, flush=True)

    try:
        found = run_probe(request, progress)
    finally:
        progress("")
        if is_shown:
            print("\r", end="", file=sys.stderr, flush=True)
    return Outcome(Exit.DONE if found else Exit.FAILED, found_text(found),
                   {"status": "done" if found else "nothing", "units": [found_data(unit) for unit in found]})


# -- arguments --------------------------------------------------------------------------------------------------------


def _endpoint(args: argparse.Namespace) -> Endpoint:
    from hil.scada.endpoint import TlsFiles, parse_endpoint

    files = None
    if args.ca or args.certificate or args.key or args.server_name:
        files = TlsFiles(args.ca, args.certificate, args.key, args.server_name)
    return parse_endpoint(args.device, files)


def _entries(args: argparse.Namespace, count: int) -> tuple[Entry, ...]:
    from hil.scada.person import Selection, entries_of_list, select

    if args.unit is not None and not 0 <= args.unit <= 255:
        raise UsageError(f"--unit: found {args.unit}; expected 0 to 255")
    if args.points is not None:
        if args.address or args.table or args.type:
            raise UsageError("--points names the tags; leave out --address, --table and --type")
        return entries_of_list(args.points, args.unit)
    if args.address is None:
        raise UsageError("name what to read or write: --points LIST.csv, or --address (40001, hr0, or 0 with --table)")
    unit = 1 if args.unit is None else args.unit
    return select(Selection(args.address, args.table, unit, count, args.type, args.order))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"found {text}; expected more than 0")
    return value


def _not_negative(text: str) -> float:
    return 0.0 if float(text) == 0 else _positive(text)


def _whole(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 10_000_000:
        raise argparse.ArgumentTypeError(f"found {text}; expected at least 1")
    return value


def _units(text: str) -> tuple[int, ...]:
    """``1-10,247``."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) <= int(last or first) <= 255):
            raise argparse.ArgumentTypeError(f"found '{part}'; expected unit ids such as 1-10,247 (0 to 255)")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))
