"""``gridloop train --dataset``: learn from recorded episodes alone; nothing is simulated."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.arguments import settings
from cosim.cli.engine import Engine
from cosim.cli.learning import again
from cosim.cli.learning_progress import showing
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.cli.result_folder import next_result
from cosim.cli.training_folder import check_free_training, replacing_training
from cosim.errors import GridloopError, ScenarioError

if TYPE_CHECKING:
    from policies.training.offline import OfflineConfig

#: Arguments that only make sense where something is simulated, and those that say more about a scenario.
_ONLINE = (("--seeds", "seeds"), ("--agents", "agents"), ("--duration", "duration"), ("--config", "config"),
           ("--option", "options"), ("--cost-limit", "cost_limits"), ("--from", "source"), ("--workers", "workers"),
           ("--bare", "bare"))
_OF_SCENARIO = (("--set", "overrides"), ("--allow-plugins", "allow_plugins"))


def trained_offline(args: argparse.Namespace, engine: Engine) -> Outcome:
    """One bundle for all groups of the data sets, which are those of the scenario where one is named."""
    from policies.durable import locked

    unwanted = _ONLINE if args.scenario is not None else (*_ONLINE, *_OF_SCENARIO)
    wrong = [name for name, attribute in unwanted if getattr(args, attribute) not in (None, [], False)]
    if wrong:
        raise UsageError(f"--dataset: nothing is simulated; leave out {', '.join(wrong)}")
    _known_dataset(args.dataset)
    try:
        config = _config(args)
    except GridloopError as error:
        raise UsageError(str(error)) from None
    out = args.out if args.out is not None else next_result(f"{args.dataset.name}-{config.algo}")
    check_free_training(out, force=args.force)
    with replacing_training(out, force=args.force), locked(out), showing(quiet=args.quiet or args.json) as show:
        def on_progress(group: str, batches: int, figures: Mapping[str, float]) -> None:
            show(batches, config.batches, f"{group}: {batches:,} batches, {_words(figures)}")

        try:
            found = engine.train_offline(config, args.dataset, out / "bundle", on_progress)
        except ScenarioError:
            raise
        except GridloopError as error:  # data sets and settings are checked before, and the bundle written after
            raise UsageError(str(error)) from None
    lines = [f"{group}: {_words(figures)}" for group, figures in found.figures.items()]
    scenario = again(args.scenario or "SCENARIO", args.overrides, allow_plugins=args.allow_plugins)
    lines += [f"wrote {found.bundle}",
              f"next: gridloop evaluate {scenario} --bundle {found.bundle} --against as_is,none"]
    data = {"status": "done", "algo": config.algo, "batches": config.batches, "bundle": str(found.bundle),
            "figures": plain(found.figures)}
    return Outcome(Exit.DONE, "\n".join(lines), data)


def _config(args: argparse.Namespace) -> OfflineConfig:
    from pydantic import ValidationError

    from cosim.scenario.overrides import apply_overrides
    from cosim.scenario.yaml_tree import Places
    from policies.training.algorithm import problems
    from policies.training.offline import OfflineConfig

    given: dict[str, Any] = {"algo": args.algo, "batches": args.steps, "seed": args.seed, "device": args.device,
                             "scenario": args.scenario, "allow_plugins": args.allow_plugins,
                             "overrides": tuple(args.overrides)}
    given = {name: value for name, value in given.items() if value is not None}
    wrong = apply_overrides(given, settings(args), Places())
    if wrong:
        raise UsageError("\n".join(map(str, wrong)))
    try:
        config = OfflineConfig.model_validate(given)
    except ValidationError as error:
        raise UsageError(problems(error, model=OfflineConfig)) from None
    config.algorithm_options(1)
    return config


def _words(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def no_dataset(algo: str | None, *, goes_on: bool) -> None:
    """UsageError for an algorithm that begins with recorded episodes; but for `bc` one `goes_on` from a bundle."""
    from policies.training.algorithm import ALGORITHMS
    from policies.training.offline import OFFLINE

    if algo in OFFLINE and not (goes_on and algo in ALGORITHMS):
        more = "; --from BUNDLE then goes on in the scenario" if algo in ALGORITHMS else ""
        raise UsageError(f"--algo {algo} learns from recorded episodes: name them with --dataset DIR (gridloop dataset "
                         f"records them){more}")


def _known_dataset(path: Path) -> None:
    """UsageError unless there is a folder."""
    if not path.is_dir():
        raise UsageError(f"{path}: no folder with data sets; gridloop dataset records them")
