"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cosim.cli.engine import Engine

if TYPE_CHECKING:
    from cosim.scenario import LoadedScenario


def add_scenario(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    """SCENARIO, --seed, --set, --allow-plugins."""
    parser.add_argument("scenario", metavar="SCENARIO", nargs="?" if is_optional else None,
                        help="a file, or a shipped scenario's name (gridloop list)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of every random stream, instead of the file's")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
                        help="change a value, e.g. agents.0.period_s=5 or devices.pv3.s_rated_kva=60 (repeatable)")
    parser.add_argument("--allow-plugins", action="store_true",
                        help="load the Python code that the scenario's `plugins` names")


def load(args: argparse.Namespace, engine: Engine) -> LoadedScenario:
    """The scenario that the arguments name; raises ScenarioError."""
    from cosim.scenario import load_scenario

    return load_scenario(args.scenario, overrides=args.overrides, seed=args.seed, registry=engine.registry(),
                         allow_plugins=args.allow_plugins)
