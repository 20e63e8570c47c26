"""``gridloop replay``: re-run a result from scenario, seed and journal, and compare."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, plain
from cosim.cli.progress import reporting
from cosim.cli.report import require_result

NAME = "replay"
SUMMARY = "re-run a result from scenario, seed and journal, compare digests, name the first divergence"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="a result folder")
    parser.add_argument("--allow-plugins", action="store_true",
                        help="load the Python code that the scenario's `plugins` names")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Exit 0 when the digests agree, 1 when they do not."""
    require_result(args.result)
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
