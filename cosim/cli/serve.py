"""``gridloop serve``: run a scenario against the wall clock, its stations open to masters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cosim.cli.arguments import add_bundle, add_scenario, load
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.cli.result_folder import check_free, next_result, replacing
from cosim.cli.run import check_until
from cosim.cli.served import served_table
from cosim.cli.summary import summary_table
from cosim.errors import ScenarioError

if TYPE_CHECKING:
    from hil.serve import ServeOptions

NAME = "serve"
SUMMARY = "run a scenario against the wall clock, with its stations open to SCADA masters"

POLICIES = ("catch_up", "strict", "skip", "slip")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_scenario(parser)
    add_bundle(parser)
    parser.add_argument("--until", type=float, metavar="SECONDS",
                        help="stop at this simulation time (longer than the scenario: --set duration_s=…)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="result folder (default: results/<scenario>-<NNN>)")
    parser.add_argument("--force", action="store_true", help="replace a result that is in the folder")
    parser.add_argument("--no-record", action="store_true", help="sample no points (events and commands are kept)")
    doors = parser.add_argument_group("doors")
    doors.add_argument("--host", metavar="ADDRESS", help="where the scenario's only listener binds (default: loopback)")
    doors.add_argument("--port", type=int, metavar="N", help="port of the scenario's only listener; 0: any free one")
    doors.add_argument("--writable", action="append", default=[], metavar="PATTERN",
                       help="points that masters may write where the scenario has no stations of its own; with * "
                            "(default: none; repeatable)")
    doors.add_argument("--read-only", action="store_true", help="refuse every write (until the console says otherwise)")
    doors.add_argument("--write-rate", type=float, metavar="N", default=50.0,
                       help="writes a second that one master's address may ask for (default: 50)")
    doors.add_argument("--wire", choices=("all", "writes", "none"), default="all",
                       help="which bytes are kept as evidence (default: all)")
    clock = parser.add_argument_group("wall clock")
    clock.add_argument("--rate", type=float, default=1.0, metavar="X", help="simulated seconds a second, 0.1 to 100")
    clock.add_argument("--overrun", choices=POLICIES, default="catch_up",
                       help="when a scan is not finished in time: strict stops, catch_up runs late ones back to back, "
                            "skip drops missed ones, slip lets simulation time fall behind (default: catch_up)")
    clock.add_argument("--grace", type=int, default=3, metavar="N", help="scans at the start that may be late (3)")
    clock.add_argument("--realtime", action="store_true",
                       help="ask for SCHED_FIFO, locked memory and exact timers; goes on without what is denied")
    clock.add_argument("--cpu", type=int, metavar="N", help="keep to this core")
    clock.add_argument("--spin-us", type=int, default=0, metavar="N",
                       help="wait the last N microseconds busily (1200 hides the event loop's rounding; costs a core)")
    clock.add_argument("--no-floor", action="store_true", help="do not measure the noise floor beside the run")
    parser.add_argument("--control", action="store_true",
                        help="take commands (pause, resume, rate, …) from standard input; the default on a terminal")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and the summary of a failure")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Serve to the end, to --until, or until a signal."""
    if args.no_record:
        args.overrides = [*args.overrides, "record.points=[]"]
    loaded = load(args, engine)
    check_until(args.until, loaded.scenario.duration_s)
    options = _options(args)
    out = args.out if args.out is not None else next_result(loaded.scenario.name)
    check_free(out, force=args.force)
    with replacing(out):
        try:
            found = engine.serve(loaded, out, options)
        except ScenarioError as error:
            raise loaded.place(error) from None
    return _outcome({**plain(found.to_dict()), "result": str(out)}, quiet=args.quiet)


def _options(args: argparse.Namespace) -> ServeOptions:
    from gateways.assembly import Changes
    from hil.driver import OverrunPolicy
    from hil.gate import GateOptions
    from hil.rates import RateLimit
    from hil.realtime import RealTime
    from hil.serve import ServeOptions

    for name, value, least, most in (("--port", args.port, 0, 65535), ("--grace", args.grace, 0, 1_000_000),
                                     ("--spin-us", args.spin_us, 0, 10_000), ("--cpu", args.cpu, 0, 4095),
                                     ("--write-rate", args.write_rate, 0.001, 1e6), ("--rate", args.rate, 0.1, 100)):
        if value is not None and not least <= value <= most:
            raise UsageError(f"{name}: found {value:g}; expected {least:g} to {most:g}")
    quiet = args.quiet or args.json
    return ServeOptions(
        until_s=args.until, rate=args.rate, policy=OverrunPolicy(args.overrun), grace_scans=args.grace,
        spin_us=args.spin_us, real_time=RealTime(args.realtime, args.cpu),
        changes=Changes(args.host, args.port, tuple(args.writable)),
        gate=GateOptions(per_peer=RateLimit(args.write_rate, max(2 * args.write_rate, 1.0)), read_only=args.read_only),
        wire=args.wire, floor=not args.no_floor, control=args.control or (_is_terminal(sys.stdin) and not quiet),
        say=_nothing if quiet else _say, look=_status_line() if _is_terminal(sys.stderr) and not quiet else _nothing)


def _outcome(summary: Mapping[str, Any], *, quiet: bool) -> Outcome:
    is_well = summary.get("status") in ("done", "stopped")
    lines = [] if quiet and is_well else [summary_table(summary), served_table(summary["realtime"])]
    if is_well and not quiet:
        lines.append(f"next: gridloop replay {summary['result']}   (the same digest, at full speed; --wire: who asked)")
    return Outcome(Exit.DONE if is_well else Exit.FAILED, "\n".join(lines), summary)


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; None is a stream that was closed when the process began."""
    return stream is not None and stream.isatty()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _nothing(_: str) -> None:
    """Nobody looks."""


def _status_line() -> Callable[[str], None]:
    """A line on a terminal that is written over, about once a second."""
    looks = 0

    def show(line: str) -> None:
        nonlocal looks
        looks += 1
        if looks % 5 == 1:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return show
