"""``gridloop dataset``: record what a scenario's own policies do, to learn from it without a simulation."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from cosim.cli.engine import Engine
from cosim.cli.learning import add_learning_scenario, again, columns, needing
from cosim.cli.learning_progress import showing
from cosim.cli.outcome import Exit, Outcome, UsageError
from cosim.errors import GridloopError, ScenarioError

NAME = "dataset"
SUMMARY = "record a scenario's policies as data sets for offline learning (Minari's layout)"

#: Most episodes of one command.
MAX_EPISODES = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_learning_scenario(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="root folder; a data set a group of agents: DIR/<scenario>/<group>-v0")
    parser.add_argument("--episodes", type=int, default=10, metavar="N", help="how many (default: 10)")
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="seed of the first episode; the next ones count on (default: 1)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="X",
                        help="what is tried beside the policies: deviation of normalised numbers, share of other "
                             "choices (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Record every episode; nothing is written before the last one has ended."""
    for name, value, least, most in (("--episodes", args.episodes, 1, MAX_EPISODES), ("--noise", args.noise, 0.0, 1.0),
                                     ("--seed", args.seed, 0, 2**53)):
        if not least <= value <= most:
            raise UsageError(f"{name}: found {value}; expected {least} to {most:,}")
    with needing("recording data sets"), showing(quiet=args.quiet or args.json) as show:
        folders = _recorded(args, engine, show)
    found = [(folder, json.loads((folder / "metadata.json").read_text(encoding="utf-8"))) for folder in folders]
    rows = [[about["gridloop"]["group"], f"{about['total_episodes']:,}", f"{about['total_steps']:,}",
             str(folder.parent)] for folder, about in found]
    scenario = again(args.scenario, args.overrides, allow_plugins=args.allow_plugins, agents=args.agents)
    return Outcome(Exit.DONE, "\n".join([
        columns(["group", "episodes", "decisions", "data set"], rows),
        f"next: gridloop train {scenario} --algo iql --dataset {shlex.quote(str(args.out))}"]),
        {"datasets": [{"group": about["gridloop"]["group"], "episodes": about["total_episodes"],
                       "steps": about["total_steps"], "id": about["dataset_id"], "path": str(folder.parent)}
                      for folder, about in found]})


def _recorded(args: argparse.Namespace, engine: Engine, show: Any) -> tuple[Path, ...]:
    from policies.demonstrations import Recording

    recording = Recording(args.episodes, args.seed, args.noise, args.duration, args.agents, tuple(args.overrides),
                          allow_plugins=args.allow_plugins)

    def on_episode(number: int) -> None:
        show(number + 1, args.episodes, f"episode {number + 1:,} of {args.episodes:,}")

    try:
        return engine.dataset(args.scenario, args.out, recording, on_episode)
    except ScenarioError:
        raise
    except GridloopError as error:
        raise UsageError(str(error)) from None
