"""``gridloop scada``: a small control centre that polls stations, watches limits and keeps trends."""

from __future__ import annotations

import argparse
from pathlib import Path

from cosim.cli.engine import Engine
from cosim.cli.outcome import Exit, Outcome, plain

NAME = "scada"
SUMMARY = "a small control centre: poll stations, alarms, operator writes, trends to Parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file: stations, scan classes, alarms, trends")
    parser.add_argument("--for", dest="for_s", type=_positive, metavar="S", help="stop after so many seconds")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for trends (Parquet) and events (JSON lines)")
    parser.add_argument("--do", dest="commands", action="append", default=[], metavar="COMMAND",
                        help="an operator's command, e.g. 'set feeder/pv3.p_limit_kw 250' (repeatable; then no stdin)")
    parser.add_argument("--plain", action="store_true", help="lines, also on a terminal")
    parser.add_argument("--quiet", action="store_true", help="nothing but the summary")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - commands are called alike
    """Poll to --for, `quit` or Ctrl-C; exit 0 unless no station ever answered."""
    from hil.scada.session import ScadaRequest, run_scada
    from hil.scada.words import summary_text

    is_quiet = args.quiet or args.json
    request = ScadaRequest(args.config, args.out, args.for_s, tuple(args.commands),
                           with_screen=not (args.plain or is_quiet), with_stdin=not args.commands)
    summary = run_scada(request, (lambda _text: None) if is_quiet else (lambda text: print(text, flush=True)))
    is_done = len(summary["not_answering"]) < len(summary["stations"])
    text = summary_text(summary)
    if args.out is not None:
        text += f"\ntrends and events: {args.out}"
    return Outcome(Exit.DONE if is_done else Exit.FAILED, text,
                   {"status": "done" if is_done else "nothing answered", **plain(summary)})


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"found {text}; expected more than 0 seconds")
    return value
