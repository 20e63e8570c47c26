"""``gridloop schema``: JSON Schema for editors, or the scenario reference as Markdown."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cosim.cli.engine import Engine
from cosim.cli.files import refuse_other, write_new
from cosim.cli.outcome import Exit, Outcome

NAME = "schema"
SUMMARY = "write the JSON Schema of scenario files, for editors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    parser.add_argument("--format", choices=("json", "markdown"), default="json",
                        help="json (default), or markdown: the scenario reference of the documentation")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """The schema with every plugin that is installed."""
    text, data = _rendered(args.format, engine)
    if args.out is None:
        return Outcome(Exit.DONE, text.rstrip("\n"), data)
    refuse_other(args.out, text[:16])
    write_new(args.out, text, force=True)
    return Outcome(Exit.DONE, f"wrote {args.out}", {"path": str(args.out)})


def _rendered(form: str, engine: Engine) -> tuple[str, dict[str, object]]:
    if form == "markdown":
        from cosim.scenario.reference import reference_markdown

        text = reference_markdown(engine.registry())
        return text, {"markdown": text}
    from cosim.scenario.json_schema import json_schema

    data = json_schema(engine.registry())
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n", data
