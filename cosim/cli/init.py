"""``gridloop init``: a commented scenario to start from."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path

from cosim.cli.engine import Engine
from cosim.cli.files import write_new
from cosim.cli.outcome import Exit, Outcome

NAME = "init"
SUMMARY = "write a commented scenario to start from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("file", nargs="?", type=Path, default=Path("scenario.yaml"), metavar="FILE",
                        help="where to write it (default: scenario.yaml)")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")


def execute(args: argparse.Namespace, _engine: Engine) -> Outcome:
    """Write the starter scenario."""
    write_new(args.file, starter(), force=args.force)
    text = f"wrote {args.file}\nnext: gridloop check {args.file} && gridloop run {args.file}"
    return Outcome(Exit.DONE, text, {"path": str(args.file)})


def starter() -> str:
    """The text of the starter scenario."""
    return files("cosim.cli").joinpath("starter.yaml").read_text(encoding="utf-8")
