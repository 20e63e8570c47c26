"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cosim.cli.engine import Engine
from cosim.cli.outcome import UsageError
from cosim.errors import ScenarioError

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


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """--bundle and --policy: a trained policy for every learner of the scenario."""
    parser.add_argument("--bundle", type=Path, metavar="DIR",
                        help="a trained policy (gridloop train) that decides for all learners of the scenario")
    parser.add_argument("--policy", choices=("torch", "onnx", "numpy"), default="torch",
                        help="what computes the bundle (default: torch)")


#: Options of ``PATH=VALUE`` that change a training's configuration: where they are kept, and below what they change.
_SETTINGS = (("--option", "options", "", "PATH=VALUE, for instance collection.slots=8"),
             ("--hyper", "hyper", "options.", "KEY=VALUE, for instance lr=0.001"),
             ("--cost-limit", "cost_limits", "cost_limits.", "KEY=VALUE, for instance volts=0.01"))


def settings(args: argparse.Namespace) -> list[str]:
    """--option, --hyper and --cost-limit as changes to a configuration; UsageError, by the option's name, for none."""
    from cosim.scenario.yaml_tree import parse_yaml

    found = []
    for option, attribute, below, expected in _SETTINGS:
        for text in getattr(args, attribute):
            name, equals, value = text.partition("=")
            if not equals or not name.strip():
                raise UsageError(f"{option} {text[:80]}: expected {expected}")
            wrong = parse_yaml(value, f"{option} {name[:80]}").problems
            if wrong:
                raise UsageError("\n".join(map(str, wrong)))
            found.append(below + text)
    return found


def load(args: argparse.Namespace, engine: Engine) -> LoadedScenario:
    """The scenario that the arguments name, a bundle put in where one is named; raises ScenarioError."""
    from cosim.scenario import load_scenario

    def loaded(overrides: Sequence[str]) -> LoadedScenario:
        return load_scenario(args.scenario, overrides=overrides, seed=args.seed, registry=engine.registry(),
                             allow_plugins=args.allow_plugins)

    found = loaded(args.overrides)
    if getattr(args, "bundle", None) is None:
        return found
    from policies.placement import bundle_overrides

    if not (args.bundle / "bundle.json").is_file():
        raise UsageError(f"{args.bundle}: no bundle here (bundle.json is missing); expected a folder written by "
                         f"`gridloop train`")
    try:
        changes = bundle_overrides(found.scenario, args.bundle, args.policy)
    except ScenarioError as error:
        raise found.place(error) from None
    return loaded([*args.overrides, *changes])
