"""``gridloop export``: a trained bundle's networks as ONNX, checked against torch and timed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cosim.cli.engine import Engine
from cosim.cli.learning import columns, needing
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.errors import GridloopError

if TYPE_CHECKING:
    from policies.export import Exported

NAME = "export"
SUMMARY = "write a trained bundle's networks as ONNX, so that it runs without torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder that gridloop train wrote")
    parser.add_argument("--onnx", dest="out", type=Path, metavar="DIR",
                        help="a copy of the bundle with the files (default: put them into the bundle itself)")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is at DIR")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Export every group; refused where it does not compute what torch does."""
    if not (args.bundle / "bundle.json").is_file():
        raise UsageError(f"{args.bundle}: no bundle here (bundle.json is missing); expected a folder written by "
                         f"`gridloop train`")
    if args.out is not None and args.out.exists() and args.out.resolve() != args.bundle.resolve() and not args.force:
        raise UsageError(f"{args.out} exists already; choose another name, or --force to replace the bundle there")
    with needing("exporting"):
        found = _exported(args, engine)
    rows = []
    for group in found:
        for kind, latency in group.latency.items():
            difference = f"{group.difference[kind]:.1e}" if kind in group.difference else "-"
            rows.append([group.group, kind, difference, f"{latency.p50_us:.1f}", f"{latency.p99_us:.1f}"])
    table = columns(["group", "computed by", "largest difference", "median µs", "p99 µs"], rows, left=2)
    out = args.bundle if args.out is None else args.out
    policy = f"gridloop run SCENARIO --bundle {out} --policy onnx"
    return Outcome(Exit.DONE, "\n".join([table, *(f"wrote {group.file}" for group in found), f"next: {policy}"]),
                   {"bundle": str(out), "groups": [plain(group.to_dict()) for group in found]})


def _exported(args: argparse.Namespace, engine: Engine) -> tuple[Exported, ...]:
    """UsageError for a bundle, a place or an installation that will not do; a network that differs is a failure."""
    from policies.export import DifferenceError

    try:
        found: tuple[Exported, ...] = engine.export(args.bundle, args.out)
    except DifferenceError:
        raise
    except GridloopError as error:
        raise UsageError(str(error)) from None
    return found
