"""``gridloop train``: learn policies in a scenario; ends with a bundle that `run`, `serve` and `evaluate` take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosim.cli.arguments import settings
from cosim.cli.engine import Engine
from cosim.cli.learning import add_learning_scenario, again, needing, seeds_of
from cosim.cli.learning_progress import showing
from cosim.cli.outcome import Exit, Outcome, UsageError, plain
from cosim.cli.result_folder import next_result
from cosim.cli.train_offline import no_dataset, trained_offline
from cosim.cli.trained import moved_table, progress_words, result_data, results_table
from cosim.cli.training_folder import check_free_training, has_begun, is_training, replacing_training
from cosim.errors import GridloopError, ScenarioError

if TYPE_CHECKING:
    from cosim.scenario import LoadedScenario
    from policies.training.config import TrainConfig

NAME = "train"
SUMMARY = "learn policies in a scenario; ends with a bundle for run, serve and evaluate"

#: The algorithm where nobody names one.
_ALGO = "ppo"

#: Arguments that a training which goes on takes from its checkpoint.
_FIXED = (("SCENARIO", "scenario"), ("--algo", "algo"), ("--seed", "seed"), ("--seeds", "seeds"),
          ("--set", "overrides"), ("--agents", "agents"), ("--duration", "duration"), ("--config", "config"),
          ("--hyper", "hyper"), ("--option", "options"),
          ("--cost-limit", "cost_limits"), ("--from", "source"), ("--dataset", "dataset"), ("--out", "out"),
          ("--force", "force"), ("--device", "device"), ("--bare", "bare"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    add_learning_scenario(parser, is_optional=True)
    parser.add_argument("--algo", metavar="NAME",
                        help="ppo, ippo, mappo, sac, td3, ddpg, maddpg, dqn; with --dataset cql, iql, awac, bc, of "
                             "which all but bc go on --from a bundle (default: ppo)")
    parser.add_argument("--steps", type=int, metavar="N",
                        help="decision instants in all (default: 1,000,000); with --dataset batches (10,000)")
    parser.add_argument("--seed", type=int, metavar="N", help="decides weights, episodes and exploration (default: 1)")
    parser.add_argument("--seeds", metavar="N|A,B,…", help="several trainings, one a seed, in folders of their own")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes that collect; 0: none beside this one (default: 2; no part of the result)")
    parser.add_argument("--hyper", action="append", default=[], metavar="NAME=VALUE",
                        help="a hyperparameter of the algorithm, e.g. lr=1e-3, hidden=[128,128] (repeatable)")
    parser.add_argument("--option", dest="options", action="append", default=[], metavar="PATH=VALUE",
                        help="any other value of the configuration, e.g. collection.slots=8, stop.patience=50, "
                             "checkpoints.every=20 (repeatable)")
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="the whole configuration, YAML (policies/training/config.py); other options change it "
                             "(default: training/<scenario>.<algo>.yaml beside the scenario, where there is one)")
    parser.add_argument("--bare", action="store_true", help="leave out the settings that come with the scenario")
    parser.add_argument("--cost-limit", dest="cost_limits", action="append", default=[], metavar="NAME=RATE",
                        help="keep a cost of the scenario below this, per second; below 0 only for a cost that can be "
                             "(ppo; repeatable)")
    parser.add_argument("--from", dest="source", type=Path, metavar="BUNDLE",
                        help="begin with this bundle, of this scenario or another: carried over by name")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="learn from recorded episodes (gridloop dataset)")
    parser.add_argument("--device", metavar="NAME", help="where networks learn: cpu or cuda (default: cpu)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (default: results/<scenario>-<algo>-<NNN>)")
    parser.add_argument("--resume", type=Path, metavar="DIR",
                        help="go on with a training that was stopped or killed, bit for bit as if it had not been; "
                             "--steps may make it longer, which with lr_schedule linear (PPO's default) or "
                             "collection.pipeline is not what that many steps from the start would have given")
    parser.add_argument("--force", action="store_true", help="replace a training that is in the folder")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def execute(args: argparse.Namespace, engine: Engine) -> Outcome:
    """Train to the end, or to Ctrl-C, which leaves a checkpoint to go on from."""
    with needing("training"):
        if args.resume is not None:
            return _resumed(args, engine)
        if args.dataset is not None:
            return trained_offline(args, engine)
        return _trained(args, engine)


def _trained(args: argparse.Namespace, engine: Engine) -> Outcome:
    no_dataset(args.algo, goes_on=args.source is not None)
    file = _settings(args, engine)
    configs = _as_asked(lambda: _configs(args, engine, file))
    scenario = configs[0].scenario
    if file is not None and not (args.quiet or args.json):
        print(f"settings from {file} (--bare leaves them out)", file=sys.stderr)
    out = args.out if args.out is not None else next_result(f"{Path(scenario).stem}-{configs[0].algo}")
    check_free_training(out, force=args.force)
    folders = [out] if args.seeds is None else [out / f"seed-{config.seed}" for config in configs]
    found: list[Any] = []
    moved: Sequence[Any] = ()
    with replacing_training(out, force=args.force), showing(quiet=args.quiet or args.json) as show:
        for config, folder in zip(configs, folders, strict=True):
            if args.source is not None:
                config, moved = _as_asked(lambda c=config, f=folder: _start(c, args.source, f))
            found.append(_one(engine, config, folder, show))
            if found[-1].reason == "stopped":
                break
    if file is not None:  # what the settings change for learning (a gentler reward, say) is no part of the task
        configs = [config.model_copy(update={"overrides": tuple(args.overrides)}) for config in configs]
    return _outcome(configs, folders[:len(found)], found, moved, file)


def _one(engine: Engine, config: TrainConfig, folder: Path, show: Any, *, resume: bool = False) -> Any:
    def on_progress(progress: Any) -> None:
        show(progress.iteration, progress.iterations, progress_words(progress))

    try:
        return engine.train(config, folder, on_progress, resume)
    except ScenarioError:
        raise
    except GridloopError as error:
        from policies.training.algorithm import OtherTrainingError

        if has_begun(folder) and not isinstance(error, OtherTrainingError):
            raise
        raise UsageError(str(error)) from None  # it did not fit: nothing was learned yet


def _as_asked(make: Any) -> Any:
    """What is wrong with what was asked for is the asker's."""
    try:
        return make()
    except (ScenarioError, UsageError):
        raise
    except GridloopError as error:
        raise UsageError(str(error)) from None


# -- configurations ---------------------------------------------------------------------------------------------------


def _settings(args: argparse.Namespace, engine: Engine) -> Path | None:
    """The file of settings that comes with the scenario for this algorithm."""
    if args.scenario is None or args.config is not None or args.bare:
        return None
    loaded = _loaded(args.scenario, args.overrides, engine, allow_plugins=args.allow_plugins)
    file = loaded.base_dir / "training" / f"{loaded.path.stem}.{args.algo or _ALGO}.yaml"
    return file if file.is_file() else None


def _configs(args: argparse.Namespace, engine: Engine, file: Path | None) -> list[TrainConfig]:
    """One a seed; the scenario is checked, so that its errors come with file and line."""
    from policies.training.config import load_config, with_seed

    given = _given(args)
    if file is not None:
        given["algo"] = args.algo or _ALGO
    overrides = settings(args)
    if args.workers is not None:
        overrides.append(f"collection.workers={args.workers}")
    if args.scenario is None and args.config is None:
        raise UsageError("name a scenario, or a configuration (--config FILE), or a training to go on with "
                         "(--resume DIR)")
    config = load_config(args.config or file, overrides, **given)
    # What the file changes in the scenario stays, and what the command line says comes after it.
    config = config.model_copy(update={"overrides": (*config.overrides, *args.overrides)})
    named = any(text.startswith(("trials.overrides=", "trials=")) for text in args.options)  # as recorded commands do
    if config.trials.overrides is not None and not named:
        trials = config.trials.model_copy(update={"overrides": (*config.trials.overrides, *args.overrides)})
        config = config.model_copy(update={"trials": trials})
    _check_scenario(config, engine)
    if args.seeds is None:
        return [config]
    if args.seed is not None:
        raise UsageError("--seed and --seeds: give one of them")
    return [with_seed(config, seed) for seed in seeds_of(args.seeds, 1)]


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says; the rest is the file's, or a default."""
    named = {"scenario": args.scenario, "algo": args.algo, "steps": args.steps, "seed": args.seed,
             "agents": args.agents, "duration_s": args.duration, "device": args.device,
             "allow_plugins": args.allow_plugins or None}
    return {name: value for name, value in named.items() if value is not None}


def _loaded(scenario: str, overrides: Sequence[str], engine: Engine, *, allow_plugins: bool) -> LoadedScenario:
    from cosim.scenario import load_scenario

    return load_scenario(scenario, overrides=overrides, registry=engine.registry(), allow_plugins=allow_plugins)


def _check_scenario(config: TrainConfig, engine: Engine) -> None:
    from policies.placement import learner_entries

    loaded = _loaded(config.scenario, config.overrides, engine, allow_plugins=config.allow_plugins)
    try:
        learner_entries(loaded.scenario)
    except ScenarioError as error:
        raise loaded.place(error) from None


def _start(config: TrainConfig, source: Path, folder: Path) -> Any:
    from policies.finetune import start_from

    return start_from(config, source, folder / "start")


# -- going on ---------------------------------------------------------------------------------------------------------


def _resumed(args: argparse.Namespace, engine: Engine) -> Outcome:
    """What would make it another training is refused."""
    from policies.training import checkpoint
    from policies.training.config import load_config

    wrong = [name for name, attribute in _FIXED if getattr(args, attribute) not in (None, [], False)]
    if wrong:
        raise UsageError(f"--resume takes everything from the checkpoint; leave out {', '.join(wrong)}")
    kept = checkpoint.written(args.resume)
    if not kept and is_training(args.resume):
        raise UsageError(f"{args.resume}: this training ended before its first checkpoint, or has none: there is "
                         f"nothing to go on from; begin it anew with the command of before and --force, or remove it")
    if not kept:
        raise UsageError(f"{args.resume}: no training to go on with here (checkpoints/iteration-… is missing); "
                         f"expected a folder written by `gridloop train`")
    saved = _as_asked(lambda: checkpoint.read(kept[-1]))
    changes = [f"{path}={value}" for path, value in (("steps", args.steps), ("collection.workers", args.workers))
               if value is not None]
    config = _as_asked(lambda: load_config(saved.config, changes, allow_plugins=args.allow_plugins))
    if args.steps is not None and config.iterations < saved.progressed.iteration:
        raise UsageError(f"--steps {args.steps:,}: {args.resume} has done {saved.progressed.steps:,} decision instants "
                         f"already; expected more, or no --steps to go on as far as was asked for")
    with showing(quiet=args.quiet or args.json) as show:
        found = _one(engine, config, args.resume, show, resume=True)
    return _outcome([config], [args.resume], [found], (), None)


# -- what came of it --------------------------------------------------------------------------------------------------


def _outcome(configs: Sequence[TrainConfig], folders: Sequence[Path], found: Sequence[Any],
             moved: Sequence[Any], file: Path | None) -> Outcome:
    results = [result_data(config.seed, folder, result)
               for config, folder, result in zip(configs, folders, found, strict=False)]
    stopped = found[-1].reason == "stopped"
    lines = [f"settings from {file} (--bare leaves them out)"] if file is not None else []
    lines += [moved_table(moved)] if moved else []
    lines.append(results_table(results))
    lines += _next(configs[0], results, stopped=stopped)
    data = {"status": "stopped" if stopped else "done", "scenario": configs[0].scenario, "algo": configs[0].algo,
            "settings": None if file is None else str(file), "trainings": plain(results), "moved": plain(list(moved))}
    return Outcome(Exit.FAILED if stopped else Exit.DONE, "\n".join(lines), data)


def _next(config: TrainConfig, results: Sequence[Mapping[str, Any]], *, stopped: bool) -> list[str]:
    if stopped:
        return [f"stopped; go on with: gridloop train --resume {results[-1]['folder']}"]
    bundles = " ".join(f"--bundle {result['policy']}" for result in results[:1])
    scenario = again(config.scenario, config.overrides, allow_plugins=config.allow_plugins, agents=config.agents)
    return [f"next: gridloop evaluate {scenario} {bundles} --against as_is,none",
            f"      gridloop run {scenario} {bundles}"]
