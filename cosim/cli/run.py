"""``gridloop run``: run a scenario into a result folder."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.arguments import add_bundle, add_scenario, load
from cosim.cli.engine import Engine, Watch
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.cli.progress import reporting
from cosim.cli.report import require_result
from cosim.cli.result_folder import check_free, next_result, replacing
from cosim.cli.summary import counterfactual_table, summary_table
from cosim.errors import KernelError, ScenarioError

if TYPE_CHECKING:
    from cosim.scenario.loader import LoadedScenario

NAME = "run"
SUMMARY = "run a scenario: progress, summary, result folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_scenario(parser, is_optional=True)
    add_bundle(parser)
    parser.add_argument("--until", type=float, metavar="SECONDS", help="stop at this simulation time")
    parser.add_argument("--out", type=Path, metavar="DIR", help="result folder (default: results/<scenario>-<NNN>)")
    parser.add_argument("--force", action="store_true", help="replace a result that is in the folder")
    parser.add_argument("--resume", type=Path, metavar="RESULT",
                        help="go on with a run that was interrupted: re-executed, checked, continued")
    parser.add_argument("--no-record", action="store_true", help="sample no points (events and commands are kept)")
    parser.add_argument("--counterfactual", action="store_true",
                        help="afterwards the same with the shield off, into DIR/counterfactual, and compare")
    parser.add_argument("--quiet", action="store_true", help="no progress, and no summary of a run that is done")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Run to the end, to --until or to Ctrl-C."""
    if args.resume is not None:
        summary, out = _resume(args, engine), args.resume
    else:
        summary, out = _run(args, engine)
    if args.counterfactual:
        summary["counterfactual"] = _counterfactual(args, engine, out) if summary.get("status") == "done" else {
            "status": "was not begun", "error": "the run itself is not complete"}
    return _outcome({**summary, "result": str(out)}, quiet=args.quiet)


def _counterfactual(args: argparse.Namespace, engine: Engine, out: Path) -> dict[str, Any]:
    """The same scenario and seed with the shield off, without samples."""
    from cosim.recorder.folder import COUNTERFACTUAL

    args.overrides = [*args.overrides, "shield=false", "record.points=[]"]
    loaded, folder = load(args, engine), out / COUNTERFACTUAL
    with reporting(quiet=args.quiet or args.json, name="shield off") as reporter:
        found = engine.run(loaded, folder, args.until, Watch(reporter, reporter.should_stop))
    return {**plain(found), "result": str(folder)}


def _check_compared(loaded: LoadedScenario) -> None:
    """Raises UsageError unless the run with the shield off is another one."""
    mode = loaded.scenario.shield.mode.value
    if mode != "enforce":
        why = "the shield is off" if mode == "off" else "the shield only observes, so this run is the one without it"
        raise UsageError(f"--counterfactual: {why}; expected shield.mode 'enforce' (try --set shield=enforce)")


def _run(args: argparse.Namespace, engine: Engine) -> tuple[dict[str, Any], Path]:
    if args.scenario is None:
        raise UsageError("name a scenario, or a result to go on with: --resume RESULT")
    if args.no_record:
        args.overrides = [*args.overrides, "record.points=[]"]
    loaded = load(args, engine)
    check_until(args.until, loaded.scenario.duration_s)
    if args.counterfactual:
        _check_compared(loaded)
    out = args.out if args.out is not None else next_result(loaded.scenario.name)
    check_free(out, force=args.force)
    with reporting(quiet=args.quiet or args.json) as reporter, replacing(out):
        try:
            found = engine.run(loaded, out, args.until, Watch(reporter, reporter.should_stop))
        except ScenarioError as error:
            raise loaded.place(error) from None
    return dict(plain(found)), out


def _resume(args: argparse.Namespace, engine: Engine) -> dict[str, Any]:
    """What would make it another run is refused: a result knows its scenario, seed, changes and end."""
    require_result(args.resume)
    given = [name for name, is_given in (
        ("SCENARIO", args.scenario is not None), ("--seed", args.seed is not None), ("--set", bool(args.overrides)),
        ("--bundle", args.bundle is not None),
        ("--until", args.until is not None), ("--out", args.out is not None), ("--force", args.force),
        ("--no-record", args.no_record), ("--counterfactual", args.counterfactual)) if is_given]
    if given:
        raise UsageError(f"--resume takes everything from the result; leave out {', '.join(given)}")
    with reporting(quiet=args.quiet or args.json) as reporter:
        return dict(plain(engine.resume(args.resume, args.allow_plugins, Watch(reporter, reporter.should_stop))))


def check_until(until_s: float | None, duration_s: float) -> None:
    """Raises UsageError for an --until that the scenario does not reach."""
    from cosim.kernel import whole_us

    if until_s is None:
        return
    try:
        whole_us(until_s)
    except KernelError as error:
        raise UsageError(f"--until: {error}") from None
    if not 0 < until_s <= duration_s:
        longer = f" (a longer run: --set duration_s={until_s:g})" if until_s > 0 else ""
        raise UsageError(f"--until: found {until_s:g} s; expected more than 0 and at most duration_s = "
                         f"{duration_s:g} s{longer}")


def _outcome(summary: Mapping[str, Any], *, quiet: bool) -> Outcome:
    is_done = summary.get("status") == "done"
    lines = [] if quiet and is_done else [summary_table(summary)]
    if summary.get("status") == "stopped":
        lines.append(f"stopped; go on with: gridloop run --resume {summary['result']}")
    without = summary.get("counterfactual")
    if without is not None:
        is_done = is_done and without.get("status") == "done"
        lines += _compared(summary, without, quiet=quiet)
    if is_done and not quiet:
        lines.append(f"next: gridloop report {summary['result']}")
    return Outcome(Exit.DONE if is_done else Exit.FAILED, "\n".join(lines), summary)


def _compared(summary: Mapping[str, Any], without: Mapping[str, Any], *, quiet: bool) -> list[str]:
    """Both side by side, or why the one without the shield is not there."""
    if without.get("status") == "done":
        return [] if quiet else [counterfactual_table(summary, without)]
    lines = [f"the run without the shield {without.get('status')}: {without.get('error') or 'it is not complete'}"]
    if without.get("status") == "stopped":
        lines.append(f"go on with it: gridloop run --resume {without['result']}")
    return lines
