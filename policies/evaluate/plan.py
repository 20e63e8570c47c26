"""Plays the episodes of an evaluation, here or in worker processes; the outcome does not depend on which comes first.

Every episode begins anew from its seed, so it does not matter who plays it, or what was played before it.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from cosim.env.event import EnvOptions, EventEnv
from cosim.errors import GridloopError
from cosim.scenario.learning import Discount
from cosim.scenario.loader import LoadedScenario, load_text
from cosim.stopwatch import WallStopwatch
from policies.bundle import Bundle
from policies.evaluate.controllers import Controller, Deciding
from policies.evaluate.episode import Episode, play
from policies.evaluate.evaluation import FIGURES, Evaluation
from policies.evaluate.quality import Quality
from policies.evaluate.yardstick import Yardstick

#: Episodes of one evaluation, and processes.
MAX_EPISODES, MAX_WORKERS = 100_000, 64

#: Told of an episode, how many are done and how many there are.
OnEpisode = Callable[[Episode, int, int], None]


class EvaluationError(GridloopError):
    """An evaluation that cannot be done."""


@dataclass(frozen=True, slots=True)
class Source:
    """A scenario as it travels to another process: what `load_text` needs."""

    text: str
    path: Path
    base_dir: Path
    overrides: tuple[str, ...]
    allow_plugins: bool = False

    @classmethod
    def of(cls, loaded: LoadedScenario) -> Source:
        """Of a loaded scenario: its plugins, if any, were allowed."""
        return cls(loaded.text, loaded.path, loaded.base_dir, loaded.overrides, bool(loaded.scenario.plugins))

    def load(self, more: tuple[str, ...] = ()) -> LoadedScenario:
        """Loaded, with more overrides."""
        return load_text(self.text, path=self.path, base_dir=self.base_dir, overrides=(*self.overrides, *more),
                         allow_plugins=self.allow_plugins)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated: every controller at every quality in the episodes of every seed.

    `agents` are patterns in place of ``learning.agents``; `discount` is of the discounted return (None: the scenario's,
    else that of the first bundle); `duration_s` shortens episodes.
    """

    source: Source
    controllers: tuple[Controller, ...]
    seeds: tuple[int, ...]
    qualities: tuple[Quality, ...] = (Quality("scenario", "scenario"),)
    agents: tuple[str, ...] | None = None
    discount: Discount | None = None
    duration_s: float | None = None
    yardsticks: tuple[Yardstick, ...] = ()

    @property
    def tasks(self) -> list[Task]:
        """All episodes, in the order of qualities, controllers, seeds."""
        loaded = self.source.load()
        discount = self.discount or loaded.scenario.learning.discount or _bundles_discount(self.controllers)
        return [Task(replace(self.source, overrides=(*self.source.overrides, *quality.overrides(loaded.scenario))),
                     self.agents, self.duration_s, controller, quality.name, seed, discount)
                for quality in self.qualities for controller in self.controllers for seed in self.seeds]


@dataclass(frozen=True, slots=True)
class Task:
    """One episode.  The environment counts with the `discount` too, as in training: rewards within intervals."""

    source: Source
    agents: tuple[str, ...] | None
    duration_s: float | None
    controller: Controller
    quality: str
    seed: int
    discount: Discount | None

    def at_work(self) -> tuple[EventEnv, Deciding]:
        """Environment and controller, kept for the next episodes; raises what does not fit."""
        return _at_work(self.source, self.agents, self.duration_s, self.controller, self.discount)

    def play(self) -> Episode:
        """In this process, where environments of earlier tasks are kept."""
        env, deciding = self.at_work()
        episode = play(env, deciding, self.seed, self.discount, WallStopwatch())
        return replace(episode, controller=self.controller.name, quality=self.quality)


def figures_of(plan: Plan) -> tuple[str, ...]:
    """Names of all figures that its episodes will have; raises what does not fit, and plays nothing."""
    task = plan.tasks[0]
    env, _ = task.at_work()
    known = [name for name in FIGURES if name != "discounted_return" or task.discount is not None]
    return (*known, *(f"cost.{name}" for name in env.cost_names))


def evaluate(plan: Plan, workers: int = 1, on_episode: OnEpisode | None = None,
             should_stop: Callable[[], bool] = lambda: False) -> Evaluation:
    """Play every episode of the plan.

    Raises ScenarioError, BundleError, ControllerError or QualityError for what does not fit, before the first episode,
    and EvaluationError for a plan that is too large or a worker that dies.  When it is stopped, what is done counts.
    """
    found: dict[int, Episode] = {}
    with ExitStack() as stack:
        stack.callback(_at_work.cache_clear)  # a bundle of that name may be another one the next time
        tasks = _checked(plan, workers)
        for k, episode in _played(tasks, min(workers, len(tasks)), stack):
            found[k] = episode
            if on_episode is not None:
                on_episode(episode, len(found), len(tasks))
            if should_stop() and len(found) < len(tasks):
                break
    return Evaluation(plan.source.load().scenario.name, tuple(c.name for c in plan.controllers),
                      tuple(q.name for q in plan.qualities), plan.seeds, tuple(found[k] for k in sorted(found)),
                      plan.yardsticks, len(found) == len(tasks))


def _checked(plan: Plan, workers: int) -> list[Task]:
    names = [controller.name for controller in plan.controllers]
    if len(set(names)) < len(names):
        raise EvaluationError(f"controllers: {next(n for n in names if names.count(n) > 1)!r} is named twice; bundles "
                              f"are told apart by the names of their folders")
    n = len(plan.controllers) * len(plan.seeds) * len(plan.qualities)
    if not 1 <= n <= MAX_EPISODES:
        raise EvaluationError(f"{n:,} episodes; expected 1 to {MAX_EPISODES:,}")
    if not 1 <= workers <= MAX_WORKERS:
        raise EvaluationError(f"workers: found {workers}; expected 1 to {MAX_WORKERS}")
    tasks = plan.tasks
    for task in tasks[::len(plan.seeds)]:  # every controller at every quality fits, before anything is played
        task.at_work()
    return tasks


def _played(tasks: list[Task], workers: int, stack: ExitStack) -> Iterator[tuple[int, Episode]]:
    """(number, episode) as they are done."""
    if workers <= 1:
        for k, task in enumerate(tasks):
            yield k, task.play()
        return
    # A fresh interpreter a worker: nothing of this process (threads of a solver, an event loop) is inherited.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    pending: dict[Future[Episode], int] = {pool.submit(task.play): k for k, task in enumerate(tasks)}
    try:
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in [future for future in pending if future in done]:
                yield pending.pop(future), future.result()
    except BrokenProcessPool:
        raise EvaluationError("a worker process died (out of memory?); try fewer --workers") from None


def _ignore_interrupts() -> None:
    """Ctrl-C goes to every process of the terminal; the one that gives out the work decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@lru_cache(maxsize=8)
def _at_work(source: Source, agents: tuple[str, ...] | None, duration_s: float | None,
             controller: Controller, discount: Discount | None) -> tuple[EventEnv, Deciding]:
    env = EventEnv(source.load(), agents, options=EnvOptions(duration_s=duration_s, discount=discount))
    return env, controller.at_work(env)


def _bundles_discount(controllers: tuple[Controller, ...]) -> Discount | None:
    for controller in controllers:
        if controller.kind == "bundle":
            found = Bundle.load(Path(controller.folder), weights=False).discount
            if found is not None:
                return Discount.model_validate(dict(found))
    return None
