"""``gridloop evaluate``: what policies are worth, over seeds and channel qualities, beside others."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.engine import Engine
from cosim.cli.evaluated import evaluation_table
from cosim.cli.files import refuse_other, require_place, write_new
from cosim.cli.learning import add_learning_scenario, needing, seeds_of
from cosim.cli.learning_progress import counting
from cosim.cli.outcome import Exit, Outcome, UsageError, plain, say
from cosim.errors import GridloopError, ScenarioError

if TYPE_CHECKING:
    from cosim.scenario import LoadedScenario
    from policies.evaluate import Evaluation, Plan

NAME = "evaluate"
SUMMARY = "play a scenario's policies over seeds and channel qualities, beside others, with confidence intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_learning_scenario(parser)
    parser.add_argument("--bundle", action="append", default=[], type=Path, metavar="DIR",
                        help="a trained policy for all learners (gridloop train; repeatable)")
    parser.add_argument("--against", metavar="NAME,…",
                        help="others to play: as_is (the scenario's own policies), none, droop (volt-var, IEEE 1547 "
                             "category B), random; differences are from the first (default: as_is)")
    parser.add_argument("--seeds", metavar="N|A,B,…", default="5",
                        help="how many episodes, or their seeds (default: 5)")
    parser.add_argument("--channels", metavar="QUALITY,…", default="scenario",
                        help="qualities of the learners' telemetry: scenario (as the file says), ideal, or "
                             "delay=0.5s, jitter=200ms, loss=20%%, joined by + (default: scenario)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--yardstick", type=Path, metavar="FILE",
                        help="known values, JSON (default: yardsticks/<scenario>.json beside the scenario)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row an episode")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture of one figure, SVG")
    parser.add_argument("--figure", default="return", metavar="NAME",
                        help="the figure in the picture (default: return; --json names all)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Play every episode; Ctrl-C ends with what is done."""
    from cosim.scenario import load_scenario

    loaded = load_scenario(args.scenario, overrides=args.overrides, registry=engine.registry(),
                           allow_plugins=args.allow_plugins)
    _check_files(args)
    with needing("evaluating"):
        plan = _plan(args, loaded)
        _check_figure(args, plan)
        return _told(args, _played(args, engine, plan))


def _told(args: argparse.Namespace, evaluation: Evaluation) -> Outcome:
    """The table first, then the files: what one of them cannot take is not lost to the other."""
    written: list[Path] = []
    try:
        if not args.json:
            say(evaluation_table(evaluation))
    finally:  # whoever reads us may have gone (`| head`)
        trouble = _write(args, evaluation, written)
        if trouble:
            print(trouble, file=sys.stderr)
    done = evaluation.complete and not trouble
    data = {**plain(evaluation.to_dict()), "status": "done" if evaluation.complete else "stopped",
            "files": [str(path) for path in written]}
    return Outcome(Exit.DONE if done else Exit.FAILED, "\n".join(f"wrote {path}" for path in written),
                   {**data, "trouble": trouble} if trouble else data)


def _plan(args: argparse.Namespace, loaded: LoadedScenario) -> Plan:
    from policies.evaluate import Plan, Source, named, qualities, yardsticks
    from policies.evaluate.yardstick import beside
    from policies.placement import learner_entries

    try:
        learner_entries(loaded.scenario)
        others = [word.strip() for word in (args.against or "as_is").split(",") if word.strip()]
        controllers = [named(word) for word in (*others, *map(str, args.bundle))]
        known = yardsticks(args.yardstick) if args.yardstick is not None else beside(loaded.base_dir,
                                                                                  loaded.scenario.name)
        return Plan(Source.of(loaded), tuple(controllers), seeds_of(args.seeds, loaded.scenario.seed),
                    qualities(args.channels), args.agents, None, args.duration, known)
    except GridloopError as error:
        raise _as_usage(error) from None


def _as_usage(error: GridloopError) -> GridloopError:
    """What is wrong with what was asked for is the asker's: nothing was played yet."""
    return error if isinstance(error, ScenarioError) else UsageError(str(error))


def _played(args: argparse.Namespace, engine: Engine, plan: Plan) -> Any:
    played = 0

    def on_episode(_: Any, done: int, total: int) -> None:
        nonlocal played
        played = done
        reporter(done, total)

    with counting(quiet=args.quiet or args.json, what="episode") as reporter:
        try:
            return engine.evaluate(plan, args.workers, on_episode, reporter.should_stop)
        except GridloopError as error:
            raise error if played else _as_usage(error) from None


def _check_files(args: argparse.Namespace) -> None:
    """What could not be written is said before an hour of episodes."""
    if args.picture is not None and args.picture.suffix.lower() != ".svg":
        raise UsageError(f"--picture: found {args.picture.name!r:.60}; expected a name that ends in .svg")
    for path in (args.csv, args.picture):
        if path is not None:
            require_place(path, force=args.force)
    if args.picture is not None:
        refuse_other(args.picture, "<svg")
    if args.csv is not None and args.picture is not None and args.csv.absolute() == args.picture.absolute():
        raise UsageError(f"--csv and --picture: both are {args.csv}; expected two files")


def _check_figure(args: argparse.Namespace, plan: Plan) -> None:
    """The figure of the picture is one that the episodes will have."""
    from policies.evaluate import figures_of

    if args.picture is None:
        return
    try:
        names = figures_of(plan)
    except GridloopError as error:
        raise _as_usage(error) from None
    if args.figure not in names:
        raise UsageError(f"--figure: found {args.figure!r:.60}; expected one of {', '.join(names)}")


def _write(args: argparse.Namespace, evaluation: Evaluation, written: list[Path]) -> str:
    """Write the files, and name in `written` those that are; a line for each that could not be."""
    from policies.evaluate.picture import svg

    trouble = []
    for path, made in ((args.csv, evaluation.to_csv), (args.picture, lambda: svg(evaluation, args.figure))):
        if path is None:
            continue
        try:
            write_new(path, made(), force=args.force)
            written.append(path)
        except UsageError as error:
            trouble.append(str(error))
    return "\n".join(trouble)
