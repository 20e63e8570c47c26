"""The parser, the dispatch, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from cosim import __version__
from cosim.cli import (
    audit,
    check,
    dataset,
    evaluate,
    export,
    init,
    listing,
    modbus,
    points,
    replay,
    report,
    run,
    scada,
    schema,
    serve,
    train,
)
from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, OutputError, UsageError, problem_data, say
from cosim.errors import FolderError, GridError, GridloopError, PluginError, ScenarioError

#: Commands in the order of the help text.
COMMANDS = (check, run, serve, train, evaluate, export, dataset, points, modbus, scada, report, replay, audit, listing,
            schema, init)

#: A value of thousands of letters that a message quotes is named by its beginning.
_LONG_WORD = re.compile(r"(\S{160})\S{240,}")

#: Errors that are the asker's: nothing ran yet.
_USAGE_ERRORS = (ScenarioError, UsageError, PluginError, GridError, FolderError)


def main(argv: Sequence[str] | None = None, *, engine: Engine | None = None) -> int:
    """Run one command; returns the exit code (see `Exit`)."""
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0) if isinstance(stop.code, int | None) else Exit.USAGE
    try:
        return _perform(args, engine or Engine())
    except BrokenPipeError:
        _silence_stdout()
        return Exit.FAILED
    except OutputError as error:
        _silence_stdout()
        print(error, file=sys.stderr)
        return Exit.FAILED


def _perform(args: argparse.Namespace, engine: Engine) -> int:
    try:
        outcome = args.execute(args, engine)
    except KeyboardInterrupt:
        outcome = _failure(Exit.FAILED, "interrupted", [])
    except OutputError:
        raise
    except GridloopError as error:
        if args.debug:
            raise
        code = Exit.USAGE if isinstance(error, _USAGE_ERRORS) else Exit.FAILED
        outcome = _failure(code, str(error), problem_data(getattr(error, "problems", ())))
    except BrokenPipeError:
        raise
    except SystemExit as stop:  # nothing of ours exits below here
        outcome = _failure(Exit.FAILED, f"a plugin's code called sys.exit({stop.code!r}); expected an exception", [])
    except Exception as error:  # a bug of ours: say so in one line
        if args.debug:
            raise
        where = "this is a bug in Gridloop; run again with --debug for the traceback"
        outcome = _failure(Exit.FAILED, f"internal error: {type(error).__name__}: {error} ({where})", [])
    _show(outcome, as_json=args.json)
    return int(outcome.exit)


def _failure(code: Exit, message: str, problems: list[dict[str, Any]]) -> Outcome:
    return Outcome(code, message, {"status": "error", "error": message, "problems": problems})


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        every_letter = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
        say(json.dumps(outcome.data, indent=2, ensure_ascii=not every_letter, allow_nan=False))
    elif outcome.data.get("status") != "error":
        if outcome.text:
            say(outcome.text)
    elif outcome.text:
        encoding = sys.stderr.encoding or "utf-8"
        text = _LONG_WORD.sub(r"\1…", outcome.text)
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gridloop", allow_abbrev=False,
        description="Co-simulation of power grids with SCADA and hardware in the loop.",
        epilog="Exit codes: 0 done, 1 the run failed (its state so far is saved), 2 bad usage or scenario.")
    parser.add_argument("--version", action="version", version=f"gridloop {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        sub = commands.add_parser(module.NAME, help=module.SUMMARY, description=module.SUMMARY, allow_abbrev=False)
        module.add_arguments(sub)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(execute=module.execute)
    return parser


def _silence_stdout() -> None:
    """Whoever read us has gone (``gridloop list | head``): nothing is left to say, not even at exit."""
    with contextlib.suppress(OSError):
        sys.stdout.close()
