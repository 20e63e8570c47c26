"""``gridloop points``: check, explain, compare, convert, generate and import the point lists of stations.

What a list is and means lives in `gateways.pointlist`, which the core does not import: only here, when it is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.arguments import add_scenario, load
from cosim.cli.engine import Engine
from cosim.cli.files import write_new
from cosim.cli.outcome import Exit, Outcome, UsageError, plain, problem_data
from cosim.errors import GridloopError, PointListError, Problem

if TYPE_CHECKING:
    from cosim.points import PointDatabase
    from gateways.pointlist.model import PointList

NAME = "points"
SUMMARY = "check, explain, compare, convert, generate and import point lists (CSV)"

BASES = ("0", "1", "modicon")
FORMATS = ("csv", "markdown", "kepware")
_LIST = "a point list, or the name of a shipped one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments: one parser for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (summary, add) in _ACTIONS.items():
        sub = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add(sub)
        # The command's own --json and --debug, behind the action too; what is not said keeps the command's default.
        for flag in ("--json", "--debug"):
            sub.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Do what the action says."""
    return _EXECUTE[args.action](args, engine)


# -- arguments --------------------------------------------------------------------------------------------------------


def _add_validate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="FILE", help=_LIST)
    parser.add_argument("--scenario", metavar="SCENARIO", help="also check that it fits a run of this scenario")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
                        help="change a value of the scenario (repeatable)")
    parser.add_argument("--allow-plugins", action="store_true", help="load the Python code that the scenario names")
    parser.set_defaults(seed=None)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="FILE", help=_LIST)
    parser.add_argument("address", metavar="ADDRESS",
                        help="40021, 400021, 'hr 20' or hr:20 (on the wire), a tag, a point")
    parser.add_argument("--value", type=_number, metavar="X", help="show the bytes of this value, engineering units")


def _add_diff(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="OLD", help=_LIST)
    parser.add_argument("other", metavar="NEW", help=_LIST)
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 where they differ")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="FILE", help=_LIST)
    parser.add_argument("--format", choices=FORMATS, default="csv", help="csv: the canonical list (default)")
    _add_out(parser)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    add_scenario(parser)
    parser.add_argument("--points", dest="wanted", action="append", default=[], metavar="PATTERN",
                        help="only these points, with * (repeatable; default: every device and the main grid points)")
    parser.add_argument("--writable", action="append", default=[], metavar="PATTERN",
                        help="setpoints and switches that masters may write, with * (repeatable; default: none)")
    parser.add_argument("--unit-per-device", action="store_true", help="the grid as unit 1, each device as a unit")
    _add_out(parser)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("vendor", type=Path, metavar="VENDOR_FILE", help="a CSV with any columns")
    parser.add_argument("--map", type=Path, required=True, metavar="MAP",
                        help="which of their columns is which of ours: a YAML or TOML file")
    _add_out(parser)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", choices=BASES, default="0", help="how addresses are written in a CSV (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to a file instead of the terminal")
    parser.add_argument("--force", action="store_true", help="replace the file")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r:.40}; expected a number") from None


# -- actions ----------------------------------------------------------------------------------------------------------


def _validate(args: argparse.Namespace, engine: Engine) -> Outcome:
    from gateways.pointlist.blocks import summaries
    from gateways.pointlist.check import check_against, remarks

    run = None if args.scenario is None else _database(args, engine)
    try:
        points = _read(args.list)
    except PointListError as error:
        return _verdict(error.problems, (), [], {})
    errors: list[Problem] = []
    warnings: list[Problem] = []
    if run is not None:
        errors, warnings = check_against(points, run), remarks(points, run)
    tables = summaries(points)
    lines = [f"{points.source}: {_count(len(points.entries), 'point')}", *(f"  {table}" for table in tables)]
    data = {"points": len(points.entries), "tables": [plain(table) for table in tables]}
    return _verdict(tuple(errors), tuple(warnings), lines, data)


def _verdict(errors: tuple[Problem, ...], warnings: tuple[Problem, ...], summary: list[str],
             data: dict[str, Any]) -> Outcome:
    lines = [str(problem) for problem in errors]
    lines += [f"{str(problem).removesuffix(problem.message)}warning: {problem.message}" for problem in warnings]
    lines += [*summary, f"{_count(len(errors), 'error')}, {_count(len(warnings), 'warning')}"]
    found = {"ok": not errors, "errors": problem_data(errors), "warnings": problem_data(warnings), **data}
    return Outcome(Exit.USAGE if errors else Exit.DONE, "\n".join(lines), found)


def _explain(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - actions are called alike
    from gateways.pointlist.explain import explain

    points = _read(args.list)
    try:
        found = explain(points, args.address, args.value)
    except GridloopError as error:
        raise UsageError(str(error)) from None
    data = {"found": [{"tag": one.entry.tag, "point": one.entry.point, "unit": one.entry.unit,
                       "table": one.entry.table.name.lower(), "address": one.entry.address, "register": one.register,
                       "registers": one.entry.registers, "type": one.entry.type.value, "order": one.entry.order.value,
                       "value": plain(one.value), "raw": one.raw, "shown": plain(one.shown),
                       "bytes": None if one.data is None else one.data.hex()} for one in found]}
    return Outcome(Exit.DONE, "\n".join(line for one in found for line in one.lines()), data)


def _diff(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - actions are called alike
    from gateways.pointlist.diff import diff

    found = diff(_read(args.list), _read(args.other))
    data = {"same": not found, "differences": [{"change": one.change.value, "tag": one.tag, "detail": one.detail}
                                               for one in found]}
    text = "\n".join(map(str, found)) or "no difference"
    return Outcome(Exit.FAILED if found and args.exit_code else Exit.DONE, text, data)


def _export(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - actions are called alike
    from gateways.pointlist.exports import kepware_notes, to_kepware, to_markdown

    points = _read(args.list)
    if args.format == "csv":
        return _written(args, points, _canonical(points, args.base))
    if args.format == "markdown":
        return _written(args, points, to_markdown(points))
    return _written(args, points, to_kepware(points), kepware_notes(points))


def _generate(args: argparse.Namespace, engine: Engine) -> Outcome:
    from gateways.pointlist.generate import GenerateOptions, generate

    options = GenerateOptions(tuple(args.wanted), tuple(args.writable), unit_per_device=args.unit_per_device)
    points = generate(_database(args, engine), options, str(args.scenario))
    return _written(args, points, _canonical(points, args.base))


def _import(args: argparse.Namespace, engine: Engine) -> Outcome:  # noqa: ARG001 - actions are called alike
    from gateways.pointlist.importing import import_vendor, read_mapping

    points = import_vendor(args.vendor, read_mapping(_mapping_data(args.map), str(args.map)))
    return _written(args, points, _canonical(points, args.base))


def _written(args: argparse.Namespace, points: PointList, text: str, notes: tuple[str, ...] = ()) -> Outcome:
    """To the file or the terminal; notes only where they do not get into the file."""
    data: dict[str, Any] = {"points": len(points.entries), "notes": list(notes)}
    if args.out is None:
        return Outcome(Exit.DONE, text.rstrip("\r\n"), {**data, "text": text})
    write_new(args.out, text, force=args.force)
    said = [f"wrote {args.out}: {_count(len(points.entries), 'point')}", *(f"note: {note}" for note in notes)]
    return Outcome(Exit.DONE, "\n".join(said), {**data, "path": str(args.out)})


_ACTIONS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "validate": ("every error of a list at once, and what is in it", _add_validate),
    "explain": ("what lies at an address, and the bytes of a value", _add_explain),
    "diff": ("what changed between two lists, tag by tag", _add_diff),
    "export": ("write a list as canonical CSV, Markdown or for Kepware", _add_export),
    "generate": ("a default list of a scenario: every device, and the main points of the grid", _add_generate),
    "import": ("a vendor's CSV to a point list, by a mapping of columns", _add_import),
}
_EXECUTE: dict[str, Callable[[argparse.Namespace, Engine], Outcome]] = {
    "validate": _validate, "explain": _explain, "diff": _diff, "export": _export, "generate": _generate,
    "import": _import}


# -- files ------------------------------------------------------------------------------------------------------------


def _read(name: str) -> PointList:
    from gateways.pointlist.reader import read_point_list

    return read_point_list(find_list(name))


def find_list(name: str) -> Path:
    """The file meant by a path or by a shipped list's name; raises UsageError that says what exists."""
    from cosim.scenario.find import shipped_folder

    path = Path(name)
    try:
        if path.exists():
            return path
    except (OSError, ValueError) as error:
        raise UsageError(f"{name!r:.200}: not a usable file name: {error}") from None
    root = shipped_folder()
    folder = None if root is None else root / "pointlists"
    files = [] if folder is None or not folder.is_dir() else sorted(folder.glob("*.csv"))
    shipped = {file.stem: file for file in files}
    if name in shipped:
        return shipped[name]
    near = get_close_matches(path.stem, list(shipped), 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    said = name if name.isprintable() else f"{name!a:.200}"
    raise UsageError(f"{said}: no such file, and no shipped point list of that name; {hint}"
                     f"shipped: {', '.join(shipped) or 'none'}")


def _mapping_data(path: Path) -> Any:
    """What a mapping file holds; YAML unless it is called .toml."""
    import tomllib

    import yaml

    from gateways.pointlist.table_text import read_file

    text = read_file(path)
    try:
        return tomllib.loads(text) if path.suffix.lower() == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        raise PointListError((Problem(f"no YAML or TOML: {' '.join(str(error).split())}", file=str(path)),)) from None


def _canonical(points: PointList, base: str) -> str:
    from gateways.pointlist.address import Base
    from gateways.pointlist.writer import to_csv

    return to_csv(points, Base(base))


def _database(args: argparse.Namespace, engine: Engine) -> PointDatabase:
    """The points of a scenario's run, before anything has run."""
    from cosim.simulation.build import build

    return build(load(args, engine)).points


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
