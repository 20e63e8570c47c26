"""``gridloop report``: one self-contained HTML page of a result."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosim.cli.engine import Engine
from cosim.cli.files import refuse_other
from cosim.cli.outcome import Exit, Outcome, UsageError

NAME = "report"
SUMMARY = "make one self-contained HTML page of a result"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it (default: RESULT/report.html)")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Write the page and say where."""
    require_result(args.result)
    if args.out is not None:
        refuse_other(args.out, "<!DOCTYPE html>")
    page = engine.report(args.result, args.out if args.out is not None else args.result / "report.html")
    return Outcome(Exit.DONE, f"wrote {page}", {"path": str(page)})


def require_result(folder: Path) -> None:
    """Raises UsageError unless the folder holds a result."""
    if not (folder / "manifest.json").is_file():
        raise UsageError(f"{folder}: no result here (manifest.json is missing); expected a folder written by "
                         f"`gridloop run` (one that was killed before it began left nothing: run it again)")
