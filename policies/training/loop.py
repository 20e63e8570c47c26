"""The training loop: collect, learn, tell, keep, and stop well.

An iteration collects one fragment in every slot and lets each group's algorithm learn from it.  With `pipeline` the
next fragment is collected, with the weights before the update, while the learner updates: always one behind, so the
result does not depend on who is faster.

Whatever happens, what is on disk can be gone on from: checkpoints are written whole, at the boundary between
iterations; Ctrl-C or `should_stop` ends after the iteration with a checkpoint; a loss that is not a number or a lost
worker ends at once, and the message names the last good checkpoint.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Any

import numpy as np
from pydantic import ValidationError

from cosim.errors import GridloopError
from policies.bundle import BundleError, bring_back
from policies.durable import locked
from policies.training import checkpoint as checkpoints
from policies.training.algorithm import OtherTrainingError, TrainingError
from policies.training.assembly import Assembly, assemble, bundle_of, collector, scenario_of
from policies.training.checkpoint import Checkpoint, Progressed, refuse_other_rows
from policies.training.collect import Fragment
from policies.training.command import command_of
from policies.training.config import Score, TrainConfig
from policies.training.device import learner_threads
from policies.training.finite import check_finite, finite
from policies.training.progress import METRICS, Board, OnProgress, Progress, Table, violating
from policies.training.trials import Judged, Trials
from policies.training.worker import EnvRecipe

logger = logging.getLogger(__name__)

#: Where the last and the best policies of a training are.
BUNDLE, BEST = "bundle", "best"
#: A mean cost rate up to this multiple of its limit counts as kept.
_KEPT = 1.05


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.  `reason`: done, stopped, target_return or patience; `best` None where no episode ended."""

    bundle: Path
    iterations: int
    steps: int
    best: float | None
    reason: str


def train(config: TrainConfig, out: Path, on_progress: OnProgress | None = None,
          should_stop: Callable[[], bool] | None = None, *, resume: bool = False,
          recipe: EnvRecipe | None = None) -> TrainResult:
    """Train and write everything into the folder `out`; the policies are in its ``bundle`` and ``best``.

    With `resume` from the newest checkpoint in `out`: the result is, bit for bit, that of a training that was never
    interrupted.  `recipe` stands in for the scenario's environment.  Raises TrainingError.
    """
    if resume and not out.is_dir():
        raise TrainingError(f"{out}: no checkpoint to go on from; expected {checkpoints.FOLDER}/iteration-… in it")
    with locked(out), learner_threads(config.threads), _interruptible() as interrupted:
        newest = _newest(config, out, resume)

        def stops() -> bool:
            return interrupted.is_set() or (should_stop is not None and should_stop())

        begun = None if newest is None else newest.scenario
        training = Training(assemble(config, recipe, adopts=newest is None, begun=begun), out, newest)
        try:
            return training.run(on_progress, stops)
        except (TrainingError, BundleError) as error:
            raise TrainingError(f"{error}{_hint(out)}") from error
        finally:
            training.close()


def _newest(config: TrainConfig, out: Path, resume: bool) -> Checkpoint | None:
    found = checkpoints.written(out)
    if not resume:
        if found:
            raise TrainingError(f"{out}: holds a training already; expected a new folder, or to go on with it (resume)")
        if (out / METRICS).exists():
            raise TrainingError(f"{out}: holds a training that ended before its first checkpoint: there is nothing to "
                                f"go on from; remove it (gridloop train --force does), or name another folder")
        return None
    if not found:
        raise TrainingError(f"{out}: no checkpoint to go on from; expected {checkpoints.FOLDER}/iteration-… in it; a "
                            f"training that ended before its first one begins anew: remove the folder (gridloop train "
                            f"--force does)")
    newest = checkpoints.read(found[-1])
    differing = differences(_completed(found[-1], newest.config), config.model_dump(mode="json"))
    if differing:
        raise OtherTrainingError(f"{found[-1]}: was trained differently, going on would be another training: "
                                 f"{'; '.join(differing)}; expected the same, or a new training with `bundle`")
    return newest


def _completed(folder: Path, saved: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's configuration, with defaults for settings that came later."""
    try:
        return TrainConfig.model_validate(dict(saved)).model_dump(mode="json")
    except ValidationError as error:
        raise TrainingError(f"{folder}: its configuration is none of this version: "
                            f"{error.errors()[0]['msg']}") from None


#: What may change when a training goes on: none of it decides what an iteration does.
_FREE = ("steps", "stop", "trials", "checkpoints", "collection.workers", "collection.engine", "collection.timeout_s")


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Settings that decide the result and are not what they were, one line each."""
    found = []
    for key in now:
        path = f"{prefix}{key}"
        if path in _FREE or before.get(key) == now[key]:
            continue
        if path == "collection":
            found += differences(dict(before[key]), now[key], "collection.")
        else:
            found.append(f"{path} was {before.get(key)!r:.60}, is {now[key]!r:.60}")
    return found


def _hint(out: Path) -> str:
    kept = checkpoints.written(out)
    if not kept:
        return "; there is no checkpoint yet"
    return f"; the last checkpoint is {kept[-1]}: go on from it with: gridloop train --resume {quote(str(out))}"


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as usual."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def interrupt(*_: object) -> None:
        logger.warning("stopping after this iteration, with a checkpoint; interrupt again to stop at once")
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


class Training:
    """One training between its first (or restored) and last iteration."""

    def __init__(self, assembly: Assembly, out: Path, newest: Checkpoint | None) -> None:
        self.assembly, self.out, self.config = assembly, out, assembly.config
        self.at = newest.progressed if newest else Progressed()
        self._ahead: Fragment | None = newest.ahead if newest else None
        self._score: float | None = None
        self._saved = self.at.iteration if newest else -1
        out.mkdir(parents=True, exist_ok=True)
        trials = self.config.trials
        self._trials = Trials(assembly, trials.episodes, trials.overrides) if trials.every else None
        self._collector = collector(assembly, out / "workers")
        try:
            if newest:
                self._take_up(newest)
                self._collector.restore(newest.slots)
                for place in (out / BUNDLE, out / BEST):
                    bring_back(place)
        except BaseException:
            self._collector.close()
            raise
        self._table = Table(out / METRICS, self.at.iteration)
        self._board = Board(out / "tensorboard", self.at.iteration)
        self._hand_over()

    def _take_up(self, newest: Checkpoint) -> None:
        refuse_other_rows(self.out, newest, self.assembly.plan)
        try:
            for name, algorithm in self.assembly.algorithms.items():
                algorithm.load_state_dict(newest.algorithms[name])
        except (KeyError, ValueError, IndexError, TypeError, RuntimeError, GridloopError) as error:
            # RuntimeError: torch, of shapes, in several lines
            what = " ".join(str(error).split())[:200]
            raise TrainingError(f"the checkpoint of iteration {self.at.iteration} is of other networks than these "
                                f"learners have ({type(error).__name__}: {what}): the scenario has changed, or it is "
                                f"damaged; expected the same, or a new training with `bundle`") from None

    def close(self) -> None:
        """Stop the workers and finish the files."""
        self._collector.close()
        if self._trials is not None:
            self._trials.close()
        self._board.close()

    def run(self, on_progress: OnProgress | None, stops: Callable[[], bool]) -> TrainResult:
        """Iterate to the end, whatever ends it; then write the bundle."""
        reason = "done"
        while self.at.iteration < self.config.iterations:
            progress = self._iterate()
            self._table.add(progress.row())
            self._board.add(progress)
            if on_progress is not None:
                on_progress(progress)
            ends = self._ends()
            if ends or stops():
                reason = ends or "stopped"
                break
            if self.at.iteration % self.config.checkpoints.every == 0:
                self._save()
        if self._saved != self.at.iteration:
            self._save()
        bundle_of(self.assembly, self._about()).save(self.out / BUNDLE)
        return TrainResult(self.out / BUNDLE, self.at.iteration, self.at.steps,
                           self.at.best[1] if self.at.best else None, reason)

    # -- one iteration ---------------------------------------------------------------------------------------------

    def _iterate(self) -> Progress:
        begun_s = perf_counter()
        number = self.at.iteration
        fragment = self._ahead or self._collected(number)
        self._ahead = None
        runs_ahead = self.config.collection.pipeline and number + 1 < self.config.iterations
        if runs_ahead:
            self._collector.begin(number + 1)
        collected_s = perf_counter()
        figures = self._learn(fragment)
        updated_s = perf_counter()
        if runs_ahead:
            self._ahead = finite(self._collector.finish())
        self._hand_over()
        ended_s = perf_counter()
        self._count(fragment, ended_s - begun_s)
        return self._progress(fragment, figures, (ended_s - begun_s, updated_s - collected_s))

    def _collected(self, number: int) -> Fragment:
        self._collector.begin(number)
        return finite(self._collector.finish())

    def _learn(self, fragment: Fragment) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, algorithm in self.assembly.algorithms.items():
            found = algorithm.update(fragment.rows[name])
            wrong = [key for key, value in found.items() if not isfinite(value)]
            if wrong:
                raise TrainingError(f"group {name}: {wrong[0]} is {found[wrong[0]]} in iteration "
                                    f"{self.at.iteration + 1}; expected a finite number; look for NaN or huge rewards "
                                    f"and observations, or lower the learning rate")
            figures |= {f"{name}/{key}": value for key, value in found.items()}
        return figures

    def _hand_over(self) -> None:
        self._collector.load(self._weights())

    def _weights(self) -> dict[str, Any]:
        return {name: algorithm.actor_weights() for name, algorithm in self.assembly.algorithms.items()}

    # -- counting --------------------------------------------------------------------------------------------------

    def _count(self, fragment: Fragment, wall_s: float) -> None:
        at = self.at
        at.iteration += 1
        at.steps += self.config.fragment * self.config.collection.slots
        at.decisions += sum(len(rows) for rows in fragment.rows.values())
        at.episodes += len(fragment.episodes)
        at.returns += [float(np.mean(episode.returns)) for episode in fragment.episodes]
        at.discounted += [float(np.mean(episode.discounted)) for episode in fragment.episodes]
        del at.returns[:-self.config.stop.window], at.discounted[:-self.config.stop.window]
        at.wall_s += wall_s

    def _progress(self, fragment: Fragment, figures: dict[str, float], seconds: tuple[float, float]) -> Progress:
        at, (wall_s, update_s) = self.at, seconds
        reward, costs, time_s = _rates(fragment)
        names = self.assembly.env.cost_names
        cost_rates = {name: float(cost) / time_s for name, cost in zip(names, costs, strict=True)}
        trial = self._try_out()
        self._judge(trial, cost_rates)
        steps = self.config.fragment * self.config.collection.slots
        return Progress(at.iteration, self.config.iterations, at.steps, at.decisions, at.episodes,
                        _mean(at.returns), _mean(at.discounted), at.best[1] if at.best else None,
                        reward / time_s, cost_rates, _interventions(fragment), wall_s - update_s, update_s,
                        steps / wall_s, figures, None if trial is None else self._score,
                        violating(fragment.episodes))

    # -- judging ---------------------------------------------------------------------------------------------------

    def _try_out(self) -> Judged | None:
        """What the policy reaches now, where a trial is due: at its times and at the end."""
        every, at = self.config.trials.every, self.at
        if self._trials is None or (at.iteration % every and at.iteration < self.config.iterations):
            return None
        begun_s = perf_counter()
        trial = self._trials.play(self._weights())
        at.wall_s += perf_counter() - begun_s
        return trial

    def _scored(self, trial: Judged | None) -> float | None:
        """What the policy is judged by: a trial, or the last episodes of training; None where there is nothing new."""
        stop, at = self.config.stop, self.at
        sums = stop.score is Score.SUM
        if trial is not None:
            return trial.plain if sums else trial.discounted
        if self.config.trials.every or len(at.returns) < min(stop.window, 5):
            return None
        return _mean(at.returns if sums else at.discounted)

    def _judge(self, trial: Judged | None, cost_rates: Mapping[str, float]) -> None:
        """Keep the policy when it is the best so far: limits first, then the score."""
        at = self.at
        self._score = score = self._scored(trial)
        if score is None:
            return
        at.since_best += 1
        rates = {**cost_rates, **({} if trial is None else trial.cost_rates)}
        kept = all(rates[name] <= at_most(limit) for name, limit in self.config.cost_limits.items())
        if at.best is None or [float(kept), score] > at.best:
            at.best, at.since_best = [float(kept), score], 0
            bundle_of(self.assembly, self._about()).save(self.out / BEST)

    def _ends(self) -> str | None:
        stop, score = self.config.stop, self._score
        enough = self.config.trials.every or len(self.at.returns) >= stop.window
        if stop.target_return is not None and score is not None and score >= stop.target_return and enough:
            return "target_return"
        if stop.patience is not None and self.at.since_best >= stop.patience:
            return "patience"
        return None

    # -- keeping ---------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        states = {name: algorithm.state_dict() for name, algorithm in self.assembly.algorithms.items()}
        for name, state in states.items():
            check_finite(name, state, self.at.iteration)
        saved = Checkpoint(self.at, self.config.model_dump(mode="json"), {n: dict(s) for n, s in states.items()},
                           self._collector.snapshot(), self._ahead, scenario_of(self.assembly.env))
        checkpoints.write(self.out, saved, self.config.checkpoints.keep)
        self._saved = self.at.iteration

    def _about(self) -> dict[str, Any]:
        """What a bundle says about its training."""
        config = self.config
        return {"command": command_of(config), "algo": config.algo, "config": config.model_dump(mode="json"),
                "seed": config.seed, "steps": self.at.steps, "decisions": self.at.decisions,
                "episodes": self.at.episodes, "wall_s": round(self.at.wall_s, 1), "versions": _versions(),
                "returns": list(self.at.returns), "discounted": list(self.at.discounted)}


def at_most(limit: float) -> float:
    """The mean cost rate that counts as keeping a limit, which is below 0 where a cost can be."""
    return (_KEPT * limit if limit >= 0 else limit / _KEPT) + 1e-12


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _rates(fragment: Fragment) -> tuple[float, np.ndarray[Any, Any], float]:
    """Sums of rewards and costs (n_cost,), and of the seconds of decisions, at least a nanosecond."""
    rows = fragment.rows.values()
    time_s = sum(float(part["dt_s"].sum()) for part in rows)
    return (sum(float(part["reward"].sum()) for part in rows), np.sum([part["cost"].sum(0) for part in rows], axis=0),
            max(time_s, 1e-9))


def _interventions(fragment: Fragment) -> float | None:
    known = [episode for episode in fragment.episodes if episode.interventions >= 0]
    hours = sum(episode.length_s for episode in known) / 3600
    return sum(episode.interventions for episode in known) / hours if hours > 0 else None


def _versions() -> dict[str, str]:
    found = {}
    for package in ("gridloop", "torch", "numpy", "lightsim2grid"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
